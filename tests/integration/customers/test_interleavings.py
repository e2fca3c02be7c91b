"""Every way to gain or lose a customer, at once: whatever the interleaving, the ledger tells an allowed story."""

from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from services.chassis.db import Store, Transaction
from services.chassis.errors import AppError
from services.chassis.ids import new_id
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Caller
from services.customers.domain.customers import Cause, CustomerDraft, CustomerState, Owner
from services.customers.domain.imports import NAME, POOL
from services.customers.domain.merges import FOLLOWERS
from services.customers.store.imports import add_rows
from services.customers.store.ledger import ENDS
from services.customers.store.rule_sql import falls_at, reason
from services.customers.store.rules import DEFAULT_POOL_NAME, get_pool, standing
from services.customers.store.tables import Customer, EvidenceSource, OwnershipChange, Staff
from services.customers.usecases import allocation, import_steps, merges, pool_moves, sweeps
from services.customers.usecases.allocation import AllocationDraft, save_allocation_rule
from services.customers.usecases.caps import CapDraft, save_cap
from services.customers.usecases.care import add_evidence, lock_customer
from services.customers.usecases.conversion import create_for_conversion
from services.customers.usecases.create import create_customer
from services.customers.usecases.evidence import SOURCES
from services.customers.usecases.hand_overs import HandOverDraft, hand_over_batch, start_hand_over
from services.customers.usecases.settings import (
    PoolDraft,
    SettingsDraft,
    create_pool,
    update_pool,
    update_settings,
)
from services.kernel.ownership import SHORTEST_WARNING, Clause, Evidence, ReclaimRule, fate

Result = TypeVar("Result")

# Customers anybody may own, and the first rep; claims in a day; claim requests in a day.
CAP, OWN_CAP, CLAIMS, REQUESTS = 4, 2, 6, 4
REPS = 3
CUSTOMERS = 5
RULE = ReclaimRule(idle_days=10, warn_days=1)
GAINS = (
    Cause.CLAIM,
    Cause.ASSIGN,
    Cause.TRANSFER,
    Cause.HAND_OVER,
    Cause.ALLOCATE,
    Cause.CREATE,
    Cause.CONVERT,
    Cause.REVERSE,
    Cause.UNMERGE,
)


@dataclass(frozen=True)
class Market:
    """A tenant with a pool that allocates, customers in it, three reps and their manager."""

    tenant: Tenant
    pool_id: str
    pool_names: tuple[str, str]
    customer_ids: list[str]
    reps: list[Caller]
    manager: Caller
    now: datetime


def person(tenant: Tenant, *rights: str, scope: str = "self") -> Caller:
    """Return somebody of the tenant."""
    return Caller(
        tenant=tenant,
        person_id=new_id(),
        department_path="root/",
        rights=frozenset({"customers.view", *rights}),
        scope=scope,
    )


def owner(caller: Caller) -> Owner:
    """Return somebody as who gains."""
    return Owner(caller.person_id, caller.department_path)


def create(tx: Transaction, caller: Caller, pool_id: str = "") -> str:
    """Create a customer; return its id."""
    draft = CustomerDraft(id=new_id(), name="公司", pool_id=pool_id)
    return create_customer(tx, caller, draft, new_id()).customer_id


def open_market(store: Store, tenant: Tenant) -> Market:
    """Make the market of a tenant."""
    reps, manager = [person(tenant) for _ in range(REPS)], person(tenant, "pools.manage", scope="all")
    now = store.clock()
    with store.transaction(tenant) as tx:
        draft = PoolDraft("公海二", RULE, (), CLAIMS, claim_requests=REQUESTS)
        pool_id = create_pool(tx, draft).pool_id
        update_settings(tx, SettingsDraft(False, CAP, RULE, pool_id))
        save_cap(tx, "", 0, CapDraft("甲", (reps[0].person_id,), (), (), (), OWN_CAP, False, (), {}))
        tx.session.add_all(
            Staff(
                tenant_id=tenant.id,
                person_id=rep.person_id,
                active=True,
                department_path="root/",
                roles=[],
                region_ids=[],
                version=1,
            )
            for rep in reps
        )
        tx.session.add_all(
            EvidenceSource(
                tenant_id=tenant.id, source=source, asked_time=now, through_time=now + timedelta(days=99)
            )
            for source in SOURCES
        )
        customers = [create(tx, manager, pool_id) for _ in range(CUSTOMERS)]
        people = tuple(rep.person_id for rep in reps)
        save_allocation_rule(tx, "", 0, AllocationDraft("轮流", pool_id, 0, (), (), False, False, people))
    names = (draft.name, DEFAULT_POOL_NAME)
    return Market(tenant, pool_id, names, customers, reps, manager, now)


VERBS = (
    "claim",
    "return",
    "create",
    "assign",
    "transfer",
    "trash",
    "restore",
    "sweep",
    "allocate",
    "call",
    "leave",
    "lock",
    "convert",
    "merge",
    "unmerge",
    "import",
    "rule",
)
Step = tuple[str, int, int, tuple[int, ...]]
steps = st.lists(
    st.tuples(
        st.sampled_from(VERBS),
        st.integers(0, REPS - 1),
        st.integers(0, REPS - 1),
        st.lists(st.integers(0, CUSTOMERS - 1), min_size=1, max_size=3).map(tuple),
    ),
    min_size=1,
    max_size=6,
)


def act(store: Store, market: Market, step: Step) -> None:
    """Do one step; refusals are part of the game."""
    try:
        if step[0] == "sweep":
            sweep(store, market)
        elif step[0] == "leave":
            leave(store, market, step)
        elif step[0] == "import":
            import_rows(store, market, step)
        else:
            move(store, market, step)
    except AppError:
        return


def sweep(store: Store, market: Market) -> None:
    """Sweep as if eleven days later, by the rule of the moment: what is due is warned of, then taken back."""
    for part, days in ((sweeps.apply_rule, 11), (sweeps.warn, 11), (sweeps.reclaim_what_is_known, 12)):
        with store.transaction(market.tenant, now=market.now + timedelta(days=days)) as tx:
            part(tx, market.pool_id, 2)


def leave(store: Store, market: Market, step: Step) -> None:
    """Hand two of somebody's customers over to another one."""
    _, who, whom, _ = step
    with store.transaction(market.tenant, market.manager.person_id) as tx:
        draft = HandOverDraft(owner(market.reps[who]), (owner(market.reps[whom]),), market.pool_id, "离职")
        begun = start_hand_over(tx, market.manager, draft).row.hand_over_id
    with store.transaction(market.tenant, market.manager.person_id) as tx:
        hand_over_batch(tx, begun, 2)


def import_rows(store: Store, market: Market, step: Step) -> None:
    """Import two customers to somebody, or one into each of two pools: every step a transaction, as a workflow does."""
    _, _, whom, which = step
    import_id, to = new_id(), market.reps[whom]
    cells = [["公司", pool if which[0] % 2 else ""] for pool in market.pool_names]

    def do(work: Callable[[Transaction], Result]) -> Result:
        with store.transaction(market.tenant, market.manager.person_id) as tx:
            return work(tx)

    def stage(tx: Transaction) -> None:
        import_steps.begin_source(
            tx,
            import_id,
            # Told by its name and the row's key: these are no repeats.
            source_name=import_id,
            creator_name="张经理",
            owner=owner(to),
            pool_id="",
            columns=["公司名称", "公海"],
            mapping=[NAME.key, POOL.key],
        )
        add_rows(tx, import_id, ((line, str(line), row) for line, row in enumerate(cells)))

    do(stage)
    checked = do(lambda tx: import_steps.batch_to_check(tx, import_id, None))
    do(lambda tx: import_steps.note_checked(tx, import_id, checked, {}))
    do(lambda tx: import_steps.finish(tx, import_id))
    do(lambda tx: import_steps.begin_commit(tx, import_id))
    ready = do(lambda tx: import_steps.batch_to_commit(tx, import_id, None))
    do(lambda tx: import_steps.write_batch(tx, import_id, ready, {}))


def change_rule(tx: Transaction, pool_id: str, idle_days: int) -> None:
    """Let customers of the pool fall after so many days, from the next sweep on."""
    pool = get_pool(tx, pool_id)
    draft = PoolDraft(pool.name, ReclaimRule(idle_days, 1), (), CLAIMS, claim_requests=REQUESTS)
    update_pool(tx, pool_id, pool.version, draft)


def move(store: Store, market: Market, step: Step) -> None:
    """Do one of the steps that are one transaction."""
    verb, who, whom, which = step
    caller, other, manager = market.reps[who], owner(market.reps[whom]), market.manager
    ids = [market.customer_ids[index] for index in which]
    moves: dict[str, Callable[[Transaction], object]] = {
        "claim": lambda tx: pool_moves.claim_customers(tx, caller, ids),
        "return": lambda tx: pool_moves.return_customer(tx, caller, ids[0], reason="放弃", pool_id=""),
        "create": lambda tx: create(tx, caller),
        "assign": lambda tx: pool_moves.assign_customers(tx, manager, ids, other),
        "transfer": lambda tx: pool_moves.transfer_customers(tx, manager, ids, other, "调整"),
        "trash": lambda tx: pool_moves.trash_customers(tx, manager, ids, "无效"),
        "restore": lambda tx: pool_moves.restore_customers(tx, manager, ids),
        "allocate": lambda tx: allocation.allocate(tx, market.pool_id, 1),
        "call": lambda tx: add_evidence(tx, ids[0], Evidence.CALL, tx.now),
        "lock": lambda tx: lock_customer(tx, caller, ids[0], 0),
        "convert": lambda tx: create_for_conversion(
            tx, owner(caller), CustomerDraft(new_id(), "公司"), "", create_customer=True
        ),
        "merge": lambda tx: merges.merge_customers(tx, manager, ids[0], ids[-1], []),
        "unmerge": lambda tx: unmerge(tx, manager),
        "rule": lambda tx: change_rule(tx, market.pool_id, RULE.idle_days + which[0] - 2),
    }
    with store.transaction(market.tenant, caller.person_id) as tx:
        moves[verb](tx)


def unmerge(tx: Transaction, manager: Caller) -> None:
    """Take the newest merge back, which all services followed."""
    for merge in merges.list_merges(tx, None, 1):
        for service in FOLLOWERS:
            merges.take_followed(tx, merge.merge_id, service, undo=False)
        merges.undo_merge(tx, manager, merge.merge_id)


@settings(
    max_examples=12,
    # What threads do can't be shrunk: it is another thing each time.
    phases=[Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(scripts=st.lists(steps, min_size=4, max_size=4))
def test_no_interleaving_of_all_operations_breaks_ownership(store: Store, scripts: list[list[Step]]) -> None:
    """F12, F19, F21, F22, F29, F34, F187: the ledger replays, and whatever it tells was allowed.

    Never two owners, never over a cap, no quota refunded, no reclaim within a day of its warning, no deadlock.
    """
    market = open_market(store, Tenant(new_id(), "main"))

    def play(script: list[Step]) -> None:
        for step in script:
            act(store, market, step)

    with ThreadPoolExecutor(len(scripts)) as threads:
        # A deadlock is no AppError and would come out here.
        list(threads.map(play, scripts))
    with store.transaction(market.tenant) as tx:
        ledger = tx.session.scalars(
            select(OwnershipChange)
            .where(OwnershipChange.tenant_id == market.tenant.id)
            .order_by(OwnershipChange.sequence)
        ).all()
        customers = tx.session.scalars(select(Customer).where(Customer.tenant_id == market.tenant.id)).all()
    owned: Counter[str | None] = Counter()
    claimed: Counter[str | None] = Counter()
    requests: dict[str | None, set[str | None]] = defaultdict(set)
    now: dict[str, str | None] = defaultdict(lambda: None)
    state: dict[str, str] = {}
    for change in ledger:
        assert change.from_owner_id == now[change.customer_id]
        assert state.get(change.customer_id) != CustomerState.TRASHED or change.cause == Cause.RESTORE
        assert state.get(change.customer_id) != CustomerState.MERGED or change.cause == Cause.UNMERGE
        state[change.customer_id] = ENDS.get(Cause(change.cause), CustomerState.ACTIVE)
        owned[change.from_owner_id] -= 1
        owned[change.to_owner_id] += 1
        now[change.customer_id] = change.to_owner_id
        if change.cause == Cause.CLAIM:
            claimed[change.to_owner_id] += 1
            requests[change.to_owner_id].add(change.batch_id)
        if change.cause == Cause.RECLAIM:
            warned, due = (
                datetime.fromisoformat(change.inputs[key]) for key in ("warned_time", "reclaim_due_at")
            )
            assert warned + SHORTEST_WARNING <= due <= change.create_time
        if change.to_owner_id:
            assert change.cause in GAINS
            first = change.to_owner_id == market.reps[0].person_id
            assert owned[change.to_owner_id] <= (OWN_CAP if first else CAP)
            assert claimed[change.to_owner_id] <= CLAIMS
            assert len(requests[change.to_owner_id]) <= REQUESTS
    assert {customer.customer_id: customer.owner_id for customer in customers} == dict(now)
    assert {customer.customer_id: customer.state for customer in customers} == state


START = datetime(2026, 1, 1, tzinfo=UTC)
times = st.one_of(st.none(), st.integers(0, 200).map(lambda days: START + timedelta(days=days)))
words = st.sampled_from(["", "A", "B"])
some = st.lists(st.sampled_from(["A", "B"]), max_size=1).map(tuple)
clauses = (
    st.builds(
        Clause, idle_days=st.integers(2, 90), contract_days=st.integers(2, 90), levels=some, categories=some
    )
    | st.builds(Clause, idle_days=st.integers(2, 90))
    | st.builds(Clause, contract_days=st.integers(2, 90))
)
rules = st.builds(
    ReclaimRule,
    idle_days=st.integers(0, 90),
    warn_days=st.just(1),
    clauses=st.lists(clauses, max_size=3).map(tuple),
    evidence=st.frozensets(st.sampled_from(Evidence), min_size=1),
    exempt_levels=some,
    exempt_categories=some,
    exempt_contracted=st.booleans(),
)
records = st.fixed_dictionaries(
    {
        "level": words,
        "business_type": words,
        "last_follow_up_time": times,
        "last_call_time": times,
        "last_order_time": times,
        "last_contract_time": times,
    }
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rule=rules, record=records, owned_day=st.integers(0, 200))
def test_a_rule_in_sql_says_what_the_rule_says(
    store: Store, rule: ReclaimRule, record: dict[str, object], owned_day: int
) -> None:
    """A try of a rule over the base and the sweep must not differ."""
    tenant = Tenant(new_id(), "main")
    caller = person(tenant)
    with store.transaction(tenant) as tx:
        customer_id = create(tx, caller)
        values = {**record, "own_time": START + timedelta(days=owned_day)}
        tx.session.execute(update(Customer).where(Customer.customer_id == customer_id).values(values))
    with store.transaction(tenant) as tx:
        row, falls, why = tx.session.execute(
            select(Customer, falls_at(rule), reason(rule)).where(Customer.customer_id == customer_id)
        ).one()
        expected = fate(rule, standing(row))
    assert falls == (expected.due.reclaim if expected else None)
    assert why == (expected.clause.words if expected else "")


def test_two_transfers_that_cross_do_not_deadlock(store: Store, main_tenant: Tenant) -> None:
    """Each gives to the other at once, again and again: counters are locked before customers, both in order."""
    market = open_market(store, main_tenant)
    left, right = market.reps[1:]
    with store.transaction(main_tenant, left.person_id) as tx:
        pool_moves.claim_customers(tx, left, market.customer_ids[:2])
    with store.transaction(main_tenant, right.person_id) as tx:
        pool_moves.claim_customers(tx, right, market.customer_ids[2:4])

    def give(to: Caller) -> None:
        for _ in range(15):
            with store.transaction(main_tenant) as tx:
                pool_moves.transfer_customers(tx, market.manager, market.customer_ids[:4], owner(to), "交换")

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(give, [left, right, left, right]))
    with store.transaction(main_tenant) as tx:
        query = select(Customer.owner_id).where(Customer.customer_id.in_(market.customer_ids[:4]))
        found = Counter(tx.session.scalars(query))
    assert found.total() == 4
    assert set(found) <= {left.person_id, right.person_id}
