"""Which steps a subject goes through, from the start until an administrator changes them."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum


class SubjectType(StrEnum):
    """What can be approved."""

    REGISTRATION = "registration"
    ORDER = "order"


@dataclass(frozen=True)
class FlowStep:
    """A step of a flow.

    role: whose holder over the submitter decides, "" for the approver whom the submitter chose. amount_from: the step
    is asked only from this amount on, CNY; None for always.
    """

    name: str
    role: str
    amount_from: Decimal | None = None


# The role that stands in where nobody holds the one that a step asks for.
STAND_IN_ROLE = "admin"
# The right that every approver needs.
DECIDE_RIGHT = "approvals.decide"

PRESETS = {
    SubjectType.REGISTRATION: (FlowStep("报备审核人", ""),),
    # F175, F176, O1: exactly 10000 asks both.
    SubjectType.ORDER: (
        FlowStep("销售经理", "sales_manager"),
        FlowStep("销售总监", "director", Decimal("10000.00")),
    ),
}
