"""How fast claims, pool pages and sweeps are over a large base, beside the bare statement and the naive way.

    make bench-pool                      20,000 customers: a try
    make bench-pool CUSTOMERS=1000000    the size that the figures are promised for

Stores of its own are started for it. Claims are offered at a fixed rate through the use case by many threads, each its
own transaction, as the API does. The bare `UPDATE ... WHERE owner IS NULL RETURNING` runs on the same table and its
indexes, under the same load, while the ledger's trigger is off; both take turns, and of their rounds the middle one
counts, for no machine does only this. The naive SELECT, check, UPDATE runs on a copy. The last line is one JSON object.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from itertools import islice
from statistics import median

from psycopg import Connection
from sqlalchemy import func, select, text

from deploy.local.stores import PrivateStores
from services.chassis.clock import utc_now
from services.chassis.db import Store
from services.chassis.ids import new_id
from services.chassis.migrations.runner import upgrade
from services.chassis.temporal import TemporalLink
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Caller
from services.customers.domain.search import fold, name_pieces
from services.customers.store.rules import tenant_settings
from services.customers.store.tables import Base, Customer, EvidenceSource, OwnershipChange
from services.customers.usecases.evidence import SOURCES
from services.customers.usecases.pool_moves import claim_customers
from services.customers.usecases.pool_pages import PoolFilter, list_pool_customers
from services.customers.usecases.settings import PoolDraft, create_pool
from services.customers.workflows.activities import Activities
from services.customers.workflows.contracts import (
    QUEUE,
    SWEEP_NOW,
    SWEEP_POOL,
    Sweep,
    SweepAt,
    sweep_workflow_id,
)
from services.kernel.ownership import ReclaimRule
from services.kernel.pinyin import initials
from tests.bench.figures import percentile
from tests.bench.pool_worker import READY
from tests.bench.seeding import LEDGER_OFF, LEDGER_ON, seeding

THREADS = 24
REPS = 100
# Rounds in which claims and bare statements take turns.
ROUNDS = 3
# Pages looked at for the percentile, and idle checks.
PAGES = 60
LEVELS = ("A", "B", "C", "D")
REGIONS = ("上海", "北京", "广州", "深圳", "成都")
TYPES = ("制造", "零售", "软件")

COLUMNS = (
    "tenant_id, customer_id, name, state, level, region, address, business_type, owner_department_path, pool_id,"
    " rule_version, create_time, version, pool_time, search_name, initials, pieces"
)
# Owned since long ago, with the rows of the ledger without which the database lets nobody own.
OWN = """
WITH wanted AS (
    SELECT customer_id, (CAST(:reps AS uuid[]))[1 + (row_number() OVER ()) % cardinality(CAST(:reps AS uuid[]))] AS rep
    FROM unnest(CAST(:ids AS uuid[])) AS customer_id
), recorded AS (
    INSERT INTO customers.ownership_change (tenant_id, change_id, customer_id, to_owner_id, pool_id, cause, reason,
        rule_version, inputs, create_time)
    SELECT :tenant, gen_random_uuid(), customer_id, rep, :pool, 'assign', '', 1, '{}', :now FROM wanted
)
UPDATE customers.customer AS c SET owner_id = rep, owner_department_path = 'root/', own_time = :now, pool_time = NULL,
    reclaim_due_at = CAST(:now AS timestamptz) + interval '90 days', warned_time = :warned, rule_version = 1
FROM wanted WHERE c.tenant_id = :tenant AND c.customer_id = wanted.customer_id
"""
COPY = """
CREATE TABLE customers.bare AS SELECT tenant_id, customer_id, owner_id, version FROM customers.customer;
ALTER TABLE customers.bare ADD PRIMARY KEY (tenant_id, customer_id)
"""


def offered(works: Sequence[Callable[[], object]], rate: float) -> list[float]:
    """Do each work at its time, so many a second; return how long each took from then on, in milliseconds."""
    begin = time.perf_counter()

    def run(index: int) -> float:
        due = begin + index / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        works[index]()
        return (time.perf_counter() - due) * 1000

    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(run, range(len(works))))


class Bench:
    """A tenant with a pool full of customers, and a hundred reps."""

    def __init__(self, store: Store, customers: int) -> None:
        self.store = store
        self.tenant = Tenant(new_id(), "main")
        self.reps = [
            Caller(tenant=self.tenant, person_id=new_id(), department_path="root/") for _ in range(REPS)
        ]
        with store.transaction(self.tenant) as tx:
            draft = PoolDraft("压测池", ReclaimRule(90, 1), (), 1000, claim_requests=1000)
            self.pool_id = create_pool(tx, draft).pool_id
            settings = tenant_settings(tx)
            # So that a claim has a cap to count under.
            settings.owner_cap = customers
        # Spread over the base, as what people claim is.
        self.ids = [new_id() for _ in range(customers)]
        self.free = random.Random(8).sample(self.ids[: customers * 3 // 4], min(8000, customers // 2))  # noqa: S311 - the same each time
        with store.engine("main").connect() as connection:
            driver = connection.connection.driver_connection
            assert isinstance(driver, Connection)
            self._seed(driver)

    def _seed(self, connection: Connection) -> None:
        """Fill the table, and copy it for the naive way."""
        # The pool too: what refers to it is checked anew.
        with seeding(connection, "pool"):
            with connection.cursor().copy(f"COPY customers.customer ({COLUMNS}) FROM STDIN") as copy:
                for row in self._rows():
                    copy.write_row(row)
            connection.execute(COPY)
        # As a base that was not filled just now: a claim would wait until the disk has taken what was.
        connection.execute("VACUUM ANALYZE customers.customer, customers.customer_search, customers.bare")
        os.sync()

    def _rows(self) -> Iterator[tuple[object, ...]]:
        now = utc_now()
        for number, customer_id in enumerate(self.ids):
            name = f"{REGIONS[number % 5]}压测{number}有限公司"
            yield (
                self.tenant.id,
                customer_id,
                name,
                "active",
                LEVELS[number % 4],
                REGIONS[number % 5],
                "",
                TYPES[number % 3],
                "",
                self.pool_id,
                1,
                now - timedelta(seconds=number),
                1,
                now,
                fold(name),
                initials(name),
                name_pieces(name),
            )

    def offer(
        self, claim: Callable[[str, Caller], None], works: Sequence[tuple[str, Caller]], rate: float
    ) -> list[float]:
        """Claim so many a second; return how long each took, in milliseconds.

        The first third only lets every connection of the pool see its statements, as those of a service that runs have.
        """
        times = offered([partial(claim, *work) for work in works], rate)
        return times[len(times) // 3 :]

    def ledger(self, statement: str) -> None:
        """Let the table ask for the ledger's rows, or not."""
        with self.store.engine("main").begin() as connection:
            connection.exec_driver_sql(statement)

    def claim(self, customer_id: str, rep: Caller) -> None:
        """Claim through the use case."""
        with self.store.transaction(self.tenant, rep.person_id) as tx:
            claim_customers(tx, rep, [customer_id])

    def bare(self, customer_id: str, rep: Caller) -> None:
        """Claim by the one statement that is right about the owner and nothing else."""
        with self.store.transaction(self.tenant) as tx:
            tx.session.execute(
                text(
                    "UPDATE customers.customer SET owner_id = :rep, own_time = now(), version = version + 1"
                    " WHERE tenant_id = :tenant AND customer_id = :id AND owner_id IS NULL RETURNING customer_id"
                ),
                {"rep": rep.person_id, "tenant": self.tenant.id, "id": customer_id},
            ).all()

    def naive(self, customer_id: str, rep: Caller) -> bool:
        """Claim as others do: look, decide, write by id; tell whether the claimer believes to have won."""
        key = {"tenant": self.tenant.id, "id": customer_id}
        with self.store.transaction(self.tenant) as tx:
            found = tx.session.execute(
                text("SELECT owner_id FROM customers.bare WHERE tenant_id = :tenant AND customer_id = :id"),
                key,
            ).scalar_one()
            if found:
                return False
            tx.session.execute(
                text(
                    "UPDATE customers.bare SET owner_id = :rep WHERE tenant_id = :tenant AND customer_id = :id"
                ),
                {**key, "rep": rep.person_id},
            )
        return True

    def double_wins(self, contested: Sequence[str]) -> tuple[int, int]:
        """Let three claim each customer at once, both ways; return how many wins too many each way gave."""
        pairs = [(customer_id, self.reps[turn]) for customer_id in contested for turn in range(3)]
        with ThreadPoolExecutor(THREADS) as threads:
            naive = Counter(
                pair[0]
                for pair, won in zip(pairs, threads.map(lambda pair: self.naive(*pair), pairs), strict=True)
                if won
            )
            list(threads.map(lambda pair: self.claim(*pair), pairs))
        with self.store.transaction(self.tenant) as tx:
            claims = tx.session.execute(
                select(OwnershipChange.customer_id, func.count())
                .where(
                    OwnershipChange.tenant_id == self.tenant.id,
                    OwnershipChange.cause == "claim",
                    OwnershipChange.customer_id.in_(contested),
                )
                .group_by(OwnershipChange.customer_id)
            ).all()
        return sum(count - 1 for _, count in claims), sum(count - 1 for count in naive.values())

    def pages(self) -> list[float]:
        """Return how long pages with three filters took, in milliseconds."""
        times = []
        for index in range(PAGES):
            wanted = PoolFilter(
                levels=(LEVELS[index % 4],),
                regions=(REGIONS[index % 5],),
                business_types=(TYPES[index % 3],),
            )
            started = time.perf_counter()
            with self.store.transaction(self.tenant) as tx:
                list_pool_customers(tx, self.reps[0], self.pool_id, wanted, after=None, limit=51)
            times.append((time.perf_counter() - started) * 1000)
        return times

    def idle(self) -> list[float]:
        """Return how long a sweep with nothing due takes, in milliseconds."""
        activities, times = Activities(self.store), []
        for _ in range(PAGES):
            started = time.perf_counter()
            activities.sweep(SweepAt(Sweep(self.tenant, self.pool_id), utc_now()))
            times.append((time.perf_counter() - started) * 1000)
        return times

    def neglect(self, count: int) -> int:
        """Let reps own customers since long ago, warned two days ago; return how many are due now."""
        now = utc_now()
        ids = self.ids[-count:]
        for start in range(0, len(ids), 10_000):
            with self.store.transaction(self.tenant, now=now - timedelta(days=100)) as tx:
                tx.session.execute(
                    text(OWN),
                    {
                        "tenant": self.tenant.id,
                        "ids": ids[start : start + 10_000],
                        "reps": [rep.person_id for rep in self.reps],
                        "pool": self.pool_id,
                        "now": tx.now,
                        "warned": now - timedelta(days=2),
                    },
                )
        with self.store.transaction(self.tenant) as tx:
            tx.session.add_all(
                EvidenceSource(
                    tenant_id=self.tenant.id,
                    source=source,
                    asked_time=now,
                    through_time=now + timedelta(days=1),
                )
                for source in SOURCES
            )
        # The sweep is not to wait until the disk has taken all this.
        os.sync()
        return len(ids)

    def due(self) -> bool:
        """Tell whether anything is left to reclaim."""
        with self.store.transaction(self.tenant) as tx:
            return bool(
                tx.session.scalar(
                    select(Customer.customer_id)
                    .where(
                        Customer.tenant_id == self.tenant.id,
                        Customer.pool_id == self.pool_id,
                        Customer.reclaim_due_at <= tx.now,
                    )
                    .limit(1)
                )
            )


def _wait_for(worker: "subprocess.Popen[str]", word: str) -> None:
    for line in worker.stdout or ():
        if line.strip() == word:
            return
    raise SystemExit("the worker did not start")


def sweep(bench: Bench, stores: PrivateStores, count: int) -> float:
    """Return how many customers a second a worker of its own takes back, through Temporal."""
    environment = {
        "DATABASE_URL": stores.database_urls["main"],
        "AMQP_URL": stores.amqp_url,
        "TEMPORAL_ADDRESS": stores.temporal_address,
        "SIGNING_KEYS": "{}",
        "TRUSTED_KEYS": "{}",
    }
    wanted = Sweep(bench.tenant, bench.pool_id)
    link = TemporalLink(stores.temporal_address, "default")
    command = [sys.executable, "-m", "tests.bench.pool_worker"]
    with subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True
    ) as worker:
        try:
            # A worker that stands ready is what is measured, not Python's imports.
            _wait_for(worker, READY)
            started = time.perf_counter()
            start = {
                "workflow": SWEEP_POOL,
                "id": sweep_workflow_id(wanted),
                "queue": QUEUE,
                "payload": {
                    "tenant": {"id": bench.tenant.id, "database": "main"},
                    "pool_id": bench.pool_id,
                },
                "signal": SWEEP_NOW,
            }
            assert link.deliver([("workflow_start", start)]) == [None]
            while bench.due():
                time.sleep(0.05)
            return count / (time.perf_counter() - started)
        finally:
            worker.terminate()
            link.close()


def middle(rounds: Sequence[Sequence[float]], share: float) -> float:
    """Return the percentile of the round that is in the middle by it."""
    return round(median(percentile(times, share) for times in rounds), 1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--rate", type=float, default=100.0, help="claims offered in a second")
    parser.add_argument("--seconds", type=float, default=10.0, help="of a turn; its first third to warm up")
    parser.add_argument(
        "--reclaims", type=int, default=0, help="0: a quarter of the customers, at most 100,000"
    )
    asked = parser.parse_args()
    with PrivateStores(databases=("main",), given={}) as stores:
        upgrade("customers", Base.metadata, stores.database_urls["main"])
        store = Store(stores.database_urls, Base.metadata, utc_now, pool_size=THREADS)
        bench = Bench(store, asked.customers)
        dice = random.Random(9)  # noqa: S311 - the same load each time
        contested, free = bench.free[:200], bench.free[200:]
        works = iter([(customer_id, dice.choice(bench.reps)) for customer_id in free])
        share = min(int(asked.rate * asked.seconds), len(free) // (2 * ROUNDS))
        bares, claims = [], []
        for _ in range(ROUNDS):
            bench.ledger(LEDGER_OFF)
            bares.append(bench.offer(bench.bare, list(islice(works, share)), asked.rate))
            bench.ledger(LEDGER_ON)
            claims.append(bench.offer(bench.claim, list(islice(works, share)), asked.rate))
        bench.pages()
        double, naive = bench.double_wins(contested)
        pages, idle = bench.pages(), bench.idle()
        count = bench.neglect(asked.reclaims or min(asked.customers // 4, 100_000))
        per_s = sweep(bench, stores, count)
        store.close()
    print(
        json.dumps(
            {
                "customers": asked.customers,
                "claim_p99_ms": middle(claims, 0.99),
                "claim_p50_ms": middle(claims, 0.5),
                "bare_update_p99_ms": middle(bares, 0.99),
                "bare_update_p50_ms": middle(bares, 0.5),
                "page_p99_ms": round(percentile(pages, 0.99), 1),
                "reclaim_per_s": round(per_s),
                "idle_check_ms": round(percentile(idle, 0.5), 1),
                "double_wins": double,
                "naive_double_wins": naive,
            }
        )
    )


if __name__ == "__main__":
    main()
