"""Play an Asterisk's AMI on a TCP port, word for word as a test wants it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

Answer = Callable[[dict[str, str]], bytes]

GREETING: Final = b"Asterisk Call Manager/11.0.0\r\n"


def block(*lines: str) -> bytes:
    """Return an AMI message."""
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


class AmiServer:
    """Accept one secret and answer actions; `answers` has the action's own answer by its name.

    `actions` are the actions received, in order, over all connections. `silent` makes a half-open peer of
    it: bytes are taken, nothing is said.
    """

    def __init__(self) -> None:
        self.port = 0
        self.actions: list[dict[str, str]] = []
        self.answers: dict[str, Answer] = {}
        self.silent = False
        self.connections = 0
        self.loop: asyncio.AbstractEventLoop | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.drop()

    def drop(self) -> None:
        """Break every connection, as a killed Asterisk does."""
        for writer in self._writers:
            writer.transport.abort()

    def send(self, data: bytes) -> None:
        """Write to every connection."""
        for writer in self._writers:
            writer.write(data)

    def send_soon(self, data: bytes) -> None:
        """Write to every connection, from another thread than the server's."""
        assert self.loop, "the server runs in a thread"
        self.loop.call_soon_threadsafe(self.send, data)

    def names(self) -> list[str]:
        """Return the names of the actions received, without the Pings."""
        return [action["Action"] for action in self.actions if action["Action"] != "Ping"]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        writer.write(GREETING)
        try:
            while True:
                text = (await reader.readuntil(b"\r\n\r\n")).decode()
                action = dict(line.split(": ", 1) for line in text.split("\r\n") if ": " in line)
                self.actions.append(action)
                if not self.silent:
                    writer.write(self._answer(action))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    def _answer(self, action: dict[str, str]) -> bytes:
        own = self.answers.get(action["Action"])
        if own is not None:
            return own(action)
        who = f"ActionID: {action['ActionID']}"
        if action["Action"] == "Login":
            if action["Secret"] != "right":
                return block("Response: Error", who, "Message: Authentication failed")
            return block("Response: Success", who, "Message: Authentication accepted") + block(
                "Event: FullyBooted", "Status: Fully Booted"
            )
        if action["Action"] == "Ping":
            return block("Response: Success", who, "Ping: Pong")
        return block("Response: Success", who)


@asynccontextmanager
async def ami_server() -> AsyncIterator[AmiServer]:
    """Run a server for the length of a test."""
    server = AmiServer()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@contextmanager
def threaded_ami_server() -> Iterator[AmiServer]:
    """Run a server in a thread of its own, for tests that are no coroutines; send by `send_soon`."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="ami-server")
    thread.start()
    server = AmiServer()
    server.loop = loop
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
