"""The PBX's own times of events, on our clock."""

from hypothesis import given
from hypothesis import strategies as st

from services.telephony.pbx.ami import CLOCK_WINDOW_S, PbxClock

# Seconds that an event waits for us to read it.
DELAYS = st.lists(st.floats(0, 5), min_size=1, max_size=30)


@given(DELAYS, st.floats(-5000, 5000))
def test_what_is_read_late_happened_when_the_pbx_says(delays: list[float], ahead_s: float) -> None:
    """A talk of a second is one, whatever else the machine had to do; the PBX's clock may be any."""
    clock = PbxClock()
    happened = [1_000_000.0 + number for number in range(len(delays) + 1)]
    # One of them at least is read at once.
    for happened_s, delay_s in zip(happened, [0.0, *delays], strict=True):
        found_s = clock.time_of(str(happened_s + ahead_s), happened_s + delay_s)
        assert abs(found_s - happened_s) < 1e-6


def test_a_pbx_that_tells_no_times_or_nonsense_is_read_as_it_comes() -> None:
    clock = PbxClock()
    assert [clock.time_of(told, 5.0) for told in ("", "soon", "nan", "inf")] == [5.0] * 4


def test_a_clock_that_was_put_right_is_followed() -> None:
    clock = PbxClock()
    clock.time_of("1000", 1000.0)
    for minute in range(1, 4):
        arrival_s = 1000 + minute * CLOCK_WINDOW_S
        found_s = clock.time_of(str(arrival_s - 7), arrival_s)
    assert found_s == arrival_s


@given(DELAYS)
def test_what_follows_never_happened_before(delays: list[float]) -> None:
    clock = PbxClock()
    # In the order in which they are read.
    arrivals = sorted(number + delay_s for number, delay_s in enumerate(delays))
    found = [clock.time_of(str(number), arrival_s) for number, arrival_s in enumerate(arrivals)]
    assert found == sorted(found)
