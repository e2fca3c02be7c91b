"""What a service measures of its tables by asking them: backlogs, and how old they are.

Every replica asks for itself, so a measure must be cheap at any size and dashboards take the largest: no replica is
special, and none has to die before another one measures. A figure that cannot be had is taken away, not left standing.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client import Gauge
from sqlalchemy import TextClause, text
from sqlalchemy.exc import SQLAlchemyError

from services.chassis.db import Store
from services.chassis.logging import get_logger

log = get_logger(__name__)

# Between two looks at the tables, in seconds.
INTERVAL_S: Final = 30.0
# A question that takes longer than this is no cheap one and is given up, in milliseconds.
PATIENCE_MS: Final = 5000


@dataclass(frozen=True)
class Measure:
    """A question over all tenants of a database.

    query: gives one row of numbers. gauges: one for each number, in order, labelled by database only.
    """

    query: TextClause
    gauges: Sequence[Gauge]


class Measurer:
    """Keep the gauges of a store as its tables say, in a thread of its own that ends with the process."""

    def __init__(self, store: Store, measures: Sequence[Measure], interval_s: float = INTERVAL_S) -> None:
        self._store = store
        self._measures = measures
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._unwell: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="measurer", daemon=True)

    def start(self) -> None:
        """Begin; a service without measures starts nothing."""
        if self._measures:
            self._thread.start()

    def stop(self) -> None:
        """End after the question at hand."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=PATIENCE_MS / 1000 + 1)

    def look(self) -> None:
        """Ask every database once."""
        for database in self._store.urls:
            try:
                for measure in self._measures:
                    self._ask(database, measure)
                self._unwell.discard(database)
            except SQLAlchemyError as error:
                self._forget(database)
                if database not in self._unwell:
                    log.warning("backlogs cannot be measured", database=database, error=str(error))
                self._unwell.add(database)

    def _run(self) -> None:
        while not self._stop.is_set():
            self.look()
            self._stop.wait(self._interval_s)

    def _ask(self, database: str, measure: Measure) -> None:
        with self._store.across(database) as session:
            session.execute(text(f"SET LOCAL statement_timeout = {PATIENCE_MS}"))
            numbers = session.execute(measure.query).one()
        for gauge, number in zip(measure.gauges, numbers, strict=True):
            gauge.labels(database).set(float(number))

    def _forget(self, database: str) -> None:
        for measure in self._measures:
            for gauge in measure.gauges:
                # There may be none yet; `clear` would take the other databases' too.
                gauge.labels(database)
                gauge.remove(database)
