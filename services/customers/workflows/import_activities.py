"""The activities of imports: batches between the store and dedupe, each repeatable at any point."""

import contextvars
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

from temporalio import activity

from services.chassis.db import Store
from services.chassis.errors import AppError, InvalidInput
from services.chassis.logging import get_logger
from services.chassis.tenancy import Tenant
from services.customers.clients import Dedupe, Holder
from services.customers.usecases import import_steps
from services.customers.usecases.import_steps import Batch, Refused
from services.customers.workflows.import_contracts import ImportKind, ImportStep

log = get_logger(__name__)

# Batches of one activity: its end is written down, and others get a turn.
MOST_BATCHES = 20
# How often an activity says that it lives, in seconds.
BEAT_S = 1.0

# Why reservations were not made, by their ids.
Refusals = Mapping[str, Refused]


@contextmanager
def beating() -> Iterator[None]:
    """Tell Temporal every second that this process lives, whatever the work waits for.

    Where the work is called as a plain function there is nobody to tell.
    """
    if not activity.in_activity():
        yield
        return
    stop, context = threading.Event(), contextvars.copy_context()

    def beat() -> None:
        while not stop.wait(BEAT_S):
            context.run(activity.heartbeat)

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


class ImportSteps:
    """What is done with an import, over the store and dedupe; for the worker, and for commands.

    most_batches: of one call.
    """

    def __init__(self, store: Store, dedupe: Dedupe, most_batches: int = MOST_BATCHES) -> None:
        self._store = store
        self._dedupe = dedupe
        self._most_batches = most_batches

    def stage(self, tenant: Tenant, import_id: str) -> None:
        """Read a file; one that cannot be read ends its import."""
        try:
            with self._store.transaction(tenant) as tx:
                import_steps.stage(tx, import_id)
        except InvalidInput as error:
            log.info("a file cannot be read", import_id=import_id, reason=error.reason)
            with self._store.transaction(tenant) as tx:
                import_steps.fail(tx, import_id, error)

    def check(self, tenant: Tenant, import_id: str) -> bool:
        """Check some batches; return whether rows are left."""

        def read(before: Batch | None) -> Batch:
            with self._store.transaction(tenant) as tx:
                return import_steps.batch_to_check(tx, import_id, before)

        def write(batch: Batch, refusals: Refusals) -> list[str]:
            with self._store.transaction(tenant) as tx:
                import_steps.note_checked(tx, import_id, batch, refusals)
            return []

        return self._drive(tenant, import_id, read, partial(self._reserve, tenant, validate_only=True), write)

    def commit(self, tenant: Tenant, import_id: str) -> bool:
        """Make customers of some batches; return whether rows are left."""

        def read(before: Batch | None) -> Batch:
            with self._store.transaction(tenant) as tx:
                return import_steps.batch_to_commit(tx, import_id, before)

        def write(batch: Batch, refusals: Refusals) -> list[str]:
            with self._store.transaction(tenant, batch.holder[0]) as tx:
                return import_steps.write_batch(tx, import_id, batch, refusals)

        return self._drive(tenant, import_id, read, partial(self._reserve, tenant), write)

    def _drive(
        self,
        tenant: Tenant,
        import_id: str,
        read: Callable[[Batch | None], Batch],
        reserve: Callable[[Batch], Refusals],
        write: Callable[[Batch, Refusals], list[str]],
    ) -> bool:
        """Write batches while the next one's keys are reserved and the one behind it is read.

        Returns whether rows are left behind them.
        """
        with ThreadPoolExecutor(3, thread_name_prefix="ahead") as ahead:
            batch = read(None)
            refusals, following = reserve(batch), ahead.submit(read, batch)
            for left in reversed(range(self._most_batches)):
                if not batch.more:
                    with self._store.transaction(tenant) as tx:
                        return not import_steps.finish(tx, import_id)
                if left:
                    coming = following.result()
                    # Of one batch, never more: what was reserved for it stays open when this process dies.
                    reserved, following = ahead.submit(reserve, coming), ahead.submit(read, coming)
                if written := write(batch, refusals):
                    ahead.submit(self._confirm, tenant, written)
                if left:
                    batch, refusals = coming, reserved.result()
        return True

    def _reserve(self, tenant: Tenant, batch: Batch, *, validate_only: bool = False) -> Refusals:
        if not batch.items:
            return {}
        held = self._dedupe.reserve_batch(
            tenant, Holder(*batch.holder), batch.drafts, validate_only=validate_only
        )
        return {
            reservation_id: Refused(refusal.reason, refusal.zh, refusal.en)
            for reservation_id, refusal in held.items()
        }

    def _confirm(self, tenant: Tenant, written: list[str]) -> None:
        if not written:
            return
        try:
            self._dedupe.confirm_batch(tenant, written)
        except AppError as error:
            log.warning("keys are confirmed by events", count=len(written), error=str(error))


class ImportActivities:
    """The activities of an import's steps."""

    def __init__(self, steps: ImportSteps) -> None:
        self._steps = steps

    @property
    def all(self) -> list[Callable[[ImportStep], bool]]:
        """The activities, for a worker."""
        return [self.stage, self.check, self.commit]

    @activity.defn(name=ImportKind.STAGE)
    def stage(self, step: ImportStep) -> bool:
        """Read the file."""
        with beating():
            self._steps.stage(step.tenant, step.import_id)
        return False

    @activity.defn(name=ImportKind.CHECK)
    def check(self, step: ImportStep) -> bool:
        """Check some batches; return whether there are more."""
        with beating():
            return self._steps.check(step.tenant, step.import_id)

    @activity.defn(name=ImportKind.COMMIT)
    def commit(self, step: ImportStep) -> bool:
        """Commit some batches; return whether there are more."""
        with beating():
            return self._steps.commit(step.tenant, step.import_id)
