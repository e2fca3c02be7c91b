"""python -m services.telephony api | pbx | modem | events | migrate | check | line | sim."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from services.chassis.service import Runtime, Service, main
from services.chassis.tenancy import Tenant

if TYPE_CHECKING:
    import grpc
    from sqlalchemy import MetaData

    from services.chassis.events import Handlers


def _metadata() -> "MetaData":
    # It brings its tables.
    from services.telephony.store import moves  # noqa: F401  # their tables join the metadata
    from services.telephony.store.tables import metadata

    return metadata


def _api(runtime: Runtime, server: "grpc.Server") -> Sequence[str]:
    from services.telephony import clients
    from services.telephony.api import register
    from services.telephony.edges.sms_keeper import SmsKeeper

    # It tells whether it waited in vain, that is, whether the server still serves.
    keeper = SmsKeeper(
        runtime.store, clients.customers(runtime), lambda wait_s: not server.wait_for_termination(wait_s)
    )
    keeper.start()
    return register(runtime, server)


def _handlers() -> "Handlers":
    from services.telephony.events import handlers

    return handlers


def _pbx(runtime: Runtime, words: Sequence[str]) -> int:
    from services.telephony.edges.pbx import run

    return run(runtime)


def _modem(runtime: Runtime, words: Sequence[str]) -> int:
    from services.telephony.edges.modem import run

    return run(runtime)


def _line(runtime: Runtime, words: Sequence[str]) -> int:
    """Register a number: line DATABASE TENANT_ID did|extension NUMBER."""
    from services.telephony.usecases import staff

    match list(words):
        case [database, tenant_id, (staff.DID | staff.EXTENSION) as kind, number]:
            with runtime.store.transaction(Tenant(tenant_id, database)) as tx:
                staff.add_line(tx, kind, number)
            return 0
    print("usage: line DATABASE TENANT_ID did|extension NUMBER", file=sys.stderr)
    return 2


def _sim(runtime: Runtime, words: Sequence[str]) -> int:
    """Give a modem to a tenant: sim DATABASE TENANT_ID MODEM."""
    from services.telephony.usecases import staff

    match list(words):
        case [database, tenant_id, name]:
            with runtime.store.transaction(Tenant(tenant_id, database)) as tx:
                staff.add_modem(tx, name)
            return 0
    print("usage: sim DATABASE TENANT_ID MODEM", file=sys.stderr)
    return 2


SERVICE = Service(
    name="telephony",
    metadata=_metadata,
    api=_api,
    handlers=_handlers,
    commands={"pbx": _pbx, "modem": _modem, "line": _line, "sim": _sim},
)

if __name__ == "__main__":
    sys.exit(main(SERVICE))
