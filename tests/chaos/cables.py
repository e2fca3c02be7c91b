"""Where no network namespaces can be made: cables on loopback ports, one before each API and gateway.

While one is out nothing passes, silently; what the process itself asks of others goes on.

What was on its way stays on its way and arrives when the cable is back, as the packets of a network that heals do.
"""

import asyncio
import threading
from contextlib import suppress

from deploy.local.process import Program
from deploy.local.stores import LOOPBACK
from deploy.local.table import Plan, Site, product
from tests.chaos.network import led_over

# Bytes that are passed on at once.
CHUNK = 1 << 16


class Cable:
    """Passes connections on to a port of this machine."""

    def __init__(self, loop: asyncio.AbstractEventLoop, to_port: int) -> None:
        self._loop = loop
        self._to_port = to_port
        self._whole = asyncio.Event()
        self._whole.set()

    async def lay(self, port: int) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._connect, LOOPBACK, port)

    def pull(self) -> None:
        """Let nothing pass."""
        self._loop.call_soon_threadsafe(self._whole.clear)

    def plug(self) -> None:
        """Let everything pass again."""
        self._loop.call_soon_threadsafe(self._whole.set)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._whole.wait()
        try:
            there_reader, there_writer = await asyncio.open_connection(LOOPBACK, self._to_port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self._pass(reader, there_writer), self._pass(there_reader, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                await self._whole.wait()
                writer.write(data)
                await writer.drain()
        writer.close()


class Cables:
    """The cables of a stack, by the name of the process at their end; `table` lays them."""

    name = "loopback ports"
    host = LOOPBACK

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._cables: dict[str, Cable] = {}
        threading.Thread(target=self._loop.run_forever, name="cables", daemon=True).start()

    def __getitem__(self, name: str) -> Cable:
        return self._cables[name]

    def __contains__(self, name: str) -> bool:
        return name in self._cables

    def table(self, site: Site) -> Plan:
        """Lay out the product as it is, each server behind its cable."""
        plan = product(site)
        servers = [each for tier in plan.tiers for each in tier if "listen" in each.ports]
        moved = {f"{LOOPBACK}:{each.ports['listen']}": self._lay(site, each) for each in servers}
        return led_over(plan, moved, lambda program: program)

    def close(self) -> None:
        """End the loop that everything passes through."""
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _lay(self, site: Site, server: Program) -> str:
        port = site.state.ports.take(f"{server.name}.cable")
        cable = Cable(self._loop, server.ports["listen"])
        asyncio.run_coroutine_threadsafe(cable.lay(port), self._loop).result()
        self._cables[server.name] = cable
        return f"{LOOPBACK}:{port}"
