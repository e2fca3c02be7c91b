"""What every contract of telephony shows alike."""

from services.chassis.grpc_server import current_caller
from services.kernel.phones import number_for
from services.telephony.store.rows import Row


def shown_number(call: Row) -> str:
    """Return a call's number; masked but for the owner and who may see all, unless it is nobody's for sure."""
    person_id, rights = current_caller().person_id, current_caller().rights
    owners = {call["owner_id"]} if call["owner_id"] else {each["ownerId"] for each in call["callers"] or []}
    unknown = call["callers"] == [] and not call["customer_id"]
    may_see = unknown or person_id in owners or "numbers.view_all" in rights
    return number_for(call["number"], may_see=may_see)
