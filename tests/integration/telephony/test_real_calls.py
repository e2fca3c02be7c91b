"""Scenarios on a real Asterisk, each with exactly its pops, legs, talk times, missed callers and recording.

On the newest one, and by `make test-asterisk-16` on the oldest.
"""

import asyncio
import os
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.local.pbx.asterisk import PrivatePbx
from deploy.local.pbx.unpack import SUITE
from deploy.local.process import Process
from services.telephony.pbx.vault import Vault
from services.telephony.store.rows import Row
from services.telephony.usecases.missed import take_ended_call
from tests.integration.telephony.conftest import Shop
from tests.integration.telephony.test_back_fill import ask, channels, following, talk_s
from tests.integration.telephony.test_pbx_edge import states
from tests.support.until import soon

CALLER = "13800138004"
PEOPLE = {"1001": "王小明", "1002": "李雷", "1003": "韩梅梅"}
WHOLE = ["RINGING", "TALKING", "WRAP_UP"]
GONE = ["RINGING", "WITHDRAWN"]
# How far a time may be from what it should be, in seconds.
TOLERANCE_S = 0.7

Play = Callable[[Shop, PrivatePbx], Awaitable[Process]]


@pytest.fixture(scope="module")
def pbx() -> Iterator[PrivatePbx]:
    with PrivatePbx(ring_s=1, suite=os.environ.get("ASTERISK_SUITE") or SUITE) as running:
        running.set_ring("1002", 600)
        running.set_ring("1003", 2.5)
        yield running


@dataclass(frozen=True)
class Expected:
    """What a scenario comes to, times in seconds. legs: extension to talk, None where it was not answered."""

    talk: float | None
    legs: Mapping[str, float | None]
    pops: Mapping[str, Sequence[str]]
    recording: float | None
    queue: str = ""


async def direct(shop: Shop, pbx: PrivatePbx) -> Process:
    call = pbx.call(CALLER, to="4001", seconds=2)
    await soon(lambda: states(shop)[-1:] == ["WRAP_UP"])
    return call


async def ring_all(shop: Shop, pbx: PrivatePbx) -> Process:
    call = pbx.call(CALLER, to="4000", seconds=3)
    await soon(lambda: "WRAP_UP" in states(shop))
    return call


async def abandoned(shop: Shop, pbx: PrivatePbx) -> Process:
    call = pbx.call(CALLER, to="4000", seconds=0.6)
    await soon(lambda: "WITHDRAWN" in states(shop))
    return call


async def unanswered(shop: Shop, pbx: PrivatePbx) -> Process:
    call = pbx.call(CALLER, to="4002", seconds=1)
    await soon(lambda: states(shop) == ["RINGING"])
    ask(pbx, f"Action: Hangup\r\nChannel: {channels(pbx, 'PJSIP/trunk')[0]}", "Response: Success")
    return call


async def blind_transfer(shop: Shop, pbx: PrivatePbx) -> Process:
    call = pbx.call(CALLER, to="4001", seconds=7)
    await soon(lambda: states(shop) == ["RINGING", "TALKING"])
    # A second of talk before it.
    await asyncio.sleep(1)
    (agent,) = channels(pbx, "PJSIP/1001")
    transfer = f"Action: BlindTransfer\r\nChannel: {agent}\r\nContext: from-agents\r\nExten: 1003"
    ask(pbx, transfer, "Response: Success")
    await soon(lambda: states(shop).count("WRAP_UP") == 2)
    return call


SCENARIOS: Mapping[Play, Expected] = {
    direct: Expected(2, {"1001": 2}, {"1001": WHOLE}, 2),
    ring_all: Expected(
        2,
        {"1001": 2, "1002": None, "1003": None, "1004": None},
        {"1001": WHOLE, "1002": GONE, "1003": GONE},
        2,
        queue="sales",
    ),
    abandoned: Expected(
        None,
        {"1001": None, "1002": None, "1003": None, "1004": None},
        {"1001": GONE, "1002": GONE, "1003": GONE},
        None,
        queue="sales",
    ),
    unanswered: Expected(None, {"1002": None}, {"1002": GONE}, None),
    # The second one rings for two seconds and a half.
    blind_transfer: Expected(7, {"1001": 1, "1003": 3.5}, {"1001": WHOLE, "1003": WHOLE}, 4.5),
}


def talked(leg: Row) -> float | None:
    return talk_s(leg) if leg["answer_time"] else None


def about(seconds: float | None) -> object:
    return None if seconds is None else pytest.approx(seconds, abs=TOLERANCE_S)


@pytest.mark.parametrize("play", SCENARIOS, ids=lambda play: play.__name__)
async def test_a_call_is_one_call_with_exactly_what_happened(
    main_shop: Shop, pbx: PrivatePbx, tmp_path: Path, play: Play
) -> None:
    """F218, F219, F220."""
    expected = SCENARIOS[play]
    for did in ("4000", "4001", "4002"):
        main_shop.line("did", did)
    persons = {main_shop.agent(name, extension): extension for extension, name in PEOPLE.items()}
    async with following(main_shop, pbx, vault=Vault(str(tmp_path))):
        call = await play(main_shop, pbx)
        await soon(lambda: main_shop.events("call_ended"))
        await soon(lambda: all(row["state"] != "pending" for row in main_shop.rows("recording")))
    await soon(lambda: not call.alive and not channels(pbx, "PJSIP/"))
    row = main_shop.row("call")
    answered = expected.talk is not None
    assert (row["state"], row["lost"], row["queue"]) == (
        "ended" if answered else "missed",
        False,
        expected.queue,
    )
    assert (talk_s(row) if answered else None) == about(expected.talk)
    legs = {leg["extension"]: talked(leg) for leg in main_shop.rows("leg")}
    assert len(legs) == len(main_shop.rows("leg"))
    assert legs == {extension: about(talk) for extension, talk in expected.legs.items()}
    pops: dict[str, list[str]] = defaultdict(list)
    for event in main_shop.events("pop_changed"):
        state = event.data["state"].removeprefix("POP_STATE_")
        if pops[persons[event.data["personId"]]][-1:] != [state]:
            pops[persons[event.data["personId"]]].append(state)
    assert pops == expected.pops
    kept = [found["duration_s"] for found in main_shop.rows("recording") if found["state"] == "kept"]
    assert kept == ([about(expected.recording)] if answered else [])
    with main_shop.store.transaction(main_shop.tenant) as tx:
        take_ended_call(tx, row["id"])
    assert [item["call_count"] for item in main_shop.rows("missed_caller")] == ([] if answered else [1])
