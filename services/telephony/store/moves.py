"""Where rows name a customer: they follow when two become one, and go back when that is undone (F36)."""

from services.chassis.db import Transaction
from services.chassis.moves import MovedRows, Place
from services.telephony.store.rows import Row
from services.telephony.store.tables import call, metadata, sms, sms_received

CALLS, SMS, RECEIVED_SMS = (Place(table, "id") for table in (call, sms, sms_received))
MOVED = MovedRows(metadata, [CALLS, SMS, RECEIVED_SMS])


def adopt(tx: Transaction, place: Place, row: Row) -> str | None:
    """Let a row that just got its customer follow the merges before it; return whose it is now.

    Only for a customer that the row did not have before: whoever moves that one may be waiting for the row.
    """
    customer_id: str | None = row["customer_id"]
    if customer_id and MOVED.adopt(tx, row["id"], customer_id, place):
        return MOVED.current(tx, customer_id)
    return customer_id
