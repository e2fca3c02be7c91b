"""The states of a contract, the only ways from one to another, and its days (F45, F46, F180)."""

from collections.abc import Mapping
from datetime import date
from enum import StrEnum

from services.chassis.errors import InvalidInput, RuleViolation


class ContractState(StrEnum):
    """Where a contract is in its life."""

    DRAFT = "draft"
    SUBMITTED = "submitted"
    REJECTED = "rejected"
    EFFECTIVE = "effective"
    EXPIRED = "expired"
    TERMINATED = "terminated"


class ContractAction(StrEnum):
    """What moves a contract: its owner's verbs, what approvals decided, and time."""

    UPDATE = "update"
    SUBMIT = "submit"
    TERMINATE = "terminate"
    APPROVE = "approve"
    REJECT = "reject"
    WITHDRAW = "withdraw"
    EXPIRE = "expire"


TRANSITIONS: Mapping[ContractAction, Mapping[ContractState, ContractState]] = {
    ContractAction.UPDATE: {
        ContractState.DRAFT: ContractState.DRAFT,
        ContractState.REJECTED: ContractState.DRAFT,
        # What was reviewed is not what it says now: it is reviewed again.
        ContractState.EFFECTIVE: ContractState.DRAFT,
    },
    ContractAction.SUBMIT: {
        ContractState.DRAFT: ContractState.SUBMITTED,
        ContractState.REJECTED: ContractState.SUBMITTED,
    },
    ContractAction.TERMINATE: {
        ContractState.DRAFT: ContractState.TERMINATED,
        ContractState.REJECTED: ContractState.TERMINATED,
        ContractState.EFFECTIVE: ContractState.TERMINATED,
    },
    ContractAction.APPROVE: {ContractState.SUBMITTED: ContractState.EFFECTIVE},
    ContractAction.REJECT: {ContractState.SUBMITTED: ContractState.REJECTED},
    ContractAction.WITHDRAW: {ContractState.SUBMITTED: ContractState.DRAFT},
    ContractAction.EXPIRE: {ContractState.EFFECTIVE: ContractState.EXPIRED},
}

# The verbs of a contract's owner, in the order in which they are shown.
OWNER_ACTIONS = (ContractAction.UPDATE, ContractAction.SUBMIT, ContractAction.TERMINATE)

# An order may stand on a contract in one of these.
USABLE = (ContractState.DRAFT, ContractState.SUBMITTED, ContractState.EFFECTIVE)

STATE_ZH: Mapping[ContractState, str] = {
    ContractState.DRAFT: "草稿",
    ContractState.SUBMITTED: "审批中",
    ContractState.REJECTED: "已驳回",
    ContractState.EFFECTIVE: "执行中",
    ContractState.EXPIRED: "已到期",
    ContractState.TERMINATED: "已终止",
}


def next_state(state: ContractState, action: ContractAction) -> ContractState:
    """Return the state after an action; raises RuleViolation CONTRACT_STATE when this state does not allow it."""
    after = TRANSITIONS[action].get(state)
    if after is None:
        raise RuleViolation(
            "CONTRACT_STATE",
            f"合同{STATE_ZH[state]}，不能执行该操作",
            "The contract is {state}: {action} is not possible",
            state=state,
            action=action,
        )
    return after


def owner_actions(state: ContractState) -> list[ContractAction]:
    """Return what a contract's owner may do with it now."""
    return [action for action in OWNER_ACTIONS if state in TRANSITIONS[action]]


def parse_day(text: str, field: str) -> date:
    """Return a day written as 2026-03-01; raises InvalidInput DAY_INVALID."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidInput(
            field, "DAY_INVALID", "日期格式应为 2026-03-01", "A day is written as 2026-03-01"
        ) from None


def parse_term(start: str, end: str) -> tuple[date, date]:
    """Return a contract's first and last day; raises InvalidInput DAY_INVALID or TERM_INVALID."""
    first, last = parse_day(start, "start_date"), parse_day(end, "end_date")
    if last < first:
        raise InvalidInput(
            "end_date", "TERM_INVALID", "结束日期不能早于开始日期", "A contract ends after its first day"
        )
    return first, last
