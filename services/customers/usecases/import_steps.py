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
from functools import cache, partial

from sqlalchemy import select, update

from services.chassis.bulk import insert_rows, one_of, planned_anew
from services.chassis.db import Transaction
from services.chassis.errors import AlreadyExists, AppError, InvalidInput
from services.customers.domain.customers import Cause, CustomerDraft, Owner
from services.customers.domain.imports import MOST_ROWS, ImportState, RowState, fields_of, suggest_mapping
from services.customers.metrics import IMPORTED_ROWS
from services.customers.store import imports as store
from services.customers.store.import_tables import ImportJob
from services.customers.store.imports import StagedRow
from services.customers.store.ledger import Change
from services.customers.store.rules import get_pool
from services.customers.store.tables import Customer, ReservationOutcome
from services.customers.usecases.create import add_owned_customers
from services.customers.usecases.fields import definitions
from services.customers.usecases.import_rows import (
    Verdict,
    customer_id_of,
    judge,
    note,
    reader_of,
    refused,
    reservation_id_of,
)
from services.customers.usecases.reservations import CANCELLED, WRITTEN
from services.kernel.sheets import open_sheet

# Rows of a batch: as many as dedupe takes at once.
BATCH_ROWS = 1000


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
    """Rows that go together.

    holder: for whom their keys are taken, id and name. verdicts: on the rows that are none of the items, to be noted
    with them. after, last: the lines that it lies between; `last` is `after` where no row is left. before: ids of the
    customers of the batch before it, which may be on their way still.
    """

    items: tuple[Item, ...] = ()
    holder: tuple[str, str] = ("", "")
    verdicts: tuple[Verdict, ...] = ()
    after: int = 0
    last: int = 0
    before: frozenset[str] = frozenset()

    @property
    def ids(self) -> frozenset[str]:
        """The customers to be, by id."""
        return frozenset(item.draft.id for item in self.items)

    @property
    def more(self) -> bool:
        """Tell whether there was a row."""
        return self.last > self.after

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


def batch_to_check(tx: Transaction, import_id: str, before: Batch | None) -> Batch:
    """Return the next rows to check, behind those of `before`; the keys of its items are to be looked up.

    Locks nothing, for `before` may be on its way; who writes a batch looks whether it still is the next one.
    """
    job = store.read_job(tx, import_id)
    if job.state != ImportState.CHECKING:
        return Batch()
    after = before.last if before else job.checked_line
    states = [state for state in RowState if state != RowState.DONE]
    return _batch(tx, job, store.staged_after(tx, import_id, after, BATCH_ROWS, states), after)


def note_checked(tx: Transaction, import_id: str, batch: Batch, refusals: Mapping[str, Refused]) -> None:
    """Note what was found of the rows that `batch_to_check` gave, and go on behind them."""
    job = store.get_job(tx, import_id)
    # Nobody changes a row while it is checked; somebody with the same batch may have been here before.
    if job.state != ImportState.CHECKING or job.checked_line != batch.after:
        return
    verdicts = [
        refused(item.line, item.attempt, RowState.DUPLICATE, why.reason, why.zh, why.en)
        if (why := refusals.get(item.reservation_id))
        else Verdict(item.line, RowState.READY, item.attempt)
        for item in batch.items
    ]
    note(tx, import_id, [*batch.verdicts, *verdicts])
    job.checked_line = batch.last


def batch_to_commit(tx: Transaction, import_id: str, before: Batch | None) -> Batch:
    """Return the next ready rows, behind those of `before`; the keys of its items are to be reserved.

    Locks nothing, as `batch_to_check`. Whatever came before `before` and the one before that must be written by now.
    """
    job = store.read_job(tx, import_id)
    if job.state != ImportState.COMMITTING:
        return Batch()
    after = before.last if before else 0
    rows = store.staged_after(tx, import_id, after, BATCH_ROWS, [RowState.READY])
    return _batch(tx, job, rows, after, before)


def finish(tx: Transaction, import_id: str) -> bool:
    """End a step that has no row left; tell whether it has none.

    A row whose reservation was given up is ready again, for another try.
    """
    job = store.get_job(tx, import_id)
    match job.state:
        case ImportState.CHECKING:
            job.state = ImportState.CHECKED
        case ImportState.COMMITTING:
            if store.staged_after(tx, import_id, 0, 1, [RowState.READY]):
                return False
            job.state = ImportState.DONE
        case _:
            return True
    job.version += 1
    return True


def _batch(
    tx: Transaction, job: ImportJob, rows: Sequence[StagedRow], after: int, before: Batch | None = None
) -> Batch:
    """Return rows as customers, and verdicts on those that cannot be or are customers already.

    before: whose customers, and those of the batch before it, are about to be.
    """
    coming = before.ids if before else frozenset()
    ids = [customer_id_of(job, row) for row in rows]
    reader = reader_of(tx, job)
    existing = _existing(tx, ids) | coming | (before.before if before else frozenset())
    items, verdicts = [], []
    for row, customer_id in zip(rows, ids, strict=True):
        verdict, draft = judge(reader, row, customer_id)
        if draft is None:
            verdicts.append(verdict)
        elif draft.id in existing:
            verdicts.append(
                refused(
                    row.line,
                    row.attempt,
                    RowState.DUPLICATE,
                    "IMPORTED_BEFORE",
                    "该行此前已导入",
                    "This row was imported before",
                )
            )
        else:
            # A source may give one key twice.
            existing.add(draft.id)
            items.append(Item(row.line, row.attempt, reservation_id_of(job, row), draft))
    holder = (job.creator_id, job.creator_name)
    last = rows[-1].line if rows else after
    return Batch(tuple(items), holder, tuple(verdicts), after, last, coming)


def write_batch(tx: Transaction, import_id: str, batch: Batch, refusals: Mapping[str, Refused]) -> list[str]:
    """Make customers of a batch's rows whose keys are reserved; return the reservations that are written.

    All of it is one transaction: customers, contacts, numbers, owners by the ledger, and what became of each row.
    """
    job = store.get_job(tx, import_id)
    if job.state != ImportState.COMMITTING:
        return []
    # Somebody with the same batch may have been here before.
    ready = store.lock_ready(tx, import_id, batch.after, batch.last)
    verdicts = [verdict for verdict in batch.verdicts if ready.get(verdict.line) == verdict.attempt]
    todo = {item.reservation_id: item for item in batch.items if ready.get(item.line) == item.attempt}
    for reservation_id in refusals.keys() & todo.keys():
        item, why = todo.pop(reservation_id), refusals[reservation_id]
        if why.reason == "RESERVATION_CANCELLED":
            # Given up meanwhile, for we took so long: the next batch takes the row with a new one.
            verdicts.append(Verdict(item.line, RowState.READY, item.attempt + 1))
        else:
            verdicts.append(refused(item.line, item.attempt, RowState.DUPLICATE, why.reason, why.zh, why.en))
    written = _write_under(tx, list(todo))
    for reservation_id in todo.keys() - written:
        item = todo.pop(reservation_id)
        verdicts.append(Verdict(item.line, RowState.READY, item.attempt + 1))
    failed = _add(tx, job, list(todo.values()))
    for item in todo.values():
        if error := failed.get(item.draft.id):
            state = RowState.DUPLICATE if isinstance(error, AlreadyExists) else RowState.BAD
            verdicts.append(refused(item.line, item.attempt + 1, state, error.reason, error.zh, error.en))
        else:
            verdicts.append(Verdict(item.line, RowState.DONE, item.attempt, customer_id=item.draft.id))
    _take_back(tx, [item.reservation_id for item in todo.values() if item.draft.id in failed])
    note(tx, import_id, verdicts)
    done = [reservation_id for reservation_id, item in todo.items() if item.draft.id not in failed]
    IMPORTED_ROWS.inc(len(done))
    return done


def _add(tx: Transaction, job: ImportJob, items: Sequence[Item]) -> dict[str, AppError]:
    """Add new customers with whom they go to; return why not, by customer.

    That is AlreadyExists where a unique value of one of the tenant's own fields is held, else the owner has no room.
    """
    drafts = [(item.draft, item.reservation_id) for item in items]
    given = cache(partial(_given, job))
    changes = {draft.id: given(draft.pool_id) for draft, _ in drafts}
    try:
        with tx.savepoint():
            return add_owned_customers(tx, drafts, changes, job.creator_id)
    except AlreadyExists as taken:
        if len(items) == 1:
            return {items[0].draft.id: taken}
        # Somewhere in the batch a unique value is held: halve it until that row stands alone.
        half = len(items) // 2
        return _add(tx, job, items[:half]) | _add(tx, job, items[half:])


def _given(job: ImportJob, pool_id: str) -> Change:
    """Return to whom, or into which pool, a new customer goes. pool_id: that its row names, "" for none."""
    pool_id = pool_id or job.pool_id or ""
    owner = None if pool_id or not job.owner_id else Owner(job.owner_id, job.owner_department_path)
    return Change(Cause.CREATE, owner, pool_id=pool_id, reason=job.file_name)


def _write_under(tx: Transaction, reservation_ids: Sequence[str]) -> set[str]:
    """Record that this transaction writes the rows of these reservations; return those not given up before."""
    if not reservation_ids:
        return set()
    rows = [
        {
            "tenant_id": tx.tenant.id,
            "reservation_id": reservation_id,
            "outcome": WRITTEN,
            "create_time": tx.now,
        }
        for reservation_id in reservation_ids
    ]
    added = insert_rows(ReservationOutcome, rows).on_conflict_do_nothing()
    return set(tx.session.execute(added.returning(ReservationOutcome.reservation_id)).scalars())


def _take_back(tx: Transaction, reservation_ids: Sequence[str]) -> None:
    """Record that nothing was written under these after all; dedupe learns it when it asks."""
    if reservation_ids:
        tx.session.execute(
            update(ReservationOutcome)
            .where(
                ReservationOutcome.tenant_id == tx.tenant.id,
                one_of(ReservationOutcome.reservation_id, reservation_ids),
            )
            .values(outcome=CANCELLED)
        )


def _existing(tx: Transaction, ids: Sequence[str]) -> set[str]:
    """Return which of these ids are of customers that exist."""
    query = select(Customer.customer_id).where(
        Customer.tenant_id == tx.tenant.id, one_of(Customer.customer_id, ids)
    )
    with planned_anew(tx.session):
        return set(tx.session.scalars(query))
