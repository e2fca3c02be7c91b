"""The modem edge: one thread for each SMS modem whose lease is ours, fed from the tables.

Guarantees: one process owns a modem at a time; a message is woken for by NOTIFY and found by polling at the
latest a second later. Lost when the process dies: nothing; what was under way is settled by `recover` at
the next start.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import psycopg
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from services.chassis.db import Store, Transaction
from services.chassis.errors import Unavailable
from services.chassis.logging import get_logger
from services.chassis.process import started
from services.chassis.service import Runtime, start_relays, stop_event
from services.chassis.settings import HOME_DATABASE
from services.chassis.tenancy import Tenant
from services.telephony import metrics
from services.telephony.edges.lease import Lease
from services.telephony.modem.link import Link
from services.telephony.modem.port import Failure, Incoming, LinkState, Outgoing, Report, StoreAwayError
from services.telephony.modem.session import Settings as ModemSettings
from services.telephony.settings import RELAY_PATIENCE_S, ModemPort, read_modems
from services.telephony.store import tables
from services.telephony.usecases import modems, replies, sms, staff
from services.telephony.usecases.modems import Limits

log = get_logger(__name__)

T = TypeVar("T")

# How often a lease is checked, and a modem without a tenant is looked for, in seconds.
CHECK_S: Final = 2.0
# How long a modem may take to finish what is under way, in seconds: an answer to CMGS can take two minutes.
STOP_S: Final = 130.0


class StoredQueue:
    """Keep one modem's messages in its tenant's tables: the modem room's `SmsQueue`."""

    def __init__(self, store: Store, tenant: Tenant, modem: str) -> None:
        self._store = store
        self._tenant = tenant
        self._modem = modem

    def recover(self) -> None:
        """Settle what an earlier connection left behind."""
        self._do(lambda tx: sms.recover(tx, self._modem))

    def sent_ages(self, window_s: int) -> Sequence[float]:
        """Return the age in seconds of each segment sent within the window."""
        return self._do(lambda tx: sms.sent_ages(tx, self._modem, window_s))

    def next_segment(self) -> Outgoing | None:
        """Claim the next due segment."""
        return self._do(lambda tx: sms.next_segment(tx, self._modem))

    def before_send(self, segment: Outgoing) -> None:
        """Make the intent durable."""
        self._do(lambda tx: sms.begin_sending(tx, segment.id, self._modem))

    def sent(self, segment: Outgoing, reference: int | None) -> None:
        """Record that the network took it."""
        self._do(lambda tx: sms.note_sent(tx, segment.id, self._modem, reference))
        metrics.SMS_SEGMENTS.labels("sent").inc()

    def failed(self, segment: Outgoing, failure: Failure, error: str) -> None:
        """Record a definite refusal."""
        self._do(lambda tx: sms.note_failed(tx, segment.id, self._modem, failure, error))
        metrics.SMS_SEGMENTS.labels(f"refused_{failure.value}").inc()

    def uncertain(self, segment: Outgoing, error: str) -> None:
        """Record that nobody knows."""
        self._do(lambda tx: sms.note_uncertain(tx, segment.id, self._modem, error))
        metrics.SMS_SEGMENTS.labels("uncertain").inc()

    def report(self, report: Report) -> None:
        """Keep a delivery report."""
        self._do(lambda tx: sms.note_report(tx, self._modem, report))
        metrics.SMS_SEGMENTS.labels(f"report_{report.fate.value}").inc()

    def received(self, message: Incoming) -> None:
        """Keep a received segment."""
        self._do(lambda tx: replies.note_received(tx, self._modem, message))

    def signal(self, strength: int | None) -> None:
        """Note how strong the signal is."""
        metrics.MODEM_SIGNAL.labels(self._modem).set(-1 if strength is None else strength)
        self._do(lambda tx: modems.note_signal(tx, self._modem, strength))

    def link_changed(self, state: LinkState, detail: str) -> None:
        """Note where the modem stands."""
        metrics.MODEM_READY.labels(self._modem).set(state is LinkState.READY)
        metrics.SIM_STOPPED.labels(self._modem).set(state is LinkState.SIM_STOPPED)
        self._do(lambda tx: modems.note_modem(tx, self._modem, state, detail))

    def _do(self, work: Callable[[Transaction], T]) -> T:
        try:
            with self._store.transaction(self._tenant) as tx:
                return work(tx)
        except (Unavailable, OperationalError) as error:
            # The tenant is on its way to another database, or the database restarts.
            raise StoreAwayError(str(error)) from error


class ModemKeeper:
    """Own one modem whenever its lease is ours, in a thread of its own."""

    def __init__(self, port: ModemPort, store: Store, stop: threading.Event) -> None:
        self._port = port
        self._store = store
        self._stop = stop
        self._link: Link | None = None
        self._thread = threading.Thread(target=self._run, name=f"keeper-{port.name}")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self) -> None:
        """Wait for the end, once `stop` is set."""
        self._thread.join()

    def wake(self) -> None:
        """Say that a message may wait."""
        link = self._link
        if link is not None:
            link.wake()

    def _run(self) -> None:
        lease = Lease(self._store.urls[HOME_DATABASE], f"telephony.modem.{self._port.name}")
        while lease.acquire(self._stop):
            metrics.EDGE_ACTIVE.labels(f"modem {self._port.name}").set(1)
            self._own(lease)
            metrics.EDGE_ACTIVE.labels(f"modem {self._port.name}").set(0)
            lease.release()

    def _own(self, lease: Lease) -> None:
        tenant = self._await_tenant(lease)
        if tenant is None:
            return
        limits = self._limits(tenant)
        while lease.held() and not self._stop.is_set():
            if limits and limits.enabled:
                limits = self._use(lease, tenant, limits)
            else:
                self._stop.wait(CHECK_S)
                limits = self._limits(tenant)

    def _use(self, lease: Lease, tenant: Tenant, limits: Limits) -> Limits | None:
        """Run the modem's thread under these limits until they, the lease or the process end; return the new ones."""
        settings = ModemSettings(
            name=self._port.name,
            port=self._port.port,
            hourly_limit=limits.hourly,
            daily_limit=limits.daily,
        )
        link = Link(settings, StoredQueue(self._store, tenant, self._port.name))
        self._link = link
        link.start()
        now: Limits | None = limits
        while now == limits and lease.held() and not self._stop.wait(CHECK_S):
            now = self._limits(tenant, otherwise=limits)
        self._link = None
        if not link.stop(STOP_S):
            log.error("modem thread did not end in time", modem=self._port.name)
        return now

    def _limits(self, tenant: Tenant, otherwise: Limits | None = None) -> Limits | None:
        """Say that the modem's owner lives and return how it may be used; while the database is down, `otherwise`."""
        try:
            with self._store.transaction(tenant) as tx:
                return modems.limits_of(tx, self._port.name)
        except Exception as error:
            log.warning("limits could not be read", modem=self._port.name, error=str(error))
            return otherwise

    def _await_tenant(self, lease: Lease) -> Tenant | None:
        """Wait until the modem belongs to a tenant; None when the lease is lost or it is time to stop."""
        told = False
        while lease.held() and not self._stop.is_set():
            tenant = tenant_of_modem(self._store, self._port.name) or adopt(self._store, self._port.name)
            if tenant is not None:
                return tenant
            if not told:
                log.warning("the modem belongs to no tenant yet", modem=self._port.name)
                told = True
            self._stop.wait(CHECK_S)
        return None


def tenant_of_modem(store: Store, name: str) -> Tenant | None:
    """Return whose modem it is, None for nobody's or while its database is down."""
    modem = tables.modem
    for database in store.urls:
        try:
            with store.across(database) as session:
                tenant_id = session.scalars(select(modem.c.tenant_id).where(modem.c.name == name)).first()
        except Exception as error:
            log.warning("modems could not be read", database=database, error=str(error))
            continue
        if tenant_id is not None:
            return Tenant(tenant_id, database)
    return None


def adopt(store: Store, name: str) -> Tenant | None:
    """Give a modem that is nobody's to the only tenant there is, and return that; None where there are several."""
    person = tables.person
    try:
        tenants = set()
        for database in store.urls:
            with store.across(database) as session:
                found = session.scalars(select(person.c.tenant_id).distinct().limit(2))
                tenants |= {Tenant(tenant_id, database) for tenant_id in found}
        if len(tenants) != 1:
            return None
        (tenant,) = tenants
        with store.transaction(tenant) as tx:
            staff.add_modem(tx, name)
    except Exception as error:
        log.warning("modem could not be given to a tenant", modem=name, error=str(error))
        return None
    log.info("modem belongs to the only tenant now", modem=name)
    return tenant


class Waker:
    """Listen in one database for messages that wait, in a thread of its own."""

    def __init__(self, url: str, wake: Callable[[], None], stop: threading.Event) -> None:
        self._url = url
        self._wake = wake
        self._stop = stop
        self._thread = threading.Thread(target=self._run, name="sms-waker", daemon=True)

    def start(self) -> None:
        """Begin; ends when `stop` is set."""
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with psycopg.connect(self._url, autocommit=True, application_name="sms-waker") as connection:
                    connection.execute(f"LISTEN {sms.CHANNEL}")
                    while not self._stop.is_set():
                        for _ in connection.notifies(timeout=1, stop_after=1):
                            self._wake()
            except psycopg.Error as error:
                # The modems poll as well: only slower.
                log.warning("nobody wakes the modems", error=str(error))
                self._stop.wait(1)


def run(runtime: Runtime) -> int:
    """Own every modem of MODEMS whose lease is ours, until SIGTERM."""
    ports = read_modems(runtime.environ)
    stop = stop_event()
    stop_relays = start_relays(runtime, RELAY_PATIENCE_S)
    started("telephony.modem", runtime.settings.metrics_address, runtime.settings.metrics_port)
    keepers = [ModemKeeper(port, runtime.store, stop) for port in ports]

    def wake() -> None:
        for keeper in keepers:
            keeper.wake()

    for keeper in keepers:
        keeper.start()
    for url in runtime.settings.database_urls.values():
        Waker(url, wake, stop).start()
    stop.wait()
    for keeper in keepers:
        keeper.join()
    stop_relays()
    runtime.store.close()
    return 0
