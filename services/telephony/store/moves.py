"""Where rows name a customer: they follow when two become one, and go back when that is undone (F36)."""

from services.chassis.moves import MovedRows, Place
from services.telephony.store.tables import call, metadata, sms, sms_received

MOVED = MovedRows(metadata, [Place(table, "id") for table in (call, sms, sms_received)])
