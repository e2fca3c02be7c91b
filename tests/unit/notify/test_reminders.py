"""What becomes of a reminder, and what its texts say."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.notify.domain import texts
from services.notify.domain.reminders import OPEN_TO_NEWS, ReminderState, is_news, next_attempt

NOW = datetime(2026, 3, 1, 16, 30, tzinfo=UTC)
TOLD = (ReminderState.SENT, ReminderState.DELIVERED, ReminderState.FAILED, ReminderState.UNCERTAIN)


def heard(news: list[tuple[int, ReminderState]]) -> ReminderState:
    """Return the state after these (version, state) came in this order."""
    state, last = ReminderState.SENDING, 0
    for version, told in news:
        if is_news(state, last, version):
            state, last = told, version
    return state


@given(
    st.lists(st.sampled_from([s for s in TOLD if s is not ReminderState.DELIVERED]), max_size=4), st.randoms()
)
def test_news_in_any_order_and_number_end_as_the_newest_says(
    told: list[ReminderState], random: object
) -> None:
    """O16: the fate never goes backwards, whichever queue was faster."""
    news = list(enumerate([*told, ReminderState.DELIVERED], start=2))
    shuffled = news * 2
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # Hypothesis's own Random
    assert heard(shuffled) is ReminderState.DELIVERED
    without_end = news[:-1] * 2
    random.shuffle(without_end)  # type: ignore[attr-defined]  # Hypothesis's own Random
    assert heard(without_end) is (told[-1] if told else ReminderState.SENDING)


def test_nothing_is_heard_after_delivery_or_where_no_sms_is() -> None:
    for state in set(ReminderState) - OPEN_TO_NEWS:
        assert not is_news(state, 0, 99)
    assert ReminderState.DELIVERED not in OPEN_TO_NEWS


def test_tries_come_less_and_less_often() -> None:
    delays = [(next_attempt(attempts, NOW) - NOW).total_seconds() for attempts in range(1, 50)]
    assert delays[:4] == [5, 10, 20, 40]
    assert max(delays) == 300
    assert delays == sorted(delays)


def test_the_sms_names_tenant_and_order_and_stays_short() -> None:
    """F188."""
    assert texts.order_sms("云海", "SO-20260301-1", "空调 10 台") == (
        "【云海CRM】订单 SO-20260301-1（空调 10 台）已超过处理时限，请尽快处理。"
    )
    assert texts.order_sms("", "1", "x").startswith("【公海CRM】")
    assert len(texts.order_sms("云海", "SO-20260301-1", "长" * 500)) < 100


def test_times_in_texts_are_chinas() -> None:
    words = texts.reclaim_warned("上海某某", NOW + timedelta(hours=1))
    assert "2026年03月02日 01:30" in words.text_zh
    assert "2026-03-02 01:30" in words.text_en
    assert "即将" in texts.reclaim_warned("上海某某", None).text_zh
