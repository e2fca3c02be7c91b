"""The six states of a lead, the states of an opportunity, and the only ways from one to another (F113 to F122)."""

from collections.abc import Mapping
from enum import StrEnum

from services.chassis.errors import RuleViolation


class LeadState(StrEnum):
    """Where a lead is in its life."""

    UNASSIGNED = "unassigned"
    ASSIGNED = "assigned"
    FOLLOWING = "following"
    CONVERTED = "converted"
    INVALID = "invalid"
    VOIDED = "voided"


class LeadAction(StrEnum):
    """What moves a lead."""

    ASSIGN = "assign"
    CLAIM = "claim"
    RETURN = "return"
    FOLLOW = "follow"
    MARK_INVALID = "mark_invalid"
    RESUME = "resume"
    CONVERT = "convert"
    VOID = "void"
    RESTORE = "restore"


class OpportunityState(StrEnum):
    """Where an opportunity is in its life; a CONVERTING one belongs to a conversion and nobody sees it yet."""

    CONVERTING = "converting"
    OPEN = "open"
    WON = "won"
    LOST = "lost"


class OpportunityAction(StrEnum):
    """What moves an opportunity."""

    UPDATE = "update"
    MOVE = "move"
    WIN = "win"
    LOSE = "lose"
    TRANSFER = "transfer"


LEAD_TRANSITIONS: Mapping[LeadAction, Mapping[LeadState, LeadState]] = {
    LeadAction.ASSIGN: {LeadState.UNASSIGNED: LeadState.ASSIGNED},
    LeadAction.CLAIM: {LeadState.UNASSIGNED: LeadState.ASSIGNED},
    LeadAction.RETURN: {
        LeadState.ASSIGNED: LeadState.UNASSIGNED,
        LeadState.FOLLOWING: LeadState.UNASSIGNED,
        LeadState.INVALID: LeadState.UNASSIGNED,
    },
    LeadAction.FOLLOW: {
        LeadState.ASSIGNED: LeadState.FOLLOWING,
        LeadState.FOLLOWING: LeadState.FOLLOWING,
    },
    LeadAction.MARK_INVALID: {LeadState.FOLLOWING: LeadState.INVALID},
    LeadAction.RESUME: {LeadState.INVALID: LeadState.FOLLOWING},
    LeadAction.CONVERT: {
        LeadState.ASSIGNED: LeadState.CONVERTED,
        LeadState.FOLLOWING: LeadState.CONVERTED,
    },
    LeadAction.VOID: {
        LeadState.UNASSIGNED: LeadState.VOIDED,
        LeadState.ASSIGNED: LeadState.VOIDED,
        LeadState.FOLLOWING: LeadState.VOIDED,
        LeadState.INVALID: LeadState.VOIDED,
    },
    # Back into the pool: whoever had it before it was junk may be gone.
    LeadAction.RESTORE: {LeadState.VOIDED: LeadState.UNASSIGNED},
}

OPPORTUNITY_TRANSITIONS: Mapping[OpportunityAction, Mapping[OpportunityState, OpportunityState]] = {
    OpportunityAction.UPDATE: {OpportunityState.OPEN: OpportunityState.OPEN},
    OpportunityAction.MOVE: {OpportunityState.OPEN: OpportunityState.OPEN},
    OpportunityAction.WIN: {OpportunityState.OPEN: OpportunityState.WON},
    OpportunityAction.LOSE: {OpportunityState.OPEN: OpportunityState.LOST},
    OpportunityAction.TRANSFER: {OpportunityState.OPEN: OpportunityState.OPEN},
}

# Those in which a lead counts as somebody's work: under the cap, and taken back for neglect.
OWNED_STATES = (LeadState.ASSIGNED, LeadState.FOLLOWING, LeadState.INVALID)

# Those in which a lead has a pool to be in or to fall back into.
POOLED_STATES = (LeadState.UNASSIGNED, *OWNED_STATES)

LEAD_STATE_ZH: Mapping[LeadState, str] = {
    LeadState.UNASSIGNED: "未分配",
    LeadState.ASSIGNED: "待处理",
    LeadState.FOLLOWING: "跟进中",
    LeadState.CONVERTED: "已转换",
    LeadState.INVALID: "无效",
    LeadState.VOIDED: "已作废",
}


def next_lead_state(state: LeadState, action: LeadAction) -> LeadState:
    """Return the state after an action; raises RuleViolation LEAD_STATE when this state does not allow it."""
    after = LEAD_TRANSITIONS[action].get(state)
    if after is None:
        raise lead_state_refused(state, action)
    return after


def lead_state_refused(state: LeadState, action: str) -> RuleViolation:
    """Return the refusal for what a lead's state does not allow."""
    return RuleViolation(
        "LEAD_STATE",
        f"线索{LEAD_STATE_ZH[state]}，不能执行该操作",
        "The lead is {state}: {action} is not possible",
        state=state,
        action=action,
    )


def next_opportunity_state(state: OpportunityState, action: OpportunityAction) -> OpportunityState:
    """Return the state after an action; raises RuleViolation OPPORTUNITY_STATE when this state does not allow it."""
    after = OPPORTUNITY_TRANSITIONS[action].get(state)
    if after is None:
        raise RuleViolation(
            "OPPORTUNITY_STATE",
            "商机已关闭，不能执行该操作",
            "The opportunity is {state}: {action} is not possible",
            state=state,
            action=action,
        )
    return after


def lead_actions(
    state: LeadState, *, rights: frozenset[str], owned: bool, converting: bool, locked: bool = False
) -> list[str]:
    """Return what a person may do with a lead, in the order in which a card shows it.

    rights: the person's. owned: whether the lead is this person's. converting: whether a conversion holds it. locked:
    whether its owner locked it. Besides the actions of the table: lock, unlock, and move, into another pool.
    """
    if converting:
        return []
    mine = owned and "leads.follow" in rights
    offered = {
        LeadAction.ASSIGN: "leads.assign" in rights,
        LeadAction.CLAIM: "leads.claim" in rights,
        LeadAction.FOLLOW: mine,
        LeadAction.MARK_INVALID: mine,
        LeadAction.RESUME: mine,
        LeadAction.RETURN: mine,
        LeadAction.CONVERT: owned and "leads.convert" in rights,
        LeadAction.VOID: mine or {"leads.follow", "leads.assign"} <= rights,
        LeadAction.RESTORE: "leads.restore" in rights,
    }
    actions: list[str] = [
        action for action, offer in offered.items() if offer and state in LEAD_TRANSITIONS[action]
    ]
    if mine and state in OWNED_STATES:
        actions.append("unlock" if locked else "lock")
    if "pools.manage" in rights and state in POOLED_STATES:
        actions.append("move")
    return actions


def opportunity_actions(
    state: OpportunityState, *, rights: frozenset[str], owned: bool
) -> list[OpportunityAction]:
    """Return what a person may do with an opportunity. rights: the person's; owned: whether it is this person's."""
    offered = {
        OpportunityAction.UPDATE: owned and "leads.follow" in rights,
        OpportunityAction.MOVE: owned and "leads.follow" in rights,
        OpportunityAction.WIN: owned and "opportunities.close" in rights,
        OpportunityAction.LOSE: owned and "opportunities.close" in rights,
        OpportunityAction.TRANSFER: "leads.assign" in rights,
    }
    return [action for action, offer in offered.items() if offer and state in OPPORTUNITY_TRANSITIONS[action]]
