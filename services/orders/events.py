"""What orders takes from other services."""

from services.chassis.db import Event, Transaction
from services.chassis.events import Handlers
from services.orders.domain.contracts import ContractAction
from services.orders.domain.states import OrderAction
from services.orders.usecases.cashier import decide_payment
from services.orders.usecases.contracts import decide_contract
from services.orders.usecases.merges import follow_merge
from services.orders.usecases.orders import WonOpportunity, decide_order, generate_order
from services.orders.usecases.staff import move_person

handlers = Handlers("orders")


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
    """Approve the order or contract, or book the payment."""
    _decide(tx, event, "approve", event.data["deciderId"], event.data["comment"])


@handlers.on("approvals", "approval_rejected")
def on_approval_rejected(tx: Transaction, event: Event) -> None:
    """Reject it: its owner may submit an order or contract again."""
    _decide(tx, event, "reject", event.data["deciderId"], event.data["comment"])


@handlers.on("approvals", "approval_withdrawn")
def on_approval_withdrawn(tx: Transaction, event: Event) -> None:
    """Give it back to its owner, who took it back."""
    _decide(tx, event, "withdraw", event.data["submitterId"], "撤回")


@handlers.on("identity", "person_saved")
def on_person_saved(tx: Transaction, event: Event) -> None:
    """Somebody may have moved: what they own is seen in the department of now."""
    move_person(tx, event.data["personId"], event.data["departmentPath"], event.version)


@handlers.on("customers", "evidence_asked")
def on_evidence_asked(tx: Transaction, event: Event) -> None:
    """Tell customers up to when it has heard of orders: while this lags, it takes nobody's customers back."""
    tx.emit("evidence_reported", event.aggregate, 0, {"throughTime": tx.told_through().isoformat()})


@handlers.on("customers", "merge_asked")
def on_merge_asked(tx: Transaction, event: Event) -> None:
    """Two customers became one, or two again: their orders, quotes and contracts follow."""
    data = event.data
    follow_merge(tx, data["mergeId"], data["survivorId"], data["mergedId"], undo=data["undo"])
    tx.emit(
        "merge_followed", data["mergeId"], event.version, {"mergeId": data["mergeId"], "undo": data["undo"]}
    )


def _decide(tx: Transaction, event: Event, outcome: str, decider_id: str, comment: str) -> None:
    """Take over what became of an approval. outcome: approve, reject or withdraw."""
    subject_id = event.data["subjectId"]
    match event.data["subjectType"]:
        case "order":
            decide_order(tx, subject_id, OrderAction(outcome), decider_id=decider_id, comment=comment)
        case "contract":
            decide_contract(tx, subject_id, ContractAction(outcome), decider_id=decider_id, comment=comment)
        case "payment":
            decide_payment(tx, subject_id, passed=outcome == "approve")
