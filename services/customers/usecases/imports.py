"""Imports as people handle them: upload, map, correct, have checked and committed. Only its maker sees an import."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select, tuple_

from services.chassis.db import Transaction, WorkflowStart
from services.chassis.errors import InvalidInput, RuleViolation, not_found
from services.chassis.tokens import Caller
from services.customers.domain.customers import Owner
from services.customers.domain.imports import (
    BUSY_STATES,
    LARGEST_FILE_BYTES,
    OPEN_STATES,
    POOL,
    STATE_ZH,
    ImportState,
    RowState,
    check_mapped,
    check_mapping,
    fields_of,
)
from services.customers.store import imports as store
from services.customers.store.import_tables import ImportJob, ImportRow
from services.customers.store.rules import get_pool
from services.customers.usecases.fields import definitions
from services.customers.usecases.import_rows import customer_id_of, judge, reader_of
from services.customers.workflows.import_contracts import (
    QUEUE,
    RUN_IMPORT,
    ImportKind,
    ImportStep,
    import_workflow_id,
)

# How long an import's rows are kept: they hold numbers of people.
KEPT = timedelta(days=30)
# Bytes of one part of a file.
LARGEST_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class SeenImport:
    """An import with its progress: rows by state."""

    job: ImportJob
    rows: Counter[str]


def create_import(tx: Transaction, caller: Caller, import_id: str, file_name: str) -> SeenImport:
    """Begin an import whose customers go to its maker; forgets the tenant's old ones."""
    tx.session.execute(
        delete(ImportJob).where(
            ImportJob.tenant_id == tx.tenant.id,
            ImportJob.create_time < tx.now - KEPT,
            ImportJob.state.not_in(BUSY_STATES),
        )
    )
    job = ImportJob(
        tenant_id=tx.tenant.id,
        import_id=import_id,
        state=ImportState.UPLOADING,
        file_name=file_name,
        size_bytes=0,
        file_key="",
        format="",
        encoding="",
        columns=[],
        mapping=[],
        creator_id=caller.person_id,
        creator_name=caller.name,
        owner_id=caller.person_id,
        owner_department_path=caller.department_path,
        pool_id=None,
        checked_line=0,
        step=0,
        error_reason="",
        error_zh="",
        error_en="",
        create_time=tx.now,
        version=1,
    )
    tx.session.add(job)
    return SeenImport(job, Counter())


def append_file(tx: Transaction, caller: Caller, import_id: str, offset_bytes: int, chunk: bytes) -> int:
    """Add a part of the file and return its size; a part that is there already changes nothing.

    Raises InvalidInput CHUNK_SIZE, CHUNK_GAP, SHEET_TOO_LARGE, RuleViolation IMPORT_STATE.
    """
    if not 0 < len(chunk) <= LARGEST_CHUNK_BYTES:
        raise InvalidInput(
            "chunk",
            "CHUNK_SIZE",
            "每块须为 1 到 {most} 字节",
            "A part has 1 to {most} bytes",
            most=LARGEST_CHUNK_BYTES,
        )
    job = _own(tx, caller, import_id)
    if offset_bytes + len(chunk) <= job.size_bytes:
        return job.size_bytes
    if job.state != ImportState.UPLOADING:
        raise _wrong_state(job)
    if offset_bytes != job.size_bytes:
        raise InvalidInput(
            "offset_bytes",
            "CHUNK_GAP",
            "应从第 {size} 字节续传",
            "The next part begins at byte {size}",
            size=job.size_bytes,
        )
    if job.size_bytes + len(chunk) > LARGEST_FILE_BYTES:
        raise InvalidInput(
            "chunk",
            "SHEET_TOO_LARGE",
            "文件不能超过 {most} MB",
            "A file has at most {most} MB",
            most=LARGEST_FILE_BYTES // 1024 // 1024,
        )
    store.add_chunk(tx, job, chunk)
    return job.size_bytes


def finish_file(tx: Transaction, caller: Caller, import_id: str) -> SeenImport:
    """The file is whole: let it be read."""
    job = _own(tx, caller, import_id, {ImportState.UPLOADING})
    start(tx, job, ImportState.STAGING, ImportKind.STAGE)
    return _seen(tx, job)


def start(tx: Transaction, job: ImportJob, state: ImportState, kind: ImportKind) -> None:
    """Let a workflow work on an import."""
    _move(job, state)
    job.step += 1
    workflow_id = import_workflow_id(job.import_id, job.step)
    payload = ImportStep(tx.tenant, job.import_id, kind)
    tx.start_workflow(WorkflowStart(RUN_IMPORT, workflow_id, QUEUE, payload))


def get_import(tx: Transaction, caller: Caller, import_id: str) -> SeenImport:
    """Return an import; raises NotFound IMPORT_NOT_FOUND."""
    job = tx.session.get(ImportJob, (tx.tenant.id, import_id))
    if job is None or job.creator_id != caller.person_id:
        raise not_found("import", "导入", import_id)
    return _seen(tx, job)


def list_imports(
    tx: Transaction, caller: Caller, *, after: tuple[datetime, str] | None, limit: int
) -> list[SeenImport]:
    """Return up to `limit` of the caller's imports, newest first."""
    conditions = [ImportJob.tenant_id == tx.tenant.id, ImportJob.creator_id == caller.person_id]
    if after:
        conditions.append(tuple_(ImportJob.create_time, ImportJob.import_id) < after)
    jobs = tx.session.scalars(
        select(ImportJob)
        .where(*conditions)
        .order_by(ImportJob.create_time.desc(), ImportJob.import_id.desc())
        .limit(limit)
    ).all()
    found = store.counts(tx, [job.import_id for job in jobs])
    return [SeenImport(job, found[job.import_id]) for job in jobs]


def update_import(
    tx: Transaction, caller: Caller, import_id: str, *, mapping: Sequence[str], owner: Owner, pool_id: str
) -> SeenImport:
    """Change the mapping and who gets the customers: `owner`, or with `pool_id` that pool; rows are to be checked anew.

    Raises InvalidInput MAPPING_LENGTH, MAPPING_FIELD, NotFound POOL_NOT_FOUND, RuleViolation IMPORT_STATE.
    """
    job = _own(tx, caller, import_id, OPEN_STATES)
    job.mapping = check_mapping(mapping, job.columns, fields_of(definitions(tx)))
    if pool_id:
        get_pool(tx, pool_id)
    job.pool_id = pool_id or None
    job.owner_id = None if pool_id else owner.person_id
    job.owner_department_path = "" if pool_id else owner.department_path
    _move(job, ImportState.STAGED)
    store.stage_anew(tx, import_id)
    return _seen(tx, job)


def list_rows(
    tx: Transaction, caller: Caller, import_id: str, *, state: RowState | None, after_line: int, limit: int
) -> Sequence[ImportRow]:
    """Return up to `limit` staged rows behind a line."""
    _own(tx, caller, import_id)
    return store.rows_after(tx, import_id, after_line, limit, [state] if state else ())


def update_row(tx: Transaction, caller: Caller, import_id: str, line: int, cells: Sequence[str]) -> ImportRow:
    """Correct a row that is no customer yet; it is checked at once, but for its keys.

    Raises NotFound ROW_NOT_FOUND, RuleViolation IMPORT_STATE or ROW_DONE, InvalidInput CELLS_LENGTH.
    """
    job = _own(tx, caller, import_id, OPEN_STATES)
    row = store.lock_rows(tx, import_id, [line]).get(line)
    if row is None:
        raise not_found("row", "行", str(line))
    if row.state == RowState.DONE:
        raise RuleViolation("ROW_DONE", "该行已导入，不能修改", "This row is a customer already")
    if len(cells) > len(job.columns):
        raise InvalidInput(
            "cells",
            "CELLS_LENGTH",
            "最多{columns}个单元格",
            "A row has at most {columns} cells",
            columns=len(job.columns),
        )
    row.cells = list(cells)
    row.edited = True
    row.faults = []
    if job.state != ImportState.STAGED:
        verdict, _ = judge(reader_of(tx, job), row, customer_id_of(job, row))
        row.state, row.faults = verdict.state, [asdict(fault) for fault in verdict.faults]
        _move(job, ImportState.CHECKED)
    return row


def check_import(tx: Transaction, caller: Caller, import_id: str, allow: Callable[[], None]) -> SeenImport:
    """Let every row be checked. allow: raises unless the caller may import for others and into pools.

    Raises RuleViolation NAME_NOT_MAPPED, IMPORT_STATE.
    """
    job = _own(tx, caller, import_id, OPEN_STATES)
    check_mapped(job.mapping)
    _check_target(job, caller, allow)
    job.checked_line = 0
    start(tx, job, ImportState.CHECKING, ImportKind.CHECK)
    return _seen(tx, job)


def commit_import(tx: Transaction, caller: Caller, import_id: str, allow: Callable[[], None]) -> SeenImport:
    """Let customers be made of the ready rows; raises as `check_import`, and RuleViolation NOTHING_READY."""
    job = _own(tx, caller, import_id, {ImportState.CHECKED})
    _check_target(job, caller, allow)
    seen = _seen(tx, job)
    if not seen.rows[RowState.READY]:
        raise RuleViolation("NOTHING_READY", "没有可导入的行", "No row is ready to be imported")
    start(tx, job, ImportState.COMMITTING, ImportKind.COMMIT)
    return seen


def cancel_import(tx: Transaction, caller: Caller, import_id: str) -> SeenImport:
    """End an import; a batch under way is still finished."""
    job = _own(tx, caller, import_id)
    if job.state == ImportState.DONE:
        raise _wrong_state(job)
    _move(job, ImportState.CANCELLED)
    store.drop_chunks(tx, import_id)
    return _seen(tx, job)


def errors_after(
    tx: Transaction, caller: Caller, import_id: str, line: int
) -> tuple[ImportJob, Sequence[ImportRow]]:
    """Return an import and its next rows that are wrong or held by somebody."""
    job = _own(tx, caller, import_id)
    return job, store.rows_after(tx, import_id, line, store.PAGE_ROWS, [RowState.BAD, RowState.DUPLICATE])


def _check_target(job: ImportJob, caller: Caller, allow: Callable[[], None]) -> None:
    if job.pool_id or POOL.key in job.mapping or job.owner_id != caller.person_id:
        allow()


def _own(
    tx: Transaction,
    caller: Caller,
    import_id: str,
    states: frozenset[ImportState] | set[ImportState] = frozenset(),
) -> ImportJob:
    """Return the caller's import, locked; raises RuleViolation IMPORT_STATE outside of `states`."""
    job = store.get_job(tx, import_id)
    if job.creator_id != caller.person_id:
        raise not_found("import", "导入", import_id)
    if states and job.state not in states:
        raise _wrong_state(job)
    return job


def _wrong_state(job: ImportJob) -> RuleViolation:
    return RuleViolation(
        "IMPORT_STATE",
        f"导入{STATE_ZH[ImportState(job.state)]}，不能执行该操作",
        "Not while the import is {state}",
        state=job.state,
    )


def _move(job: ImportJob, state: ImportState) -> None:
    job.state = state
    job.version += 1


def _seen(tx: Transaction, job: ImportJob) -> SeenImport:
    tx.session.flush()
    return SeenImport(job, store.counts(tx, [job.import_id])[job.import_id])
