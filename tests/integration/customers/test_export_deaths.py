"""An export whose process was killed is ended as broken and told of; one that lives goes on."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import timedelta

import grpc
import pytest
from crm.customers.v1 import customers_pb2
from crm.customers.v1 import exports_pb2 as pb
from crm.customers.v1.exports_pb2_grpc import ExportsServiceStub
from sqlalchemy import func, insert, select, true
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from services.chassis.clock import utc_now
from services.chassis.db import Store, Transaction
from services.chassis.errors import RuleViolation
from services.chassis.ids import new_id
from services.customers.__main__ import metadata
from services.customers.store.import_tables import ExportRun
from services.customers.store.tables import Customer
from services.customers.usecases import exports
from services.customers.usecases.views import View
from services.customers.workflows.activities import Activities
from services.customers.workflows.contracts import (
    QUEUE,
    WATCH_EXPORT,
    WatchedExport,
    export_workflow_id,
)
from services.customers.workflows.workflow import WatchExport
from tests.integration.customers.killed_api import Api
from tests.integration.customers.office import Office, Person
from tests.integration.customers.test_exports import EXPORTER
from tests.support.histories import record
from tests.support.time_skipping import soon, time_skipping


@pytest.fixture
def office(api_office: Office) -> Office:
    """A tenant whose staff call a process that may die."""
    return api_office


@asynccontextmanager
async def worker(environment: WorkflowEnvironment, store: Store) -> AsyncIterator[None]:
    """Run the worker that watches exports."""
    with ThreadPoolExecutor(2) as threads:
        async with Worker(
            environment.client,
            task_queue=QUEUE,
            workflows=[WatchExport],
            activities=[Activities(store).end_silent_export],
            activity_executor=threads,
        ):
            yield


def run_of(office: Office) -> ExportRun:
    """Return the tenant's export as it stands."""
    return office.run(
        lambda tx: tx.session.scalars(select(ExportRun).where(ExportRun.tenant_id == tx.tenant.id)).one()
    )


def multiply(tx: Transaction) -> None:
    """Make more than a page of the one customer there is, which nobody owns."""
    columns = Customer.__table__.c
    copies = func.generate_series(1, exports.PAGE_ROWS).table_valued("number")
    values = [func.gen_random_uuid() if column.name == "customer_id" else column for column in columns]
    copied = (
        select(*values).select_from(copies.join(Customer, true())).where(Customer.tenant_id == tx.tenant.id)
    )
    tx.session.execute(insert(Customer).from_select([column.name for column in columns], copied))


def told(office: Office) -> list[dict[str, object]]:
    """Return what others were told of broken exports."""
    return [dict(event) for event in office.events("export_broken")]


def begun(api: Api, office: Office, person: Person) -> str:
    """Begin an export in a process that is killed before its second page is committed; return its id."""
    with api.alive():
        pool = office.pool(person)
        person.create(pool_id=pool.pool_id)
    office.run(multiply)
    with api.alive(3, "before") as process:
        metadata_ = (("authorization", f"Bearer {office.signer.person_token(person.caller, utc_now())[0]}"),)
        request = pb.ExportCustomersRequest(
            list=customers_pb2.ListCustomersRequest(view=customers_pb2.CUSTOMER_VIEW_POOL)
        )
        with grpc.insecure_channel(api.address) as channel:
            with pytest.raises(grpc.RpcError):
                list(ExportsServiceStub(channel).ExportCustomers(request, metadata=metadata_))
            assert process.wait(timeout=60) == -9
    return run_of(office).export_id


@pytest.mark.timeout(300)
async def test_an_export_whose_process_was_killed_ends_as_broken_and_its_owner_is_told(
    api: Api,
    office: Office,
) -> None:
    """F53: kill -9 in the middle of the stream; another process ends it, not before it was silent for long."""
    rep = office.hire(EXPORTER, scope="all")
    export_id = await asyncio.to_thread(begun, api, office, rep)
    assert run_of(office).state == exports.STARTED
    ahead = timedelta()
    store = Store(office.store.urls, metadata(), lambda: utc_now() + ahead)
    payload = WatchedExport(office.tenant, export_id)
    async with time_skipping() as environment, worker(environment, store):
        handle = await environment.client.start_workflow(
            WATCH_EXPORT, payload, id=export_workflow_id(payload), task_queue=QUEUE
        )
        # By the store's clock it was alive a moment ago, however often it is looked at.
        await environment.sleep(timedelta(minutes=30))
        assert (run_of(office).state, told(office)) == (exports.STARTED, [])
        ahead = exports.SILENT
        await environment.sleep(timedelta(minutes=30))
        await soon(lambda: run_of(office).state == exports.BROKEN)
        await record("customers", "broken_export", handle)
    store.close()
    run = run_of(office)
    assert (run.state, run.end_time is not None, run.row_count) == (exports.BROKEN, True, exports.PAGE_ROWS)
    (event,) = told(office)
    assert (event["personId"], event["rows"]) == (rep.id, run.row_count)
    ended = [event for event in office.events("audited") if event["action"] == "customers_export_ended"]
    assert [event["details"]["state"] for event in ended] == [exports.BROKEN]


def test_whoever_comes_back_to_an_export_that_was_ended_reads_no_further(
    office: Office,
) -> None:
    """A reader that stood still for so long begins anew: what leaves is accounted for, once."""
    rep = office.hire(EXPORTER)
    wanted, export_id = exports.Wanted(View.ALL, "", "", ""), new_id()
    office.run(lambda tx: exports.begin_export(tx, rep.caller, export_id, wanted, "CSV"))
    starts = office.run(lambda tx: exports.end_silent_export(tx, export_id))
    assert starts
    late = Store(office.store.urls, metadata(), lambda: utc_now() + exports.SILENT)
    with late.transaction(office.tenant) as tx:
        assert not exports.end_silent_export(tx, export_id)
    with pytest.raises(RuleViolation, match="EXPORT_ENDED"):
        office.run(lambda tx: exports.export_page(tx, rep.caller, export_id, wanted, None))
    office.run(lambda tx: exports.end_export(tx, export_id, 0, complete=True))
    assert run_of(office).state == exports.BROKEN
    assert len(told(office)) == 1
    late.close()
