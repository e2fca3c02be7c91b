"""Install what the one-machine stack needs: python3 -m deploy.local.bootstrap up | demo | test | image | venv |
tools | web | node.

`venv` is what the stack's own programs need of Python, `tools` what tests and linters need besides. `node` prints the
folder of the Node that the web build uses.

Runs on Debian's bare python3, before anything is installed: only the standard library here and in what it
imports. Each step looks first whether there is anything to do. Nothing that is installed starts a service of
the machine's own.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from deploy.local.account import ordinary_account, reachable_directory
from deploy.local.errors import LocalError
from deploy.local.pbx.unpack import CACHE, OLD_SUITE, SUITE, unpack

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin/python"
# Says what is installed in it, and where it stood.
INSTALLED = VENV / "installed"
# What the stack runs on, and that with what it is built and tested with.
STACK_LOCK, TOOLS_LOCK = ROOT / "requirements-local.lock", ROOT / "requirements-dev.lock"
# Node for the web build, for machines whose own is missing or too old.
NODE_LOCK = ROOT / "deploy/local/node.lock"
WEB = ROOT / "services/gateway/web"
# The only Python that the locks are made for.
PYTHON = (3, 11)
# What the web build's tools ask for.
OLDEST_NODE = 22
# How often a step that takes long says so, in seconds.
PROGRESS_S = 10.0


@dataclass(frozen=True)
class Package:
    """A Debian package: a file (glob) or program that shows it is there, the variable that makes it needless, and
    the one that asks for it."""

    name: str
    shown_by: str
    instead: str = ""
    asked_by: str = ""

    def needed(self, environment: Mapping[str, str]) -> bool:
        """Tell whether it has to be installed."""
        if self.instead and environment.get(self.instead):
            return False
        if self.asked_by and not environment.get(self.asked_by):
            return False
        if self.shown_by.startswith("/"):
            return not any(Path("/").glob(self.shown_by[1:]))
        return shutil.which(self.shown_by, path=os.environ.get("PATH", "") + ":/usr/sbin") is None


STORE_PACKAGES = (
    Package("prometheus", "prometheus", asked_by="PROMETHEUS"),
    Package("postgresql", "/usr/lib/postgresql/*/bin/initdb", instead="DATABASE_URL"),
    Package("rabbitmq-server", "/usr/lib/rabbitmq/bin/rabbitmq-server", instead="AMQP_URL"),
)
DEMO_PACKAGES = (*STORE_PACKAGES, Package("sip-tester", "sipp"))
TEST_PACKAGES = (
    *DEMO_PACKAGES,
    Package("chromium-headless-shell", "chromium-headless-shell"),
    Package("fonts-wqy-microhei", "/usr/share/fonts/truetype/wqy/wqy-microhei.ttc"),
    Package("smstools", "smsd"),
    Package("systemd", "systemd-analyze"),
    Package("prometheus", "prometheus"),
)
IMAGE_PACKAGES = (*STORE_PACKAGES, Package("buildah", "buildah"), Package("mmdebstrap", "mmdebstrap"))
PACKAGES = {
    "up": STORE_PACKAGES,
    "demo": DEMO_PACKAGES,
    "test": TEST_PACKAGES,
    "image": IMAGE_PACKAGES,
    "venv": (),
    "tools": (),
    "web": (),
    "node": (),
}

# $@: packages. Debian starts a service as it is installed, unless policy-rc.d forbids it, and makes
# PostgreSQL's first cluster, unless createcluster.conf forbids that; both are put back. Services that came
# with it stay off at boot.
INSTALL = r"""
set -e
policy=/usr/sbin/policy-rc.d
cluster=/etc/postgresql-common/createcluster.d/gonghai.conf
units=/lib/systemd/system
restore() {
    rm -f $policy $cluster
    if [ -e $policy.gonghai ]; then mv $policy.gonghai $policy; fi
}
trap restore EXIT
if [ -e $policy ]; then mv $policy $policy.gonghai; fi
printf '#!/bin/sh\nexit 101\n' > $policy
chmod 755 $policy
mkdir -p ${cluster%/*}
echo 'create_main_cluster = false' > $cluster
new=
for unit in postgresql.service rabbitmq-server.service epmd.socket epmd.service smstools.service prometheus.service; do
    if ! [ -e $units/$unit ]; then new="$new $unit"; fi
done
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "$@"
for unit in $new; do
    # Where there is no systemctl nothing starts units either.
    if [ -e $units/$unit ] && command -v systemctl > /dev/null; then systemctl --quiet disable $unit; fi
done
"""


def main(argv: Sequence[str]) -> int:
    """Install what the target needs; return the exit status."""
    if len(argv) != 1 or argv[0] not in PACKAGES:
        print(__doc__.splitlines()[0], file=sys.stderr)
        return 2
    target = argv[0]
    # What is installed here is for the stores' own user too.
    os.umask(0o022)
    try:
        install_packages(PACKAGES[target])
        make_venv()
        if target == "node":
            print(node_directory())
            return 0
        lock = STACK_LOCK if target in ("up", "demo", "venv") else TOOLS_LOCK
        work: list[Callable[[], None]] = [partial(install_python, lock)]
        if target not in ("venv", "tools", "image"):
            # Before the others begin: of two pip at once one might change what the other runs on.
            work.append(partial(build_web, node_directory()))
        if target in ("demo", "test"):
            work.append(partial(unpack_asterisk, (SUITE, OLD_SUITE) if target == "test" else (SUITE,)))
        with ThreadPoolExecutor(len(work)) as together:
            for done in [together.submit(each) for each in work]:
                done.result()
    except LocalError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


class step:  # noqa: N801 - reads as a word of the language
    """Say every few seconds that the block goes on, and in the end how long it took, if it was worth a line."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._done = threading.Event()
        self._teller = threading.Thread(target=self._tell, daemon=True)

    def __enter__(self) -> None:
        self._begin = time.monotonic()
        self._teller.start()

    def _tell(self) -> None:
        while not self._done.wait(PROGRESS_S):
            print(f"  … {self._name:<16}{time.monotonic() - self._begin:6.0f} s", flush=True)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._done.set()
        self._teller.join()
        seconds = time.monotonic() - self._begin
        if kind is None and seconds >= 0.5:
            print(f"  ✓ {self._name:<16}{seconds:6.1f} s", flush=True)


def install_packages(packages: Iterable[Package]) -> None:
    """Install the Debian packages that are missing; raises LocalError with the command when we may not."""
    missing = [package.name for package in packages if package.needed(os.environ)]
    if not missing:
        return
    command = ["sh", "-c", INSTALL, "sh", *missing]
    if os.geteuid() != 0:
        if not shutil.which("sudo"):
            raise LocalError(
                "缺少软件包，请以 root 运行 / these packages are missing; run this as root:\n"
                f"  apt-get install --no-install-recommends {' '.join(missing)}"
            )
        command = ["sudo", *command]
    print(f"  安装 / installing {' '.join(missing)} …", flush=True)
    with step("apt"):
        run(command)


def make_venv() -> None:
    """Make an empty .venv, unless there is one of this place."""
    done = INSTALLED.read_text().splitlines() if INSTALLED.exists() else []
    if done and done[1] != str(VENV):
        # The checkout was moved, and its programs still name the old place.
        shutil.rmtree(VENV)
    if not VENV_PYTHON.exists():
        with step("venv"):
            run([find_python(), "-m", "venv", str(VENV)])


def install_python(lock: Path) -> None:
    """Bring what a lock lists into .venv, in exactly these versions."""
    # The tools' lock lists all that the stack's does.
    if INSTALLED.exists() and INSTALLED.read_text() in (installed_by(lock), installed_by(TOOLS_LOCK)):
        return
    with step("Python"):
        run([str(VENV_PYTHON), *PIP, "--require-hashes", "-r", str(lock)])
        # The checkout itself, and the package generated from the contracts.
        (packages,) = (VENV / "lib").glob("python*/site-packages")
        (packages / "gonghai.pth").write_text(f"{ROOT}\n{ROOT / 'proto/gen'}\n")
        INSTALLED.write_text(installed_by(lock))


def installed_by(lock: Path) -> str:
    """Return what INSTALLED says once a lock's packages are there."""
    return f"{hashlib.sha256(lock.read_bytes()).hexdigest()}\n{VENV}\n"


PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")


def find_python() -> str:
    """Return a Python of the right version that can make virtual environments."""
    version = ".".join(map(str, PYTHON))
    found = sys.executable if sys.version_info[:2] == PYTHON else shutil.which(f"python{version}")
    if not found:
        raise LocalError(
            f"需要 Python {version} / Python {version} is needed: apt-get install python{version}-venv"
        )
    if subprocess.run([found, "-c", "import ensurepip, venv"], check=False, capture_output=True).returncode:
        raise LocalError(
            "缺少 venv，请以 root 运行 / venv is missing; run this as root: apt-get install python3-venv"
        )
    return found


def build_web(node: Path) -> None:
    """Build the agent desktop, unless what is built came from these very files. node: the folder of Node."""
    if not (WEB / "package.json").exists():
        raise LocalError(f"{WEB} 不存在 / does not exist")
    marker = WEB / "node_modules/.gonghai.json"
    done: dict[str, str] = json.loads(marker.read_text()) if marker.exists() else {}
    lock = hashlib.sha256((WEB / "package-lock.json").read_bytes()).hexdigest()
    sources = digest(WEB)
    if (WEB / "dist/index.html").exists() and done == {"lock": lock, "sources": sources}:
        return
    environment = {**os.environ, "PATH": f"{node}:{os.environ['PATH']}"}
    if done.get("lock") != lock:
        with step("npm"):
            run(
                ["npm", "ci", "--ignore-scripts", "--no-fund", "--no-audit"], cwd=WEB, environment=environment
            )
            marker.write_text(json.dumps({"lock": lock}))
    with step("web"):
        run(["npm", "run", "build"], cwd=WEB, environment=environment)
        marker.write_text(json.dumps({"lock": lock, "sources": sources}))


def digest(folder: Path) -> str:
    """Return a hash over the names and contents of a folder's files, without what is installed or built
    there."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and parts[0] not in ("node_modules", "dist"):
            total.update(f"{'/'.join(parts)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def node_directory() -> Path:
    """Return the folder of a Node that is new enough: the machine's, else one in .venv."""
    for found in (shutil.which("node"), VENV / "bin/node"):
        if found and Path(found).exists():
            said = subprocess.run([found, "--version"], check=False, capture_output=True, text=True).stdout
            version = re.match(r"v(\d+)", said)
            if version and int(version[1]) >= OLDEST_NODE:
                return Path(found).parent
    with step("Node"):
        run([str(VENV_PYTHON), *PIP, "--require-hashes", "-r", str(NODE_LOCK)])
    return VENV / "bin"


def unpack_asterisk(suites: Iterable[str]) -> None:
    """Unpack Asterisk of each of these Debian suites where it is not yet."""
    for suite in suites:
        with step("Asterisk" if suite == SUITE else f"Asterisk {suite}"):
            unpack(reachable_directory(CACHE, ordinary_account()), suite)


def run(command: Sequence[str], *, cwd: Path = ROOT, environment: Mapping[str, str] | None = None) -> None:
    """Run a command and show what it says only when it fails; raises LocalError then."""
    # A password prompt of sudo goes to the terminal by itself.
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        said = "\n".join(done.stdout.splitlines()[-40:])
        raise LocalError(f"{said}\n失败 / failed ({done.returncode}): {' '.join(command[:4])}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
