"""Where an agent stands: what the phone does goes before what the agent chose."""

from datetime import UTC, datetime, timedelta

import pytest

from services.chassis.errors import InvalidInput
from services.telephony.domain.agents import (
    Agent,
    AgentLeg,
    AgentState,
    Choice,
    DeskSettings,
    check_choice,
    check_settings,
    standing,
)

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def stands(*legs: AgentLeg, choice: Choice | None = None, seated: bool = True) -> Agent:
    return standing(seated=seated, choice=choice, legs=legs, wrap_up_s=30, now=NOW)


RINGS = AgentLeg("a", at(-5), None, None)
TALKS = AgentLeg("b", at(-9), at(-4), None)
OVER = AgentLeg("c", at(-60), at(-50), at(-10))
AWAY = Choice(AgentState.BREAK, "用餐", at(-100))


def test_who_sits_nowhere_is_offline() -> None:
    assert stands(seated=False, choice=AWAY).state is AgentState.OFFLINE


def test_who_chose_nothing_is_idle() -> None:
    assert stands() == Agent(AgentState.IDLE)


def test_a_break_has_its_reason_and_its_begin() -> None:
    assert stands(choice=AWAY) == Agent(AgentState.BREAK, "用餐", at(-100))


def test_the_phone_goes_before_the_choice() -> None:
    assert stands(RINGS, choice=AWAY).state is AgentState.RINGING
    assert stands(RINGS, TALKS, choice=AWAY) == Agent(AgentState.TALKING, since_time=at(-4), call_id="b")


def test_a_wrap_up_counts_down_after_a_call() -> None:
    """话后整理 with a countdown."""
    assert stands(OVER) == Agent(AgentState.WRAP_UP, "", at(-10), at(20), "c")


@pytest.mark.parametrize(
    "leg",
    [
        AgentLeg("c", at(-60), at(-50), at(-31)),
        AgentLeg("c", at(-60), at(-50), at(-10), disposed=True),
        AgentLeg("c", at(-60), None, at(-10)),
    ],
    ids=["countdown over", "disposition given", "never answered"],
)
def test_a_wrap_up_ends_by_itself(leg: AgentLeg) -> None:
    """A closed browser never leaves a call stuck."""
    assert stands(leg).state is AgentState.IDLE


def test_a_choice_after_the_call_ends_the_wrap_up() -> None:
    assert stands(OVER, choice=Choice(AgentState.BUSY, "", at(-3))).state is AgentState.BUSY
    assert stands(OVER, choice=AWAY).state is AgentState.WRAP_UP


@pytest.mark.parametrize(
    ("state", "reason", "error"),
    [
        ("talking", "", "STATE_NOT_CHOOSABLE"),
        ("", "", "STATE_NOT_CHOOSABLE"),
        ("break", "购物", "REASON_UNKNOWN"),
        ("busy", "长" * 31, "NAME_LENGTH"),
    ],
)
def test_a_choice_that_is_none_is_refused(state: str, reason: str, error: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_choice(state, reason, DeskSettings())
    assert refused.value.reason == error


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        (DeskSettings(wrap_up_s=-1), "WRAP_UP_OUT_OF_RANGE"),
        (DeskSettings(wrap_up_s=601), "WRAP_UP_OUT_OF_RANGE"),
        (DeskSettings(dispositions=()), "NAME_COUNT"),
        (DeskSettings(dispositions=("成交", "成交")), "NAME_COUNT"),
        (DeskSettings(break_reasons=(" ",)), "NAME_LENGTH"),
    ],
)
def test_settings_that_no_desk_can_work_with_are_refused(settings: DeskSettings, error: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_settings(settings)
    assert refused.value.reason == error
