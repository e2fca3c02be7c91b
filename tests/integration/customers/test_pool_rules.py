"""Pools that differ: who belongs, how often one may claim, who gets what, and how many."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from crm.customers.v1 import customers_pb2 as pb
from crm.customers.v1 import pools_pb2
from sqlalchemy import select

from services.chassis.errors import AppError
from services.chassis.ids import new_id
from services.customers.store.tables import Customer, EvidenceSource, OwnershipChange
from services.customers.usecases import allocation, caps, care, evidence, sweeps
from services.customers.usecases.hand_overs import hand_over_batch
from services.customers.usecases.pool_moves import claim_customers
from services.kernel.ownership import Evidence
from tests.integration.customers.office import EAST, HEAD, MANAGER, WEST, Office, Person


@pytest.fixture
def manager(office: Office) -> Person:
    """Somebody who makes pools and customers in them."""
    return office.hire(MANAGER, HEAD, scope="all")


def results(answer: Any) -> list[str]:
    """Return for each item "done" or the reason."""
    return ["done" if result.done else result.reason for result in answer.results]


def assign(manager: Person, to: Person, *customer_ids: str) -> list[str]:
    """Assign customers."""
    request = pools_pb2.AssignCustomersRequest(
        request_id=new_id(), customer_ids=customer_ids, person_id=to.id
    )
    return results(manager(request))


def transfer(person: Person, to: Person, *customer_ids: str) -> list[str]:
    """Transfer customers."""
    request = pools_pb2.TransferCustomersRequest(
        request_id=new_id(), customer_ids=customer_ids, person_id=to.id, reason="调整区域"
    )
    return results(person(request))


def pooled(manager: Person, pool: pb.Pool, count: int, **fields: Any) -> list[str]:
    """Create customers in a pool."""
    return [manager.create(pool_id=pool.pool_id, **fields).customer_id for _ in range(count)]


def save_cap(manager: Person, **fields: Any) -> pools_pb2.Cap:
    """Make a cap."""
    fields.setdefault("name", f"上限{new_id()[-6:]}")
    cap: pools_pb2.Cap = manager(
        pools_pb2.SaveCapRequest(request_id=new_id(), cap=pools_pb2.Cap(**fields))
    ).cap
    return cap


def owners(office: Office, ids: Sequence[str]) -> list[str | None]:
    """Return who owns each customer."""
    rows = office.run(
        lambda tx: tx.session.execute(
            select(Customer.customer_id, Customer.owner_id).where(Customer.tenant_id == office.tenant.id)
        ).all()
    )
    owned = {row[0]: row[1] for row in rows}
    return [owned[customer_id] for customer_id in ids]


def test_a_pool_belongs_to_people_roles_and_regions_too(office: Office, manager: Person) -> None:
    """F13, F26."""
    region = new_id()
    named, holder, local, other = (office.hire() for _ in range(4))
    office.register(holder, roles=("key_account",))
    office.register(local, regions=(region,))
    office.register(other, roles=("sales_rep",), regions=(new_id(),))
    members = pb.PoolMembers(person_ids=[named.id], roles=["key_account"], region_department_ids=[region])
    pool = office.pool(manager, kind="大客户", members=members)
    assert (pool.kind, pool.members) == ("大客户", members)
    ids = pooled(manager, pool, 4)
    claims = [person.claim(item) for person, item in zip((named, holder, local, other), ids, strict=True)]
    assert claims == [["done"], ["done"], ["done"], ["POOL_FORBIDDEN"]]


def test_claim_requests_of_a_period_are_limited(office: Office, manager: Person) -> None:
    """F21, O6: the limit on requests beside the one on customers; the period is counted from the ledger."""
    pool = office.pool(manager, claim_requests=2, daily_claims=5, claim_period_days=7)
    ids = pooled(manager, pool, 8)
    rep = office.hire()
    assert rep.claim(*ids[:3]) == ["done"] * 3
    for customer_id in ids[:3]:
        rep.give_back(customer_id)
    assert rep.claim(*ids[3:6]) == ["done", "done", "DAILY_CLAIMS_USED_UP"]
    refused = rep(pb.ClaimCustomersRequest(request_id=new_id(), customer_ids=[ids[6]])).results[0]
    assert (refused.reason, "5/5" in refused.message) == ("DAILY_CLAIMS_USED_UP", True)
    with office.store.transaction(office.tenant, rep.id, office.store.clock() + timedelta(days=3)) as tx:
        assert isinstance(claim_customers(tx, rep.caller, [ids[6]])[ids[6]], AppError)
    with office.store.transaction(office.tenant, rep.id, office.store.clock() + timedelta(days=7)) as tx:
        assert not isinstance(claim_customers(tx, rep.caller, [ids[6]])[ids[6]], AppError)
    eager = office.hire()
    assert [eager.claim(item)[0] for item in (ids[0], ids[1], ids[2])] == [
        "done",
        "done",
        "CLAIM_REQUESTS_USED_UP",
    ]


def test_any_earlier_owner_cools_down(office: Office, manager: Person) -> None:
    """Not only the owner before: a friend's claim in between does not help."""
    pool = office.pool(manager, cool_down_days=30)
    (customer_id,) = pooled(manager, pool, 1)
    rep, friend = office.hire(), office.hire()
    for person in (rep, friend):
        assert person.claim(customer_id) == ["done"]
        person.give_back(customer_id)
    assert rep.claim(customer_id) == ["COOLING_DOWN"]
    with office.store.transaction(office.tenant, rep.id, office.store.clock() + timedelta(days=30)) as tx:
        assert not isinstance(claim_customers(tx, rep.caller, [customer_id])[customer_id], AppError)


def test_new_data_is_protected_but_for_the_pools_administrator(office: Office, manager: Person) -> None:
    admin, rep = office.hire(), office.hire()
    pool = office.pool(manager, new_data_days=3, daily_claims=1, admin_ids=[admin.id])
    ids = pooled(manager, pool, 4)
    assert rep.claim(ids[0]) == ["NEW_DATA_PROTECTED"]
    assert admin.claim(*ids[:2]) == ["done", "done"]
    assert assign(admin, rep, ids[2]) == ["done"]
    refused = rep.refused(
        pools_pb2.AssignCustomersRequest(request_id=new_id(), customer_ids=[ids[3]], person_id=rep.id)
    )
    assert refused.reason == "POOL_FORBIDDEN"


def test_a_pool_hides_fields_and_shows_facts(office: Office, manager: Person) -> None:
    """O7, F24, F25."""
    pool = office.pool(manager, hidden_fields=["address", "phones"])
    fields = {"level": "A", "region": "上海", "business_type": "制造"}
    shown = manager.create("甲公司", "13800138000", pool_id=pool.pool_id, address="外滩1号", **fields)
    manager.create("乙公司", pool_id=pool.pool_id, level="B", region="上海", business_type="制造")
    rep = office.hire()
    rep.claim(shown.customer_id)
    assert rep.get(shown.customer_id).address == "外滩1号"
    rep.give_back(shown.customer_id)
    request = pools_pb2.ListPoolCustomersRequest(
        pool_id=pool.pool_id, levels=["A", "S"], regions=["上海"], business_types=["制造"], query="公司"
    )
    (found,) = office.hire()(request).customers
    assert (found.customer.address, list(found.customer.phones), found.customer.region) == ("", [], "上海")
    assert (found.times_lost, found.last_reason, found.last_cause) == (
        1,
        "跟进无效果",
        pb.OWNERSHIP_CAUSE_RETURN,
    )
    assert rep.get(shown.customer_id).address == ""


def test_what_a_pool_hides_is_not_found_out_by_asking(office: Office, manager: Person) -> None:
    """F24: neither a filter nor a count tells the level that nobody shall see; an own customer's is no secret."""
    pool = office.pool(manager, hidden_fields=["level"])
    manager.create("甲公司", pool_id=pool.pool_id, level="A")
    rep = office.hire()
    rep.create("乙公司", level="A")
    refused = rep.refused(pools_pb2.ListPoolCustomersRequest(pool_id=pool.pool_id, levels=["A"]))
    assert (refused.reason, refused.field) == ("FIELD_HIDDEN", "levels")
    asked = '{"field": "level", "op": "eq", "value": "A"}'
    assert rep.listed(pb.CUSTOMER_VIEW_POOL) == ["甲公司"]
    assert rep.listed(pb.CUSTOMER_VIEW_POOL, filter=asked) == []
    assert rep.listed(pb.CUSTOMER_VIEW_MINE, filter=asked) == ["乙公司"]


def test_a_manager_assigns_each_with_its_own_result(office: Office, manager: Person) -> None:
    """F20, F29."""
    pool, rep = office.pool(manager), office.hire()
    ids = pooled(manager, pool, 3)
    owned = office.hire().create().customer_id
    office.settings(manager, owner_cap=2)
    assert assign(manager, rep, ids[0], owned, new_id(), ids[1], ids[2]) == [
        "done",
        "CUSTOMER_OWNED",
        "CUSTOMER_NOT_FOUND",
        "done",
        "OWNER_CAP_REACHED",
    ]
    change = manager.ledger(ids[0])[0]
    assert (change.cause, change.actor_id, change.to_owner_id) == (
        pb.OWNERSHIP_CAUSE_ASSIGN,
        manager.id,
        rep.id,
    )
    assert (change.inputs["used"], change.inputs["limit"]) == ("0", "2")
    gone = pools_pb2.AssignCustomersRequest(request_id=new_id(), customer_ids=ids[2:], person_id=new_id())
    assert manager.refused(gone).field == "person_id"


def test_an_owner_and_a_superior_transfer_and_nobody_else(office: Office, manager: Person) -> None:
    """F33, F35."""
    rep, colleague = office.hire(path=EAST), office.hire(path=EAST)
    ids = [rep.create().customer_id for _ in range(2)]
    assert transfer(colleague, colleague, ids[0]) == ["NOT_OWNER"]
    assert transfer(rep, colleague, ids[0]) == ["done"]
    head = office.hire(MANAGER, EAST, scope="department")
    elsewhere = office.hire(MANAGER, WEST, scope="department")
    assert transfer(elsewhere, colleague, ids[1]) == ["NOT_OWNER"]
    assert transfer(head, colleague, ids[1], ids[0]) == ["done", "ALREADY_OWNER"]
    assert owners(office, ids) == [colleague.id] * 2


def test_the_trash_gives_back_what_it_was(office: Office, manager: Person) -> None:
    """F23."""
    pool, rep = office.pool(manager), office.hire()
    customer = manager.create("", "13800138000", pool_id=pool.pool_id, level="A")
    before = manager.get(customer.customer_id)
    trash = pools_pb2.TrashCustomersRequest(
        request_id=new_id(), customer_ids=[customer.customer_id], reason="空号"
    )
    assert rep.refused(trash).reason == "POOL_FORBIDDEN"
    assert results(manager(trash)) == ["done"]
    assert rep.claim(customer.customer_id) == ["CUSTOMER_TRASHED"]
    assert manager.refused(pb.GetCustomerRequest(customer_id=customer.customer_id)).code == "NOT_FOUND"
    bin_ = pools_pb2.ListPoolCustomersRequest(pool_id=pool.pool_id, trashed=True)
    (thrown,) = manager(bin_).customers
    assert (thrown.last_reason, thrown.customer.phones[0].masked) == ("空号", True)
    assert rep.refused(bin_).reason == "POOL_FORBIDDEN"
    restore = pools_pb2.RestoreCustomersRequest(request_id=new_id(), customer_ids=[customer.customer_id])
    assert results(manager(restore)) == ["done"]
    restore.request_id = new_id()
    assert results(manager(restore)) == ["CUSTOMER_NOT_TRASHED"]
    after = manager.get(customer.customer_id)
    before.version = after.version
    assert after == before


def test_the_most_specific_cap_wins(office: Office, manager: Person) -> None:
    """F27, F30: person before department before everybody; level and region narrow it."""
    east = new_id()
    rep = office.hire(path=f"root/{east}/")
    office.settings(manager, owner_cap=4)
    save_cap(manager, name="华东", department_ids=[east], most=3)
    save_cap(manager, name="华东A级", department_ids=[east], levels=["A"], most=1)
    assert rep.create(level="A").level == "A"
    refused = rep.refused(rep.form(level="A"))
    assert (refused.reason, refused.metadata) == ("OWNER_CAP_REACHED", {"used": "1", "limit": "1"})
    for _ in range(2):
        rep.create()
    assert rep.refused(rep.form()).metadata == {"used": "3", "limit": "3"}
    own = save_cap(manager, name="王小明", person_ids=[rep.id], most=5)
    rep.create()
    uses = rep(pools_pb2.GetCapacityRequest())
    assert [(use.name, use.used, use.most) for use in uses.caps] == [
        ("王小明", 4, 5),
        ("华东A级", 1, 1),
        ("华东", 4, 3),
        ("", 4, 4),
    ]
    assert (uses.locked, uses.lock_cap) == (0, 20)
    stale = pools_pb2.SaveCapRequest(request_id=new_id(), cap=own)
    stale.cap.version = 9
    assert manager.refused(stale).reason == "CAP_CHANGED"
    manager(pools_pb2.DeleteCapRequest(request_id=new_id(), cap_id=own.cap_id))
    assert rep.refused(rep.form()).metadata == {"used": "4", "limit": "3"}


def test_what_is_filtered_out_does_not_count(office: Office, manager: Person) -> None:
    """F29: won customers, and those of some business types."""
    rep = office.hire()
    save_cap(manager, most=1, without_contracted=True, without_business_types=["政府"])
    won = rep.create().customer_id
    assert rep.refused(rep.form()).reason == "OWNER_CAP_REACHED"
    office.tell("order_approved", {"orderId": new_id(), "customerId": won}, source="orders")
    rep.create(business_type="政府")
    rep.create()
    assert rep.refused(rep.form()).metadata == {"used": "1", "limit": "1"}


def test_a_cap_adjusts_itself_once_a_day_and_says_so(office: Office, manager: Person) -> None:
    """F31."""
    winner, loser = office.hire(), office.hire()
    for person in (winner, loser):
        office.register(person)
        person.create()
    (won,) = winner(pb.ListCustomersRequest(view=pb.CUSTOMER_VIEW_MINE)).customers
    office.tell("order_approved", {"orderId": new_id(), "customerId": won.customer_id}, source="orders")
    adjustment = pools_pb2.CapAdjustment(window_days=90, share_percent=50, step=2, least=1, most=11)
    cap = save_cap(manager, most=10, adjustment=adjustment)
    assert [office.run(lambda tx: caps.adjust_caps(tx, 1)) for _ in range(3)] == [1, 1, 0]
    changes = manager(pools_pb2.ListCapChangesRequest(cap_id=cap.cap_id)).changes
    assert {change.person_id: (change.from_most, change.to_most) for change in changes} == {
        winner.id: (10, 11),
        loser.id: (10, 8),
    }
    assert winner(pools_pb2.GetCapacityRequest()).caps[0].most == 11
    bad = pools_pb2.Cap(name="坏", adjustment=pools_pb2.CapAdjustment(window_days=1, step=1, least=5, most=4))
    assert manager.refused(pools_pb2.SaveCapRequest(request_id=new_id(), cap=bad)).field.endswith(".most")


def test_locks_have_a_cap_that_is_set(office: Office, manager: Person) -> None:
    """O12."""
    office.settings(manager, lock_cap=1)
    rep = office.hire()
    first, second = rep.create().customer_id, rep.create().customer_id
    rep(pb.LockCustomerRequest(request_id=new_id(), customer_id=first))
    refused = rep.refused(pb.LockCustomerRequest(request_id=new_id(), customer_id=second))
    assert (refused.reason, refused.metadata) == ("LOCK_CAP_REACHED", {"used": "1", "limit": "1"})


RULE = pb.ReclaimRule(
    warn_days=3,
    clauses=[
        pb.ReclaimClause(idle_days=30, levels=["A"]),
        pb.ReclaimClause(idle_days=60, contract_days=180),
    ],
    evidence=["follow_up", "contract"],
    exempt_business_types=["政府"],
)


def test_a_customer_says_when_it_falls_by_which_clause_and_what_would_help(
    office: Office, manager: Person
) -> None:
    """F18, F19, O10, O13."""
    pool, rep = office.pool(manager, rule=RULE), office.hire()
    assert pool.rule == RULE
    ids = {
        name: manager.create(pool_id=pool.pool_id, **fields).customer_id
        for name, fields in {
            "a": {"level": "A"},
            "b": {"level": "B"},
            "exempt": {"business_type": "政府"},
        }.items()
    }
    rep.claim(*ids.values())
    told = {
        name: rep(pools_pb2.ExplainReclaimRequest(customer_id=customer_id))
        for name, customer_id in ids.items()
    }
    assert (told["a"].days_left, told["a"].clause, list(told["a"].resets)) == (
        29,
        RULE.clauses[0],
        ["follow_up", "contract"],
    )
    assert (told["b"].days_left, told["b"].clause) == (179, RULE.clauses[1])
    assert (told["exempt"].HasField("reclaim_due_time"), told["exempt"].exemption) == (
        False,
        "该业务类型不回收",
    )
    # A call is no evidence under this rule, a follow-up is.
    call = {
        "customerId": ids["a"],
        "answered": True,
        "talkSeconds": 90,
        "endTime": office.store.clock().isoformat(),
    }
    office.tell("call_ended", call, source="telephony")
    same = rep(pools_pb2.ExplainReclaimRequest(customer_id=ids["a"]))
    assert same.reclaim_due_time == told["a"].reclaim_due_time
    rep(pb.AddFollowUpRequest(request_id=new_id(), customer_id=ids["a"], text="拜访"))
    later = rep(pools_pb2.ExplainReclaimRequest(customer_id=ids["a"]))
    assert later.reclaim_due_time.ToDatetime() > same.reclaim_due_time.ToDatetime()


def test_a_rule_is_tried_before_it_is_saved(office: Office, manager: Person) -> None:
    """F19: so many customers of so many reps tonight, and the difference to the rule of today."""
    pool = office.pool(manager, rule=pb.ReclaimRule(idle_days=20, warn_days=1))
    reps = [office.hire() for _ in range(2)]
    past = office.store.clock() - timedelta(days=25)
    ids = pooled(manager, pool, 4, level="B") + pooled(manager, pool, 1, level="A")
    with office.store.transaction(office.tenant, now=past) as tx:
        claim_customers(tx, reps[0].caller, ids[:3])
        claim_customers(tx, reps[1].caller, ids[3:])
        care.add_evidence(tx, ids[0], Evidence.CALL, past)
    reps[0](pb.LockCustomerRequest(request_id=new_id(), customer_id=ids[1]))
    tried = manager(
        pools_pb2.TryReclaimRuleRequest(
            pool_id=pool.pool_id,
            rule=pb.ReclaimRule(
                warn_days=1,
                clauses=[pb.ReclaimClause(idle_days=10), pb.ReclaimClause(contract_days=2)],
                exempt_levels=["A"],
            ),
        )
    )
    assert (tried.customers, tried.today.customers, tried.today.owners) == (4, 4, 2)
    assert (tried.tried.customers, tried.added.customers, tried.spared.customers) == (3, 0, 1)
    (spared,) = tried.examples
    assert (spared.customer_id, spared.HasField("new_due_time")) == (ids[4], False)
    assert next(item.rule.idle_days for item in manager(pb.ListPoolsRequest()).pools if item == pool) == 20


def test_bad_rules_name_their_field(manager: Person) -> None:
    for rule, field in (
        (pb.ReclaimRule(warn_days=1, clauses=[pb.ReclaimClause()]), "pool.rule.clauses[0].idle_days"),
        (pb.ReclaimRule(warn_days=9, clauses=[pb.ReclaimClause(idle_days=9)]), "pool.rule.warn_days"),
        (pb.ReclaimRule(idle_days=9, warn_days=1, evidence=["smoke"]), "pool.rule.evidence"),
    ):
        request = pb.CreatePoolRequest(request_id=new_id(), pool=pb.Pool(name="坏", rule=rule))
        assert manager.refused(request).field == field


def test_a_sweep_waits_for_evidence_that_lags_and_undoes_what_was_wrong(
    office: Office, manager: Person
) -> None:
    """Decision 5."""
    pool, rep = office.pool(manager, rule=pb.ReclaimRule(idle_days=10, warn_days=1)), office.hire()
    worked, neglected = pooled(manager, pool, 2)
    now = office.store.clock()
    past = now - timedelta(days=12)
    with office.store.transaction(office.tenant, now=past) as tx:
        claim_customers(tx, rep.caller, [worked, neglected])
    with office.store.transaction(office.tenant, now=now - timedelta(days=2)) as tx:
        assert sweeps.warn(tx, pool.pool_id, 500) == 2

    def sweep() -> int | None:
        with office.store.transaction(office.tenant, now=now) as tx:
            return sweeps.reclaim_what_is_known(tx, pool.pool_id, 500)

    assert (sweep(), sweep()) == (None, None)
    assert office.events("evidence_asked") == [{"sources": ["orders", "telephony"]}]
    for source in evidence.SOURCES:
        assert sweep() is None
        office.tell("evidence_reported", {"throughTime": now.isoformat()}, source=source)
    assert sweep() == 2
    assert owners(office, [worked, neglected]) == [None, None]
    # The edge was cut off: a call of five days ago is heard of only now. One of today is no reason.
    for customer_id, time in ((worked, now - timedelta(days=5)), (neglected, now + timedelta(hours=1))):
        call = {"customerId": customer_id, "answered": True, "talkSeconds": 60, "endTime": time.isoformat()}
        office.tell("call_linked", call, source="telephony")
    assert owners(office, [worked, neglected]) == [rep.id, None]
    change = manager.ledger(worked)[0]
    assert (change.cause, change.reason) == (pb.OWNERSHIP_CAUSE_REVERSE, care.REVERSED)
    due = rep.get(worked).reclaim_due_time.ToDatetime()
    assert abs(due - (now + timedelta(days=5)).replace(tzinfo=None)) < timedelta(seconds=1)
    with office.store.transaction(office.tenant) as tx:
        rows = tx.session.scalars(select(EvidenceSource).where(EvidenceSource.tenant_id == office.tenant.id))
        assert all(row.through_time == now for row in rows)


@pytest.mark.parametrize("least_loaded", [False, True])
def test_customers_are_allocated_as_the_rules_say(
    office: Office, manager: Person, *, least_loaded: bool
) -> None:
    """F32: region and level choose the rule, caps are respected, nobody gets back what was given up."""
    pool = office.pool(manager)
    reps = [office.hire() for _ in range(3)]
    for person in reps:
        office.register(person)
    save_cap(manager, person_ids=[reps[2].id], most=1)
    reps[0].create()
    method = (
        pools_pb2.ALLOCATION_METHOD_LEAST_LOADED if least_loaded else pools_pb2.ALLOCATION_METHOD_ROUND_ROBIN
    )
    rule = pools_pb2.AllocationRule(
        name="华东",
        pool_id=pool.pool_id,
        regions=["上海"],
        method=method,
        former_owner_first=True,
        person_ids=[person.id for person in reps],
    )
    stored = manager(pools_pb2.SaveAllocationRuleRequest(request_id=new_id(), rule=rule)).rule
    ids = pooled(manager, pool, 5, region="上海")
    (elsewhere,) = pooled(manager, pool, 1, region="北京")

    def sweep() -> None:
        while office.run(lambda tx: allocation.allocate(tx, pool.pool_id, 1)):
            pass

    sweep()
    a, b, c = (person.id for person in reps)
    expected = [b, c, a, b, a] if least_loaded else [a, b, c, a, b]
    assert owners(office, ids) == expected
    assert owners(office, [elsewhere]) == [None]
    giver, gift = (reps[1], ids[0]) if least_loaded else (reps[0], ids[0])
    giver.give_back(gift)
    sweep()
    assert owners(office, [gift]) != [giver.id]
    assert owners(office, [gift]) != [None]
    assert manager.ledger(gift)[0].cause == pb.OWNERSHIP_CAUSE_ALLOCATE
    stored.version = 7
    stale = pools_pb2.SaveAllocationRuleRequest(request_id=new_id(), rule=stored)
    assert manager.refused(stale).reason == "ALLOCATION_RULE_CHANGED"
    manager(pools_pb2.DeleteAllocationRuleRequest(request_id=new_id(), rule_id=stored.rule_id))
    assert list(manager(pools_pb2.ListAllocationRulesRequest()).rules) == []


def test_a_leavers_customers_go_to_others_in_turn_as_far_as_they_fit(office: Office, manager: Person) -> None:
    """F34, F35."""
    leaver, first, second = (office.hire(path=EAST) for _ in range(3))
    ids = [leaver.create().customer_id for _ in range(7)]
    save_cap(manager, person_ids=[first.id], most=2)
    save_cap(manager, person_ids=[second.id], most=4)
    pool = office.pool(manager)
    outsider = office.hire(MANAGER, WEST, scope="department")
    request = pools_pb2.StartHandOverRequest(
        request_id=new_id(),
        from_person_id=leaver.id,
        to_person_ids=[first.id, second.id],
        pool_id=pool.pool_id,
        reason="离职",
    )
    assert outsider.refused(request).reason == "NOT_SUBORDINATE"
    begun = manager(request).hand_over
    assert (begun.state, begun.left) == (pools_pb2.HAND_OVER_STATE_RUNNING, 7)
    assert f"hand-over-{begun.hand_over_id}" in office.workflows()
    while office.run(lambda tx: hand_over_batch(tx, begun.hand_over_id, 3)):
        pass
    done = manager(pools_pb2.GetHandOverRequest(hand_over_id=begun.hand_over_id)).hand_over
    assert (done.state, done.moved, done.pooled, done.left) == (pools_pb2.HAND_OVER_STATE_DONE, 6, 1, 0)
    found = owners(office, ids)
    assert (found.count(first.id), found.count(second.id), found.count(None)) == (2, 4, 1)
    # Again, it changes nothing.
    assert not office.run(lambda tx: hand_over_batch(tx, begun.hand_over_id, 3))
    items = manager(pools_pb2.ListHandOverItemsRequest(hand_over_id=begun.hand_over_id)).items
    assert {item.customer_id: item.to_person_id or None for item in items} == dict(
        zip(ids, found, strict=True)
    )
    assert [item.pool_id for item in items if not item.to_person_id] == [pool.pool_id]


def test_a_hand_over_tells_what_became_of_each_customer(office: Office, manager: Person) -> None:
    """F34: who began it, how far it is, and what stays because it fits nobody; each customer is tried once."""
    leaver, full, roomy = (office.hire(path=EAST) for _ in range(3))
    ids = [leaver.create(level="A" if index < 3 else "").customer_id for index in range(6)]
    save_cap(manager, person_ids=[full.id], most=1)
    full.create()
    save_cap(manager, person_ids=[roomy.id], levels=["A"], most=1)
    request = pools_pb2.StartHandOverRequest(
        request_id=new_id(), from_person_id=leaver.id, to_person_ids=[full.id, roomy.id], reason="离职"
    )
    begun = manager(request).hand_over
    # What fits nobody comes first, and must not hold up the rest.
    while office.run(lambda tx: hand_over_batch(tx, begun.hand_over_id, 2)):
        pass
    (listed,) = manager(pools_pb2.ListHandOversRequest()).hand_overs
    assert (listed.actor_id, listed.state, listed.moved, listed.refused, listed.left) == (
        manager.id,
        pools_pb2.HAND_OVER_STATE_FULL,
        4,
        2,
        2,
    )
    assert listed.HasField("end_time")
    found = owners(office, ids)
    assert (found[:3].count(roomy.id), found[:3].count(leaver.id)) == (1, 2)
    assert found[3:] == [roomy.id] * 3
    asked = pools_pb2.ListHandOverItemsRequest(hand_over_id=begun.hand_over_id, refused=True, page_size=1)
    first = manager(asked)
    asked.page_token = first.next_page_token
    second = manager(asked)
    assert {item.customer_id: item.refusal for item in (*first.items, *second.items)} == {
        customer_id: "OWNER_CAP_REACHED"
        for customer_id, owner in zip(ids, found, strict=True)
        if owner == leaver.id
    }
    assert second.next_page_token == ""


def test_a_hand_over_is_told_to_who_began_it_and_to_superiors(office: Office, manager: Person) -> None:
    """F35."""
    leaver, gainer = office.hire(path=EAST), office.hire(path=EAST)
    head = office.hire(MANAGER, EAST, scope="department")
    outsider = office.hire(MANAGER, WEST, scope="department")
    request = pools_pb2.StartHandOverRequest(
        request_id=new_id(), from_person_id=leaver.id, to_person_ids=[gainer.id], reason="离职"
    )
    begun = head(request).hand_over.hand_over_id
    for person in (head, manager):
        (listed,) = person(pools_pb2.ListHandOversRequest(page_size=1)).hand_overs
        assert (listed.hand_over_id, listed.from_person_id) == (begun, leaver.id)
    assert list(outsider(pools_pb2.ListHandOversRequest()).hand_overs) == []
    for asked in (
        pools_pb2.GetHandOverRequest(hand_over_id=begun),
        pools_pb2.ListHandOverItemsRequest(hand_over_id=begun),
    ):
        assert outsider.refused(asked).reason == "HAND_OVER_NOT_FOUND"


def test_of_200_parallel_claims_one_wins_and_199_are_told_why(office: Office, manager: Person) -> None:
    """F12."""
    (customer_id,) = pooled(manager, office.pool(manager), 1)
    reps = [office.hire() for _ in range(200)]
    with ThreadPoolExecutor(50) as threads:
        answers = [answer for (answer,) in threads.map(lambda rep: rep.claim(customer_id), reps)]
    assert sorted(answers) == ["CUSTOMER_OWNED"] * 199 + ["done"]
    assert owners(office, [customer_id]) == [reps[answers.index("done")].id]
    assert sum(change.cause == pb.OWNERSHIP_CAUSE_CLAIM for change in manager.ledger(customer_id)) == 1


def test_the_nine_o_clock_rush_gives_each_customer_to_one(office: Office, manager: Person) -> None:
    """F12, F21, F25: 500 open the same page of 50 and take ten of it at once; each customer goes to one of them.

    Nobody is over the limit, and everybody is told why not.
    """
    pool = office.pool(manager, daily_claims=3)
    ids = pooled(manager, pool, 50)
    reps = [office.hire() for _ in range(500)]

    def rush(index: int) -> list[str]:
        page = reps[index](pools_pb2.ListPoolCustomersRequest(pool_id=pool.pool_id, page_size=50)).customers
        seen = [one.customer.customer_id for one in page] or ids
        start = index % len(seen)
        return reps[index].claim(*(seen + seen)[start : start + min(10, len(seen))])

    with ThreadPoolExecutor(100) as threads:
        answers = list(threads.map(rush, range(500)))
    won = [answer.count("done") for answer in answers]
    assert (sum(won), max(won)) == (50, 3)
    assert {reason for answer in answers for reason in answer} == {
        "done",
        "CUSTOMER_OWNED",
        "DAILY_CLAIMS_USED_UP",
    }
    found = owners(office, ids)
    assert [found.count(rep.id) for rep in reps] == won
    claimed = office.run(
        lambda tx: tx.session.scalars(
            select(OwnershipChange.customer_id).where(
                OwnershipChange.tenant_id == office.tenant.id, OwnershipChange.cause == "claim"
            )
        ).all()
    )
    assert sorted(claimed) == sorted(ids)
