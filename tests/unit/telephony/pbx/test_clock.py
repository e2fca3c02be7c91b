"""The PBX's own times of events, on our clock."""

from hypothesis import given
from hypothesis import strategies as st

from services.telephony.pbx.ami import PbxClock

# Seconds that an event waits for us to read it.
DELAYS = st.lists(st.floats(0, 5), min_size=1, max_size=30)
# How far two clocks may have drifted apart in half a minute, in seconds.
DRIFTED_S = 0.005


@given(DELAYS, st.floats(-5000, 5000))
def test_what_is_read_late_happened_when_the_pbx_says(delays: list[float], ahead_s: float) -> None:
    """A talk of a second is one, whatever else the machine had to do; the PBX's clock may be any."""
    clock = PbxClock()
    happened = [1_000_000.0 + number for number in range(len(delays) + 1)]
    # One of them at least is read at once.
    for happened_s, delay_s in zip(happened, [0.0, *delays], strict=True):
        found_s = clock.time_of(str(happened_s + ahead_s), happened_s + delay_s)
        assert abs(found_s - happened_s) < DRIFTED_S


def test_a_pbx_that_tells_no_times_or_nonsense_is_read_as_it_comes() -> None:
    clock = PbxClock()
    assert [clock.time_of(told, 5.0) for told in ("", "soon", "nan", "inf")] == [5.0] * 4


@given(DELAYS, st.floats(-5000, 5000), st.floats(0, 0.01))
def test_what_a_busy_machine_reads_late_from_the_first_on_is_known_to_be_late(
    delays: list[float], ahead_s: float, way_s: float
) -> None:
    """A link that comes up on a machine without time: a Ping tells how old what it reads is."""
    clock = PbxClock()
    clock.answered(str(1_000_000.0 + way_s + ahead_s), 1_000_000.0)
    for number, delay_s in enumerate(delays):
        happened_s = 1_000_001.0 + number
        found_s = clock.time_of(str(happened_s + ahead_s), happened_s + way_s + delay_s)
        assert abs(found_s - happened_s) < way_s + DRIFTED_S


def test_a_machine_that_is_late_for_an_hour_takes_no_delay_for_the_clock() -> None:
    clock = PbxClock()
    clock.time_of("1000", 1000.0)
    for second in range(1010, 4600, 10):
        # Read three seconds late, and so is the answer to each Ping.
        clock.answered(str(second), second)
        found_s = clock.time_of(str(second), second + 3.0)
        assert abs(found_s - second) < 0.5


def test_a_clock_that_was_put_right_is_followed() -> None:
    clock = PbxClock()
    clock.time_of("1000", 1000.0)
    # Seven seconds back: by the next Ping; seven on: at once.
    clock.answered("1003", 1010.0)
    assert clock.time_of("1004", 1011.0) == 1011.0
    assert clock.time_of("1012", 1012.0) == 1012.0


@given(DELAYS)
def test_what_follows_never_happened_before(delays: list[float]) -> None:
    clock = PbxClock()
    # In the order in which they are read.
    arrivals = sorted(number + delay_s for number, delay_s in enumerate(delays))
    found = [clock.time_of(str(number), arrival_s) for number, arrival_s in enumerate(arrivals)]
    assert found == sorted(found)
