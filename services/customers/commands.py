"""Commands of an operator: python -m services.customers import-source NAME."""

import sys
from collections.abc import Sequence

from crm.dedupe.v1.dedupe_pb2_grpc import DedupeServiceStub
from crm.identity.v1.identity_pb2_grpc import IdentityServiceStub

from services.chassis.errors import AppError
from services.chassis.service import Runtime
from services.customers.clients import Dedupe, Identity
from services.customers.sources import read_source, stage_source, summary
from services.customers.store import imports as store_imports
from services.customers.usecases import import_steps
from services.customers.workflows.import_activities import ImportSteps

USAGE = "python -m services.customers import-source NAME"


def import_source(runtime: Runtime, words: Sequence[str]) -> int:
    """Import a source of the settings and say how far it is; 0 when every row is a customer or was one before.

    1: rows are wrong; they wait in the creator's imports. 2: the command, the settings or the source is wrong.
    """
    if len(words) != 1:
        print(USAGE, file=sys.stderr)  # noqa: T201 - a person reads it
        return 2
    source = read_source(runtime.environ, words[0])
    tenant = source.tenant
    identity = Identity(runtime.client("identity", IdentityServiceStub))
    steps = ImportSteps(runtime.store, Dedupe(runtime.client("dedupe", DedupeServiceStub)))

    def progress() -> dict[str, int]:
        with runtime.store.transaction(tenant) as tx:
            counts = dict(store_imports.counts(tx, [import_id])[import_id])
        print(f"{source.name}: {summary(counts)}", flush=True)  # noqa: T201 - a person reads it
        return counts

    try:
        creator = identity.person(tenant, source.creator, source.creator)
        import_id = stage_source(runtime.store, source, creator)
        while steps.check(tenant, import_id):
            progress()
        with runtime.store.transaction(tenant) as tx:
            import_steps.begin_commit(tx, import_id)
        while steps.commit(tenant, import_id):
            progress()
    except AppError as error:
        print(f"{source.name}: {error.zh} ({error})", file=sys.stderr)  # noqa: T201 - a person reads it
        return 2
    return 1 if progress().get("bad") else 0
