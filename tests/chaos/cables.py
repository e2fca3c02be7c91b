"""Cables that can be pulled: each API and gateway is reached through one, and while it is out nothing passes, silently.

What was on its way stays on its way and arrives when the cable is back, as the packets of a network that heals do.
"""

import asyncio
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from deploy.local.process import Program
from deploy.local.table import Plan, Site, product

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
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", port)

    def pull(self) -> None:
        """Let nothing pass."""
        self._loop.call_soon_threadsafe(self._whole.clear)

    def plug(self) -> None:
        """Let everything pass again."""
        self._loop.call_soon_threadsafe(self._whole.set)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._whole.wait()
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
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
        moved = {f"127.0.0.1:{each.ports['listen']}": self._lay(site, each) for each in servers}

        def through(environment: Mapping[str, str]) -> dict[str, str]:
            return {
                name: _rewritten(value, moved) if name.endswith("_ADDRESS") else value
                for name, value in environment.items()
            }

        return replace(
            plan,
            tiers=[[replace(each, env=through(each.env)) for each in tier] for tier in plan.tiers],
            environment=through(plan.environment),
            addresses=[_rewritten(address, moved) for address in plan.addresses],
        )

    def _lay(self, site: Site, server: Program) -> str:
        port = site.state.ports.take(f"{server.name}.cable")
        cable = Cable(self._loop, server.ports["listen"])
        asyncio.run_coroutine_threadsafe(cable.lay(port), self._loop).result()
        self._cables[server.name] = cable
        return f"127.0.0.1:{port}"


def _rewritten(text: str, moved: Mapping[str, str]) -> str:
    # "ipv4:127.0.0.1:5,127.0.0.1:51": whole addresses only.
    scheme, separator, rest = text.rpartition("//") if "//" in text else text.partition("ipv4:")
    return scheme + separator + ",".join(moved.get(address, address) for address in rest.split(","))
