"""What other services tell customers: decisions on registrations, calls, and who moved."""

from datetime import datetime

from services.chassis.db import Event, Transaction
from services.chassis.events import Handlers
from services.customers.domain.merges import FOLLOWERS
from services.customers.store.tables import Staff
from services.customers.usecases.care import add_call, add_evidence, withdraw_call
from services.customers.usecases.evidence import take_report
from services.customers.usecases.merges import take_followed
from services.customers.usecases.registrations import pass_registration, reject_registration
from services.customers.usecases.staff import move_person, save_person
from services.customers.usecases.timeline import CALL, note_event
from services.kernel.ownership import Evidence

handlers = Handlers("customers")

# Subject of the approvals that concern us.
REGISTRATION = "registration"


@handlers.on("approvals", "approval_passed")
def on_approval_passed(tx: Transaction, event: Event) -> None:
    """A registration has passed: it becomes a customer."""
    if event.data["subjectType"] == REGISTRATION:
        pass_registration(tx, event.data["subjectId"], event.data["deciderId"])


@handlers.on("approvals", "approval_rejected")
def on_approval_rejected(tx: Transaction, event: Event) -> None:
    """A registration was rejected: it never becomes a customer."""
    if event.data["subjectType"] == REGISTRATION:
        reject_registration(tx, event.data["subjectId"])


@handlers.on("approvals", "approval_withdrawn")
def on_approval_withdrawn(tx: Transaction, event: Event) -> None:
    """A registration was taken back by its submitter: it never becomes a customer either."""
    if event.data["subjectType"] == REGISTRATION:
        reject_registration(tx, event.data["subjectId"])


@handlers.on("telephony", "call_ended")
def on_call_ended(tx: Transaction, event: Event) -> None:
    """A call of a known customer has ended: a connected one is evidence of work."""
    _take_call(tx, event)


@handlers.on("telephony", "call_linked")
def on_call_linked(tx: Transaction, event: Event) -> None:
    """Whose call it was became known after its end: evidence of when it was, not of now."""
    _take_call(tx, event)


@handlers.on("telephony", "sms_received")
def on_sms_received(tx: Transaction, event: Event) -> None:
    """A customer answered by SMS."""
    note_event(tx, event, "sms", "receivedId", event.data["customerId"], ("text", "optOut"))


@handlers.on("telephony", "sms_sent")
def on_sms_sent(tx: Transaction, event: Event) -> None:
    """A customer was written to: no evidence of work, or a bulk SMS would keep every customer."""
    note_event(tx, event, "sms", "smsId", event.data["customerId"], ("text",))


@handlers.on("telephony", "call_linked")
def on_call_moved(tx: Transaction, event: Event) -> None:
    """It was another's before: there it is evidence no more."""
    data = event.data
    if data.get("fromCustomerId"):
        withdraw_call(
            tx,
            data["fromCustomerId"],
            data["callId"],
            datetime.fromisoformat(data["endTime"]),
            answered=data["answered"],
            talk_s=data["talkSeconds"],
        )


@handlers.on("identity", "person_saved")
def on_person_saved(tx: Transaction, event: Event) -> None:
    """Somebody may have moved: what they own is seen in the department of now."""
    data = event.data
    save_person(
        tx,
        Staff(
            tenant_id=tx.tenant.id,
            person_id=data["personId"],
            active=data.get("active", True),
            department_path=data["departmentPath"],
            roles=data.get("roles", []),
            region_ids=data.get("regionDepartmentIds", []),
            version=event.version,
        ),
    )
    move_person(tx, data["personId"], data["departmentPath"])


@handlers.on("orders", "order_generated")
def on_order_generated(tx: Transaction, event: Event) -> None:
    """A deal is won and its order is there: evidence of work."""
    if event.data.get("customerId"):
        held_id = add_evidence(tx, event.data["customerId"], Evidence.ORDER, event.time)
        names = ("number", "title", "amount")
        note_event(tx, event, "order", "orderId", event.data["customerId"], names, held_id)


@handlers.on("orders", "order_approved")
def on_order_approved(tx: Transaction, event: Event) -> None:
    """An order is approved: the customer has a contract."""
    if event.data.get("customerId"):
        held_id = add_evidence(tx, event.data["customerId"], Evidence.CONTRACT, event.time)
        note_event(tx, event, "order", "orderId", event.data["customerId"], ("number",), held_id)


@handlers.on("telephony", "evidence_reported")
def on_calls_reported(tx: Transaction, event: Event) -> None:
    """Telephony told of every call up to a time."""
    take_report(tx, event.source, datetime.fromisoformat(event.data["throughTime"]))


@handlers.on("orders", "evidence_reported")
def on_orders_reported(tx: Transaction, event: Event) -> None:
    """Orders told of every order up to a time."""
    take_report(tx, event.source, datetime.fromisoformat(event.data["throughTime"]))


def _take_call(tx: Transaction, event: Event) -> None:
    data = event.data
    if data["customerId"]:
        held_id = add_call(
            tx,
            data["customerId"],
            datetime.fromisoformat(data["endTime"]),
            answered=data["answered"],
            talk_s=data["talkSeconds"],
        )
        names = ("direction", "answered", "talkSeconds", "endTime")
        note_event(tx, event, CALL, "callId", data["customerId"], names, held_id)


def _follow_merges(source: str) -> None:
    """Take a service's word that it has moved its rows for a merge, or back."""

    def take(tx: Transaction, event: Event) -> None:
        take_followed(tx, event.data["mergeId"], event.source, undo=event.data["undo"])

    # Its queue is named after it.
    take.__name__ = f"on_{source}_followed"
    handlers.on(source, "merge_followed")(take)


for _source in FOLLOWERS:
    _follow_merges(_source)
