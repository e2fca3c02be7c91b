"""Say where an agent stands, by what the phone does and what the agent chose."""

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field as default
from datetime import datetime, timedelta
from enum import StrEnum

from services.chassis.errors import InvalidInput
from services.telephony.domain.pops import PopSettings

# Names in a list of settings at most, and characters in a name.
MOST_NAMES = 30
LONGEST_NAME = 30
# Longest wrap-up, in seconds.
LONGEST_WRAP_UP_S = 600


class AgentState(StrEnum):
    """Name where an agent stands."""

    OFFLINE = "offline"
    IDLE = "idle"
    BUSY = "busy"
    BREAK = "break"
    RINGING = "ringing"
    TALKING = "talking"
    WRAP_UP = "wrap_up"


# What an agent can choose.
CHOICES = frozenset({AgentState.IDLE, AgentState.BUSY, AgentState.BREAK})


@dataclass(frozen=True)
class DeskSettings:
    """Hold how desks work. version: 0 while a tenant changed nothing."""

    wrap_up_s: int = 30
    dispositions: tuple[str, ...] = ("已成交", "有意向", "再联系", "无意向", "空号或错号")
    break_reasons: tuple[str, ...] = ("用餐", "会议", "培训", "休息")
    version: int = 0
    pops: PopSettings = default(default_factory=PopSettings)


@dataclass(frozen=True)
class Choice:
    """Hold what an agent chose, and when."""

    state: AgentState
    reason: str
    time: datetime


@dataclass(frozen=True)
class AgentLeg:
    """Hold a device's part in a call, as far as the agent at it is concerned."""

    call_id: str
    ring_time: datetime | None
    answer_time: datetime | None
    end_time: datetime | None
    disposed: bool = False


@dataclass(frozen=True)
class Agent:
    """Hold where an agent stands. since_time is None while idle or offline."""

    state: AgentState
    reason: str = ""
    since_time: datetime | None = None
    wrap_up_end_time: datetime | None = None
    call_id: str = ""


def standing(
    *, seated: bool, choice: Choice | None, legs: Sequence[AgentLeg], wrap_up_s: int, now: datetime
) -> Agent:
    """Return where an agent stands now.

    legs: those that live, and the last that ended. A wrap-up ends by its countdown, by a disposition or by any choice
    made after the call: a closed browser leaves nobody in it.
    """
    live = [leg for leg in legs if leg.end_time is None]
    for leg in live:
        if leg.answer_time:
            return Agent(AgentState.TALKING, since_time=leg.answer_time, call_id=leg.call_id)
    for leg in live:
        if leg.ring_time:
            return Agent(AgentState.RINGING, since_time=leg.ring_time, call_id=leg.call_id)
    if not seated:
        return Agent(AgentState.OFFLINE)
    for leg in legs:
        if (
            leg.answer_time
            and leg.end_time
            and not leg.disposed
            and not (choice and choice.time > leg.end_time)
        ):
            until = leg.end_time + timedelta(seconds=wrap_up_s)
            if now < until:
                return Agent(AgentState.WRAP_UP, "", leg.end_time, until, leg.call_id)
    if choice is None or choice.state is AgentState.IDLE:
        return Agent(AgentState.IDLE)
    return Agent(choice.state, choice.reason, choice.time)


def check_choice(state: str, reason: str, settings: DeskSettings) -> AgentState:
    """Return the state that an agent chose; raises InvalidInput STATE_NOT_CHOOSABLE, REASON_UNKNOWN, NAME_LENGTH."""
    if state not in CHOICES:
        raise InvalidInput(
            "state", "STATE_NOT_CHOOSABLE", "只能选择示闲、示忙或小休", "Choose idle, busy or a break"
        )
    if state == AgentState.BREAK and reason not in settings.break_reasons:
        raise InvalidInput(
            "reason", "REASON_UNKNOWN", "请选择小休原因", "Choose one of the reasons for a break"
        )
    if len(reason) > LONGEST_NAME:
        raise _too_long("reason")
    return AgentState(state)


def check_settings(settings: DeskSettings) -> DeskSettings:
    """Return settings that desks can work with; raises InvalidInput WRAP_UP_OUT_OF_RANGE, NAME_COUNT, NAME_LENGTH."""
    if not 0 <= settings.wrap_up_s <= LONGEST_WRAP_UP_S:
        raise InvalidInput(
            "settings.wrap_up_seconds",
            "WRAP_UP_OUT_OF_RANGE",
            "话后整理时间为 0 到 {longest} 秒",
            "A wrap-up lasts 0 to {longest} seconds",
            longest=LONGEST_WRAP_UP_S,
        )
    for field in ("dispositions", "break_reasons"):
        names: tuple[str, ...] = getattr(settings, field)
        if not 1 <= len(names) <= MOST_NAMES or len(set(names)) < len(names):
            raise InvalidInput(
                f"settings.{field}",
                "NAME_COUNT",
                "需要 1 到 {most} 个互不相同的名称",
                "1 to {most} different names are needed",
                most=MOST_NAMES,
            )
        if not all(name.strip() and len(name) <= LONGEST_NAME for name in names):
            raise _too_long(f"settings.{field}")
    return settings


def _too_long(field: str) -> InvalidInput:
    return InvalidInput(
        field,
        "NAME_LENGTH",
        "名称为 1 到 {longest} 个字",
        "A name has 1 to {longest} characters",
        longest=LONGEST_NAME,
    )
