"""A service's store: its own schema in every tenant's database, one transaction for each use case.

Guarantees: what a use case tells others (events, workflow starts and signals) is written in its own
transaction, so either both happen or neither; a repeated request or event finds its row and has no second
effect. Order holds by aggregate when the aggregate's row is locked or written before its event is emitted.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Any, Protocol
from uuid import UUID

from psycopg.errors import ReadOnlySqlTransaction
from sqlalchemy import (
    ARRAY,
    CTE,
    BigInteger,
    Column,
    Connection,
    DateTime,
    Engine,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Select,
    SmallInteger,
    Table,
    Text,
    Uuid,
    bindparam,
    create_engine,
    func,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.event import listen
from sqlalchemy.exc import InternalError, SQLAlchemyError
from sqlalchemy.orm import Session

from services.chassis import places, walls
from services.chassis.bulk import array_text, as_rows, inserting
from services.chassis.clock import Clock
from services.chassis.driver_queries import DriverQuery
from services.chassis.errors import Conflict, InvalidInput
from services.chassis.ids import new_id, parse_id
from services.chassis.limits import say_limits
from services.chassis.locks import KEEPALIVE, PATIENCE
from services.chassis.logging import current_trace
from services.chassis.numbers import without_numbers
from services.chassis.tenancy import Tenant
from services.chassis.unforeseen import make_unforeseen

# Databases that one look-up of a tenant may lead over.
MOST_MOVES = 5
# Shards of an outbox lane: rows of one aggregate share a shard and keep their order.
SHARDS = 16

NAMING = {
    "ix": "ix_%(column_0_N_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

# In every table of every service.
listen(Column, "after_parent_attach", make_unforeseen)


def service_metadata(schema: str) -> MetaData:
    """Return the metadata of a service's schema, with the outbox, inbox and request tables in it."""
    metadata = MetaData(schema=schema, naming_convention=NAMING)
    Table(
        "outbox",
        metadata,
        Column("id", BigInteger, Identity(), primary_key=True),
        Column("tenant_id", Uuid(as_uuid=False), nullable=False),
        # amqp or temporal: a part that is down holds up its own lane only.
        Column("lane", Text, nullable=False),
        Column("shard", SmallInteger, nullable=False),
        Column("kind", Text, nullable=False),
        Column("body", JSONB, nullable=False),
        Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
        Column("attempts", Integer, nullable=False, server_default="0"),
        Column("next_attempt_time", DateTime(timezone=True), nullable=True),
        Index(None, "lane", "shard", "id"),
    )
    Table(
        "inbox",
        metadata,
        # A service may handle one event in several places, each once.
        Column("handler", Text, primary_key=True),
        Column("event_id", Uuid(as_uuid=False), primary_key=True),
        Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )
    Table(
        "request",
        metadata,
        Column("tenant_id", Uuid(as_uuid=False), primary_key=True),
        Column("caller_id", Text, primary_key=True),
        Column("method", Text, primary_key=True),
        Column("request_id", Uuid(as_uuid=False), primary_key=True),
        Column("digest", LargeBinary, nullable=False),
        Column("response", LargeBinary, nullable=True),
        Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )
    return metadata


def sqlalchemy_url(url: str) -> str:
    """Return a libpq URL as SQLAlchemy wants it for psycopg 3."""
    scheme, _, rest = url.partition("://")
    return url if "+" in scheme else f"postgresql+psycopg://{rest}"


def outbox_channel(service: str, lane: str) -> str:
    """Return the NOTIFY channel that wakes the relays of a lane."""
    return f"{service}_outbox_{lane}"


def shard_of(aggregate: str) -> int:
    """Return the outbox shard of an aggregate id, the same in every process."""
    return hashlib.blake2b(aggregate.encode(), digest_size=1).digest()[0] % SHARDS


@dataclass(frozen=True)
class Event:
    """A fact as it travels between services.

    id: UUID, the same in every delivery. type: past tense, "customer_claimed". source: the service it comes
    from. actor_id: who caused it, empty for the system. aggregate: UUID of the record it is about; version:
    that record's number of the last change, so that a receiver can ignore an older one. data: JSON. trace_id: of the
    request that caused it, to find it again in the logs.
    """

    id: str
    type: str
    source: str
    tenant: Tenant
    actor_id: str
    aggregate: str
    version: int
    time: datetime
    data: Mapping[str, Any]
    trace_id: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the envelope as it is published."""
        tenant = {"id": self.tenant.id, "database": self.tenant.database}
        return {**vars(self), "tenant": tenant, "time": self.time.isoformat()}

    @staticmethod
    def from_json(body: Mapping[str, Any]) -> "Event":
        """Return the event of an envelope; raises KeyError, TypeError or ValueError when it is none."""
        return Event(
            **{**body, "tenant": Tenant(**body["tenant"]), "time": datetime.fromisoformat(body["time"])}
        )


@dataclass(frozen=True)
class WorkflowStart:
    """A workflow to start, once for each id; one that runs already is left alone.

    With signal, the running or fresh workflow also gets that signal (a sweeper's wake-up).
    """

    workflow: str
    id: str
    queue: str
    payload: Any
    signal: str = ""


@dataclass(frozen=True)
class WorkflowSignal:
    """A signal for a workflow; one that has ended needs it no more."""

    id: str
    signal: str
    payload: Any = None


class Message(Protocol):
    """What a protobuf message can do, as far as request replay needs it."""

    def SerializeToString(self, *, deterministic: bool = ...) -> bytes: ...  # noqa: N802 - protobuf's own name


@dataclass
class Transaction:
    """One use case at work: its connection, for whom, when, and what it tells others.

    tenant: whose rows. actor_id: who does it, empty for the system. now: the time of the whole use case. trace_id: of
    the request that caused it, for what it tells others.
    """

    connection: Connection = field(repr=False)
    tenant: Tenant
    actor_id: str
    now: datetime
    service: str
    tables: Mapping[str, Table] = field(repr=False)
    trace_id: str = field(default_factory=current_trace)
    _posts: list[dict[str, Any]] = field(default_factory=list, repr=False)

    @cached_property
    def session(self) -> Session:
        """The session over the connection; who only asks `DriverQuery`s needs none."""
        return Session(self.connection, expire_on_commit=False, join_transaction_mode="control_fully")

    def flush(self) -> None:
        """Write what the session, if there is one, has not written yet."""
        if "session" in vars(self):
            self.session.flush()

    def commit(self) -> None:
        """Write what is left, and commit."""
        self.post()
        if "session" in vars(self):
            self.session.commit()
        # The session had done nothing, or there was none.
        if self.connection.in_transaction():
            self.connection.commit()

    def close(self) -> None:
        """Let go of what the session holds; what was not committed is undone."""
        if "session" in vars(self):
            self.session.close()

    def emit(self, event_type: str, aggregate: str, version: int, data: Mapping[str, Any]) -> Event:
        """Publish a fact with this transaction; lock or write the aggregate's row first.

        It travels to pages, logs and other services: numbers in what people typed are hidden.
        """
        event = Event(
            id=new_id(),
            type=event_type,
            source=self.service,
            tenant=self.tenant,
            actor_id=self.actor_id,
            aggregate=aggregate,
            version=version,
            time=self.now,
            data=without_numbers(data),
            trace_id=self.trace_id,
        )
        self._post("amqp", "event", aggregate, event.to_json())
        return event

    def audit(self, action: str, subject_id: str, details: Mapping[str, str] | None = None) -> None:
        """Account for something that the actor did or learned; identity keeps it, append-only.

        action: past tense, "number_revealed". subject_id: UUID of what it was about, "" for nothing. details: facts by
        name, never a number or a secret.
        """
        data = {"action": action, "subjectId": subject_id, "details": dict(details or {})}
        self.emit("audited", subject_id or self.tenant.id, 0, data)

    def start_workflow(self, start: WorkflowStart) -> None:
        """Start a workflow with this transaction."""
        # Whose it is: with many waiting for a worker, each tenant's come in turn.
        self._post("temporal", "workflow_start", start.id, _plain(start) | {"tenant": self.tenant.id})

    def signal_workflow(self, signal: WorkflowSignal) -> None:
        """Signal a workflow with this transaction."""
        self._post("temporal", "workflow_signal", signal.id, _plain(signal))

    def _post(self, lane: str, kind: str, aggregate: str, body: Mapping[str, Any]) -> None:
        self._posts.append(
            {
                "tenant_id": self.tenant.id,
                "lane": lane,
                "shard": shard_of(aggregate),
                "kind": kind,
                "body": body,
            }
        )

    def post(self, *written: CTE, parameters: Mapping[str, Any] | None = None) -> None:
        """Write what was told so far to the outbox, in its order, and `written` in the same statement.

        The commit does it for whatever is left. All rows in one statement: a batch of five hundred customers has as
        many events. The locks that give an aggregate's events their order are still held. written: kept by the caller,
        for the statement around them is; parameters: theirs.
        """
        if not self._posts and not written:
            return
        self.flush()
        posts, self._posts = self._posts, []
        lanes = tuple(sorted({post["lane"] for post in posts}))
        statement = _posting(self.tables["outbox"], self.service, lanes, written)
        self.connection.execute(statement, {"posts": as_rows(posts), **(parameters or {})})

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo what is done inside when an exception leaves it, what it tells others too; the rest stays."""
        # What was told before stays, so it is written before.
        self.post()
        try:
            with self.session.begin_nested():
                yield
        except BaseException:
            self._posts.clear()
            raise

    def told_through(self) -> datetime:
        """Return the time up to which everything that this service told of the tenant has left it."""
        outbox = self.tables["outbox"]
        oldest = self.session.scalar(select(func.min(outbox.c.create_time)).where(outbox.c.lane == "amqp"))
        return min(oldest, self.now) if oldest else self.now

    def first_time(self, handler: str, event_id: str) -> bool:
        """Note that a handler took an event; false when it had taken it before."""
        return bool(self.first_times(handler, [event_id]))

    def first_times(self, handler: str, event_ids: Iterable[str]) -> frozenset[str]:
        """Note that a handler took events; return those that it had not taken before."""
        given = {UUID(event_id): event_id for event_id in event_ids}
        # In the order of their ids: two processes that were given the same ones wait for each other, and not both.
        taken = {"handler": handler, "event_ids": array_text(sorted(given))}
        return frozenset(given[row[0]] for row in _taking(self.tables["inbox"]).rows(self, taken))

    def begin_another(self, actor_id: str, trace_id: str) -> None:
        """Go on with another use case, in the same transaction: it looks up anew what it needs."""
        self.flush()
        if "session" in vars(self):
            self.session.expunge_all()
            self.session.info.clear()
        self.actor_id, self.trace_id = actor_id, trace_id

    def once(
        self, caller_id: str, method: str, request_id: str, request: bytes, work: Callable[[], Message]
    ) -> bytes | Message:
        """Do `work` for a request id once; return its message, or the stored bytes of the first time.

        A concurrent twin waits here for the first one's commit. Raises InvalidInput REQUEST_ID_REUSED when the
        id came before with another request.
        """
        requests = self.tables["request"]
        key = {
            "tenant_id": self.tenant.id,
            "caller_id": caller_id,
            "method": method,
            "request_id": parse_id(request_id, "request_id"),
        }
        digest = hashlib.sha256(request).digest()
        added = self.session.execute(
            pg_insert(requests)
            .values(**key, digest=digest)
            .on_conflict_do_nothing()
            .returning(requests.c.request_id)
        ).first()
        mine = [requests.c[name] == value for name, value in key.items()]
        if added is None:
            stored = self.session.execute(select(requests.c.digest, requests.c.response).where(*mine)).one()
            if stored.digest != digest:
                raise InvalidInput(
                    "request_id",
                    "REQUEST_ID_REUSED",
                    "该请求编号已用于另一请求",
                    "This request id was used for another request",
                )
            if stored.response is None:
                raise Conflict("REQUEST_UNFINISHED", "请求正在处理中", "The request is still being handled")
            response: bytes = stored.response
            return response
        answer = work()
        self.session.flush()
        self.session.execute(
            update(requests).where(*mine).values(response=answer.SerializeToString(deterministic=True))
        )
        return answer


@lru_cache
def _taking(inbox: Table) -> DriverQuery:
    """Return what notes events in the inbox, and returns those that are new; made once: every event pays for it."""
    ids = func.unnest(bindparam("event_ids", type_=ARRAY(Uuid(as_uuid=False)))).column_valued("event_id")
    noted = pg_insert(inbox).from_select(
        ["handler", "event_id"], select(bindparam("handler", type_=Text()), ids), include_defaults=False
    )
    return DriverQuery(noted.on_conflict_do_nothing().returning(inbox.c.event_id))


@lru_cache
def _posting(outbox: Table, service: str, lanes: tuple[str, ...], written: tuple[CTE, ...]) -> Select[Any]:
    """Return what writes posts to the outbox and wakes the relays of their lanes, at the commit.

    In one statement, made once: every use case pays for it.
    """
    columns = ("tenant_id", "lane", "shard", "kind", "body")
    posted = inserting(outbox, columns, "posts", mostly_json=True).cte("posted")
    woken = (func.pg_notify(outbox_channel(service, lane), "") for lane in lanes)
    return select(literal(1), *woken).add_cte(posted, *written)


def _plain(start: WorkflowStart | WorkflowSignal) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(asdict(start), default=str))
    return plain


class Store:
    """A service's schema in every tenant's database.

    metadata: from `service_metadata`, its schema is the service's name. urls: libpq URLs by database name.
    """

    def __init__(
        self, urls: Mapping[str, str], metadata: MetaData, clock: Clock, *, pool_size: int = 8
    ) -> None:
        if not metadata.schema:
            raise ValueError("a service's metadata names its schema")
        self.service = metadata.schema
        self.urls = dict(urls)
        self.clock = clock
        self.tables = {
            name: metadata.tables[f"{self.service}.{name}"] for name in ("outbox", "inbox", "request")
        }
        self._engines: dict[str, Engine] = {
            name: create_engine(
                sqlalchemy_url(url),
                pool_size=pool_size,
                max_overflow=pool_size,
                # With autocommit psycopg leaves BEGIN to us: it goes together with the word whose the rows are.
                connect_args={
                    **PATIENCE,
                    "application_name": self.service,
                    # To compile a query takes longer than any of ours should run.
                    "options": f"-c timezone=UTC -c jit=off {KEEPALIVE}",
                    "autocommit": True,
                },
            )
            for name, url in urls.items()
        }
        for engine in self._engines.values():
            walls.say_whose(engine)
            say_limits(engine)

    def engine(self, database: str) -> Engine:
        """Return the engine of a database, whose transactions see no tenant's rows; raises KeyError for an unknown."""
        return self._engines[database]

    @contextmanager
    def transaction(
        self, tenant: Tenant, actor_id: str = "", now: datetime | None = None
    ) -> Iterator[Transaction]:
        """Open a transaction in the tenant's database; commit at the end, roll back on any exception.

        It sees the tenant's rows and no others, whatever it asks for. A tenant that moved since it was named is found
        where it is now: `tx.tenant` says where. While it moves, reading goes on for all but an instant; raises
        Unavailable TENANT_MOVING for a write.
        """
        database = tenant.database
        for _ in range(MOST_MOVES):
            with self._engines[database].connect() as connection:
                connection.execution_options(**{walls.TENANT_OPTION: tenant.id}).begin()
                place: places.Place | None = connection.info[places.PLACE]
                if place is None or place.database is None:
                    if place:
                        connection.execute(text("SET TRANSACTION READ ONLY"))
                    tx = Transaction(
                        connection=connection,
                        tenant=Tenant(tenant.id, database),
                        actor_id=actor_id,
                        now=now or self.clock(),
                        service=self.service,
                        tables=self.tables,
                    )
                    try:
                        yield tx
                        tx.commit()
                    except (InternalError, ReadOnlySqlTransaction) as error:
                        # By SQLAlchemy, or by the driver itself.
                        if isinstance(getattr(error, "orig", error), ReadOnlySqlTransaction):
                            raise places.tenant_is_moving() from error
                        raise
                    finally:
                        tx.close()
                    return
                database = place.database
        # Each of two databases names the other: for the instant between the end of a move in one and in the other.
        raise places.tenant_is_moving()

    @contextmanager
    def across(self, database: str) -> Iterator[Session]:
        """Open a transaction that reads over all tenants of a database: for sweeps and directories only.

        Rows of a tenant that is moving may be there twice. So whoever finds some work of a tenant here does it in a
        `transaction` of that tenant, which is where the tenant is.
        """
        engine = self._engines[database].execution_options(**{walls.TENANT_OPTION: walls.EVERY_TENANT})
        with Session(engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def nobodys(self, database: str) -> Iterator[Session]:
        """Open a transaction on what belongs to no tenant; it sees no tenant's rows."""
        with Session(self._engines[database], expire_on_commit=False) as session, session.begin():
            yield session

    def databases_from(self, database: str) -> Iterator[str]:
        """Yield a database, and then those that tenants moved to from it: asked only by who did not find."""
        yield database
        with self._engines[database].begin() as connection:
            moved = places.moved_from(connection)
        yield from moved

    def answers(self) -> bool:
        """Tell whether every database answers."""
        try:
            for database in self.urls:
                with self.across(database) as session:
                    session.execute(text("SELECT 1"))
        except SQLAlchemyError:
            return False
        return True

    def close(self) -> None:
        """Close every connection: those at rest now, one that is still in use when it comes back."""
        for engine in self._engines.values():
            listen(engine.pool, "checkin", lambda _, record: record.invalidate())
            engine.dispose()
