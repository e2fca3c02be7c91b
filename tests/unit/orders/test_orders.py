"""The states of an order, its number and the limits of its settings."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.errors import InvalidInput, RuleViolation
from services.orders.domain.numbers import business_day, order_number
from services.orders.domain.settings import check_handle_within
from services.orders.domain.states import (
    OWNER_ACTIONS,
    TRANSITIONS,
    OrderAction,
    OrderState,
    is_handling,
    next_state,
    owner_actions,
)


@given(st.lists(st.sampled_from(OrderAction), max_size=30))
def test_an_order_is_first_handled_once_and_never_changed_by_its_owner_while_it_is_submitted(
    actions: list[OrderAction],
) -> None:
    """O15; only approvals move a submitted order, and only a submitted one."""
    state, handled = OrderState.GENERATED, 0
    for action in actions:
        if state not in TRANSITIONS[action]:
            with pytest.raises(RuleViolation, match="ORDER_STATE"):
                next_state(state, action)
            continue
        after = next_state(state, action)
        assert (state is OrderState.SUBMITTED) == (action not in (*OWNER_ACTIONS, OrderAction.UPDATE))
        assert state is not OrderState.CLOSED
        # Filled in, it is where it was (O15).
        handled += after is not state and is_handling(state)
        state = after
    assert handled == (state is not OrderState.GENERATED)


@given(st.sampled_from(OrderState))
def test_what_is_offered_to_the_owner_is_what_the_table_allows(state: OrderState) -> None:
    for action in OWNER_ACTIONS:
        if action in owner_actions(state):
            next_state(state, action)
        else:
            with pytest.raises(RuleViolation):
                next_state(state, action)


@pytest.mark.parametrize(
    ("time", "count", "number"),
    [
        (datetime(2026, 11, 22, 1, tzinfo=UTC), 1, "SO20261122-0001"),
        # Midnight in China is 16:00 UTC.
        (datetime(2026, 11, 22, 15, 59, 59, tzinfo=UTC), 42, "SO20261122-0042"),
        (datetime(2026, 11, 22, 16, tzinfo=UTC), 1, "SO20261123-0001"),
        (datetime(2026, 1, 1, tzinfo=UTC), 10_000, "SO20260101-10000"),
    ],
)
def test_a_number_names_the_day_in_china(time: datetime, count: int, number: str) -> None:
    assert order_number(business_day(time), count) == number


@pytest.mark.parametrize("value", [timedelta(seconds=1), timedelta(hours=24), timedelta(days=30)])
def test_the_limits_themselves_are_allowed(value: timedelta) -> None:
    assert check_handle_within(value) == value


@pytest.mark.parametrize(
    "value",
    [timedelta(0), timedelta(seconds=-1), timedelta(milliseconds=999), timedelta(days=30, microseconds=1)],
)
def test_beyond_the_limits_is_refused_with_the_field(value: timedelta) -> None:
    with pytest.raises(InvalidInput, match="HANDLE_WITHIN_OUT_OF_RANGE") as refused:
        check_handle_within(value)
    assert refused.value.field == "settings.handle_within"
