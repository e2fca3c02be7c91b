"""The tables of imports and exports: a file's parts, its rows staged, and what left as a file."""

from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, BigInteger, ForeignKeyConstraint, Index, Integer, LargeBinary, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from services.customers.store.tables import Base, RecordId

__all__ = ["Base", "ExportRun", "ImportChunk", "ImportJob", "ImportRow"]


class ImportJob(Base):
    """An import. file_key: what tells its rows from those of another file; the same file has the same again.

    mapping: for each column a field's key or "". owner_id, pool_id: who gets the customers, one of them is set.
    checked_line: rows up to it are checked. step: number of the workflow that works on it, one for each start.
    """

    __tablename__ = "import_job"
    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    import_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    state: Mapped[str]
    file_name: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    file_key: Mapped[str]
    format: Mapped[str]
    encoding: Mapped[str]
    columns: Mapped[list[str]] = mapped_column(ARRAY(Text))
    mapping: Mapped[list[str]] = mapped_column(ARRAY(Text))
    creator_id: Mapped[str] = mapped_column(RecordId)
    creator_name: Mapped[str]
    owner_id: Mapped[str | None] = mapped_column(RecordId)
    owner_department_path: Mapped[str]
    pool_id: Mapped[str | None] = mapped_column(RecordId)
    checked_line: Mapped[int] = mapped_column(Integer)
    step: Mapped[int] = mapped_column(Integer)
    error_reason: Mapped[str]
    error_zh: Mapped[str]
    error_en: Mapped[str]
    create_time: Mapped[datetime]
    version: Mapped[int] = mapped_column(BigInteger)
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "pool_id"], ["customers.pool.tenant_id", "customers.pool.pool_id"]
        ),
        Index("ix_import_job_creator", "tenant_id", "creator_id", "create_time", "import_id"),
    )


class ImportChunk(Base):
    """A part of a file that is not read yet."""

    __tablename__ = "import_chunk"
    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    import_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    offset_bytes: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    data: Mapped[bytes] = mapped_column(LargeBinary)
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "import_id"],
            ["customers.import_job.tenant_id", "customers.import_job.import_id"],
            ondelete="CASCADE",
        ),
    )


class ImportRow(Base):
    """A staged row. line: as a spreadsheet counts. row_key: makes the customer's id, the same in a re-import.

    attempt: of reserving its keys, counted up when a reservation was given up. faults: what is wrong with it.
    """

    __tablename__ = "import_row"
    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    import_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    line: Mapped[int] = mapped_column(Integer, primary_key=True)
    cells: Mapped[list[str]] = mapped_column(ARRAY(Text))
    row_key: Mapped[str]
    state: Mapped[str]
    attempt: Mapped[int] = mapped_column(Integer)
    edited: Mapped[bool]
    faults: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    customer_id: Mapped[str | None] = mapped_column(RecordId)
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "import_id"],
            ["customers.import_job.tenant_id", "customers.import_job.import_id"],
            ondelete="CASCADE",
        ),
        Index("ix_import_row_state", "tenant_id", "import_id", "state", "line"),
    )


class ExportRun(Base):
    """Who took which customers out as a file. row_count: rows that left so far. state: started, complete, broken.

    alive_time: when its process last read a page.
    """

    __tablename__ = "export_run"
    tenant_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    export_id: Mapped[str] = mapped_column(RecordId, primary_key=True)
    person_id: Mapped[str] = mapped_column(RecordId)
    format: Mapped[str]
    filter: Mapped[dict[str, Any]] = mapped_column(JSONB)
    state: Mapped[str]
    row_count: Mapped[int] = mapped_column(Integer)
    create_time: Mapped[datetime]
    alive_time: Mapped[datetime | None]
    end_time: Mapped[datetime | None]
    __table_args__ = (Index("ix_export_run_newest", "tenant_id", "create_time"),)
