"""Customers as a file: the ones of a list, page by page, with numbers as the reader may see them; all accounted for.

An export is noted before its first row leaves, and a page is counted before it does: one whose process died is there
with what left at most, and one that ended, whole or not, with what left. A file cannot be taken up where a stream broke
off: a workflow that starts with the export ends it as broken when no page was read for long, and its owner is told.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Label, Row, Text, cast, select, tuple_, update
from sqlalchemy.orm import InstrumentedAttribute

from services.chassis.bulk import one_of
from services.chassis.db import Transaction, WorkflowStart
from services.chassis.errors import RuleViolation
from services.chassis.numbers import NUMBER, hide_numbers
from services.chassis.tokens import Caller
from services.customers.domain.actions import sees_numbers
from services.customers.domain.imports import CREDIT_CODE, FIELDS, POOL
from services.customers.metrics import EXPORTED_ROWS
from services.customers.store.import_tables import ExportRun
from services.customers.store.rules import pools
from services.customers.store.tables import Contact, Customer, Phone
from services.customers.usecases.fields import definitions
from services.customers.usecases.listing import planned_for
from services.customers.usecases.views import View, list_conditions
from services.customers.workflows import contracts
from services.kernel.china_time import display_time
from services.kernel.credit_codes import is_credit_code
from services.kernel.fields import FieldDefinition, display_value
from services.kernel.phones import display_number, mask_number
from services.kernel.visibility import sees_every_number

# Customers of one page; two of them are in memory at a time.
PAGE_ROWS = 2000
# What stands between several numbers of a cell; an import understands it.
SEPARATOR = "、"

# What a file has beside the fields that can be imported again: Chinese, English.
MORE_COLUMNS = {
    "other_contacts": ("其他联系人", "Other contacts"),
    "owner": ("负责人", "Owner"),
    "create_time": ("创建时间", "Created"),
}

# A row of a query.
Found = Row[*tuple[Any, ...]]

STARTED, COMPLETE, BROKEN = "started", "complete", "broken"
# An export of which no page was read for so long has no process any more, or nobody who takes its rows.
SILENT = timedelta(minutes=10)


@dataclass(frozen=True)
class Wanted:
    """What shall be in a file: a list's view, pool, query and filter."""

    view: View
    pool_id: str
    query: str
    filter_text: str

    def conditions(self, tx: Transaction, caller: Caller) -> list[ColumnElement[bool]]:
        """Return what holds for its customers; raises as `list_customers`."""
        return list_conditions(
            tx, caller, self.view, pool_id=self.pool_id, query=self.query, filter_text=self.filter_text
        )


@dataclass(frozen=True)
class Page:
    """Some customers as rows of the file, without the names of their owners. last: where the next page begins.

    rows: made as they are taken, by whoever sends them, while the next page is read.
    """

    rows: Iterator[list[str]]
    owner_ids: list[str | None]
    last: tuple[datetime, str] | None


def header(definitions: Sequence[FieldDefinition], locale: str) -> list[str]:
    """Return the first row; an import of the file knows its columns again. definitions: of the tenant's own fields."""
    english = locale.lower().startswith("en")
    return [
        *(field.label(locale) for field in FIELDS),
        *(texts[1] if english else texts[0] for texts in MORE_COLUMNS.values()),
        *(definition.name for definition in definitions),
    ]


OWNER_COLUMN = len(FIELDS) + list(MORE_COLUMNS).index("owner")


def begin_export(
    tx: Transaction, caller: Caller, export_id: str, wanted: Wanted, sheet_format: str
) -> list[str]:
    """Note that somebody takes customers out, and return the header; raises as `list_customers`."""
    wanted.conditions(tx, caller)
    about = {"view": wanted.view.value, "poolId": wanted.pool_id}
    tx.session.add(
        ExportRun(
            tenant_id=tx.tenant.id,
            export_id=export_id,
            person_id=caller.person_id,
            format=sheet_format,
            filter={**about, "query": wanted.query, "filter": wanted.filter_text},
            state=STARTED,
            row_count=0,
            create_time=tx.now,
            alive_time=tx.now,
        )
    )
    watched = contracts.WatchedExport(tx.tenant, export_id)
    tx.start_workflow(
        WorkflowStart(contracts.WATCH_EXPORT, contracts.export_workflow_id(watched), contracts.QUEUE, watched)
    )
    tx.audit("customers_exported", export_id, {**about, "format": sheet_format})
    return header(definitions(tx), caller.locale)


def export_page(
    tx: Transaction,
    caller: Caller,
    export_id: str,
    wanted: Wanted,
    after: tuple[datetime, str] | None,
    limit: int = PAGE_ROWS,
) -> Page:
    """Return the next customers, newest first, and note how many leave.

    Raises RuleViolation EXPORT_ENDED where it was ended meanwhile.
    """
    conditions = wanted.conditions(tx, caller)
    if after:
        conditions.append(tuple_(Customer.create_time, Customer.customer_id) < after)
    page = (
        select(
            _id(Customer.customer_id),
            Customer.name,
            Customer.state,
            Customer.level,
            Customer.region,
            Customer.address,
            Customer.business_type,
            _id(Customer.owner_id),
            _id(Customer.submitter_id),
            _id(Customer.pool_id),
            Customer.create_time,
            Customer.custom,
            Customer.finance["tax_number"].astext.label("tax_number"),
        )
        .where(*conditions)
        .order_by(Customer.create_time.desc(), Customer.customer_id.desc())
        .limit(limit)
    )
    with planned_for(tx, wanted.filter_text):
        found = tx.session.execute(page).all()
    parts = _Parts(tx, [row.customer_id for row in found])
    names = {pool.pool_id: pool.name for pool in pools(tx)}
    fields = definitions(tx)
    every = sees_every_number(caller)
    rows = (
        _row(
            row,
            parts,
            names,
            fields,
            shown=sees_numbers(row.state, row.owner_id, row.submitter_id, caller.person_id, every),
        )
        for row in found
    )
    noted = tx.session.execute(
        update(ExportRun)
        .where(
            ExportRun.tenant_id == tx.tenant.id,
            ExportRun.export_id == export_id,
            ExportRun.state == STARTED,
        )
        .values(row_count=ExportRun.row_count + len(found), alive_time=tx.now)
        .returning(ExportRun.export_id)
    ).first()
    if noted is None:
        raise RuleViolation("EXPORT_ENDED", "导出已中断，请重新导出", "The export was ended; begin it anew")
    last = (found[-1].create_time, found[-1].customer_id) if len(found) == limit else None
    return Page(rows, [row.owner_id for row in found], last)


def end_export(tx: Transaction, export_id: str, left: int, *, complete: bool) -> None:
    """Note how an export ended, unless it was ended meanwhile. left: rows that left with it."""
    run = tx.session.get_one(ExportRun, (tx.tenant.id, export_id), with_for_update=True)
    if run.state != STARTED:
        return
    run.row_count = left
    _end(tx, run, COMPLETE if complete else BROKEN)


def end_silent_export(tx: Transaction, export_id: str) -> bool:
    """End an export as broken of which nothing was heard for long, and tell its owner; return whether it goes on."""
    run = tx.session.get(ExportRun, (tx.tenant.id, export_id), with_for_update=True)
    if run is None or run.state != STARTED:
        return False
    if tx.now - (run.alive_time or run.create_time) < SILENT:
        return True
    _end(tx, run, BROKEN)
    tx.emit(
        "export_broken",
        export_id,
        1,
        {
            "exportId": export_id,
            "personId": run.person_id,
            "rows": run.row_count,
            "startTime": run.create_time.isoformat(),
        },
    )
    return False


def _end(tx: Transaction, run: ExportRun, state: str) -> None:
    """Note how an export ended, and account for what left with it."""
    run.state, run.end_time = state, tx.now
    EXPORTED_ROWS.inc(run.row_count)
    tx.audit("customers_export_ended", run.export_id, {"rows": str(run.row_count), "state": state})


def _id(column: InstrumentedAttribute[Any]) -> Label[Any]:
    """Return an id as the text that it leaves as: to make a UUID of it first costs more than the rest of its row."""
    return cast(column, Text).label(column.key)


class _Parts:
    """Contacts and numbers of a page's customers."""

    def __init__(self, tx: Transaction, customer_ids: Sequence[str]) -> None:
        self.contacts: dict[str, list[Found]] = defaultdict(list)
        self.numbers: dict[tuple[str, str | None], list[Found]] = defaultdict(list)
        contacts = (
            select(_id(Contact.customer_id), _id(Contact.contact_id), Contact.name, Contact.title)
            .where(Contact.tenant_id == tx.tenant.id, one_of(Contact.customer_id, customer_ids))
            .order_by(Contact.position, Contact.create_time)
        )
        for contact in tx.session.execute(contacts):
            self.contacts[contact.customer_id].append(contact)
        phones = (
            select(_id(Phone.customer_id), _id(Phone.contact_id), Phone.e164, Phone.extension)
            .where(Phone.tenant_id == tx.tenant.id, one_of(Phone.customer_id, customer_ids))
            .order_by(Phone.position)
        )
        for phone in tx.session.execute(phones):
            self.numbers[phone.customer_id, phone.contact_id].append(phone)

    def written(self, customer_id: str, contact_id: str | None, *, shown: bool) -> str:
        """Return the numbers of a customer, or of a contact, in one cell."""
        return SEPARATOR.join(
            _number(row.e164, row.extension) if shown else mask_number(row.e164).removeprefix("+86")
            for row in self.numbers.get((customer_id, contact_id), ())
        )


def _number(e164: str, extension: str) -> str:
    return display_number(e164) + (f"转{extension}" if extension else "")


def _row(
    row: Found,
    parts: _Parts,
    pool_names: Mapping[str, str],
    fields: Sequence[FieldDefinition],
    *,
    shown: bool,
) -> list[str]:
    customer_id, code = row.customer_id, row.tax_number or ""
    contacts = parts.contacts.get(customer_id, [])
    values = {
        **_BLANK,
        "name": row.name,
        "phones": parts.written(customer_id, None, shown=shown),
        "level": row.level,
        "region": row.region,
        "address": row.address,
        "business_type": row.business_type,
        POOL.key: pool_names.get(row.pool_id, ""),
        # Finance data is shown to whom the numbers are.
        CREDIT_CODE.key: code if shown and is_credit_code(code) else "",
        "create_time": display_time(row.create_time),
    }
    if contacts:
        first = contacts[0]
        values |= {
            "contact_name": first.name,
            "contact_title": first.title,
            "contact_phones": parts.written(customer_id, first.contact_id, shown=shown),
            "other_contacts": "；".join(
                " ".join(
                    part
                    for part in (
                        contact.name,
                        contact.title,
                        parts.written(customer_id, contact.contact_id, shown=shown),
                    )
                    if part
                )
                for contact in contacts[1:]
            ),
        }
    if not shown and NUMBER.search("|".join([values[key] for key in _TYPED])):
        values |= {key: hide_numbers(values[key]) for key in _TYPED}
    return [
        *values.values(),
        *(display_value(field, row.custom.get(field.key), numbers_shown=shown) for field in fields),
    ]


# Every cell but those of the tenant's own fields, in the order of the header.
_BLANK = dict.fromkeys((*(field.key for field in FIELDS), *MORE_COLUMNS), "")
# Those of them that people type as they like.
_TYPED = (
    "name",
    "level",
    "region",
    "address",
    "business_type",
    "contact_name",
    "contact_title",
    "other_contacts",
)


def rows_of(head: list[str], pages: Iterator[Page], names: Mapping[str | None, str]) -> Iterator[list[str]]:
    """Return a file's rows, the header first. names: of owners, by id."""
    yield head
    for page in pages:
        for row, owner_id in zip(page.rows, page.owner_ids, strict=True):
            row[OWNER_COLUMN] = names[owner_id]
            yield row
