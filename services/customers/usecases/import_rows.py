"""A staged row as the customer that it becomes, and what is noted of it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from services.chassis.db import Transaction
from services.chassis.ids import derive_id
from services.customers.domain.customers import CustomerDraft
from services.customers.domain.imports import NAME, Fault, RowState, parse_row
from services.customers.store.import_tables import ImportJob, ImportRow
from services.customers.store.rules import pools
from services.customers.usecases.fields import definitions
from services.kernel.fields import FieldDefinition


def customer_id_of(job: ImportJob, row: ImportRow) -> str:
    """Return the id of the customer that a row becomes: the same for the same row of the same file, for ever."""
    return derive_id(job.tenant_id, "import", job.file_key, row.row_key)


def reservation_id_of(job: ImportJob, row: ImportRow) -> str:
    """Return the id under which a row's keys are reserved; a new one behind one that was given up."""
    return derive_id(job.tenant_id, job.import_id, str(row.line), str(row.attempt))


@dataclass(frozen=True)
class Known:
    """What rows are read by. pools: ids by name. definitions: of the tenant's own fields."""

    pools: Mapping[str, str]
    definitions: Sequence[FieldDefinition]


def known(tx: Transaction) -> Known:
    """Return what rows are read by now."""
    return Known({pool.name: pool.pool_id for pool in pools(tx)}, definitions(tx))


def judge_row(job: ImportJob, row: ImportRow, by: Known) -> CustomerDraft | None:
    """Note whether a row can be a customer, and return it."""
    customer_id = customer_id_of(job, row)
    parsed = parse_row(
        row.cells,
        job.columns,
        job.mapping,
        customer_id=customer_id,
        contact_id=derive_id(customer_id, "contact", "0"),
        pools=by.pools,
        definitions=by.definitions,
    )
    row.state = RowState.READY if parsed.draft else RowState.BAD
    row.faults = [asdict(fault) for fault in parsed.faults]
    return parsed.draft


def refuse_row(row: ImportRow, state: RowState, reason: str, zh: str, en: str, field: str = NAME.key) -> None:
    """Note why a row does not become a customer."""
    row.state = state
    row.faults = [asdict(Fault("", field, reason, zh, en))]
