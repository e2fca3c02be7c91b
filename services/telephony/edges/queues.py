"""Keep agents' phones out of queues while they are busy, away or in wrap-up, and in again after it.

What shall be follows from the store and is told to the PBX where it differs from what was told last: a pause that is
told twice is one pause, so nothing needs to be remembered over a restart. Lost when the process dies: nothing; the next
one tells all of it again.
"""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from services.chassis.db import Store
from services.chassis.logging import get_logger
from services.telephony.pbx.ami import (
    AmiDownError,
    AmiLink,
    AmiOutcomeUnknownError,
    AmiRefusedError,
    LinkState,
)
from services.telephony.settings import PbxSettings
from services.telephony.usecases.agents import unavailable_seats

log = get_logger(__name__)

# How often it is looked who can take calls, in seconds.
POLL_S: Final = 0.5


class Queues:
    """Pause and resume the members of one PBX's queues that are agents' phones."""

    def __init__(self, settings: PbxSettings, store: Store, link: AmiLink) -> None:
        self._settings = settings
        self._store = store
        self._link = link
        # What the PBX was told, by extension: why it is paused, "" for not.
        self._told: dict[str, str] = {}
        self._thread = ThreadPoolExecutor(1, "pbx-queues")

    def forget(self) -> None:
        """Tell all of it again: the PBX may have begun anew."""
        self._told.clear()

    async def run(self) -> None:
        """Follow the agents' states until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(POLL_S)
            if self._link.state is not LinkState.READY:
                continue
            try:
                seats = await loop.run_in_executor(self._thread, self._seats)
            except Exception as error:
                log.error("who can take calls could not be read", error=str(error))
                continue
            # Who left the seat leaves no pause behind.
            for extension, reason in {**dict.fromkeys(self._told, ""), **seats}.items():
                if self._told.get(extension) != reason:
                    await self._tell(extension, reason)
            self._told = {extension: reason for extension, reason in self._told.items() if extension in seats}

    def close(self) -> None:
        """Let the thread go."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _tell(self, extension: str, reason: str) -> None:
        interface = {"Interface": f"{self._settings.technology}/{extension}"}
        # A header holds one line.
        why = {"Reason": "".join(filter(str.isprintable, reason))} if reason else {}
        try:
            await self._link.action("QueuePause", interface | {"Paused": str(bool(reason)).lower()} | why)
        except (AmiDownError, AmiOutcomeUnknownError) as error:
            log.warning("the PBX did not take an agent's pause; told again", error=str(error))
            return
        except AmiRefusedError:
            # The phone is in no queue: there is nothing to pause.
            log.debug("no queue has this member", extension=extension)
        self._told[extension] = reason

    def _seats(self) -> Mapping[str, str]:
        seats: dict[str, str] = {}
        for database in self._store.urls:
            with self._store.across(database) as session:
                seats |= unavailable_seats(session, self._settings.name, self._store.clock())
        return seats
