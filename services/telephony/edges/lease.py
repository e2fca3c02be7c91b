"""Let one process at a time own a PBX or a modem; the others stand by.

The lease is an advisory lock of a PostgreSQL session of its own: it ends with the process, however that
ends. A holder whose connection is gone has lost it and must stop; `held` finds that out.
"""

import threading
from typing import Final

import psycopg
from psycopg.conninfo import make_conninfo

from services.chassis.locks import KEEPALIVE, LOCK, PATIENCE
from services.chassis.logging import get_logger

log = get_logger(__name__)

# How often a process that stands by asks again, in seconds.
STAND_BY_S: Final = 1.0


class Lease:
    """Hold the lock of one name in one database; for one thread at a time."""

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name
        self._connection: psycopg.Connection | None = None

    def acquire(self, stop: threading.Event) -> bool:
        """Wait until the lease is ours; false when `stop` was set before."""
        standing_by = False
        while not stop.is_set():
            try:
                if self._try():
                    log.info("lease is ours", lease=self._name)
                    return True
                if not standing_by:
                    log.info("another process holds the lease; standing by", lease=self._name)
                standing_by = True
            except psycopg.Error as error:
                self.release()
                log.warning("no lease without the database", lease=self._name, error=str(error))
            stop.wait(STAND_BY_S)
        self.release()
        return False

    def held(self) -> bool:
        """Ask whether the lease is still ours."""
        if self._connection is None:
            return False
        try:
            self._connection.execute("SELECT 1")
        except psycopg.Error as error:
            log.error("lease is lost", lease=self._name, error=str(error))
            self.release()
            return False
        return True

    def release(self) -> None:
        """Give it back; the next in line has it within a second."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _try(self) -> bool:
        if self._connection is None:
            self._connection = psycopg.connect(
                make_conninfo(self._url, **PATIENCE),
                autocommit=True,
                connect_timeout=5,
                application_name=f"lease {self._name}",
                options=KEEPALIVE,
            )
        row = self._connection.execute(LOCK, (self._name,)).fetchone()
        return row is not None and bool(row[0])
