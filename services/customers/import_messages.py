"""Messages of the imports' contract."""

from crm.customers.v1 import imports_pb2 as pb

from services.chassis.timestamps import timestamp
from services.customers.domain.imports import Field, ImportState, RowState
from services.customers.store.import_tables import ImportRow
from services.customers.usecases.imports import SeenImport
from services.kernel.phones import texts_for

STATES = {state: pb.ImportState.Value(f"IMPORT_STATE_{state.name}") for state in ImportState}
ROW_STATES = {state: pb.ImportRowState.Value(f"IMPORT_ROW_STATE_{state.name}") for state in RowState}


def import_message(seen: SeenImport, locale: str) -> pb.Import:
    """Return an import with its progress; whose it is knows the file."""
    job, rows = seen.job, seen.rows
    english = locale.lower().startswith("en")
    message = pb.Import(
        import_id=job.import_id,
        state=STATES[ImportState(job.state)],
        file_name=job.file_name,
        size_bytes=job.size_bytes,
        format=job.format,
        encoding=job.encoding,
        columns=job.columns,
        mapping=job.mapping,
        owner_id=job.owner_id or "",
        pool_id=job.pool_id or "",
        row_count=rows.total(),
        staged_count=rows[RowState.STAGED],
        ready_count=rows[RowState.READY],
        bad_count=rows[RowState.BAD],
        duplicate_count=rows[RowState.DUPLICATE],
        done_count=rows[RowState.DONE],
        error_reason=job.error_reason,
        error_message=job.error_en if english else job.error_zh,
        create_time=timestamp(job.create_time),
        version=job.version,
    )
    return texts_for(message, may_see=True)


def row_message(row: ImportRow, locale: str) -> pb.ImportRow:
    """Return a staged row; whose import it is knows the file."""
    text = "en" if locale.lower().startswith("en") else "zh"
    message = pb.ImportRow(
        line=row.line,
        cells=row.cells,
        state=ROW_STATES[RowState(row.state)],
        faults=[
            pb.ImportFault(
                column=fault["column"], field=fault["field"], reason=fault["reason"], message=fault[text]
            )
            for fault in row.faults
        ],
        customer_id=row.customer_id or "",
        edited=row.edited,
    )
    return texts_for(message, may_see=True)


def field_message(field: Field, locale: str) -> pb.ImportField:
    """Return a field that a column can be mapped to."""
    return pb.ImportField(key=field.key, label=field.label(locale), required=field.required)
