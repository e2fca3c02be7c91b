"""Keep one modem in use through time-outs, unplugging and restarts: open, run a session, close, wait, again.

Guarantees: the thread ends only when told to; the device is open in one program at a time (as far as others
ask for that too); a modem that went away is logged once, and once when it is back. Lost while it is away:
nothing, messages wait in the queue and in the network.
"""

import contextlib
import logging
import random
import select
import termios
import threading
from typing import Self

import serial

from services.telephony.modem.commands import RESTART, CommandError
from services.telephony.modem.engine import Engine, LinkLostError, NoAnswerError
from services.telephony.modem.pace import Breaker
from services.telephony.modem.port import LinkState, SmsQueue, StoreAwayError
from services.telephony.modem.session import Session, Settings, SimStoppedError, tell_refusal

log = logging.getLogger(__name__)

# How long the device may take to accept a write; flow control can hold it up for ever.
_WRITE_TIMEOUT_S = 5.0
# The modem is told to restart after so many openings in a row that came to nothing.
_RESTART_AFTER = 5
_READ_BYTES = 4096
# What pyserial lets through when a device goes away (its own errors are OSErrors; `fileno` of a closed port
# TypeErrors).
_FAULTS = (OSError, termios.error, TypeError, ValueError)


class Link:
    """Run one modem in one thread."""

    def __init__(self, settings: Settings, queue: SmsQueue) -> None:
        self._settings = settings
        self._queue = queue
        self._stop = threading.Event()
        self._wake = threading.Event()
        # A process that ends takes the thread with it; what was under way is then settled by `recover`.
        self._thread = threading.Thread(target=self._run, name=f"modem-{settings.name}", daemon=True)
        self._breaker = Breaker(settings.breaker_failures, settings.breaker_pause_s)
        self._state: tuple[LinkState, str] | None = None
        # Connections in a row that did not get as far as sending, and whether that was logged.
        self._failures = 0
        self._logged = False

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Say that the queue may have work: it is asked at once."""
        self._wake.set()

    def stop(self, timeout_s: float = 30.0) -> bool:
        """Finish what is under way and end; tell whether it did within the time."""
        self._stop.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._stop.wait(self._connect())
        self._enter(LinkState.DOWN, "stopped")

    def _connect(self) -> float:
        """Use the modem for one connection; return how many seconds to wait before the next."""
        try:
            self._queue.recover()
            with SerialTransport(self._settings.port, self._settings.baud) as transport:
                self._use(transport)
            return 0.0
        except SimStoppedError as error:
            self._lost(LinkState.SIM_STOPPED, str(error))
            return self._settings.sim_retry_s
        except (LinkLostError, NoAnswerError, CommandError) as error:
            self._lost(LinkState.DOWN, str(error))
        except Exception as error:
            # The store is away, or a bug: neither may end the thread.
            self._lost(LinkState.DOWN, repr(error), error)
        self._failures += 1
        longest_s = min(
            self._settings.reopen_s * 2.0 ** min(self._failures - 1, 10), self._settings.reopen_max_s
        )
        return longest_s * random.uniform(0.5, 1.0)  # noqa: S311 - spreads reconnects, guards nothing

    def _use(self, transport: "SerialTransport") -> None:
        engine = Engine(transport)
        try:
            Session(
                engine,
                self._queue,
                self._settings,
                self._breaker,
                enter=self._enter,
                stop=self._stop,
                wake=self._wake,
            ).run()
        except (LinkLostError, NoAnswerError, CommandError):
            if self._failures % _RESTART_AFTER == _RESTART_AFTER - 1:
                transport.write(RESTART.line.encode() + b"\r")
            raise

    def _enter(self, state: LinkState, detail: str) -> None:
        if (state, detail) == self._state:
            return
        self._state = state, detail
        if state is LinkState.READY:
            self._failures = 0
            if self._logged:
                log.info("modem is back", extra={"modem": self._settings.name})
                self._logged = False
        try:
            self._queue.link_changed(state, detail)
        except Exception as error:
            tell_refusal("modem state not noted", self._settings.name, error)

    def _lost(self, state: LinkState, why: str, cause: Exception | None = None) -> None:
        if not self._logged:
            unexpected = None if isinstance(cause, StoreAwayError) else cause
            log.error("modem is lost", extra={"modem": self._settings.name, "why": why}, exc_info=unexpected)
            self._logged = True
        self._enter(state, why)


class SerialTransport:
    """Move bytes over a serial device, a pty or a TCP socket; every fault of it is LinkLostError."""

    def __init__(self, port: str, baud: int) -> None:
        try:
            self._port = serial.serial_for_url(
                port, baudrate=baud, timeout=0, write_timeout=_WRITE_TIMEOUT_S, exclusive=True
            )
        except _FAULTS as error:
            raise LinkLostError(str(error)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # A device that is gone may refuse even that.
        with contextlib.suppress(*_FAULTS):
            self._port.close()

    def read(self, timeout_s: float) -> bytes:
        """Return what has come, waiting for the first byte at most so long."""
        try:
            # select and not pyserial's own time-out, which a socket:// waits out in full for any read of
            # several bytes.
            select.select([self._port.fileno()], [], [], timeout_s)
            return bytes(self._port.read(_READ_BYTES))
        except _FAULTS as error:
            raise LinkLostError(str(error)) from error

    def write(self, data: bytes) -> None:
        """Write everything, or raise after five seconds."""
        try:
            self._port.write(data)
        except _FAULTS as error:
            raise LinkLostError(str(error)) from error
