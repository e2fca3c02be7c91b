"""Creating customers: every field comes back, caps hold, keys are held or given back."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from crm.customers.v1 import customers_pb2 as pb
from crm.customers.v1 import records_pb2
from sqlalchemy import func, select

from services.chassis.db import Store, Transaction
from services.chassis.errors import AlreadyExists, RuleViolation
from services.chassis.ids import new_id
from services.chassis.tenancy import Tenant
from services.dedupe.domain.keys import digest_of
from services.dedupe.matching.normalise import normalise
from services.dedupe.matching.weights import Record, Weights
from services.dedupe.store import index
from services.dedupe.store.queries import rules
from services.dedupe.store.tables import HeldKey, MatchRecord
from tests.integration.customers.office import MANAGER, REP, Desk, Office, Person


def held_keys(office: Office, dedupe_store: Store) -> int:
    """Return how many keys the tenant holds."""
    with dedupe_store.transaction(office.tenant) as tx:
        query = select(func.count()).select_from(HeldKey).where(HeldKey.tenant_id == office.tenant.id)
        return tx.session.scalar(query) or 0


def test_every_field_comes_back(office: Office) -> None:
    """F1, F3, O11."""
    rep = office.hire()
    created = rep.create(
        "东方贸易（上海）有限公司",
        "021-55556666-801",
        "400-812-3456",
        level="A",
        region="上海",
        address="南京路 1 号",
        business_type="贸易",
        contacts=[
            pb.ContactInput(
                name="李雷",
                title="经理",
                phones=[pb.PhoneInput(number="138 0013 8000"), pb.PhoneInput(number="+8613900139000")],
            ),
            pb.ContactInput(name="韩梅梅"),
        ],
    )
    found = rep.get(created.customer_id)
    assert found == created
    assert found.state == pb.CUSTOMER_STATE_ACTIVE
    assert (found.name, found.level, found.region, found.address, found.business_type) == (
        "东方贸易（上海）有限公司",
        "A",
        "上海",
        "南京路 1 号",
        "贸易",
    )
    assert [(phone.number, phone.extension, phone.masked) for phone in found.phones] == [
        ("+862155556666", "801", False),
        ("4008123456", "", False),
    ]
    assert [contact.name for contact in found.contacts] == ["李雷", "韩梅梅"]
    assert [phone.number for phone in found.contacts[0].phones] == ["+8613800138000", "+8613900139000"]
    assert (found.owner_id, found.pool_id) == (rep.id, "")
    assert found.allowed_actions == ["return", "lock", "follow"]
    assert (found.reclaim_due_time.ToDatetime() - found.own_time.ToDatetime()).days == 90
    (event,) = office.events("customer_created")
    assert (event["customerId"], event["ownerId"]) == (found.customer_id, rep.id)
    assert "13800138000" not in str(event)


CODE = "91350100M000100Y43"


def test_the_credit_code_of_the_register_is_kept_and_can_be_unique(
    office: Office, dedupe_store: Store, desk: Callable[[Person], Desk]
) -> None:
    """F38, F40: what the business register filled in stands in the finance data, and is a key like others."""
    with dedupe_store.transaction(office.tenant) as tx:
        (rule,) = [one for one in rules(tx) if (one.kind, one.field) == ("customer", "credit_code")]
        rule.active = True
    rep = desk(office.hire(REP | {"customers.edit"}))
    made = rep.person.create("甲公司", "13800138000", credit_code=f" {CODE.lower()} ")
    page = rep("GetCustomerPage", customer_id=made.customer_id)
    assert page.finance.tax_number == CODE
    assert rep.person.refused(rep.person.form("乙公司", credit_code=CODE)).metadata["field"] == "credit_code"
    wrong = rep.person.refused(rep.person.form("乙公司", credit_code=CODE[:-1] + "4"))
    assert (wrong.reason, wrong.field) == ("CREDIT_CODE_CHECK", "credit_code")
    other = rep.person.create("丙公司")

    def set_code(code: str) -> dict[str, Any]:
        return {"customer_id": other.customer_id, "finance": records_pb2.Finance(tax_number=code)}

    assert rep.refused("UpdateCustomer", **set_code(CODE)).reason == "KEY_HELD"
    assert rep.refused("UpdateCustomer", **set_code(CODE[:-1] + "4")).reason == "CREDIT_CODE_CHECK"
    # From before 2015 there are shorter ones.
    rep("UpdateCustomer", **set_code("310101192803"))
    rep("UpdateCustomer", **set_code("9111000071093123XX"))
    assert rep.person.refused(rep.person.form(credit_code="9111000071093123XX")).reason == "KEY_HELD"


def test_a_further_number_leaves_what_the_customer_is_found_by(
    office: Office, dedupe_store: Store, desk: Callable[[Person], Desk]
) -> None:
    """F154, O8: a number, a contact or a new name adds to how a customer is matched, and takes nothing away."""
    rep = desk(office.hire(REP | {"customers.edit"}))
    contact = pb.ContactInput(name="李雷", phones=[pb.PhoneInput(number="13900139000")])
    made = rep.person.create("成都知品科技有限公司", "13800138000", contacts=[contact])
    rep("AddPhone", customer_id=made.customer_id, number="13800138001")
    rep(
        "AddPhone",
        customer_id=made.customer_id,
        contact_id=made.contacts[0].contact_id,
        number="13900139001",
    )
    rep("CreateContact", customer_id=made.customer_id, contact=pb.ContactInput(name="韩梅梅"))
    rep("UpdateCustomer", customer_id=made.customer_id, name="成都知品软件有限公司")

    def known(tx: Transaction) -> list[tuple[str, str, int]]:
        rows = tx.session.scalars(select(MatchRecord).where(MatchRecord.tenant_id == tx.tenant.id))
        return sorted((row.customer_id, row.name, len(row.phones)) for row in rows)

    with dedupe_store.transaction(office.tenant) as tx:
        assert known(tx) == [
            (made.customer_id, "成都知品软件有限公司", 2),
            (made.customer_id, "李雷", 2),
            (made.customer_id, "韩梅梅", 0),
        ]
        probe = Record(normalise("成都质品软件有限公司"), frozenset({digest_of("+8613800138001")}))
        (found,) = index.find(tx, probe, Weights(), 5)
    assert found.customer_id == made.customer_id


def test_a_repeated_request_makes_one_customer(office: Office) -> None:
    rep = office.hire()
    form = rep.form("重复公司", "13800138000")
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(rep, [form] * 4))
    assert len({answer.customer.customer_id for answer in answers}) == 1
    assert rep.listed(pb.CUSTOMER_VIEW_MINE) == ["重复公司"]
    assert len(office.events("customer_created")) == 1


def test_a_held_name_is_refused_with_the_masked_holder(office: Office) -> None:
    """F148, F152."""
    office.hire(name="欧阳锋").create("白驼山商行")
    refused = office.hire().refused(office.hire().form("白驼山 商行"))
    assert isinstance(refused, AlreadyExists)
    assert (refused.reason, refused.metadata["holder"]) == ("KEY_HELD", "欧**")


def test_of_simultaneous_creates_of_one_name_one_wins(office: Office) -> None:
    """F152."""
    reps = [office.hire() for _ in range(8)]

    def create(index: int) -> bool:
        try:
            reps[index].create("抢手公司", f"1380013800{index}")
        except AlreadyExists:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(create, range(8))) == 1


def test_a_rep_at_the_cap_cannot_create_also_at_the_same_time(office: Office, dedupe_store: Store) -> None:
    """F27, F28."""
    office.settings(office.hire(MANAGER), owner_cap=3)
    rep = office.hire()

    def create(_: int) -> str:
        try:
            rep.create()
        except RuleViolation as refused:
            return "{reason} {used}/{limit}".format(reason=refused.reason, **refused.metadata)
        return "done"

    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(create, range(8)))
    assert sorted(results) == ["OWNER_CAP_REACHED 3/3"] * 5 + ["done"] * 3
    # What was refused after its keys were taken has given them back.
    assert held_keys(office, dedupe_store) == 3


def test_a_registration_that_waits_takes_its_place_under_the_cap(office: Office) -> None:
    """F28: else more would pass than the cap allows."""
    manager = office.hire(MANAGER)
    office.settings(manager, owner_cap=1, registration_required=True)
    rep = office.hire()
    rep.create(approver_id=manager.id)
    assert rep.refused(rep.form(approver_id=manager.id)).reason == "OWNER_CAP_REACHED"


def test_a_customer_can_be_made_straight_into_a_pool(office: Office) -> None:
    """F22: without an approver, also while registration is on."""
    manager, rep = office.hire(MANAGER), office.hire()
    pool = office.pool(manager)
    office.settings(manager, owner_cap=1, registration_required=True)
    # More than the manager could own.
    for created in [manager.create(pool_id=pool.pool_id) for _ in range(2)]:
        assert (created.owner_id, created.pool_id) == ("", pool.pool_id)
        assert created.state == pb.CUSTOMER_STATE_ACTIVE
        assert [change.cause for change in manager.ledger(created.customer_id)] == [pb.OWNERSHIP_CAUSE_CREATE]
    assert rep.refused(rep.form(pool_id=pool.pool_id)).code == "PERMISSION_DENIED"
    assert manager.refused(manager.form(pool_id=new_id())).reason == "POOL_NOT_FOUND"


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({"name": " "}, "name", "TEXT_EMPTY"),
        ({"name": "（）"}, "name", "NAME_MEANINGLESS"),
        ({"name": "长" * 201}, "name", "TEXT_TOO_LONG"),
        ({"phones": [pb.PhoneInput(number="1380013800")]}, "phones[0].number", "PHONE_LENGTH"),
        ({"phones": [pb.PhoneInput(number="12345678901")]}, "phones[0].number", "PHONE_PREFIX"),
        ({"contacts": [pb.ContactInput()]}, "contacts[0].name", "TEXT_EMPTY"),
        (
            {
                "contacts": [
                    pb.ContactInput(name="某"),
                    pb.ContactInput(name="某", phones=[pb.PhoneInput(number="x")]),
                ]
            },
            "contacts[1].phones[0].number",
            "PHONE_LENGTH",
        ),
        ({"approver_id": "nobody"}, "approver_id", "NOT_A_UUID"),
        ({"approver_id": new_id()}, "approver_id", "APPROVER_UNSUITABLE"),
        ({"phones": [pb.PhoneInput(number="13800138000")] * 21}, "phones", "TOO_MANY"),
        ({"request_id": ""}, "request_id", "NOT_A_UUID"),
    ],
)
def test_bad_input_names_its_field(
    office: Office, fields: dict[str, object], field: str, reason: str
) -> None:
    """F239, F240."""
    rep = office.hire()
    refused = rep.refused(
        pb.CreateCustomerRequest(**({"request_id": new_id(), "name": "新公司"} | fields))  # type: ignore[arg-type]  # keywords of several types
    )
    assert (refused.field, refused.reason) == (field, reason)


def test_an_approver_must_be_able_to_approve(office: Office) -> None:
    rep, colleague = office.hire(), office.hire()
    refused = rep.refused(rep.form(approver_id=colleague.id))
    assert (refused.field, refused.reason) == ("approver_id", "APPROVER_UNSUITABLE")


def test_the_first_customer_of_a_tenant_starts_its_sweepers(office: Office) -> None:
    office.hire().create()
    settings = office.hire()(pb.GetSettingsRequest()).settings
    assert set(office.workflows()) == {f"pool-{settings.default_pool_id}", f"no-pool-{office.tenant.id}"}
    assert (settings.default_rule.idle_days, settings.default_rule.warn_days) == (90, 1)


def test_a_token_of_another_tenant_gives_nothing(
    office: Office, open_office: Callable[[Tenant], Office]
) -> None:
    """The row is there, but for nobody of another tenant."""
    created = office.hire().create("同名公司", "13800138000")
    stranger = open_office(Tenant(new_id(), "main")).hire(MANAGER, scope="all")
    refused = stranger.refused(pb.GetCustomerRequest(customer_id=created.customer_id))
    assert refused.reason == "CUSTOMER_NOT_FOUND"
    assert stranger.listed(pb.CUSTOMER_VIEW_ALL) == []
    assert stranger.claim(created.customer_id) == ["CUSTOMER_NOT_FOUND"]
    stranger.create("同名公司", "13800138000")
