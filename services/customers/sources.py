"""Import from another database (F6): its rows by a query, mapped, deduplicated and committed as those of a file.

    IMPORT_SOURCES='{"erp": {"tenant": "<uuid>", "database": "main", "url": "postgresql://reader:secret@erp/shop",
                             "query": "SELECT id, title, tel FROM clients ORDER BY id", "key": "id",
                             "mapping": {"title": "name", "tel": "phones"},
                             "creator": "<uuid>", "pool": "<uuid>"}}'
    python -m services.customers import-source erp

The address and its password stand in the operator's settings and nowhere else: nobody gives one over the API. `key` is
the column that tells one row from another for ever: a row that was imported once is never imported again, however
often the command runs, and a run that broke is simply repeated. `mapping`: column of the query to a field's key, those
of GET /api/v1/imports:fields. `creator` is whose import it is; the customers go to the pool, or to the creator
where none is named.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import create_engine, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from services.chassis.db import Store, sqlalchemy_url
from services.chassis.ids import new_id, parse_id
from services.chassis.settings import SettingsError
from services.chassis.tenancy import Tenant
from services.customers.clients import Person
from services.customers.domain.customers import Owner
from services.customers.domain.imports import RowState, check_mapped, check_mapping, fields_of
from services.customers.store import imports as store_imports
from services.customers.usecases import import_steps
from services.customers.usecases.fields import definitions
from services.kernel.sheets import cell_text

SETTING = "IMPORT_SOURCES"
# Rows fetched from the source at a time.
FETCH_ROWS = 1000


@dataclass(frozen=True)
class Source:
    """Another database as the operator describes it; see above. pool: id or ""."""

    name: str
    tenant: Tenant
    url: str
    query: str
    key: str
    mapping: Mapping[str, str]
    creator: str
    pool: str


def read_source(environ: Mapping[str, str], name: str) -> Source:
    """Return a source of the settings; raises SettingsError naming what is missing or wrong."""
    try:
        sources = json.loads(environ.get(SETTING) or "{}")
    except ValueError:
        raise SettingsError(f"{SETTING} is not JSON") from None
    about = sources.get(name) if isinstance(sources, dict) else None
    if not isinstance(about, dict):
        raise SettingsError(f"{SETTING} has no source {name!r}")
    words = ("tenant", "url", "query", "key", "creator")
    for word in words:
        if not isinstance(about.get(word), str) or not about[word]:
            raise SettingsError(f"{SETTING}.{name}.{word} is missing")
    mapping = about.get("mapping")
    if not isinstance(mapping, dict) or not all(isinstance(value, str) for value in mapping.values()):
        raise SettingsError(f"{SETTING}.{name}.mapping is not an object of strings")
    return Source(
        name=name,
        tenant=Tenant(parse_id(about["tenant"], "tenant"), str(about.get("database", "main"))),
        url=about["url"],
        query=about["query"],
        key=about["key"],
        mapping=mapping,
        creator=parse_id(about["creator"], "creator"),
        pool=parse_id(about["pool"], "pool") if about.get("pool") else "",
    )


def stage_source(store: Store, source: Source, creator: Person) -> str:
    """Copy the source's rows into a new import that is ready to be checked, and return its id.

    Holds one page of rows in memory. Raises SettingsError when the source cannot be read or has no such column, and
    as `check_mapping`.
    """
    owner = Owner(source.creator, creator.department_path)
    engine = create_engine(_url(source.url), pool_size=1)
    try:
        with engine.connect() as connection, store.transaction(source.tenant, source.creator) as tx:
            columns, rows = _rows(connection, source)
            missing = {source.key, *source.mapping} - set(columns)
            if missing:
                raise SettingsError(f"source {source.name} has no column {', '.join(sorted(missing))}")
            mapping = check_mapping(
                [source.mapping.get(column, "") for column in columns], columns, fields_of(definitions(tx))
            )
            check_mapped(mapping)
            job = import_steps.begin_source(
                tx,
                new_id(),
                source_name=source.name,
                creator_name=creator.name,
                owner=owner,
                pool_id=source.pool,
                columns=columns,
                mapping=mapping,
            )
            tx.session.flush()
            store_imports.add_rows(tx, job.import_id, rows)
            return job.import_id
    except SQLAlchemyError as error:
        # Its text may hold the address.
        raise SettingsError(f"source {source.name} cannot be read: {type(error).__name__}") from None
    finally:
        engine.dispose()


def _url(url: str) -> str:
    return sqlalchemy_url(url) if url.startswith(("postgresql:", "postgres:")) else url


def _rows(connection: Connection, source: Source) -> tuple[list[str], Iterator[tuple[int, str, list[str]]]]:
    """Return the source's columns, and its rows as an import stages them: number, key, texts."""
    found = connection.execution_options(stream_results=True, yield_per=FETCH_ROWS).execute(
        text(source.query)
    )
    columns = list(found.keys())
    at = columns.index(source.key) if source.key in columns else 0

    def rows() -> Iterator[tuple[int, str, list[str]]]:
        for number, row in enumerate(found, start=1):
            cells = [cell_text(value) for value in row]
            yield number, cells[at], cells

    return columns, rows()


def summary(counts: Mapping[str, Any]) -> str:
    """Return how an import went, for a terminal."""
    return ", ".join(f"{state.value} {counts.get(state, 0)}" for state in RowState if counts.get(state))
