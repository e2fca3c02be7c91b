"""Move a tenant's rows from one database to another while it is at work.

    prepare   the other database learns that the tenant is served elsewhere, and sets numbers aside for its rows
    copy      all rows, then again what has changed since, until that is little; the tenant works on
    freeze    reading goes on, writing is refused as something to try again; what was begun ends, the outbox drains
    settle    what has changed since the last copy, until both sides are the same to the last row
    switch    from here on the old database sends everybody to the new one
    open      the new database serves
    clean     the old one deletes what it has left

Guarantees: no acknowledged change is lost, and none has two effects. Where the tenant is hangs on one row that one
statement changes. A command that dies leaves one of these steps behind it and the next undone; run again it goes on
from there, for each step looks at what is there, not at what was noted. One that gives up before the switch thaws the
tenant, which then has never left; one that is killed while it is frozen leaves it readable until the command runs
again. The rows of all services go together, by the catalogue and without a word of what they mean: what belongs to a
tenant has `tenant_id`. Handled events' ids have no tenant and are copied whole, so that an event which comes again
after the move is known.

Two sides are compared by digests: rows are spread over buckets by their key, the database adds each bucket's rows up,
and only buckets that differ are written, whole. Triggers do not look on, in PostgreSQL's role of a replica: what
arrives was judged where it was made, and append-only tables would refuse to be cleaned. The role needs leave for that:
GRANT SET ON PARAMETER session_replication_role (PostgreSQL 15).
"""

import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
from psycopg import sql

from services.chassis.locks import LOCK
from services.chassis.settings import SERVICES

# Rows that a bucket has about, and how many buckets a table has at most.
BUCKET_ROWS: Final = 64
MOST_BUCKETS: Final = 1 << 17
# A copy that wrote no more than this is followed by the freeze, and so is the last of so many, however busy they are.
FEW_ROWS: Final = 2000
MOST_COPIES: Final = 5
# Copies of the settled rows: the second finds nothing, if nobody writes.
SETTLING: Final = 3
# Numbers set aside in the new database for rows that the old one numbers during the move.
HEADROOM: Final = 1 << 32
# Handled events are copied again from so long before the copy, in seconds: more than any transaction takes.
OVERLAP_S: Final = 3600
# How often it is asked whether old transactions ended and the outbox is empty, in seconds.
LOOK_S: Final = 0.05

# Tables of the services with a tenant, their columns in order of name, keys, and which column the database numbers.
_TABLES: Final = """
SELECT n.nspname, c.relname,
    array_agg(a.attname::text ORDER BY a.attname),
    array(SELECT k.attname::text FROM pg_index i JOIN pg_attribute k ON k.attrelid = c.oid AND k.attnum = ANY(i.indkey)
        WHERE i.indrelid = c.oid AND i.indisprimary ORDER BY k.attname),
    array_remove(array_agg(CASE WHEN a.attidentity <> '' THEN a.attname::text END), NULL)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
WHERE n.nspname = ANY(%s) AND c.relkind IN ('r', 'p') AND NOT c.relispartition
GROUP BY n.nspname, c.relname, c.oid
HAVING bool_or(a.attname = 'tenant_id') AND c.relname <> 'outbox'
ORDER BY n.nspname, c.relname
"""
# A session whose times are hidden from us counts as one that still works.
_OLDER: Final = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = ANY(%s)
    AND (xact_start < %s OR state IS NULL)
"""


class MoveError(Exception):
    """A move that cannot go on; the message is for the operator."""


@dataclass(frozen=True)
class Table:
    """A table with a tenant's rows. numbered: the column that the database gives numbers for, "" for none."""

    schema: str
    name: str
    columns: Sequence[str]
    keys: Sequence[str]
    numbered: str

    @property
    def place(self) -> sql.Identifier:
        """Its name in a query."""
        return sql.Identifier(self.schema, self.name)

    @property
    def counter(self) -> str:
        """The name under which its offset is kept."""
        return f"{self.schema}.{self.name}.{self.numbered}"


@dataclass
class Moved:
    """What a move did. rows: written in the new database; frozen_s: how long nothing could be changed, in seconds."""

    rows: int = 0
    copies: int = 0
    frozen_s: float = 0.0
    deleted: int = 0
    steps: list[str] = field(default_factory=list)


class Relocation:
    """Moves one tenant between two databases.

    urls: libpq URLs of both. patience_s: how long, in seconds, the freeze may wait for what was begun before it.
    said: is called with each step's name when it is done.
    """

    def __init__(
        self,
        tenant_id: str,
        source: str,
        target: str,
        urls: Mapping[str, str],
        patience_s: float,
        said: Callable[[str], None] = lambda step: None,
    ) -> None:
        self._tenant_id = tenant_id
        self._source_name, self._target_name = source, target
        self._urls = urls
        self._patience_s = patience_s
        self._said = said
        self._offsets: dict[str, int] = {}
        self._inbox_since_s: float | None = None
        self.moved = Moved()

    def run(self, register: Callable[[], None]) -> Moved:
        """Do what is still to be done; `register` lets the directory name the new database.

        Raises MoveError, with the tenant at work where it was, and psycopg.Error.
        """
        with ExitStack() as open_ones:
            self._source = open_ones.enter_context(self._connected(self._source_name))
            self._target = open_ones.enter_context(self._connected(self._target_name))
            for connection in (self._source, self._target):
                if not _one(connection.execute(LOCK, (f"relocation {self._tenant_id}",))):
                    raise MoveError("另一个命令正在迁移该租户 / another command is moving this tenant")
            self._tables = self._the_tables()
            if self._place(self._source) != self._target_name:
                self._prepare()
                self._copy_until_few()
                self._leave()
            self._open()
            register()
            self._step("registered")
            self._clean()
        return self.moved

    # ---------- steps ----------

    def _prepare(self) -> None:
        """Let the new database send everybody back, and set numbers aside, once for a move that is resumed."""
        self._thaw()
        with self._target.transaction():
            row = self._target.execute(
                "SELECT offsets FROM tenancy.place WHERE tenant_id = %s AND database = %s AND offsets <> '{}'",
                (self._tenant_id, self._source_name),
            ).fetchone()
            self._offsets = row[0] if row else self._set_aside()
            self._target.execute(
                "INSERT INTO tenancy.place (tenant_id, database, offsets) VALUES (%s, %s, %s)"
                " ON CONFLICT (tenant_id) DO UPDATE SET database = excluded.database, offsets = excluded.offsets,"
                " update_time = clock_timestamp()",
                (self._tenant_id, self._source_name, json.dumps(self._offsets)),
            )
        self._step("prepared")

    def _copy_until_few(self) -> None:
        for _ in range(MOST_COPIES):
            changed = self._copy(self._tables)
            self._step("copied")
            if changed.rows <= FEW_ROWS:
                return

    def _leave(self) -> None:
        """Freeze, settle and switch; thaws the tenant where it was when that cannot be done."""
        began = time.monotonic()
        self._source.execute(
            "INSERT INTO tenancy.place (tenant_id) VALUES (%s)"
            " ON CONFLICT (tenant_id) DO UPDATE SET database = NULL, update_time = clock_timestamp()",
            (self._tenant_id,),
        )
        try:
            self._step("frozen")
            self._wait_for_what_was_begun()
            self._settle()
            self._step("settled")
            self._source.execute(
                "UPDATE tenancy.place SET database = %s, update_time = clock_timestamp() WHERE tenant_id = %s",
                (self._target_name, self._tenant_id),
            )
        except (MoveError, psycopg.Error, KeyboardInterrupt):
            # Whether a lost connection let the switch happen is asked anew; without an answer the next run asks.
            with self._connected(self._source_name) as asked:
                if self._place(asked) != self._target_name:
                    self._thaw(asked)
            raise
        self.moved.frozen_s = time.monotonic() - began
        self._step("switched")

    def _settle(self) -> None:
        tables: Collection[Table] = self._tables
        for _ in range(SETTLING):
            changed = self._copy(tables)
            if not changed.rows:
                return
            tables = changed.tables
        raise MoveError("两边的数据仍不一致 / the two sides still differ: somebody writes past the services")

    def _open(self) -> None:
        self._target.execute("DELETE FROM tenancy.place WHERE tenant_id = %s", (self._tenant_id,))
        self._step("opened")

    def _clean(self) -> None:
        """Delete what the old database has left, when nobody reads it any more."""
        self._wait_for_transactions()
        for table in self._tables:
            query = sql.SQL("DELETE FROM {} WHERE tenant_id = %s").format(table.place)
            self.moved.deleted += self._source.execute(query, (self._tenant_id,)).rowcount
        self._step("cleaned")

    def _thaw(self, connection: "psycopg.Connection[Any] | None" = None) -> None:
        (connection or self._source).execute(
            "DELETE FROM tenancy.place WHERE tenant_id = %s AND database IS NULL", (self._tenant_id,)
        )

    def _step(self, name: str) -> None:
        self.moved.steps.append(name)
        self._said(name)

    # ---------- waiting ----------

    def _wait_for_what_was_begun(self) -> None:
        self._wait_for_transactions()
        self._wait_for(
            self._outbox_rows,
            "发件箱未清空，消息代理或流程引擎是否停了？ / the outbox does not drain: is RabbitMQ or Temporal down?",
        )

    def _wait_for_transactions(self) -> None:
        # Whoever begins after this moment reads the place as it is now.
        now = _one(self._source.execute("SELECT clock_timestamp()"))
        self._wait_for(
            lambda: int(_one(self._source.execute(_OLDER, (list(SERVICES), now)))),
            "有事务长时间未结束 / a transaction that began before does not end",
        )

    def _outbox_rows(self) -> int:
        return sum(
            _one(
                self._source.execute(
                    sql.SQL("SELECT count(*) FROM {} WHERE tenant_id = %s").format(
                        sql.Identifier(schema, "outbox")
                    ),
                    (self._tenant_id,),
                )
            )
            for schema in self._schemas
        )

    def _wait_for(self, left: Callable[[], int], refusal: str) -> None:
        deadline = time.monotonic() + self._patience_s
        while left():
            if time.monotonic() > deadline:
                raise MoveError(refusal)
            time.sleep(LOOK_S)

    # ---------- rows ----------

    def _copy(self, tables: Collection[Table]) -> "_Changed":
        """Make the new database's rows of these tables those of the old one, as of one instant."""
        changed = _Changed()
        with self._target.transaction(), self._source.transaction():
            self._source.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            began_s = float(_one(self._source.execute("SELECT extract(epoch FROM now())")))
            for table in tables:
                if rows := self._copy_table(table):
                    changed.tables.append(table)
                    changed.rows += rows
            for schema in self._schemas:
                self._copy_inbox(schema)
        self._inbox_since_s = began_s - OVERLAP_S
        self.moved.copies += 1
        self.moved.rows += changed.rows
        return changed

    def _copy_table(self, table: Table) -> int:
        """Return how many rows were written or deleted."""
        count = sql.SQL("SELECT count(*) FROM {} WHERE tenant_id = %s").format(table.place)
        rows = int(_one(self._source.execute(count, (self._tenant_id,))))
        buckets = min(MOST_BUCKETS, 1 << (rows // BUCKET_ROWS).bit_length())
        theirs = self._digests(self._source, table, buckets, self._offsets.get(table.counter, 0))
        ours = self._digests(self._target, table, buckets, 0)
        stale = [bucket for bucket in theirs.keys() | ours.keys() if theirs.get(bucket) != ours.get(bucket)]
        if not stale:
            return 0
        deleted = self._target.execute(
            sql.SQL("DELETE FROM {} WHERE tenant_id = %s AND {} = ANY(%s)").format(
                table.place, _bucket(table, buckets, 0)
            ),
            (self._tenant_id, stale),
        ).rowcount
        offset = self._offsets.get(table.counter, 0)
        outgoing = sql.SQL("COPY (SELECT {} FROM {} WHERE tenant_id = {} AND {} = ANY({})) TO STDOUT").format(
            _columns(table, offset),
            table.place,
            sql.Literal(self._tenant_id),
            _bucket(table, buckets, offset),
            sql.Literal(stale),
        )
        names = sql.SQL(", ").join(map(sql.Identifier, table.columns))
        self._let_arrive(table.place, names, outgoing)
        written = self._target.execute(
            sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM arriving").format(
                table.place, names, names
            )
        ).rowcount
        return max(written, deleted)

    def _copy_inbox(self, schema: str) -> None:
        inbox = sql.Identifier(schema, "inbox")
        names = sql.SQL("handler, event_id, create_time")
        outgoing = sql.SQL("COPY (SELECT {} FROM {} WHERE create_time >= to_timestamp({})) TO STDOUT").format(
            names, inbox, sql.Literal(self._inbox_since_s or 0.0)
        )
        self._let_arrive(inbox, names, outgoing)
        self._target.execute(
            sql.SQL("INSERT INTO {} ({}) SELECT {} FROM arriving ON CONFLICT DO NOTHING").format(
                inbox, names, names
            )
        )

    def _let_arrive(self, place: sql.Identifier, names: sql.Composable, outgoing: sql.Composed) -> None:
        """Copy what leaves the old database into the new one's temporary table `arriving`, in place of what was there.

        Rows behind the wall between tenants cannot be copied in, only inserted from there.
        """
        self._target.execute("DROP TABLE IF EXISTS arriving")
        self._target.execute(
            sql.SQL("CREATE TEMP TABLE arriving ON COMMIT DROP AS SELECT {} FROM {} WHERE false").format(
                names, place
            )
        )
        with (
            self._source.cursor().copy(outgoing) as leaving,
            self._target.cursor().copy(sql.SQL("COPY arriving ({}) FROM STDIN").format(names)) as arriving,
        ):
            for part in leaving:
                arriving.write(part)

    def _digests(
        self, connection: "psycopg.Connection[Any]", table: Table, buckets: int, offset: int
    ) -> dict[int, tuple[int, int]]:
        query = sql.SQL(
            "SELECT {}, count(*), sum(hashtextextended(ROW({})::text, 1)::numeric) FROM {}"
            " WHERE tenant_id = %s GROUP BY 1"
        ).format(_bucket(table, buckets, offset), _columns(table, offset), table.place)
        return {
            bucket: (rows, int(total))
            for bucket, rows, total in connection.execute(query, (self._tenant_id,))
        }

    # ---------- what is there ----------

    @property
    def _schemas(self) -> list[str]:
        return sorted({table.schema for table in self._tables})

    def _the_tables(self) -> list[Table]:
        found = [_tables_of(connection) for connection in (self._source, self._target)]
        if found[0] != found[1]:
            raise MoveError("两个数据库的表不同，先 migrate / the databases' tables differ: migrate first")
        return found[0]

    def _place(self, connection: "psycopg.Connection[Any]") -> str | None:
        row = connection.execute(
            "SELECT database FROM tenancy.place WHERE tenant_id = %s", (self._tenant_id,)
        ).fetchone()
        return row[0] if row else None

    def _set_aside(self) -> dict[str, int]:
        """Take a block of each sequence of the new database, so large that all numbers of the old one fit in."""
        offsets = {}
        for table in self._tables:
            if not table.numbered:
                continue
            words = (str(table.place.as_string(self._source)), table.numbered)
            last = int(
                _one(
                    self._source.execute(
                        "SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence(%s, %s)), 0)", words
                    )
                )
            )
            first = int(_one(self._target.execute("SELECT nextval(pg_get_serial_sequence(%s, %s))", words)))
            self._target.execute(
                "SELECT setval(pg_get_serial_sequence(%s, %s), %s)", (*words, first + last + HEADROOM)
            )
            offsets[table.counter] = first
        return offsets

    @contextmanager
    def _connected(self, database: str) -> "Iterator[psycopg.Connection[Any]]":
        """Connect as the tenant; raises MoveError when the role may not do without triggers."""
        options = f"-c crm.tenant={self._tenant_id} -c timezone=UTC -c datestyle=ISO -c extra_float_digits=1"
        with psycopg.connect(
            self._urls[database], autocommit=True, application_name="relocation", options=options
        ) as connection:
            try:
                connection.execute("SET session_replication_role = replica")
            except psycopg.errors.InsufficientPrivilege as error:
                raise MoveError(
                    f"{database}: 缺少权限 / missing leave: GRANT SET ON PARAMETER session_replication_role TO <role>"
                ) from error
            yield connection


@dataclass
class _Changed:
    rows: int = 0
    tables: list[Table] = field(default_factory=list)


def _tables_of(connection: "psycopg.Connection[Any]") -> list[Table]:
    return [
        Table(schema, name, columns, keys, numbered[0] if numbered else "")
        for schema, name, columns, keys, numbered in connection.execute(_TABLES, (list(SERVICES),))
    ]


def _columns(table: Table, offset: int) -> sql.Composable:
    """Return a table's columns in order, the numbered one as it arrives."""
    return sql.SQL(", ").join(_column(table, name, offset) for name in table.columns)


def _column(table: Table, name: str, offset: int) -> sql.Composable:
    if name == table.numbered and offset:
        return sql.SQL("({} + {})").format(sql.Identifier(name), sql.Literal(offset))
    return sql.Identifier(name)


def _bucket(table: Table, buckets: int, offset: int) -> sql.Composable:
    """Return the bucket of a row, the same on both sides."""
    keys = sql.SQL(", ").join(_column(table, name, offset) for name in table.keys)
    return sql.SQL("(hashtextextended(ROW({})::text, 0) & {})").format(keys, sql.Literal(buckets - 1))


def _one(cursor: "psycopg.Cursor[Any]") -> Any:
    row = cursor.fetchone()
    assert row is not None  # noqa: S101 - an aggregate has a row
    return row[0]
