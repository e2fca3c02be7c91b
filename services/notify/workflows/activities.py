"""The sweep: sees to each due reminder by itself, so that one that fails holds up no other."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from temporalio import activity
from temporalio.exceptions import CancelledError

from services.chassis.db import Store
from services.chassis.errors import AppError, InvalidInput, NotFound, OutcomeUnknown, RuleViolation
from services.chassis.logging import get_logger
from services.chassis.tenancy import Tenant
from services.notify.channels import Way
from services.notify.domain.notices import Channel, DeliveryState
from services.notify.metrics import DELIVERIES, REMINDERS
from services.notify.usecases import bulk_mails, contacts, deliveries, follow_ups, reminders
from services.notify.usecases.deliveries import Outgoing
from services.notify.usecases.reminders import DueReminder
from services.notify.workflows.contracts import BATCH, SWEEP, Sweep, Swept

log = get_logger(__name__)

# The role that is told when a salesperson cannot be reached.
MANAGERS_ROLE = "sales_manager"
# What the edge says of a person without a mobile.
NO_MOBILE = "NO_MOBILE"
# Characters of an SMS at most, as telephony takes it.
LONGEST_SMS = 500
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

    def __init__(
        self,
        store: Store,
        orders: Orders,
        telephony: Telephony,
        directory: Directory,
        ways: Mapping[Channel, Way],
    ) -> None:
        self._ways = ways
        self._store = store
        self._orders = orders
        self._telephony = telephony
        self._directory = directory

    def all(self) -> Sequence[Callable[..., Any]]:
        """Return every activity, for the worker."""
        return [self.sweep]

    @activity.defn(name=SWEEP)
    def sweep(self, sweep: Sweep) -> Swept:
        """See to a batch of everything that is due; return when there is something to do again."""
        now = datetime.fromisoformat(sweep.now)
        with self._store.transaction(sweep.tenant, now=now) as tx:
            due = reminders.due(tx, BATCH)
        for reminder in due:
            activity.heartbeat()
            self._see_to(sweep.tenant, now, reminder)
        self._escalate(sweep.tenant, now)
        with self._store.transaction(sweep.tenant, now=now) as tx:
            follow_ups.fire_due(tx, BATCH)
            follow_ups.fire_overdue(tx, BATCH)
        self._tell_the_day(sweep.tenant, now)
        self._deliver(sweep.tenant, now)
        self._send_bulk(sweep.tenant, now)
        with self._store.transaction(sweep.tenant, now=now) as tx:
            times = [
                reminders.next_time(tx),
                follow_ups.next_time(tx),
                contacts.next_time(tx),
                deliveries.next_time(tx),
                bulk_mails.next_time(tx),
            ]
        next_time = min((time for time in times if time), default=None)
        return Swept(next_time.isoformat() if next_time else "")

    def _escalate(self, tenant: Tenant, now: datetime) -> None:
        """Tell managers of orders that stay unhandled; a service that is away is asked again by the next sweep."""
        with self._store.transaction(tenant, now=now) as tx:
            due = reminders.to_escalate(tx, BATCH)
        for reminder in due:
            activity.heartbeat()
            managers: Sequence[str] = ()
            try:
                if not self._orders.is_handled(tenant, reminder.order_id):
                    managers = self._directory.role_holders(tenant, reminder.person_id, MANAGERS_ROLE)
            except FINAL as error:
                # No such order or person any more: there is nothing to tell.
                log.warning(
                    "an order was not escalated", reminder_id=reminder.reminder_id, reason=error.reason
                )
            except AppError as error:
                log.warning("escalation is tried again", reminder_id=reminder.reminder_id, error=str(error))
                with self._store.transaction(tenant, now=now) as tx:
                    reminders.escalate_later(tx, reminder.reminder_id)
                continue
            with self._store.transaction(tenant, now=now) as tx:
                reminders.escalate(tx, reminder.reminder_id, managers)

    def _tell_the_day(self, tenant: Tenant, now: datetime) -> None:
        """Give everybody the lists of the day once their time has come; dead in between, the rest is told later."""
        with self._store.transaction(tenant, now=now) as tx:
            people = contacts.people_to_tell(tx)
        for person_id in people:
            activity.heartbeat()
            with self._store.transaction(tenant, now=now) as tx:
                contacts.tell(tx, person_id)
        with self._store.transaction(tenant, now=now) as tx:
            contacts.done_for_today(tx)

    def _deliver(self, tenant: Tenant, now: datetime) -> None:
        """Send what is due on the other channels, each by itself."""
        with self._store.transaction(tenant, now=now) as tx:
            due = deliveries.due(tx, BATCH)
        for outgoing in due:
            activity.heartbeat()
            with self._store.transaction(tenant, now=now) as tx:
                if not deliveries.begin(tx, outgoing):
                    continue
            state, detail = self._send(tenant, outgoing)
            with self._store.transaction(tenant, now=now) as tx:
                if state is DeliveryState.PENDING:
                    deliveries.try_again(tx, outgoing, detail)
                else:
                    deliveries.settle(tx, outgoing, state, detail)
            DELIVERIES.labels(outgoing.channel.value, state.value).inc()

    def _send_bulk(self, tenant: Tenant, now: datetime) -> None:
        """Send the next bulk mails, each by itself, and end those that are through."""
        with self._store.transaction(tenant, now=now) as tx:
            due = bulk_mails.due(tx, BATCH)
        for outgoing in due:
            activity.heartbeat()
            with self._store.transaction(tenant, now=now) as tx:
                if not bulk_mails.begin(tx, outgoing):
                    continue
            state, detail = self._send(tenant, outgoing)
            with self._store.transaction(tenant, now=now) as tx:
                bulk_mails.settle(tx, outgoing, state, detail)
            DELIVERIES.labels("bulk_mail", state.value).inc()
        with self._store.transaction(tenant, now=now) as tx:
            bulk_mails.end_those_through(tx)

    def _send(self, tenant: Tenant, outgoing: Outgoing) -> tuple[DeliveryState, str]:
        """Send one thing and say what became of it; PENDING: it did not go out and may be tried again."""
        try:
            if outgoing.channel is Channel.SMS:
                self._telephony.send_sms(
                    tenant, outgoing.delivery_ids[0], outgoing.person_id, sms_text(outgoing)
                )
                return DeliveryState.QUEUED, ""
            way = self._ways.get(outgoing.channel)
            if way is None:
                return DeliveryState.FAILED, "channel is not set up"
            way(outgoing)
        except FINAL as error:
            return DeliveryState.FAILED, error.reason
        except OutcomeUnknown as error:
            if outgoing.channel is Channel.SMS:
                # Telephony takes an id once: asking again is safe.
                return DeliveryState.PENDING, error.reason
            return DeliveryState.UNCERTAIN, error.reason
        except CancelledError:
            raise
        except Exception as error:
            log.warning("a delivery will be tried again", channel=outgoing.channel.value, error=str(error))
            if isinstance(error, AppError):
                return DeliveryState.PENDING, error.reason
            # A fault of ours, who knows where.
            return DeliveryState.UNCERTAIN, type(error).__name__
        return DeliveryState.SENT, ""

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


def sms_text(outgoing: Outgoing) -> str:
    """Return a message as one SMS: title and text, cut to what an SMS may have."""
    text = f"{outgoing.title}：{outgoing.text}" if outgoing.text else outgoing.title
    return text if len(text) <= LONGEST_SMS else f"{text[: LONGEST_SMS - 1]}…"
