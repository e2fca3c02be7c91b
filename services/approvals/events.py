"""What approvals takes from other services: submissions."""

from services.approvals.domain.flows import DECIDE_RIGHT, SubjectType
from services.approvals.usecases.approvals import Submission, notice_person, submit
from services.chassis.db import Event, Transaction
from services.chassis.events import Handlers
from services.chassis.ids import derive_id
from services.kernel.money import parse_amount

handlers = Handlers("approvals")


@handlers.on("customers", "registration_submitted")
def on_registration_submitted(tx: Transaction, event: Event) -> None:
    """Begin the approval of a registration; its approver was chosen by the submitter."""
    data = event.data
    submit(
        tx,
        Submission(
            approval_id=derive_id("approval", event.id),
            subject_type=SubjectType.REGISTRATION,
            subject_id=data["customerId"],
            title=f"客户报备：{data['name']}",
            submitter_id=data["submitterId"],
            chosen_approver_id=data["approverId"],
            amount=None,
            shown=[(field["name"], field["value"]) for field in data["shown"]],
        ),
    )


@handlers.on("orders", "order_submitted")
def on_order_submitted(tx: Transaction, event: Event) -> None:
    """Begin the approval of an order; its approvers follow from its amount."""
    _submit_amount(tx, event, SubjectType.ORDER, "orderId", "订单")


@handlers.on("orders", "contract_submitted")
def on_contract_submitted(tx: Transaction, event: Event) -> None:
    """Begin the approval of a contract (F180)."""
    _submit_amount(tx, event, SubjectType.CONTRACT, "contractId", "合同")


@handlers.on("orders", "payment_submitted")
def on_payment_submitted(tx: Transaction, event: Event) -> None:
    """Begin the approval of a payment (F182)."""
    _submit_amount(tx, event, SubjectType.PAYMENT, "voucherId", "付款")


@handlers.on("identity", "person_saved")
def on_person_saved(tx: Transaction, event: Event) -> None:
    """Somebody may have left, or lost the right to decide: what waits for that person finds others."""
    data = event.data
    may_decide = data.get("active", True) and DECIDE_RIGHT in data.get("rights", [DECIDE_RIGHT])
    notice_person(tx, data["personId"], may_decide=may_decide)


def _submit_amount(tx: Transaction, event: Event, subject_type: SubjectType, key: str, word: str) -> None:
    data = event.data
    submit(
        tx,
        Submission(
            approval_id=derive_id("approval", event.id),
            subject_type=subject_type,
            subject_id=data[key],
            title=f"{word} {data['number']}：{data['title']}",
            submitter_id=data["submitterId"],
            chosen_approver_id="",
            amount=parse_amount(data["amount"], "amount"),
            shown=[(field["name"], field["value"]) for field in data["shown"]],
        ),
    )
