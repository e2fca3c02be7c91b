"""When leads are pushed and who gets the next one (F135)."""

from datetime import UTC, datetime, timedelta

import pytest

from services.chassis.errors import InvalidInput
from services.chassis.ids import new_id
from services.leads.domain.push import (
    GRACE,
    LeftOut,
    PushRule,
    Taker,
    check_push_rule,
    due_time,
    left_out,
    next_taker,
    next_time,
)

# 09:00 and 14:30 in China.
NINE = datetime(2026, 11, 30, 1, 0, tzinfo=UTC)
HALF_PAST_TWO = datetime(2026, 11, 30, 6, 30, tzinfo=UTC)
TIMES = ("09:00", "14:30")
LONG_AGO = NINE - timedelta(days=30)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("now", "due"),
    [
        (NINE - SECOND, None),
        (NINE, NINE),
        (NINE + GRACE, NINE),
        (NINE + GRACE + SECOND, None),
        # Only the last one: the one before is not made up for as well.
        (HALF_PAST_TWO + SECOND, HALF_PAST_TWO),
    ],
)
def test_a_push_is_due_from_its_set_time_on_until_it_is_stale(now: datetime, due: datetime | None) -> None:
    """F135."""
    assert due_time(TIMES, now, LONG_AGO) == due


def test_a_time_before_the_rule_was_set_is_not_made_up_for() -> None:
    assert due_time(TIMES, NINE + SECOND, NINE) is None
    assert due_time((), NINE, LONG_AGO) is None


def test_the_next_time_may_be_tomorrows_in_china() -> None:
    assert next_time(TIMES, NINE) == HALF_PAST_TWO
    assert next_time(TIMES, HALF_PAST_TWO) == NINE + timedelta(days=1)
    # Past midnight in China, still the day before in UTC.
    assert next_time(("00:30",), datetime(2026, 11, 29, 16, 0, tzinfo=UTC)) == datetime(
        2026, 11, 29, 16, 30, tzinfo=UTC
    )
    assert next_time((), NINE) is None


def test_who_has_the_fewest_waiting_comes_first_and_of_equals_the_first_named() -> None:
    people = ("a", "b", "c")
    rule = PushRule(TIMES, people, per_push=2, most_waiting=5)
    takers = {
        person: Taker(person, waiting, waiting, 0) for person, waiting in zip(people, (1, 0, 0), strict=True)
    }
    assert next_taker(takers, rule, 0, ()) == "b"
    # Who just gave this lead up is not asked again.
    assert next_taker(takers, rule, 0, {"b"}) == "c"
    assert next_taker({}, rule, 0, ()) == ""


@pytest.mark.parametrize(
    ("taker", "cap", "reason"),
    [
        (Taker("a", waiting=4, owned=9, given=1), 10, None),
        (Taker("a", waiting=5, owned=9, given=1), 10, LeftOut.WAITING_FULL),
        (Taker("a", waiting=4, owned=10, given=1), 10, LeftOut.CAP_REACHED),
        (Taker("a", waiting=4, owned=10, given=1), 0, None),
        (Taker("a", waiting=4, owned=9, given=2), 10, LeftOut.SHARE_TAKEN),
    ],
)
def test_load_cap_and_share_bound_what_somebody_gets(taker: Taker, cap: int, reason: LeftOut | None) -> None:
    """F135: load, cap."""
    assert left_out(taker, PushRule(TIMES, ("a",), per_push=2, most_waiting=5), cap) == reason


@pytest.mark.parametrize(
    ("rule", "field", "reason"),
    [
        (PushRule(("9:00",), (new_id(),)), "rule.times[0]", "TIME_INVALID"),
        (PushRule(("24:00",), (new_id(),)), "rule.times[0]", "TIME_INVALID"),
        (PushRule(("09:00",) * 25, (new_id(),)), "rule.times", "TIMES_OUT_OF_RANGE"),
        (PushRule(TIMES, ()), "rule.person_ids", "PEOPLE_OUT_OF_RANGE"),
        (PushRule(TIMES, ("李雷",)), "rule.person_ids[0]", "NOT_A_UUID"),
        (PushRule(TIMES, ("a" * 8 + "-0000-4000-8000-" + "0" * 12,) * 2), "rule.person_ids", "PERSON_TWICE"),
        (PushRule(TIMES, (new_id(),), per_push=0), "rule.per_push", "LIMIT_OUT_OF_RANGE"),
        (PushRule(TIMES, (new_id(),), most_waiting=-1), "rule.most_waiting", "LIMIT_OUT_OF_RANGE"),
    ],
)
def test_a_rule_that_cannot_hold_is_refused(rule: PushRule, field: str, reason: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_push_rule(rule)
    assert (refused.value.field, refused.value.reason) == (field, reason)


def test_times_are_kept_in_order_and_once() -> None:
    assert check_push_rule(PushRule(("14:30", "09:00", "14:30"), (new_id(),))).times == TIMES
