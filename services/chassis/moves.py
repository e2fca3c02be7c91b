"""Move rows from one parent to another, and back at any later time: what a merge of two records asks of every service.

A service that keeps rows of another's records gives `MovedRows` its metadata; the two tables are part of its schema.
Guarantees: a move told twice moves once; taking it back puts back exactly the rows that it moved, wherever later moves
have carried them since; an old parent's id leads to the one that stands for it, and a row that is written for it after
the move follows (`adopt`). All of it happens in the caller's transaction.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    Identity,
    Index,
    MetaData,
    Table,
    Text,
    Uuid,
    any_,
    bindparam,
    delete,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.chassis.driver_queries import DriverQuery

# Parents that one id may lead over; merges of merges are few.
LONGEST_CHAIN = 100
# Hold a parent until the transaction ends, alone, to move it; or some with others, to write for them. :key, :keys
_LOCK = select(func.pg_advisory_xact_lock(func.hashtextextended(bindparam("key", type_=Text()), literal(0))))
_KEYS = func.unnest(bindparam("keys", type_=ARRAY(Text))).column_valued("key")
_LOCK_SHARED = DriverQuery(
    select(func.pg_advisory_xact_lock_shared(func.hashtextextended(_KEYS, literal(0))))
)


@dataclass(frozen=True)
class Place:
    """Where rows name their parent. key: the column that names the row, parent: the one that names its parent."""

    table: Table
    key: str
    parent: str = "customer_id"


class MovedRows:
    """What a service moved, in two tables of its schema. places: where its rows name a parent."""

    def __init__(self, metadata: MetaData, places: Sequence[Place]) -> None:
        self._places = tuple(places)
        self._parent = Table(
            "moved_parent",
            metadata,
            Column("tenant_id", Uuid(as_uuid=False), primary_key=True),
            Column("move_id", Uuid(as_uuid=False), primary_key=True),
            Column("parent_id", Uuid(as_uuid=False), nullable=False),
            Column("to_parent_id", Uuid(as_uuid=False), nullable=False),
            # A move that was taken back stays known: told again late, it must not be done again.
            Column("taken_back", Boolean, nullable=False, server_default="false"),
            Index("ix_moved_parent_parent", "tenant_id", "parent_id"),
        )
        self._row = Table(
            "moved_row",
            metadata,
            Column("sequence", BigInteger, Identity(), primary_key=True),
            Column("tenant_id", Uuid(as_uuid=False), nullable=False),
            Column("move_id", Uuid(as_uuid=False), nullable=False),
            # Table and column that were changed.
            Column("place", Text, nullable=False),
            Column("row_id", Uuid(as_uuid=False), nullable=False),
            Index("ix_moved_row_move", "tenant_id", "move_id"),
            Index("ix_moved_row_row", "tenant_id", "row_id"),
        )

        # Which parents have moved, and where one has moved to. Made once: everything that names a parent asks.
        # :tenant :parents, :parent
        self._moved = select(self._parent.c.parent_id).where(
            self._parent.c.tenant_id == bindparam("tenant"),
            self._parent.c.parent_id == any_(bindparam("parents", type_=ARRAY(Uuid(as_uuid=False)))),
            self._parent.c.taken_back.is_(False),
        )
        self._step = DriverQuery(
            select(self._parent.c.to_parent_id, self._parent.c.move_id).where(
                self._parent.c.tenant_id == bindparam("tenant"),
                self._parent.c.parent_id == bindparam("parent"),
                self._parent.c.taken_back.is_(False),
            )
        )

    def move(self, tx: Transaction, move_id: str, parent_id: str, to_parent_id: str) -> bool:
        """Give all rows of one parent to another; tell whether this was the first time."""
        self._lock(tx, parent_id)
        added = tx.session.scalar(
            insert(self._parent)
            .values(tenant_id=tx.tenant.id, parent_id=parent_id, to_parent_id=to_parent_id, move_id=move_id)
            .on_conflict_do_nothing()
            .returning(self._parent.c.parent_id)
        )
        if added is None:
            return False
        for place in self._places:
            column, key = place.table.c[place.parent], place.table.c[place.key]
            ids = tx.session.scalars(
                update(place.table)
                # A record is never its own parent.
                .where(place.table.c.tenant_id == tx.tenant.id, column == parent_id, key != to_parent_id)
                .values({place.parent: to_parent_id})
                .returning(key)
                .execution_options(synchronize_session=False)
            ).all()
            self._note(tx, move_id, place, ids)
        return True

    def move_back(self, tx: Transaction, move_id: str, parent_id: str, to_parent_id: str) -> bool:
        """Give back the rows of a move to the parent that had them; tell whether this was the first time.

        A move that is taken back before it was told of is never made.
        """
        self._lock(tx, parent_id)
        written = insert(self._parent).values(
            tenant_id=tx.tenant.id,
            move_id=move_id,
            parent_id=parent_id,
            to_parent_id=to_parent_id,
            taken_back=True,
        )
        first = tx.session.scalar(
            written.on_conflict_do_update(
                index_elements=["tenant_id", "move_id"],
                set_={"taken_back": True},
                where=self._parent.c.taken_back.is_(False),
            ).returning(self._parent.c.move_id)
        )
        if first is None:
            return False
        row = self._row
        for place in self._places:
            noted = row.c.tenant_id == tx.tenant.id, row.c.place == _name(place)
            mine = tx.session.execute(
                select(row.c.row_id, row.c.sequence).where(*noted, row.c.move_id == move_id)
            ).all()
            ids = [each.row_id for each in mine]
            if not ids:
                continue
            tx.session.execute(
                update(place.table)
                .where(place.table.c.tenant_id == tx.tenant.id, place.table.c[place.key].in_(ids))
                .values({place.parent: parent_id})
                .execution_options(synchronize_session=False)
            )
            # Later moves carried these rows on; taken back in their turn they must leave them where they are now.
            tx.session.execute(
                delete(row).where(
                    *noted, row.c.row_id.in_(ids), row.c.sequence >= min(each.sequence for each in mine)
                )
            )
        return True

    def follow(self, tx: Transaction, move_id: str, parent_id: str, to_parent_id: str, *, undo: bool) -> bool:
        """Move, or with undo move back; tell whether this was the first time."""
        work = self.move_back if undo else self.move
        return work(tx, move_id, parent_id, to_parent_id)

    def current(self, tx: Transaction, parent_id: str, *, hold: bool = False) -> str:
        """Return the parent that stands for an id now; the id itself when it was not moved.

        hold: until this transaction ends, for what it writes under the answer.
        """
        for _ in range(LONGEST_CHAIN):
            if hold:
                self._hold(tx, parent_id)
            found = self._step.rows(tx, _whose(tx, parent_id))
            if not found:
                break
            parent_id = str(found[0][0])
        return parent_id

    def moved(self, tx: Transaction, parent_ids: Iterable[str]) -> set[str]:
        """Return which of the parents of rows that were just written are old ones: those rows are for `adopt`.

        Moves under way are waited for; ones that come later wait for the rows.
        """
        parents = sorted(set(parent_ids))
        if not parents:
            return set()
        self._hold(tx, *parents)
        return set(tx.connection.scalars(self._moved, {"tenant": tx.tenant.id, "parents": parents}))

    def adopt(self, tx: Transaction, row_id: str, parent_id: str, place: Place | None = None) -> bool:
        """Let a row that was just written for an old parent follow the moves before it; tell whether there were any.

        place: where it names its parent, by default the first one.
        """
        place = place or self._places[0]
        adopted = False
        for _ in range(LONGEST_CHAIN):
            # A move that is under way is waited for; one that comes later waits for this row.
            self._hold(tx, parent_id)
            found = self._step.rows(tx, _whose(tx, parent_id))
            if not found:
                break
            parent_id, move_id = map(str, found[0])
            adopted = True
            tx.session.execute(
                update(place.table)
                .where(place.table.c.tenant_id == tx.tenant.id, place.table.c[place.key] == row_id)
                .values({place.parent: parent_id})
            )
            self._note(tx, move_id, place, [row_id])
        return adopted

    def _lock(self, tx: Transaction, parent_id: str) -> None:
        tx.session.execute(_LOCK, {"key": self._key(tx, parent_id)})

    def _hold(self, tx: Transaction, *parent_ids: str) -> None:
        # The rows that were written for them come first.
        _LOCK_SHARED.rows(tx, {"keys": [self._key(tx, parent_id) for parent_id in parent_ids]})

    def _key(self, tx: Transaction, parent_id: str) -> str:
        return f"{self._parent.schema} move {tx.tenant.id} {parent_id}"

    def _note(self, tx: Transaction, move_id: str, place: Place, ids: Sequence[str]) -> None:
        if ids:
            own = {"tenant_id": tx.tenant.id, "move_id": move_id, "place": _name(place)}
            tx.session.execute(insert(self._row), [own | {"row_id": row_id} for row_id in ids])


def _whose(tx: Transaction, parent_id: str) -> dict[str, str]:
    return {"tenant": tx.tenant.id, "parent": parent_id}


def _name(place: Place) -> str:
    return f"{place.table.name}.{place.parent}"
