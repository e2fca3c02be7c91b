"""The activities of an approval's workflow: ask identity, then one transaction; each may be repeated."""

from collections.abc import Callable, Sequence
from typing import Any

from temporalio import activity

from services.approvals.usecases import approvals
from services.approvals.usecases.approvers import Directory, find_approvers
from services.approvals.workflows.contracts import PREPARE, REFRESH, REMIND, ApprovalStart, Reminder
from services.chassis.db import Store


class ApprovalActivities:
    """The activities with what they work on."""

    def __init__(self, store: Store, directory: Directory) -> None:
        self._store = store
        self._directory = directory

    def all(self) -> Sequence[Callable[..., Any]]:
        """Return every activity, for the worker."""
        return [self.prepare, self.remind, self.refresh]

    @activity.defn(name=PREPARE)
    def prepare(self, start: ApprovalStart) -> int:
        """Find the approvers of every step that is asked and open the first; return the open step's index."""
        with self._store.transaction(start.tenant) as tx:
            submitter_id, steps = approvals.steps_to_prepare(tx, start.approval_id)
        found = {
            step.index: find_approvers(self._directory, start.tenant, submitter_id, step) for step in steps
        }
        with self._store.transaction(start.tenant, submitter_id) as tx:
            return approvals.prepare(tx, start.approval_id, found)

    @activity.defn(name=REMIND)
    def remind(self, reminder: Reminder) -> int:
        """Find anew who decides the open step and say that it waits; return the open step's index."""
        with self._store.transaction(reminder.tenant) as tx:
            submitter_id, step = approvals.step_to_remind(tx, reminder.approval_id)
        if step is None:
            return -1
        found = find_approvers(self._directory, reminder.tenant, submitter_id, step)
        with self._store.transaction(reminder.tenant) as tx:
            return approvals.remind(tx, reminder.approval_id, reminder.number, step.index, found)

    @activity.defn(name=REFRESH)
    def refresh(self, start: ApprovalStart) -> int:
        """Find anew who decides what is not decided yet; return the open step's index."""
        with self._store.transaction(start.tenant) as tx:
            submitter_id, steps = approvals.steps_to_refresh(tx, start.approval_id)
        found = {
            step.index: find_approvers(self._directory, start.tenant, submitter_id, step) for step in steps
        }
        with self._store.transaction(start.tenant) as tx:
            return approvals.refresh(tx, start.approval_id, found)
