"""What becomes of an order: generated once, handled by its owner, decided by its approvers, closed."""

from dataclasses import dataclass
from datetime import timedelta

from services.chassis.db import Transaction
from services.chassis.errors import Forbidden
from services.chassis.ids import new_id
from services.chassis.tokens import Caller
from services.kernel.money import format_amount, parse_amount
from services.kernel.texts import parse_text
from services.orders.domain.numbers import business_day, order_number
from services.orders.domain.settings import check_handle_within
from services.orders.domain.states import TRANSITIONS, OrderAction, OrderState, is_handling, next_state
from services.orders.store.queries import (
    find_order,
    handle_within,
    lock_counter,
    order_of,
    set_handle_within,
)
from services.orders.store.tables import Order, OrderChange


@dataclass(frozen=True)
class WonOpportunity:
    """A won opportunity as leads told of it. amount: CNY as text."""

    opportunity_id: str
    name: str
    customer_id: str
    customer_name: str
    owner_id: str
    owner_department_path: str
    amount: str


def generate_order(tx: Transaction, won: WonOpportunity) -> None:
    """Make the order of a won opportunity, once, and say until when its owner should handle it."""
    day = business_day(tx.now)
    # Locked before looking, so that of two at once the second one sees the first one's order and takes no number.
    counter = lock_counter(tx, day)
    if order_of(tx, won.opportunity_id):
        return
    counter.count += 1
    order = Order(
        id=new_id(),
        tenant_id=tx.tenant.id,
        number=order_number(day, counter.count),
        opportunity_id=won.opportunity_id,
        customer_id=won.customer_id,
        customer_name=won.customer_name,
        owner_id=won.owner_id,
        owner_department_path=won.owner_department_path,
        title=won.name,
        amount=parse_amount(won.amount, "amount"),
        state=OrderState.GENERATED,
        remind_time=tx.now + handle_within(tx),
        create_time=tx.now,
        version=1,
    )
    tx.session.add(order)
    tx.session.flush()
    _log(tx, order, None, "", "")
    tx.emit(
        "order_generated",
        order.id,
        order.version,
        {
            "orderId": order.id,
            "number": order.number,
            "title": order.title,
            "ownerId": order.owner_id,
            "customerId": order.customer_id or "",
            "amount": format_amount(order.amount),
            "remindTime": order.remind_time.isoformat(),
        },
    )


def accept_order(tx: Transaction, caller: Caller, order_id: str) -> Order:
    """Accept an own generated order.

    Raises NotFound ORDER_NOT_FOUND, Forbidden ORDER_NOT_OWNED, RuleViolation ORDER_STATE, as every verb here.
    """
    return _handle(tx, caller, order_id, OrderAction.ACCEPT, "")


def submit_order(tx: Transaction, caller: Caller, order_id: str) -> Order:
    """Send an own order to its approvers, with what they are shown."""
    order = _handle(tx, caller, order_id, OrderAction.SUBMIT, "")
    amount = format_amount(order.amount)
    shown = {"number": order.number, "title": order.title, "amount": amount, "customer": order.customer_name}
    tx.emit(
        "order_submitted",
        order.id,
        order.version,
        {
            "orderId": order.id,
            "number": order.number,
            "title": order.title,
            "amount": amount,
            "submitterId": order.owner_id,
            "shown": [{"name": name, "value": value} for name, value in shown.items()],
        },
    )
    return order


def close_order(tx: Transaction, caller: Caller, order_id: str, reason: str) -> Order:
    """End an own order; reason: at most 1000 characters, may be empty."""
    return _handle(
        tx, caller, order_id, OrderAction.CLOSE, parse_text(reason, "reason", 1000, required=False)
    )


def decide_order(
    tx: Transaction, order_id: str, action: OrderAction, *, decider_id: str, comment: str
) -> None:
    """Take over what became of an order's approval; one that does not wait for it any more is left alone.

    action: APPROVE, REJECT or WITHDRAW. decider_id: of the last decision, "" for the system. Raises NotFound
    ORDER_NOT_FOUND.
    """
    order = find_order(tx, None, order_id, lock=True)
    if OrderState(order.state) not in TRANSITIONS[action]:
        return
    _move(tx, order, action, decider_id, comment)
    if action is OrderAction.WITHDRAW:
        return
    event = "order_approved" if action is OrderAction.APPROVE else "order_rejected"
    tx.emit(
        event,
        order.id,
        order.version,
        {
            "orderId": order.id,
            "ownerId": order.owner_id,
            "number": order.number,
            "customerId": order.customer_id or "",
        },
    )


def update_settings(tx: Transaction, value: timedelta) -> None:
    """Set how long an order may wait for its owner, from the next order on; raises InvalidInput out of range."""
    set_handle_within(tx, check_handle_within(value))


def _handle(tx: Transaction, caller: Caller, order_id: str, action: OrderAction, comment: str) -> Order:
    order = find_order(tx, caller, order_id, lock=True)
    if order.owner_id != caller.person_id:
        raise Forbidden("ORDER_NOT_OWNED", "只有订单负责人可以操作", "Only the order's owner may do this")
    first = is_handling(OrderState(order.state))
    _move(tx, order, action, caller.person_id, comment)
    if first:
        tx.emit("order_handled", order.id, order.version, {"orderId": order.id})
    return order


def _move(tx: Transaction, order: Order, action: OrderAction, actor_id: str, comment: str) -> None:
    before = OrderState(order.state)
    order.state = next_state(before, action)
    order.version += 1
    _log(tx, order, before, actor_id, comment)


def _log(tx: Transaction, order: Order, before: OrderState | None, actor_id: str, comment: str) -> None:
    tx.emit(
        "order_changed",
        order.id,
        order.version,
        {"orderId": order.id, "opportunityId": order.opportunity_id, "state": order.state},
    )
    tx.session.add(
        OrderChange(
            tenant_id=tx.tenant.id,
            order_id=order.id,
            from_state=before or "",
            to_state=order.state,
            actor_id=actor_id or None,
            comment=comment,
            create_time=tx.now,
        )
    )
