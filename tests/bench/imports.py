"""How fast customers come in and go out: `python -m tests.bench.imports [--rows 20000]` prints one JSON object.

The import is measured from staged rows to customers: every row checked, its keys looked up and reserved at a dedupe
in a process of its own, then written with its owner through the ledger. The export is read page by page into a CSV
that nobody keeps, with the memory of the process watched.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from crm.dedupe.v1.dedupe_pb2_grpc import DedupeServiceStub

from deploy.local.stores import PrivateStores
from services.__main__ import load
from services.chassis.clock import utc_now
from services.chassis.db import Store
from services.chassis.grpc_client import Client
from services.chassis.ids import new_id
from services.chassis.service import migrate
from services.chassis.settings import Settings
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Caller, Signer, generate_key
from services.customers.__main__ import SERVICE
from services.customers.clients import Dedupe
from services.customers.domain.customers import Owner
from services.customers.store import imports as store_imports
from services.customers.usecases import exports, import_steps
from services.customers.usecases.views import View
from services.customers.workflows.import_activities import ImportSteps
from services.kernel.sheets import csv_parts
from tests.support.served import free_port
from tests.support.until import until

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


def export_rows(store: Store, tenant: Tenant, most: int) -> dict[str, float]:
    """Export a tenant's newest customers as CSV; return the rate, and how much the process grew meanwhile, in MiB."""
    caller = Caller(
        tenant=tenant, person_id=new_id(), name="总监", scope="all", rights=frozenset({"customers.export"})
    )
    wanted, export_id = exports.Wanted(View.ALL, "", "", ""), new_id()
    with store.transaction(tenant, caller.person_id) as tx:
        head = exports.begin_export(tx, caller, export_id, wanted, "CSV")
    count = 0

    def pages() -> Iterator[exports.Page]:
        nonlocal count
        after = None
        while True:
            with store.transaction(tenant, caller.person_id) as tx:
                page = exports.export_page(tx, caller, export_id, wanted, after)
            count += len(page.rows)
            yield page
            if page.last is None or count >= most:
                return
            after = page.last

    class Names(dict[str | None, str]):
        def __missing__(self, key: str | None) -> str:
            return ""

    before, peak, started = rss_mib(), 0.0, time.perf_counter()
    for _ in csv_parts(exports.rows_of(head, pages(), Names())):
        peak = max(peak, rss_mib())
    seconds = time.perf_counter() - started
    return {
        "export_rows": count,
        "export_rows_per_s": round(count / seconds),
        "export_rss_mb": round(peak),
        "export_rss_growth_mb": round(peak - before, 1),
    }


def rss_mib() -> float:
    """Return the memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024 / 1024


@contextmanager
def dedupe_process(environment: Mapping[str, str], port: int) -> Iterator[None]:
    """Run dedupe's API as a process of its own."""
    command = [sys.executable, "-m", "services.dedupe", "api"]
    environ = {
        **os.environ,
        **environment,
        "PORT": str(port),
        "CUSTOMERS_ADDRESS": "127.0.0.1:1",
        "IDENTITY_ADDRESS": "127.0.0.1:1",
    }
    with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()


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
        store, tenant = (
            Store(settings.database_urls, SERVICE.metadata(), utc_now),
            Tenant(new_id(), "main"),
        )
        print(json.dumps({"rows": rows, **in_and_out(store, tenant, rows, settings, environment)}))
        store.close()
    return 0


def in_and_out(
    store: Store, tenant: Tenant, rows: int, settings: Settings, environment: Mapping[str, str]
) -> dict[str, float]:
    """Import that many new customers beside those that the tenant has, then export as many, or all it has by then."""
    port = free_port()
    with dedupe_process(environment, port):
        signer = Signer("customers", settings.signing_keys["customers"])
        client = Client(DedupeServiceStub, f"127.0.0.1:{port}", signer)
        until(lambda: answers(client, tenant), 60)
        steps = ImportSteps(store, Dedupe(client))
        # Plans and code that were never used would count else.
        import_rows(store, steps, tenant, 500, 40_000_000)
        result = import_rows(store, steps, tenant, rows)
    return result | export_rows(store, tenant, max(rows, EXPORTED))


def answers(client: Client[DedupeServiceStub], tenant: Tenant) -> bool:
    """Tell whether dedupe is up."""
    try:
        Dedupe(client).confirm_batch(tenant, [new_id()])
    except Exception:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
