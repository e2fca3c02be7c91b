"""The process of customers' API, relays and all, that kills itself with SIGKILL at one of its transactions.

    python -m tests.integration.customers.dying_pools NUMBER PLACE

NUMBER: which transaction of a call, from 1; 0: none. PLACE: "before" its commit, all its statements done, or right
"after" it: committed, neither answered nor told.
"""

import os
import sys
from dataclasses import dataclass

from services.chassis import logging
from services.chassis.db import Store
from services.chassis.service import Runtime, run_api
from services.chassis.settings import Settings
from services.customers.__main__ import SERVICE, metadata
from tests.integration.customers.dying_worker import MortalStore


@dataclass
class MortalRuntime(Runtime):
    """What a process that may not come back is made of."""

    @property
    def store(self) -> Store:
        """The store that it dies in."""
        living = super().store
        return self._once("mortal", lambda: MortalStore(living, int(sys.argv[1]), sys.argv[2]))


def main() -> int:
    """Serve until death."""
    settings = Settings.read(os.environ)
    logging.configure("customers.api", settings.log_level)
    return run_api(SERVICE, MortalRuntime("customers", settings, metadata(), os.environ))


if __name__ == "__main__":
    sys.exit(main())
