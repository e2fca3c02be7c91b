"""What every contract of telephony shows alike."""

from services.chassis.grpc_server import current_caller
from services.kernel.phones import number_for
from services.kernel.visibility import sees_every_number
from services.telephony.store.rows import Row


def shown_number(call: Row) -> str:
    """Return a call's number; masked but for the owner and who may see all, unless it is nobody's for sure."""
    return number_for(call["number"], may_see=numbers_shown(call))


def numbers_shown(call: Row) -> bool:
    """Tell whether who asks may see the number of a call, in its field or in what people typed about it (F59)."""
    owners = {call["owner_id"]} if call["owner_id"] else {each["ownerId"] for each in call["callers"] or []}
    unknown = call["callers"] == [] and not call["customer_id"]
    caller = current_caller()
    return unknown or caller.person_id in owners or sees_every_number(caller)
