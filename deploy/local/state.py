"""A folder that holds one set of processes: their data, logs, ports and secrets."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.local.account import Account, ordinary_account, owned_directory, reachable_directory
from deploy.local.ports import Ports
from deploy.local.process import Process, Program, Report, say_nothing, start_all, stop_all


class State:
    """The state folder at `path`; without a path a temporary one, that `remove` takes away."""

    def __init__(self, path: Path | None = None) -> None:
        self.account: Account | None = ordinary_account()
        self.temporary = path is None
        path = path or Path(tempfile.mkdtemp(prefix="gonghai-"))
        path.mkdir(parents=True, exist_ok=True)
        # The stores' own user has to go through it, and nobody needs to look around in it.
        path.chmod(0o711)
        self.path = reachable_directory(path, self.account)
        self.logs = self.folder("log")
        self.ports = Ports(self.path / "ports.json")

    def folder(self, name: str) -> Path:
        """Return the folder of this name, made when missing, that only we can enter."""
        folder = self.path / name
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def home(self, name: str) -> Path:
        """Return the folder of this name, made when missing, that only the stores' own user can enter."""
        return owned_directory(self.path / name, self.account)

    def secret(self, name: str) -> str:
        """Return the secret of this name, made the first time and kept readable by us only."""
        file = self.secret_file(name)
        if not file.exists():
            write_private(file, secrets.token_urlsafe(24))
        return file.read_text()

    def secret_file(self, name: str) -> Path:
        """Return where the secret of this name is kept, in a folder that only we can enter."""
        return self.folder("secrets") / name

    def process(self, program: Program) -> Process:
        """Return a process of this program, not yet started, that logs here."""
        return Process(program, self.logs / f"{program.name}.log")

    def remove(self) -> None:
        """Remove the folder if it is temporary."""
        if self.temporary:
            shutil.rmtree(self.path, ignore_errors=True)


class Group:
    """Processes that start and stop together, as a context manager; `processes` has them by name, in order.

    `where` is a state folder (a path or a State to share), or None for a temporary one that ends with the group.
    """

    def __init__(self, where: Path | State | None) -> None:
        self.state = where if isinstance(where, State) else State(where)
        self._shares_state = isinstance(where, State)
        self.processes: dict[str, Process] = {}

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

    def start(self, report: Report = say_nothing) -> None:
        """Start all at once and wait until each is healthy; raises LocalError when one does not get there."""
        start_all(self.processes.values(), report)

    def stop(self) -> None:
        """Stop all and wait until they are gone."""
        stop_all(self.processes.values())
        if not self._shares_state:
            self.state.remove()

    def add(self, program: Program) -> None:
        """Take a program into the group."""
        self.processes[program.name] = self.state.process(program)


def write_private(file: Path, text: str, account: Account | None = None) -> None:
    """Write a file that only its owner (`account`, else us) could ever read, whole or not at all."""
    draft = file.with_name(f".{file.name}.new")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)
    if account:
        os.chown(draft, account.uid, account.gid)
    draft.replace(file)
