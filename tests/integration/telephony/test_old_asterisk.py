"""The oldest Asterisk that is supported: the same scenarios come to the same calls as on the newest one."""

from collections.abc import Iterator

import pytest

from deploy.local.pbx.asterisk import PrivatePbx
from deploy.local.pbx.unpack import OLD_SUITE
from services.chassis.ids import new_id
from tests.integration.telephony.conftest import Shop
from tests.integration.telephony.test_back_fill import (
    ANSWERED,
    MISSED,
    WHOLE,
    channels,
    following,
    talk_s,
)
from tests.integration.telephony.test_pbx_edge import order, orders, states
from tests.support.until import soon


@pytest.fixture(scope="module")
def pbx() -> Iterator[PrivatePbx]:
    """An Asterisk 16 with the product's own configuration."""
    with PrivatePbx(ring_s=1, suite=OLD_SUITE) as running:
        running.set_ring("1002", 600)
        yield running


def test_it_is_the_old_one(pbx: PrivatePbx) -> None:
    assert pbx.version.startswith("Asterisk 16.")


async def test_calls_pop_talk_are_missed_and_found_again_as_on_the_new_one(
    main_shop: Shop, pbx: PrivatePbx
) -> None:
    """Event changes between Asterisk versions; decision 13 by the old one's log of channel events."""
    for did in ("4001", "4002"):
        main_shop.line("did", did)
    main_shop.agent("王小明", "1001")
    main_shop.agent("李雷", "1002")
    async with following(main_shop, pbx):
        call = pbx.call(ANSWERED, to="4001", seconds=1)
        await soon(lambda: main_shop.events("call_ended"))
        assert states(main_shop) == ["RINGING", "TALKING", "WRAP_UP"]
        missed = pbx.call(MISSED, to="4002", seconds=1)
        await soon(lambda: states(main_shop)[-1] == "RINGING")
        missed.kill()
        await soon(lambda: not call.alive and channels(pbx, "PJSIP/1002"))
    # Nobody follows it from here on.
    whole = pbx.call(WHOLE, to="4001", seconds=1)
    await soon(lambda: not whole.alive and not channels(pbx, "PJSIP/1001"))
    async with following(main_shop, pbx):
        await soon(lambda: len(main_shop.events("call_ended")) == 2)
    found = {row["number"].removeprefix("+86"): row for row in main_shop.rows("call")}
    assert len(main_shop.rows("call")) == 3
    for number in (ANSWERED, WHOLE):
        assert (found[number]["state"], found[number]["lost"]) == ("ended", False)
        assert talk_s(found[number]) == pytest.approx(1, abs=0.4)
    assert [row["path"].endswith(".wav") for row in main_shop.rows("recording")] == [True, True]


async def test_a_dialled_call_goes_out_and_its_recording_pauses(main_shop: Shop, pbx: PrivatePbx) -> None:
    """F226; MixMonitorMute and QueuePause with the old one's rights."""
    agent = main_shop.agent("王小明", "1001")
    async with following(main_shop, pbx) as edge:
        dialled = order(main_shop, linked_id=f"dial-{new_id()}")
        await soon(lambda: any(row["state"] == "answered" for row in main_shop.rows("call")))
        assert orders(main_shop)[dialled] == ("accepted", "")
        paused = order(main_shop, kind="pause", linked_id=main_shop.rows("call")[0]["linked_id"])
        await soon(lambda: orders(main_shop)[paused] == ("accepted", ""))
        await edge._link.action("Hangup", {"Channel": channels(pbx, "PJSIP/1001")[0]})
        await soon(lambda: main_shop.events("call_ended"))
    (row,) = main_shop.rows("call")
    assert (row["direction"], row["number"], row["origin_person_id"]) == ("outbound", "+8613900139000", agent)
