"""The tables of orders: orders with lines and log, products, contracts, files, the cashier's journal, settings."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    Date,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    Interval,
    LargeBinary,
    Numeric,
    Text,
    UniqueConstraint,
    Uuid,
    false,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.chassis.db import service_metadata
from services.kernel.field_store import FieldColumns, FieldValueColumns

RecordId = Uuid(as_uuid=False)


class Base(DeclarativeBase):
    """The schema."""

    metadata = service_metadata("orders")
    type_annotation_map = {  # noqa: RUF012 - as SQLAlchemy reads it
        str: Text,
        datetime: DateTime(timezone=True),
        date: Date,
        timedelta: Interval,
    }


class Order(Base):
    """What a customer bought."""

    __tablename__ = "order"
    __table_args__ = (
        # However often it is told, a won opportunity makes one order.
        UniqueConstraint("tenant_id", "opportunity_id"),
        UniqueConstraint("tenant_id", "number"),
        Index("ix_order_newest", "tenant_id", "create_time", "id"),
        Index("ix_order_owner", "tenant_id", "owner_id", "create_time"),
        Index("ix_order_customer", "tenant_id", "customer_id", "create_time", "id"),
    )

    id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(RecordId)
    number: Mapped[str]
    opportunity_id: Mapped[str] = mapped_column(RecordId)
    customer_id: Mapped[str] = mapped_column(RecordId)
    customer_name: Mapped[str]
    owner_id: Mapped[str] = mapped_column(RecordId)
    owner_department_path: Mapped[str]
    title: Mapped[str]
    # CNY: what the opportunity said, and the sum of the lines once there are any.
    amount: Mapped[Decimal] = mapped_column(Numeric(14, 2))
    contract_id: Mapped[str | None] = mapped_column(RecordId)
    # The address as it was then: the customer's may change.
    ship_to: Mapped[str] = mapped_column(server_default="")
    state: Mapped[str]
    remind_time: Mapped[datetime]
    create_time: Mapped[datetime]
    version: Mapped[int] = mapped_column(BigInteger)


class OrderChange(Base):
    """A row of an order's log; append only."""

    __tablename__ = "order_change"
    __table_args__ = (Index(None, "order_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(RecordId)
    order_id: Mapped[str] = mapped_column(RecordId, ForeignKey("orders.order.id"))
    # Empty for the first row.
    from_state: Mapped[str]
    to_state: Mapped[str]
    # NULL for the system.
    actor_id: Mapped[str | None] = mapped_column(RecordId)
    comment: Mapped[str]
    create_time: Mapped[datetime]


class OrderLine(Base):
    """What is ordered. Code, name and unit are the product's when the line was made. position: from 0."""

    __tablename__ = "order_line"
    __table_args__ = (Index("ix_order_line_product", "tenant_id", "product_id"),)

    order_id: Mapped[str] = mapped_column(RecordId, ForeignKey("orders.order.id"), primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(RecordId)
    product_id: Mapped[str] = mapped_column(RecordId)
    product_code: Mapped[str]
    product_name: Mapped[str]
    unit: Mapped[str]
    quantity: Mapped[Decimal] = mapped_column(Numeric(12, 3))
    unit_price: Mapped[Decimal] = mapped_column(Numeric(14, 2))
    amount: Mapped[Decimal] = mapped_column(Numeric(14, 2))


class Product(Base):
    """What is sold. fields: the tenant's own, as services/kernel/fields.py stores them."""

    __tablename__ = "product"
    __table_args__ = (UniqueConstraint("tenant_id", "code"),)

    id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(RecordId)
    code: Mapped[str]
    name: Mapped[str]
    unit: Mapped[str]
    price: Mapped[Decimal] = mapped_column(Numeric(14, 2))
    active: Mapped[bool]
    fields: Mapped[dict[str, Any]] = mapped_column(JSONB)
    version: Mapped[int] = mapped_column(BigInteger)


class Field(Base, FieldColumns):
    """A field of the tenant's own, of products or contracts."""

    __tablename__ = "field"


class FieldValue(Base, FieldValueColumns):
    """A value of a unique or searchable field of a product or contract."""

    __tablename__ = "field_value"


class ProductFields(Base):
    """Where the release before kept the fields of products; `field` has them now, and this goes with the next one."""

    __tablename__ = "product_fields"

    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    definitions: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)


class Blob(Base):
    """The content of files, each once for a tenant. digest: SHA-256 in hexadecimal."""

    __tablename__ = "blob"

    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    digest: Mapped[str] = mapped_column(primary_key=True)
    content: Mapped[bytes] = mapped_column(LargeBinary)


class Attachment(Base):
    """A file attached to an order or a contract."""

    __tablename__ = "attachment"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "digest"], ["orders.blob.tenant_id", "orders.blob.digest"]),
        Index("ix_attachment_subject", "tenant_id", "subject_id"),
    )

    id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(RecordId)
    kind: Mapped[str]
    subject_id: Mapped[str] = mapped_column(RecordId)
    name: Mapped[str]
    content_type: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(Integer)
    digest: Mapped[str]
    uploader_id: Mapped[str] = mapped_column(RecordId)
    create_time: Mapped[datetime]


class Contract(Base):
    """A contract as it is now."""

    __tablename__ = "contract"
    __table_args__ = (
        UniqueConstraint("tenant_id", "number"),
        Index("ix_contract_newest", "tenant_id", "create_time", "id"),
        Index("ix_contract_owner", "tenant_id", "owner_id", "create_time"),
        Index("ix_contract_customer", "tenant_id", "customer_id", "create_time", "id"),
        Index("ix_contract_ending", "tenant_id", "end_date", postgresql_where=text("state = 'effective'")),
    )

    id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(RecordId)
    number: Mapped[str]
    title: Mapped[str]
    customer_id: Mapped[str] = mapped_column(RecordId)
    customer_name: Mapped[str]
    amount: Mapped[Decimal] = mapped_column(Numeric(14, 2))
    start_date: Mapped[date]
    end_date: Mapped[date]
    state: Mapped[str]
    owner_id: Mapped[str] = mapped_column(RecordId)
    owner_department_path: Mapped[str]
    create_time: Mapped[datetime]
    # The tenant's own.
    fields: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    version: Mapped[int] = mapped_column(BigInteger)


class ContractVersion(Base):
    """A contract as a change left it; append only."""

    __tablename__ = "contract_version"

    contract_id: Mapped[str] = mapped_column(RecordId, ForeignKey("orders.contract.id"), primary_key=True)
    version: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(RecordId)
    title: Mapped[str]
    amount: Mapped[Decimal] = mapped_column(Numeric(14, 2))
    start_date: Mapped[date]
    end_date: Mapped[date]
    state: Mapped[str]
    fields: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    # NULL for the system.
    actor_id: Mapped[str | None] = mapped_column(RecordId)
    comment: Mapped[str]
    create_time: Mapped[datetime]


class Quote(Base):
    """What is offered to somebody, as it is now. Ports are empty and costs NULL where the mode has none."""

    __tablename__ = "quote"
    __table_args__ = (
        UniqueConstraint("tenant_id", "number"),
        Index("ix_quote_newest", "tenant_id", "create_time", "id"),
        Index("ix_quote_owner", "tenant_id", "owner_id", "create_time"),
        Index("ix_quote_customer", "tenant_id", "customer_id", "create_time", "id"),
    )

    id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(RecordId)
    number: Mapped[str]
    title: Mapped[str]
    # NULL: not a customer yet.
    customer_id: Mapped[str | None] = mapped_column(RecordId)
    customer_name: Mapped[str]
    mode: Mapped[str]
    # Of all amounts, ISO 4217.
    currency: Mapped[str]
    port_of_loading: Mapped[str]
    port_of_destination: Mapped[str]
    freight: Mapped[Decimal | None] = mapped_column(Numeric(14, 2))
    insurance: Mapped[Decimal | None] = mapped_column(Numeric(14, 2))
    # Sum of the lines.
    goods: Mapped[Decimal] = mapped_column(Numeric(14, 2))
    valid_until: Mapped[date]
    terms: Mapped[str]
    owner_id: Mapped[str] = mapped_column(RecordId)
    owner_department_path: Mapped[str]
    create_time: Mapped[datetime]
    version: Mapped[int] = mapped_column(BigInteger)


class QuoteLine(Base):
    """What is offered. Code, name and unit are the product's when the line was made. position: from 0."""

    __tablename__ = "quote_line"

    quote_id: Mapped[str] = mapped_column(RecordId, ForeignKey("orders.quote.id"), primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(RecordId)
    product_id: Mapped[str] = mapped_column(RecordId)
    product_code: Mapped[str]
    product_name: Mapped[str]
    unit: Mapped[str]
    quantity: Mapped[Decimal] = mapped_column(Numeric(12, 3))
    unit_price: Mapped[Decimal] = mapped_column(Numeric(14, 2))
    amount: Mapped[Decimal] = mapped_column(Numeric(14, 2))


class PrintTemplate(Base):
    """A workbook of the tenant's own that documents of a kind are printed into."""

    __tablename__ = "print_template"
    __table_args__ = (
        UniqueConstraint("tenant_id", "kind", "name"),
        ForeignKeyConstraint(["tenant_id", "digest"], ["orders.blob.tenant_id", "orders.blob.digest"]),
    )

    id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(RecordId)
    kind: Mapped[str]
    name: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(Integer)
    digest: Mapped[str]
    create_time: Mapped[datetime]


class Account(Base):
    """An account of the cashier; balance: what the last row of its journal says, CNY."""

    __tablename__ = "account"
    __table_args__ = (UniqueConstraint("tenant_id", "name"),)

    id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(RecordId)
    name: Mapped[str]
    balance: Mapped[Decimal] = mapped_column(Numeric(16, 2))


class Voucher(Base):
    """A receipt or a payment for a contract. amount: CNY, above 0 either way."""

    __tablename__ = "voucher"
    __table_args__ = (Index("ix_voucher_contract", "tenant_id", "contract_id", "create_time"),)

    id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(RecordId)
    contract_id: Mapped[str] = mapped_column(RecordId, ForeignKey("orders.contract.id"))
    account_id: Mapped[str] = mapped_column(RecordId, ForeignKey("orders.account.id"))
    kind: Mapped[str]
    amount: Mapped[Decimal] = mapped_column(Numeric(14, 2))
    note: Mapped[str]
    state: Mapped[str]
    submitter_id: Mapped[str] = mapped_column(RecordId)
    create_time: Mapped[datetime]
    version: Mapped[int] = mapped_column(BigInteger)


class JournalEntry(Base):
    """A row of the cashier's journal; append only, one for each voucher. amount: CNY, below 0 for what went out."""

    __tablename__ = "journal"
    __table_args__ = (
        # NULLs are distinct: opening balances have no voucher.
        UniqueConstraint("tenant_id", "voucher_id"),
        Index("ix_journal_account", "tenant_id", "account_id", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(RecordId)
    account_id: Mapped[str] = mapped_column(RecordId, ForeignKey("orders.account.id"))
    voucher_id: Mapped[str | None] = mapped_column(RecordId, ForeignKey("orders.voucher.id"))
    amount: Mapped[Decimal] = mapped_column(Numeric(16, 2))
    balance: Mapped[Decimal] = mapped_column(Numeric(16, 2))
    note: Mapped[str]
    create_time: Mapped[datetime]


class Staff(Base):
    """In which department somebody is, as identity told last: an order may be told of later than a move."""

    __tablename__ = "staff"

    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    person_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    department_path: Mapped[str]
    version: Mapped[int] = mapped_column(BigInteger)


class ContractCounter(Base):
    """How many contracts a tenant has of a day; locked while the next one is made."""

    __tablename__ = "contract_counter"

    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    count: Mapped[int] = mapped_column(Integer)


class QuoteCounter(Base):
    """How many quotes a tenant has of a day; locked while the next one is made."""

    __tablename__ = "quote_counter"

    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    count: Mapped[int] = mapped_column(Integer)


class NumberCounter(Base):
    """How many orders a tenant has of a day; locked while the next one is made."""

    __tablename__ = "number_counter"

    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    count: Mapped[int] = mapped_column(Integer)


class Settings(Base):
    """What a tenant set; no row means the defaults."""

    __tablename__ = "settings"

    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    handle_within: Mapped[timedelta]
    # Whether an order is submitted without lines, contract and payment proof too.
    submit_without_papers: Mapped[bool] = mapped_column(server_default=false())
