"""The PBX edge between a scripted PBX and a real database."""

import asyncio
import io
import math
import os
import threading
import wave
from array import array
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import insert, update

from services.chassis.db import Store, Transaction
from services.chassis.errors import Unavailable
from services.chassis.ids import new_id
from services.chassis.settings import HOME_DATABASE, Settings
from services.chassis.tenancy import Tenant
from services.telephony.edges.lease import Lease
from services.telephony.edges.pbx import SETTLE_S, WRITERS, PbxEdge
from services.telephony.pbx.ami import AmiSettings
from services.telephony.pbx.spool import read_since
from services.telephony.pbx.vault import Vault
from services.telephony.settings import PbxSettings
from services.telephony.store import tables
from services.telephony.usecases import agents, staff
from services.telephony.usecases.calls import Caller
from services.telephony.usecases.progress import save_followed_until
from tests.integration.telephony.conftest import Shop
from tests.integration.telephony.pbx.ami_server import AmiServer, ami_server, block
from tests.support.until import soon
from tests.unit.telephony.pbx.test_scenarios import LEAN
from tests.unit.telephony.pbx.transcripts import TRUNKS, raw

RIVERA = Caller("0a000000-0000-4000-8000-000000000001", "上海云海", reasons=("exact_number",))


@dataclass
class Customers:
    """Say who is calling; `gate` holds the answer back, `down` refuses."""

    found: Sequence[Caller] = (RIVERA,)
    gate: threading.Event | None = None
    down: bool = False
    asked: list[tuple[Tenant, str]] = field(default_factory=list)

    def callers(self, tenant: Tenant, number: str, timeout_s: float) -> Sequence[Caller]:
        self.asked.append((tenant, number))
        if self.gate is not None:
            self.gate.wait(timeout_s)
        if self.down:
            raise Unavailable("SERVICE_UNAVAILABLE", "服务暂不可用", "The service is unavailable")
        return self.found


def blocks(name: str) -> list[bytes]:
    """Return a transcript's events as they were sent, without those that belong to the login."""
    parts = [part + b"\r\n\r\n" for part in raw(name).split(b"\r\n\r\n") if b"Event: " in part]
    return [part for part in parts if b"Event: FullyBooted" not in part]


def cut_at(name: str, *words: bytes) -> tuple[bytes, bytes]:
    """Return a transcript in two: up to and with the first event that has all these words, and the rest."""
    parts = blocks(name)
    number = next(place for place, part in enumerate(parts) if all(word in part for word in words))
    return b"".join(parts[: number + 1]), b"".join(parts[number + 1 :])


RINGING = (b"Event: Newstate", b"ChannelStateDesc: Ringing")
ANSWERED = (b"Event: DialEnd", b"DialStatus: ANSWER")


def lists_nothing(server: AmiServer) -> None:
    """Let the PBX have no live channels and no queues."""
    lists(server, [])


def lists(server: AmiServer, channels: Sequence[bytes]) -> None:
    """Let the PBX answer CoreShowChannels with these events."""

    def answer(event: str, rows: Sequence[bytes]) -> Callable[[dict[str, str]], bytes]:
        def text(action: dict[str, str]) -> bytes:
            who = f"ActionID: {action['ActionID']}"
            own = [row.replace(b"ActionID: live", who.encode()) for row in rows]
            return b"".join(
                [
                    block("Response: Success", who, "EventList: start", "Message: will follow"),
                    *own,
                    block(f"Event: {event}Complete", who, "EventList: Complete"),
                ]
            )

        return text

    server.answers["CoreShowChannels"] = answer("CoreShowChannels", channels)
    server.answers["QueueStatus"] = answer("QueueStatus", [])


def settings_of(
    shop: Shop, server: AmiServer, recordings: Path | None = None, events: Path | None = None
) -> PbxSettings:
    ami = AmiSettings("127.0.0.1", server.port, "crm", "right", backoff_first_s=0.01, backoff_cap_s=0.05)
    return PbxSettings(shop.pbx, ami, TRUNKS, recordings, events)


@asynccontextmanager
async def following(
    shop: Shop,
    server: AmiServer,
    customers: Customers,
    recordings: Path | None = None,
    kept: str | Path = "",
    events: Path | None = None,
) -> AsyncIterator[PbxEdge]:
    """Run an edge; at the end it is killed, not drained."""
    vault = Vault(str(kept)) if kept else None
    edge = PbxEdge(settings_of(shop, server, recordings, events), shop.store, customers, vault)
    work = asyncio.create_task(edge.run())
    resyncs = len([action for action in server.actions if action["Action"] == "QueueStatus"])
    try:
        await soon(lambda: server.names().count("QueueStatus") > resyncs or work.done())
        yield edge
    finally:
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work
        edge.close()
        # A connection still in use when the store is closed would be left to the garbage collector.
        for pool in (edge._writer, edge._files, edge._keeper, edge._orders._thread, edge._queues._thread):
            await asyncio.to_thread(pool.shutdown)


def states(shop: Shop) -> list[str]:
    return [event.data["state"].removeprefix("POP_STATE_") for event in shop.events("pop_changed")]


async def test_a_call_pops_with_the_customer_and_ends(shop: Shop) -> None:
    """F218: no pop from a queue, pop 2-10 s late, are what others' users report."""
    shop.line("did", "4000")
    shop.agent("王小明", "1001")
    customers = Customers()
    async with ami_server() as server:
        lists_nothing(server)
        async with following(shop, server, customers):
            ringing, rest = cut_at("queue-call", *RINGING)
            server.send(ringing)
            await soon(lambda: states(shop) == ["RINGING"])
            told = shop.events("pop_changed")[0].data
            assert told["callers"][0]["customerName"] == "上海云海"
            server.send(rest)
            await soon(lambda: shop.events("call_ended"))
    assert states(shop)[-1] == "WRAP_UP"
    assert customers.asked == [(shop.tenant, "13800138000")]


async def test_a_pop_goes_out_although_customers_is_down(main_shop: Shop) -> None:
    main_shop.line("did", "4000")
    main_shop.agent("王小明", "1001")
    async with ami_server() as server:
        lists_nothing(server)
        async with following(main_shop, server, Customers(down=True)):
            server.send(cut_at("queue-call", *RINGING)[0])
            await soon(lambda: states(main_shop) == ["RINGING"])
    told = main_shop.events("pop_changed")[0].data
    assert told["callers"] == []
    assert not told["lookedUp"]
    assert told["number"] == "+86138****8000"


async def test_who_calls_is_asked_again_until_somebody_can_say(main_shop: Shop) -> None:
    """A customers service that is down for a moment makes no known caller a new record."""
    main_shop.line("did", "4000")
    main_shop.agent("王小明", "1001")
    customers = Customers(down=True)
    async with ami_server() as server:
        lists_nothing(server)
        async with following(main_shop, server, customers):
            server.send(cut_at("queue-call", *RINGING)[0])
            await soon(lambda: states(main_shop) == ["RINGING"])
            customers.down = False
            await soon(lambda: len(states(main_shop)) == 2)
    told = main_shop.events("pop_changed")[1].data
    assert told["lookedUp"]
    assert told["callers"][0]["customerName"] == "上海云海"
    assert main_shop.row("call")["customer_id"] == RIVERA.customer_id


async def test_that_a_number_is_nobodys_is_told_when_it_is_known(main_shop: Shop) -> None:
    main_shop.line("did", "4000")
    main_shop.agent("王小明", "1001")
    customers = Customers(found=(), gate=threading.Event())
    async with ami_server() as server:
        lists_nothing(server)
        async with following(main_shop, server, customers):
            server.send(cut_at("queue-call", *RINGING)[0])
            await soon(lambda: states(main_shop) == ["RINGING"])
            assert customers.gate
            customers.gate.set()
            await soon(lambda: len(states(main_shop)) == 2)
    told = [event.data for event in main_shop.events("pop_changed")]
    assert [(each["lookedUp"], each["number"]) for each in told] == [
        (False, "+86138****8000"),
        (True, "+8613800138000"),
    ]


async def test_the_end_of_a_call_asks_once_more_and_no_more(main_shop: Shop) -> None:
    main_shop.line("did", "4000")
    customers = Customers(down=True)
    ringing, rest = cut_at("queue-call", *RINGING)
    async with ami_server() as server:
        lists_nothing(server)
        async with following(main_shop, server, customers) as edge:
            server.send(ringing)
            await soon(lambda: len(customers.asked) == 1)
            server.send(rest)
            await soon(lambda: not edge._lookups and main_shop.events("call_ended"))
    assert len(customers.asked) == 2
    assert main_shop.row("call")["callers"] is None


async def test_a_successor_asks_who_calls_where_nobody_could_say(main_shop: Shop) -> None:
    main_shop.line("did", "4000")
    ringing, _ = cut_at("queue-call", *RINGING)
    async with ami_server() as server:
        lists_nothing(server)
        async with following(main_shop, server, Customers(down=True)):
            server.send(ringing)
            await soon(lambda: main_shop.rows("call"))
        async with following(main_shop, server, Customers()):
            await soon(lambda: main_shop.row("call")["customer_id"] == RIVERA.customer_id)


async def test_a_stored_call_that_cannot_be_read_is_ended_and_the_rest_goes_on(main_shop: Shop) -> None:
    main_shop.line("did", "4000")
    main_shop.agent("王小明", "1001")
    async with ami_server() as server:
        lists_nothing(server)
        async with following(main_shop, server, Customers()):
            server.send(cut_at("queue-call", *RINGING)[0])
            await soon(lambda: states(main_shop) == ["RINGING"])
        with main_shop.store.transaction(main_shop.tenant) as tx:
            own = tables.call.c.tenant_id == main_shop.tenant.id
            tx.session.execute(update(tables.call).where(own).values(graph={"of": "another version"}))
        async with following(main_shop, server, Customers()):
            await soon(lambda: main_shop.events("call_ended"))
    call = main_shop.row("call")
    assert (call["state"], call["lost"], call["graph"]) == ("missed", True, None)
    assert states(main_shop) == ["RINGING", "WITHDRAWN"]


async def test_an_answer_while_the_first_write_is_under_way_is_not_lost(main_shop: Shop) -> None:
    main_shop.line("did", "4000")
    customers, writing, go_on = Customers(gate=threading.Event()), threading.Event(), threading.Event()
    assert customers.gate

    class Slow(Store):
        """A store whose first commit takes its time."""

        @contextmanager
        def transaction(self, *args: Any, **kwargs: Any) -> Iterator[Transaction]:
            with super().transaction(*args, **kwargs) as tx:
                yield tx
                if not writing.is_set():
                    writing.set()
                    go_on.wait(10)

    slow = Slow(main_shop.store.urls, tables.metadata, main_shop.store.clock)
    async with ami_server() as server:
        lists_nothing(server)
        async with following(replace(main_shop, store=slow), server, customers) as edge:
            server.send(cut_at("queue-call", *RINGING)[0])
            await soon(writing.is_set)
            customers.gate.set()
            await soon(lambda: any(lookup.callers for lookup in edge._lookups.values()))
            go_on.set()
            await soon(lambda: main_shop.rows("call") and main_shop.row("call")["callers"])
            await soon(lambda: not any(lookup.running for lookup in edge._lookups.values()))
    slow.close()
    assert main_shop.row("call")["customer_id"] == RIVERA.customer_id


async def test_a_number_that_comes_to_light_is_looked_up(main_shop: Shop) -> None:
    main_shop.line("did", "4000")
    main_shop.agent("王小明", "1001")
    customers = Customers()
    ringing = cut_at("queue-call", *RINGING)[0]
    async with ami_server() as server:
        lists_nothing(server)
        async with following(main_shop, server, customers):
            server.send(ringing.replace(b"CallerIDNum: 13800138000", b"CallerIDNum: <unknown>"))
            await soon(lambda: states(main_shop) == ["RINGING"])
            assert main_shop.events("pop_changed")[0].data["lookedUp"]
            server.send(
                block(
                    "Event: NewCallerid",
                    "Channel: PJSIP/trunk-00000002",
                    "Uniqueid: pbx1-1795291960.3",
                    "Linkedid: pbx1-1795291960.3",
                    "CallerIDNum: 13800138000",
                )
            )
            await soon(lambda: main_shop.row("call")["customer_id"] == RIVERA.customer_id)
            await soon(lambda: main_shop.events("pop_changed")[-1].data["callers"])
    assert [number for _, number in customers.asked] == ["13800138000"]


async def test_a_pop_does_not_wait_for_a_slow_answer_but_gets_it(main_shop: Shop) -> None:
    main_shop.line("did", "4000")
    main_shop.agent("王小明", "1001")
    customers = Customers(gate=threading.Event())
    async with ami_server() as server:
        lists_nothing(server)
        async with following(main_shop, server, customers):
            server.send(cut_at("queue-call", *RINGING)[0])
            await soon(lambda: states(main_shop) == ["RINGING"])
            assert main_shop.events("pop_changed")[0].data["callers"] == []
            assert customers.gate
            customers.gate.set()
            await soon(lambda: len(states(main_shop)) == 2)
    assert main_shop.events("pop_changed")[1].data["callers"][0]["customerName"] == "上海云海"


async def test_a_call_that_ends_before_the_answer_is_linked_when_it_comes(main_shop: Shop) -> None:
    main_shop.line("did", "4000")
    customers = Customers(gate=threading.Event())
    async with ami_server() as server:
        lists_nothing(server)
        async with following(main_shop, server, customers):
            server.send(b"".join(blocks("abandoned")))
            await soon(lambda: main_shop.events("call_ended"))
            assert customers.gate
            customers.gate.set()
            await soon(lambda: main_shop.events("call_linked"))
    assert main_shop.row("call")["customer_id"] == RIVERA.customer_id


async def test_a_restart_in_mid_call_goes_on(shop: Shop) -> None:
    """A killed edge's successor knows the call, and asks nobody twice who is calling."""
    shop.line("did", "4000")
    shop.agent("王小明", "1001")
    customers = Customers()
    ringing, _ = cut_at("queue-call", *RINGING)
    before, after = cut_at("queue-call", *ANSWERED)
    async with ami_server() as server:
        lists_nothing(server)
        async with following(shop, server, customers):
            server.send(ringing)
            await soon(lambda: states(shop) == ["RINGING"])
            server.send(before.removeprefix(ringing))
            await soon(lambda: states(shop) == ["RINGING", "TALKING"])
        lists(
            server,
            [
                live(b"pbx1-1795291960.3", b"PJSIP/trunk-00000002"),
                live(b"pbx1-1795291960.4", b"PJSIP/1001-00000003"),
            ],
        )
        async with following(shop, server, customers):
            server.send(after)
            await soon(lambda: shop.events("call_ended"))
    assert states(shop) == ["RINGING", "TALKING", "WRAP_UP"]
    assert shop.row("call")["state"] == "ended"
    assert not shop.row("call")["lost"]
    assert len(customers.asked) == 1


def live(uniqueid: bytes, channel: bytes) -> bytes:
    return (
        b"Event: CoreShowChannel\r\nActionID: live\r\nChannel: %s\r\nChannelState: 6\r\nUniqueid: %s\r\n"
        b"Linkedid: pbx1-1795291960.3\r\nBridgeId: b\r\n\r\n" % (channel, uniqueid)
    )


async def test_a_call_that_ended_while_the_link_was_down_leaves_no_ghost(main_shop: Shop) -> None:
    """AMI drops and leaves ghost pops: resync after the reconnect."""
    main_shop.line("did", "4000")
    main_shop.agent("王小明", "1001")
    async with ami_server() as server:
        lists_nothing(server)
        async with following(main_shop, server, Customers()):
            server.send(cut_at("queue-call", *RINGING)[0])
            await soon(lambda: states(main_shop) == ["RINGING"])
            server.drop()
            await soon(lambda: states(main_shop) == ["RINGING", "WITHDRAWN"])
            await soon(lambda: main_shop.events("call_ended"))
    call = main_shop.row("call")
    assert (call["state"], call["lost"]) == ("missed", True)


async def test_a_call_that_came_while_the_link_was_down_pops_after_it(main_shop: Shop) -> None:
    main_shop.line("did", "4011")
    main_shop.agent("王小明", "1001")
    async with ami_server() as server:
        lists(
            server,
            [
                part + b"\r\n\r\n"
                for part in raw("live-channels").split(b"\r\n\r\n")
                if b"CoreShowChannel\r\n" in part
            ],
        )
        async with following(main_shop, server, Customers()):
            await soon(lambda: states(main_shop) == ["RINGING"])


async def test_a_pbx_without_queues_is_resynchronised_all_the_same(main_shop: Shop) -> None:
    """A PBX that starts has no QueueStatus yet; its calls count nevertheless."""
    main_shop.line("did", "4000")
    main_shop.agent("王小明", "1001")
    async with ami_server() as server:
        lists_nothing(server)
        server.answers["QueueStatus"] = lambda action: block(
            "Response: Error",
            f"ActionID: {action['ActionID']}",
            "Message: Invalid/unknown command: QueueStatus.",
        )
        async with following(main_shop, server, Customers()):
            server.send(cut_at("queue-call", *RINGING)[0])
            await soon(lambda: states(main_shop) == ["RINGING"])
            server.drop()
            await soon(lambda: states(main_shop) == ["RINGING", "WITHDRAWN"])


async def test_an_unknown_did_falls_to_the_tenant_whose_extension_rings(main_shop: Shop) -> None:
    main_shop.agent("王小明", "1001")
    async with ami_server() as server:
        lists_nothing(server)
        async with following(main_shop, server, Customers()):
            server.send(b"".join(blocks("queue-call")))
            await soon(lambda: main_shop.events("call_ended"))
    assert main_shop.row("call")["did"] == "4000"


async def test_a_call_on_lines_of_nobody_is_counted_and_let_go(main_shop: Shop) -> None:
    async with ami_server() as server:
        lists_nothing(server)
        async with following(main_shop, server, Customers()) as edge:
            server.send(b"".join(blocks("queue-call")))
            labels = {"pbx": main_shop.pbx}
            counted = "crm_telephony_unassigned_calls_total"
            await soon(lambda: REGISTRY.get_sample_value(counted, labels) == 1)
            assert not edge._changed
    assert main_shop.rows("call") == []


async def test_who_rings_goes_before_who_hung_up_when_writers_are_behind(main_shop: Shop) -> None:
    """F221: what somebody waits for at a screen comes first, in a transaction of its own; the rest follows."""
    talk, over = cut_at("queue-call", *ANSWERED)
    ringing, _ = cut_at("queue-call", *RINGING)
    async with ami_server() as server:
        lists_nothing(server)
        async with following(main_shop, server, Customers()) as edge:
            main_shop.agent("王小明", "1001")
            server.send(talk)
            await soon(lambda: states(main_shop) == ["TALKING"])
            (talking,) = edge._graph.calls
            for _ in range(WRITERS):
                await edge._writers_free.acquire()
            server.send(over + ringing.replace(b"pbx1-", b"pbx1-2"))
            await soon(lambda: not edge._due.keys() - {talking} and len(edge._changed) == 2)
            # Who calls is asked as soon as somebody looks for what is to be written.
            first = edge._ready()
            await soon(lambda: first or all(each.released for each in edge._lookups.values()))
            await asyncio.sleep(SETTLE_S)
            taken = [first or edge._ready(), edge._ready()]
            named = [
                [each.call.linked_id == talking for each in chain(*updates.values())] for updates in taken
            ]
            assert named == [[False], [True]]


async def test_a_line_registered_meanwhile_is_found(main_shop: Shop) -> None:
    """The gauge of calls that ring follows it until somebody answers."""
    ringing, rest = cut_at("queue-call", *RINGING)

    def waiting() -> float | None:
        return REGISTRY.get_sample_value("crm_telephony_ringing_calls", {"pbx": main_shop.pbx})

    async with ami_server() as server:
        lists_nothing(server)
        async with following(main_shop, server, Customers()):
            main_shop.agent("王小明", "1001")
            server.send(ringing)
            await soon(lambda: states(main_shop) == ["RINGING"])
            await soon(lambda: waiting() == 1)
            server.send(rest)
            await soon(lambda: waiting() == 0)


async def test_two_tenants_share_a_pbx_and_see_only_their_own_calls(store: Store) -> None:
    """A DID and an extension belong to one tenant; the databases differ."""
    pbx = f"pbx-{new_id()[-12:]}"
    north, south = Shop(store, Tenant(new_id(), "main"), pbx), Shop(store, Tenant(new_id(), "south"), pbx)
    north.line("did", "4000")
    south.line("did", "4010")
    async with ami_server() as server:
        lists_nothing(server)
        async with following(north, server, Customers()):
            server.send(b"".join(blocks("queue-call") + blocks("ring-all")))
            await soon(lambda: north.events("call_ended") and south.events("call_ended"))
    assert north.row("call")["did"] == "4000"
    assert south.row("call")["did"] == "4010"


class Failing(Store):
    """A store whose database is away for the first writes; `failures` counts those that are left."""

    failures = 0

    def transaction(self, *args: object, **kwargs: object) -> object:  # type: ignore[override]  # passes everything on
        if self.failures:
            self.failures -= 1
            raise ConnectionError("the database is away")
        return super().transaction(*args, **kwargs)  # type: ignore[arg-type]  # keywords of several types


@contextmanager
def failing(shop: Shop, failures: int) -> Iterator[Shop]:
    """The shop over a database that is away for so many writes."""
    away = Failing(shop.store.urls, tables.metadata, shop.store.clock)
    away.failures = failures
    yield replace(shop, store=away)
    away.close()


async def test_a_database_that_fails_for_a_while_loses_no_call(main_shop: Shop) -> None:
    main_shop.line("did", "4000")
    with failing(main_shop, 2) as away:
        async with ami_server() as server:
            lists_nothing(server)
            async with following(away, server, Customers()):
                server.send(b"".join(blocks("queue-call")))
                await soon(lambda: main_shop.events("call_ended"))
        assert isinstance(away.store, Failing)
        assert away.store.failures == 0


def logged_ago(name: str, ago_s: float, now_s: float) -> list[str]:
    """Return a scenario's log of channel events, line by line, as if its call had ended so many seconds ago."""
    told = [line.split(",", 1) for line in (LEAN / f"{name}.csv").read_text().splitlines(keepends=True)]
    times_s = [float(time.strip('"')) for time, _ in told]
    later_s = now_s - ago_s - times_s[-1]
    return [f'"{time_s + later_s:.6f}",{rest}' for time_s, (_, rest) in zip(times_s, told, strict=True)]


def followed(shop: Shop, until_s: float) -> None:
    """Note until when the shop's PBX was followed."""
    with shop.store.nobodys(HOME_DATABASE) as session:
        save_followed_until(session, shop.pbx, until_s)


async def test_what_the_log_told_is_told_again_where_it_was_not_written(
    main_shop: Shop, tmp_path: Path
) -> None:
    """Decision 13: the edge reads of a call that came and went, and dies before the database takes it."""
    main_shop.line("did", "4000")
    log, now_s = tmp_path / "gonghai.csv", main_shop.store.clock().timestamp()
    log.write_text("".join(logged_ago("queue", 60, now_s)))
    followed(main_shop, now_s - 90)
    async with ami_server() as server:
        lists_nothing(server)
        with failing(main_shop, 1_000_000) as away:
            async with following(away, server, Customers(), events=log) as edge:
                await soon(lambda: edge._arrived or edge._in_flight)
                # The last that it noted.
                followed(main_shop, edge._stored_until())
        assert main_shop.rows("call") == []
        async with following(main_shop, server, Customers(), events=log):
            await soon(lambda: main_shop.events("call_ended"))
    row = main_shop.row("call")
    assert (row["state"], row["lost"]) == ("ended", False)


async def test_a_link_that_breaks_before_the_pbx_was_looked_at_leaves_the_gap_open(
    main_shop: Shop, tmp_path: Path
) -> None:
    """Decision 13: it logs in, is cut, and logs in again; what ended long before the first of them is told still."""
    main_shop.line("did", "4000")
    log, now_s = tmp_path / "gonghai.csv", main_shop.store.clock().timestamp()
    log.write_text("".join(logged_ago("queue", 60, now_s)))
    followed(main_shop, now_s - 90)
    async with ami_server() as server:
        lists_nothing(server)
        listing = server.answers["CoreShowChannels"]
        cut = 0

        def cuts(action: dict[str, str]) -> bytes:
            nonlocal cut
            cut += 1
            server.answers["CoreShowChannels"] = listing
            server.send(block("Event: Newchannel", "Uniqueid: 1.9", "Channel: Local/1@nowhere-1;1"))
            server.drop()
            return b""

        server.answers["CoreShowChannels"] = cuts
        async with following(main_shop, server, Customers(), events=log):
            await soon(lambda: main_shop.events("call_ended"))
    assert cut == 1
    assert main_shop.row("call")["state"] == "ended"


async def test_a_call_that_ends_between_the_list_and_the_log_keeps_its_talk(
    main_shop: Shop, tmp_path: Path
) -> None:
    """Decision 13: it is still in the list of what lives, its end is in the log, and AMI tells of the end once more."""
    main_shop.line("did", "4000")
    main_shop.agent("王小明", "1001")
    log, now_s = tmp_path / "gonghai.csv", main_shop.store.clock().timestamp()
    log.write_text("".join(logged_ago("queue", 1, now_s)))
    followed(main_shop, now_s - 90)
    lines = read_since(log, 0).lines
    started = [line for line in lines if line.name == "CHAN_START"]
    async with ami_server() as server:
        lists_nothing(server)
        lists(
            server,
            [
                block(
                    *("Event: CoreShowChannel", "ActionID: live", "ChannelState: 6", "BridgeId: 1"),
                    *(f"Uniqueid: {line.uniqueid}", f"Linkedid: {line.linked_id}"),
                    *(f"Channel: {line.channel}", f"Exten: {line.exten}", "CallerIDNum: 13800138000"),
                )
                for line in started
            ],
        )
        async with following(main_shop, server, Customers(), events=log):
            for line in started:
                server.send(block("Event: Hangup", f"Uniqueid: {line.uniqueid}", "Cause: 16"))
            await soon(lambda: main_shop.events("call_ended"))
    row = main_shop.row("call")
    (agent,) = [line for line in lines if line.name == "ANSWER" and "1001" in line.channel]
    assert (row["state"], row["lost"]) == ("ended", False)
    assert row["answer_time"].timestamp() == pytest.approx(agent.time_s, abs=0.01)
    assert row["end_time"].timestamp() == pytest.approx(lines[-1].time_s, abs=0.01)


async def test_the_last_line_of_a_call_may_be_written_after_the_death_of_who_read_the_log(
    main_shop: Shop, tmp_path: Path
) -> None:
    """Decision 13: a call whose end was not yet in the file is not passed over."""
    main_shop.line("did", "4000")
    log, now_s = tmp_path / "gonghai.csv", main_shop.store.clock().timestamp()
    lines = logged_ago("queue", 60, now_s)
    log.write_text("".join(lines[:-1]))
    followed(main_shop, now_s - 90)
    async with ami_server() as server:
        lists_nothing(server)
        async with following(main_shop, server, Customers(), events=log) as edge:
            await soon(lambda: edge._to_read)
            followed(main_shop, edge._stored_until())
        assert main_shop.rows("call") == []
        log.write_text("".join(lines))
        async with following(main_shop, server, Customers(), events=log):
            await soon(lambda: main_shop.events("call_ended"))
    row = main_shop.row("call")
    assert (row["state"], row["lost"]) == ("ended", False)


def tone() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(array("h", (round(9000 * math.sin(at / 3)) for at in range(8000))).tobytes())
    return file.getvalue()


async def test_a_finished_recording_is_kept_with_its_call(shop: Shop, tmp_path: Path) -> None:
    """F219."""
    shop.line("did", "4000")
    spool, kept = tmp_path / "monitor", tmp_path / "kept"
    spool.mkdir()
    async with ami_server() as server:
        lists_nothing(server)
        async with following(shop, server, Customers(), spool, kept):
            server.send(b"".join(blocks("queue-call")))
            await soon(lambda: shop.rows("recording"))
            # Asterisk closes it a moment later.
            await soon(lambda: shop.row("recording")["attempts"] > 0)
            (spool / "pbx1-1795291960.3.wav").write_bytes(tone())
            await soon(lambda: shop.row("recording")["state"] == "kept")
    row = shop.row("recording")
    assert row["duration_s"] == 1.0
    assert not row["silent"]
    assert (kept / row["key"]).read_bytes() == tone()
    assert row["call_id"] == shop.row("call")["id"]


async def test_a_recording_of_which_nobody_told_finds_its_call(shop: Shop, tmp_path: Path) -> None:
    """F219: orphans are matched by the linked id in their name; a file that may still be written waits."""
    shop.line("did", "4000")
    spool, kept = tmp_path / "monitor", tmp_path / "kept"
    spool.mkdir()
    async with ami_server() as server:
        lists_nothing(server)
        async with following(shop, server, Customers()):
            untold = b"".join(blocks("queue-call")).replace(b"MIXMONITOR_FILENAME", b"ANOTHER")
            server.send(untold)
            await soon(lambda: shop.events("call_ended"))
        assert shop.rows("recording") == []
        for name, minutes in (("pbx1-1795291960.3.wav", 20), ("pbx1-1795291960.4.wav", 20), ("young.wav", 0)):
            (spool / name).write_bytes(tone())
            old = (shop.store.clock() - timedelta(minutes=minutes)).timestamp()
            os.utime(spool / name, (old, old))
        async with following(shop, server, Customers(), spool, kept):
            await soon(lambda: shop.rows("recording") and shop.row("recording")["state"] == "kept")
    assert shop.row("recording")["call_id"] == shop.row("call")["id"]


async def test_a_bare_header_is_refused_in_the_end(main_shop: Shop, tmp_path: Path) -> None:
    """An abandoned call leaves a WAV of 44 bytes."""
    main_shop.line("did", "4000")
    (tmp_path / "pbx1-1795291933.0.wav").write_bytes(tone()[:4] + b"\x24\0\0\0" + tone()[8:40] + bytes(4))
    async with ami_server() as server:
        lists_nothing(server)
        async with following(main_shop, server, Customers(), tmp_path, tmp_path / "kept"):
            server.send(b"".join(blocks("abandoned")))
            await soon(
                lambda: main_shop.rows("recording") and main_shop.row("recording")["state"] == "refused"
            )
    assert main_shop.row("recording")["detail"] == "no sound: a bare header"


async def test_what_is_under_way_at_the_end_is_written(main_shop: Shop) -> None:
    """A stop while a call waits for an answer loses no call."""
    main_shop.line("did", "4000")
    gate = threading.Event()
    async with ami_server() as server:
        lists_nothing(server)
        async with following(main_shop, server, Customers(gate=gate)) as edge:
            server.send(b"".join(blocks("abandoned")))
            await soon(lambda: edge._changed)
            await edge.drain()
            gate.set()
    assert main_shop.row("call")["state"] == "missed"


def test_one_process_at_a_time_holds_a_lease(settings: Settings) -> None:
    """One active edge for each PBX; the next in line takes over."""
    name, url, stop = f"test.{new_id()}", settings.database_urls["main"], threading.Event()
    first, second = Lease(url, name), Lease(url, name)
    assert first.acquire(stop)
    waiting = threading.Thread(target=second.acquire, args=(stop,))
    waiting.start()
    assert not second.held()
    first.release()
    waiting.join(timeout=10)
    assert second.held()
    stop.set()
    assert not first.acquire(stop)
    second.release()


def order(shop: Shop, kind: str = "dial", linked_id: str = "dial-1", **values: Any) -> str:
    """Queue an order to the PBX and return its id."""
    order_id = new_id()
    given = {"state": "queued", "create_time": shop.store.clock(), "pbx": shop.pbx, **values}
    with shop.store.transaction(shop.tenant) as tx:
        tx.session.execute(
            insert(tables.pbx_order).values(
                id=order_id,
                tenant_id=shop.tenant.id,
                person_id=new_id(),
                kind=kind,
                linked_id=linked_id,
                extension="1001",
                number="+8613900139000",
                **given,
            )
        )
    return order_id


def orders(shop: Shop) -> dict[str, tuple[str, str]]:
    return {row["id"]: (row["state"], row["reason"]) for row in shop.rows("pbx_order")}


async def test_a_dial_rings_the_agents_phone_first_and_is_sent_once(shop: Shop) -> None:
    """F226: an Originate with our own channel id; accepted is not connected."""
    async with ami_server() as server:
        lists_nothing(server)
        async with following(shop, server, Customers()):
            order_id = order(shop)
            await soon(lambda: orders(shop)[order_id] == ("accepted", ""))
    (sent,) = [action for action in server.actions if action["Action"] == "Originate"]
    assert (sent["Channel"], sent["Exten"], sent["ChannelId"]) == ("PJSIP/1001", "13900139000", "dial-1")


async def test_an_order_whose_outcome_nobody_knows_is_never_done_again(main_shop: Shop) -> None:
    """At most once: an edge that died between the action and its answer, and one whose link broke there."""
    old = order(main_shop, state="sending")
    late = order(main_shop, create_time=main_shop.store.clock() - timedelta(seconds=11))
    async with ami_server() as server:
        lists_nothing(server)

        def drop(action: dict[str, str]) -> bytes:
            server.drop()
            return b""

        server.answers["Originate"] = drop
        async with following(main_shop, server, Customers()):
            broken = order(main_shop, linked_id="dial-2")
            await soon(lambda: orders(main_shop)[broken][0] not in ("queued", "sending"))
            over = order(main_shop, kind="pause", linked_id="1.0")
            await soon(lambda: orders(main_shop)[over] == ("failed", "CALL_OVER"))
    assert orders(main_shop) | {over: ("failed", "CALL_OVER")} == {
        old: ("uncertain", ""),
        late: ("failed", "TOO_LATE"),
        broken: ("uncertain", ""),
        over: ("failed", "CALL_OVER"),
    }
    assert [action["ChannelId"] for action in server.actions if action["Action"] == "Originate"] == ["dial-2"]


async def test_queues_leave_an_agent_alone_who_is_busy_away_or_in_wrap_up(main_shop: Shop) -> None:
    """The member is paused while the agent cannot take calls, and told again to a PBX that began anew."""
    agent = main_shop.agent("王小明", "1001")
    main_shop.line("did", "4000")

    def choose(state: str, reason: str = "") -> None:
        with main_shop.store.transaction(main_shop.tenant) as tx:
            agents.choose_state(tx, agent, state, reason)

    async with ami_server() as server:
        lists_nothing(server)

        def pauses() -> list[tuple[str, str, str]]:
            return [
                (action["Interface"], action["Paused"], action.get("Reason", ""))
                for action in server.actions
                if action["Action"] == "QueuePause"
            ]

        expected = [("PJSIP/1001", "false", "")]
        async with following(main_shop, server, Customers()):
            await soon(lambda: pauses() == expected)
            # What the PBX refuses (the phone is in no queue) is not asked again and again.
            server.answers["QueuePause"] = lambda action: block(
                "Response: Error", f"ActionID: {action['ActionID']}", "Message: Interface not found"
            )
            choose("break", "用餐")
            expected.append(("PJSIP/1001", "true", "用餐"))
            await soon(lambda: pauses() == expected)
            choose("idle")
            expected.append(("PJSIP/1001", "false", ""))
            await soon(lambda: pauses() == expected)
            server.send(b"".join(blocks("queue-call")))
            expected.append(("PJSIP/1001", "true", "wrap_up"))
            await soon(lambda: pauses() == expected)
            # A browser that is closed leaves nobody in it: any choice ends it, and so would the countdown.
            choose("idle")
            expected.append(("PJSIP/1001", "false", ""))
            await soon(lambda: pauses() == expected)
            server.drop()
            expected.append(("PJSIP/1001", "false", ""))
            await soon(lambda: pauses() == expected)
            choose("busy")
            expected.append(("PJSIP/1001", "true", "busy"))
            await soon(lambda: pauses() == expected)
            with main_shop.store.transaction(main_shop.tenant) as tx:
                staff.sign_off(tx, agent)
            expected.append(("PJSIP/1001", "false", ""))
            await soon(lambda: pauses() == expected)


async def test_a_refused_and_an_unsendable_order_fail_with_their_reason(main_shop: Shop) -> None:
    async with ami_server() as server:
        lists_nothing(server)
        server.answers["Originate"] = lambda action: block(
            "Response: Error", f"ActionID: {action['ActionID']}", "Message: Extension does not exist."
        )
        async with following(main_shop, server, Customers()):
            refused = order(main_shop)
            await soon(lambda: orders(main_shop)[refused] == ("failed", "PBX_REFUSED"))
            await server.stop()
            down = order(main_shop)
            await soon(lambda: orders(main_shop)[down] == ("failed", "PBX_DOWN"))
