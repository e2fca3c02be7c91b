"""A merge and whoever carries it from service to service, as a program that is killed behind each of its commits.

    python -m tests.integration.customers.dying_follower TENANT DATABASE PERSON REQUEST COMMAND ARGUMENT...

COMMAND: `merge` SURVIVOR MERGED, or `undo` MERGE. One life after another asks for it under the same request id, as a
client does that got no answer, then delivers what waits in any service's outbox until nothing does. Each dies by
SIGKILL right behind the first commit where no life before it has died: what comes next must not need anything that only
it knew. (Death before a commit leaves what the commit before it left.) Says in the end how many deaths there were.
"""

import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from crm.customers.v1 import merges_pb2 as pb

from services.chassis.clock import utc_now
from services.chassis.db import Event, Store, Transaction
from services.chassis.settings import Settings
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Caller
from services.customers.usecases.merges import merge_customers, undo_merge
from tests.integration.customers.test_merges import MANAGER, SERVICES, System


class Fate:
    """Kills its process wherever nobody died before: at which step, behind which transaction of it.

    graves: a file with a line for each death, of every life.
    """

    def __init__(self, graves: Path) -> None:
        self._graves = graves
        self._died = set(graves.read_text().splitlines())
        self._step = ""
        self._number = 0

    def begin(self, step: str) -> None:
        """Note what is done next."""
        self._step, self._number = step, 0

    def next_transaction(self) -> str:
        """Return the name of the transaction that begins."""
        self._number += 1
        return f"{self._step} {self._number}"

    def meet(self, place: str) -> None:
        """Die, unless a life before did here, or nothing is done but looking."""
        if self._step and place not in self._died:
            with self._graves.open("a") as graves:
                graves.write(f"{place}\n")
            os.kill(os.getpid(), signal.SIGKILL)


class MortalStore(Store):
    """A store that does not come back from any transaction at the first time."""

    def __init__(self, service: str, settings: Settings, fate: Fate) -> None:
        super().__init__(settings.database_urls, SERVICES[service].metadata(), utc_now)
        self._fate = fate

    @contextmanager
    def transaction(self, *arguments: Any, **named: Any) -> Iterator[Transaction]:
        """Open a transaction, and die where nobody did."""
        name = self._fate.next_transaction()
        with super().transaction(*arguments, **named) as tx:
            yield tx
        self._fate.meet(name)


class MortalSystem(System):
    """All services, of which each step may be the last."""

    def __init__(self, tenant: Tenant, settings: Settings, fate: Fate) -> None:
        super().__init__(tenant, {name: MortalStore(name, settings, fate) for name in SERVICES})
        self._fate = fate

    def waiting(self) -> list[tuple[str, int, Event]]:
        """Return what waits; nobody dies of looking."""
        self._fate.begin("")
        return super().waiting()

    def deliver(self, sender: str, row: int, event: Event, *, confirmed: bool = True) -> None:
        """Give an event to who takes it, as one step."""
        self._fate.begin(event.id)
        super().deliver(sender, row, event, confirmed=confirmed)

    def ask(self, person_id: str, request_id: str, command: str, arguments: list[str]) -> None:
        """Ask for the merge, or for its undo."""
        self._fate.begin(command)
        caller = Caller(tenant=self.tenant, person_id=person_id, rights=MANAGER, scope="all")
        with self.stores["customers"].transaction(self.tenant, person_id) as tx:

            def work() -> pb.Merge:
                if command == "undo":
                    return pb.Merge(merge_id=undo_merge(tx, caller, arguments[0]).merge_id)
                survivor_id, merged_id = arguments
                return pb.Merge(merge_id=merge_customers(tx, caller, survivor_id, merged_id, ()).merge_id)

            tx.once(person_id, command, request_id, " ".join(arguments).encode(), work)


def live(fate: Fate) -> None:
    """Ask, and deliver what waits, in order, until nothing does."""
    tenant_id, database, person_id, request_id, command, *arguments = sys.argv[1:]
    system = MortalSystem(Tenant(tenant_id, database), Settings.read(os.environ), fate)
    system.ask(person_id, request_id, command, arguments)
    system.settle()


def main() -> int:
    """Live until the work is done; each life is a process, forked with every module loaded."""
    with TemporaryDirectory() as folder:
        graves = Path(folder) / "graves"
        graves.touch()
        while True:
            child = os.fork()
            if child == 0:
                try:
                    live(Fate(graves))
                    os._exit(0)
                except BaseException:
                    traceback.print_exc()
                os._exit(1)
            _, status = os.waitpid(child, 0)
            if not os.WIFSIGNALED(status):
                sys.stdout.write(f"{len(graves.read_text().splitlines())}\n")
                return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main())
