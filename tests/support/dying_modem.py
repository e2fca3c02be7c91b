"""Be the modem edge of one modem and die at a given place: DATABASE TENANT_ID MODEM PORT METHOD before|after.

The process kills itself with SIGKILL before that call of the queue has begun, or after it was committed.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from services.chassis.clock import utc_now
from services.chassis.db import Store
from services.chassis.settings import Settings as ChassisSettings
from services.chassis.tenancy import Tenant
from services.telephony.edges.modem import StoredQueue
from services.telephony.modem.link import Link
from services.telephony.modem.session import Settings
from services.telephony.store import tables


def main(database: str, tenant_id: str, modem: str, port: str, method: str, when: str) -> None:
    """Run until the place comes."""
    store = Store(ChassisSettings.read(os.environ).database_urls, tables.metadata, utc_now)
    queue = StoredQueue(store, Tenant(tenant_id, database), modem)
    call: Callable[..., Any] = getattr(queue, method)

    def deadly(*arguments: Any) -> Any:
        result = call(*arguments) if when == "after" else None
        # An empty queue is no change of state.
        if method == "next_segment" and when == "after" and result is None:
            return result
        os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(queue, method, deadly)
    Link(Settings(name=modem, port=port, poll_s=0.05, submit_timeout_s=0.5), queue).start()
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
