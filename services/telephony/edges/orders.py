"""Carry out orders to the PBX: one at a time, each at most once."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from services.chassis.db import Store
from services.chassis.logging import get_logger
from services.chassis.tenancy import Tenant
from services.kernel.phones import display_number
from services.telephony.pbx.ami import AmiDownError, AmiLink, AmiOutcomeUnknownError, AmiRefusedError
from services.telephony.pbx.callgraph import Call
from services.telephony.settings import PbxSettings
from services.telephony.store.rows import Row
from services.telephony.usecases.orders import (
    doubt_orders,
    settle_order,
    take_orders,
    tenants_with_orders,
)

log = get_logger(__name__)

# How often orders are looked for, in seconds.
POLL_S: Final = 0.2
# How long a phone may ring before an Originate gives up, in milliseconds.
RING_MS: Final = 30_000


class Orders:
    """Take the orders of one PBX; `live` returns its live calls by linked id."""

    def __init__(
        self, settings: PbxSettings, store: Store, link: AmiLink, live: Callable[[], Mapping[str, Call]]
    ) -> None:
        self._settings = settings
        self._store = store
        self._link = link
        self._live = live
        self._thread = ThreadPoolExecutor(1, "pbx-orders")

    async def run(self) -> None:
        """Carry out orders until cancelled; what a dead edge had sent is uncertain from now on."""
        loop = asyncio.get_running_loop()
        doubted = False
        while True:
            try:
                if not doubted:
                    await loop.run_in_executor(self._thread, self._doubt)
                    doubted = True
                for tenant, order in await loop.run_in_executor(self._thread, self._take):
                    state, reason = await self._do(order)
                    await loop.run_in_executor(self._thread, self._settle, tenant, order["id"], state, reason)
            except Exception as error:
                log.error("orders to the PBX could not be read or written", error=str(error))
            await asyncio.sleep(POLL_S)

    def close(self) -> None:
        """Let the thread go."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _do(self, order: Row) -> tuple[str, str]:
        try:
            if order["kind"] == "dial":
                await self._link.action("Originate", self._originate(order))
            else:
                call = self._live().get(order["linked_id"])
                if call is None or order["linked_id"] not in call.channels:
                    return "failed", "CALL_OVER"
                mute = {"Direction": "both", "State": "1" if order["kind"] == "pause" else "0"}
                channel = call.channels[order["linked_id"]]
                await self._link.action("MixMonitorMute", {"Channel": channel, **mute})
        except AmiDownError:
            return "failed", "PBX_DOWN"
        except (AmiRefusedError, ValueError) as error:
            log.warning("the PBX refuses an order", kind=order["kind"], error=str(error))
            return "failed", "PBX_REFUSED"
        except AmiOutcomeUnknownError:
            return "uncertain", ""
        return "accepted", ""

    def _originate(self, order: Row) -> dict[str, str]:
        number = display_number(order["number"])
        return {
            "Channel": f"{self._settings.technology}/{order['extension']}",
            "Context": self._settings.dial_context,
            "Exten": f"{self._settings.dial_prefix}{number.replace('+', '00')}",
            "Priority": "1",
            # Known before it rings: the call can be told from others by its linked id.
            "ChannelId": order["linked_id"],
            "Timeout": str(RING_MS),
            "Async": "true",
        }

    def _with(self, state: str) -> list[Tenant]:
        found: list[Tenant] = []
        for database in self._store.urls:
            with self._store.across(database) as session:
                ids = tenants_with_orders(session, self._settings.name, state)
            found += [Tenant(tenant_id, database) for tenant_id in ids]
        return found

    def _take(self) -> list[tuple[Tenant, Row]]:
        taken: list[tuple[Tenant, Row]] = []
        for tenant in self._with("queued"):
            with self._store.transaction(tenant) as tx:
                orders = take_orders(tx, self._settings.name)
            taken += [(tx.tenant, order) for order in orders]
        return taken

    def _settle(self, tenant: Tenant, order_id: str, state: str, reason: str) -> None:
        with self._store.transaction(tenant) as tx:
            settle_order(tx, order_id, state, reason)

    def _doubt(self) -> None:
        for tenant in self._with("sending"):
            with self._store.transaction(tenant) as tx:
                doubt_orders(tx, self._settings.name)
