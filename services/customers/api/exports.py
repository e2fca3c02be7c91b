"""Exports: proto to use case and back."""

from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from datetime import datetime

import grpc
from crm.customers.v1 import exports_pb2 as pb
from crm.customers.v1 import exports_pb2_grpc as pb_grpc

from services.chassis.db import Store
from services.chassis.errors import InvalidInput
from services.chassis.grpc_server import Api, current_caller, current_tenant
from services.chassis.ids import new_id, parse_id
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Caller
from services.customers.api.records import VIEWS
from services.customers.clients import Identity
from services.customers.usecases import exports
from services.kernel.sheets import csv_parts, xlsx_parts
from services.kernel.texts import parse_text

WRITERS = {
    pb.SHEET_FORMAT_UNSPECIFIED: csv_parts,
    pb.SHEET_FORMAT_CSV: csv_parts,
    pb.SHEET_FORMAT_XLSX: xlsx_parts,
}


class ExportsApi(pb_grpc.ExportsServiceServicer, Api):
    """Answers with files."""

    def __init__(self, store: Store, identity: Identity) -> None:
        super().__init__(store)
        self._identity = identity

    def ExportCustomers(
        self, request: pb.ExportCustomersRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.ExportCustomersResponse]:
        """Return the customers of a list as a file."""
        caller, tenant, export_id = current_caller(), current_tenant(), new_id()
        view, write = VIEWS.get(request.list.view), WRITERS.get(request.format)
        if view is None:
            raise InvalidInput("list.view", "VIEW_UNKNOWN", "没有这样的视图", "There is no such view")
        if write is None:
            raise InvalidInput("format", "FORMAT_UNKNOWN", "没有这样的文件格式", "There is no such format")
        wanted = exports.Wanted(
            view=view,
            pool_id=parse_id(request.list.pool_id, "list.pool_id") if request.list.pool_id else "",
            query=parse_text(request.list.query, "list.query", 100, required=False),
            filter_text=request.list.filter,
        )
        with self.store.transaction(tenant, caller.actor_id) as tx:
            head = exports.begin_export(
                tx, caller, export_id, wanted, "XLSX" if request.format == pb.SHEET_FORMAT_XLSX else "CSV"
            )
        complete, left = False, 0

        def counted(pages: Iterator[exports.Page]) -> Iterator[exports.Page]:
            nonlocal left
            for page in pages:
                left += len(page.owner_ids)
                yield page

        try:
            names: dict[str | None, str] = {None: ""}
            # Closed before the end is noted: a page that is read ahead is counted too.
            with closing(self._pages(tenant, caller, export_id, wanted, names)) as pages:
                for part in write(exports.rows_of(head, counted(pages), names)):
                    if part:
                        yield pb.ExportCustomersResponse(chunk=part)
            complete = True
        finally:
            # Whoever leaves in the middle took what had left by then.
            with self.store.transaction(tenant, caller.actor_id) as tx:
                exports.end_export(tx, export_id, left, complete=complete)

    def _pages(
        self,
        tenant: Tenant,
        caller: Caller,
        export_id: str,
        wanted: exports.Wanted,
        names: dict[str | None, str],
    ) -> Generator[exports.Page, None, None]:
        """Read each page while the one before it is written and sent.

        names: of owners, by id, to which those of the page are added; somebody whom identity does not know has none.
        """

        def read(after: tuple[datetime, str] | None) -> exports.Page:
            # A transaction for each page: a slow reader holds up nobody.
            with self.store.transaction(tenant, caller.actor_id) as tx:
                page = exports.export_page(tx, caller, export_id, wanted, after)
            if unknown := {owner_id for owner_id in page.owner_ids if owner_id} - names.keys():
                known = self._identity.names(tenant, unknown, caller.actor_id)
                names.update((owner_id, known.get(owner_id, "")) for owner_id in unknown)
            return page

        with ThreadPoolExecutor(1, thread_name_prefix="export") as ahead:
            # In our context, so that it tells of the same trace.
            coming: Future[exports.Page] | None = ahead.submit(copy_context().run, read, None)
            while coming:
                page = coming.result()
                coming = ahead.submit(copy_context().run, read, page.last) if page.last else None
                yield page
