"""Imports: proto to use case and back."""

from collections.abc import Iterator

import grpc
from crm.customers.v1 import imports_pb2 as pb
from crm.customers.v1 import imports_pb2_grpc as pb_grpc

from services.chassis.db import Store, Transaction
from services.chassis.errors import AppError, InvalidInput
from services.chassis.grpc_server import Api, current_caller, current_tenant, require_right
from services.chassis.ids import derive_id, parse_id
from services.chassis.paging import cut_page, decode_cursor, encode_cursor, page_size
from services.customers.clients import Identity
from services.customers.domain.customers import Owner
from services.customers.domain.imports import fields_of
from services.customers.import_messages import ROW_STATES, field_message, import_message, row_message
from services.customers.store.import_tables import ImportRow
from services.customers.usecases import imports
from services.customers.usecases.fields import definitions
from services.kernel.sheets import MOST_COLUMNS, csv_parts
from services.kernel.texts import parse_text

ROW_STATE_OF = {number: state for state, number in ROW_STATES.items()}
# What an error file's first columns are called.
ERROR_HEADER = {"zh": ("行号", "问题"), "en": ("Row", "Problem")}


class ImportsApi(pb_grpc.ImportsServiceServicer, Api):
    """Answers for imports."""

    def __init__(self, store: Store, identity: Identity) -> None:
        super().__init__(store)
        self._identity = identity

    def CreateImport(
        self, request: pb.CreateImportRequest, context: grpc.ServicerContext
    ) -> pb.CreateImportResponse:
        """Begin an import."""
        caller = current_caller()
        file_name = parse_text(request.file_name, "file_name", 200)
        import_id = derive_id(
            current_tenant().id, caller.person_id, "import", parse_id(request.request_id, "request_id")
        )
        return self.write(
            request,
            pb.CreateImportResponse,
            lambda tx: pb.CreateImportResponse(
                **{
                    "import": import_message(
                        imports.create_import(tx, caller, import_id, file_name), caller.locale
                    )
                }
            ),
        )

    def AppendImportFile(
        self, request: pb.AppendImportFileRequest, context: grpc.ServicerContext
    ) -> pb.AppendImportFileResponse:
        """Add a part of the file."""
        caller, import_id = current_caller(), parse_id(request.import_id, "import_id")
        # The offset tells a repeat; the bytes are kept once, so not in the answer's record as well.
        return self.read(
            lambda tx: pb.AppendImportFileResponse(
                size_bytes=imports.append_file(tx, caller, import_id, request.offset_bytes, request.chunk)
            )
        )

    def FinishImportFile(
        self, request: pb.FinishImportFileRequest, context: grpc.ServicerContext
    ) -> pb.FinishImportFileResponse:
        """Let the file be read."""
        caller, import_id = current_caller(), parse_id(request.import_id, "import_id")
        return self.write(
            request,
            pb.FinishImportFileResponse,
            lambda tx: pb.FinishImportFileResponse(
                **{"import": import_message(imports.finish_file(tx, caller, import_id), caller.locale)}
            ),
        )

    def ListImportFields(
        self, request: pb.ListImportFieldsRequest, context: grpc.ServicerContext
    ) -> pb.ListImportFieldsResponse:
        """Return what a column can be mapped to."""
        locale = current_caller().locale
        return self.read(
            lambda tx: pb.ListImportFieldsResponse(
                fields=[field_message(field, locale) for field in fields_of(definitions(tx))]
            )
        )

    def GetImport(self, request: pb.GetImportRequest, context: grpc.ServicerContext) -> pb.GetImportResponse:
        """Return an import."""
        caller, import_id = current_caller(), parse_id(request.import_id, "import_id")
        return self.read(
            lambda tx: pb.GetImportResponse(
                **{"import": import_message(imports.get_import(tx, caller, import_id), caller.locale)}
            )
        )

    def ListImports(
        self, request: pb.ListImportsRequest, context: grpc.ServicerContext
    ) -> pb.ListImportsResponse:
        """Return a page of the caller's imports."""
        caller = current_caller()
        size, after = page_size(request.page_size), decode_cursor(request.page_token)

        def answer(tx: Transaction) -> pb.ListImportsResponse:
            page, more = cut_page(imports.list_imports(tx, caller, after=after, limit=size + 1), size)
            last = page[-1].job if more else None
            return pb.ListImportsResponse(
                imports=[import_message(seen, caller.locale) for seen in page],
                next_page_token=encode_cursor(last.create_time, last.import_id) if last else "",
            )

        return self.read(answer)

    def UpdateImport(
        self, request: pb.UpdateImportRequest, context: grpc.ServicerContext
    ) -> pb.UpdateImportResponse:
        """Change the mapping and who gets the customers."""
        caller, import_id = current_caller(), parse_id(request.import_id, "import_id")
        pool_id = parse_id(request.pool_id, "pool_id") if request.pool_id else ""
        owner = Owner(caller.person_id, caller.department_path)
        if pool_id or request.owner_id not in ("", caller.person_id):
            require_right("pools.manage")
        if not pool_id and request.owner_id not in ("", caller.person_id):
            owner = self._owner(parse_id(request.owner_id, "owner_id"))
        return self.write(
            request,
            pb.UpdateImportResponse,
            lambda tx: pb.UpdateImportResponse(
                **{
                    "import": import_message(
                        imports.update_import(
                            tx, caller, import_id, mapping=request.mapping, owner=owner, pool_id=pool_id
                        ),
                        caller.locale,
                    )
                }
            ),
        )

    def _owner(self, owner_id: str) -> Owner:
        """Return somebody who can own customers; raises InvalidInput OWNER_UNSUITABLE."""
        try:
            person = self._identity.person(current_tenant(), owner_id, current_caller().actor_id)
            path = person.department_path if person.active else ""
        except AppError as error:
            if error.code != "NOT_FOUND":
                raise
            path = ""
        if not path:
            raise InvalidInput(
                "owner_id",
                "OWNER_UNSUITABLE",
                "所选负责人不存在或已离职",
                "The chosen owner does not exist or has left",
            )
        return Owner(owner_id, path)

    def ListImportRows(
        self, request: pb.ListImportRowsRequest, context: grpc.ServicerContext
    ) -> pb.ListImportRowsResponse:
        """Return a page of staged rows."""
        caller, import_id = current_caller(), parse_id(request.import_id, "import_id")
        size, state = page_size(request.page_size), ROW_STATE_OF.get(request.state)
        after = _line(request.page_token)

        def answer(tx: Transaction) -> pb.ListImportRowsResponse:
            found = imports.list_rows(tx, caller, import_id, state=state, after_line=after, limit=size + 1)
            page, more = cut_page(found, size)
            return pb.ListImportRowsResponse(
                rows=[row_message(row, caller.locale) for row in page],
                next_page_token=str(page[-1].line) if more else "",
            )

        return self.read(answer)

    def UpdateImportRow(
        self, request: pb.UpdateImportRowRequest, context: grpc.ServicerContext
    ) -> pb.UpdateImportRowResponse:
        """Correct a row."""
        caller, import_id = current_caller(), parse_id(request.import_id, "import_id")
        cells = [
            parse_text(cell, f"cells[{index}]", 4000, required=False)
            for index, cell in enumerate(request.cells[: MOST_COLUMNS + 1])
        ]
        return self.write(
            request,
            pb.UpdateImportRowResponse,
            lambda tx: pb.UpdateImportRowResponse(
                row=row_message(imports.update_row(tx, caller, import_id, request.line, cells), caller.locale)
            ),
        )

    def CheckImport(
        self, request: pb.CheckImportRequest, context: grpc.ServicerContext
    ) -> pb.CheckImportResponse:
        """Let every row be checked."""
        caller, import_id = current_caller(), parse_id(request.import_id, "import_id")
        return self.write(
            request,
            pb.CheckImportResponse,
            lambda tx: pb.CheckImportResponse(
                **{
                    "import": import_message(
                        imports.check_import(tx, caller, import_id, _allow), caller.locale
                    )
                }
            ),
        )

    def CommitImport(
        self, request: pb.CommitImportRequest, context: grpc.ServicerContext
    ) -> pb.CommitImportResponse:
        """Let customers be made of the ready rows."""
        caller, import_id = current_caller(), parse_id(request.import_id, "import_id")
        return self.write(
            request,
            pb.CommitImportResponse,
            lambda tx: pb.CommitImportResponse(
                **{
                    "import": import_message(
                        imports.commit_import(tx, caller, import_id, _allow), caller.locale
                    )
                }
            ),
        )

    def CancelImport(
        self, request: pb.CancelImportRequest, context: grpc.ServicerContext
    ) -> pb.CancelImportResponse:
        """End an import."""
        caller, import_id = current_caller(), parse_id(request.import_id, "import_id")
        return self.write(
            request,
            pb.CancelImportResponse,
            lambda tx: pb.CancelImportResponse(
                **{"import": import_message(imports.cancel_import(tx, caller, import_id), caller.locale)}
            ),
        )

    def DownloadImportErrors(
        self, request: pb.DownloadImportErrorsRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.DownloadImportErrorsResponse]:
        """Return the rows that are not imported, with what is wrong."""
        caller, tenant = current_caller(), current_tenant()
        import_id = parse_id(request.import_id, "import_id")
        text = "en" if caller.locale.lower().startswith("en") else "zh"

        def sheet() -> Iterator[list[str]]:
            line = 0
            while True:
                with self.store.transaction(tenant, caller.actor_id) as tx:
                    job, rows = imports.errors_after(tx, caller, import_id, line)
                if line == 0:
                    yield [*ERROR_HEADER[text], *job.columns]
                for row in rows:
                    yield [str(row.line), _problem(row, text), *row.cells]
                if not rows:
                    return
                line = rows[-1].line

        for part in csv_parts(sheet()):
            yield pb.DownloadImportErrorsResponse(chunk=part)


def _allow() -> None:
    require_right("pools.manage")


def _problem(row: ImportRow, text: str) -> str:
    """Return what is wrong with a row, by column."""
    return "; ".join(
        f"{fault['column']}: {fault[text]}" if fault["column"] else fault[text] for fault in row.faults
    )


def _line(token: str) -> int:
    if token and not (token.isascii() and token.isdigit()):
        raise InvalidInput("page_token", "PAGE_TOKEN_INVALID", "分页标识无效", "page_token is not valid")
    return int(token[:9] or 0)
