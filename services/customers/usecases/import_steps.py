"""What a workflow does with an import: read the file, check its rows, make customers of them in batches.

Each step stands in one transaction with its progress, so that it is done or not: a process may die at any point. The
ids of what a batch makes follow from its rows, and its keys are reserved before: a repeat meets its own, and a second
one at the same time finds no row left.
"""

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.chassis.errors import AlreadyExists, AppError, InvalidInput
from services.customers.domain.customers import Cause, CustomerDraft, Owner
from services.customers.domain.imports import MOST_ROWS, ImportState, RowState, fields_of, suggest_mapping
from services.customers.metrics import IMPORTED_ROWS
from services.customers.store import imports as store
from services.customers.store.import_tables import ImportJob, ImportRow
from services.customers.store.ledger import Change, change_owner
from services.customers.store.rules import get_pool
from services.customers.store.tables import Contact, Customer, Phone, ReservationOutcome
from services.customers.usecases.create import add_customers
from services.customers.usecases.fields import definitions
from services.customers.usecases.import_rows import (
    customer_id_of,
    judge_row,
    known,
    refuse_row,
    reservation_id_of,
)
from services.customers.usecases.reservations import CANCELLED, WRITTEN
from services.kernel.sheets import open_sheet

# Rows of a batch.
BATCH_ROWS = 500


@dataclass(frozen=True)
class Refused:
    """Why a reservation of a batch was not made."""

    reason: str
    zh: str
    en: str


@dataclass(frozen=True)
class Item:
    """A row of a batch on its way."""

    line: int
    attempt: int
    reservation_id: str
    draft: CustomerDraft


@dataclass(frozen=True)
class Batch:
    """Rows that go together. holder: for whom their keys are taken, id and name. more: rows are left behind it."""

    items: tuple[Item, ...]
    holder: tuple[str, str]
    more: bool

    @property
    def drafts(self) -> list[tuple[str, CustomerDraft]]:
        """The customers to be, each with its reservation's id."""
        return [(item.reservation_id, item.draft) for item in self.items]


def stage(tx: Transaction, import_id: str) -> None:
    """Read the file into rows: all or none. Raises InvalidInput for a file that cannot be read; see `fail`."""
    job = store.get_job(tx, import_id)
    if job.state != ImportState.STAGING:
        return
    with tempfile.TemporaryFile() as file:
        store.write_file(tx, import_id, file)
        job.file_key = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        sheet = open_sheet(file)
        job.format, job.encoding = sheet.format, sheet.encoding
        with closing(sheet.rows):
            lines = enumerate(sheet.rows, start=1)
            job.columns = next((row for _, row in lines if any(row)), [])
            job.mapping = suggest_mapping(job.columns, fields_of(definitions(tx)))
            count = store.add_rows(tx, import_id, _staged(lines))
    if not count:
        raise InvalidInput("file", "SHEET_EMPTY", "文件中没有数据行", "The file has no rows of data")
    store.drop_chunks(tx, import_id)
    job.state = ImportState.STAGED
    job.version += 1


def begin_source(
    tx: Transaction,
    import_id: str,
    *,
    source_name: str,
    creator_name: str,
    owner: Owner,
    pool_id: str,
    columns: Sequence[str],
    mapping: Sequence[str],
) -> ImportJob:
    """Begin an import of rows that come from another database; they are checked next.

    Raises NotFound POOL_NOT_FOUND.
    """
    if pool_id:
        get_pool(tx, pool_id)
    job = ImportJob(
        tenant_id=tx.tenant.id,
        import_id=import_id,
        state=ImportState.CHECKING,
        file_name=source_name,
        size_bytes=0,
        # The same for every run: a row is told by its key alone.
        file_key=f"source:{source_name}",
        format="SQL",
        encoding="",
        columns=list(columns),
        mapping=list(mapping),
        creator_id=owner.person_id,
        creator_name=creator_name,
        owner_id=None if pool_id else owner.person_id,
        owner_department_path="" if pool_id else owner.department_path,
        pool_id=pool_id or None,
        checked_line=0,
        step=0,
        error_reason="",
        error_zh="",
        error_en="",
        create_time=tx.now,
        version=1,
    )
    tx.session.add(job)
    return job


def begin_commit(tx: Transaction, import_id: str) -> None:
    """Let the ready rows of a checked import be committed by whoever calls `batch_to_commit` next."""
    job = store.get_job(tx, import_id)
    if job.state == ImportState.CHECKED:
        job.state = ImportState.COMMITTING
        job.version += 1


def _staged(lines: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, str, list[str]]]:
    count = 0
    for line, cells in lines:
        if any(cells):
            count += 1
            if count > MOST_ROWS:
                raise InvalidInput(
                    "file",
                    "TOO_MANY_ROWS",
                    "一次最多导入{most}行，请拆分文件",
                    "A file has at most {most} rows: split it",
                    most=MOST_ROWS,
                )
            yield line, str(line), cells


def fail(tx: Transaction, import_id: str, error: AppError) -> None:
    """Note why a file could not be read."""
    job = store.get_job(tx, import_id)
    if job.state == ImportState.STAGING:
        job.state = ImportState.FAILED
        job.error_reason, job.error_zh, job.error_en = error.reason, error.zh, error.en
        job.version += 1
        store.drop_chunks(tx, import_id)


def batch_to_check(tx: Transaction, import_id: str) -> Batch:
    """Return the next rows to check, as far as they are whole; their keys are to be looked up."""
    job = store.get_job(tx, import_id)
    if job.state != ImportState.CHECKING:
        return Batch((), ("", ""), more=False)
    rows = _to_check(tx, job)
    existing, by = _existing(tx, job, rows), known(tx)
    items = []
    for row in rows:
        draft = judge_row(job, row, by)
        if draft and draft.id not in existing:
            existing.add(draft.id)
            items.append(Item(row.line, row.attempt, reservation_id_of(job, row), draft))
        # Only looked at here: noted by `note_checked`.
        tx.session.expire(row)
    return Batch(tuple(items), _holder(job), more=bool(rows))


def note_checked(tx: Transaction, import_id: str, batch: Batch, refused: Mapping[str, Refused]) -> None:
    """Note what was found of the rows that `batch_to_check` gave, and go on behind them."""
    job = store.get_job(tx, import_id)
    if job.state != ImportState.CHECKING:
        return
    rows = _to_check(tx, job)
    existing, by = _existing(tx, job, rows), known(tx)
    for row in rows:
        draft = judge_row(job, row, by)
        if draft is None:
            continue
        if draft.id in existing:
            _refuse_known(row)
            continue
        existing.add(draft.id)
        if held := refused.get(reservation_id_of(job, row)):
            refuse_row(row, RowState.DUPLICATE, held.reason, held.zh, held.en)
    if rows:
        job.checked_line = rows[-1].line
    else:
        job.state = ImportState.CHECKED
        job.version += 1


def _to_check(tx: Transaction, job: ImportJob) -> Sequence[ImportRow]:
    states = [state for state in RowState if state != RowState.DONE]
    return store.rows_after(tx, job.import_id, job.checked_line, BATCH_ROWS, states)


def batch_to_commit(tx: Transaction, import_id: str) -> Batch:
    """Return the next ready rows; refuses those that were imported before."""
    job = store.get_job(tx, import_id)
    if job.state != ImportState.COMMITTING:
        return Batch((), ("", ""), more=False)
    rows = store.rows_after(tx, import_id, 0, BATCH_ROWS, [RowState.READY])
    if not rows:
        job.state = ImportState.DONE
        job.version += 1
        return Batch((), ("", ""), more=False)
    existing, by = _existing(tx, job, rows), known(tx)
    items = []
    for row in rows:
        draft = judge_row(job, row, by)
        if draft is None:
            continue
        if draft.id in existing:
            _refuse_known(row)
        else:
            # A source may give one key twice.
            existing.add(draft.id)
            items.append(Item(row.line, row.attempt, reservation_id_of(job, row), draft))
    return Batch(tuple(items), _holder(job), more=True)


def write_batch(tx: Transaction, import_id: str, batch: Batch, refused: Mapping[str, Refused]) -> list[str]:
    """Make customers of a batch's rows whose keys are reserved; return the reservations that are written.

    All of it is one transaction: customers, contacts, numbers, owners by the ledger, and what became of each row.
    """
    job = store.get_job(tx, import_id)
    if job.state != ImportState.COMMITTING:
        return []
    rows = store.lock_rows(tx, import_id, [item.line for item in batch.items])
    # Somebody with the same batch may have been here before.
    todo = {
        item.reservation_id: (item, row)
        for item in batch.items
        if (row := rows[item.line]).state == RowState.READY and row.attempt == item.attempt
    }
    for reservation_id in refused.keys() & todo.keys():
        _, row = todo.pop(reservation_id)
        why = refused[reservation_id]
        if why.reason == "RESERVATION_CANCELLED":
            # Given up meanwhile, for we took so long: the next batch takes the row with a new one.
            row.attempt += 1
        else:
            refuse_row(row, RowState.DUPLICATE, why.reason, why.zh, why.en)
    written = _write_under(tx, list(todo))
    for reservation_id in todo.keys() - written:
        _, row = todo.pop(reservation_id)
        row.attempt += 1
    if not todo:
        return []
    failed = _add(tx, job, [item for item, _ in todo.values()])
    taken = set(failed)
    failed |= _give(tx, job, [item for item, _ in todo.values() if item.draft.id not in failed])
    for item, row in todo.values():
        if error := failed.get(item.draft.id):
            state = RowState.DUPLICATE if item.draft.id in taken else RowState.BAD
            refuse_row(row, state, error.reason, error.zh, error.en)
            row.attempt += 1
        else:
            row.state, row.customer_id, row.faults = RowState.DONE, item.draft.id, []
    gone = [item for item, _ in todo.values() if item.draft.id in failed]
    _take_back(tx, gone)
    IMPORTED_ROWS.inc(len(todo) - len(gone))
    return [reservation_id for reservation_id, (item, _) in todo.items() if item.draft.id not in failed]


def _add(tx: Transaction, job: ImportJob, items: Sequence[Item]) -> dict[str, AppError]:
    """Add the rows of new customers; return why not, by customer, where one of the tenant's own fields refuses it."""
    try:
        with tx.session.begin_nested():
            add_customers(tx, [(item.draft, item.reservation_id) for item in items], job.creator_id)
    except AlreadyExists as taken:
        if len(items) == 1:
            return {items[0].draft.id: taken}
        # Somewhere in the batch a unique value is held: halve it until that row stands alone.
        half = len(items) // 2
        return _add(tx, job, items[:half]) | _add(tx, job, items[half:])
    return {}


def _give(tx: Transaction, job: ImportJob, items: Sequence[Item]) -> dict[str, AppError]:
    """Let the ledger give the new customers to whom they go; return why not, by customer."""
    groups: dict[str, list[str]] = {}
    for item in items:
        groups.setdefault(item.draft.pool_id or job.pool_id or "", []).append(item.draft.id)
    failed: dict[str, AppError] = {}
    # The owner's group comes first: who gains is locked before any customer.
    for pool_id, customer_ids in sorted(groups.items()):
        owner = None if pool_id or not job.owner_id else Owner(job.owner_id, job.owner_department_path)
        results = change_owner(
            tx,
            customer_ids,
            Change(Cause.CREATE, owner, pool_id=pool_id, reason=job.file_name),
            lambda _: None,
        )
        failed |= {key: result for key, result in results.items() if isinstance(result, AppError)}
    return failed


def _write_under(tx: Transaction, reservation_ids: Sequence[str]) -> set[str]:
    """Record that this transaction writes the rows of these reservations; return those not given up before."""
    if not reservation_ids:
        return set()
    added = tx.session.execute(
        insert(ReservationOutcome).on_conflict_do_nothing().returning(ReservationOutcome.reservation_id),
        [
            {
                "tenant_id": tx.tenant.id,
                "reservation_id": reservation_id,
                "outcome": WRITTEN,
                "create_time": tx.now,
            }
            for reservation_id in reservation_ids
        ],
    )
    return {row.reservation_id for row in added}


def _take_back(tx: Transaction, items: Sequence[Item]) -> None:
    """Remove what the ledger refused, as if it had never been written; dedupe learns it when it asks."""
    if not items:
        return
    ids = [item.draft.id for item in items]
    for table in (Phone, Contact, Customer):
        tx.session.execute(delete(table).where(table.tenant_id == tx.tenant.id, table.customer_id.in_(ids)))
    for item in items:
        outcome = tx.session.get_one(ReservationOutcome, (tx.tenant.id, item.reservation_id))
        outcome.outcome = CANCELLED


def _existing(tx: Transaction, job: ImportJob, rows: Sequence[ImportRow]) -> set[str]:
    """Return the ids, of those that the rows would give, of customers that exist."""
    ids = [customer_id_of(job, row) for row in rows]
    return set(
        tx.session.scalars(
            select(Customer.customer_id).where(
                Customer.tenant_id == tx.tenant.id, Customer.customer_id.in_(ids)
            )
        )
    )


def _refuse_known(row: ImportRow) -> None:
    refuse_row(row, RowState.DUPLICATE, "IMPORTED_BEFORE", "该行此前已导入", "This row was imported before")


def _holder(job: ImportJob) -> tuple[str, str]:
    return job.creator_id, job.creator_name
