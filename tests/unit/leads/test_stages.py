"""The stages of opportunities: what may be set, what is forecast, how long each lasted."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.errors import InvalidInput
from services.leads.domain.stages import Stage, check_stages, stays, weighted

START = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.mark.parametrize(
    ("stages", "field"),
    [
        ([], "stages"),
        ([Stage(str(n), str(n), 0) for n in range(21)], "stages"),
        ([Stage("a", "一", 10), Stage("b", "一", 20)], "stages[1].name"),
        ([Stage("a", "一", 10), Stage("a", "二", 20)], "stages[1].name"),
        ([Stage("a", " ", 10)], "stages[0].name"),
        ([Stage("a", "一", 101)], "stages[0].probability"),
        ([Stage("a", "一", -1)], "stages[0].probability"),
    ],
)
def test_stages_that_make_no_sense_are_refused_with_the_field(stages: list[Stage], field: str) -> None:
    """F78."""
    with pytest.raises(InvalidInput) as refused:
        check_stages(stages)
    assert refused.value.field == field


def test_a_forecast_is_exact_to_the_cent() -> None:
    """F80."""
    assert weighted(Decimal("0.01"), 50) == Decimal("0.01")
    assert weighted(Decimal("12000.10"), 33) == Decimal("3960.03")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 10**6)), min_size=1, max_size=10))
def test_the_stays_together_are_the_whole_life(steps: list[tuple[str, int]]) -> None:
    """F79: whatever way it went, no second is lost or counted twice."""
    time, entries = START, []
    for stage_id, seconds in steps:
        entries.append((stage_id, time))
        time += timedelta(seconds=seconds)
    assert sum(stays(entries, time).values()) == (time - START).total_seconds()
