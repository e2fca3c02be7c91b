"""The command: look, look again where something was found, and mend what is asked to be mended."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import text

from services.chassis.db import Store
from services.chassis.errors import AppError
from services.chassis.service import Runtime, Service
from services.chassis.settings import HOME_DATABASE, Settings
from services.chassis.temporal import TemporalLink
from services.chassis.tenancy import Tenant
from services.reconcile.disagreements import DISAGREEMENTS, Disagreement, find, mend
from services.reconcile.workflows import EXPECTED, missing
from services.telephony.settings import read_vault

# What a fact needs at most from one service to the other while all is well, in seconds: what is found twice, this far
# apart, is no fact on its way.
ON_ITS_WAY_S: Final = 10.0
WORKFLOW: Final = "workflow-missing"
RECORDING: Final = "recording-missing"


@dataclass(frozen=True, order=True)
class Found:
    """A disagreement: whose, of which kind, about which record. mended: "", "mended", or why it was not."""

    tenant: Tenant
    kind: str
    id: str
    mended: str = ""


class Reconciler:
    """Asks and mends over all databases. environ: where the recordings are."""

    def __init__(
        self, services: Sequence[Service], settings: Settings, environ: Mapping[str, str], wait_s: float
    ) -> None:
        self._runtimes: dict[str, Runtime] = {
            service.name: service.runtime(settings, environ) for service in services
        }
        self._link = TemporalLink(settings.temporal_address, settings.temporal_namespace)
        self._recordings = read_vault(environ)
        self._wait_s = wait_s

    def close(self) -> None:
        """Close what was opened."""
        self._link.close()
        for runtime in self._runtimes.values():
            runtime.store.close()

    def tenants(self) -> list[Tenant]:
        """Return every tenant, as identity's directory has them."""
        with self._store("identity").across(HOME_DATABASE) as home:
            rows = home.execute(text("SELECT id, database FROM identity.tenant ORDER BY create_time")).all()
        return [Tenant(str(row.id), row.database) for row in rows]

    def check(self, tenant: Tenant, *, repair: bool) -> list[Found]:
        """Return what disagrees in a tenant, mended if asked and if it can be."""
        found = self._look(tenant)
        if found:
            time.sleep(self._wait_s)
            before = set(found)
            found = [each for each in self._look(tenant) if each in before]
        return [self._mend(each) for each in found] if repair else found

    def _store(self, service: str) -> Store:
        return self._runtimes[service].store

    def _look(self, tenant: Tenant) -> list[Found]:
        found = []
        for kind in DISAGREEMENTS:
            with self._store(kind.service).transaction(tenant) as tx:
                found += [Found(tenant, kind.name, str(row.id)) for row in find(tx, kind)]
        for service, expected in EXPECTED.items():
            with self._store(service).transaction(tenant) as tx:
                starts = expected(tx)
            found += [Found(tenant, WORKFLOW, start.id) for start in missing(self._link, starts)]
        return [*dict.fromkeys(found), *self._lost_recordings(tenant)]

    def _lost_recordings(self, tenant: Tenant) -> list[Found]:
        """Return recordings that are kept as the tables say, and whose file is not there; raises VaultDownError."""
        if self._recordings is None:
            return []
        with self._store("telephony").transaction(tenant) as tx:
            kept = tx.session.execute(
                text("SELECT id, key FROM telephony.recording WHERE tenant_id = :tenant AND state = 'kept'"),
                {"tenant": tenant.id},
            ).all()
        return [Found(tenant, RECORDING, str(row.id)) for row in kept if not self._recordings.holds(row.key)]

    def _mend(self, found: Found) -> Found:
        if found.kind == WORKFLOW:
            return self._start(found)
        kind = next((each for each in DISAGREEMENTS if each.name == found.kind), None)
        if kind is None or kind.mend is None:
            return found
        return Found(found.tenant, found.kind, found.id, self._mended(found, kind))

    def _mended(self, found: Found, kind: Disagreement) -> str:
        try:
            with self._store(kind.service).transaction(found.tenant) as tx:
                mend(tx, kind, found.id)
        except AppError as error:
            return error.reason
        return "mended"

    def _start(self, found: Found) -> Found:
        for service, expected in EXPECTED.items():
            with self._store(service).transaction(found.tenant) as tx:
                for start in expected(tx):
                    if start.id == found.id:
                        tx.start_workflow(start)
        return Found(found.tenant, found.kind, found.id, "mended")


MEANINGS: Final = {
    **{kind.name: kind.means for kind in DISAGREEMENTS},
    WORKFLOW: "应在运行的流程没有运行 / a workflow that has to run does not",
    RECORDING: "录音文件不在 / the file of a recording is not there",
}


def check(
    services: Sequence[Service], settings: Settings, environ: Mapping[str, str], words: Sequence[str]
) -> int:
    """Print what disagrees, a line each; 1 when something is left that was not mended. words: --repair."""
    repair = "--repair" in words
    reconciler = Reconciler(services, settings, environ, ON_ITS_WAY_S)
    left = total = 0
    try:
        for tenant in reconciler.tenants():
            for found in reconciler.check(tenant, repair=repair):
                total += 1
                left += found.mended != "mended"
                words_of_it = found.mended or MEANINGS[found.kind]
                print(f"{tenant.database}\t{tenant.id}\t{found.kind}\t{found.id}\t{words_of_it}")  # noqa: T201 - its answer
    finally:
        reconciler.close()
    print(f"不一致 / disagreements: {total}，未修复 / not mended: {left}")  # noqa: T201 - its answer
    return 1 if left else 0
