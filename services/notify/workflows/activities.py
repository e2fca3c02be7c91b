"""The sweep: sees to each due reminder by itself, so that one that fails holds up no other."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Protocol

from temporalio import activity
from temporalio.exceptions import CancelledError

from services.chassis.db import Store
from services.chassis.errors import InvalidInput, NotFound, RuleViolation
from services.chassis.logging import get_logger
from services.chassis.tenancy import Tenant
from services.notify.metrics import REMINDERS
from services.notify.usecases import reminders
from services.notify.usecases.reminders import DueReminder
from services.notify.workflows.contracts import BATCH, SWEEP, Sweep, Swept

log = get_logger(__name__)

# The role that is told when a salesperson cannot be reached.
MANAGERS_ROLE = "sales_manager"
# What the edge says of a person without a mobile.
NO_MOBILE = "NO_MOBILE"
# Errors that another try will not mend.
FINAL = (InvalidInput, NotFound, RuleViolation)


class Orders(Protocol):
    """What is asked of orders."""

    def is_handled(self, tenant: Tenant, order_id: str) -> bool:
        """Return whether an order's owner has handled it (O15)."""


class Telephony(Protocol):
    """What is asked of the SMS edge."""

    def send_sms(self, tenant: Tenant, sms_id: str, person_id: str, text: str) -> None:
        """Hand an SMS over, once for each id; raises RuleViolation NO_MOBILE."""


class Directory(Protocol):
    """What is asked of identity."""

    def role_holders(self, tenant: Tenant, person_id: str, role: str) -> list[str]:
        """Return the active holders of a role over a person."""


class ReminderActivities:
    """The activity with what it works on."""

    def __init__(self, store: Store, orders: Orders, telephony: Telephony, directory: Directory) -> None:
        self._store = store
        self._orders = orders
        self._telephony = telephony
        self._directory = directory

    def all(self) -> Sequence[Callable[..., Any]]:
        """Return every activity, for the worker."""
        return [self.sweep]

    @activity.defn(name=SWEEP)
    def sweep(self, sweep: Sweep) -> Swept:
        """See to a batch of due reminders; return when there is something to do again."""
        now = datetime.fromisoformat(sweep.now)
        with self._store.transaction(sweep.tenant, now=now) as tx:
            due = reminders.due(tx, BATCH)
        for reminder in due:
            activity.heartbeat()
            self._see_to(sweep.tenant, now, reminder)
        with self._store.transaction(sweep.tenant, now=now) as tx:
            next_time = reminders.next_time(tx)
        return Swept(next_time.isoformat() if next_time else "")

    def _see_to(self, tenant: Tenant, now: datetime, reminder: DueReminder) -> None:
        try:
            outcome = self._remind(tenant, now, reminder)
        except FINAL as error:
            with self._store.transaction(tenant, now=now) as tx:
                reminders.give_up(tx, reminder.reminder_id, error.reason)
            outcome = "failed"
        except CancelledError:
            # The worker stops: the next one begins with this reminder.
            raise
        except Exception as error:
            # Whatever it is, a fault of ours too: it must not keep the reminders behind it from their turn.
            log.warning("reminder will be tried again", reminder_id=reminder.reminder_id, error=str(error))
            with self._store.transaction(tenant, now=now) as tx:
                reminders.try_again_later(tx, reminder.reminder_id, type(error).__name__)
            outcome = "postponed"
        REMINDERS.labels(outcome).inc()

    def _remind(self, tenant: Tenant, now: datetime, reminder: DueReminder) -> str:
        text = reminder.sms_text
        if not text:
            # Until here the order's handling decides; behind it an SMS goes out, whatever happens to the order.
            if self._orders.is_handled(tenant, reminder.order_id):
                with self._store.transaction(tenant, now=now) as tx:
                    reminders.cancel_reminder_of(tx, reminder.order_id)
                return "cancelled"
            with self._store.transaction(tenant, now=now) as tx:
                text = reminders.intend_sms(tx, reminder.reminder_id)
            if not text:
                return "cancelled"
        try:
            self._telephony.send_sms(tenant, reminder.reminder_id, reminder.person_id, text)
        except RuleViolation as error:
            if error.reason != NO_MOBILE:
                raise
            managers = self._directory.role_holders(tenant, reminder.person_id, MANAGERS_ROLE)
            with self._store.transaction(tenant, now=now) as tx:
                reminders.only_in_app(tx, reminder.reminder_id, managers)
            return "in_app_only"
        with self._store.transaction(tenant, now=now) as tx:
            reminders.handed_over(tx, reminder.reminder_id)
        return "handed_over"
