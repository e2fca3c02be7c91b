"""Where rows name a customer: they follow when two become one, and go back when that is undone (F36)."""

from services.chassis.db import Transaction
from services.chassis.moves import MovedRows, Place
from services.telephony.store.rows import Row
from services.telephony.store.tables import call, metadata, sms, sms_received

CALLS, SMS, RECEIVED_SMS = (Place(table, "id") for table in (call, sms, sms_received))
MOVED = MovedRows(metadata, [CALLS, SMS, RECEIVED_SMS])


def adopt(tx: Transaction, place: Place, row: Row) -> Row:
    """Let a row that just got its customer follow the merges before it; return it as it is now.

    Only for a customer that the row did not have before: whoever moves that one may be waiting for the row.
    """
    if row["customer_id"] and MOVED.adopt(tx, row["id"], row["customer_id"], place):
        return {**row, "customer_id": MOVED.current(tx, row["customer_id"])}
    return row
