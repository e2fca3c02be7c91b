"""Unpack Debian's Asterisk beside the system, which is left as it is: no root, no chroot, no package
installed.

bookworm has no asterisk package; sid has the long-term release, bullseye the oldest that is supported. The packages
and their libraries are downloaded with an apt state of their own and unpacked into one folder, and the program is run
by that folder's own loader and C library.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.local.errors import LocalError

# Unpacked once for all stacks of this checkout.
CACHE = Path(__file__).resolve().parents[3] / "var/cache"
# Debian's suite with Asterisk 22, which everything runs on, and the one with Asterisk 16, which tests run on too.
SUITE = "sid"
OLD_SUITE = "bullseye"
PACKAGES = (
    "asterisk",
    "asterisk-modules",
    "asterisk-config",
    "asterisk-core-sounds-en",
    "asterisk-core-sounds-en-wav",
)
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
APT_SOURCES = (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))


@dataclass(frozen=True)
class Unpacked:
    """An unpacked Asterisk: the folder that holds its tree."""

    root: Path

    @property
    def command(self) -> list[str]:
        """The start of every command line: loader, library path and program."""
        paths = ("usr/lib/x86_64-linux-gnu", "usr/lib", "lib/x86_64-linux-gnu")
        libraries = ":".join(str(self.root / path) for path in paths)
        program = str(self.root / "usr/sbin/asterisk")
        return [str(self._find("ld-linux-x86-64.so.2")), "--library-path", libraries, program]

    @property
    def modules(self) -> Path:
        """The folder of its modules."""
        return self._find("chan_pjsip.so").parent

    @property
    def data(self) -> Path:
        """The folder of its sounds and documentation."""
        return self.root / "usr/share/asterisk"

    @property
    def version(self) -> str:
        """What it says of itself, such as "Asterisk 22.10.1"; kept beside the tree when it was unpacked."""
        return (self.root / "VERSION").read_text().strip()

    def _find(self, name: str) -> Path:
        # An older Debian still has two folders of libraries.
        folders = (self.root / "usr/lib", self.root / "lib")
        return next(found for folder in folders for found in folder.rglob(name))


def unpack(directory: Path, suite: str = SUITE) -> Unpacked:
    """Return a suite's Asterisk in `directory`, downloading and unpacking it (some 260 MB) the first time.

    Safe to call from several processes at once. Raises LocalError when this is no Debian or the download
    fails.
    """
    directory.mkdir(parents=True, exist_ok=True)
    name = "asterisk" if suite == SUITE else f"asterisk-{suite}"
    unpacked = Unpacked(directory / name)
    with (directory / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not unpacked.root.exists():
            draft = Unpacked(directory / f"{name}.new")
            shutil.rmtree(draft.root, ignore_errors=True)
            unpack_packages(draft.root, PACKAGES, suite)
            (draft.root / "VERSION").write_text(
                subprocess.run([*draft.command, "-V"], check=True, capture_output=True, text=True).stdout
            )
            draft.root.rename(unpacked.root)
    return unpacked


def unpack_packages(root: Path, packages: Sequence[str], suite: str = SUITE) -> None:
    """Download Debian packages of a suite with all that they need, and unpack them into a new folder.

    Raises LocalError when this is no Debian or the download fails.
    """
    apt = root / "apt"
    for folder in ("state/lists/partial", "cache/archives/partial", "etc"):
        (apt / folder).mkdir(parents=True)
    (apt / "state/status").touch()
    (apt / "etc/sources.list").write_text(f"deb [signed-by={KEYRING}] {_mirror()} {suite} main\n")
    options = {
        "Dir::State": apt / "state",
        "Dir::State::status": apt / "state/status",
        "Dir::Cache": apt / "cache",
        "Dir::Etc::sourcelist": apt / "etc/sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Acquire::Languages": "none",
        # The mirror may be a snapshot whose release file has aged.
        "Acquire::Check-Valid-Until": "false",
        # apt's own user could not write here; as root it would give up its rights for it.
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "true",
    }
    get = ["apt-get", "-qq", *(f"--option={key}={value}" for key, value in options.items())]
    _run([*get, "update"])
    _run([*get, "install", "--yes", "--no-install-recommends", "--download-only", *packages])
    # A merged /usr, as Debian has it: packages put files in both.
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(f"usr/{name}")
    archives = sorted((apt / "cache/archives").glob("*.deb"))
    for archive in archives:
        _run(["dpkg-deb", "--extract", str(archive), str(root)])
    (root / "PACKAGES").write_text("".join(f"{archive.name}\n" for archive in archives))
    for useless in (apt, *(root / "usr/share" / name for name in ("doc", "man", "locale"))):
        shutil.rmtree(useless, ignore_errors=True)


def _mirror() -> str:
    """Return the address of this machine's own Debian mirror."""
    for sources in APT_SOURCES:
        for line in sources.read_text().splitlines() if sources.exists() else ():
            words = line.split()
            if words and words[0] in ("URIs:", "deb"):
                address = next((word for word in words[1:] if "://" in word), None)
                if address:
                    return address
    raise LocalError("只支持 Debian / no Debian package source on this machine to fetch from")


def _run(command: list[str]) -> None:
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise LocalError(f"下载软件包失败 / fetching packages failed: {(done.stderr or done.stdout).strip()}")
