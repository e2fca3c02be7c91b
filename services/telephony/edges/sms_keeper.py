"""The SMS keeper: beside the API, sees that no message waits for ever and finds out who sent what came in.

Every replica has one; the work of a tenant is done by one at a time. Lost when it dies: nothing, the next round
finds the same rows. A database or service that is away is tried again with the next round.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

from sqlalchemy import func, select

from services.chassis.db import Store
from services.chassis.errors import AppError
from services.chassis.logging import get_logger
from services.chassis.tenancy import Tenant
from services.telephony import metrics
from services.telephony.clients import Directory
from services.telephony.domain.sms import Lane, SmsState
from services.telephony.store import tables
from services.telephony.usecases import modems, replies, upkeep

log = get_logger(__name__)

# Between two rounds, in seconds.
ROUND_S: Final = 2.0
# How long customers may take to say who has a number, in seconds.
LOOKUP_S: Final = 2.0
# Received messages whose senders one round finds, for each tenant.
LOOKUPS: Final = 20
# Between two looks at what the SIMs may still send, in seconds.
QUOTAS_S: Final = 30.0


class SmsKeeper:
    """Do a round every two seconds in a thread of its own, as long as the server beside it serves.

    ended: waits so many seconds, less when the server has ended, and tells whether it has.
    """

    def __init__(self, store: Store, directory: Directory, ended: Callable[[float], bool]) -> None:
        self._store = store
        self._directory = directory
        self._ended = ended
        # A process that ends takes the thread with it: each round is transactions only.
        self._thread = threading.Thread(target=self._run, name="sms-keeper", daemon=True)
        self._quiet: set[str] = set()
        # When quotas are measured next, and of which SIMs they were, by database.
        self._quotas_due_s: dict[str, float] = {}
        self._quotas: dict[str, set[tuple[str, str]]] = {}

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def _run(self) -> None:
        while not self._ended(ROUND_S):
            for database in self._store.urls:
                try:
                    self.round(database)
                    self._quiet.discard(database)
                except Exception as error:
                    if database not in self._quiet:
                        log.warning("SMS upkeep failed", database=database, error=str(error))
                    self._quiet.add(database)

    def round(self, database: str) -> None:
        """See to every tenant of a database once."""
        blocked = 0
        for tenant in upkeep.tenants_at_work(self._store, database):
            with self._store.transaction(tenant) as tx:
                kept = upkeep.keep_up(tx)
            blocked += kept.blocked
            metrics.SMS_UNROUTED.inc(kept.unrouted)
            self._find_senders(tenant)
        metrics.SMS_BLOCKED.labels(database).set(blocked)
        self._count(database)
        if time.monotonic() > self._quotas_due_s.get(database, 0.0):
            self._quotas_due_s[database] = time.monotonic() + QUOTAS_S
            self._measure_quotas(database)

    def _measure_quotas(self, database: str) -> None:
        """Say what each SIM may still send; one that is nobody's any more says nothing."""
        modem = tables.modem
        with self._store.across(database) as session:
            tenants = session.scalars(select(modem.c.tenant_id).distinct()).all()
        left: dict[tuple[str, str], int] = {}
        for tenant_id in tenants:
            with self._store.transaction(Tenant(tenant_id, database)) as tx:
                for view in modems.list_modems(tx):
                    name = view.row["name"]
                    left[name, "hour"] = max(0, view.row["hourly_limit"] - view.sent_hour)
                    left[name, "day"] = max(0, view.row["daily_limit"] - view.sent_day)
        for gone in self._quotas.get(database, set()) - left.keys():
            metrics.SIM_QUOTA_LEFT.remove(*gone)
        for labels, count in left.items():
            metrics.SIM_QUOTA_LEFT.labels(*labels).set(count)
        self._quotas[database] = set(left)

    def _find_senders(self, tenant: Tenant) -> None:
        with self._store.transaction(tenant) as tx:
            waiting = replies.unmatched(tx, LOOKUPS)
        for row in waiting:
            try:
                callers = self._directory.callers(tenant, row["number"], LOOKUP_S)
            except AppError as error:
                log.warning("nobody says who sent a message", error=str(error))
                return
            with self._store.transaction(tenant) as tx:
                replies.note_sender(tx, row["id"], callers)

    def _count(self, database: str) -> None:
        sms = tables.sms
        with self._store.across(database) as session:
            query = (
                select(sms.c.lane, func.count())
                .where(sms.c.state.in_([SmsState.QUEUED, SmsState.SENDING]))
                .group_by(sms.c.lane)
            )
            waiting: dict[str, int] = {row[0]: row[1] for row in session.execute(query)}
            uncertain = session.scalar(select(func.count()).where(sms.c.state == SmsState.UNCERTAIN))
        for lane in Lane:
            metrics.SMS_WAITING.labels(database, lane.value).set(waiting.get(lane.value, 0))
        metrics.SMS_UNCERTAIN.labels(database).set(uncertain or 0)
