"""Put a stack into one file, and make a stack from it again.

What is stopped stands still: the databases, the messages in the queues, the running workflows, recordings and
secrets of one file belong together, to the last row. Of a stack that runs, the stores stand still for as long as it
takes to copy their files, and the file holds what a power cut at that instant would have left: all that was
acknowledged. The file holds secrets and is for its owner's eyes only. It is
made under another name, read back against the digests in its list, and only then gets its name; a restore fills a
folder of another name and only then becomes the stack. So neither leaves something half-done that looks whole.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final

from deploy.local.account import Account, ordinary_account, reachable_directory
from deploy.local.errors import LocalError
from deploy.local.freezer import standing_still
from deploy.local.stores import POSTGRESQL_BIN_DIRECTORIES

# The last member: the digest of every file before it.
LIST: Final = "backup.json"
FORMAT: Final = 1
# Of the moment, and of no use elsewhere: who holds the lock, which processes ran, what they said, where they listened.
MOMENTARY: Final = frozenset({"lock", "stack.json", "log", "ports.json"})
# The stores, in the order in which they stand still: nobody has taken what the databases do not know of.
STORES: Final = ("postgresql", "rabbitmq", "temporal")
# What is written once and never changed, and so needs no standing still; large.
WRITTEN_ONCE: Final = "recordings"
# Says of a PostgreSQL that it runs.
RUNNING: Final = "postgresql/data/postmaster.pid"
# Bytes read at once.
CHUNK: Final = 1 << 20


def backup(state: Path, to: Path) -> int:
    """Write the stack in the folder `state` to the file `to`, which must not exist; return how many bytes it has.

    The caller holds the stack's lock. Raises LocalError when there is nothing to put away or the file is there already.
    """
    if not (state / "postgresql").is_dir():
        raise LocalError(
            f"{state} 中没有自带的数据库 / has no PostgreSQL of its own: "
            "back up the one of DATABASE_URL with its own tools"
        )
    if to.exists():
        raise LocalError(f"{to} 已存在 / exists already")
    to.parent.mkdir(parents=True, exist_ok=True)
    draft = to.with_name(f".{to.name}.partial")
    draft.unlink(missing_ok=True)
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            _write(state, stream)
            stream.flush()
            os.fsync(stream.fileno())
        verify(draft)
        draft.replace(to)
    finally:
        draft.unlink(missing_ok=True)
    return to.stat().st_size


def backup_running(state: Path, to: Path, pids: Mapping[str, int]) -> tuple[int, float]:
    """Write the stack in the folder `state`, which runs, to the file `to`; return its bytes, and seconds stood still.

    pids: of the processes of the stack, by name. Raises LocalError as `backup` does.
    """
    place = state.with_name(f".{state.name}.copying")
    shutil.rmtree(place, ignore_errors=True)
    kept = [path for path in state.iterdir() if path.name not in MOMENTARY]
    moving = [path for path in kept if path.name != WRITTEN_ONCE]
    needed = sum(path.lstat().st_size for top in moving for path in top.rglob("*") if path.is_file())
    if shutil.disk_usage(state).free < 2 * needed:
        raise LocalError(f"磁盘空间不足 / no room for a copy beside {state}")
    place.mkdir(mode=0o700)
    try:
        begin = time.monotonic()
        with standing_still([pids[name] for name in STORES if name in pids]):
            # As they are, owners too; where the file system can, without copying.
            subprocess.run(["cp", "--archive", "--reflink=auto", *moving, place], check=True)
        stood_s = time.monotonic() - begin
        (place / RUNNING).unlink(missing_ok=True)
        for path in kept:
            if path.name == WRITTEN_ONCE:
                subprocess.run(["cp", "--archive", "--link", path, place], check=True)
        return backup(place, to), stood_s
    finally:
        shutil.rmtree(place, ignore_errors=True)


def verify(file: Path) -> dict[str, Any]:
    """Read a backup to its end and return its list; raises LocalError when it is not whole."""
    found: dict[str, str] = {}
    listed: dict[str, Any] | None = None
    try:
        with tarfile.open(file, "r|gz") as archive:
            for member in archive:
                if member.isreg():
                    content = archive.extractfile(member)
                    assert content is not None  # noqa: S101 - a regular file has content
                    if member.name == LIST:
                        listed = json.load(content)
                    else:
                        found[member.name] = _digest(content)
    except (OSError, EOFError, tarfile.TarError, ValueError) as error:
        raise LocalError(f"{file} 不是完整的备份 / is no whole backup: {error}") from error
    if listed is None or listed.get("format") != FORMAT or listed["files"] != found:
        raise LocalError(f"{file} 不是完整的备份 / is no whole backup")
    return listed


def restore(file: Path, state: Path) -> None:
    """Make the stack in the folder `state`, which must not be there or be empty, from the file.

    Raises LocalError when the folder holds something, the file is not whole, or its PostgreSQL is not the one here.
    """
    if state.exists() and any(state.resolve().iterdir()):
        raise LocalError(f"{state} 不是空的 / is not empty: `make clean` 先 / first, or STACK=another-name")
    listed = verify(file)
    here = postgresql_version()
    if listed["postgresql"] != here:
        raise LocalError(
            f"备份来自 PostgreSQL {listed['postgresql']}，本机为 {here} / "
            f"the backup is of PostgreSQL {listed['postgresql']}, here is {here}"
        )
    account = ordinary_account()
    place = reachable_directory(state, account)
    draft = place.with_name(f".{place.name}.restoring")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o711)
    try:
        with tarfile.open(file, "r|gz") as archive:
            for member in archive:
                if member.name != LIST:
                    # Whatever the user of the stores was called there, here it is this one.
                    own = account if member.uname == listed["account"] else None
                    _extract(archive, member, draft, own)
        place.rmdir()
        draft.rename(place)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def postgresql_version() -> str:
    """Return the major version whose data this machine can run."""
    versions = sorted(POSTGRESQL_BIN_DIRECTORIES.glob("*"), key=lambda each: float(each.name))
    return versions[-1].name if versions else ""


def _write(state: Path, stream: IO[bytes]) -> None:
    digests: dict[str, str] = {}
    with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=1, dereference=True) as archive:
        for path in _files(state):
            name = str(path.relative_to(state))
            member = archive.gettarinfo(path, name)
            if not member.isreg():
                archive.addfile(member)
                continue
            with path.open("rb") as content:
                digests[name] = _digest(content)
                content.seek(0)
                archive.addfile(member, content)
        listed = {
            "format": FORMAT,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "account": (state / "postgresql").owner(),
            "postgresql": (state / "postgresql/data/PG_VERSION").read_text().strip(),
            "files": digests,
        }
        text = json.dumps(listed).encode()
        last = tarfile.TarInfo(LIST)
        last.size, last.mode = len(text), 0o600
        archive.addfile(last, io.BytesIO(text))


def _files(state: Path) -> Iterator[Path]:
    """Yield what is to be kept, folders before what they hold; sockets and pipes are of the moment too."""
    for path in sorted(state.rglob("*")):
        if path.relative_to(state).parts[0] not in MOMENTARY and (path.is_dir() or path.is_file()):
            yield path


def _digest(content: IO[bytes]) -> str:
    total = hashlib.sha256()
    while chunk := content.read(CHUNK):
        total.update(chunk)
    return total.hexdigest()


def _extract(
    archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, account: Account | None
) -> None:
    """Extract one member with its mode, which PostgreSQL insists on; raises LocalError for one that leads elsewhere."""
    path = folder / member.name
    if not path.parent.resolve().is_relative_to(folder.resolve()) or path.name in ("", "..", "."):
        raise LocalError(f"备份中的路径有误 / a path in the backup leads elsewhere: {member.name}")
    archive.extract(member, folder, set_attrs=False)
    path.chmod(member.mode)
    if account:
        os.chown(path, account.uid, account.gid)
