"""Pools: who may claim, how often, and what goes back where."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from crm.customers.v1 import customers_pb2 as pb
from crm.customers.v1 import records_pb2

from services.chassis.ids import new_id
from services.chassis.tokens import Caller
from services.customers.usecases.pool_moves import claim_customers
from tests.integration.customers.office import EAST, MANAGER, REP, WEST, Office, Person


@pytest.fixture
def manager(office: Office) -> Person:
    """Somebody who makes pools and customers in them."""
    return office.hire(MANAGER, scope="all")


def test_of_fifty_concurrent_claims_exactly_one_wins(office: Office, manager: Person) -> None:
    """F12."""
    pool = office.pool(manager)
    customer = manager.create("", "13800138000", pool_id=pool.pool_id)
    reps = [office.hire() for _ in range(50)]
    with ThreadPoolExecutor(50) as threads:
        results = list(threads.map(lambda rep: rep.claim(customer.customer_id)[0], reps))
    assert sorted(results) == ["CUSTOMER_OWNED"] * 49 + ["done"]
    winner = reps[results.index("done")]
    found = winner.get(customer.customer_id)
    assert (found.owner_id, found.pool_id) == (winner.id, pool.pool_id)
    assert found.phones[0].number == "+8613800138000"
    change, created = manager.ledger(customer.customer_id)
    assert (change.cause, change.from_owner_id, change.to_owner_id, change.actor_id) == (
        pb.OWNERSHIP_CAUSE_CLAIM,
        "",
        winner.id,
        winner.id,
    )
    assert created.cause == pb.OWNERSHIP_CAUSE_CREATE
    (event,) = office.events("customer_claimed")
    assert (event["toOwnerId"], event["poolId"], event["cause"]) == (winner.id, pool.pool_id, "claim")


def test_only_members_see_and_claim(office: Office, manager: Person) -> None:
    """F13, F26."""
    pool = office.pool(manager, "华东公海", department_ids=[new_id()])
    east = pool.department_ids[0]
    customer = manager.create("华东客户", pool_id=pool.pool_id)
    member, outsider = office.hire(path=f"root/{east}/team/"), office.hire(path=WEST)
    assert outsider.claim(customer.customer_id) == ["POOL_FORBIDDEN"]
    for request in (
        pb.GetCustomerRequest(customer_id=customer.customer_id),
        pb.ListCustomersRequest(view=pb.CUSTOMER_VIEW_POOL, pool_id=pool.pool_id),
    ):
        refused = outsider.refused(request)
        assert (refused.code, refused.reason) == ("PERMISSION_DENIED", "POOL_FORBIDDEN")
    assert outsider.listed(pb.CUSTOMER_VIEW_POOL) == []
    assert [item.name for item in outsider(pb.ListPoolsRequest()).pools] == ["公海"]
    assert [item.name for item in member(pb.ListPoolsRequest()).pools] == ["公海", "华东公海"]
    assert member.listed(pb.CUSTOMER_VIEW_POOL, pool_id=pool.pool_id) == ["华东客户"]
    assert member.get(customer.customer_id).allowed_actions == ["claim"]
    assert member.claim(customer.customer_id) == ["done"]


def test_pool_customers_are_masked_and_read_only_for_everybody(office: Office, manager: Person) -> None:
    """F24."""
    customer = manager.create("", "13800138000", pool_id=office.pool(manager).pool_id)
    sees_all = office.hire(MANAGER | {"numbers.view_all", "customers.edit"}, scope="all")
    for person in (manager, sees_all, office.hire()):
        seen = person.get(customer.customer_id)
        assert [(phone.number, phone.masked) for phone in seen.phones] == [("+86138****8000", True)]
        assert seen.allowed_actions == ["claim"]
        note = pb.AddFollowUpRequest(request_id=new_id(), customer_id=customer.customer_id, text="联系过")
        assert person.refused(note).reason == "FOLLOW_UP_FORBIDDEN"
    edit = records_pb2.UpdateCustomerRequest(request_id=new_id(), customer_id=customer.customer_id, level="A")
    assert sees_all.refused(edit).reason == "EDIT_FORBIDDEN"


def test_a_claim_takes_one_to_ten_each_with_its_own_result(office: Office, manager: Person) -> None:
    """F21."""
    pool = office.pool(manager)
    free = [manager.create(pool_id=pool.pool_id).customer_id for _ in range(2)]
    owned = office.hire().create().customer_id
    rep = office.hire()
    assert rep.claim(free[0], owned, new_id(), free[1], free[0]) == [
        "done",
        "CUSTOMER_OWNED",
        "CUSTOMER_NOT_FOUND",
        "done",
        "done",
    ]
    for ids in ([], [new_id() for _ in range(11)]):
        refused = rep.refused(pb.ClaimCustomersRequest(request_id=new_id(), customer_ids=ids))
        assert (refused.field, refused.reason) == ("customer_ids", "CLAIM_SIZE_OUT_OF_RANGE")
    refused = rep.refused(pb.ClaimCustomersRequest(request_id=new_id(), customer_ids=[free[0], "x"]))
    assert refused.field == "customer_ids[1]"


def test_a_refusal_is_told_in_the_readers_language(office: Office) -> None:
    rep = office.hire()
    owned = office.hire().create().customer_id
    request = pb.ClaimCustomersRequest(request_id=new_id(), customer_ids=[owned])
    assert rep(request).results[0].message == "该客户已有负责人"


def test_claims_of_a_day_are_counted_from_the_ledger(office: Office, manager: Person) -> None:
    """F21, O6: returning what was claimed refunds nothing; tomorrow is another day."""
    pool = office.pool(manager, daily_claims=3)
    ids = [manager.create(pool_id=pool.pool_id).customer_id for _ in range(6)]
    rep = office.hire()
    assert rep.claim(*ids[:2]) == ["done", "done"]
    rep.give_back(ids[0])
    assert rep.claim(*ids[2:5]) == ["done", "DAILY_CLAIMS_USED_UP", "DAILY_CLAIMS_USED_UP"]
    # Another pool has a count of its own, another rep too.
    elsewhere = manager.create(pool_id=office.pool(manager).pool_id).customer_id
    assert rep.claim(elsewhere) == ["done"]
    assert office.hire().claim(ids[3]) == ["done"]
    with office.store.transaction(office.tenant, rep.id, office.store.clock() + timedelta(days=1)) as tx:
        caller = Caller(tenant=office.tenant, person_id=rep.id, department_path=EAST)
        assert not isinstance(claim_customers(tx, caller, [ids[4]])[ids[4]], Exception)


def test_concurrent_claims_keep_the_cap_and_the_daily_limit(office: Office, manager: Person) -> None:
    """F29, F21."""
    pool = office.pool(manager, daily_claims=6)
    office.settings(manager, owner_cap=5)
    ids = [manager.create(pool_id=pool.pool_id).customer_id for _ in range(20)]
    rep = office.hire()
    with ThreadPoolExecutor(10) as threads:
        results = [
            result
            for part in threads.map(lambda index: rep.claim(*ids[index : index + 2]), range(0, 20, 2))
            for result in part
        ]
    assert sorted(results) == ["OWNER_CAP_REACHED"] * 15 + ["done"] * 5
    rep.give_back(ids[results.index("done")])
    free = [item for item, result in zip(ids, results, strict=True) if result != "done"]
    assert rep.claim(free[0]) == ["done"]
    rep.give_back(free[0])
    assert rep.claim(free[1]) == ["DAILY_CLAIMS_USED_UP"]


def test_a_pool_customer_goes_back_to_its_pool_with_no_choice(office: Office, manager: Person) -> None:
    """F8, F9, F11."""
    pool, other = office.pool(manager), office.pool(manager)
    customer_id = manager.create(pool_id=pool.pool_id).customer_id
    rep = office.hire()
    rep.claim(customer_id)
    rep(pb.LockCustomerRequest(request_id=new_id(), customer_id=customer_id))
    refused = rep.refused(
        pb.ReturnCustomerRequest(
            request_id=new_id(), customer_id=customer_id, reason="输单", pool_id=other.pool_id
        )
    )
    assert (refused.field, refused.reason) == ("pool_id", "POOL_FIXED")
    returned = rep.give_back(customer_id)
    assert (returned.owner_id, returned.pool_id) == ("", pool.pool_id)
    assert not returned.HasField("reclaim_due_time")
    assert not returned.HasField("lock_expire_time")
    change = rep.ledger(customer_id)[0]
    assert (change.cause, change.from_owner_id, change.to_owner_id, change.reason) == (
        pb.OWNERSHIP_CAUSE_RETURN,
        rep.id,
        "",
        "跟进无效果",
    )
    assert office.events("customer_returned")[0]["fromOwnerId"] == rep.id
    assert office.hire().claim(customer_id) == ["done"]


def test_a_customer_of_no_pool_needs_one_named(office: Office, manager: Person) -> None:
    """F10."""
    rep, pool = office.hire(), office.pool(manager)
    customer_id = rep.create().customer_id
    refused = rep.refused(
        pb.ReturnCustomerRequest(request_id=new_id(), customer_id=customer_id, reason="放弃")
    )
    assert (refused.field, refused.reason) == ("pool_id", "POOL_MISSING")
    assert rep.get(customer_id).owner_id == rep.id
    assert rep.give_back(customer_id, pool.pool_id).pool_id == pool.pool_id


def test_a_return_needs_a_reason_and_the_owner(office: Office, manager: Person) -> None:
    """F9."""
    rep = office.hire()
    customer_id = rep.create().customer_id
    request = pb.ReturnCustomerRequest(request_id=new_id(), customer_id=customer_id, reason=" ")
    assert rep.refused(request).field == "reason"
    request.reason = "放弃"
    assert manager.refused(request).reason == "NOT_OWNER"
    request.pool_id = new_id()
    assert rep.refused(request).reason == "POOL_NOT_FOUND"


def test_pools_are_made_and_changed_by_whoever_may(office: Office, manager: Person) -> None:
    """F19, F26."""
    pool = office.pool(manager, "老客户公海", rule=pb.ReclaimRule(idle_days=30, warn_days=3), daily_claims=5)
    assert f"pool-{pool.pool_id}" in office.workflows()
    assert (pool.version, pool.rule.idle_days, pool.daily_claims) == (1, 30, 5)
    pool.rule.idle_days = 60
    pool.name = "回流公海"
    changed = manager(pb.UpdatePoolRequest(request_id=new_id(), pool=pool)).pool
    assert (changed.version, changed.rule.idle_days, changed.name) == (2, 60, "回流公海")
    stale = manager.refused(pb.UpdatePoolRequest(request_id=new_id(), pool=pool))
    assert (stale.code, stale.reason) == ("ABORTED", "POOL_CHANGED")
    assert office.hire(REP).refused(pb.CreatePoolRequest(request_id=new_id())).code == "PERMISSION_DENIED"
    changed.name = "公海"
    taken = manager.refused(pb.UpdatePoolRequest(request_id=new_id(), pool=changed))
    assert taken.reason == "POOL_NAME_TAKEN"
    request = pb.CreatePoolRequest(request_id=new_id(), pool=pb.Pool(name="公海"))
    assert manager.refused(request).reason == "POOL_NAME_TAKEN"


@pytest.mark.parametrize(
    ("pool", "field"),
    [
        (pb.Pool(), "pool.name"),
        (pb.Pool(name="坏", rule=pb.ReclaimRule(idle_days=90)), "pool.rule.warn_days"),
        (pb.Pool(name="坏", daily_claims=-1), "pool.daily_claims"),
        (pb.Pool(name="坏", department_ids=["x"]), "pool.department_ids[0]"),
    ],
)
def test_a_bad_pool_names_its_field(manager: Person, pool: pb.Pool, field: str) -> None:
    assert manager.refused(pb.CreatePoolRequest(request_id=new_id(), pool=pool)).field == field


def test_settings_keep_what_is_not_named(office: Office, manager: Person) -> None:
    pool = office.pool(manager)
    rule = pb.ReclaimRule(idle_days=45, warn_days=2)
    first = office.settings(manager, owner_cap=7, default_rule=rule, default_pool_id=pool.pool_id)
    assert (first.owner_cap, first.default_rule, first.default_pool_id) == (7, rule, pool.pool_id)
    second = office.settings(manager, registration_required=True)
    assert (second.owner_cap, second.default_rule, second.default_pool_id) == (0, rule, pool.pool_id)
    bad = pb.UpdateSettingsRequest(request_id=new_id(), settings=pb.Settings(owner_cap=-1))
    assert manager.refused(bad).field == "settings.owner_cap"
    bad = pb.UpdateSettingsRequest(request_id=new_id(), settings=pb.Settings(default_pool_id=new_id()))
    assert manager.refused(bad).reason == "POOL_NOT_FOUND"
