"""The states of an order and the only ways from one to another."""

from collections.abc import Mapping
from enum import StrEnum

from services.chassis.errors import RuleViolation


class OrderState(StrEnum):
    """Where an order is in its life."""

    GENERATED = "generated"
    ACCEPTED = "accepted"
    SUBMITTED = "submitted"
    APPROVED = "approved"
    REJECTED = "rejected"
    CLOSED = "closed"


class OrderAction(StrEnum):
    """What moves an order: its owner's verbs, and what approvals decided."""

    UPDATE = "update"
    ACCEPT = "accept"
    SUBMIT = "submit"
    CLOSE = "close"
    APPROVE = "approve"
    REJECT = "reject"
    WITHDRAW = "withdraw"


# A submitted order waits for its approvers: nothing else moves it.
TRANSITIONS: Mapping[OrderAction, Mapping[OrderState, OrderState]] = {
    # Filled in: whatever was approved is what it says.
    OrderAction.UPDATE: {
        OrderState.GENERATED: OrderState.GENERATED,
        OrderState.ACCEPTED: OrderState.ACCEPTED,
        OrderState.REJECTED: OrderState.REJECTED,
    },
    OrderAction.ACCEPT: {OrderState.GENERATED: OrderState.ACCEPTED},
    OrderAction.SUBMIT: {
        OrderState.GENERATED: OrderState.SUBMITTED,
        OrderState.ACCEPTED: OrderState.SUBMITTED,
        OrderState.REJECTED: OrderState.SUBMITTED,
    },
    OrderAction.CLOSE: {
        OrderState.GENERATED: OrderState.CLOSED,
        OrderState.ACCEPTED: OrderState.CLOSED,
        OrderState.APPROVED: OrderState.CLOSED,
        OrderState.REJECTED: OrderState.CLOSED,
    },
    OrderAction.APPROVE: {OrderState.SUBMITTED: OrderState.APPROVED},
    OrderAction.REJECT: {OrderState.SUBMITTED: OrderState.REJECTED},
    # Its submitter took it back before it was decided.
    OrderAction.WITHDRAW: {OrderState.SUBMITTED: OrderState.ACCEPTED},
}

# The verbs of an order's owner, in the order in which they are shown.
OWNER_ACTIONS = (OrderAction.ACCEPT, OrderAction.SUBMIT, OrderAction.CLOSE)

STATE_ZH: Mapping[OrderState, str] = {
    OrderState.GENERATED: "待处理",
    OrderState.ACCEPTED: "处理中",
    OrderState.SUBMITTED: "审批中",
    OrderState.APPROVED: "已通过",
    OrderState.REJECTED: "已驳回",
    OrderState.CLOSED: "已关闭",
}


def next_state(state: OrderState, action: OrderAction) -> OrderState:
    """Return the state after an action; raises RuleViolation ORDER_STATE when this state does not allow it."""
    after = TRANSITIONS[action].get(state)
    if after is None:
        raise RuleViolation(
            "ORDER_STATE",
            f"订单{STATE_ZH[state]}，不能执行该操作",
            "The order is {state}: {action} is not possible",
            state=state,
            action=action,
        )
    return after


def is_handling(state: OrderState) -> bool:
    """Return whether leaving this state means that the owner handled the order for the first time (O15)."""
    return state is OrderState.GENERATED


def owner_actions(state: OrderState) -> list[OrderAction]:
    """Return what an order's owner may do with it now."""
    return [action for action in OWNER_ACTIONS if state in TRANSITIONS[action]]
