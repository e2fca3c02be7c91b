"""Quotes, orders and contracts on paper: as PDF, or in a workbook of the tenant's own (F95, F96)."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.chassis.errors import AlreadyExists, not_found
from services.chassis.ids import new_id, parse_id
from services.chassis.tokens import Caller
from services.kernel.phones import text_for
from services.kernel.texts import parse_text
from services.orders.domain.documents import TITLES, Document, DocumentKind, Value
from services.orders.domain.files import PDF_TYPE, XLSX_TYPE, check_size
from services.orders.domain.numbers import business_day
from services.orders.printing import pdf, workbook
from services.orders.store.queries import find_contract_row, find_order, order_lines
from services.orders.store.tables import Blob, OrderLine, PrintTemplate, QuoteLine
from services.orders.usecases.contracts import find_contract
from services.orders.usecases.fields import numbers_shown
from services.orders.usecases.quotes import find_quote, quote_amounts, quote_lines


@dataclass(frozen=True)
class Printed:
    """A document as a file. name: with its ending."""

    name: str
    content_type: str
    content: bytes


def create_template(tx: Transaction, kind: DocumentKind, name: str, content: bytes) -> PrintTemplate:
    """Add a workbook for documents of a kind.

    Raises InvalidInput naming the field (FILE_EMPTY, FILE_TOO_LARGE, as `workbook.check_template`), AlreadyExists
    TEMPLATE_EXISTS.
    """
    name = parse_text(name, "name", 50)
    check_size(content)
    workbook.check_template(kind, content)
    digest = hashlib.sha256(content).hexdigest()
    tx.session.execute(
        insert(Blob).values(tenant_id=tx.tenant.id, digest=digest, content=content).on_conflict_do_nothing()
    )
    template = tx.session.scalars(
        insert(PrintTemplate)
        .values(
            id=new_id(),
            tenant_id=tx.tenant.id,
            kind=kind,
            name=name,
            size_bytes=len(content),
            digest=digest,
            create_time=tx.now,
        )
        .on_conflict_do_nothing()
        .returning(PrintTemplate)
    ).one_or_none()
    if template is None:
        raise AlreadyExists(
            "TEMPLATE_EXISTS", "模板“{name}”已存在", "There is a template “{name}” already", name=name
        )
    return template


def sample_template(kind: DocumentKind) -> Printed:
    """Return a workbook to start from."""
    return Printed(f"{TITLES[kind][0]}.xlsx", XLSX_TYPE, workbook.sample(kind))


def delete_template(tx: Transaction, template_id: str) -> None:
    """Remove a workbook; raises NotFound TEMPLATE_NOT_FOUND."""
    tx.session.delete(_template(tx, template_id))


def list_templates(tx: Transaction, kind: DocumentKind | None) -> Sequence[PrintTemplate]:
    """Return the workbooks by kind and name; kind: None for all."""
    query = select(PrintTemplate).where(PrintTemplate.tenant_id == tx.tenant.id)
    if kind:
        query = query.where(PrintTemplate.kind == kind)
    return tx.session.scalars(query.order_by(PrintTemplate.kind, PrintTemplate.name)).all()


def print_document(
    tx: Transaction, caller: Caller, kind: DocumentKind, document_id: str, template_id: str
) -> Printed:
    """Print what the caller sees; template_id: "" for a PDF.

    Raises NotFound of the document, or TEMPLATE_NOT_FOUND, also for a template of another kind.
    """
    document = DOCUMENTS[kind](tx, caller, document_id)
    if not template_id:
        return Printed(f"{document.number}.pdf", PDF_TYPE, pdf.render(document))
    template = _template(tx, template_id)
    if template.kind != kind:
        raise not_found("template", "模板", template_id)
    content = tx.session.get_one(Blob, (tx.tenant.id, template.digest)).content
    return Printed(f"{document.number}.xlsx", XLSX_TYPE, workbook.render(document, content))


def _quote(tx: Transaction, caller: Caller, quote_id: str) -> Document:
    quote = find_quote(tx, caller, quote_id)
    computed = quote_amounts(quote)
    values: dict[str, Value | None] = {
        "number": quote.number,
        "date": business_day(quote.create_time),
        "customer": quote.customer_name,
        "title": quote.title,
        "mode": quote.mode.upper(),
        "currency": quote.currency,
        "port_of_loading": quote.port_of_loading,
        "port_of_destination": quote.port_of_destination,
        "valid_until": quote.valid_until,
        "freight": quote.freight,
        "insurance": quote.insurance,
        **computed,
        "amount": computed[next(reversed(computed))],
        "terms": quote.terms,
    }
    return Document(
        DocumentKind.QUOTE,
        quote.number,
        _given(values, shown=numbers_shown(quote, caller)),
        _lines(quote_lines(tx, quote.id)),
    )


def _order(tx: Transaction, caller: Caller, order_id: str) -> Document:
    order = find_order(tx, caller, order_id)
    contract = find_contract_row(tx, order.contract_id) if order.contract_id else None
    values: dict[str, Value | None] = {
        "number": order.number,
        "date": business_day(order.create_time),
        "customer": order.customer_name,
        "title": order.title,
        "contract": contract.number if contract else "",
        "ship_to": order.ship_to,
        "amount": order.amount,
    }
    return Document(
        DocumentKind.ORDER,
        order.number,
        _given(values, shown=numbers_shown(order, caller)),
        _lines(order_lines(tx, order.id)),
    )


def _contract(tx: Transaction, caller: Caller, contract_id: str) -> Document:
    contract = find_contract(tx, caller, contract_id, field="document_id")
    values: dict[str, Value | None] = {
        "number": contract.number,
        "date": business_day(contract.create_time),
        "customer": contract.customer_name,
        "title": contract.title,
        "start": contract.start_date,
        "end": contract.end_date,
        "amount": contract.amount,
    }
    return Document(
        DocumentKind.CONTRACT, contract.number, _given(values, shown=numbers_shown(contract, caller))
    )


# How each kind is read.
DOCUMENTS = {DocumentKind.QUOTE: _quote, DocumentKind.ORDER: _order, DocumentKind.CONTRACT: _contract}


def _given(values: Mapping[str, Value | None], *, shown: bool) -> dict[str, Value]:
    """Return only what a document has: the rest is not shown. shown: whether telephone numbers in texts are."""
    return {
        key: text_for(value, may_see=shown) if isinstance(value, str) else value
        for key, value in values.items()
        if value is not None and value != ""
    }


def _lines(rows: Sequence[OrderLine] | Sequence[QuoteLine]) -> list[dict[str, Value]]:
    return [
        {
            "position": str(row.position + 1),
            "code": row.product_code,
            "name": row.product_name,
            "unit": row.unit,
            "quantity": row.quantity.normalize(),
            "unit_price": row.unit_price,
            "amount": row.amount,
        }
        for row in rows
    ]


def _template(tx: Transaction, template_id: str) -> PrintTemplate:
    template_id = parse_id(template_id, "template_id")
    template = tx.session.scalar(
        select(PrintTemplate).where(PrintTemplate.tenant_id == tx.tenant.id, PrintTemplate.id == template_id)
    )
    if template is None:
        raise not_found("template", "模板", template_id)
    return template
