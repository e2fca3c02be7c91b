"""Which way a message goes, when, and when somebody is to be reminded again."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.errors import InvalidInput, NotFound
from services.notify.channels import signed
from services.notify.domain.notices import (
    Channel,
    Preferences,
    next_firing,
    next_minute,
    overdue_time,
    retry_after,
)
from services.notify.domain.templates import KINDS, check_template, fill
from services.notify.domain.texts import digest

# 10:00 in China.
NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_a_kind_goes_the_ways_that_its_reader_chose_and_mail_needs_an_address() -> None:
    chosen = {"*": [Channel.MAIL, Channel.SMS], "lead_assigned": []}
    assert Preferences(chosen, mail="a@b.cn").ways("order_generated") == [Channel.MAIL, Channel.SMS]
    assert Preferences(chosen).ways("order_generated") == [Channel.SMS]
    assert Preferences(chosen, mail="a@b.cn").ways("lead_assigned") == []
    assert Preferences().ways("order_generated") == []


@pytest.mark.parametrize(
    ("quiet", "wait"),
    [
        ((0, 0), timedelta()),
        ((9 * 60, 11 * 60), HOUR),
        # Over midnight.
        ((22 * 60, 8 * 60), timedelta()),
        ((8 * 60, 7 * 60), 21 * HOUR),
    ],
)
def test_quiet_hours_hold_back_until_their_end(quiet: tuple[int, int], wait: timedelta) -> None:
    preferences = Preferences(quiet_from_minute=quiet[0], quiet_until_minute=quiet[1])
    assert preferences.send_time("lead_assigned", NOW) == (NOW + wait, False)
    assert preferences.send_time("order_reminder", NOW) == (NOW, False)


def test_a_digest_comes_at_its_minute_and_the_urgent_does_not_wait_for_it() -> None:
    preferences = Preferences(digest_minute=18 * 60)
    assert preferences.send_time("lead_assigned", NOW) == (NOW + 8 * HOUR, True)
    assert preferences.send_time("reclaim_warned", NOW) == (NOW, False)
    assert digest(["甲", "乙"]).text_zh == "1. 甲\n2. 乙"


@given(st.integers(0, 10**9), st.integers(0, 1439))
def test_a_minute_of_the_day_comes_within_a_day_and_later(second: int, minute: int) -> None:
    now = NOW + timedelta(seconds=second)
    assert timedelta() < next_minute(now, minute) - now <= timedelta(days=1)


def test_tries_end() -> None:
    waits = [retry_after(attempts) for attempts in range(1, 10)]
    assert waits[0] == timedelta(seconds=30)
    assert waits[-1] is None


@given(st.integers(5, 100_000), st.integers(0, 1_000_000))
def test_a_frequency_goes_on_in_step_and_makes_up_for_nothing(minutes: int, late_s: int) -> None:
    """F192: the next time is one of the series, after now, and at most one interval ahead."""
    every, now = timedelta(minutes=minutes), NOW + timedelta(seconds=late_s)
    following = next_firing(NOW, every, None, now)
    assert following is not None
    assert (following - NOW) % every == timedelta()
    assert now < following <= now + every


def test_once_is_once_and_an_end_is_an_end() -> None:
    assert next_firing(NOW, None, None, NOW) is None
    assert next_firing(NOW, HOUR, NOW + HOUR, NOW) == NOW + HOUR
    assert next_firing(NOW, HOUR, NOW + HOUR, NOW + HOUR) is None


def test_a_customer_is_overdue_by_its_own_cadence() -> None:
    """F193: the gap against the usual cadence, without any set-up."""
    week = 7 * 86_400.0
    assert overdue_time(NOW, [week]) is None
    assert overdue_time(NOW, [week, week, 100 * week]) == NOW + timedelta(seconds=1.5 * week)
    assert overdue_time(NOW, [3600.0, 3600.0]) == NOW + timedelta(days=1)


@pytest.mark.parametrize(
    ("kind", "texts", "reason"),
    [
        ("order_reminder", {"text_zh": "订单 {number} {secret}"}, "TEMPLATE_VARIABLE_UNKNOWN"),
        ("order_reminder", {"title_zh": " "}, "TEMPLATE_EMPTY"),
        ("order_reminder", {"title_zh": "长" * 101}, "TEMPLATE_LENGTH"),
    ],
)
def test_a_template_that_cannot_be_filled_is_refused(kind: str, texts: dict[str, str], reason: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_template(kind, texts)
    assert (refused.value.reason, refused.value.field) == (reason, next(iter(texts)))


def test_a_template_of_no_kind_is_not_found() -> None:
    with pytest.raises(NotFound):
        check_template("nonsense", {})


@given(st.text(max_size=30))
def test_a_value_is_put_in_as_it_is(value: str) -> None:
    """What a customer is called can never name another variable."""
    assert fill("{name}!{name}", {"name": value}) == f"{value}!{value}"


def test_every_kind_has_samples_for_its_preview() -> None:
    assert all(value for values in KINDS.values() for value in values.values())


def test_a_robot_is_signed_as_dingtalk_wants_it() -> None:
    """The documented recipe: base64 of HMAC-SHA256 over "timestamp\\nsecret", as a query parameter."""
    url = signed("https://oapi.dingtalk.com/robot/send?access_token=x", "SECabc", 1_700_000_000_000)
    assert url == (
        "https://oapi.dingtalk.com/robot/send?access_token=x&timestamp=1700000000000"
        "&sign=jcUpW0QmtKduN03n4JqQ0PBosVjqnM8gU7fIIvsDmCM%3D"
    )
