"""Turns: so many at once, in the order in which they came, whatever becomes of those before."""

from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import Event

import pytest

from services.chassis.turns import Turns
from tests.support.until import until

WORKERS = 8


def test_so_many_are_in_at_once_and_the_others_follow_in_the_order_of_their_coming() -> None:
    turns, order = Turns(2), list[int]()
    may_go = [Event() for _ in range(WORKERS)]

    def work(number: int) -> None:
        with turns.turn():
            order.append(number)
            may_go[number].wait(30)

    def all_are_there(count: int) -> bool:
        return len(order) + turns.waiting == count

    def are_in(count: int) -> bool:
        return len(order) == count

    with ThreadPoolExecutor(WORKERS) as threads:
        done = list[Future[None]]()
        for number in range(WORKERS):
            done.append(threads.submit(work, number))
            until(partial(all_are_there, number + 1))
        assert order == [0, 1]
        # The second is done before the first: who waits longest has its turn.
        for count, number in enumerate((1, 0, *range(2, WORKERS)), start=1):
            may_go[number].set()
            done[number].result(30)
            # Whose turn it is now is in before the next one goes.
            until(partial(are_in, min(count + 2, WORKERS)))
    assert order == list(range(WORKERS))
    assert turns.waiting == 0


def test_a_turn_that_fails_is_passed_on() -> None:
    turns = Turns(1)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), turns.turn():
            raise ZeroDivisionError
    with turns.turn():
        assert turns.waiting == 0
