"""A real Asterisk goes on while nobody follows it: afterwards each call is one call, with its own times."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from deploy.local.pbx.asterisk import PrivatePbx
from deploy.local.pbx.unpack import SUITE
from services.chassis.ids import new_id
from services.telephony.edges.pbx import PbxEdge
from services.telephony.pbx.ami import AmiSettings, LinkState
from services.telephony.pbx.vault import Vault
from services.telephony.settings import PbxSettings
from services.telephony.store.rows import Row
from tests.integration.telephony.conftest import Shop
from tests.integration.telephony.test_pbx_edge import Customers, order, orders, states
from tests.support.until import soon
from tests.unit.telephony.pbx.transcripts import TRUNKS

ANSWERED, WHOLE, MISSED = "13800138001", "13800138002", "13800138003"


@pytest.fixture(scope="module")
def pbx() -> Iterator[PrivatePbx]:
    with PrivatePbx(ring_s=1, suite=os.environ.get("ASTERISK_SUITE") or SUITE) as running:
        running.set_ring("1002", 600)
        yield running


@asynccontextmanager
async def following(
    shop: Shop,
    pbx: PrivatePbx,
    events: Path | None = None,
    backoff_s: float = 0.05,
    vault: Vault | None = None,
) -> AsyncIterator[PbxEdge]:
    """Run an edge on the real PBX; at the end it is killed, not drained."""
    host, _, port = pbx.ami_address.partition(":")
    ami = AmiSettings(
        host, int(port), pbx.ami_user, pbx.ami_secret, backoff_first_s=backoff_s, backoff_cap_s=backoff_s
    )
    settings = PbxSettings(shop.pbx, ami, TRUNKS, pbx.recordings if vault else None, events or pbx.events)
    edge = PbxEdge(settings, shop.store, Customers(), vault)
    work = asyncio.create_task(edge.run())
    try:
        await soon(lambda: edge._link.state is LinkState.READY and edge._followed_s > 1)
        yield edge
    finally:
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work
        edge.close()
        for pool in (edge._writer, edge._files, edge._keeper, edge._orders._thread, edge._queues._thread):
            await asyncio.to_thread(pool.shutdown)


def ask(pbx: PrivatePbx, action: str, until: str) -> list[str]:
    """Send one action and return the lines up to one that begins with `until`."""
    host, _, port = pbx.ami_address.partition(":")
    login = f"Action: Login\r\nUsername: {pbx.ami_user}\r\nSecret: {pbx.ami_secret}\r\nEvents: off\r\n\r\n"
    with socket.create_connection((host, int(port)), 5) as link, link.makefile("r", newline="\r\n") as lines:
        link.sendall(login.encode())
        while lines.readline() != "Message: Authentication accepted\r\n":
            pass
        link.sendall(f"{action}\r\nActionID: asked\r\n\r\n".encode())
        found: list[str] = []
        for line in lines:
            found.append(line.strip())
            if line.startswith(until):
                return found
    raise AssertionError(f"AMI closed the connection behind {found}")


def channels(pbx: PrivatePbx, prefix: str) -> Sequence[str]:
    """Return the live channels whose name begins so."""
    listed = ask(pbx, "Action: CoreShowChannels", "Event: CoreShowChannelsComplete")
    names = [line.removeprefix("Channel: ") for line in listed if line.startswith("Channel: ")]
    return [name for name in names if name.startswith(prefix)]


def by_number(shop: Shop) -> dict[str, Row]:
    rows = shop.rows("call")
    found = {row["number"].removeprefix("+86"): row for row in rows}
    assert len(found) == len(rows)
    return found


def talk_s(row: Row) -> float:
    return float((row["end_time"] - row["answer_time"]).total_seconds())


async def test_what_ended_and_what_came_and_went_meanwhile_is_told_by_the_log(
    main_shop: Shop, pbx: PrivatePbx
) -> None:
    """Decision 13: an edge that was killed in mid-call; nothing is lost, nothing is counted twice."""
    main_shop.line("did", "4001")
    main_shop.line("did", "4002")
    main_shop.agent("王小明", "1001")
    main_shop.agent("李雷", "1002")
    async with following(main_shop, pbx) as edge:
        answered = pbx.call(ANSWERED, to="4001", seconds=3)
        await soon(lambda: "TALKING" in states(main_shop))
        await soon(lambda: not edge._changed and not edge._writing)
    # Nobody follows it from here on.
    whole = pbx.call(WHOLE, to="4001", seconds=1)
    missed = pbx.call(MISSED, to="4002", seconds=1)
    await soon(lambda: not whole.alive and channels(pbx, "PJSIP/1002"))
    (ringing,) = channels(pbx, "PJSIP/1002")
    assert ringing
    trunk = channels(pbx, "PJSIP/trunk")[-1]
    ask(pbx, f"Action: Hangup\r\nChannel: {trunk}", "Response: Success")
    await soon(lambda: not answered.alive and not missed.alive and not channels(pbx, "PJSIP/"))
    assert [row["number"] for row in main_shop.rows("call")] == [f"+86{ANSWERED}"]
    async with following(main_shop, pbx):
        await soon(lambda: len(main_shop.events("call_ended")) == 3)
    found = by_number(main_shop)
    assert {number: row["state"] for number, row in found.items()} == {
        ANSWERED: "ended",
        WHOLE: "ended",
        MISSED: "missed",
    }
    assert not any(row["lost"] for row in found.values())
    assert talk_s(found[ANSWERED]) == pytest.approx(3, abs=0.3)
    assert talk_s(found[WHOLE]) == pytest.approx(1, abs=0.3)
    legs = {row["call_id"]: row for row in main_shop.rows("leg")}
    assert legs[found[WHOLE]["id"]]["extension"] == "1001"
    told = {event.data["callId"]: event.data["talkSeconds"] for event in main_shop.events("call_ended")}
    assert told[found[ANSWERED]["id"]] == pytest.approx(3, abs=0.3)
    assert states(main_shop) == ["RINGING", "TALKING", "WRAP_UP"]
    # Who comes back once more finds nothing new.
    async with following(main_shop, pbx) as edge:
        await asyncio.gather(*edge._tasks)
        await soon(lambda: not edge._changed and not edge._writing)
    assert len(main_shop.events("call_ended")) == 3
    assert by_number(main_shop) == found


async def test_a_link_that_drops_in_mid_call_costs_no_second_of_talk(
    main_shop: Shop, pbx: PrivatePbx
) -> None:
    main_shop.line("did", "4001")
    main_shop.agent("王小明", "1001")
    async with following(main_shop, pbx, backoff_s=6) as edge:
        call = pbx.call(ANSWERED, to="4001", seconds=0.5)
        await soon(lambda: "RINGING" in states(main_shop))
        assert edge._link._connection
        edge._link._connection.abort()
        # The answer and the hang-up fall into the gap.
        await soon(lambda: not call.alive and not channels(pbx, "PJSIP/"))
        assert edge._link.state is LinkState.DOWN
        await soon(lambda: main_shop.events("call_ended"))
    row = main_shop.row("call")
    assert (row["state"], row["lost"]) == ("ended", False)
    assert talk_s(row) == pytest.approx(0.5, abs=0.3)


async def test_without_a_log_what_ended_meanwhile_is_marked_lost(
    main_shop: Shop, pbx: PrivatePbx, tmp_path: Path
) -> None:
    main_shop.line("did", "4001")
    main_shop.agent("王小明", "1001")
    async with following(main_shop, pbx, tmp_path / "nothing.csv"):
        call = pbx.call(ANSWERED, to="4001", seconds=1)
        await soon(lambda: "TALKING" in states(main_shop))
    await soon(lambda: not call.alive and not channels(pbx, "PJSIP/"))
    async with following(main_shop, pbx, tmp_path / "nothing.csv"):
        await soon(lambda: main_shop.events("call_ended"))
    assert main_shop.row("call")["lost"]


async def test_a_dialled_call_rings_the_agent_then_goes_out_and_its_recording_pauses(
    main_shop: Shop, pbx: PrivatePbx
) -> None:
    """F226; MixMonitorMute, with the rights that the product's AMI user has."""
    agent = main_shop.agent("王小明", "1001")
    async with following(main_shop, pbx) as edge:
        dialled = order(main_shop, linked_id=f"dial-{new_id()}")
        await soon(lambda: any(row["state"] == "answered" for row in main_shop.rows("call")))
        assert orders(main_shop)[dialled] == ("accepted", "")
        rows = main_shop.rows("call")
        assert len(rows) == 1, rows
        linked_id = rows[0]["linked_id"]
        paused = order(main_shop, kind="pause", linked_id=linked_id)
        await soon(lambda: orders(main_shop)[paused] == ("accepted", ""))
        await edge._link.action("Hangup", {"Channel": channels(pbx, "PJSIP/1001")[0]})
        await soon(lambda: main_shop.events("call_ended"))
    (row,) = main_shop.rows("call")
    assert (row["direction"], row["number"], row["origin_person_id"]) == ("outbound", "+8613900139000", agent)
