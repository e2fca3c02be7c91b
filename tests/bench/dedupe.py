"""How fast and how right matching is, beside pg_trgm and tantivy on the same names in the same run.

    make bench-dedupe                     20,000 composed names: a try
    make bench-dedupe NAMES=1000000       the size that the figures are promised for, in some minutes

Names are composed by `tests/support/names.py` and spoilt by it for the queries, on a seed that nothing was tuned on.
In three interleaved rounds each query goes to our index, to a GIN of pg_trgm over the same normalised names, to tantivy
with the same grams, and as `CheckDuplicates` through gRPC by 16 clients to two replicas of the service: once by clients
that never pause, so that all wait for each other, and once by clients that ask as often as somebody does who types.
tantivy's hits are ranked and compared as ours are. Then 16 connections create customers of which each name comes twice
at once: with reservations, and by looking before inserting as peers do. Neither looks for similar names there: what
that costs stands above. The last line is one JSON object: milliseconds, each p99 the median of the rounds; recall at 5;
the share of new names that raise an alert by name alone, and with a telephone number besides; the duplicates that each
way stored; of a check by clients that never pause, what it costs the processors.
"""

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import partial
from itertools import islice
from multiprocessing import get_context
from typing import Any

import grpc
import psycopg
import tantivy
from crm.dedupe.v1 import dedupe_pb2 as pb
from crm.dedupe.v1.dedupe_pb2_grpc import DedupeServiceStub
from sqlalchemy import text

from deploy.local.stores import PrivateStores
from services.chassis.clock import utc_now
from services.chassis.db import Store
from services.chassis.errors import AlreadyExists
from services.chassis.ids import new_id
from services.chassis.migrations.runner import upgrade
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Caller, Signer, generate_key
from services.chassis.walls import EVERY_TENANT_OPTIONS
from services.dedupe.domain.keys import RuleField, Subject, SubjectKind, digest_of, keys_of
from services.dedupe.domain.reservations import ReservationState
from services.dedupe.matching.grams import asked_grams, tenant_seed
from services.dedupe.matching.normalise import Name, normalise
from services.dedupe.matching.ranking import RANKED, Candidates
from services.dedupe.matching.weights import Frequencies, Record, Weights, compare
from services.dedupe.store import index
from services.dedupe.store.tables import Base
from services.dedupe.usecases.reservations import reserve_keys
from services.dedupe.usecases.rules import list_rules, update_rule
from tests.bench.figures import percentile
from tests.bench.scale import used_s
from tests.support.names import Names
from tests.support.served import free_port

BEGIN = time.monotonic()
ROUNDS = 3
CLIENTS = 16
# Seconds from one check of somebody who types to the next: the form waits for a pause in typing.
TYPING_S = 0.3
# Checks of each client, and as many of each other way, before they are measured: a service has served others before.
WARM = 5
REPLICAS = 2
BATCH = 5000
WEIGHTS = Weights()
# No number in the base.
UNKNOWN = "+8619999999999"
COLUMNS = (
    "subject_id",
    "kind",
    "name",
    "whole",
    "core",
    "sound",
    "brand_length",
    "regions",
    "phones",
    "credit_code",
    "address",
    "grams",
)


def main(arguments: Sequence[str]) -> int:
    """Run the bench and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--names", type=int, default=20_000)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--creates", type=int, default=0, help="0: a tenth of the names")
    parser.add_argument("--minutes", type=int, default=25, help="longest time before it gives up")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(60 * given.minutes)
    with PrivateStores(databases=("main",)) as stores:
        url = stores.database_urls["main"]
        upgrade("dedupe", Base.metadata, url)
        store = Store({"main": url}, Base.metadata, utc_now, pool_size=CLIENTS)
        try:
            bench = Bench(store, given.names, given.queries)
            print(json.dumps(bench.measure(stores, given.creates or given.names // 10)))
        finally:
            store.close()
    return 0


def give_up(*_: object) -> None:
    """End a bench that does not."""
    raise TimeoutError("the bench is not through in the time it was given")


class Bench:
    """A tenant with names, and what is asked of them: query, the name it was, that name's number."""

    def __init__(self, store: Store, count: int, queries: int) -> None:
        self.store = store
        self.tenant = Tenant(new_id(), "main")
        names = Names(20261122)
        parts = {"".join(part): part for part in (names.parts() for _ in range(count))}
        self.names = list(parts)
        places = random.Random(1).sample(range(len(self.names)), min(queries, len(self.names)))  # noqa: S311  # no secret
        self.asked = [
            (names.spoil(parts[self.names[place]])[1], self.names[place], phone(place)) for place in places
        ]
        # Names and numbers that nobody has: every alert is a false one.
        fresh = ("".join(names.parts()) for _ in range(4 * queries))
        self.fresh = [name for name in fresh if name not in parts]

    def measure(self, stores: PrivateStores, creates: int) -> dict[str, float]:
        """Return the figures."""
        say(f"{len(self.names)} names")
        self._load(stores.database_urls["main"])
        self._lay_down_trigrams()
        with ExitStack() as stack:
            searcher = Tantivy(
                stack.enter_context(tempfile.TemporaryDirectory()),
                tenant_seed(self.tenant.id),
                self._rows(stores.database_urls["main"]),
            )
            say("tantivy holds them")
            clients, servers = stack.enter_context(serving(stores, self.tenant))
            used = dict.fromkeys(("service", "postgresql", "client"), 0.0)
            ours, trigrams, theirs, checks, typed = (Figures() for _ in range(5))
            warm = self.asked[: WARM * CLIENTS]
            Figures().together(warm, clients)
            for search in (self.by_index, searcher.find, self.by_trigrams):
                Figures().round(warm, search)
            for number in range(ROUNDS):
                ours.round(self.asked, self.by_index)
                theirs.round(self.asked, searcher.find)
                with counting(used, servers, stores.processes["postgresql"].pid or 0):
                    checks.together(self.asked, clients)
                typed.together(self.asked, clients, TYPING_S)
                trigrams.round(self.asked, self.by_trigrams)
                say(
                    f"round {number + 1}: {ours}, tantivy {theirs}, gRPC {checks}, typed {typed}, pg_trgm {trigrams}"
                )
        alerts = self._alerts()
        say(f"alerts {alerts}")
        reserved, duplicates = race(self.store, creates, reserve)
        naive, naive_duplicates = race(self.store, creates, look_then_insert)
        return {
            "names": len(self.names),
            "query_p99_ms": ours.p99(),
            "recall5": ours.recall(),
            "pg_trgm_p99_ms": trigrams.p99(),
            "pg_trgm_recall5": trigrams.recall(),
            "tantivy_p99_ms": theirs.p99(),
            "tantivy_recall5": theirs.recall(),
            "grpc_check_p99_ms": checks.p99(),
            "grpc_typed_check_p99_ms": typed.p99(),
            **{
                f"grpc_check_{who}_cpu_ms": round(1000 * spent / ROUNDS / len(self.asked), 2)
                for who, spent in used.items()
            },
            **alerts,
            "duplicates": duplicates,
            "naive_duplicates": naive_duplicates,
            "reserve_p99_ms": reserved,
            "naive_p99_ms": naive,
        }

    def by_index(self, query: str, number: str = "", threshold: float = -100.0) -> list[str]:
        """Return the names that our index finds, the likeliest first."""
        probe = Record(normalise(query), phones=frozenset({digest_of(number)} if number else ()))
        weights = Weights(near=threshold, same=100.0)
        with self.store.transaction(self.tenant) as tx:
            return [found.row.name for found in index.find(tx, probe, weights, 10)]

    def by_trigrams(self, query: str) -> list[str]:
        """Return the names that pg_trgm finds, the likest first."""
        with self.store.across("main") as session:
            return list(
                session.scalars(
                    text(
                        "SELECT name FROM dedupe.bench_name WHERE core % :core"
                        " ORDER BY similarity(core, :core) DESC LIMIT 10"
                    ),
                    {"core": normalise(query).core},
                )
            )

    def _alerts(self) -> dict[str, float]:
        """Return how often a check alarms for a new name and for a spoilt one; with a number, from `same` on."""
        return {
            "name_alert_rate": share(self.by_index(name, "", WEIGHTS.near) for name in self.fresh),
            "name_alert_recall": share(
                target in self.by_index(query, "", WEIGHTS.near) for query, target, _ in self.asked
            ),
            "two_field_alert_rate": share(self.by_index(name, UNKNOWN, WEIGHTS.same) for name in self.fresh),
            "two_field_recall": share(
                target in self.by_index(query, number, WEIGHTS.same) for query, target, number in self.asked
            ),
        }

    def _load(self, url: str) -> None:
        """Store the names as reservations would, many at a time, and make the indexes over them at the end."""
        reservation_id, now = new_id(), utc_now()
        with psycopg.connect(url, options=EVERY_TENANT_OPTIONS, autocommit=True) as connection:
            connection.execute(
                "INSERT INTO dedupe.reservation (tenant_id, reservation_id, state, request_digest, holder_name,"
                " settle_time, create_time) VALUES (%s, %s, %s, '', '王**', %s, %s)",
                [self.tenant.id, reservation_id, ReservationState.CONFIRMED, now, now],
            )
            again = take_off(connection)
            same = (self.tenant.id, reservation_id, now.isoformat())
            with ProcessPoolExecutor(2) as processes:
                stored = 0
                for count in processes.map(partial(store_part, url, same), batches(self.names)):
                    stored += count
                    if stored % 100_000 == 0:
                        say(f"{stored} are stored")
            connection.execute("SET maintenance_work_mem = '1GB'")
            for statement in again:
                connection.execute(statement)
            say("indexes are made")
            connection.execute("VACUUM ANALYZE dedupe.match_record, dedupe.held_key")
        with self.store.transaction(self.tenant) as tx:
            index.recount(tx)
        say("PostgreSQL holds them")

    def _rows(self, url: str) -> Iterator[tuple[Any, ...]]:
        """Give what PostgreSQL holds of each name: name, whole, core, brand_length, regions, sound, grams."""
        with (
            psycopg.connect(url, options=EVERY_TENANT_OPTIONS) as connection,
            connection.cursor("names") as cursor,
        ):
            cursor.itersize = BATCH
            yield from cursor.execute(
                "SELECT name, whole, core, brand_length, regions, sound, grams FROM dedupe.match_record"
            )

    def _lay_down_trigrams(self) -> None:
        """Give pg_trgm the same normalised names."""
        with self.store.transaction(self.tenant) as tx:
            session = tx.session
            session.execute(
                text("CREATE TABLE dedupe.bench_name AS SELECT name, core FROM dedupe.match_record")
            )
            session.execute(text("SET LOCAL maintenance_work_mem = '1GB'"))
            session.execute(text("CREATE INDEX ON dedupe.bench_name USING gin (core gin_trgm_ops)"))
            session.execute(text("ANALYZE dedupe.bench_name"))
        say("pg_trgm holds them")


def take_off(connection: psycopg.Connection) -> list[str]:
    """Take off what makes storing a million rows slow; return the statements that put it back.

    The wall too: a table with policies takes no COPY. Its owner may pass where it is not forced.
    """
    again = []
    for table in ("match_record", "held_key"):
        constraints = connection.execute(
            "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE conrelid = %s::regclass AND contype IN ('p', 'f') ORDER BY contype DESC",
            [f"dedupe.{table}"],
        ).fetchall()
        indexes = connection.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'dedupe' AND tablename = %s"
            " AND indexname <> ALL(%s)",
            [table, [name for name, _ in constraints]],
        ).fetchall()
        for name, definition in constraints:
            connection.execute(f"ALTER TABLE dedupe.{table} DROP CONSTRAINT {name}")
            again.append(f"ALTER TABLE dedupe.{table} ADD CONSTRAINT {name} {definition}")
        for name, definition in indexes:
            connection.execute(f"DROP INDEX dedupe.{name}")
            again.append(definition)
        connection.execute(f"ALTER TABLE dedupe.{table} NO FORCE ROW LEVEL SECURITY")
        again.append(f"ALTER TABLE dedupe.{table} FORCE ROW LEVEL SECURITY")
    return again


def store_part(url: str, same: tuple[str, str, str], names: Sequence[tuple[int, str]]) -> int:
    """Store names with their numbers as match records and held keys; return how many.

    same: tenant, reservation and time of all.
    """
    tenant_id, reservation_id, now = same
    seed = tenant_seed(tenant_id)
    records, keys = [], []
    for number, name in names:
        subject = Subject(SubjectKind.CUSTOMER, new_id(), name, (phone(number),))
        row = index.compared(seed, subject)
        records.append([tenant_id, subject.id, reservation_id, "王**", now, *map(row.get, COLUMNS)])
        keys += [
            [tenant_id, reservation_id, subject.id, key.kind, key.field, key.digest]
            for key in keys_of(subject)
        ]
    with psycopg.connect(url) as connection:
        copy(
            connection,
            f"match_record (tenant_id, customer_id, reservation_id, holder_name, create_time, {', '.join(COLUMNS)})",
            records,
        )
        copy(connection, "held_key (tenant_id, reservation_id, subject_id, kind, field, digest)", keys)
    return len(names)


def batches(names: Sequence[str]) -> Iterator[list[tuple[int, str]]]:
    """Give the names with their numbers, so many at a time."""
    left = enumerate(names)
    while batch := list(islice(left, BATCH)):
        yield batch


def copy(connection: psycopg.Connection, into: str, rows: Iterable[Sequence[Any]]) -> None:
    """Write rows into one of dedupe's tables."""
    with connection.cursor().copy(f"COPY dedupe.{into} FROM STDIN") as writer:
        for row in rows:
            writer.write_row(row)


class Tantivy:
    """The same grams of the same names in tantivy; its best hits are ranked and compared as ours are."""

    def __init__(self, where: str, seed: int, rows: Iterable[tuple[Any, ...]]) -> None:
        builder = tantivy.SchemaBuilder()
        builder.add_text_field("grams", tokenizer_name="whitespace", index_option="freq")
        builder.add_text_field("name", stored=True, tokenizer_name="raw")
        self._schema = builder.build()
        self._seed = seed
        self._names: list[Name] = []
        self._typed: list[str] = []
        tantivy_index = tantivy.Index(self._schema, path=where)
        writer = tantivy_index.writer(heap_size=500_000_000, num_threads=2)
        for place, (name, whole, core, brand_length, regions, sound, grams) in enumerate(rows):
            self._typed.append(name)
            self._names.append(Name(whole or name, core, core[:brand_length], tuple(regions), sound))
            document = tantivy.Document()
            document.add_text("grams", " ".join(map(str, grams)))
            document.add_text("name", str(place))
            writer.add_document(document)
        writer.commit()
        writer.wait_merging_threads()
        tantivy_index.reload()
        self._searcher = tantivy_index.searcher()

    def find(self, query: str) -> list[str]:
        """Return the names that are found, the likeliest first."""
        name = normalise(query)
        terms = [
            (tantivy.Occur.Should, tantivy.Query.term_query(self._schema, "grams", str(gram)))
            for gram in asked_grams(self._seed, name)
        ]
        hits = self._searcher.search(tantivy.Query.boolean_query(terms), RANKED, count=False).hits
        places = [int(self._searcher.doc(address)["name"][0]) for _, address in hits]
        found = [self._names[place] for place in places]
        near = Candidates(
            [str(place) for place in places],
            [other.core for other in found],
            [other.sound for other in found],
            [",".join(other.regions) for other in found],
        ).nearest(name)
        frequencies = Frequencies(records=len(self._names))
        scored = sorted(
            (-compare(Record(name), Record(self._names[int(place)]), frequencies, WEIGHTS).score, int(place))
            for place in near
        )
        return [self._typed[place] for _, place in scored]


@contextmanager
def serving(
    stores: PrivateStores, tenant: Tenant
) -> Iterator[tuple[Sequence[Callable[[str], list[str]]], Sequence[int]]]:
    """Run replicas of the service as they are run.

    Give a check for each client, which returns the names it shows, and the replicas' process ids.
    """
    keys = {issuer: generate_key() for issuer in ("identity", "dedupe")}
    environment = {
        **os.environ,
        "DATABASE_URL": stores.database_urls["main"],
        "AMQP_URL": stores.amqp_url,
        "TEMPORAL_ADDRESS": stores.temporal_address,
        "SIGNING_KEYS": json.dumps({"dedupe": keys["dedupe"][0]}),
        "TRUSTED_KEYS": json.dumps({issuer: public for issuer, (_, public) in keys.items()}),
        "IDENTITY_ADDRESS": "127.0.0.1:9",
        "CUSTOMERS_ADDRESS": "127.0.0.1:9",
        "LOG_LEVEL": "WARNING",
    }
    caller = Caller(tenant=tenant, person_id=new_id(), rights=frozenset({"customers.create"}), scope="all")
    # Made for later, so that it lasts for longer than its minute.
    token = Signer("identity", keys["identity"][0]).person_token(caller, utc_now() + timedelta(hours=1))[0]
    with ExitStack() as stack:
        ports, pids = [free_port() for _ in range(REPLICAS)], []
        for port in ports:
            process = subprocess.Popen(
                [sys.executable, "-m", "services.dedupe", "api"], env={**environment, "PORT": str(port)}
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
            pids.append(process.pid)
        channels = [
            stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{ports[client % REPLICAS]}"))
            for client in range(CLIENTS)
        ]
        for channel in channels:
            grpc.channel_ready_future(channel).result(timeout=60)
        stubs = [DedupeServiceStub(channel) for channel in channels]

        def check(stub: DedupeServiceStub, query: str) -> list[str]:
            answer = stub.CheckDuplicates(
                pb.CheckDuplicatesRequest(name=query), metadata=(("authorization", f"Bearer {token}"),)
            )
            return [similar.name for similar in answer.similar]

        yield [partial(check, stub) for stub in stubs], pids


@contextmanager
def counting(used: dict[str, float], servers: Sequence[int], postgresql: int) -> Iterator[None]:
    """Add the processors' seconds that the checks inside cost the service, PostgreSQL and the clients, which are us."""

    def now() -> tuple[float, float, float]:
        return sum(map(used_s, servers)), used_s(postgresql), time.process_time()

    before = now()
    yield
    for who, old, new in zip(used, before, now(), strict=True):
        used[who] += new - old


class Figures:
    """Times and hits of one way to search. The p99 is the median of the rounds' ones."""

    def __init__(self) -> None:
        self._p99s: list[float] = []
        self._hits: list[bool] = []

    def round(self, asked: Sequence[tuple[str, str, str]], search: Callable[[str], list[str]]) -> None:
        """Ask every query once."""
        self._take([_timed(search, query, target) for query, target, _ in asked])

    def together(
        self,
        asked: Sequence[tuple[str, str, str]],
        searches: Sequence[Callable[[str], list[str]]],
        every_s: float = 0.0,
    ) -> None:
        """Ask every query once, by several clients at once. every_s: how often each asks, 0 without a pause."""
        begin = time.monotonic()

        def work(client: int) -> list[tuple[float, bool]]:
            done = []
            for number, (query, target, _) in enumerate(asked[client :: len(searches)]):
                # They began to type at different moments.
                due = begin + every_s * (number + client / len(searches))
                time.sleep(max(0.0, due - time.monotonic()))
                done.append(_timed(searches[client], query, target))
            return done

        with ThreadPoolExecutor(len(searches)) as threads:
            self._take([item for items in threads.map(work, range(len(searches))) for item in items])

    def _take(self, done: Sequence[tuple[float, bool]]) -> None:
        self._p99s.append(p99_ms([took for took, _ in done]))
        self._hits += [hit for _, hit in done]

    def p99(self) -> float:
        """Return milliseconds."""
        return round(statistics.median(self._p99s), 2)

    def recall(self) -> float:
        """Return the share of queries whose name was among the first five."""
        return share(self._hits)

    def __str__(self) -> str:
        return f"{self.p99()} ms at {self.recall()}"


def _timed(search: Callable[[str], list[str]], query: str, target: str) -> tuple[float, bool]:
    start = time.perf_counter()
    found = search(query)
    return time.perf_counter() - start, target in found[:5]


def p99_ms(times: Sequence[float]) -> float:
    """Return the 99th percentile of seconds in milliseconds."""
    return round(1000 * percentile(times, 0.99), 2)


def share(hits: Iterable[object]) -> float:
    """Return how many of them are true, 0 to 1."""
    values = [bool(hit) for hit in hits]
    return round(sum(values) / max(len(values), 1), 4)


def phone(number: int) -> str:
    """Return the mobile of the customer with this number."""
    return f"+86138{number:08}"


def race(store: Store, creates: int, create: Callable[[Store, Tenant, str], bool]) -> tuple[float, int]:
    """Create customers by 16 connections of two processes, each name by two; return the p99 and the surplus names."""
    tenant = Tenant(new_id(), "main")
    if create is look_then_insert:
        with store.nobodys("main") as session:
            session.execute(text("CREATE TABLE dedupe.bench_customer (name text)"))
            session.execute(text("CREATE INDEX ON dedupe.bench_customer (name)"))
    else:
        with store.transaction(tenant) as tx:
            (similar,) = [rule for rule in list_rules(tx) if rule.field == RuleField.SIMILAR]
            update_rule(tx, similar.rule_id, False)
    names = [f"抢手{place}号公司" for place in range(creates // 2)]
    # Made anew, not forked: this one has threads of gRPC.
    with ProcessPoolExecutor(REPLICAS, get_context("spawn")) as processes:
        work = partial(create_all, store.urls, tenant, create)
        shares = [names[share::REPLICAS] for share in range(REPLICAS)]
        done = [each for part in processes.map(work, shares) for each in part]
    say(f"{creates} creates are through")
    return p99_ms([took for took, _ in done]), sum(made for _, made in done) - len(names)


def create_all(
    urls: Mapping[str, str],
    tenant: Tenant,
    create: Callable[[Store, Tenant, str], bool],
    names: Sequence[str],
) -> list[tuple[float, bool]]:
    """Create customers, two of each name at once; return how long each took, in seconds, and whether it was made."""
    connections = CLIENTS // REPLICAS
    store = Store(urls, Base.metadata, utc_now, pool_size=connections)

    def timed(name: str) -> tuple[float, bool]:
        start = time.perf_counter()
        made = create(store, tenant, name)
        return time.perf_counter() - start, made

    try:
        with ThreadPoolExecutor(connections) as threads:
            return list(threads.map(timed, [name for name in names for _ in range(2)]))
    finally:
        store.close()


def reserve(store: Store, tenant: Tenant, name: str) -> bool:
    """Create as we do."""
    try:
        with store.transaction(tenant) as tx:
            reserve_keys(tx, new_id(), [Subject(SubjectKind.CUSTOMER, new_id(), name, ())], "", "")
    except AlreadyExists:
        return False
    return True


def look_then_insert(store: Store, tenant: Tenant, name: str) -> bool:
    """Create as peers do: look, then insert."""
    with store.nobodys("main") as session:
        if session.scalar(text("SELECT 1 FROM dedupe.bench_customer WHERE name = :name"), {"name": name}):
            return False
        session.execute(text("INSERT INTO dedupe.bench_customer VALUES (:name)"), {"name": name})
    return True


def say(line: str) -> None:
    """Tell how far it is, and after how many seconds."""
    print(f"{time.monotonic() - BEGIN:5.0f} s  {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
