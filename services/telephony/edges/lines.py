"""Know which tenant a number on the PBX works for, and when its cards pop: of all databases, kept in memory."""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import select

from services.chassis.db import Store
from services.chassis.logging import get_logger
from services.chassis.tenancy import Tenant
from services.telephony.domain.pops import PopSettings
from services.telephony.pbx.callgraph import Call, Direction
from services.telephony.store import tables
from services.telephony.usecases.agents import pop_settings
from services.telephony.usecases.staff import DID, EXTENSION

log = get_logger(__name__)

# How old the lines in memory may grow, in seconds; an unknown number has them read again at once.
REFRESH_S: Final = 15.0

_PRESET: Final = PopSettings()


class Lines:
    """Hold the lines of one PBX, and the pop settings of the tenants."""

    def __init__(self, store: Store, pbx: str) -> None:
        self._store = store
        self._pbx = pbx
        self._known: dict[str, Mapping[tuple[str, str], Tenant]] = {}
        self._pops: Mapping[str, PopSettings] = {}

    def refresh(self) -> None:
        """Read lines and settings again; what a database that is down said last stays."""
        line = tables.line
        query = (
            select(line.c.kind, line.c.number, line.c.tenant_id)
            .where(line.c.pbx.in_(["", self._pbx]))
            # A line of this very PBX overrides one of whichever PBX.
            .order_by(line.c.pbx)
        )
        known, pops = dict(self._known), dict(self._pops)
        for database in self._store.urls:
            try:
                with self._store.across(database) as session:
                    rows = session.execute(query).all()
                    pops |= pop_settings(session)
            except Exception as error:
                log.warning("lines could not be read", database=database, error=str(error))
                continue
            known[database] = {(row.kind, row.number): Tenant(row.tenant_id, database) for row in rows}
        # Replaced as a whole: another thread may be reading the old one.
        self._known, self._pops = known, pops

    def pops(self, tenant: Tenant) -> PopSettings:
        """Return when and for whom cards pop in a tenant."""
        return self._pops.get(tenant.id, _PRESET)

    def tenant_of(self, call: Call) -> Tenant | None:
        """Return whose call it is: by its DID, else by the extensions that began it or ring."""
        keys = [(DID, call.dialled_number)] if call.direction is Direction.INBOUND else []
        keys.append((EXTENSION, call.origin_extension))
        keys += [(EXTENSION, leg.extension) for leg in call.legs]
        for kind, number in keys:
            for known in self._known.values():
                if number and (kind, number) in known:
                    return known[kind, number]
        return None
