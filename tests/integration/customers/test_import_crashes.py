"""The worker is killed at random points of an import: nothing half-done, nothing twice."""

import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from crm.customers.v1 import imports_pb2 as pb
from crm.customers.v1.customers_pb2_grpc import CustomersServiceStub
from sqlalchemy import select

from services.chassis.clock import utc_now
from services.chassis.db import Store
from services.chassis.grpc_client import Client
from services.chassis.ids import new_id
from services.chassis.settings import Settings
from services.chassis.temporal import TemporalLink
from services.chassis.tokens import Signer
from services.customers.__main__ import SERVICE
from services.customers.store.tables import Contact, OwnershipChange, Phone
from services.dedupe.clients import Customers as Writer
from services.dedupe.domain.reservations import SETTLE_AFTER
from services.dedupe.store.tables import HeldKey
from services.dedupe.workflows.activities import Activities as SettleActivities
from services.dedupe.workflows.contracts import SettleDue
from tests.integration.customers.office import Office
from tests.integration.customers.test_imports import (  # noqa: F401 - fixtures
    Importer,
    customers,
    importing,
    sheet,
    steps,
)
from tests.support.histories import record
from tests.support.running import working
from tests.support.until import until

ROOT = Path(__file__).resolve().parents[3]
ROWS = 3200
KILLS = 3


def test_an_import_survives_kills_at_random_points(
    office: Office,
    importing: Callable[..., Importer],  # noqa: F811  # pytest's fixture
    settings: Settings,
    addresses: Mapping[str, str],
    environment: Mapping[str, str],
    dedupe_store: Store,
) -> None:
    """F5: a batch is one transaction with its progress; its ids and reservations are the same in a repeat."""
    importer = importing()
    rows = [[f"公司{number}", "", f"联系人{number}", f"138{number:08}", "A", ""] for number in range(ROWS)]
    rows[700][3] = "138"
    rows[900][0] = "公司5"
    import_id = importer.upload(sheet(*rows)).import_id
    importer.check(import_id)
    importer(pb.CommitImportRequest(request_id=new_id(), import_id=import_id))
    seed = random.randrange(10**6)  # noqa: S311 - a place to die is no secret
    dice = random.Random(seed)  # noqa: S311  # no secret
    process_environment = {
        **os.environ,
        **environment,
        **{f"{name.upper()}_ADDRESS": address for name, address in addresses.items()},
    }
    link = TemporalLink(settings.temporal_address, settings.temporal_namespace)
    start = start_of(office, import_id)
    assert link.deliver([("workflow_start", start)]) == [None]
    try:
        for _ in range(KILLS):
            place = [str(dice.randint(1, 5)), dice.choice(["before", "after"])]
            command = [sys.executable, "-m", "tests.integration.customers.dying_worker", *place]
            with subprocess.Popen(command, env=process_environment, cwd=ROOT) as process:
                try:
                    code = until(process.poll, 40)
                finally:
                    process.kill()
            assert code == -9, f"seed {seed}, {place}"
            check_whole(office, importer.get(import_id).done_count, seed)
        runtime = SERVICE.runtime(replace(settings, addresses=addresses), {})
        with working(runtime, SERVICE.worker(runtime) if SERVICE.worker else None):  # type: ignore[arg-type]  # it has one
            until(lambda: importer.get(import_id).state == pb.IMPORT_STATE_DONE, 40)
            link.run(
                lambda client: record("customers", "import", client.get_workflow_handle(str(start["id"])))
            )
        runtime.store.close()
    finally:
        link.close()
    done = importer.get(import_id)
    assert (done.done_count, done.bad_count, done.duplicate_count) == (ROWS - 2, 1, 1), f"seed {seed}"
    check_whole(office, ROWS - 2, seed)
    assert keys_left_over(office, settings, addresses, dedupe_store) == set(), f"seed {seed}"


def start_of(office: Office, import_id: str) -> dict[str, object]:
    """Return the workflow's start as it waits in the outbox."""
    outbox = office.store.tables["outbox"]
    query = select(outbox.c.body).where(outbox.c.tenant_id == office.tenant.id, outbox.c.lane == "temporal")
    bodies = office.run(lambda tx: tx.session.scalars(query).all())
    return next(
        body
        for body in bodies
        if body["id"].startswith(f"import-{import_id}") and "commit" in str(body["payload"])
    )


def check_whole(office: Office, done: int, seed: int) -> None:
    """Every customer has its contact, number, owner and one row in the ledger, and there are as many as rows done."""
    found = customers(office).values()
    ids = [customer.customer_id for customer in found]
    assert len(ids) == done, f"seed {seed}"
    for table in (Contact, Phone, OwnershipChange):
        query = select(table.customer_id).where(table.tenant_id == office.tenant.id)
        with office.store.transaction(office.tenant) as tx:
            counted = Counter(tx.session.scalars(query).all())
        assert counted == Counter(ids), f"seed {seed}, {table.__tablename__}"
    assert all(customer.owner_id for customer in found)


def keys_left_over(
    office: Office, settings: Settings, addresses: Mapping[str, str], dedupe_store: Store
) -> set[str]:
    """Settle what is open and return whose keys are held though nobody of that id exists."""
    signer = Signer("dedupe", settings.signing_keys["dedupe"])
    writer = Writer(Client(CustomersServiceStub, addresses["customers"], signer))
    due = SettleDue(office.tenant, utc_now() + SETTLE_AFTER + timedelta(seconds=1))
    while SettleActivities(dedupe_store, writer).settle_due(due).next_time == due.now:
        pass
    with dedupe_store.transaction(office.tenant) as tx:
        holders = set(tx.session.scalars(select(HeldKey.subject_id).where(HeldKey.tenant_id == tx.tenant.id)))
    contacts = office.run(
        lambda tx: tx.session.scalars(
            select(Contact.contact_id).where(Contact.tenant_id == tx.tenant.id)
        ).all()
    )
    known = {customer.customer_id for customer in customers(office).values()} | set(contacts)
    assert holders >= known
    return holders - known
