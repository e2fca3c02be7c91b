"""Story: a lead becomes an order (F113-F131, F136, F50, F175-F178)."""

import base64

import pytest

from services.chassis.ids import new_id
from tests.e2e.company import Company, customer_of, fresh_mobile, fresh_name
from tests.e2e.desk import Desk, Json, Refused
from tests.e2e.test_registration import decide
from tests.support.until import until


def capture(website: Desk, company_name: str, mobile: str, key: str | None = None) -> Json:
    """Capture a lead."""
    lead: Json = website.post(
        "leads:capture",
        source="website",
        sourceKey=key or new_id(),
        name="韩梅梅",
        company=company_name,
        phone=mobile,
        note="想要报价",
    )["lead"]
    return lead


def followed(manager: Desk, rep: Desk, lead: Json) -> str:
    """Assign the lead to the rep, who follows it up; return its id."""
    lead_id = str(lead["leadId"])
    assert lead["state"] == "LEAD_STATE_UNASSIGNED"
    assigned = manager.post(f"leads/{lead_id}:assign", ownerId=rep.person_id)["lead"]
    assert assigned["state"] == "LEAD_STATE_ASSIGNED"
    following = rep.post(f"leads/{lead_id}/followUps", text="已电话沟通，有意向")["lead"]
    assert following["state"] == "LEAD_STATE_FOLLOWING"
    return lead_id


def order_of(desk: Desk, opportunity_id: str) -> Json | None:
    """Return the order of an opportunity, None while there is none; two are a failure."""
    orders = [o for o in desk.get("orders").get("orders", []) if o.get("opportunityId") == opportunity_id]
    assert len(orders) <= 1
    return orders[0] if orders else None


def open_approval(approver: Desk, order_id: str) -> Json | None:
    """Return the approval of an order in somebody's inbox."""
    inbox = approver.get("approvals", view="APPROVAL_VIEW_INBOX").get("approvals", [])
    return next((item for item in inbox if item["subjectId"] == order_id), None)


def submit_with_papers(manager: Desk, rep: Desk, order: Json) -> None:
    """Fill an order in with product, contract and payment proof, and submit it (F51)."""
    order_id, price = order["orderId"], order["amount"]
    given = {"code": f"P-{new_id()}", "name": "设备", "unit": "台", "price": price, "active": True}
    product = manager.post("products", product=given)["product"]
    lines = [{"productId": product["productId"], "quantity": "1"}]
    filled = rep.post(f"orders/{order_id}:update", version=order["version"], lines=lines)["order"]
    assert filled["amount"] == price
    term = {"startDate": "2026-01-01", "endDate": "2036-12-31"}
    rep.post("contracts", title="采购合同", orderId=order_id, **term)
    rep.post(
        "attachments",
        kind="ATTACHMENT_KIND_PAYMENT_PROOF",
        subjectId=order_id,
        name="回单.pdf",
        content=base64.b64encode(b"%PDF-1.7").decode(),
    )
    rep.post(f"orders/{order_id}:submit")


def won_order(manager: Desk, rep: Desk, website: Desk, amount: str) -> Json:
    """Take a lead all the way to its order and submit it."""
    lead_id = followed(manager, rep, capture(website, fresh_name("成单"), fresh_mobile()))
    converted = rep.post(
        f"leads/{lead_id}:convert", createContact=True, opportunity={"name": "采购意向", "amount": amount}
    )
    rep.post(f"opportunities/{converted['opportunityId']}:win")
    order = until(lambda: order_of(rep, converted["opportunityId"]), timeout_s=20)
    assert order is not None
    assert order["amount"] == f"{float(amount):.2f}"
    with pytest.raises(Refused) as refused:
        rep.post(f"orders/{order['orderId']}:submit")
    assert refused.value.reason == "ORDER_INCOMPLETE"
    submit_with_papers(manager, rep, order)
    return order


def test_a_captured_lead_becomes_customer_contact_opportunity_and_one_order(
    company: Company, website: Desk
) -> None:
    """F116, F118, F120, F126, F136, F50, F175, F178: under 10000 the sales manager alone approves."""
    manager = company.hire("wang", "王经理", "sales_manager")
    company.hire("zhou", "周总监", "director")
    rep = company.hire("li", "李雷", "sales_rep")
    order = won_order(manager, rep, website, "9999.99")
    approval = until(lambda: open_approval(manager, order["orderId"]), timeout_s=20)
    assert approval is not None
    decided = decide(manager, approval, "DECISION_PASS")["approval"]
    assert [step["state"] for step in decided["steps"]] == ["STEP_STATE_PASSED", "STEP_STATE_AUTO_APPROVED"]
    until(lambda: rep.get(f"orders/{order['orderId']}")["order"]["state"] == "ORDER_STATE_APPROVED")
    customer = rep.get(f"customers/{order['customerId']}")["customer"]
    assert customer["ownerId"] == rep.person_id
    assert [contact["name"] for contact in customer["contacts"]] == ["韩梅梅"]


def test_from_10000_on_the_manager_and_then_the_director_approve(company: Company, website: Desk) -> None:
    """F176, O1: exactly 10000 needs both."""
    manager = company.hire("wang", "王经理", "sales_manager")
    director = company.hire("zhou", "周总监", "director")
    rep = company.hire("li", "李雷", "sales_rep")
    order = won_order(manager, rep, website, "10000")
    first = until(lambda: open_approval(manager, order["orderId"]), timeout_s=20)
    assert first is not None
    assert open_approval(director, order["orderId"]) is None
    decide(manager, first, "DECISION_PASS")
    assert rep.get(f"orders/{order['orderId']}")["order"]["state"] == "ORDER_STATE_SUBMITTED"
    second = until(lambda: open_approval(director, order["orderId"]))
    assert second is not None
    assert second["openStep"] == 1
    decide(director, second, "DECISION_PASS")
    until(lambda: rep.get(f"orders/{order['orderId']}")["order"]["state"] == "ORDER_STATE_APPROVED")


def test_a_conversion_whose_contact_exists_leaves_nothing_behind(company: Company, website: Desk) -> None:
    """F127: no customer, no contact, no opportunity, no key, and the lead is as it was."""
    manager = company.hire("wang", "王经理", "sales_manager")
    rep = company.hire("li", "李雷", "sales_rep")
    mobile, name = fresh_mobile(), fresh_name("整体回滚")
    customer_of(rep, fresh_name("已有客户"), mobile, contact="韩梅梅")
    lead_id = followed(manager, rep, capture(website, name, mobile))
    with pytest.raises(Refused) as refused:
        rep.post(
            f"leads/{lead_id}:convert", createContact=True, opportunity={"name": "采购", "amount": "100"}
        )
    assert refused.value.reason == "CONTACT_EXISTS"
    assert rep.get(f"leads/{lead_id}")["lead"]["state"] == "LEAD_STATE_FOLLOWING"
    assert rep.get("customers", view="CUSTOMER_VIEW_ALL", query=name).get("customers", []) == []
    assert rep.get("opportunities").get("opportunities", []) == []
    question = {"kind": "SUBJECT_KIND_CUSTOMER", "name": name}
    until(lambda: rep.call("POST", "/api/v1/dedupe:check", **question).get("unique") is True)


def test_a_request_id_in_capitals_is_the_same_request(company: Company, website: Desk) -> None:
    manager = company.hire("wang", "王经理", "sales_manager")
    rep = company.hire("li", "李雷", "sales_rep")
    lead_id = followed(manager, rep, capture(website, fresh_name("大写"), fresh_mobile()))
    request_id = new_id()
    answers = [
        rep.post(f"leads/{lead_id}:convert", requestId=each)
        for each in (request_id.upper(), request_id.upper())
    ]
    assert answers[0] == answers[1]


def test_a_repeated_conversion_gives_the_same_answer(company: Company, website: Desk) -> None:
    manager = company.hire("wang", "王经理", "sales_manager")
    rep = company.hire("li", "李雷", "sales_rep")
    lead_id = followed(manager, rep, capture(website, fresh_name("重复"), fresh_mobile()))
    request_id = new_id()
    answers = [
        rep.post(
            f"leads/{lead_id}:convert", requestId=request_id, opportunity={"name": "一次", "amount": "1"}
        )
        for _ in range(2)
    ]
    assert answers[0] == answers[1]
    assert len(rep.get("opportunities")["opportunities"]) == 1


def test_a_same_name_customer_is_linked(company: Company, website: Desk) -> None:
    """F123."""
    manager = company.hire("wang", "王经理", "sales_manager")
    rep = company.hire("li", "李雷", "sales_rep")
    name = fresh_name("同名")
    customer = customer_of(rep, name, fresh_mobile())
    lead_id = followed(manager, rep, capture(website, name, fresh_mobile()))
    converted = rep.post(f"leads/{lead_id}:convert")
    assert converted["linked"] is True
    assert converted["customerId"] == customer["customerId"]


def test_a_lead_captured_twice_is_one_lead(company: Company, website: Desk) -> None:
    """F136."""
    key, mobile = new_id(), fresh_mobile()
    first, second = (capture(website, "某公司", mobile, key) for _ in range(2))
    assert first["leadId"] == second["leadId"]


def test_an_api_key_opens_nothing_but_its_rights(website: Desk) -> None:
    for path in ("leads", "customers", "orders", "people", "colleagues", "customers:settings", "messages"):
        with pytest.raises(Refused) as refused:
            website.get(path)
        assert refused.value.status == 403


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"phone": "1380013800"}, "phone"),
        ({"phone": "12345678901"}, "phone"),
        ({"name": ""}, "name"),
        ({"sourceKey": ""}, "sourceKey"),
    ],
)
def test_a_bad_lead_names_its_field(website: Desk, body: Json, field: str) -> None:
    """F239, F240."""
    lead = {"source": "website", "sourceKey": new_id(), "name": "韩梅梅", "phone": fresh_mobile()} | body
    with pytest.raises(Refused) as refused:
        website.post("leads:capture", **lead)
    assert refused.value.status == 400
    assert [name.replace("_", "").lower() for name in refused.value.fields] == [field.lower()]
