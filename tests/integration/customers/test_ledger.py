"""The ledger: whatever the interleaving, one owner, never over the cap, and every change is in it."""

from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import ARRAY, Text, cast, delete, insert, literal_column, select, text, update
from sqlalchemy.exc import DBAPIError

from services.chassis.db import Store, Transaction
from services.chassis.errors import AppError
from services.chassis.ids import new_id
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Caller
from services.customers.domain.customers import Cause, CustomerDraft, Owner
from services.customers.domain.search import name_pieces
from services.customers.store.ledger import POOL_EVENTS, Change, change_one, change_owner
from services.customers.store.rules import tenant_settings
from services.customers.store.tables import Base, Customer, CustomerSearch, OwnershipChange
from services.customers.usecases import sweeps
from services.customers.usecases.create import create_customer
from services.customers.usecases.pool_moves import claim_customers, return_customer
from services.customers.usecases.settings import PoolDraft, SettingsDraft, create_pool, update_settings
from services.kernel.ownership import DEFAULT_RULE, Clause

CAP = 4
DAILY_CLAIMS = 6


@dataclass(frozen=True)
class Market:
    """A tenant with a pool, five customers in it, and three reps."""

    tenant: Tenant
    pool_id: str
    customer_ids: list[str]
    reps: list[Caller]


def rep(tenant: Tenant) -> Caller:
    """Return a rep of the tenant."""
    return Caller(tenant=tenant, person_id=new_id(), name="王小明", department_path="root/")


def create(tx: Transaction, caller: Caller, pool_id: str = "") -> str:
    """Create a customer; return its id."""
    draft = CustomerDraft(id=new_id(), name="公司", pool_id=pool_id)
    return create_customer(tx, caller, draft, new_id()).customer_id


def open_market(store: Store, tenant: Tenant) -> Market:
    """Make the market of a tenant."""
    with store.transaction(tenant) as tx:
        pool = create_pool(tx, PoolDraft("公海二", DEFAULT_RULE, (), DAILY_CLAIMS)).pool_id
        update_settings(tx, SettingsDraft(False, CAP, None, ""))
        customers = [create(tx, rep(tenant), pool) for _ in range(5)]
    return Market(tenant, pool, customers, [rep(tenant) for _ in range(3)])


Step = tuple[str, int, tuple[int, ...]]
steps = st.lists(
    st.tuples(
        st.sampled_from(["claim", "return", "create"]),
        st.integers(0, 2),
        st.lists(st.integers(0, 4), min_size=1, max_size=3).map(tuple),
    ),
    min_size=1,
    max_size=6,
)


def act(store: Store, market: Market, step: Step) -> None:
    """Do one step in a transaction of its own; refusals are part of the game."""
    verb, who, which = step
    caller = market.reps[who]
    ids = [market.customer_ids[index] for index in which]
    try:
        with store.transaction(market.tenant, caller.person_id) as tx:
            match verb:
                case "claim":
                    claim_customers(tx, caller, ids)
                case "return":
                    return_customer(tx, caller, ids[0], reason="放弃", pool_id="")
                case "create":
                    create(tx, caller)
    except AppError:
        return


@settings(
    max_examples=10,
    # What two threads do can't be shrunk: it is another thing each time.
    phases=[Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(scripts=st.lists(steps, min_size=4, max_size=4), database=st.sampled_from(["main", "south"]))
def test_no_interleaving_breaks_ownership(store: Store, scripts: list[list[Step]], database: str) -> None:
    """F12, F21, F28, F29, F43: four writers at once; what the ledger tells afterwards was always allowed."""
    market = open_market(store, Tenant(new_id(), database))

    def play(script: list[Step]) -> None:
        for step in script:
            act(store, market, step)

    with ThreadPoolExecutor(len(scripts)) as threads:
        list(threads.map(play, scripts))
    with store.transaction(market.tenant) as tx:
        ledger = tx.session.scalars(
            select(OwnershipChange)
            .where(OwnershipChange.tenant_id == market.tenant.id)
            .order_by(OwnershipChange.sequence)
        ).all()
        customers = tx.session.scalars(select(Customer).where(Customer.tenant_id == market.tenant.id)).all()
    owner: dict[str, str | None] = defaultdict(lambda: None)
    owned: Counter[str | None] = Counter()
    claimed: Counter[str | None] = Counter()
    for change in ledger:
        assert change.from_owner_id == owner[change.customer_id]
        owned[change.from_owner_id] -= 1
        owned[change.to_owner_id] += 1
        owner[change.customer_id] = change.to_owner_id
        claimed[change.to_owner_id] += change.cause == Cause.CLAIM
        assert change.to_owner_id is None or owned[change.to_owner_id] <= CAP
        assert claimed[change.to_owner_id] <= DAILY_CLAIMS
    assert {customer.customer_id: customer.owner_id for customer in customers} == dict(owner)


def test_claiming_own_customers_again_makes_no_room(store: Store, main_tenant: Tenant) -> None:
    """F29: found by the interleavings above."""
    market = open_market(store, main_tenant)
    caller = market.reps[0]
    with store.transaction(main_tenant, caller.person_id) as tx:
        claim_customers(tx, caller, market.customer_ids[:4])
    with store.transaction(main_tenant, caller.person_id) as tx:
        results = claim_customers(tx, caller, market.customer_ids)
    reasons = [result.reason for result in results.values() if isinstance(result, AppError)]
    assert reasons == ["CUSTOMER_OWNED"] * 4 + ["OWNER_CAP_REACHED"]


def test_the_database_refuses_an_owner_whom_the_ledger_does_not_name(store: Store, tenant: Tenant) -> None:
    """Decision 1: no other code writes the owner."""
    caller = rep(tenant)
    with store.transaction(tenant) as tx:
        customer_id = create(tx, caller)
    own = (Customer.tenant_id == tenant.id, Customer.customer_id == customer_id)
    refused(
        store, tenant, lambda tx: tx.session.execute(update(Customer).where(*own).values(owner_id=new_id()))
    )
    refused(store, tenant, lambda tx: tx.session.execute(update(Customer).where(*own).values(owner_id=None)))

    def insert_owned(tx: Transaction) -> object:
        values = {
            column.name: getattr(tx.session.get_one(Customer, (tenant.id, customer_id)), column.name)
            for column in Customer.__table__.columns
        }
        # The statement is looked at as a whole: one owner among customers of nobody is found.
        nobodys = values | {"owner_id": None, "own_time": None}
        rows = [each | {"customer_id": new_id()} for each in (nobodys, values, nobodys)]
        return tx.session.execute(insert(Customer).values(rows))

    refused(store, tenant, insert_owned)
    with store.transaction(tenant) as tx:
        assert tx.session.scalars(select(Customer.owner_id).where(*own)).one() == caller.person_id


def test_the_database_refuses_any_change_of_the_ledger(store: Store, tenant: Tenant) -> None:
    with store.transaction(tenant) as tx:
        create(tx, rep(tenant))
    own = OwnershipChange.tenant_id == tenant.id
    refused(
        store, tenant, lambda tx: tx.session.execute(update(OwnershipChange).where(own).values(reason=""))
    )
    refused(store, tenant, lambda tx: tx.session.execute(delete(OwnershipChange).where(own)))
    refused(store, tenant, lambda tx: tx.session.execute(text("TRUNCATE customers.ownership_change CASCADE")))


def refused(store: Store, tenant: Tenant, work: Callable[[Transaction], object]) -> None:
    """Expect the database to refuse."""

    def run() -> None:
        with store.transaction(tenant) as tx:
            work(tx)
            tx.session.flush()

    with pytest.raises(DBAPIError, match=r"append-only|not the one that the ledger names"):
        run()


def test_a_change_keeps_what_it_was_decided_on(store: Store, main_tenant: Tenant) -> None:
    """Decision 12."""
    market = open_market(store, main_tenant)
    caller = market.reps[0]
    with store.transaction(main_tenant, caller.person_id) as tx:
        claim_customers(tx, caller, market.customer_ids[:2])
    with store.transaction(main_tenant) as tx:
        changes = tx.session.scalars(
            select(OwnershipChange)
            .where(OwnershipChange.tenant_id == main_tenant.id, OwnershipChange.cause == Cause.CLAIM)
            .order_by(OwnershipChange.sequence)
        ).all()
        assert tenant_settings(tx).owner_cap == CAP
    assert [change.inputs for change in changes] == [
        {"used": used, "limit": CAP, "claimed_today": used, "daily_claims": DAILY_CLAIMS} for used in (0, 1)
    ]
    assert {change.rule_version for change in changes} == {1}


def test_a_change_of_owner_leaves_alone_what_names_are_found_by(store: Store, main_tenant: Tenant) -> None:
    """An index of names takes an entry for each piece of a row's new version; only another name is worth that."""
    market = open_market(store, main_tenant)
    customer_id = market.customer_ids[0]

    def version() -> tuple[str, list[str]]:
        with store.transaction(main_tenant) as tx:
            query = select(literal_column("xmin::text", Text), CustomerSearch.pieces).where(
                CustomerSearch.tenant_id == main_tenant.id, CustomerSearch.customer_id == customer_id
            )
            row = tx.session.execute(query).one()
            return row[0], row[1]

    made = version()
    assert made[1] == name_pieces("公司")
    with store.transaction(main_tenant) as tx:
        claim_customers(tx, market.reps[0], [customer_id])
    assert version() == made
    with store.transaction(main_tenant) as tx:
        customer = tx.session.get_one(Customer, (main_tenant.id, customer_id))
        customer.name, customer.pieces = "新名", name_pieces("新名")
    assert version()[1] == name_pieces("新名")


def test_no_search_has_to_read_what_waits_for_the_index_of_names(store: Store, main_tenant: Tenant) -> None:
    """F44: each statement puts its pieces in at its end, also one whose transaction fails behind it."""
    waiting = text("SELECT gin_clean_pending_list('customers.ix_customer_search_pieces')")
    created = 0

    class Broken(Exception):
        """What a use case may end with."""

    for broken in (False, True):
        with suppress(Broken), store.transaction(main_tenant) as tx:
            customer_id = create(tx, rep(main_tenant))
            # The pages that were still to be put in.
            assert tx.session.scalar(waiting) == 0
            customer = tx.session.get_one(Customer, (main_tenant.id, customer_id))
            customer.name, customer.pieces = "云帆科技", name_pieces("云帆科技")
            tx.session.flush()
            assert tx.session.scalar(waiting) == 0
            created += 1
            if broken:
                raise Broken
    assert created == 2
    with store.transaction(main_tenant) as tx:
        # By the index, though this table is so small that to read it whole costs no more.
        tx.session.execute(text("SET LOCAL enable_seqscan = off"))
        found = select(CustomerSearch.customer_id).where(
            CustomerSearch.tenant_id == main_tenant.id,
            CustomerSearch.pieces.bool_op("@>")(cast(["云帆"], ARRAY(Text))),
        )
        assert len(tx.session.scalars(found).all()) == 1


def test_a_batch_of_losses_leaves_what_single_ones_leave(store: Store, main_tenant: Tenant) -> None:
    """F8, F16: statements over many customers write the same rows, and tell the same, as one by one."""
    market = open_market(store, main_tenant)
    owner, (single, *batch) = market.reps[0], market.customer_ids[:3]
    with store.transaction(main_tenant) as tx:
        claim_customers(tx, owner, [single, *batch])
        then = tx.now + timedelta(days=91)
        warned = {"warned_time": then - timedelta(days=1), "warn_due_at": None}
        tx.session.execute(update(Customer).where(Customer.owner_id == owner.person_id).values(warned))
    with store.transaction(main_tenant, now=then) as tx:
        change_one(tx, single, Change(Cause.RECLAIM, None, reason=Clause(idle_days=90).words), lambda _: None)
    with store.transaction(main_tenant, now=then) as tx:
        assert sweeps.reclaim(tx, market.pool_id, 10) == 2
        assert sweeps.reclaim(tx, market.pool_id, 10) == 0

    with store.transaction(main_tenant) as tx:
        left = [what_is_left(tx, customer_id) for customer_id in (single, *batch)]
    assert left[0]["owner_id"] is None
    assert left[1] == left[0]
    assert left[2] == left[0]


@pytest.mark.parametrize("cause", [Cause.ASSIGN, Cause.TRANSFER, Cause.HAND_OVER])
def test_many_gains_in_one_call_leave_what_single_ones_leave(
    store: Store, main_tenant: Tenant, cause: Cause
) -> None:
    """F20, F34: and whoever called has the customers in hand as they are in the database."""
    market = open_market(store, main_tenant)
    single, *batch = market.customer_ids[:3]
    now, change = store.clock(), Change(cause, Owner(market.reps[0].person_id, "root/"), reason="离职")
    answers: dict[str, Customer | AppError] = {}
    for ids in ([single], batch):
        with store.transaction(main_tenant, now=now) as tx:
            answers |= change_owner(tx, ids, change, lambda _: None)
    with store.transaction(main_tenant) as tx:
        left = [what_is_left(tx, customer_id, cause) for customer_id in (single, *batch)]
        rows = [tx.session.get_one(Customer, (main_tenant.id, customer_id)) for customer_id in answers]
    for row in rows:
        columns = [column.key for column in Customer.__table__.columns if column.key != "pieces"]
        assert {key: getattr(answers[row.customer_id], key) for key in columns} == {
            key: getattr(row, key) for key in columns
        }
    assert [each["inputs"].pop("used") for each in left] == [0, 1, 2]
    assert left[0]["owner_id"] == market.reps[0].person_id
    assert left[1] == left[0]
    assert left[2] == left[0]


def what_is_left(tx: Transaction, customer_id: str, cause: Cause = Cause.RECLAIM) -> dict[str, Any]:
    """Return what a change left of a customer, its row of the ledger and its event, without what is each one's own."""
    own = {
        "customer_id",
        "submitter_id",
        "create_time",
        "reservation_id",
        "change_id",
        "sequence",
        "batch_id",
    }
    change = tx.session.scalars(
        select(OwnershipChange).where(
            OwnershipChange.customer_id == customer_id, OwnershipChange.cause == cause
        )
    ).one()
    rows: list[Base] = [tx.session.get_one(Customer, (tx.tenant.id, customer_id)), change]
    left = {
        column.key: getattr(row, column.key)
        for row in rows
        for column in row.__table__.columns
        if column.key not in own
    }
    # The same instants; PostgreSQL leaves zeros out.
    left["inputs"] = {
        name: datetime.fromisoformat(value) if name.endswith(("_time", "_at")) else value
        for name, value in change.inputs.items()
    }
    bodies = tx.session.scalars(select(tx.tables["outbox"].c.body)).all()
    (told,) = [
        body for body in bodies if body.get("type") == POOL_EVENTS[cause] and body["aggregate"] == customer_id
    ]
    return {**left, "told": {**told["data"], "customerId": ""}, "told_version": told["version"]}
