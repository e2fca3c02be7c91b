"""AMI events a second in one process: the product's parser and call graph, bare panoramisk, bare asyncio.

    python -m tests.bench.ami_stream product|panoramisk|asyncio EVENTS

A server in a process of its own plays recorded calls, each under ids of its own, as fast as they are read. The last
line is one JSON object: events, events_per_s, calls that ended, and by how much the process grew after the first tenth.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import multiprocessing
import re
import resource
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from panoramisk import Manager

from services.telephony.pbx.ami import AmiLink, AmiSettings, Gap
from services.telephony.pbx.callgraph import CallEnded, Graph, apply

LEAN = Path(__file__).parents[1] / "fixtures/ami/lean"
# What is played, in turn.
CALLS = ("queue", "direct", "abandoned-queue", "ring-all", "blind-transfer", "local-queue", "originate")
TRUNKS = frozenset({"trunk"})
# Bytes that are sent at once.
CHUNK_BYTES = 256 * 1024
SECRET = "bench"


def scripts() -> list[tuple[bytes, int]]:
    """Return the calls to play, each with a mark where its ids have a number, and how many events it has."""
    found = []
    for name in CALLS:
        messages = (LEAN / f"{name}.txt").read_bytes().replace(b"\r\n", b"\n").split(b"\n\n")
        # Answers to actions are left out.
        events = [message.strip() for message in messages if message.startswith(b"Event: ")]
        text = b"".join(event.replace(b"\n", b"\r\n") + b"\r\n\r\n" for event in events)
        found.append((re.sub(rb"(pbx1-|ctc-|consult-)\d+", rb"\g<1>@", text), len(events)))
    return found


def stream(events: int) -> Iterator[tuple[bytes, int]]:
    """Yield chunks of at least so many events in all, and how many each has."""
    chunk, held = bytearray(), 0
    for number, (script, count) in enumerate(itertools.cycle(scripts())):
        chunk += script.replace(b"@", b"%d" % number)
        held += count
        events -= count
        if len(chunk) >= CHUNK_BYTES or events <= 0:
            yield bytes(chunk), held
            chunk, held = bytearray(), 0
        if events <= 0:
            return


def total(events: int) -> int:
    """Return how many events `stream` has when asked for so many."""
    counts = itertools.cycle(count for _, count in scripts())
    sent = 0
    while sent < events:
        sent += next(counts)
    return sent


def serve(listener: socket.socket, events: int) -> None:
    """Let one client in, answer what it asks, and play."""
    link, _ = listener.accept()
    link.sendall(b"Asterisk Call Manager/11.0.0\r\n")
    _answer(link)
    link.sendall(b"Event: FullyBooted\r\nStatus: Fully Booted\r\n\r\n")
    for chunk, _ in stream(events):
        link.sendall(chunk)
        link.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            _answer(link)
        link.setblocking(True)
    # The client has seen the end when it hangs up.
    while link.recv(4096):
        pass


def _answer(link: socket.socket) -> None:
    for asked in link.recv(65536).split(b"\r\n\r\n"):
        found = re.search(rb"ActionID: (\S+)", asked)
        if found:
            link.setblocking(True)
            answer = b"Response: Success\r\nActionID: %s\r\nMessage: Pong\r\n\r\n" % found[1]
            link.sendall(answer)


class Count:
    """Count events up to a number, and when the first and the last of them came."""

    def __init__(self, events: int) -> None:
        self.wanted = events
        self.events = 0
        self.ended = 0
        self.begin_s = 0.0
        self.end_s = 0.0
        self.early_kb = 0
        self.done = asyncio.Event()

    def one(self) -> None:
        """Note an event."""
        if not self.events:
            self.begin_s = time.perf_counter()
        self.events += 1
        if self.events == self.wanted // 10:
            self.early_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if self.events == self.wanted:
            self.end_s = time.perf_counter()
            self.done.set()


async def product(port: int, count: Count) -> None:
    """As the edge does: the link's events in order, each applied to the graph of live calls."""
    link = AmiLink(AmiSettings("127.0.0.1", port, "bench", SECRET))
    work = asyncio.create_task(link.run())
    graph = Graph(TRUNKS)
    async for batch in link.batches():
        for item in batch:
            if isinstance(item, Gap):
                if item.reason == "overflow":
                    raise RuntimeError("events were dropped")
                continue
            if item.event.get("Event") == "FullyBooted":
                continue
            graph, changes = apply(graph, item.event, datetime.fromtimestamp(item.time_s, UTC))
            count.ended += sum(isinstance(change, CallEnded) for change in changes)
            count.one()
        if count.done.is_set():
            break
    work.cancel()
    if graph.calls:
        raise RuntimeError(f"{len(graph.calls)} calls never ended")


async def panoramisk(port: int, count: Count) -> None:
    """As a connector does that only counts: one callback for every event."""
    manager = Manager(
        loop=asyncio.get_running_loop(), host="127.0.0.1", port=port, username="bench", secret=SECRET
    )

    def heard(_manager: Manager, message: Any) -> None:
        if message.event and message.event != "FullyBooted":
            count.one()

    manager.register_event("*", heard)
    await manager.connect()
    await count.done.wait()
    manager.close()


class _Bare(asyncio.Protocol):
    """The least that tells events apart and names their headers."""

    def __init__(self, count: Count) -> None:
        self._count = count
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"Action: Login\r\nUsername: bench\r\nSecret: bench\r\nActionID: 1\r\n\r\n")

    def data_received(self, data: bytes) -> None:
        *messages, self._rest = (self._rest + data).split(b"\r\n\r\n")
        for message in messages:
            pairs = [line.split(": ", 1) for line in message.decode().split("\r\n") if ": " in line]
            headers = dict(pairs)
            if headers.get("Event", "FullyBooted") != "FullyBooted":
                self._count.one()


async def bare(port: int, count: Count) -> None:
    """Read and split, and nothing else."""
    transport, _ = await asyncio.get_running_loop().create_connection(lambda: _Bare(count), "127.0.0.1", port)
    await count.done.wait()
    transport.close()


READERS: dict[str, Callable[[int, Count], Awaitable[None]]] = {
    "product": product,
    "panoramisk": panoramisk,
    "asyncio": bare,
}


def main() -> int:
    """Read the stream once and print what came of it."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.ami_stream", description=__doc__.splitlines()[0]
    )
    parser.add_argument("reader", choices=READERS)
    parser.add_argument("events", type=int)
    asked = parser.parse_args()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = multiprocessing.Process(target=serve, args=(listener, asked.events), daemon=True)
        server.start()
        count = Count(total(asked.events))

        async def read() -> None:
            await READERS[asked.reader](listener.getsockname()[1], count)

        asyncio.run(read())
        server.join(10)
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - count.early_kb
    print(
        json.dumps(
            {
                "events": count.events,
                "events_per_s": round(count.events / (count.end_s - count.begin_s)),
                "calls": count.ended,
                "rss_growth_mb": round(grown_kb / 1024, 1),
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
