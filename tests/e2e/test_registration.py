"""Story: a registration is approved (F169-F174, F186)."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.company import Company, fresh_mobile, fresh_name
from tests.e2e.desk import Desk, Json, Refused
from tests.support.until import until


@pytest.fixture
def registering(company: Company) -> Company:
    """A company whose reps' new customers need an approver."""
    settings = company.admin.get("customers:settings")["settings"]
    company.admin.patch("customers:settings", settings={**settings, "registrationRequired": True})
    return company


def waiting_for(approver: Desk, customer_id: str) -> Json:
    """Return the approval of a customer in the approver's inbox, once it is there."""

    def look() -> Json | None:
        inbox = approver.get("approvals", view="APPROVAL_VIEW_INBOX").get("approvals", [])
        return next((item for item in inbox if item["subjectId"] == customer_id), None)

    found = until(look, timeout_s=20)
    if found is None:
        raise AssertionError("no approval")
    return found


def decide(approver: Desk, approval: Json, decision: str) -> Json:
    """Decide the open step, quoting what was shown."""
    return approver.post(
        f"approvals/{approval['approvalId']}:decide",
        stepIndex=approval.get("openStep", 0),
        decision=decision,
        shownHash=approval["shownHash"],
    )


def register(rep: Desk, approver: Desk, name: str, mobile: str) -> str:
    """Register a customer and return its id."""
    customer = rep.post("customers", name=name, phones=[{"number": mobile}], approverId=approver.person_id)[
        "customer"
    ]
    assert customer["state"] == "CUSTOMER_STATE_PENDING"
    return str(customer["customerId"])


def state(desk: Desk, customer_id: str) -> str:
    """Return a customer's state."""
    return str(desk.get(f"customers/{customer_id}")["customer"]["state"])


def test_a_registration_without_an_approver_is_refused_with_its_field(registering: Company) -> None:
    """F169."""
    rep = registering.hire("li", "李雷", "sales_rep")
    with pytest.raises(Refused) as refused:
        rep.post("customers", name=fresh_name("无审核人"))
    assert refused.value.status == 400
    assert refused.value.fields in (["approverId"], ["approver_id"])


def test_a_passed_registration_makes_the_customer_once(registering: Company) -> None:
    """F170-F172, F186: seen at once, the same key refused meanwhile, passed once, a second decision refused."""
    rep = registering.hire("li", "李雷", "sales_rep")
    rival = registering.hire("zhang", "张伟", "sales_rep")
    approver = registering.hire("wang", "王经理", "sales_manager")
    name, mobile = fresh_name("报备"), fresh_mobile()
    with approver.live() as page:
        customer_id = register(rep, approver, name, mobile)
        # Nobody asks; the page is told.
        until(lambda: page.of("approval") and page.of("message"))
    approval = waiting_for(approver, customer_id)
    assert [frame["approvalId"] for frame in page.of("approval")] == [approval["approvalId"]]
    assert [frame["message"]["subjectId"] for frame in page.of("message")] == [approval["approvalId"]]
    messages = until(lambda: approver.get("messages", unreadOnly="true").get("messages", []))
    assert [item["subjectId"] for item in messages] == [approval["approvalId"]]

    with pytest.raises(Refused) as held:
        rival.post("customers", name=name, approverId=approver.person_id)
    assert held.value.status == 409
    assert "李*" in held.value.error["message"]
    assert "李雷" not in str(held.value.error)

    with pytest.raises(Refused) as not_his:
        decide(rival, approval, "DECISION_PASS")
    assert not_his.value.status == 403

    decide(approver, approval, "DECISION_PASS")
    until(lambda: state(rep, customer_id) == "CUSTOMER_STATE_ACTIVE")
    with pytest.raises(Refused) as second:
        decide(approver, approval, "DECISION_REJECT")
    assert second.value.status in (400, 409)
    mine = rep.get("customers", view="CUSTOMER_VIEW_MINE", query=name)["customers"]
    assert [item["customerId"] for item in mine] == [customer_id]


def test_a_rejected_registration_frees_its_keys(registering: Company) -> None:
    """F174, O3."""
    rep = registering.hire("li", "李雷", "sales_rep")
    rival = registering.hire("zhang", "张伟", "sales_rep")
    approver = registering.hire("wang", "王经理", "sales_manager")
    name, mobile = fresh_name("驳回"), fresh_mobile()
    customer_id = register(rep, approver, name, mobile)
    decide(approver, waiting_for(approver, customer_id), "DECISION_REJECT")
    until(lambda: state(rep, customer_id) == "CUSTOMER_STATE_REJECTED")
    assert rep.get("customers", view="CUSTOMER_VIEW_MINE", query=name).get("customers", []) == []

    def again() -> str | None:
        try:
            return register(rival, approver, name, mobile)
        except Refused:
            return None

    second = until(again)
    assert second != customer_id


def test_of_two_simultaneous_registrations_one_wins(registering: Company) -> None:
    """F152."""
    approver = registering.hire("wang", "王经理", "sales_manager")
    reps = [registering.hire(f"rep{number}", f"销售{number}", "sales_rep") for number in range(4)]
    name = fresh_name("撞单")

    def race(rep: Desk) -> str:
        try:
            register(rep, approver, name, fresh_mobile())
        except Refused as refused:
            return refused.reason
        return "won"

    with ThreadPoolExecutor(4) as threads:
        outcomes = sorted(threads.map(race, reps))
    assert outcomes == ["KEY_HELD"] * 3 + ["won"]


def test_a_decision_must_quote_what_was_shown(registering: Company) -> None:
    """One decision for each step, bound to what was seen."""
    rep = registering.hire("li", "李雷", "sales_rep")
    approver = registering.hire("wang", "王经理", "sales_manager")
    customer_id = register(rep, approver, fresh_name("所见"), fresh_mobile())
    approval = waiting_for(approver, customer_id)
    with pytest.raises(Refused) as refused:
        decide(approver, {**approval, "shownHash": "0" * 64}, "DECISION_PASS")
    assert refused.value.status in (400, 409)
    assert state(rep, customer_id) == "CUSTOMER_STATE_PENDING"
