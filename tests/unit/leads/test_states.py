"""The six states of a lead and only the stated ways between them; the same for opportunities."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.errors import RuleViolation
from services.leads.domain.states import (
    LEAD_STATE_ZH,
    LEAD_TRANSITIONS,
    OPPORTUNITY_TRANSITIONS,
    LeadAction,
    LeadState,
    OpportunityAction,
    OpportunityState,
    lead_actions,
    next_lead_state,
    next_opportunity_state,
)

# As the requirements state them, from Chinese to Chinese: F115, F116, F118, F119, F120, F121, F122, O9.
STATED = {
    ("未分配", "assign", "待处理"),
    ("未分配", "claim", "待处理"),
    ("待处理", "return", "未分配"),
    ("跟进中", "return", "未分配"),
    ("无效", "return", "未分配"),
    ("待处理", "follow", "跟进中"),
    ("跟进中", "follow", "跟进中"),
    ("跟进中", "mark_invalid", "无效"),
    ("无效", "resume", "跟进中"),
    ("待处理", "convert", "已转换"),
    ("跟进中", "convert", "已转换"),
    ("未分配", "void", "已作废"),
    ("待处理", "void", "已作废"),
    ("跟进中", "void", "已作废"),
    ("无效", "void", "已作废"),
    ("已作废", "restore", "未分配"),
}


def test_the_table_holds_the_stated_transitions_and_no_other() -> None:
    """F113."""
    assert len(LeadState) == 6
    assert {
        (LEAD_STATE_ZH[before], action.value, LEAD_STATE_ZH[after])
        for action, ways in LEAD_TRANSITIONS.items()
        for before, after in ways.items()
    } == STATED


@given(st.sampled_from(LeadState), st.lists(st.sampled_from(LeadAction), max_size=30))
def test_no_sequence_of_actions_leaves_the_table(state: LeadState, actions: list[LeadAction]) -> None:
    """F113, F122, O9: a refusal changes nothing; nothing leaves 已转换; 已作废 is left by restore alone."""
    ways = {(before, action) for before, action, _ in STATED}
    for action in actions:
        if (LEAD_STATE_ZH[state], action.value) not in ways:
            with pytest.raises(RuleViolation, match="LEAD_STATE") as refused:
                next_lead_state(state, action)
            assert refused.value.metadata == {"state": state.value, "action": action.value}
            continue
        after = next_lead_state(state, action)
        assert (LEAD_STATE_ZH[state], action.value, LEAD_STATE_ZH[after]) in STATED
        assert state is not LeadState.CONVERTED
        assert state is not LeadState.VOIDED or action is LeadAction.RESTORE
        assert (state, after) != (LeadState.INVALID, LeadState.CONVERTED)
        state = after


RIGHTS = st.frozensets(
    st.sampled_from(
        ["leads.assign", "leads.claim", "leads.follow", "leads.convert", "leads.restore", "leads.view"]
    )
)
# What each action asks for, and whether it is the owner's alone.
ASKS = {
    "assign": ("leads.assign", False),
    "claim": ("leads.claim", False),
    "convert": ("leads.convert", True),
    "void": ("leads.follow", False),
    "restore": ("leads.restore", False),
}


@given(st.sampled_from(LeadState), RIGHTS, st.booleans(), st.booleans(), st.booleans())
def test_what_is_offered_is_never_refused_by_the_table(
    state: LeadState, rights: frozenset[str], owned: bool, converting: bool, locked: bool
) -> None:
    offered = lead_actions(state, rights=rights, owned=owned, converting=converting, locked=locked)
    for action in offered:
        right, own = ASKS.get(action, ("leads.follow", True))
        assert right in rights
        assert owned or not own
        if action not in ("lock", "unlock"):
            next_lead_state(state, LeadAction(action))
    assert not (converting and offered)
    assert {"lock", "unlock"} & set(offered) <= ({"unlock"} if locked else {"lock"})


@given(st.sampled_from(OpportunityState), st.sampled_from(OpportunityAction))
def test_only_an_open_opportunity_moves(state: OpportunityState, action: OpportunityAction) -> None:
    ends = {OpportunityAction.WIN: OpportunityState.WON, OpportunityAction.LOSE: OpportunityState.LOST}
    if state is OpportunityState.OPEN:
        assert next_opportunity_state(state, action) is ends.get(action, OpportunityState.OPEN)
    else:
        with pytest.raises(RuleViolation, match="OPPORTUNITY_STATE"):
            next_opportunity_state(state, action)
    assert set(OPPORTUNITY_TRANSITIONS) == set(OpportunityAction)
