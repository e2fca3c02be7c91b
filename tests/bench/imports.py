"""How fast customers come in and go out: `python -m tests.bench.imports [--rows 20000]` prints one JSON object.

The import is measured from staged rows to customers, as a worker takes them: every row checked, its keys looked up and
reserved at a dedupe in a process of its own, then written with its owner through the ledger. The export streams out of
the service as a CSV that nobody keeps, with the memory of the service's process watched.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from crm.customers.v1 import customers_pb2, exports_pb2
from crm.customers.v1.exports_pb2_grpc import ExportsServiceStub
from crm.dedupe.v1.dedupe_pb2_grpc import DedupeServiceStub
from crm.identity.v1 import identity_pb2, identity_pb2_grpc
from sqlalchemy import delete

from deploy.local.stores import PrivateStores
from services.__main__ import load
from services.chassis.clock import utc_now
from services.chassis.db import Store
from services.chassis.grpc_client import Client
from services.chassis.grpc_server import Server
from services.chassis.ids import new_id
from services.chassis.process import leave_out_of_collections
from services.chassis.service import migrate
from services.chassis.settings import Settings
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Caller, Signer, Verifier, generate_key
from services.customers.__main__ import SERVICE
from services.customers.clients import Dedupe
from services.customers.domain.customers import Owner
from services.customers.store import imports as store_imports
from services.customers.usecases import import_steps
from services.customers.workflows.import_activities import ImportSteps
from tests.support.served import free_port

# Customers that are exported at most.
EXPORTED = 100_000
ROOT = Path(__file__).resolve().parents[2]
ISSUERS = ("identity", "dedupe", "customers")
COLUMNS = ["客户名称", "客户电话", "联系人", "联系人电话", "级别", "地区", "地址"]
MAPPING = ["name", "phones", "contact_name", "contact_phones", "level", "region", "address"]


def import_rows(
    store: Store, steps: ImportSteps, tenant: Tenant, rows: int, first: int = 0
) -> dict[str, float]:
    """Import that many new customers and return the rates. first: number of the first, so that names differ."""
    owner = Owner(new_id(), "root/")
    with store.transaction(tenant) as tx:
        job = import_steps.begin_source(
            tx,
            new_id(),
            source_name=f"bench-{first}",
            creator_name="王小明",
            owner=owner,
            pool_id="",
            columns=COLUMNS,
            mapping=MAPPING,
        )
        tx.session.flush()
        store_imports.add_rows(tx, job.import_id, _rows(first, rows))
    started = time.perf_counter()
    while steps.check(tenant, job.import_id):
        pass
    checked = time.perf_counter()
    with store.transaction(tenant) as tx:
        import_steps.begin_commit(tx, job.import_id)
    while steps.commit(tenant, job.import_id):
        pass
    ended = time.perf_counter()
    with store.transaction(tenant) as tx:
        counts = store_imports.counts(tx, [job.import_id])[job.import_id]
    if counts["done"] != rows:
        raise RuntimeError(f"not every row became a customer: {dict(counts)}")
    return {
        "import_rows_per_s": round(rows / (ended - started)),
        "import_check_rows_per_s": round(rows / (checked - started)),
        "import_commit_rows_per_s": round(rows / (ended - checked)),
    }


def _rows(first: int, rows: int) -> Iterator[tuple[int, str, list[str]]]:
    for number in range(first, first + rows):
        yield (
            number - first + 1,
            str(number),
            [
                f"上海第{number}贸易有限公司",
                f"021{50_000_000 + number}",
                f"联系人{number}",
                f"138{number:08}",
                "ABCD"[number % 4],
                "上海",
                f"浦东新区张江路{number}号",
            ],
        )


def export_rows(service: "Running", tenant: Tenant, signer: Signer, most: int) -> dict[str, float]:
    """Export a tenant's newest customers as CSV; return the rate, and how much the service grew meanwhile, in MiB."""
    caller = Caller(
        tenant=tenant, person_id=new_id(), name="总监", scope="all", rights=frozenset({"customers.export"})
    )
    stub = ExportsServiceStub(grpc.insecure_channel(service.address))
    request = exports_pb2.ExportCustomersRequest(
        list=customers_pb2.ListCustomersRequest(view=customers_pb2.CUSTOMER_VIEW_ALL)
    )
    token, _ = signer.person_token(caller, utc_now())
    before, peak, count, started = service.rss_mib(), 0.0, 0, time.perf_counter()
    parts = stub.ExportCustomers(request, metadata=(("authorization", f"Bearer {token}"),))
    for part in parts:
        count += part.chunk.count(b"\n")
        peak = max(peak, service.rss_mib())
        if count >= most:
            break
    seconds = time.perf_counter() - started
    parts.cancel()  # type: ignore[no-untyped-call]  # grpc has no types for it
    return {
        "export_rows": count,
        "export_rows_per_s": round(count / seconds),
        "export_rss_mb": round(peak),
        "export_rss_growth_mb": round(peak - before, 1),
    }


class ScriptedIdentity(identity_pb2_grpc.IdentityServiceServicer):
    """Identity as far as customers asks it: everybody has a name, nobody's rights changed."""

    def GetPerson(
        self, request: identity_pb2.GetPersonRequest, context: grpc.ServicerContext
    ) -> identity_pb2.GetPersonResponse:
        person = identity_pb2.Person(person_id=request.person_id, name="王小明", active=True)
        return identity_pb2.GetPersonResponse(person=person)

    def ListPersonNames(
        self, request: identity_pb2.ListPersonNamesRequest, context: grpc.ServicerContext
    ) -> identity_pb2.ListPersonNamesResponse:
        return identity_pb2.ListPersonNamesResponse(names=dict.fromkeys(request.person_ids, "王小明"))

    def ListEpochs(
        self, request: identity_pb2.ListEpochsRequest, context: grpc.ServicerContext
    ) -> identity_pb2.ListEpochsResponse:
        return identity_pb2.ListEpochsResponse()


@dataclass(frozen=True)
class Running:
    """A service at work: its address and its process."""

    address: str
    pid: int

    def rss_mib(self) -> float:
        """Return the memory that it holds now."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1024 / 1024


@contextmanager
def running(name: str, environment: Mapping[str, str], settings: Settings) -> Iterator[Running]:
    """Run a service as a process of its own, beside a scripted identity and nobody else."""
    server = Server("identity", Verifier(settings.trusted_keys))
    identity = ScriptedIdentity()  # type: ignore[abstract]  # nobody asks for anything else
    identity_pb2_grpc.add_IdentityServiceServicer_to_server(identity, server.grpc)
    others = {f"{other.upper()}_ADDRESS": "127.0.0.1:1" for other in ISSUERS}
    others["IDENTITY_ADDRESS"] = (
        f"127.0.0.1:{server.start('127.0.0.1', 0, 'crm.identity.v1.IdentityService')}"
    )
    port = free_port()
    environ = {**os.environ, **environment, **others, "PORT": str(port)}
    command = [sys.executable, "-m", f"services.{name}", "api"]
    with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL) as process:
        try:
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                grpc.channel_ready_future(channel).result(timeout=60)
            yield Running(f"127.0.0.1:{port}", process.pid)
        finally:
            process.terminate()
            server.stop(0)


def environment_of(stores: PrivateStores) -> dict[str, str]:
    """Return what services over these stores are started with."""
    keys = {issuer: generate_key() for issuer in ISSUERS}
    return {
        "DATABASE_URL": stores.database_urls["main"],
        "AMQP_URL": stores.amqp_url,
        "TEMPORAL_ADDRESS": stores.temporal_address,
        "SIGNING_KEYS": json.dumps({name: private for name, (private, _) in keys.items()}),
        "TRUSTED_KEYS": json.dumps({name: public for name, (_, public) in keys.items()}),
        "PYTHONPATH": f"{ROOT}:{ROOT / 'proto/gen'}",
        "LOG_LEVEL": "WARNING",
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    rows = parser.parse_args().rows
    with PrivateStores(databases=("main",), given=os.environ) as stores:
        environment = environment_of(stores)
        settings = Settings.read(environment)
        migrate(load(), settings)
        store = Store(settings.database_urls, SERVICE.metadata(), utc_now)
        tenant = Tenant(new_id(), "main")
        figures = imported(store, tenant, rows, settings, environment)
        with store.transaction(tenant) as tx:
            # Nobody waits for what others are told, and telling it is not what is measured.
            tx.session.execute(delete(store.tables["outbox"]))
        with running("customers", environment, settings) as service:
            figures |= exported(service, tenant, settings, rows)
        print(json.dumps({"rows": rows, **figures}))
        store.close()
    return 0


def imported(
    store: Store, tenant: Tenant, rows: int, settings: Settings, environment: Mapping[str, str]
) -> dict[str, float]:
    """Import that many new customers beside those that the tenant has.

    The API of customers does not run: telling others of them, which it does from the outbox, has a rate of its own.
    """
    signer = Signer("customers", settings.signing_keys["customers"])
    with running("dedupe", environment, settings) as service:
        steps = ImportSteps(store, Dedupe(Client(DedupeServiceStub, service.address, signer)))
        # Plans and code that were never used would count else.
        import_rows(store, steps, tenant, 500, 40_000_000)
        # As of any process that has started.
        leave_out_of_collections()
        return import_rows(store, steps, tenant, rows)


def exported(service: Running, tenant: Tenant, settings: Settings, most: int = EXPORTED) -> dict[str, float]:
    """Export so many of the tenant's customers, behind a short export for plans and code."""
    reader = Signer("identity", settings.signing_keys["identity"])
    export_rows(service, tenant, reader, 5_000)
    return export_rows(service, tenant, reader, most)


if __name__ == "__main__":
    sys.exit(main())
