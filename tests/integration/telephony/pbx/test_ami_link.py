"""The AMI link against a scripted PBX: each guard that panoramisk lacks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from services.telephony.pbx.ami import (
    AmiDownError,
    AmiLink,
    AmiOutcomeUnknownError,
    AmiRefusedError,
    AmiSettings,
    Gap,
    LinkState,
    Received,
)
from tests.integration.telephony.pbx.ami_server import AmiServer, ami_server, block
from tests.support.until import soon

FAST = AmiSettings(
    host="127.0.0.1",
    port=0,
    user="crm",
    secret="right",
    connect_timeout_s=1.0,
    ping_interval_s=0.05,
    ping_timeout_s=0.2,
    backoff_first_s=0.01,
    backoff_cap_s=0.05,
    backoff_refused_s=0.05,
)


class Watched:
    """Hold a running link, and what it delivered and said."""

    def __init__(self, settings: AmiSettings) -> None:
        self.states: list[tuple[LinkState, str]] = []
        self.link = AmiLink(settings, lambda state, detail: self.states.append((state, detail)))
        self.items: list[Received | Gap] = []

    async def consume(self) -> None:
        async for batch in self.link.batches():
            self.items += batch

    def events(self) -> list[str]:
        return [str(item.event["Event"]) for item in self.items if isinstance(item, Received)]


@asynccontextmanager
async def running(
    server: AmiServer, settings: AmiSettings = FAST, consume: bool = True
) -> AsyncIterator[Watched]:
    watched = Watched(replace(settings, port=server.port))
    tasks = [asyncio.create_task(watched.link.run())]
    if consume:
        tasks.append(asyncio.create_task(watched.consume()))
    try:
        yield watched
    finally:
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks)


async def test_every_login_asks_for_a_resync() -> None:
    """After a reconnect the user of the link lists what lives."""
    async with ami_server() as server, running(server) as pbx:
        await soon(lambda: Gap("connected") in pbx.items)
        server.drop()
        await soon(lambda: pbx.items.count(Gap("connected")) == 2)
        assert [state for state, _ in pbx.states if state is not LinkState.CONNECTING] == [
            LinkState.READY,
            LinkState.DOWN,
            LinkState.READY,
        ]


async def test_what_comes_with_the_answer_to_the_login_stands_behind_the_gap() -> None:
    """An event before it would look as if nothing were missing."""
    async with ami_server() as server, running(server) as pbx:
        for logins in (1, 2):
            await soon(lambda logins=logins: pbx.events() == ["FullyBooted"] * logins)  # type: ignore[misc]  # a default binds it
            assert pbx.items[-2:-1] == [Gap("connected")]
            server.drop()


async def test_events_come_in_order_and_whole() -> None:
    async with ami_server() as server, running(server) as pbx:
        await soon(lambda: pbx.link.state is LinkState.READY)
        for byte in block("Event: Newchannel", "CallerIDName: 张三"):
            server.send(bytes([byte]))
            await asyncio.sleep(0)
        server.send(block("Event: Hangup"))
        await soon(lambda: pbx.events()[-2:] == ["Newchannel", "Hangup"])
        named = [item.event.get("CallerIDName") for item in pbx.items if isinstance(item, Received)]
        assert "张三" in named


async def test_a_refused_login_is_a_state_and_is_logged_once() -> None:
    """panoramisk says nothing and tries for ever."""
    with capture_logs() as logs:
        async with ami_server() as server, running(server, replace(FAST, secret="wrong")) as pbx:
            await soon(lambda: server.names().count("Login") >= 3)
            assert pbx.link.state is LinkState.REFUSED
            assert (LinkState.REFUSED, "Login: Authentication failed") in pbx.states
            with pytest.raises(AmiDownError, match="refused"):
                await pbx.link.action("Ping")
    assert [line["event"] for line in logs] == ["ami link is down"]


async def test_a_half_open_peer_is_noticed() -> None:
    """The watchdog's Ping has a deadline."""
    async with ami_server() as server, running(server) as pbx:
        await soon(lambda: pbx.link.state is LinkState.READY)
        server.silent = True
        await soon(lambda: pbx.link.state is LinkState.DOWN)
        assert "Ping: no answer within 0.2 s" in [detail for _, detail in pbx.states]
        server.silent = False
        await soon(lambda: pbx.link.state is LinkState.READY)


async def test_a_peer_that_never_answers_the_login_is_given_up() -> None:
    async with ami_server() as server:
        server.silent = True
        async with running(server, replace(FAST, connect_timeout_s=0.1)) as pbx:
            await soon(lambda: server.connections >= 2)
            assert (LinkState.DOWN, "Login: no answer within 0.1 s") in pbx.states


async def test_an_absent_pbx_is_found_when_it_comes() -> None:
    async with ami_server() as server:
        await server.stop()
        async with running(server) as pbx:
            await soon(lambda: [state for state, _ in pbx.states].count(LinkState.DOWN) >= 2)
            await server.start()
            await soon(lambda: pbx.link.state is LinkState.READY)


async def test_an_originate_without_an_answer_is_never_sent_again() -> None:
    """At most once to the outside world: an unknown outcome is not repeated."""
    async with ami_server() as server:
        server.answers["Originate"] = lambda action: b""
        async with running(server) as pbx:
            await soon(lambda: pbx.link.state is LinkState.READY)
            dialling = asyncio.create_task(pbx.link.action("Originate", {"Channel": "PJSIP/1001"}))
            await soon(lambda: "Originate" in server.names())
            server.drop()
            with pytest.raises(AmiOutcomeUnknownError, match="Originate"):
                await dialling
            await soon(lambda: pbx.items.count(Gap("connected")) == 2)
            await pbx.link.action("QueuePause", {"Interface": "PJSIP/1001"})
            assert server.names().count("Originate") == 1


async def test_an_accepted_originate_returns_at_once_and_its_response_is_an_event() -> None:
    """Accepted is not connected."""
    async with ami_server() as server:
        server.answers["Originate"] = lambda action: block(
            "Response: Success", f"ActionID: {action['ActionID']}", "Message: Originate successfully queued"
        )
        async with running(server) as pbx:
            await soon(lambda: pbx.link.state is LinkState.READY)
            answer = await pbx.link.action("Originate", {"Channel": "PJSIP/1001", "Async": "true"})
            assert answer["Message"] == "Originate successfully queued"
            server.send(
                block("Event: OriginateResponse", f"ActionID: {answer['ActionID']}", "Response: Failure")
            )
            await soon(lambda: "OriginateResponse" in pbx.events())


async def test_every_action_has_a_deadline_and_a_late_answer_harms_nothing() -> None:
    late: list[dict[str, str]] = []

    def swallow(action: dict[str, str]) -> bytes:
        late.append(action)
        return b""

    async with ami_server() as server:
        server.answers["QueuePause"] = swallow
        async with running(server) as pbx:
            await soon(lambda: pbx.link.state is LinkState.READY)
            with pytest.raises(AmiOutcomeUnknownError, match="no answer within"):
                await pbx.link.action("QueuePause", timeout_s=0.05)
            server.send(block("Response: Success", f"ActionID: {late[0]['ActionID']}"))
            await pbx.link.action("Getvar")
            assert pbx.link.state is LinkState.READY


async def test_a_refused_action_says_why() -> None:
    async with ami_server() as server:
        server.answers["CoreShowChannels"] = lambda action: block(
            "Response: Error", f"ActionID: {action['ActionID']}", "Message: Permission denied"
        )
        async with running(server) as pbx:
            await soon(lambda: pbx.link.state is LinkState.READY)
            with pytest.raises(AmiRefusedError, match="Permission denied"):
                await pbx.link.listing("CoreShowChannels")


@pytest.mark.parametrize("value", ["1001\r\nAction: Originate", "a\nb", "\x00", "\x7f"])
async def test_a_control_character_is_refused_before_anything_is_sent(value: str) -> None:
    """A CRLF inside a value would be a second command."""
    async with ami_server() as server, running(server) as pbx:
        await soon(lambda: pbx.link.state is LinkState.READY)
        with pytest.raises(ValueError, match="control character"):
            await pbx.link.action("Originate", {"Channel": value})
        with pytest.raises(ValueError, match="control character"):
            await pbx.link.action("Originate", {value: "1001"})
        assert server.names() == ["Login"]


@pytest.mark.parametrize("channels", [0, 1, 3])
async def test_a_list_is_returned_without_its_frame(channels: int) -> None:
    def answer(action: dict[str, str]) -> bytes:
        who = f"ActionID: {action['ActionID']}"
        rows = [block("Event: CoreShowChannel", who, f"Uniqueid: 1.{number}") for number in range(channels)]
        return b"".join(
            [
                block("Response: Success", who, "EventList: start", "Message: Channels will follow"),
                *rows,
                block(
                    "Event: CoreShowChannelsComplete", who, "EventList: Complete", f"ListItems: {channels}"
                ),
            ]
        )

    async with ami_server() as server:
        server.answers["CoreShowChannels"] = answer
        async with running(server) as pbx:
            await soon(lambda: pbx.link.state is LinkState.READY)
            rows = await pbx.link.listing("CoreShowChannels")
            assert [row["Uniqueid"] for row in rows] == [f"1.{number}" for number in range(channels)]


async def test_a_slow_consumer_loses_events_visibly() -> None:
    """The queue is bounded; where events are missing stands a Gap."""
    async with ami_server() as server, running(server, replace(FAST, queue_events=5), consume=False) as pbx:
        await soon(lambda: pbx.link.state is LinkState.READY)
        server.send(b"".join(block("Event: Newstate", f"Number: {number}") for number in range(20)))
        await soon(lambda: pbx.link.overflows == 17)
        consumer = asyncio.create_task(pbx.consume())
        await soon(lambda: len(pbx.items) == 6)
        assert pbx.items[-1] == Gap("overflow")
        server.send(block("Event: Hangup"))
        await soon(lambda: pbx.events()[-1] == "Hangup")
        consumer.cancel()


async def test_a_shutdown_of_the_pbx_is_noticed_and_it_is_found_again() -> None:
    """Asterisk restarted is found again."""
    async with ami_server() as server, running(server) as pbx:
        await soon(lambda: pbx.link.state is LinkState.READY)
        server.send(block("Event: Shutdown", "Shutdown: Cleanly", "Restart: True"))
        await soon(lambda: pbx.items.count(Gap("connected")) == 2)
        assert (LinkState.DOWN, "the PBX shuts down") in pbx.states


async def test_a_pbx_that_has_booted_asks_for_another_resync() -> None:
    """A PBX that starts lets us in before it has loaded its queues."""
    async with ami_server() as server, running(server) as pbx:
        await soon(lambda: Gap("connected") in pbx.items)
        before = len(pbx.items)
        server.send(block("Event: FullyBooted", "Status: Fully Booted"))
        await soon(lambda: pbx.items[before:].count(Gap("booted")) == 1)
