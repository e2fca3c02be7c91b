"""Run a whole stack: stores, PBX and modem to play with, then the product; and watch over it.

    with Stack(api_replicas=2, gateway_replicas=2, ring_s=2) as stack:
        stack.address                          # where the desktop is
        stack.kill("customers-1")              # kill -9; it comes back by itself
        stack.kill("rabbitmq", stay_down=True)
        stack.start_process("rabbitmq")        # again, and wait for its health
        stack.pbx.call("13800138000")

What it knows of itself stands in `stack.json` below its folder, for `make status`, `make call` and tests.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from deploy.local.errors import LocalError
from deploy.local.pbx.asterisk import PrivatePbx
from deploy.local.process import BARE_ENVIRONMENT, Program, start_all, stop_all, wait_until
from deploy.local.prometheus import prometheus_program
from deploy.local.state import State, write_private
from deploy.local.stores import LOOPBACK, PrivateStores
from deploy.local.table import ROOT, Site, Table, product
from deploy.local.watch import Watch

# Less room than this on the disk, and PostgreSQL or RabbitMQ would soon stop in the middle of something.
MIN_FREE_BYTES = 1_000_000_000
DATABASES = ("main", "south")


class Stack:
    """One stack as a context manager; nothing starts before `start` or `with`.

    `directory` keeps its data between runs; without it everything is temporary. With `simulators` a PBX with
    phones (1001 rings for `ring_s` seconds) and a modem emulator come along. `given` is the environment:
    stores, PBX and modems named there are used, PROMETHEUS asks for one, and all of it reaches the product's
    processes. `asked_port` is the port that the desktop must have, `host` the address of this machine that the
    stores listen on. `table` says what to run; `say` gets a line for each thing that happens.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        simulators: bool = True,
        ring_s: float = 8.0,
        api_replicas: int = 1,
        gateway_replicas: int = 1,
        background_replicas: int = 1,
        asked_port: int | None = None,
        preferred_port: int | None = None,
        given: Mapping[str, str] | None = None,
        host: str = LOOPBACK,
        table: Table = product,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._say = say
        self._begin = time.monotonic()
        self.state = State(directory)
        self._lock_file = self._lock()
        try:
            require_space(self.state.path)
            given = dict(os.environ if given is None else given)
            # Before the stores: between their ports there may be no room for as many in a row as a PBX needs.
            self.pbx = PrivatePbx(self.state, ring_s=ring_s) if simulators else None
            self.stores = PrivateStores(self.state, DATABASES, given=given, host=host)
            self.modem = self.state.process(self._modem_emulator()) if simulators else None
            ours = self._environment(given)
            self.plan = table(
                Site(
                    self.state,
                    given,
                    ours,
                    api_replicas,
                    gateway_replicas,
                    background_replicas,
                    asked_port,
                    preferred_port,
                )
            )
        except BaseException:
            self._lock_file.close()
            raise
        tiers = [list(tier) for tier in self.plan.tiers]
        if given.get("PROMETHEUS"):
            tiers.append([prometheus_program(self.state, [each for tier in tiers for each in tier])])
        self._tiers = [[self.state.process(each) for each in tier] for tier in tiers]
        self.processes = dict(self.stores.processes)
        if self.pbx and self.modem:
            self.processes |= self.pbx.processes | {self.modem.name: self.modem}
        self.processes |= {process.name: process for tier in self._tiers for process in tier}
        self._watch = Watch(list(self.processes.values()), say=say, changed=self._describe)

    @property
    def address(self) -> str:
        """Where the (first) desktop is, such as http://127.0.0.1:8080."""
        return self.plan.addresses[0]

    @property
    def inbox(self) -> Path:
        """The file in which the modem emulator keeps what was sent, one JSON object a line."""
        return self.state.folder("modem") / "inbox.jsonl"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything in order, each step when the one before is healthy; raises LocalError."""
        self.stores.start(self._report)
        if self.pbx and self.modem:
            self.pbx.start(self._report)
            start_all([self.modem], self._report)
        if self.plan.migrate:
            self._run_once(self.plan.migrate)
        start_all([process for tier in self._tiers for process in tier], self._report)
        self._describe()
        self._watch.start()
        self._say(f"就绪 / ready in {time.monotonic() - self._begin:.1f} s")

    def stop(self) -> None:
        """Stop everything, the last started first."""
        self._watch.pause()
        for tier in reversed(self._tiers):
            stop_all(tier)
        if self.pbx and self.modem:
            stop_all([self.modem])
            self.pbx.stop()
        self.stores.stop()
        self._watch.end()
        (self.state.path / "stack.json").unlink(missing_ok=True)
        self._lock_file.close()
        self.state.remove()

    def kill(self, name: str, *, stay_down: bool = False) -> None:
        """Kill one process with its children (SIGKILL); it starts again by itself unless it shall stay down."""
        if stay_down:
            self._watch.hold(name)
        self.processes[name].kill()

    def start_process(self, name: str, timeout_s: float = 60.0) -> None:
        """Let a process that was held down start again, and wait for its health."""
        self._watch.release(name)
        self.wait_healthy(name, timeout_s)

    def wait_healthy(self, name: str, timeout_s: float = 60.0) -> None:
        """Wait until a process works (again); raises LocalError when it does not within the time."""
        if not wait_until(self.processes[name].healthy, timeout_s):
            raise LocalError(f"{name} 未就绪 / not healthy after {timeout_s:.0f} s")

    def _report(self, name: str, seconds: float) -> None:
        self._say(f"  ✓ {name:<16}{seconds:6.1f} s")

    def _lock(self) -> IO[str]:
        # Opened for appending: what stands in it belongs to whoever holds the lock.
        lock = (self.state.path / "lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            pid = lock.read().strip()
            lock.close()
            raise LocalError(
                f"已在运行 / already running in {self.state.path} (pid {pid}); "
                "`make status` 查看 / shows it, `make down` 停止 / stops it"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        return lock

    def _environment(self, given: Mapping[str, str]) -> dict[str, str]:
        urls = self.stores.database_urls
        environment = {
            "DATABASE_URL": urls["main"],
            **{f"DATABASE_URL_{name.upper()}": url for name, url in urls.items() if name != "main"},
            "AMQP_URL": self.stores.amqp_url,
            "TEMPORAL_ADDRESS": self.stores.temporal_address,
            "RECORDINGS_URL": given.get("RECORDINGS_URL") or str(self.state.path / "recordings"),
        }
        if self.pbx:
            environment |= {
                "AMI_ADDRESS": self.pbx.ami_address,
                "AMI_USER": self.pbx.ami_user,
                "AMI_SECRET": self.pbx.ami_secret,
                "PBX_NAME": self.pbx.name,
                "PBX_RECORDINGS": str(self.pbx.recordings),
                "PBX_EVENTS": str(self.pbx.events),
                "MODEMS": json.dumps([{"name": "modem0", "port": str(self._modem_port)}]),
            }
        return environment

    @property
    def _modem_port(self) -> Path:
        return self.state.folder("modem") / "modem0"

    def _modem_emulator(self) -> Program:
        return Program(
            name="modem-emulator",
            argv=[
                *(sys.executable, "-m", "deploy.local.modem_emulator", "--link", str(self._modem_port)),
                *("--inbox", str(self.inbox), "--control", str(self.state.folder("modem") / "control")),
            ],
            env=BARE_ENVIRONMENT | {"PYTHONPATH": str(ROOT)},
            health=f"file://{self._modem_port}",
            cwd=ROOT,
        )

    def _run_once(self, program: Program) -> None:
        begin = time.monotonic()
        process = self.state.process(program)
        process.spawn()
        wait_until(lambda: not process.alive, program.start_timeout_s)
        process.kill()
        if process.exit_code != 0:
            raise LocalError(f"{program.name} 失败 / failed ({process.exit_code}){process.log_tail()}")
        self._report(program.name, time.monotonic() - begin)

    def _describe(self) -> None:
        """Write down what runs, readable by us only: addresses hold passwords."""
        environment = self.state.secret_file("environment.json")
        write_private(environment, json.dumps(self.plan.environment))
        description: dict[str, Any] = {
            "pid": os.getpid(),
            "addresses": list(self.plan.addresses),
            "environment": str(environment),
            "recordings": str(self.pbx.recordings) if self.pbx else None,
            "sip_port": self.pbx.sip_port if self.pbx else None,
            "inbox": str(self.inbox) if self.modem else None,
            "processes": [
                {
                    "name": process.name,
                    "pid": process.pid,
                    "ports": dict(process.program.ports),
                    "health": process.program.health,
                    "restarts": self._watch.restarts(process.name),
                    "log": str(process.log_file),
                }
                for process in self.processes.values()
            ],
        }
        write_private(self.state.path / "stack.json", json.dumps(description, indent=1))


def require_space(path: Path, needed_bytes: int = MIN_FREE_BYTES) -> None:
    """Raise LocalError when the disk of `path` has less room than that."""
    free_bytes = shutil.disk_usage(path).free
    if free_bytes < needed_bytes:
        raise LocalError(
            f"磁盘空间不足 / only {free_bytes / 1e9:.2f} GB left on the disk of {path}, "
            f"{needed_bytes / 1e9:.0f} GB needed"
        )
