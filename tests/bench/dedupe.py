"""How fast and how right matching is, beside pg_trgm on the same names in the same database and run.

    make bench-dedupe                     20,000 composed names, 200 queries
    make bench-dedupe NAMES=1000000       as the figures are given

Names are composed by `tests/support/names.py` and spoilt by it for the queries. In three interleaved rounds each query
goes to our index, as `CheckDuplicates` asks it, and to a GIN of pg_trgm over the same normalised names. Then 16 threads
create customers of few names, half of them twice: with reservations, and by looking before inserting as peers do.
The last line is one JSON object: names, milliseconds, recall at 5, share of queries for new names that raise an alert
by name alone and with a telephone number besides, and the duplicates that each way of creating stored.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import text

from deploy.local.stores import PrivateStores
from services.chassis.clock import utc_now
from services.chassis.db import Store
from services.chassis.errors import AlreadyExists
from services.chassis.ids import new_id
from services.chassis.migrations.runner import upgrade
from services.chassis.tenancy import Tenant
from services.dedupe.domain.keys import Subject, SubjectKind, digest_of
from services.dedupe.matching.normalise import normalise
from services.dedupe.matching.weights import Record, Weights
from services.dedupe.store import index
from services.dedupe.store.tables import Base
from services.dedupe.usecases.batches import Wanted, reserve_batch
from services.dedupe.usecases.reservations import reserve_keys
from tests.support.names import Names

ROUNDS = 3
WRITERS = 16
BATCH = 1000
WEIGHTS = Weights()


def main(arguments: Sequence[str]) -> int:
    """Run the bench and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--names", type=int, default=20_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--creates", type=int, default=2_000)
    given = parser.parse_args(arguments)
    with PrivateStores(databases=("main",)) as stores:
        url = stores.database_urls["main"]
        upgrade("dedupe", Base.metadata, url)
        store = Store({"main": url}, Base.metadata, utc_now, pool_size=WRITERS)
        try:
            print(json.dumps(measure(store, given.names, given.queries, given.creates)))
        finally:
            store.close()
    return 0


def measure(store: Store, count: int, queries: int, creates: int) -> dict[str, float]:
    """Return the figures."""
    tenant = Tenant(new_id(), "main")
    names = Names(20261122)
    parts = list(dict.fromkeys(names.parts() for _ in range(count)))
    stored = ["".join(part) for part in parts]
    for start in range(0, len(stored), BATCH):
        wanted = [
            Wanted(new_id(), (customer(name, phone(start + place)),))
            for place, name in enumerate(stored[start : start + BATCH])
        ]
        with store.transaction(tenant) as tx:
            reserve_batch(tx, wanted, "", "")
    with store.transaction(tenant) as tx:
        index.recount(tx)
    lay_down_trigrams(store, tenant)
    step = max(len(parts) // queries, 1)
    asked = [
        (names.spoil(parts[place])[1], stored[place], phone(place)) for place in range(0, len(parts), step)
    ]
    ours, theirs = Figures(), Figures()
    for _ in range(ROUNDS):
        ours.round(
            [(query, target) for query, target, _ in asked], lambda query: by_index(store, tenant, query)
        )
        theirs.round([(query, target) for query, target, _ in asked], lambda query: by_trigrams(store, query))
    known = set(stored)
    # Names that nobody has, and numbers that nobody has: every alert is a false one.
    fresh = ["".join(names.parts()) for _ in range(2 * queries)]
    fresh = [name for name in fresh if name not in known]
    reserved, duplicates = race(store, creates, reserve)
    naive, naive_duplicates = race(store, creates, look_then_insert)
    return {
        "names": len(stored),
        "query_p99_ms": ours.p99(),
        "recall5": ours.recall(),
        "pg_trgm_p99_ms": theirs.p99(),
        "pg_trgm_recall5": theirs.recall(),
        "name_alert_rate": share(by_index(store, tenant, name) for name in fresh),
        "name_alert_recall": share(target in by_index(store, tenant, query) for query, target, _ in asked),
        "two_field_alert_rate": share(
            by_index(store, tenant, name, "+8619999999999", WEIGHTS.same) for name in fresh
        ),
        "two_field_recall": share(
            target in by_index(store, tenant, query, number, WEIGHTS.same) for query, target, number in asked
        ),
        "duplicates": duplicates,
        "naive_duplicates": naive_duplicates,
        "reserve_p99_ms": reserved,
        "naive_p99_ms": naive,
    }


class Figures:
    """Times and hits of one way to search. The p99 is the median of the rounds' ones."""

    def __init__(self) -> None:
        self._p99s: list[float] = []
        self._hits: list[bool] = []

    def round(self, asked: Sequence[tuple[str, str]], search: Callable[[str], list[str]]) -> None:
        """Ask every query once."""
        times = []
        for query, target in asked:
            start = time.perf_counter()
            found = search(query)
            times.append(time.perf_counter() - start)
            self._hits.append(target in found[:5])
        self._p99s.append(p99_ms(times))

    def p99(self) -> float:
        """Return milliseconds."""
        return round(statistics.median(self._p99s), 2)

    def recall(self) -> float:
        """Return the share of queries whose name was among the first five."""
        return share(self._hits)


def p99_ms(times: Sequence[float]) -> float:
    """Return the 99th percentile of seconds in milliseconds."""
    return round(1000 * sorted(times)[min(int(len(times) * 0.99), len(times) - 1)], 2)


def share(hits: Iterable[object]) -> float:
    """Return how many of them are true, 0 to 1."""
    values = [bool(hit) for hit in hits]
    return round(sum(values) / max(len(values), 1), 4)


def customer(name: str, *phones: str) -> Subject:
    """Return a new customer."""
    return Subject(SubjectKind.CUSTOMER, new_id(), name, phones)


def phone(number: int) -> str:
    """Return the mobile of the customer with this number."""
    return f"+86138{number:08}"


def by_index(
    store: Store, tenant: Tenant, query: str, number: str = "", threshold: float = WEIGHTS.near
) -> list[str]:
    """Return the names that our index finds, the likeliest first."""
    phones = frozenset({digest_of(number)} if number else ())
    probe = Record(normalise(query), phones=phones)
    weights = Weights(near=threshold, same=max(threshold, WEIGHTS.same))
    with store.transaction(tenant) as tx:
        return [found.row.name for found in index.find(tx, probe, weights, 10)]


def lay_down_trigrams(store: Store, tenant: Tenant) -> None:
    """Give pg_trgm the same normalised names."""
    with store.across(tenant.database) as session:
        session.execute(text("CREATE EXTENSION IF NOT EXISTS pg_trgm"))
        session.execute(
            text(
                "CREATE TABLE dedupe.bench_name AS SELECT name, core FROM dedupe.match_record"
                " WHERE tenant_id = :tenant"
            ),
            {"tenant": tenant.id},
        )
        session.execute(text("CREATE INDEX ON dedupe.bench_name USING gin (core gin_trgm_ops)"))
        session.execute(text("ANALYZE dedupe.bench_name"))
        session.execute(text("ANALYZE dedupe.match_record"))


def by_trigrams(store: Store, query: str) -> list[str]:
    """Return the names that pg_trgm finds, the likest first."""
    with store.across("main") as session:
        return list(
            session.scalars(
                text(
                    "SELECT name FROM dedupe.bench_name WHERE core % :core"
                    " ORDER BY similarity(core, :core) DESC LIMIT 10"
                ),
                {"core": normalise(query).core},
            )
        )


def race(store: Store, creates: int, create: Callable[[Store, Tenant, str], bool]) -> tuple[float, int]:
    """Create customers in threads, each name by two; return the p99 in milliseconds and the names stored twice."""
    tenant = Tenant(new_id(), "main")
    if create is look_then_insert:
        with store.across("main") as session:
            session.execute(text("CREATE TABLE IF NOT EXISTS dedupe.bench_customer (name text)"))
            session.execute(text("CREATE INDEX ON dedupe.bench_customer (name)"))
    names = [f"抢手{place // 2}号公司" for place in range(creates)]

    def timed(name: str) -> tuple[float, bool]:
        start = time.perf_counter()
        made = create(store, tenant, name)
        return time.perf_counter() - start, made

    with ThreadPoolExecutor(WRITERS) as threads:
        done = list(threads.map(timed, names))
    return p99_ms([took for took, _ in done]), sum(made for _, made in done) - len(set(names))


def reserve(store: Store, tenant: Tenant, name: str) -> bool:
    """Create as we do."""
    try:
        with store.transaction(tenant) as tx:
            reserve_keys(tx, new_id(), [customer(name)], "", "")
    except AlreadyExists:
        return False
    return True


def look_then_insert(store: Store, tenant: Tenant, name: str) -> bool:
    """Create as peers do: look, then insert."""
    with store.across("main") as session:
        if session.scalar(text("SELECT 1 FROM dedupe.bench_customer WHERE name = :name"), {"name": name}):
            return False
        session.execute(text("INSERT INTO dedupe.bench_customer VALUES (:name)"), {"name": name})
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
