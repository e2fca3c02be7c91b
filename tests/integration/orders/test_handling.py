"""An order in its owner's and its approvers' hands."""

from collections.abc import Callable

import pytest
from crm.orders.v1 import orders_pb2 as pb
from google.protobuf.message import Message

from services.chassis.errors import Forbidden, InvalidInput, NotFound, RuleViolation
from services.chassis.ids import new_id
from services.chassis.tenancy import Tenant
from tests.integration.orders.conftest import Owner, Shop
from tests.support.callers import service_caller
from tests.support.running import event_of

Verb = Callable[[Shop, Owner, pb.Order], pb.Order]
VERBS: dict[str, Verb] = {"accept": Shop.accept, "submit": Shop.submit, "close": Shop.close}


def told_types(shop: Shop) -> list[str]:
    """Return the types of the events, in order."""
    return [str(told["type"]) for told in shop.told()]


@pytest.mark.parametrize("verb", VERBS)
def test_the_first_thing_an_owner_does_handles_the_order(shop: Shop, verb: str) -> None:
    """O15: accepted, submitted or closed, once."""
    owner = shop.person()
    order = shop.generate(owner)
    changed = VERBS[verb](shop, owner, order)
    assert changed.version == 2
    if changed.state == pb.ORDER_STATE_ACCEPTED:
        shop.submit(owner, order)
    handled = [told for told in shop.told() if told["type"] == "order_handled"]
    assert [told["data"] for told in handled] == [{"orderId": order.order_id}]


def test_a_submitted_order_shows_its_approvers_what_they_decide_about(shop: Shop) -> None:
    owner = shop.person()
    order = shop.generate(owner, "10000.00")
    submitted = shop.submit(owner, order)
    assert (submitted.state, list(submitted.allowed_actions)) == (pb.ORDER_STATE_SUBMITTED, [])
    told = shop.told()[-1]
    assert (told["type"], told["version"]) == ("order_submitted", submitted.version)
    assert told["data"] == {
        "orderId": order.order_id,
        "number": order.number,
        "title": "年度采购",
        "amount": "10000.00",
        "submitterId": owner.person_id,
        "shown": [
            {"name": "number", "value": order.number},
            {"name": "title", "value": "年度采购"},
            {"name": "amount", "value": "10000.00"},
            {"name": "customer", "value": "云海科技"},
        ],
    }


@pytest.mark.parametrize("verb", VERBS)
def test_nothing_changes_an_order_while_it_is_submitted(shop: Shop, verb: str) -> None:
    owner = shop.person()
    order = shop.submit(owner, shop.generate(owner))
    with pytest.raises(RuleViolation, match="ORDER_STATE") as refused:
        VERBS[verb](shop, owner, order)
    assert refused.value.metadata == {"state": "submitted", "action": verb}
    assert shop.get(owner, order).order == order


def test_an_approved_order_is_told_and_may_only_be_closed(shop: Shop) -> None:
    owner = shop.person()
    order = shop.submit(owner, shop.generate(owner))
    passed = shop.decided("approval_passed", order)
    shop.deliver(passed)
    found = shop.get(owner, order)
    assert (found.order.state, list(found.order.allowed_actions)) == (pb.ORDER_STATE_APPROVED, ["close"])
    assert (found.changes[0].comment, found.changes[0].actor_id) == ("同意", passed.data["deciderId"])
    told = shop.told()[-1]
    assert told["type"] == "order_approved"
    assert told["data"] == {
        "orderId": order.order_id,
        "ownerId": owner.person_id,
        "number": order.number,
        "customerId": order.customer_id,
    }
    assert shop.close(owner, order).state == pb.ORDER_STATE_CLOSED


def test_a_rejected_order_may_be_submitted_again(shop: Shop) -> None:
    owner = shop.person()
    order = shop.submit(owner, shop.generate(owner))
    shop.deliver(shop.decided("approval_rejected", order))
    rejected = shop.get(owner, order).order
    assert (rejected.state, list(rejected.allowed_actions)) == (
        pb.ORDER_STATE_REJECTED,
        ["submit", "close"],
    )
    shop.submit(owner, order)
    shop.deliver(shop.decided("approval_passed", order))
    assert shop.get(owner, order).order.state == pb.ORDER_STATE_APPROVED
    assert told_types(shop) == [
        "order_generated",
        "order_handled",
        "order_submitted",
        "order_rejected",
        "order_submitted",
        "order_approved",
    ]


@pytest.mark.parametrize("event_type", ["approval_passed", "approval_rejected"])
def test_a_decision_that_comes_again_or_too_late_or_about_something_else_changes_nothing(
    shop: Shop, event_type: str
) -> None:
    owner = shop.person()
    order = shop.submit(owner, shop.generate(owner))
    shop.deliver(shop.decided(event_type, order, subjectType="registration"))
    assert shop.get(owner, order).order == order
    decision = shop.decided(event_type, order)
    shop.deliver(decision)
    decided = shop.get(owner, order).order
    told = len(shop.told())
    shop.deliver(decision)
    shop.deliver(shop.decided("approval_passed", order))
    shop.deliver(shop.decided("approval_rejected", order))
    assert shop.get(owner, order).order == decided
    shop.close(owner, order)
    shop.deliver(shop.decided("approval_passed", order))
    assert shop.get(owner, order).order.state == pb.ORDER_STATE_CLOSED
    assert len(shop.told()) == told


def test_a_decision_about_an_order_that_is_not_there_is_not_lost_silently(shop: Shop) -> None:
    with pytest.raises(NotFound, match="ORDER_NOT_FOUND"):
        shop.deliver(shop.decided("approval_passed", pb.Order(order_id=new_id())))


def test_a_repeated_request_gets_the_first_answer(shop: Shop) -> None:
    owner = shop.person()
    order = shop.generate(owner)
    request = pb.AcceptOrderRequest(request_id=new_id(), order_id=order.order_id)
    first = owner.call(shop.stub.AcceptOrder, request)
    shop.submit(owner, order)
    assert owner.call(shop.stub.AcceptOrder, request) == first
    again = pb.AcceptOrderRequest(request_id=new_id(), order_id=order.order_id)
    assert owner.call.refused(shop.stub.AcceptOrder, again).reason == "ORDER_STATE"


def test_only_the_owner_handles_an_order(shop: Shop) -> None:
    owner = shop.person()
    order = shop.generate(owner)
    director = shop.person(scope="all")
    with pytest.raises(Forbidden, match="ORDER_NOT_OWNED"):
        shop.accept(director, order)
    assert list(shop.get(director, order).order.allowed_actions) == []
    with pytest.raises(InvalidInput, match="TEXT_TOO_LONG"):
        shop.close(owner, order, "因" * 1001)


def test_a_person_sees_what_the_scope_gives(shop: Shop) -> None:
    owner = shop.person(department_path="1/2/")
    order = shop.generate(owner)

    def seen(who: Owner) -> list[str]:
        return [item.order_id for item in who.call(shop.stub.ListOrders, pb.ListOrdersRequest()).orders]

    assert seen(shop.person(scope="department", department_path="1/")) == [order.order_id]
    assert seen(shop.person(scope="all")) == [order.order_id]
    for blind in (
        shop.person(department_path="1/2/"),
        shop.person(scope="department", department_path="1/20/"),
        shop.person(scope="department", department_path=""),
    ):
        assert seen(blind) == []
        request = pb.GetOrderRequest(order_id=order.order_id)
        assert isinstance(blind.call.refused(shop.stub.GetOrder, request), NotFound)


def test_orders_follow_their_owner_into_another_department(shop: Shop) -> None:
    """F249: the manager there sees them at once; the one before no more."""
    owner, colleague = shop.person(), shop.person()
    order, other = shop.generate(owner), shop.generate(colleague)
    saved = {"personId": owner.person_id, "departmentPath": "1/3/"}
    shop.deliver(event_of(shop.tenant, "identity", "person_saved", saved))
    for path, expected in (("1/2/", other), ("1/3/", order)):
        manager = shop.person(scope="department", department_path=path)
        listed = manager.call(shop.stub.ListOrders, pb.ListOrdersRequest()).orders
        assert [item.order_id for item in listed] == [expected.order_id]


def test_notify_reads_any_order_of_its_tenant_and_no_other_service_does(
    shop: Shop, issuer_keys: dict[str, tuple[str, str]]
) -> None:
    order = shop.generate(shop.person())
    request = pb.GetOrderRequest(order_id=order.order_id)
    notify = service_caller("notify", issuer_keys, shop.tenant)
    assert notify(shop.stub.GetOrder, request).order.order_id == order.order_id
    elsewhere = service_caller("notify", issuer_keys, Tenant(new_id(), shop.tenant.database))
    assert isinstance(elsewhere.refused(shop.stub.GetOrder, request), NotFound)
    leads = service_caller("leads", issuer_keys, shop.tenant)
    assert isinstance(leads.refused(shop.stub.GetOrder, request), Forbidden)


REQUESTS: list[tuple[str, Callable[[str], Message]]] = [
    ("GetOrder", lambda order_id: pb.GetOrderRequest(order_id=order_id)),
    ("AcceptOrder", lambda order_id: pb.AcceptOrderRequest(request_id=new_id(), order_id=order_id)),
    ("SubmitOrder", lambda order_id: pb.SubmitOrderRequest(request_id=new_id(), order_id=order_id)),
    ("CloseOrder", lambda order_id: pb.CloseOrderRequest(request_id=new_id(), order_id=order_id)),
]


@pytest.mark.parametrize(("method", "request_for"), REQUESTS)
def test_without_the_right_or_in_another_tenant_nothing_is_told(
    shop: Shop, method: str, request_for: Callable[[str], Message]
) -> None:
    order = shop.generate(shop.person())
    call = getattr(shop.stub, method)
    assert shop.person("calls.view").call.refused(call, request_for(order.order_id)).reason == "RIGHT_MISSING"
    foreign = Shop(Tenant(new_id(), shop.tenant.database), shop.store, shop.stub, shop.signer)
    refused = foreign.person(scope="all").call.refused(call, request_for(order.order_id))
    assert isinstance(refused, NotFound)
    assert shop.person().call.refused(call, request_for("nonsense")).reason == "NOT_A_UUID"


def test_orders_come_in_pages_newest_first_and_by_state(shop: Shop) -> None:
    owner = shop.person()
    orders = [shop.generate(owner) for _ in range(5)]
    shop.accept(owner, orders[2])
    listed, token = [], ""
    while True:
        page = owner.call(shop.stub.ListOrders, pb.ListOrdersRequest(page_size=2, page_token=token))
        listed += [order.order_id for order in page.orders]
        token = page.next_page_token
        if not token:
            break
    assert listed == [order.order_id for order in reversed(orders)]
    ever = pb.ListOrdersRequest(first_day="0001-01-01", last_day="9999-12-31")
    assert len(owner.call(shop.stub.ListOrders, ever).orders) == len(orders)
    accepted = pb.ListOrdersRequest(state=pb.ORDER_STATE_ACCEPTED)
    assert [order.order_id for order in owner.call(shop.stub.ListOrders, accepted).orders] == [
        orders[2].order_id
    ]
