"""Find the ordinary user that the stores run as when make runs as root.

PostgreSQL refuses root, and a broker should not have it. The Python services stay with whoever ran make:
their interpreter may live where nobody else can read, and a real site's systemd unit names an ordinary user
anyway.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from deploy.local.errors import LocalError

ACCOUNT_NAME = "gonghai"


@dataclass(frozen=True)
class Account:
    """A user of this machine to drop privileges to."""

    name: str
    uid: int
    gid: int

    def command(self) -> list[str]:
        """Give the setpriv options that turn root into this user."""
        return [f"--reuid={self.uid}", f"--regid={self.gid}", "--init-groups"]


def ordinary_account() -> Account | None:
    """Return the user to run stores as, making it when needed; None when we are no root ourselves."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(ACCOUNT_NAME)
    except KeyError:
        subprocess.run(
            [
                "useradd",
                "--system",
                "--user-group",
                "--no-create-home",
                "--shell=/usr/sbin/nologin",
                ACCOUNT_NAME,
            ],
            check=True,
        )
        entry = pwd.getpwnam(ACCOUNT_NAME)
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def can_reach(path: Path, account: Account | None) -> bool:
    """Tell whether that user can go to a folder, or read a file."""
    how, mode = ("-x", os.X_OK) if path.is_dir() else ("-r", os.R_OK)
    if account is None:
        return os.access(path, mode)
    # Asked as that user: the kernel knows about groups and ACLs, mode bits alone do not.
    command = ["setpriv", *account.command(), "test", how, str(path)]
    return subprocess.run(command, check=False, cwd="/", stderr=subprocess.DEVNULL).returncode == 0


def reachable_directory(directory: Path, account: Account | None) -> Path:
    """Make `directory`, somewhere the account can go to, and return its real path.

    A checkout below a closed folder (such as root's home) is no place for the stores of an ordinary user.
    Then the state goes to /var/lib/gonghai-<hash of the path>, and `directory` is a link to it. Raises
    LocalError when `directory` already holds files at a place that the account cannot reach.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if account is None or can_reach(directory.resolve(), account):
        return directory.resolve()
    if any(directory.iterdir()):
        raise LocalError(
            f"用户 {account.name} 无法访问 / user {account.name} cannot reach {directory}, which holds data: "
            "move it to where it was made, or remove it"
        )
    elsewhere = (
        Path("/var/lib") / f"gonghai-{hashlib.sha256(str(directory.absolute()).encode()).hexdigest()[:12]}"
    )
    elsewhere.mkdir(exist_ok=True)
    elsewhere.chmod(0o711)
    directory.rmdir()
    directory.symlink_to(elsewhere)
    return elsewhere


def owned_directory(directory: Path, account: Account | None) -> Path:
    """Make `directory` if missing, closed to others, and give it to the account."""
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    if account:
        os.chown(directory, account.uid, account.gid)
    return directory


def runnable(program: Path, account: Account | None, directory: Path) -> Path:
    """Return `program`, or its copy in `directory` when the account cannot reach the original."""
    if can_reach(program, account):
        return program
    copy = directory / program.name
    if not copy.exists() or copy.stat().st_size != program.stat().st_size:
        shutil.copy2(program, copy)
    return copy
