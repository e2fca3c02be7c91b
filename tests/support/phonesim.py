"""ofono-phonesim: a modem emulator that others wrote, unpacked from Debian beside the system and run on loopback.

Messages come in through its own control window, which it shows nobody here, by its script interface on a D-Bus of its
own: it encodes and cuts them itself.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy.local.pbx.unpack import CACHE, unpack_packages
from tests.support.until import until

# Lets everybody who reaches its socket own a name and send.
_BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path={socket}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/>
<allow own="*"/></policy></busconfig>
"""


@dataclass(frozen=True)
class Phonesim:
    """Hold a running one. port: for pyserial; each connection finds a modem just switched on."""

    port: str
    folder: Path

    def receive(self, number: str, text: str) -> None:
        """Have its network bring a message; a program must be connected, else there is no modem."""
        script = self.folder / "receive.js"
        box = "tabSMS.gbMessage1"
        script.write_text(
            f"{box}.leMessageSender.text = {json.dumps(number)};\n"
            f"{box}.teSMSText.plainText = {json.dumps(text)};\n"
            f"{box}.pbSendSMSMessage.click();\n"
        )
        # The interface appears a moment after the program has connected.
        until(lambda: self._ask("SetPath", str(self.folder)), timeout_s=30)
        assert self._ask("Run", script.name)

    def _ask(self, method: str, argument: str) -> bool:
        """Call its script interface; tell whether it did as it was told."""
        send = ["--session", "--print-reply=literal", "--dest=org.ofono.phonesim", "/"]
        asked = subprocess.run(
            [*_program("dbus-send"), *send, f"org.ofono.phonesim.Script.{method}", f"string:{argument}"],
            env=_environment(self.folder),
            capture_output=True,
            check=False,
        )
        # What a script throws is its result.
        return asked.returncode == 0 and not asked.stdout.strip()


@contextlib.contextmanager
def phonesim() -> Iterator[Phonesim]:
    """Run it with its own bus."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="phonesim-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        (folder / "bus.conf").write_text(_BUS.format(socket=folder / "bus"))
        rules = _root() / "usr/share/ofono-phonesim/default.xml"
        stack.enter_context(
            _running(folder, "dbus-daemon", "--nofork", f"--config-file={folder / 'bus.conf'}")
        )
        until((folder / "bus").exists, timeout_s=30)
        stack.enter_context(_running(folder, "ofono-phonesim", "-p", str(port), "-gui", str(rules)))
        yield Phonesim(f"socket://127.0.0.1:{port}", folder)


@contextlib.contextmanager
def _running(folder: Path, name: str, *arguments: str) -> Iterator[None]:
    process = subprocess.Popen(
        [*_program(name), *arguments],
        env=_environment(folder),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


def _environment(folder: Path) -> dict[str, str]:
    plugins = next((_root() / "usr/lib").rglob("libqoffscreen.so")).parents[1]
    return {
        **os.environ,
        "DBUS_SESSION_BUS_ADDRESS": f"unix:path={folder / 'bus'}",
        "QT_QPA_PLATFORM": "offscreen",
        "QT_PLUGIN_PATH": str(plugins),
        "XDG_RUNTIME_DIR": str(folder),
    }


def _program(name: str) -> list[str]:
    """Return the command of an unpacked program: by its own loader and libraries."""
    root = _root()
    libraries = ":".join(str(root / path) for path in ("usr/lib/x86_64-linux-gnu", "usr/lib"))
    loader = next((root / "usr/lib").rglob("ld-linux-x86-64.so.2"))
    return [str(loader), "--library-path", libraries, str(root / "usr/bin" / name)]


def _root() -> Path:
    """Return its tree, downloaded (some 120 packages) the first time."""
    root, draft = CACHE / "phonesim-with-bus", CACHE / "phonesim-with-bus.new"
    if not root.exists():
        shutil.rmtree(draft, ignore_errors=True)
        CACHE.mkdir(parents=True, exist_ok=True)
        unpack_packages(draft, ["ofono-phonesim", "dbus-daemon", "dbus-bin"])
        draft.rename(root)
    return root
