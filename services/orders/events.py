"""What orders takes from other services."""

from services.chassis.db import Event, Transaction
from services.chassis.events import Handlers
from services.orders.domain.states import OrderAction
from services.orders.usecases.orders import WonOpportunity, decide_order, generate_order
from services.orders.usecases.staff import move_person

handlers = Handlers("orders")

# What approvals calls an order.
SUBJECT_TYPE = "order"


@handlers.on("leads", "opportunity_won")
def on_opportunity_won(tx: Transaction, event: Event) -> None:
    """Generate the order."""
    data = event.data
    generate_order(
        tx,
        WonOpportunity(
            opportunity_id=data["opportunityId"],
            name=data["name"],
            customer_id=data["customerId"],
            customer_name=data.get("customerName", ""),
            owner_id=data["ownerId"],
            owner_department_path=data["ownerDepartmentPath"],
            amount=data["amount"],
        ),
    )


@handlers.on("approvals", "approval_passed")
def on_approval_passed(tx: Transaction, event: Event) -> None:
    """Approve the order."""
    _decide(tx, event, OrderAction.APPROVE)


@handlers.on("approvals", "approval_rejected")
def on_approval_rejected(tx: Transaction, event: Event) -> None:
    """Reject the order: its owner may submit it again."""
    _decide(tx, event, OrderAction.REJECT)


@handlers.on("approvals", "approval_withdrawn")
def on_approval_withdrawn(tx: Transaction, event: Event) -> None:
    """Give the order back to its owner, who took it back."""
    data = event.data
    if data["subjectType"] == SUBJECT_TYPE:
        decide_order(
            tx, data["subjectId"], OrderAction.WITHDRAW, decider_id=data["submitterId"], comment="撤回"
        )


@handlers.on("identity", "person_saved")
def on_person_saved(tx: Transaction, event: Event) -> None:
    """Somebody may have moved: what they own is seen in the department of now."""
    move_person(tx, event.data["personId"], event.data["departmentPath"])


@handlers.on("customers", "evidence_asked")
def on_evidence_asked(tx: Transaction, event: Event) -> None:
    """Tell customers up to when it has heard of orders: while this lags, it takes nobody's customers back."""
    tx.emit("evidence_reported", event.aggregate, 0, {"throughTime": tx.told_through().isoformat()})


def _decide(tx: Transaction, event: Event, action: OrderAction) -> None:
    data = event.data
    if data["subjectType"] == SUBJECT_TYPE:
        decide_order(tx, data["subjectId"], action, decider_id=data["deciderId"], comment=data["comment"])
