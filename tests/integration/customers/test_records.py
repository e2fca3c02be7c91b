"""Records over a real channel: fields, filters, searches, edits, contacts, categories, plans, pages and views."""

import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from crm.customers.v1 import customers_pb2 as base
from crm.customers.v1 import records_pb2 as pb
from sqlalchemy import text

from services.chassis.bulk import insert_rows
from services.chassis.db import Transaction
from services.chassis.errors import AlreadyExists, Conflict, Forbidden, InvalidInput, RuleViolation
from services.chassis.ids import new_id
from services.customers.domain.search import found_by
from services.customers.store.tables import Customer
from services.customers.usecases.exports import Wanted, begin_export, export_page
from services.customers.usecases.listing import MOST_NAMED
from services.customers.usecases.views import View, count_customers, list_customers
from tests.integration.customers.office import HEAD, MANAGER, REP, Desk, Office, Person
from tests.support.reading import rows_read

RIGHTS = REP | {"customers.edit"}
ADMIN = MANAGER | {"customers.edit", "customers.edit_phones", "numbers.view_all"}
MINE = base.CUSTOMER_VIEW_MINE
# Customers of one list, and all that there are.
FEW, ALL = 300, 3000


def values(**texts: str) -> list[base.FieldValue]:
    """Return values of a form."""
    return [base.FieldValue(key=key, value=value) for key, value in texts.items()]


TYPED = {
    "note": ("text", " 老客户 ", "老客户"),
    "story": ("long_text", "一\n二", "一\n二"),
    "staff": ("number", "1,200.50", "1200.5"),
    "turnover": ("amount", "3000", "3000.00"),
    "founded": ("date", "2001年2月3日", "2001-02-03"),
    "visited": ("datetime", "2026-03-01 09:30", "2026-03-01T01:30:00+00:00"),
    "listed": ("boolean", "是", "true"),
    "grade": ("choice", "甲", "甲"),
    "lines": ("choices", "丙；甲", "甲、丙"),
    "hotline": ("phone", "13800138999", "+8613800138999"),
    "mail": ("email", "Li@Example.com", "li@example.com"),
    "site": ("link", "https://example.com/a", "https://example.com/a"),
    "place": ("region", "上海市浦东新区", "上海市浦东新区"),
}


def test_every_type_of_field_is_stored_filtered_and_masked(
    office: Office, desk: Callable[[Person], Desk]
) -> None:
    """F4, F241: values of every type round-trip, are checked on the server and filter like built-in ones."""
    admin, rep = desk(office.hire(ADMIN, HEAD, "all")), desk(office.hire(RIGHTS))
    for key, (type_, _, _) in TYPED.items():
        choices = ["甲", "乙", "丙"] if type_ in ("choice", "choices") else []
        admin.add_field(key, type_, choices=choices, searchable=key == "mail")
    made = rep.person.create(
        "全字段公司", values=values(**{key: typed for key, (_, typed, _) in TYPED.items()})
    )
    rep.person.create("空字段公司")
    expected = {key: stored for key, (_, _, stored) in TYPED.items()}
    assert {item.key: item.value for item in rep.person.get(made.customer_id).values} == expected

    asked = {
        "note": ("contains", "老"),
        "staff": ("between", ["1000", "1300"]),
        "turnover": ("gte", 3000),
        "founded": ("eq", "2001-02-03"),
        "visited": ("eq", "2026-03-01"),
        "listed": ("eq", True),
        "grade": ("in", ["甲", "乙"]),
        "lines": ("contains", "丙"),
        "mail": ("prefix", "LI@"),
        "place": ("not_empty", None),
    }
    for key, (operator, value) in asked.items():
        condition = {"field": f"custom.{key}", "op": operator} | ({} if value is None else {"value": value})
        assert rep.found(condition) == ["全字段公司"], condition
    assert rep.found(order_by="custom.staff") == ["空字段公司", "全字段公司"]
    assert rep.found(order_by="-custom.founded") == ["全字段公司", "空字段公司"]
    assert rep.found(query="li@example.com") == ["全字段公司"]

    viewer = office.hire(REP, HEAD, "all")
    shown = {item.key: item.value for item in viewer.get(made.customer_id).values}
    assert shown["hotline"] == "+86138****8999"
    guess = json.dumps({"field": "custom.hotline", "op": "eq", "value": "+8613800138999"})
    refused = viewer.refused(base.ListCustomersRequest(view=base.CUSTOMER_VIEW_ALL, filter=guess))
    assert refused.reason == "FILTER_FIELD_UNKNOWN"
    wrong = rep.person.refused(rep.person.form(values=values(staff="many")))
    assert (wrong.reason, wrong.metadata["field"]) == ("FIELD_VALUE_INVALID", "values.staff")


def test_fields_are_required_ordered_removed_and_come_back(
    office: Office, desk: Callable[[Person], Desk]
) -> None:
    """F4, F241, F244: what a field asks for holds on the server; its key stands for ever."""
    admin, rep = desk(office.hire(ADMIN, HEAD, "all")), desk(office.hire(RIGHTS))
    admin.add_field("code", "text", required=True, max_length=4)
    admin.add_field("rank", "number", listed=True)
    missing = rep.person.refused(rep.person.form())
    assert (missing.reason, missing.metadata["field"]) == ("FIELD_REQUIRED", "values.code")
    assert rep.person.refused(rep.person.form(values=values(code="12345"))).reason == "TEXT_TOO_LONG"
    made = rep.person.create(values=values(code="1234"))
    admin("OrderFields", keys=["rank"])
    assert [field.key for field in rep("ListFields").fields] == ["rank", "code"]
    admin("UpdateField", key="code", field=pb.Field(name="编码", active=False))
    assert not rep.person.get(made.customer_id).values
    assert admin.refused("CreateField", field=pb.Field(key="code", name="x")).reason == "FIELD_KEY_TAKEN"
    admin("UpdateField", key="code", field=pb.Field(name="编码", active=True))
    assert rep.person.get(made.customer_id).values[0].value == "1234"
    # Products, contracts and leads have theirs with orders and leads.
    assert rep.refused("ListFields", object="product").reason == "FIELD_OBJECT_UNKNOWN"
    bad = admin.refused("CreateField", field=pb.Field(key="x", name="x", type="choice"))
    assert (bad.reason, bad.metadata["field"]) == ("FIELD_CHOICES_INVALID", "field.choices")


def test_of_simultaneous_writes_of_a_unique_value_one_wins(
    office: Office, desk: Callable[[Person], Desk]
) -> None:
    """F241: unique holds under concurrency, between creates and edits, and a cleared value is free again."""
    admin, rep = desk(office.hire(ADMIN, HEAD, "all")), desk(office.hire(RIGHTS))
    admin.add_field("license", "text", unique=True)
    made = [rep.person.create() for _ in range(8)]

    def take(customer: base.Customer) -> bool:
        try:
            rep("UpdateCustomer", customer_id=customer.customer_id, values=values(license="A1"))
        except AlreadyExists as taken:
            return (taken.reason, taken.metadata["field"]) != ("FIELD_VALUE_TAKEN", "values.license")
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(take, made)) == 1
    assert rep.person.refused(rep.person.form(values=values(license="A1"))).reason == "FIELD_VALUE_TAKEN"
    (holder,) = [item for item in made if rep.person.get(item.customer_id).values]
    rep("UpdateCustomer", customer_id=holder.customer_id, values=values(license=""))
    assert rep.person.create(values=values(license="A1")).values[0].value == "A1"


def test_pages_stay_right_while_rows_come_and_go(office: Office, desk: Callable[[Person], Desk]) -> None:
    """F70: whatever the order, every row that stays is shown once."""
    rep = desk(office.hire(RIGHTS))
    names = [f"公司{index:02}" for index in range(12)]
    ids = {name: rep.person.create(name).customer_id for name in names}
    for order in ("", "create_time", "name", "-name", "-last_evidence_time"):
        seen: list[str] = []
        token = ""
        while True:
            page = rep.person(
                base.ListCustomersRequest(view=MINE, order_by=order, page_size=5, page_token=token)
            )
            seen += [customer.name for customer in page.customers]
            token = page.next_page_token
            if not token:
                break
            rep.person.create()
            rep("UpdateCustomer", customer_id=ids[seen[-1]] if seen[-1] in ids else ids["公司00"], hot=True)
        kept = [name for name in seen if name in ids]
        assert sorted(kept) == names, order
        assert len(seen) == len(set(seen)), order
    assert rep.found({"field": "hot", "op": "eq", "value": True})
    wrong = rep.person.refused(base.ListCustomersRequest(view=MINE, order_by="-name", page_token="e30="))
    assert wrong.reason == "PAGE_TOKEN_INVALID"
    assert rep.person.refused(base.ListCustomersRequest(order_by="phones")).reason == "ORDER_UNKNOWN"


def test_customers_are_found_by_initials_contacts_and_last_digits(
    office: Office, desk: Callable[[Person], Desk]
) -> None:
    """F70: and by last digits only where the numbers are the caller's to read (F59)."""
    rep, other = desk(office.hire(RIGHTS)), office.hire(REP, HEAD, "all")
    rep.person.create(
        "重庆长城科技有限公司",
        "13800138321",
        contacts=[base.ContactInput(name="欧阳锋", phones=[base.PhoneInput(number="13900139654")])],
    )
    for query in ("cqcc", "CCKJ", "cq", "长城", "城", "欧阳", "8321", "9654", "13900139654", "ＣＱＣＣ"):
        assert rep.found(query=query) == ["重庆长城科技有限公司"], query
    for query in ("zqcc", "长安", "8322", "kj", "阳锋"):
        assert rep.found(query=query) == [], query
    everything = base.CUSTOMER_VIEW_ALL
    assert other.listed(everything, query="13800138321") == ["重庆长城科技有限公司"]
    assert other.listed(everything, query="8321") == []


def test_a_part_that_very_many_names_have_is_found_in_the_order_of_the_list(office: Office) -> None:
    """F70: more names than are picked out of the index."""
    manager = office.hire(MANAGER, HEAD, "all")
    pool_id = office.pool(manager).pool_id
    rows = [_pooled(office, number, pool_id=pool_id) for number in range(MOST_NAMED + 1)]
    office.run(lambda tx: tx.session.execute(insert_rows(Customer, rows)))
    everything = base.CUSTOMER_VIEW_ALL
    assert manager.listed(everything, query="常见", page_size=3) == ["常见0号", "常见1号", "常见2号"]
    assert manager.listed(everything, query="cj4", page_size=2) == ["常见4号", "常见40号"]
    assert manager.listed(everything, query="见4999号") == ["常见4999号"]
    # Some lie among those that are walked through first, some behind: each comes once, from either end.
    wanted = [f"常见{number}号" for number in (10, *range(100, 110), *range(1000, 1100))]
    for order_by, expected in (("", wanted), ("create_time", wanted[::-1])):
        found, token = list[str](), ""
        while len(found) <= len(wanted):
            request = base.ListCustomersRequest(
                view=everything, query="见10", order_by=order_by, page_size=20, page_token=token
            )
            page = manager(request)
            found += [customer.name for customer in page.customers]
            if not (token := page.next_page_token):
                break
        assert found == expected


def test_a_filter_reads_no_more_than_the_list_it_is_in(
    office: Office, desk: Callable[[Person], Desk]
) -> None:
    """F57: however often it was asked before, and however many customers elsewhere have the value."""
    admin = desk(office.hire(ADMIN, HEAD, "all"))
    admin.add_field("industry", "choice", choices=["制造", "零售"])
    small, large = office.pool(admin.person), office.pool(admin.person)
    rows = [
        _pooled(office, number, pool_id=large.pool_id if number % (ALL // FEW) else small.pool_id)
        | {"custom": {"industry": "制造"}}
        for number in range(ALL)
    ]
    # The order of a list is not that of the pages that they lie on.
    random.Random(1).shuffle(rows)  # noqa: S311 - the same each time
    office.run(lambda tx: tx.session.execute(insert_rows(Customer, rows)))
    filter_text = json.dumps({"field": "custom.industry", "op": "eq", "value": "制造"})
    asked = {"pool_id": small.pool_id, "filter_text": filter_text}

    def listed(tx: Transaction) -> None:
        page, _ = list_customers(
            tx, admin.person.caller, View.POOL, query="", order_by="", token="", size=FEW, **asked
        )
        assert len(page) == FEW

    def counted(tx: Transaction) -> None:
        assert count_customers(tx, admin.person.caller, View.POOL, **asked, by="level") == [("", FEW)]

    def exported(tx: Transaction) -> None:
        wanted, export_id = Wanted(View.POOL, small.pool_id, "", filter_text), new_id()
        begin_export(tx, admin.person.caller, export_id, wanted, "CSV")
        assert len(export_page(tx, admin.person.caller, export_id, wanted, None).owner_ids) == FEW

    with office.store.transaction(office.tenant) as tx:
        tx.session.execute(text("ANALYZE customers.customer"))
        for work in (listed, counted, exported):
            assert rows_read(tx.session, partial(work, tx), "customers.customer") <= FEW


def _pooled(office: Office, number: int, **columns: Any) -> dict[str, Any]:
    """Return the row of a customer that nobody owns."""
    return {
        "tenant_id": office.tenant.id,
        "customer_id": new_id(),
        "name": f"常见{number}号",
        "state": "active",
        **dict.fromkeys(("level", "region", "address", "business_type", "owner_department_path"), ""),
        "rule_version": 1,
        "create_time": office.store.clock() - timedelta(seconds=number),
        "version": 1,
        **found_by(f"常见{number}号"),
        **columns,
    }


def test_a_rep_edits_an_own_customer_but_never_a_number(
    office: Office, desk: Callable[[Person], Desk]
) -> None:
    """F33, O8: a rep adds a further number; who has the right changes one; the version that was seen is compared."""
    rep, admin = desk(office.hire(RIGHTS)), desk(office.hire(ADMIN, HEAD, "all"))
    stranger = desk(office.hire(RIGHTS, HEAD, "all"))
    made = rep.person.create("旧名公司", "13800138001")
    changed = rep(
        "UpdateCustomer",
        customer_id=made.customer_id,
        version=made.version,
        name="新名公司",
        level="A",
        tags=pb.Texts(values=["重点", "重点"]),
        addresses=pb.Addresses(values=[pb.Address(kind="ship", detail="世纪大道1号", recipient="王小明")]),
        finance=pb.Finance(invoice_title="新名公司", invoice_phone="021-58881234"),
    ).customer
    assert (changed.name, changed.level, list(changed.tags)) == ("新名公司", "A", ["重点"])
    assert rep.found(query="xmgs") == ["新名公司"]
    assert rep.found(query="旧名") == []
    stale = rep.refused("UpdateCustomer", customer_id=made.customer_id, version=made.version, level="B")
    assert isinstance(stale, Conflict)
    assert stale.reason == "CUSTOMER_CHANGED"
    taken = rep.person.refused(rep.person.form("新名公司"))
    assert taken.reason == "KEY_HELD"

    phone_id = made.phones[0].phone_id
    refused = rep.refused("ReplacePhone", phone_id=phone_id, number="13800138002")
    assert isinstance(refused, Forbidden)
    added = rep("AddPhone", customer_id=made.customer_id, number="13800138003").customer
    assert [phone.number for phone in added.phones] == ["+8613800138001", "+8613800138003"]
    replaced = admin("ReplacePhone", phone_id=phone_id, number="13800138002").customer
    assert [phone.number for phone in replaced.phones] == ["+8613800138002", "+8613800138003"]
    assert (
        rep.refused("AddPhone", customer_id=made.customer_id, number="12345678901").reason == "PHONE_PREFIX"
    )
    assert rep.refused("AddPhone", customer_id=made.customer_id, number="138001380").reason == "PHONE_LENGTH"

    page = rep("GetCustomerPage", customer_id=made.customer_id)
    assert (page.addresses[0].kind, page.finance.invoice_phone) == ("ship", "+862158881234")
    assert stranger("GetCustomerPage", customer_id=made.customer_id).finance.invoice_phone == ""


def test_a_contact_comes_first_or_to_a_customer(office: Office, desk: Callable[[Person], Desk]) -> None:
    """F2, F3, F72: contact-first makes or picks the customer; a repeat makes nothing twice."""
    rep = desk(office.hire(RIGHTS))
    form = base.ContactInput(name="李雷", title="采购", phones=[base.PhoneInput(number="13700137001")])
    first = rep("CreateContact", customer_name="联系人优先公司", contact=form)
    assert first.customer.name == "联系人优先公司"
    request_id = new_id()
    second = base.ContactInput(name="韩梅梅", phones=[base.PhoneInput(number="13700137002")])
    for _ in range(2):
        answer = rep(
            "CreateContact", request_id=request_id, customer_id=first.customer.customer_id, contact=second
        )
    assert [contact.name for contact in answer.customer.contacts] == ["李雷", "韩梅梅"]
    profile = {"address": "上海", "account": "hmm@im", "birthday": "1990-01-31", "hobbies": "围棋"}
    edited = rep("UpdateContact", contact_id=answer.contact_id, **profile).customer.contacts[1]
    assert {name: getattr(edited, name) for name in profile} == profile
    # A number in there is one like any other (F59): who may not see it neither reads nor loses it.
    typed = {"address": "上海路1号，电话 138-0013-8000", "account": "13800138000"}
    head = desk(office.hire(RIGHTS, HEAD, "all"))
    shown = rep("UpdateContact", contact_id=answer.contact_id, **typed).customer.contacts[1]
    assert {name: getattr(shown, name) for name in typed} == typed
    masked = head("UpdateContact", contact_id=answer.contact_id, hobbies="钓鱼").customer.contacts[1]
    assert (masked.address, masked.account) == ("上海路1号，电话 138****00", "138****00")
    head("UpdateContact", contact_id=answer.contact_id, address=masked.address, account="新号")
    kept = rep.person.get(first.customer.customer_id).contacts[1]
    assert (kept.address, kept.account) == (typed["address"], "新号")
    bad = rep.refused("UpdateContact", contact_id=answer.contact_id, birthday="1990-02-31")
    assert bad.metadata["field"] == "birthday"
    # Of two who edit it at once the second one looks at what the first one wrote.
    seen = rep.person.get(first.customer.customer_id).version
    head("UpdateContact", contact_id=answer.contact_id, version=seen, hobbies="象棋")
    late = rep.refused("UpdateContact", contact_id=answer.contact_id, version=seen, hobbies="游泳")
    assert late.reason == "CUSTOMER_CHANGED"
    assert rep.person.get(first.customer.customer_id).contacts[1].hobbies == "象棋"


def test_a_number_that_somebody_typed_is_hidden_like_any_other(
    office: Office, desk: Callable[[Person], Desk]
) -> None:
    """F59: in addresses, follow-ups, plans and the timeline; whoever saves the hidden text loses nothing."""
    rep, head = desk(office.hire(RIGHTS)), desk(office.hire(RIGHTS, HEAD, "all"))
    text, hidden = "门卫 138-0013-8000", "门卫 138****00"
    made = rep.person.create(address=text)
    warehouse = pb.Address(kind="ship", detail=text, recipient="王五 13800138000")
    rep("UpdateCustomer", customer_id=made.customer_id, addresses=pb.Addresses(values=[warehouse]))
    rep.person(base.AddFollowUpRequest(request_id=new_id(), customer_id=made.customer_id, text=text))
    rep("CreatePlan", customer_id=made.customer_id, text=text, due_time=datetime.now(UTC))
    order = {"orderId": new_id(), "customerId": made.customer_id, "number": "SO20261130001"}
    office.tell("order_approved", {**order, "title": "", "ownerId": rep.person.id}, source="orders")

    def typed(reader: Desk) -> list[str]:
        page = reader("GetCustomerPage", customer_id=made.customer_id)
        (followed,) = (line for line in page.timeline if line.kind == "follow_up")
        return [
            page.customer.address,
            page.addresses[0].detail,
            page.follow_ups[0].text,
            page.plans[0].text,
            followed.text[-len(page.follow_ups[0].text) :],
        ]

    assert typed(rep) == [text] * 5
    assert typed(head) == [hidden] * 5
    seen = head("GetCustomerPage", customer_id=made.customer_id)
    # Nobody typed that.
    assert "订单 SO20261130001 审批通过" in [line.text for line in seen.timeline]
    head(
        "UpdateCustomer",
        customer_id=made.customer_id,
        address=seen.customer.address,
        level="A",
        addresses=pb.Addresses(values=seen.addresses),
    )
    kept = rep("GetCustomerPage", customer_id=made.customer_id)
    assert (kept.customer.address, kept.customer.level) == (text, "A")
    assert [(row.detail, row.recipient) for row in kept.addresses] == [(text, "王五 13800138000")]
    head("UpdateCustomer", customer_id=made.customer_id, address="新址")
    assert rep.person.get(made.customer_id).address == "新址"
    (told,) = office.events("follow_up_added")
    assert told["text"] == hidden


def test_customers_link_to_parents_and_dealers_without_circles(
    office: Office, desk: Callable[[Person], Desk]
) -> None:
    """F42: a dealer lists its customers; nobody is above oneself."""
    rep = desk(office.hire(RIGHTS))
    top, middle, leaf = (rep.person.create().customer_id for _ in range(3))
    rep("UpdateCustomer", customer_id=middle, parent_id=top)
    rep("UpdateCustomer", customer_id=leaf, parent_id=middle)
    circle = rep.refused("UpdateCustomer", customer_id=top, parent_id=leaf)
    assert isinstance(circle, RuleViolation)
    assert circle.reason == "PARENT_IN_ITSELF"
    assert rep.refused("UpdateCustomer", customer_id=leaf, dealer_id=top).reason == "DEALER_UNKNOWN"
    rep("UpdateCustomer", customer_id=top, dealer=True)
    rep("UpdateCustomer", customer_id=leaf, dealer_id=top)
    page = rep("GetCustomerPage", customer_id=top)
    assert {(link.customer_id, link.relation) for link in page.linked} == {(middle, "child"), (leaf, "dealt")}
    assert rep("GetCustomerPage", customer_id=leaf).dealer.customer_id == top


def test_categories_form_a_tree_that_moves_whole(office: Office, desk: Callable[[Person], Desk]) -> None:
    """F58, F62, F63: with a depth limit, moves with the customers, and counts by class."""
    admin, rep = desk(office.hire(ADMIN, HEAD, "all")), desk(office.hire(RIGHTS))
    parent = ""
    chain = []
    for depth in range(6):
        parent = admin("CreateCategory", parent_id=parent, name=f"级{depth}").category.category_id
        chain.append(parent)
    assert admin.refused("CreateCategory", parent_id=parent, name="深").reason == "CATEGORY_TOO_DEEP"
    other = admin("CreateCategory", name="行业").category.category_id
    made = rep.person.create(category_id=chain[2], level="A")
    assert (
        admin.refused("UpdateCategory", category_id=chain[0], parent_id=chain[2]).reason
        == "CATEGORY_IN_ITSELF"
    )
    admin("UpdateCategory", category_id=chain[2], parent_id=other)
    page = rep("GetCustomerPage", customer_id=made.customer_id)
    assert list(page.category_names) == ["行业", "级2"]
    assert admin.refused("DeleteCategory", category_id=chain[2]).reason == "CATEGORY_IN_USE"
    counts = rep("CountCustomers", view=MINE, by="category_id").counts
    assert [(item.value, item.count) for item in counts] == [(chain[2], 1)]
    assert isinstance(rep.refused("CreateCategory", name="x"), Forbidden)


def test_a_plan_is_completed_by_its_follow_up_and_all_is_on_the_page(
    office: Office, desk: Callable[[Person], Desk]
) -> None:
    """F52, F53, F60, F61: plans, follow-ups, calls, orders and replies by SMS meet on one page, each once."""
    rep = desk(office.hire(RIGHTS))
    customer_id = rep.person.create().customer_id
    plan = rep(
        "CreatePlan", customer_id=customer_id, text="回访", due_time=datetime(2026, 3, 1, tzinfo=UTC)
    ).plan
    assert [item.text for item in rep("ListPlans").plans] == ["回访"]
    rep("CompletePlan", plan_id=plan.plan_id, text="已回访，有意向")
    assert rep.refused("CompletePlan", plan_id=plan.plan_id, text="再次").reason == "PLAN_COMPLETED"
    assert not rep("ListPlans", customer_id=customer_id).plans
    order = {"orderId": new_id(), "number": "DD1", "title": "t", "ownerId": rep.person.id, "remindTime": ""}
    for _ in range(2):
        office.tell(
            "order_generated", {**order, "customerId": customer_id, "amount": "1200.00"}, source="orders"
        )
    office.tell("order_approved", {**order, "customerId": customer_id}, source="orders")
    for _ in range(2):
        reply = {"receivedId": order["orderId"], "customerId": customer_id, "text": "好的", "optOut": False}
        office.tell("sms_received", reply, source="telephony")
    page = rep("GetCustomerPage", customer_id=customer_id)
    assert sorted(entry.kind for entry in page.timeline) == ["follow_up", "order", "order", "sms"]
    assert "客户回复短信：好的" in [entry.text for entry in page.timeline]
    assert (page.account.approved_orders, page.account.approved_amount) == (1, "1200.00")
    assert page.follow_ups[0].text == "已回访，有意向"
    assert page.customer.last_evidence_time.seconds
    assert len(rep("ListTimeline", customer_id=customer_id, page_size=2).entries) == 2


def test_views_are_kept_for_oneself_or_shared(office: Office, desk: Callable[[Person], Desk]) -> None:
    """Saved views: a shared one gives its filter, not its owner's rows."""
    rep, other = desk(office.hire(RIGHTS)), desk(office.hire(RIGHTS))
    rep.person.create("甲公司", level="A")
    other.person.create("乙公司", level="A")
    condition = {"field": "level", "op": "eq", "value": "A"}
    form: dict[str, Any] = {
        "name": "重点",
        "filter": json.dumps(condition),
        "order_by": "-name",
        "columns": ["name", "level"],
    }
    rep("SaveView", view=pb.SavedView(**form, shared=True))
    rep("SaveView", view=pb.SavedView(name="私有", view=MINE))
    rep("SaveView", view=pb.SavedView(**form, shared=True))
    (shared,) = other("ListSavedViews").views
    assert other.found(json.loads(shared.filter), order_by=shared.order_by) == ["乙公司"]
    assert [view.name for view in rep("ListSavedViews").views] == ["私有", "重点"]
    assert other.refused("DeleteView", view_id=shared.view_id).reason == "VIEW_NOT_FOUND"
    rep("DeleteView", view_id=shared.view_id)
    bad = rep.refused("SaveView", view=pb.SavedView(name="x", filter='{"field": "x", "op": "eq"}'))
    assert isinstance(bad, InvalidInput)
    assert bad.metadata["field"] == "filter.field"
