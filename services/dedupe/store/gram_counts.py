"""How many records have a gram, as each process knows it of the tenants that are asked for.

To look up the counts of some forty grams takes PostgreSQL as long as to find the names, and they change when the
workflow counts anew only. So they are read once and looked at again after a while; nothing depends on them but which
grams of a name are asked for, so one who is a counting behind finds the same, or nearly, at nearly the same cost.
"""

import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from threading import Lock

from sqlalchemy import LargeBinary, Uuid, bindparam, func, literal_column, select

from services.chassis.db import Transaction
from services.chassis.driver_queries import DriverQuery
from services.dedupe.store.tables import GramCount, GramCounting

# Rows that the lists of the grams asked for may have together, by count.
BUDGET = 160
# Grams that are asked for, whatever the counts say.
LEAST = 2
# How long counts are taken for the newest without asking.
FRESH = timedelta(seconds=30)
# Parts of equal width that grams are looked for in, and the bits of a gram below the number of its part.
PARTS, PART_BITS = 4096, 52
# Grams that a process knows the counts of, at 16 bytes: those of about ten tenants of a million customers.
MOST_KNOWN = 4_000_000

TENANT = bindparam("tenant_id", type_=Uuid(as_uuid=False))
_ORDERED = (
    select(GramCount.gram, GramCount.count)
    .where(GramCount.tenant_id == TENANT)
    .order_by(GramCount.gram)
    .subquery()
)
COUNTING = DriverQuery(
    select(GramCounting.count_time, GramCounting.records).where(GramCounting.tenant_id == TENANT)
)
# Two strings of big-endian numbers: as many rows would take the driver a hundred times as long.
COUNTS = DriverQuery(
    select(
        *(
            func.string_agg(func.int8send(column), literal_column("''::bytea"), type_=LargeBinary)
            for column in _ORDERED.c
        )
    )
)


@dataclass(frozen=True)
class GramCounts:
    """A tenant's counts. count_time: None before they were counted; records: how many there were then.

    grams: those that many records have, in order; counts: how many, about.
    """

    count_time: datetime | None
    records: int
    grams: "array[int]"
    counts: "array[int]"

    def rarest(self, grams: Iterable[int]) -> list[int]:
        """Return the rarest of some grams, until their lists would be longer than BUDGET rows together.

        The first LEAST are taken however long their lists are. A gram without a count is rare.
        """
        taken: list[int] = []
        rows = 0
        for count, gram in sorted([(self._count(gram), gram) for gram in grams]):
            rows += count
            if rows > BUDGET and len(taken) >= LEAST:
                break
            taken.append(gram)
        return taken

    def _count(self, gram: int) -> int:
        part = (gram >> PART_BITS) + PARTS // 2
        place = bisect_left(self.grams, gram, self._begins[part], self._begins[part + 1])
        return self.counts[place] if place < len(self.grams) and self.grams[place] == gram else 0

    @cached_property
    def _begins(self) -> list[int]:
        """Where each part of the grams begins: each step of a search through all misses the processor's cache."""
        return [bisect_left(self.grams, part << PART_BITS) for part in range(-PARTS // 2, PARTS // 2 + 1)]


class KnownCounts:
    """What a process knows, of the tenants asked for last; thread-safe. most: grams of all together."""

    def __init__(self, most: int = MOST_KNOWN) -> None:
        self._most = most
        # With the time when the database was asked; in the order in which they were asked for.
        self._known: dict[str, tuple[datetime, GramCounts]] = {}
        self._lock = Lock()

    def of(self, tx: Transaction) -> GramCounts:
        """Return the counts of a transaction's tenant, at most FRESH behind."""
        with self._lock:
            look = self._known.pop(tx.tenant.id, None)
            if look:
                self._known[tx.tenant.id] = look
        look_time, known = look or (None, None)
        if known and look_time and timedelta(0) <= tx.now - look_time < FRESH:
            return known
        known = self._look(tx, known)
        with self._lock:
            self._known[tx.tenant.id] = tx.now, known
            while (
                len(self._known) > 1 and sum(len(each.grams) for _, each in self._known.values()) > self._most
            ):
                self._known.pop(next(iter(self._known)))
        return known

    def _look(self, tx: Transaction, known: GramCounts | None) -> GramCounts:
        whose = {"tenant_id": tx.tenant.id}
        count_time, records = next(iter(COUNTING.rows(tx, whose)), (None, 0))
        if known and known.count_time == count_time:
            return known
        # Counted anew between the two: then they are read again after the next look.
        ((grams, counts),) = COUNTS.rows(tx, whose)
        return GramCounts(count_time, records, _numbers(grams), _numbers(counts))


def _numbers(sent: bytes | None) -> "array[int]":
    numbers = array("q", sent or b"")
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers


KNOWN = KnownCounts()
