"""ofono-phonesim: a modem emulator that others wrote, unpacked from Debian beside the system and run on loopback."""

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from deploy.local.pbx.unpack import CACHE, unpack_packages


@contextlib.contextmanager
def phonesim() -> Iterator[str]:
    """Run it, and give the port string of its modem; each connection finds a modem just switched on."""
    root = _unpacked()
    libraries = ":".join(str(root / path) for path in ("usr/lib/x86_64-linux-gnu", "usr/lib"))
    loader = next((root / "usr/lib").rglob("ld-linux-x86-64.so.2"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            *(loader, "--library-path", libraries, root / "usr/bin/ofono-phonesim"),
            *("-p", str(port), root / "usr/share/ofono-phonesim/default.xml"),
        ],
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"socket://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _unpacked() -> Path:
    """Return its tree, downloaded (some 120 packages) the first time."""
    root, draft = CACHE / "phonesim", CACHE / "phonesim.new"
    if not root.exists():
        shutil.rmtree(draft, ignore_errors=True)
        CACHE.mkdir(parents=True, exist_ok=True)
        unpack_packages(draft, ["ofono-phonesim"])
        draft.rename(root)
    return root
