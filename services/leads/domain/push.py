"""Leads of the pool go to reps by themselves at set times, only to those who can take them (F135)."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from enum import StrEnum

from services.chassis.errors import InvalidInput
from services.chassis.ids import parse_id
from services.kernel.china_time import CHINA

MOST_TIMES = 24
MOST_PEOPLE = 200
MOST_LEADS = 1000
# A time of day on the clocks in China: 09:00.
CLOCK = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
# A push that its time found down is made up for within this; later it is stale: the next one comes.
GRACE = timedelta(hours=4)


class LeftOut(StrEnum):
    """Why somebody gets no more leads of a push."""

    # Disabled, or gone.
    DISABLED = "disabled"
    # May not follow leads up.
    NO_RIGHT = "no_right"
    # On leave, or off shift.
    ABSENT = "absent"
    # So many leads wait for a first follow-up already.
    WAITING_FULL = "waiting_full"
    # As many leads as one may have.
    CAP_REACHED = "cap_reached"
    # As many as one gets in a push.
    SHARE_TAKEN = "share_taken"


@dataclass(frozen=True)
class PushRule:
    """When leads are pushed, and to whom.

    times: of the day in China, 09:00; none: never. person_ids: who takes part, in this order among equals. per_push:
    leads that somebody gets at a time, at most. most_waiting: who has so many leads not handled yet gets none; 0: not
    asked.
    """

    times: tuple[str, ...] = ()
    person_ids: tuple[str, ...] = ()
    per_push: int = 10
    most_waiting: int = 20


def check_push_rule(rule: PushRule) -> PushRule:
    """Return a rule that can be set, times in order.

    Raises InvalidInput naming the field: TIME_INVALID, TIMES_OUT_OF_RANGE, PEOPLE_OUT_OF_RANGE, PERSON_TWICE,
    LIMIT_OUT_OF_RANGE, NOT_A_UUID.
    """
    for index, text in enumerate(rule.times):
        if not CLOCK.fullmatch(text):
            raise InvalidInput(
                f"rule.times[{index}]", "TIME_INVALID", "时间格式应为 09:00", "A time is written as 09:00"
            )
    if len(rule.times) > MOST_TIMES:
        raise InvalidInput(
            "rule.times", "TIMES_OUT_OF_RANGE", "最多{most}个时间", "At most {most} times", most=MOST_TIMES
        )
    people = [parse_id(person, f"rule.person_ids[{index}]") for index, person in enumerate(rule.person_ids)]
    if len(people) > MOST_PEOPLE or (rule.times and not people):
        raise InvalidInput(
            "rule.person_ids",
            "PEOPLE_OUT_OF_RANGE",
            "请选择 1 到 {most} 人",
            "Name 1 to {most} people",
            most=MOST_PEOPLE,
        )
    if len(set(people)) < len(people):
        raise InvalidInput("rule.person_ids", "PERSON_TWICE", "人员重复", "Somebody is named twice")
    for name, value, least in (("per_push", rule.per_push, 1), ("most_waiting", rule.most_waiting, 0)):
        if not least <= value <= MOST_LEADS:
            raise InvalidInput(
                f"rule.{name}",
                "LIMIT_OUT_OF_RANGE",
                "{field} 应在 {least} 到 {most} 之间",
                "{field} is {least} to {most}",
                least=least,
                most=MOST_LEADS,
            )
    return PushRule(tuple(sorted(set(rule.times))), tuple(people), rule.per_push, rule.most_waiting)


def due_time(times: Sequence[str], now: datetime, since: datetime) -> datetime | None:
    """Return the set time that is due: the last one up to now, after `since` and not stale; None where there is none.

    since: when the rule was set; of an older time nobody knew.
    """
    reached = [moment for moment in _moments(times, now) if since < moment <= now]
    return reached[-1] if reached and now - reached[-1] <= GRACE else None


def next_time(times: Sequence[str], now: datetime) -> datetime | None:
    """Return the next set time after now; None for a rule without times."""
    return next((moment for moment in _moments(times, now) if moment > now), None)


def _moments(times: Sequence[str], now: datetime) -> list[datetime]:
    """Return the set times of yesterday, today and tomorrow in China, in order."""
    today = now.astimezone(CHINA).date()
    return [
        datetime.combine(today + timedelta(days=offset), time.fromisoformat(text), CHINA)
        for offset in (-1, 0, 1)
        for text in sorted(times)
    ]


@dataclass(frozen=True)
class Taker:
    """Somebody in a push. waiting: leads not handled yet. owned: leads under the cap. given: leads of this push."""

    person_id: str
    waiting: int
    owned: int
    given: int


def left_out(taker: Taker, rule: PushRule, cap: int) -> LeftOut | None:
    """Return why somebody gets no further lead now; None for who does. cap: of owned leads, 0 for none."""
    if rule.most_waiting and taker.waiting >= rule.most_waiting:
        return LeftOut.WAITING_FULL
    if cap and taker.owned >= cap:
        return LeftOut.CAP_REACHED
    if taker.given >= rule.per_push:
        return LeftOut.SHARE_TAKEN
    return None


def next_taker(takers: Mapping[str, Taker], rule: PushRule, cap: int, barred: Collection[str]) -> str:
    """Return who gets the next lead: who has the fewest waiting, of equals the first in the rule; "" for nobody.

    barred: who just gave this lead up or neglected it is not asked again, nor is who is no member of its pool.
    """
    able = [
        taker
        for person_id in rule.person_ids
        if (taker := takers.get(person_id)) and person_id not in barred and not left_out(taker, rule, cap)
    ]
    return min(able, key=lambda taker: taker.waiting).person_id if able else ""
