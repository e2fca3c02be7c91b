"""The PBX edge: from AMI events to calls, pops and recordings in the store.

One coroutine applies events to the call graph, one writes: whole calls, all that changed since the last
transaction, so a slow database makes bigger transactions and not a longer queue. A call waits for the
answer who is calling, a quarter of a second at most; then its pop goes out without it.

Guarantees: one active edge for each PBX (lease); after each login and each gap the PBX's own log of channel
events tells what happened meanwhile, and the graph is brought in line with what lives; a live call is stored
with every change, so a restart in mid-call goes on. Lost when the process dies: AMI events not yet applied;
log and resync make up for them.
"""

import asyncio
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import select

from services.chassis.db import Store
from services.chassis.errors import AppError
from services.chassis.logging import get_logger
from services.chassis.process import started
from services.chassis.service import Runtime, start_relays, stop_event
from services.chassis.settings import HOME_DATABASE
from services.chassis.tenancy import Tenant
from services.kernel.phones import match_number
from services.telephony import clients, metrics
from services.telephony.clients import Directory
from services.telephony.edges.lease import Lease
from services.telephony.edges.lines import REFRESH_S, Lines
from services.telephony.edges.orders import Orders
from services.telephony.edges.queues import Queues
from services.telephony.pbx.ami import (
    AmiDownError,
    AmiError,
    AmiLink,
    AmiOutcomeUnknownError,
    AmiRefusedError,
    Gap,
    LinkState,
)
from services.telephony.pbx.callgraph import (
    Call,
    CallerShown,
    Change,
    Direction,
    Event,
    Graph,
    LegAnswered,
    LegRinging,
    apply,
    from_json,
    restore,
    resync,
)
from services.telephony.pbx.recordings import Recording, RefusedError, UnfinishedError, keep, locate
from services.telephony.pbx.spool import Line, ended, moved, read_since, replay, until_listed, whole_calls
from services.telephony.pbx.vault import Vault, VaultDownError
from services.telephony.settings import RELAY_PATIENCE_S, PbxSettings, read_pbx, read_vault
from services.telephony.store import tables
from services.telephony.store.rows import Row
from services.telephony.usecases.calls import Caller, CallUpdate, attach_callers, end_lost_call, record_calls
from services.telephony.usecases.progress import followed_until, save_followed_until
from services.telephony.usecases.recordings import (
    BARE_ATTEMPTS,
    MOST_ATTEMPTS,
    MOST_LOOKS,
    adopt_orphans,
    due_recordings,
    kept,
    orphaned_calls,
    orphans,
    postponed,
    waiting_for_vault,
    write_recordings,
)

log = get_logger(__name__)

T = TypeVar("T")

# How long a pop waits for the answer who is calling, in seconds.
LOOKUP_WAIT_S: Final = 0.25
# How long the question itself may take; a late answer still reaches the pop.
LOOKUP_TIMEOUT_S: Final = 2.0
# Pause after a question that failed, in seconds; it doubles up to the longest. The end of the call cuts it short.
LOOKUP_RETRY_S: Final = 1.0
LOOKUP_LONGEST_RETRY_S: Final = 30.0
# Questions at the same time.
LOOKUP_THREADS: Final = 32
# Transactions at the same time: while one waits for the disk, others go on.
WRITERS: Final = 4
# How long a busy thread may keep the others from running, in seconds. Each answer of the database has to
# get past the threads that work on other calls and events; at Python's 5 ms those waits add up to more than
# the work itself.
SWITCH_S: Final = 0.0005
# Calls in one transaction: each of a batch waits for all of it.
LARGEST_BATCH: Final = 50
# What no page waits for (a call's begin, its end) is written together, so often, in seconds: a transaction costs about
# the same for one call and for ten.
SETTLE_S: Final = 0.2
# Pause after a write that failed, in seconds.
WRITE_RETRY_S: Final = 0.5
# How often it is looked whether a write is over, in seconds.
WRITING_POLL_S: Final = 0.01
# How long the writes under way may take when it is time to stop, in seconds.
DRAIN_S: Final = 5.0
# How often the lease is checked and recordings are looked for, in seconds.
LEASE_CHECK_S: Final = 1.0
RECORDINGS_POLL_S: Final = 1.0
# How often files are looked for that no call told of, in seconds: at the start, and then nightly.
ORPHANS_EVERY_S: Final = 86_400.0
# How often live calls are counted, in seconds.
COUNT_S: Final = 1.0
# How often it is noted until when the PBX was followed, in seconds.
PROGRESS_S: Final = 5.0
# How much earlier than that its log is read, in seconds: clocks differ, and events are under way.
OVERLAP_S: Final = 5.0
# How long the log is given to tell how the calls ended that live no more, in seconds, and how often it is asked.
LOG_WAIT_S: Final = 2.0
LOG_POLL_S: Final = 0.1
# A database that says nothing for this long, in seconds, has the lease no more.
LEASE_TIMEOUT_S: Final = 5.0


@dataclass
class _Lookup:
    """How far the question stands who has a number; callers is None while unanswered."""

    # As asked; empty for none that could be.
    number: str = ""
    # The call need not wait any longer.
    released: bool = False
    running: bool = False
    callers: Sequence[Caller] | None = None
    # The call is over: one question more, and no other.
    over: asyncio.Event = field(default_factory=asyncio.Event)


class PbxEdge:
    """Follow one PBX, from within one event loop: `run` until it is cancelled, then `drain` and `close`.

    directory: tells who has a number. vault: where recordings are kept; None: they are not.
    """

    def __init__(
        self, settings: PbxSettings, store: Store, directory: Directory, vault: Vault | None
    ) -> None:
        self._settings = settings
        self._store = store
        self._directory = directory
        self._vault = vault
        self._vault_down = False
        self._lines = Lines(store, settings.name)
        self._link = AmiLink(settings.ami, self._on_link_state)
        self._graph = Graph(settings.trunks)
        # Calls that changed since they were written, by linked id, and when the first such change arrived.
        self._changed: dict[str, Call] = {}
        self._arrived: dict[str, float] = {}
        # When those that can wait are to be written, in seconds of the loop's clock.
        self._due: dict[str, float] = {}
        self._tenants: dict[str, Tenant] = {}
        self._lookups: dict[str, _Lookup] = {}
        # When the first change arrived that is being written, by linked id.
        self._in_flight: dict[str, float] = {}
        # Until when the PBX was followed without a gap, in seconds since the epoch; 0 for never.
        self._followed_s = 0.0
        # No gap is open. While one is, an event says nothing of what came before it.
        self._in_step = False
        # When it was last brought in line with what lives, in seconds since the epoch.
        self._resynced_s = 0.0
        # From when on the log is still to be read once more.
        self._to_read: list[float] = []
        # What the log holds from before the first time is not asked for.
        self._earliest_s = 0.0
        self._wake = asyncio.Event()
        self._writing: set[str] = set()
        self._draining = False
        self._writers_free = asyncio.Semaphore(WRITERS)
        self._lines_missed = asyncio.Event()
        self._writer = ThreadPoolExecutor(WRITERS, "call-writer")
        self._askers = ThreadPoolExecutor(LOOKUP_THREADS, "caller-lookup")
        self._files = ThreadPoolExecutor(1, "pbx-files")
        # Of its own: a store of recordings that does not answer must not hold up the PBX's log.
        self._keeper = ThreadPoolExecutor(1, "recordings")
        self._orders = Orders(settings, store, self._link, lambda: self._graph.calls)
        self._queues = Queues(settings, store, self._link)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Restore the live calls, then follow the PBX until cancelled."""
        await self._in(self._files, self._lines.refresh)
        await self._in(self._writer, self._restore)
        if self._settings.events is not None:
            self._followed_s = await self._in(self._writer, self._progress)
            if not self._followed_s:
                self._earliest_s = time.time()
                await self._in(self._writer, lambda: self._save_followed(self._earliest_s))
        if self._changed:
            self._wake.set()
        async with asyncio.TaskGroup() as group:
            beside = (self._refresh_lines, self._count_calls, self._orders.run, self._queues.run)
            for work in (self._link.run, self._consume, self._write, *beside):
                group.create_task(work())
            if self._settings.events is not None:
                group.create_task(self._save_progress())
            if self._settings.recordings is not None and self._vault is not None:
                group.create_task(self._keep_recordings(self._settings.recordings, self._vault))

    async def drain(self) -> None:
        """Write what has changed, not waiting for who is calling: a call that is over never comes again."""
        self._draining = True
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while self._writing:
                    await asyncio.sleep(WRITING_POLL_S)
                while ready := self._ready():
                    for tenant, updates in ready.items():
                        if not await self._write_calls(tenant, updates):
                            return

    def close(self) -> None:
        """Let the threads go, and who waits to ask again."""
        for task in self._tasks:
            task.cancel()
        self._orders.close()
        self._queues.close()
        for pool in (self._writer, self._askers, self._files, self._keeper):
            pool.shutdown(wait=False, cancel_futures=True)

    # --- from events to the graph

    async def _consume(self) -> None:
        async for batch in self._link.batches():
            for item in batch:
                if isinstance(item, Gap):
                    await self._resync(item)
                    continue
                now = datetime.fromtimestamp(item.time_s, UTC)
                self._graph, changes = apply(self._graph, item.event, now)
                self._note(changes, item.time_s)
                if self._in_step:
                    self._followed_s = item.time_s
            metrics.AMI_EVENTS.labels(self._settings.name).inc(len(batch))

    async def _count_calls(self) -> None:
        """Measure now and then: at each event it would cost as much as to read one."""
        while True:
            metrics.AMI_OVERFLOWS.labels(self._settings.name).set(self._link.overflows)
            calls = self._graph.calls.values()
            metrics.LIVE_CALLS.labels(self._settings.name).set(len(calls))
            ringing = sum(call.answer_time is None for call in calls)
            metrics.RINGING_CALLS.labels(self._settings.name).set(ringing)
            await asyncio.sleep(COUNT_S)

    async def _resync(self, gap: Gap) -> None:
        self._in_step = False
        try:
            live = await self._list("CoreShowChannels")
        except AmiDownError:
            # The next login brings the next gap.
            return
        except AmiRefusedError as error:
            # Without the right to look, ghosts could not be told from calls.
            log.error("the PBX refuses to list its channels", error=str(error))
            return
        try:
            queues = await self._list("QueueStatus")
        except AmiError as error:
            log.warning("the PBX did not list its queues", error=str(error))
            queues = []
        self._queues.forget()
        now = time.time()
        waiting: list[Event] = [
            {**row, "Event": "QueueCallerJoin"} for row in queues if row.get("Event") == "QueueEntry"
        ]
        since_s = max(self._followed_s - OVERLAP_S, self._earliest_s)
        told, gone_over, over = await self._catch_up(live, since_s)
        # The log is younger than the list: what it says is over must not begin once more.
        live = [row for row in live if row.get("Uniqueid") not in over]
        self._graph, changes = resync(self._graph, live, datetime.fromtimestamp(now, UTC), gone_over)
        for event in waiting:
            self._graph, more = apply(self._graph, event, datetime.fromtimestamp(now, UTC))
            changes += more
        changes = (*told, *changes)
        # Until these are written, whoever follows after us has to read the log from as far back as we did.
        self._note(changes, since_s if told else now)
        self._followed_s = self._resynced_s = now
        self._in_step = True
        log.info("resynchronised", reason=gap.reason, channels=len(live), changes=len(changes))

    # --- what the PBX wrote down while nobody listened

    async def _catch_up(
        self, live: Sequence[Event], since_s: float
    ) -> tuple[Sequence[Change], Set[str], Set[str]]:
        """Bring the graph forward by the PBX's log: what began, was answered or ended since then.

        Returns what happened, the channels that went over into another call, and those that are over.
        """
        alive = {str(row.get("Uniqueid")) for row in live}
        if self._settings.events is None:
            return (), frozenset(), frozenset()
        give_up_s = time.monotonic() + LOG_WAIT_S
        while True:
            lines = await self._log_since(since_s)
            lines = until_listed(self._graph, lines, alive)
            graph, changes = replay(self._graph, lines)
            # The log runs a moment behind; a PBX that was killed never says how its calls ended.
            if graph.by_channel.keys() <= alive or time.monotonic() > give_up_s:
                break
            await asyncio.sleep(LOG_POLL_S)
        gone_over, over = moved(self._graph, graph, lines), ended(self._graph, lines)
        self._graph = graph
        # A call may have come and gone whole while its last lines were on their way to the file.
        self._to_read.append(since_s)
        self._start(self._look_again(since_s, {change.call.linked_id for change in changes}))
        return changes, gone_over, over

    async def _look_again(self, since_s: float, told: Set[str]) -> None:
        await asyncio.sleep(LOG_WAIT_S)
        lines = [line for line in await self._log_since(since_s) if line.linked_id not in told]
        lines = whole_calls(self._graph, lines)
        _, changes = replay(Graph(self._settings.trunks), lines)
        self._note(changes, since_s)
        self._to_read.remove(since_s)

    async def _log_since(self, since_s: float) -> Sequence[Line]:
        path = self._settings.events
        if path is None:
            return ()
        try:
            found = await self._in(self._files, lambda: read_since(path, since_s))
        except OSError as error:
            log.error("the PBX's log of events cannot be read", error=str(error))
            return ()
        if found.unreadable:
            log.error("lines of the PBX's log of events cannot be read", lines=found.unreadable)
        return found.lines

    async def _save_progress(self) -> None:
        """Note until when everything that the PBX told is in the store: a successor reads its log from there."""
        saved_s = 0.0
        while True:
            await asyncio.sleep(PROGRESS_S)
            until_s = self._stored_until()
            if until_s <= saved_s:
                continue
            try:
                await self._in(self._writer, lambda until_s=until_s: self._save_followed(until_s))  # type: ignore[misc]  # a default binds it
                saved_s = until_s
            except Exception as error:
                log.error("how far the PBX was followed could not be written", error=str(error))

    def _stored_until(self) -> float:
        """Return until when everything that happened is in the store, in seconds since the epoch."""
        pending = [*self._arrived.values(), *self._in_flight.values(), *self._to_read]
        return min([self._followed_s, *pending])

    def _progress(self) -> float:
        with self._store.across(HOME_DATABASE) as session:
            return followed_until(session, self._settings.name)

    def _save_followed(self, until_s: float) -> None:
        with self._store.nobodys(HOME_DATABASE) as session:
            save_followed_until(session, self._settings.name, until_s)

    async def _list(self, action: str) -> list[Event]:
        while True:
            try:
                return await self._link.listing(action)
            except AmiOutcomeUnknownError as error:
                log.warning("the PBX did not answer; asking again", error=str(error))

    def _note(self, changes: Sequence[Change], time_s: float) -> None:
        loop = asyncio.get_running_loop()
        for change in changes:
            linked_id = change.call.linked_id
            if isinstance(change, LegRinging | LegAnswered | CallerShown):
                self._due.pop(linked_id, None)
            elif linked_id not in self._changed:
                # All that settles within the same time is due together.
                due_s = (loop.time() // SETTLE_S + 1) * SETTLE_S
                self._due[linked_id] = due_s
                loop.call_at(due_s, self._wake.set)
            known = self._changed.get(linked_id)
            # What is over stays as it was told at its end, whatever straggles in behind it.
            if known is None or known.end_time is None:
                live = self._graph.calls.get(linked_id, change.call)
                self._changed[linked_id] = live if change.call.end_time is None else change.call
            self._arrived[linked_id] = min(time_s, self._arrived.get(linked_id, time_s))
            lookup = self._lookups.get(linked_id)
            if lookup and change.call.end_time is not None:
                lookup.over.set()
        if changes:
            self._wake.set()

    def _on_link_state(self, state: LinkState, _detail: str) -> None:
        metrics.AMI_UP.labels(self._settings.name).set(state is LinkState.READY)
        metrics.AMI_REFUSED.labels(self._settings.name).set(state is LinkState.REFUSED)

    # --- from the graph to the store

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            await self._writers_free.acquire()
            self._wake.clear()
            if ready := self._ready():
                self._start(self._write_ready(ready))
            else:
                self._writers_free.release()

    async def _write_ready(self, ready: Mapping[Tenant, list[CallUpdate]]) -> None:
        try:
            for tenant, updates in ready.items():
                await self._write_calls(tenant, updates)
        finally:
            self._writers_free.release()

    def _ready(self) -> Mapping[Tenant, list[CallUpdate]]:
        """Take the changed calls whose tenant is known, that wait for nothing and are not being written.

        Those that somebody waits for at a screen come first, and by themselves: a transaction is over for all of its
        calls at once.
        """
        ready: dict[Tenant, list[CallUpdate]] = defaultdict(list)
        now_s = asyncio.get_running_loop().time()
        urgent = taken = 0
        for linked_id, call in sorted(self._changed.items(), key=lambda each: each[0] in self._due):
            if linked_id in self._writing:
                continue
            tenant = self._tenant_of(call)
            if tenant is None:
                continue
            lookup = self._lookup(call, tenant)
            due_s = self._due.get(linked_id, 0.0)
            if not self._draining and (not lookup.released or due_s > now_s):
                continue
            if taken == LARGEST_BATCH or (urgent and due_s):
                # The rest is for the next writer.
                self._wake.set()
                break
            del self._changed[linked_id]
            self._due.pop(linked_id, None)
            self._writing.add(linked_id)
            ready[tenant].append(CallUpdate(call, lookup.callers))
            taken += 1
            urgent += not due_s
        return ready

    async def _write_calls(self, tenant: Tenant, updates: list[CallUpdate]) -> bool:
        """Write calls and tell whether that succeeded; if not, they are tried again in a moment."""
        linked_ids = [update.call.linked_id for update in updates]
        arrived = [self._arrived.pop(linked_id, time.time()) for linked_id in linked_ids]
        self._in_flight.update(zip(linked_ids, arrived, strict=True))
        try:
            await self._in(self._writer, lambda: self._record(tenant, updates))
        except Exception as error:
            metrics.WRITE_FAILURES.inc()
            log.error("calls could not be written; trying again", calls=len(updates), error=str(error))
            self._writing.difference_update(linked_ids)
            for update, first in zip(updates, arrived, strict=True):
                self._changed.setdefault(update.call.linked_id, update.call)
                self._arrived[update.call.linked_id] = first
                del self._in_flight[update.call.linked_id]
            asyncio.get_running_loop().call_later(WRITE_RETRY_S, self._wake.set)
            return False
        self._writing.difference_update(linked_ids)
        for linked_id in linked_ids:
            del self._in_flight[linked_id]
        # What changed meanwhile had to wait for this.
        if not self._changed.keys().isdisjoint(linked_ids):
            self._wake.set()
        for first in arrived:
            # What the log told happened while nobody listened: it says nothing of how fast this is.
            if first > self._resynced_s:
                metrics.WRITE_SECONDS.observe(max(0.0, time.time() - first))
        for update in updates:
            if update.call.end_time is not None:
                self._forget(update.call.linked_id)
        return True

    def _record(self, tenant: Tenant, updates: Sequence[CallUpdate]) -> None:
        with self._store.transaction(tenant) as tx:
            record_calls(tx, self._settings.name, updates, self._lines.pops(tenant))

    def _tenant_of(self, call: Call) -> Tenant | None:
        known = self._tenants.get(call.linked_id)
        if known is not None:
            return known
        tenant = self._lines.tenant_of(call)
        if tenant is not None:
            self._tenants[call.linked_id] = tenant
        elif call.end_time is not None:
            metrics.UNASSIGNED.labels(self._settings.name).inc()
            log.warning("a call on lines of no tenant", did=call.dialled_number, linked_id=call.linked_id)
            del self._changed[call.linked_id]
            self._due.pop(call.linked_id, None)
            self._arrived.pop(call.linked_id, None)
        else:
            self._lines_missed.set()
        return tenant

    def _forget(self, linked_id: str) -> None:
        """Drop what is kept beside a call that is over, unless an answer is still on its way."""
        lookup = self._lookups.get(linked_id)
        if linked_id in self._graph.calls or linked_id in self._changed or (lookup and lookup.running):
            return
        self._lookups.pop(linked_id, None)
        self._tenants.pop(linked_id, None)

    def _restore(self) -> None:
        call = tables.call
        looked_up = call.c.callers.is_not(None).label("looked_up")
        query = select(call.c.id, call.c.tenant_id, call.c.graph, looked_up).where(
            call.c.pbx == self._settings.name, call.c.graph.is_not(None)
        )
        calls: list[Call] = []
        unreadable: list[tuple[Tenant, str]] = []
        for database in self._store.urls:
            with self._store.across(database) as session:
                for row in session.execute(query):
                    try:
                        found = from_json(row.graph)
                    except Exception:
                        # One call that a different version stored must not keep all others from being followed.
                        log.exception("a stored call cannot be read", call_id=row.id)
                        unreadable.append((Tenant(row.tenant_id, database), row.id))
                        continue
                    calls.append(found)
                    self._tenants[found.linked_id] = Tenant(row.tenant_id, database)
                    if row.looked_up:
                        number = match_number(found.outside_number)
                        self._lookups[found.linked_id] = _Lookup(number, released=True)
                    else:
                        # Written again, it is asked again who is calling.
                        self._changed[found.linked_id] = found
        for tenant, call_id in unreadable:
            with self._store.transaction(tenant) as tx:
                end_lost_call(tx, call_id)
        self._graph = restore(self._settings.trunks, calls)
        if calls:
            log.info("live calls restored", calls=len(calls))

    # --- who is calling

    def _lookup(self, call: Call, tenant: Tenant) -> _Lookup:
        """Return how far the question stands for a call, and ask it when there is something to ask."""
        known = self._lookups.get(call.linked_id)
        if known is not None and known.number:
            return known
        number = match_number(call.outside_number)
        # A number that was hidden may come to light.
        if known is not None and not number:
            return known
        if call.direction is Direction.INTERNAL:
            # It may still turn out to go outside.
            return _Lookup(released=True)
        if not number:
            lookup = _Lookup(released=True, callers=())
        else:
            lookup = _Lookup(number, running=True)
            if call.end_time is not None:
                lookup.over.set()
            self._start(self._ask(call.linked_id, call.outside_number, tenant, lookup))
            asyncio.get_running_loop().call_later(LOOKUP_WAIT_S, self._release, lookup)
        self._lookups[call.linked_id] = lookup
        return lookup

    def _release(self, lookup: _Lookup) -> None:
        if not lookup.released:
            lookup.released = True
            self._wake.set()

    async def _ask(self, linked_id: str, number: str, tenant: Tenant, lookup: _Lookup) -> None:
        """Ask until there is an answer and it is with the call; once more at the end of the call, then no more."""
        pause_s = LOOKUP_RETRY_S
        while True:
            last = lookup.over.is_set()
            if lookup.callers is None:
                lookup.callers = await self._answer(tenant, number)
            late = lookup.released
            self._release(lookup)
            callers = lookup.callers
            if callers is not None and (not late or await self._tell_late(tenant, linked_id, callers)):
                break
            if last:
                log.error("a call stays without who called", linked_id=linked_id)
                break
            with suppress(TimeoutError):
                await asyncio.wait_for(lookup.over.wait(), pause_s)
            pause_s = min(2 * pause_s, LOOKUP_LONGEST_RETRY_S)
        lookup.running = False
        self._forget(linked_id)

    async def _answer(self, tenant: Tenant, number: str) -> Sequence[Caller] | None:
        """Ask once who has a number; None when nobody could say."""
        try:
            callers = await self._in(
                self._askers, lambda: self._directory.callers(tenant, number, LOOKUP_TIMEOUT_S)
            )
        except AppError as error:
            metrics.LOOKUPS.labels("failed").inc()
            log.warning("nobody could say who is calling", error=str(error))
            return None
        metrics.LOOKUPS.labels("found" if callers else "nobody").inc()
        return callers

    async def _tell_late(self, tenant: Tenant, linked_id: str, callers: Sequence[Caller]) -> bool:
        """Bring an answer to a call that was written without it, and tell whether that succeeded."""
        # A write under way may be the call's first.
        while linked_id in self._writing:
            await asyncio.sleep(WRITING_POLL_S)
        if linked_id in self._changed:
            # The write to come takes it along.
            return True
        try:
            await self._in(self._writer, lambda: self._attach(tenant, linked_id, callers))
        except Exception as error:
            log.error("a late answer who is calling could not be written", error=str(error))
            return False
        # A card that waited to hear who calls may come up now.
        live = self._graph.calls.get(linked_id)
        if live is not None and self._lines.pops(tenant).of(live.queue).choosy:
            self._changed.setdefault(linked_id, live)
            self._arrived.setdefault(linked_id, time.time())
            self._wake.set()
        return True

    def _attach(self, tenant: Tenant, linked_id: str, callers: Sequence[Caller]) -> None:
        with self._store.transaction(tenant) as tx:
            attach_callers(tx, self._settings.name, linked_id, callers)

    # --- beside the calls

    async def _refresh_lines(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._lines_missed.wait(), REFRESH_S)
            await self._in(self._files, self._lines.refresh)
            self._wake.set()
            # A number that is nobody's must not have them read all the time.
            await asyncio.sleep(1)
            self._lines_missed.clear()

    async def _keep_recordings(self, folder: Path, vault: Vault) -> None:
        looked_s = -ORPHANS_EVERY_S
        while True:
            await asyncio.sleep(RECORDINGS_POLL_S)
            try:
                if time.monotonic() - looked_s > ORPHANS_EVERY_S:
                    await self._in(self._keeper, lambda: self._adopt(folder))
                    looked_s = time.monotonic()
                while await self._in(self._keeper, lambda: self._keep_due(folder, vault)):
                    pass
            except Exception as error:
                log.error("recordings could not be looked for", error=str(error))

    def _adopt(self, folder: Path) -> None:
        files = orphans(folder, self._store.clock())
        for database in self._store.urls:
            with self._store.across(database) as session:
                found = orphaned_calls(session, self._settings.name, files)
            for tenant_id, calls in found.items():
                with self._store.transaction(Tenant(tenant_id, database)) as tx:
                    metrics.RECORDINGS.labels("orphan").inc(adopt_orphans(tx, self._settings.name, calls))

    def _keep_due(self, folder: Path, vault: Vault) -> bool:
        """Look at recordings that are due; tell whether there may be more of them."""
        more = False
        for database in self._store.urls:
            with self._store.across(database) as session:
                due = due_recordings(session, self._settings.name, self._store.clock())
            more = more or len(due) == MOST_LOOKS
            looked: dict[Tenant, list[tuple[Row, str, Recording | Exception]]] = defaultdict(list)
            for row in due:
                tenant = Tenant(row["tenant_id"], database)
                key = f"{tenant.id}/{row['create_time']:%Y/%m/%d}/{row['id']}.wav"
                found = _look_at(locate(row["path"], folder), vault, key)
                looked[tenant].append((row, key, found))
                self._heard_of_vault(found)
                if isinstance(found, VaultDownError):
                    # The others would wait for it, too.
                    more = False
                    break
            for tenant, rows in looked.items():
                # One transaction for what one look found: a crash before it only looks again.
                with self._store.transaction(tenant) as tx:
                    write_recordings(tx, [_after_look(tx.now, *look) for look in rows])
        return more

    def _heard_of_vault(self, found: Recording | Exception) -> None:
        """Log once that the place of recordings is down, and once that it is back."""
        if isinstance(found, VaultDownError) and not self._vault_down:
            log.error("recordings cannot be kept; trying again", why=str(found))
            self._vault_down = True
        elif isinstance(found, Recording) and self._vault_down:
            log.info("recordings can be kept again")
            self._vault_down = False

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _in(self, pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, work)


def _look_at(source: Path, vault: Vault, key: str) -> Recording | Exception:
    """Keep a recording if it is whole; return what it is, or why not."""
    try:
        return keep(source, vault, key)
    except (UnfinishedError, RefusedError, VaultDownError, OSError) as error:
        return error


def _after_look(now: datetime, row: Row, key: str, found: Recording | Exception) -> Row:
    """Return a recording's row after a look at it, and count it."""
    if isinstance(found, Recording):
        metrics.RECORDINGS.labels("kept").inc()
        return kept(row, key, found)
    if isinstance(found, VaultDownError):
        # Not the recording's fault: however long it takes, none is given up for it.
        metrics.RECORDINGS.labels("waiting").inc()
        return waiting_for_vault(row, str(found), now)
    most = BARE_ATTEMPTS if isinstance(found, RefusedError) else MOST_ATTEMPTS
    after = postponed(row, str(found), most, now)
    if after["state"] == "refused":
        metrics.RECORDINGS.labels("refused").inc()
        log.warning("recording is given up", recording_id=row["id"], why=str(found))
    return after


def run(runtime: Runtime) -> int:
    """Own the PBX whenever the lease is ours, until SIGTERM."""
    settings = read_pbx(runtime.environ)
    vault = read_vault(runtime.environ)
    directory = clients.Everybody(clients.customers(runtime), clients.leads(runtime))
    stop = stop_event()
    sys.setswitchinterval(SWITCH_S)
    stop_relays = start_relays(runtime, RELAY_PATIENCE_S)
    started("telephony.pbx", runtime.settings.metrics_address, runtime.settings.metrics_port)
    lease = Lease(runtime.settings.database_urls[HOME_DATABASE], f"telephony.pbx.{settings.name}")
    while lease.acquire(stop):
        metrics.EDGE_ACTIVE.labels("pbx").set(1)
        asyncio.run(_follow(lambda: PbxEdge(settings, runtime.store, directory, vault), lease, stop))
        metrics.EDGE_ACTIVE.labels("pbx").set(0)
        lease.release()
    stop_relays()
    runtime.store.close()
    return 0


async def _follow(make: Callable[[], PbxEdge], lease: Lease, stop: threading.Event) -> None:
    """Run an edge until the lease is lost or `stop` is set; raises what the edge raises."""
    edge = make()
    work = asyncio.create_task(edge.run())
    held = True
    while held and not stop.is_set() and not work.done():
        await asyncio.wait([work], timeout=LEASE_CHECK_S)
        try:
            held = await asyncio.wait_for(asyncio.to_thread(lease.held), LEASE_TIMEOUT_S)
        except TimeoutError:
            held = False
    work.cancel()
    with suppress(asyncio.CancelledError):
        await work
    if held:
        await edge.drain()
    edge.close()
