"""A staged row as the customer that it becomes, and what is noted of it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from services.chassis.bulk import planned_anew, update_rows
from services.chassis.db import Transaction
from services.chassis.ids import derive_id
from services.customers.domain.customers import CustomerDraft
from services.customers.domain.imports import NAME, Fault, RowReader, RowState
from services.customers.store.import_tables import ImportJob, ImportRow
from services.customers.store.imports import StagedRow
from services.customers.store.rules import pools
from services.customers.usecases.fields import definitions


def customer_id_of(job: ImportJob, row: ImportRow | StagedRow) -> str:
    """Return the id of the customer that a row becomes: the same for the same row of the same file, for ever."""
    return derive_id(job.tenant_id, "import", job.file_key, row.row_key)


def reservation_id_of(job: ImportJob, row: ImportRow | StagedRow) -> str:
    """Return the id under which a row's keys are reserved; a new one behind one that was given up."""
    return derive_id(job.tenant_id, job.import_id, str(row.line), str(row.attempt))


def reader_of(tx: Transaction, job: ImportJob) -> RowReader:
    """Return what the rows of an import are read by now."""
    by_name = {pool.name: pool.pool_id for pool in pools(tx)}
    return RowReader(job.columns, job.mapping, pools=by_name, definitions=definitions(tx))


@dataclass(frozen=True)
class Verdict:
    """What a row is now: its state, what is wrong with it, the customer it became, and which try comes next."""

    line: int
    state: RowState
    attempt: int
    faults: tuple[Fault, ...] = ()
    customer_id: str | None = None


def judge(
    reader: RowReader, row: ImportRow | StagedRow, customer_id: str
) -> tuple[Verdict, CustomerDraft | None]:
    """Return whether a row can be a customer, and that customer. customer_id: see `customer_id_of`."""
    contact_id = derive_id(customer_id, "contact", "0")
    parsed = reader.read(row.cells, customer_id=customer_id, contact_id=contact_id)
    state = RowState.READY if parsed.draft else RowState.BAD
    return Verdict(row.line, state, row.attempt, parsed.faults), parsed.draft


def refused(
    line: int, attempt: int, state: RowState, reason: str, zh: str, en: str, field: str = NAME.key
) -> Verdict:
    """Return why a row does not become a customer."""
    return Verdict(line, state, attempt, (Fault("", field, reason, zh, en),))


def note(tx: Transaction, import_id: str, verdicts: Sequence[Verdict]) -> None:
    """Write what became of rows."""
    rows = [
        {
            "tenant_id": tx.tenant.id,
            "import_id": import_id,
            "line": verdict.line,
            "state": verdict.state,
            "attempt": verdict.attempt,
            "faults": [asdict(fault) for fault in verdict.faults],
            "customer_id": verdict.customer_id,
        }
        for verdict in verdicts
    ]
    if rows:
        with planned_anew(tx.session):
            tx.session.execute(update_rows(ImportRow, rows, ("tenant_id", "import_id", "line")))
