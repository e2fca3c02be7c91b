"""How much one may ask: of the rate what has passed, of a tenant what is at work, and nobody else pays for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.errors import Quota
from services.gateway import limits
from services.gateway.limits import Allowances, Buckets, Limits


class Clock:
    """A time that the test sets, in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return it."""
        return self.now


@given(waits=st.lists(st.floats(0, 3), max_size=200))
def test_whatever_the_rhythm_nobody_gets_more_than_the_rate_and_one_burst(waits: list[float]) -> None:
    clock = Clock()
    buckets = Buckets(rate=2.0, size=5.0, clock=clock)
    begin, given_out = clock.now, 0
    for wait_s in waits:
        clock.now += wait_s
        refused_for_s = buckets.take("a")
        given_out += not refused_for_s
        assert 0 <= refused_for_s <= 0.5 + 1e-9
        assert given_out <= 5 + (clock.now - begin) * 2.0 + 1e-6
    assert buckets.take("b") == 0


def test_an_account_that_runs_wild_is_told_when_to_come_back_and_others_are_not() -> None:
    clock = Clock()
    bounds = Limits(Allowances(requests_per_second=1, in_flight=0), clock)
    for _ in range(int(limits.BURST_S)):
        with bounds.request("tenant", "li"):
            pass
    with pytest.raises(Quota) as refused, bounds.request("tenant", "li"):
        pass
    assert (refused.value.reason, refused.value.retry_after_s) == ("TOO_MANY_REQUESTS", 1)
    with bounds.request("tenant", "wang"):
        pass
    clock.now += 1
    with bounds.request("tenant", "li"):
        pass


def test_a_tenant_has_so_many_requests_at_work_and_a_failed_one_is_over() -> None:
    bounds = Limits(Allowances(in_flight=1))
    with bounds.request("one", "li"):
        with pytest.raises(Quota) as refused, bounds.request("one", "wang"):
            pass
        assert refused.value.reason == "TENANT_BUSY"
        with bounds.request("two", "zhou"):
            pass
    with pytest.raises(KeyError), bounds.request("one", "li"):
        raise KeyError
    with bounds.request("one", "li"):
        pass


def test_sign_ins_are_counted_by_address() -> None:
    clock = Clock()
    bounds = Limits(Allowances(sign_ins_per_minute=2), clock)
    for _ in range(2):
        bounds.sign_in("10.0.0.1")
    with pytest.raises(Quota) as refused:
        bounds.sign_in("10.0.0.1")
    assert (refused.value.reason, refused.value.retry_after_s) == ("TOO_MANY_SIGN_INS", 30)
    bounds.sign_in("10.0.0.2")


def test_zero_is_no_bound() -> None:
    bounds = Limits(Allowances(0, 0, 0))
    for _ in range(10_000):
        bounds.sign_in("10.0.0.1")
        with bounds.request("tenant", "li"):
            pass
