"""Queries of imports."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import IO, NamedTuple, TypeVarTuple

from sqlalchemy import Select, delete, func, select, update

from services.chassis.bulk import insert_rows
from services.chassis.db import Transaction
from services.chassis.errors import not_found
from services.customers.domain.imports import RowState
from services.customers.store.import_tables import ImportChunk, ImportJob, ImportRow

Ts = TypeVarTuple("Ts")

# Rows read at a time.
PAGE_ROWS = 1000


def read_job(tx: Transaction, import_id: str) -> ImportJob:
    """Return an import; raises NotFound IMPORT_NOT_FOUND."""
    return _found(tx.session.get(ImportJob, (tx.tenant.id, import_id)), import_id)


def get_job(tx: Transaction, import_id: str) -> ImportJob:
    """Return an import, locked; raises NotFound IMPORT_NOT_FOUND."""
    job = tx.session.scalar(
        select(ImportJob)
        .where(ImportJob.tenant_id == tx.tenant.id, ImportJob.import_id == import_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return _found(job, import_id)


def _found(job: ImportJob | None, import_id: str) -> ImportJob:
    if job is None:
        raise not_found("import", "导入", import_id)
    return job


def counts(tx: Transaction, import_ids: Sequence[str]) -> dict[str, Counter[str]]:
    """Return how many rows of each import are in each state."""
    found: dict[str, Counter[str]] = {import_id: Counter() for import_id in import_ids}
    rows = tx.session.execute(
        select(ImportRow.import_id, ImportRow.state, func.count())
        .where(ImportRow.tenant_id == tx.tenant.id, ImportRow.import_id.in_(import_ids))
        .group_by(ImportRow.import_id, ImportRow.state)
    )
    for import_id, state, count in rows:
        found[import_id][state] = count
    return found


def rows_after(
    tx: Transaction, import_id: str, line: int, limit: int, states: Sequence[RowState] = ()
) -> Sequence[ImportRow]:
    """Return up to `limit` rows behind a line, in the order of the file; of these states, or of all."""
    return tx.session.scalars(_behind(select(ImportRow), tx, import_id, line, limit, states)).all()


class StagedRow(NamedTuple):
    """What a batch goes by of a row; the columns of that name."""

    line: int
    row_key: str
    cells: list[str]
    attempt: int


def staged_after(
    tx: Transaction, import_id: str, line: int, limit: int, states: Sequence[RowState]
) -> list[StagedRow]:
    """Return up to `limit` rows of these states behind a line, in the order of the file."""
    query = select(*(ImportRow.__table__.c[name] for name in StagedRow._fields))
    return [StagedRow(*row) for row in tx.session.execute(_behind(query, tx, import_id, line, limit, states))]


def _behind(
    query: Select[*Ts],
    tx: Transaction,
    import_id: str,
    line: int,
    limit: int,
    states: Sequence[RowState],
) -> Select[*Ts]:
    conditions = [
        ImportRow.tenant_id == tx.tenant.id,
        ImportRow.import_id == import_id,
        ImportRow.line > line,
    ]
    if states:
        conditions.append(ImportRow.state.in_(states))
    return query.where(*conditions).order_by(ImportRow.line).limit(limit)


def lock_rows(tx: Transaction, import_id: str, lines: Sequence[int]) -> dict[int, ImportRow]:
    """Lock rows and return them by line as they are now."""
    rows = tx.session.scalars(
        select(ImportRow)
        .where(
            ImportRow.tenant_id == tx.tenant.id,
            ImportRow.import_id == import_id,
            ImportRow.line.in_(lines),
        )
        .order_by(ImportRow.line)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return {row.line: row for row in rows}


def lock_ready(tx: Transaction, import_id: str, after: int, last: int) -> dict[int, int]:
    """Lock the rows behind a line, up to another one, that are ready; return the attempt of each by line."""
    rows = tx.session.execute(
        select(ImportRow.line, ImportRow.attempt)
        .where(
            ImportRow.tenant_id == tx.tenant.id,
            ImportRow.import_id == import_id,
            ImportRow.line > after,
            ImportRow.line <= last,
            ImportRow.state == RowState.READY,
        )
        .order_by(ImportRow.line)
        .with_for_update()
    )
    return {row.line: row.attempt for row in rows}


def stage_anew(tx: Transaction, import_id: str) -> None:
    """Take back what was found out of every row that is no customer yet."""
    tx.session.execute(
        update(ImportRow)
        .where(
            ImportRow.tenant_id == tx.tenant.id,
            ImportRow.import_id == import_id,
            ImportRow.state.in_([RowState.READY, RowState.BAD, RowState.DUPLICATE]),
        )
        .values(state=RowState.STAGED, faults=[])
    )


def add_rows(tx: Transaction, import_id: str, rows: Iterator[tuple[int, str, list[str]]]) -> int:
    """Add staged rows (line, key, cells), a page of them in memory; return how many."""
    count = 0
    while page := list(islice(rows, PAGE_ROWS)):
        staged = [
            {
                "tenant_id": tx.tenant.id,
                "import_id": import_id,
                "line": line,
                "row_key": key,
                "cells": cells,
                "state": RowState.STAGED,
                "attempt": 0,
                "edited": False,
                "faults": [],
            }
            for line, key, cells in page
        ]
        tx.session.execute(insert_rows(ImportRow, staged))
        count += len(page)
    return count


def add_chunk(tx: Transaction, job: ImportJob, chunk: bytes) -> None:
    """Add bytes behind the last ones."""
    tx.session.add(
        ImportChunk(tenant_id=tx.tenant.id, import_id=job.import_id, offset_bytes=job.size_bytes, data=chunk)
    )
    job.size_bytes += len(chunk)


def write_file(tx: Transaction, import_id: str, file: IO[bytes]) -> None:
    """Write the parts of a file together, one in memory at a time."""
    mine = [ImportChunk.tenant_id == tx.tenant.id, ImportChunk.import_id == import_id]
    offsets = tx.session.scalars(
        select(ImportChunk.offset_bytes).where(*mine).order_by(ImportChunk.offset_bytes)
    ).all()
    for offset in offsets:
        data = tx.session.scalars(
            select(ImportChunk.data).where(*mine, ImportChunk.offset_bytes == offset)
        ).one()
        file.write(data)
    file.seek(0)


def drop_chunks(tx: Transaction, import_id: str) -> None:
    """Forget a file that is read, or never will be."""
    tx.session.execute(
        delete(ImportChunk).where(ImportChunk.tenant_id == tx.tenant.id, ImportChunk.import_id == import_id)
    )
