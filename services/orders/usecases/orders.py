"""What becomes of an order: generated once, filled in and handled by its owner, decided by its approvers, closed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete

from services.chassis.db import Transaction
from services.chassis.errors import Conflict, Forbidden, RuleViolation, not_found
from services.chassis.ids import new_id, parse_id
from services.chassis.tokens import Caller
from services.kernel.money import format_amount, parse_amount
from services.kernel.texts import parse_text
from services.orders.domain.contracts import USABLE
from services.orders.domain.lines import total
from services.orders.domain.numbers import business_day, order_number
from services.orders.domain.settings import check_handle_within
from services.orders.domain.states import TRANSITIONS, OrderAction, OrderState, is_handling, next_state
from services.orders.store.moves import MOVED
from services.orders.store.queries import (
    department_of,
    find_contract_row,
    find_order,
    handle_within,
    has_proof,
    lock_counter,
    order_lines,
    order_of,
    set_settings,
    submit_without_papers,
)
from services.orders.store.tables import NumberCounter, Order, OrderChange, OrderLine
from services.orders.usecases.lines import LineInput, check_lines, priced_lines


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
    counter = lock_counter(tx, NumberCounter, day)
    if order_of(tx, won.opportunity_id):
        return
    counter.count += 1
    # The opportunity's word may be older than the owner's last move.
    department_path = department_of(tx, won.owner_id) or won.owner_department_path
    order = Order(
        id=new_id(),
        tenant_id=tx.tenant.id,
        number=order_number(day, counter.count),
        opportunity_id=won.opportunity_id,
        customer_id=won.customer_id,
        customer_name=won.customer_name,
        owner_id=won.owner_id,
        owner_department_path=department_path,
        title=won.name,
        amount=parse_amount(won.amount, "amount"),
        state=OrderState.GENERATED,
        remind_time=tx.now + handle_within(tx),
        create_time=tx.now,
        version=1,
    )
    tx.session.add(order)
    tx.session.flush()
    if MOVED.adopt(tx, order.id, order.customer_id):
        tx.session.refresh(order)
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


def update_order(
    tx: Transaction,
    caller: Caller,
    order_id: str,
    version: int,
    lines: Sequence[LineInput],
    contract_id: str,
    ship_to: str | None = None,
) -> Order:
    """Set the lines and the contract of an own order that is not submitted; its amount is their sum (F48, F83).

    ship_to: where it is delivered to (F41), None: as it is.
    Raises InvalidInput naming the field, NotFound ORDER_NOT_FOUND or CONTRACT_NOT_FOUND, Forbidden ORDER_NOT_OWNED,
    RuleViolation ORDER_STATE or CONTRACT_OTHER_CUSTOMER, Conflict ORDER_CHANGED.
    """
    check_lines(lines, "lines")
    order = own_order(tx, caller, order_id)
    if order.version != version:
        raise Conflict(
            "ORDER_CHANGED", "订单已被他人修改，请刷新后重试", "The order was changed meanwhile; reload"
        )
    priced = priced_lines(tx, lines, "lines")
    rows = [
        OrderLine(
            order_id=order.id,
            position=index,
            tenant_id=tx.tenant.id,
            product_id=line.product.id,
            product_code=line.product.code,
            product_name=line.product.name,
            unit=line.product.unit,
            quantity=line.quantity,
            unit_price=line.unit_price,
            amount=line.amount,
        )
        for index, line in enumerate(priced)
    ]
    amount = total([line.amount for line in priced])
    if contract_id:
        _check_contract(tx, order, parse_id(contract_id, "contract_id"))
    tx.session.execute(delete(OrderLine).where(OrderLine.order_id == order.id))
    tx.session.add_all(rows)
    changed = [
        f"金额 {format_amount(order.amount)} → {format_amount(amount)}" if order.amount != amount else "",
        f"{len(rows)} 行",
        "合同变更" if (order.contract_id or "") != contract_id else "",
        "收货地址变更" if ship_to not in (None, order.ship_to) else "",
    ]
    order.amount, order.contract_id = amount, contract_id or None
    if ship_to is not None:
        order.ship_to = ship_to
    order.version += 1
    comment = "；".join(part for part in changed if part)
    _log(tx, order, OrderState(order.state), caller.person_id, comment)
    return order


def own_order(tx: Transaction, caller: Caller, order_id: str, field: str = "order_id") -> Order:
    """Lock and return an own order that may be filled in; field: of the request.

    Raises NotFound ORDER_NOT_FOUND, Forbidden ORDER_NOT_OWNED, RuleViolation ORDER_STATE.
    """
    order = find_order(tx, caller, parse_id(order_id, field), lock=True)
    _require_owner(order, caller)
    next_state(OrderState(order.state), OrderAction.UPDATE)
    return order


def _check_contract(tx: Transaction, order: Order, contract_id: str) -> None:
    contract = find_contract_row(tx, contract_id)
    if contract is None or contract.owner_id != order.owner_id:
        raise not_found("contract", "合同", contract_id)
    if contract.customer_id != order.customer_id:
        raise RuleViolation(
            "CONTRACT_OTHER_CUSTOMER", "合同属于其他客户", "The contract is with another customer"
        )


def _check_papers(tx: Transaction, order: Order) -> None:
    """Raise RuleViolation ORDER_INCOMPLETE unless product, contract and payment proof are there (F51)."""
    if submit_without_papers(tx):
        return
    contract = find_contract_row(tx, order.contract_id) if order.contract_id else None
    there = {
        "product": ("产品", bool(order_lines(tx, order.id))),
        "contract": ("合同", contract is not None and contract.state in USABLE),
        "payment_proof": ("打款凭证", has_proof(tx, order.id)),
    }
    missing = {name: zh for name, (zh, found) in there.items() if not found}
    if missing:
        raise RuleViolation(
            "ORDER_INCOMPLETE",
            "订单缺少{words}，不能提交",
            "The order lacks {missing}: it cannot be submitted",
            words="、".join(missing.values()),
            missing=",".join(missing),
        )


def submit_order(tx: Transaction, caller: Caller, order_id: str) -> Order:
    """Send an own order to its approvers, with what they are shown; raises ORDER_INCOMPLETE too (F51)."""
    order = find_order(tx, caller, order_id, lock=True)
    _require_owner(order, caller)
    next_state(OrderState(order.state), OrderAction.SUBMIT)
    _check_papers(tx, order)
    _handle(tx, caller, order_id, OrderAction.SUBMIT, "")
    amount = format_amount(order.amount)
    shown = {"number": order.number, "title": order.title, "amount": amount, "customer": order.customer_name}
    for line in order_lines(tx, order.id):
        text = f"{line.product_name} × {line.quantity.normalize():f} × {format_amount(line.unit_price)}"
        shown[f"line {line.position + 1}"] = text
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


def update_settings(tx: Transaction, value: timedelta, *, without_papers: bool) -> None:
    """Set how long an order may wait for its owner, from the next order on, and what it needs to be submitted.

    Raises InvalidInput HANDLE_WITHIN_OUT_OF_RANGE.
    """
    set_settings(tx, check_handle_within(value), without_papers=without_papers)


def _handle(tx: Transaction, caller: Caller, order_id: str, action: OrderAction, comment: str) -> Order:
    order = find_order(tx, caller, order_id, lock=True)
    _require_owner(order, caller)
    first = is_handling(OrderState(order.state))
    _move(tx, order, action, caller.person_id, comment)
    if first:
        tx.emit("order_handled", order.id, order.version, {"orderId": order.id})
    return order


def _require_owner(order: Order, caller: Caller) -> None:
    if order.owner_id != caller.person_id:
        raise Forbidden("ORDER_NOT_OWNED", "只有订单负责人可以操作", "Only the order's owner may do this")


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
