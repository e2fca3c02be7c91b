"""Own one modem until killed, as the modem process does with a lease: DATABASE TENANT_ID MODEM PORT."""

import os
import sys
import threading

from services.chassis.clock import utc_now
from services.chassis.db import Store
from services.chassis.settings import Settings as ChassisSettings
from services.chassis.tenancy import Tenant
from services.telephony.edges.modem import StoredQueue
from services.telephony.modem.link import Link
from services.telephony.modem.session import Settings
from services.telephony.store import tables

# The SIM's quota is no matter of speed.
NO_LIMIT = 1_000_000


def main(database: str, tenant_id: str, modem: str, port: str) -> None:
    """Send for ever."""
    store = Store(ChassisSettings.read(os.environ).database_urls, tables.metadata, utc_now)
    queue = StoredQueue(store, Tenant(tenant_id, database), modem)
    settings = Settings(name=modem, port=port, hourly_limit=NO_LIMIT, daily_limit=NO_LIMIT)
    Link(settings, queue).start()
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
