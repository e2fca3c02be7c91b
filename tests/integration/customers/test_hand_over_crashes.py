"""The API dies while customers are handed over and others taken back: each goes once, each is told of once."""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from crm.customers.v1 import customers_pb2, pools_pb2
from kombu import Connection, Consumer, Queue
from sqlalchemy import func, select

from services.chassis.amqp import event_exchange
from services.chassis.db import Transaction
from services.chassis.errors import AppError
from services.chassis.ids import new_id
from services.chassis.settings import Settings
from services.chassis.temporal import WorkerBundle
from services.chassis.tenancy import Tenant
from services.customers.__main__ import SERVICE
from services.customers.domain.customers import Cause
from services.customers.store.tables import Customer, HandOver, HandOverItem, OwnershipChange
from services.customers.usecases.settings import PoolDraft, create_pool
from services.customers.workflows.activities import Activities
from services.customers.workflows.contracts import QUEUE
from services.customers.workflows.workflow import HandOverCustomers, SweepPool
from tests.integration.customers.killed_api import Api
from tests.integration.customers.office import MANAGER, Office, Person
from tests.integration.customers.test_interleavings import RULE, create
from tests.integration.customers.test_pool_crashes import CUSTOMERS as NEGLECTED
from tests.integration.customers.test_pool_crashes import neglected
from tests.support.running import working
from tests.support.until import until

# The leaver's customers; those of them that the leaver returns meanwhile; how many go in one transaction.
CUSTOMERS, RETURNED, BATCH = 120, 24, 3
# What others are told of them.
MOVES = ("customer_transferred", "customer_returned", "customer_reclaimed")
# Deaths on the way, behind the one at the beginning.
KILLS = 1


@pytest.fixture
def office(api_office: Office) -> Office:
    """A tenant whose staff call a process that may die."""
    return api_office


def answered(person: Person, request: Any) -> Any:
    """Send a request again and again until a process lives to answer it; return the answer, or the refusal."""

    def answer() -> Any:
        try:
            return person(request)
        except AppError as error:
            # What a page hears of a process that died, or is not there yet.
            return None if error.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED") else error

    return until(answer, 60)


def give_back(leaver: Person, customer_ids: Sequence[str], pool_id: str) -> set[str]:
    """Let the leaver return customers one by one; return which it still could."""
    given_back = set()
    for customer_id in customer_ids:
        request = customers_pb2.ReturnCustomerRequest(
            request_id=new_id(), customer_id=customer_id, reason="放弃", pool_id=pool_id
        )
        answer = answered(leaver, request)
        if isinstance(answer, AppError):
            assert answer.reason == "NOT_OWNER"
        else:
            given_back.add(customer_id)
    return given_back


@contextmanager
def handing_over(settings: Settings) -> Iterator[None]:
    """Run a worker that takes few customers at a time."""
    runtime = SERVICE.runtime(settings, {})
    activities = Activities(runtime.store, BATCH)
    bundle = WorkerBundle(QUEUE, [SweepPool, HandOverCustomers], [activities.sweep, activities.hand_over])
    try:
        with working(runtime, bundle):
            yield
    finally:
        runtime.store.close()


def listening(connection: Connection, tenant: Tenant) -> Callable[[], dict[str, set[str]]]:
    """Bind a queue to what customers tells; return what tells, by customer, the ids of the events of its moves."""
    queue = Queue("", event_exchange("customers"), "#", exclusive=True)
    moves: dict[str, set[str]] = defaultdict(set)

    def take(body: Mapping[str, Any], _message: object) -> None:
        if body["tenant"]["id"] == tenant.id and body["type"] in MOVES:
            moves[body["data"]["customerId"]].add(body["id"])

    Consumer(connection.channel(), [queue], callbacks=[take], accept=["json"], no_ack=True).consume()

    def told() -> dict[str, set[str]]:
        with suppress(TimeoutError):
            while True:
                connection.drain_events(timeout=1)
        return moves

    return told


def owned(office: Office, person: Person) -> int:
    """Return how many customers somebody owns."""
    query = select(func.count()).where(Customer.tenant_id == office.tenant.id, Customer.owner_id == person.id)
    return office.run(lambda tx: tx.session.scalar(query) or 0)


def untold(office: Office) -> int:
    """Return how many events of the tenant have not left."""
    outbox = office.store.tables["outbox"]
    query = select(func.count()).where(outbox.c.tenant_id == office.tenant.id, outbox.c.lane == "amqp")
    return office.run(lambda tx: tx.session.scalar(query) or 0)


def over(person: Person, hand_over_id: str) -> pools_pb2.HandOver | None:
    """Return a hand-over that has ended."""
    found: pools_pb2.HandOver = person(pools_pb2.GetHandOverRequest(hand_over_id=hand_over_id)).hand_over
    return found if found.state == pools_pb2.HAND_OVER_STATE_DONE else None


@pytest.mark.timeout(300)
def test_a_killed_api_leaves_a_hand_over_begun_once_and_nothing_twice(
    api: Api, office: Office, settings: Settings
) -> None:
    """F16, F34: killed in the call that begins it, and at random points while the leaver returns customers too.

    Another's are taken back meanwhile, by a sweep that only the relay can start. A request is repeated until it is
    answered. Relays die with their process, and those of the next one go on.
    """
    seed = random.randrange(10**6)  # noqa: S311 - a place to die is no secret
    dice = random.Random(seed)  # noqa: S311 - as above
    leaver, manager = office.hire(), office.hire(MANAGER, scope="all")
    heirs = [office.hire().id for _ in range(2)]
    ids = office.run(lambda tx: [create(tx, leaver.caller) for _ in range(CUSTOMERS)])
    begin = pools_pb2.StartHandOverRequest(
        request_id=new_id(), from_person_id=leaver.id, to_person_ids=heirs, reason="离职"
    )
    pool_id = office.run(lambda tx: create_pool(tx, PoolDraft("公海三", RULE, (), 0)).pool_id)
    _, all_taken_back = neglected(office.store, office.tenant)
    with Connection(settings.amqp_url) as connection, ThreadPoolExecutor(1) as threads:
        told = listening(connection, office.tenant)
        with api.alive(1, dice.choice(["before", "after"])) as process:
            assert manager.refused(begin).code == "UNAVAILABLE", f"seed {seed}"
            assert process.wait(timeout=60) == -9
        with handing_over(settings):
            returns = threads.submit(give_back, leaver, dice.sample(ids, RETURNED), pool_id)
            for _ in range(KILLS):
                with api.alive():
                    hand_over_id = answered(manager, begin).hand_over.hand_over_id
                    goal = dice.randint(0, owned(office, leaver))
                    until(lambda goal=goal: owned(office, leaver) <= goal, 60)  # type: ignore[misc]  # mypy infers no lambda's default
            with api.alive():
                given_back = returns.result()
                done = until(lambda: over(manager, hand_over_id), 60)
                until(lambda: all_taken_back() and not untold(office), 60)
        events = told()
    assert done
    hand_overs, items, ledger, owners = office.run(written)
    left = [change for change in ledger if change.from_owner_id == leaver.id]
    handed = [change.customer_id for change in left if change.cause == Cause.HAND_OVER]
    assert hand_overs == [hand_over_id], f"seed {seed}"
    assert Counter(change.customer_id for change in left) == Counter(ids), f"seed {seed}"
    assert {change.customer_id for change in left if change.cause == Cause.RETURN} == given_back
    assert sorted(items) == sorted(handed), f"seed {seed}"
    assert (done.moved, done.left) == (len(handed), 0), f"seed {seed}"
    assert {change.customer_id: change.to_owner_id for change in ledger} == owners, f"seed {seed}"
    taken = [change.customer_id for change in ledger if change.cause == Cause.RECLAIM]
    assert (len(taken), len(set(taken))) == (NEGLECTED, NEGLECTED), f"seed {seed}"
    # Told at least once each, and by one event: receivers know it by its id.
    assert {key: len(told_by) for key, told_by in events.items()} == dict.fromkeys([*ids, *taken], 1)


def written(
    tx: Transaction,
) -> tuple[Sequence[str], Sequence[str], Sequence[OwnershipChange], dict[str, str | None]]:
    """Return the tenant's hand-overs, the customers that they took, the ledger, and every customer's owner."""
    query = select(Customer.customer_id, Customer.owner_id)
    return (
        tx.session.scalars(select(HandOver.hand_over_id)).all(),
        tx.session.scalars(select(HandOverItem.customer_id)).all(),
        tx.session.scalars(select(OwnershipChange).order_by(OwnershipChange.sequence)).all(),
        {row.customer_id: row.owner_id for row in tx.session.execute(query)},
    )
