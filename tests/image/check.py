"""Build the image, and let the whole product run out of it as Compose and the chart run it; as root.

    make image-check                                    on bases made here from Debian's packages and PyPI's Node
    make image-check REGISTRY=mirror.example/library/   on the real bases

The builder is buildah, in a temporary folder that holds some gigabytes. Every process of a stack is then started in
the image with what the image says of itself (user, environment, entry point), its file system read-only, /tmp its own,
and no capability; stores are private ones beside it. The last line is one JSON object:

    bases, build_s, image_mb    what it was built on, how long that took, and the size of its files
    processes, ready_s          how many ran out of it, and how long from nothing until all were healthy
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from deploy.local.process import Process, Program
from deploy.local.stack import Stack
from deploy.local.table import ROOT, Plan, Site, product

DOCKERFILE = ROOT / "deploy/image/Dockerfile"
# What a company's own proxy is trusted by, if it has one, is in the machine's bundle.
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
PASSWORD = "a-password-for-tests"

# The two bases, as far as the Dockerfile sees them: where the interpreter is, and who is root.
STAND_INS = {
    "python": """
FROM scratch
ADD debian.tar /
COPY certificates /etc/ssl/certs/ca-certificates.crt
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
RUN ln -s /usr/bin/python3.11 /usr/local/bin/python
""",
    "node": """
FROM localhost/python:{python}
COPY node.lock /
RUN python -m venv /usr/local/node \\
    && /usr/local/node/bin/pip install --no-cache-dir --require-hashes {index} --requirement /node.lock \\
    && ln -s /usr/local/node/bin/node /usr/local/node/bin/npm /usr/local/bin/
""",
}

# $1: the image's files, $2: user:group, $3: folder, the rest: the command. Its own mounts end with it.
CONTAIN = r"""
set -e
root=$1 user=${2%:*} group=${2#*:} folder=$3
shift 3
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
exec chroot "$root" setpriv --reuid="$user" --regid="$group" --clear-groups --bounding-set=-all --inh-caps=-all \
    --no-new-privs --pdeathsig=KILL env --chdir="$folder" "$@"
"""


class Builder:
    """Buildah with a store of its own, which goes with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._base = ["buildah", "--root", str(folder / "store"), "--runroot", str(folder / "run")]

    def run(self, *words: str) -> str:
        """Run a command of buildah's and return what it prints; what a failed one said is shown."""
        done = subprocess.run([*self._base, *words], cwd=ROOT, check=False, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"buildah {words[0]}: {done.stdout[-4000:]}{done.stderr[-4000:]}")
        return done.stdout.strip()

    def build(self, tag: str, file: Path, context: Path, **arguments: str) -> None:
        """Build an image without a daemon, with the machine's own network."""
        given = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
        self.run(
            *("build", "--isolation", "chroot", "--network", "host", "--format", "docker"),
            *(*given, "--tag", tag, "--file", str(file), str(context)),
        )

    def close(self) -> None:
        """Give everything back."""
        self.run("rm", "--all")
        self.run("rmi", "--all", "--force")


def stand_ins(builder: Builder) -> str:
    """Make both bases of Debian's packages and the lock of Node; return the registry that has them."""
    tags = dict(re.findall(r"^FROM \$\{REGISTRY\}(\w+):(\S+)", DOCKERFILE.read_text(), re.MULTILINE))
    context = builder.folder / "bases"
    context.mkdir()
    subprocess.run(
        [
            *("mmdebstrap", "--quiet", "--variant=minbase", "--include=ca-certificates,python3.11-venv"),
            *("bookworm", str(context / "debian.tar"), *filter(None, [os.environ.get("DEBIAN_MIRROR")])),
        ],
        check=True,
    )
    shutil.copy(CERTIFICATES, context / "certificates")
    shutil.copy(ROOT / "deploy/local/node.lock", context)
    index = os.environ.get("PIP_INDEX_URL")
    for name, text in STAND_INS.items():
        file = context / f"{name}.Containerfile"
        file.write_text(text.format(python=tags["python"], index=f"--index-url={index}" if index else ""))
        builder.build(f"localhost/{name}:{tags[name]}", file, context)
        print(f"  ✓ {name}:{tags[name]} (stand-in)", flush=True)
    return "localhost/"


@dataclass(frozen=True)
class Image:
    """A built image: its files, and what it says of how to run it."""

    root: Path
    user: str
    folder: str
    environment: Mapping[str, str]
    entry: Sequence[str]

    def command(self, words: Sequence[str]) -> list[str]:
        """Return how to run a command of the image as a container does."""
        inside = ["sh", "-c", CONTAIN, "sh", str(self.root), self.user, self.folder]
        return ["unshare", "--mount", "--propagation", "private", *inside, *words]

    def holding(self, program: Program) -> Program:
        """Return the same program out of the image: only what Compose gives comes with it."""
        ours = {name: value for name, value in program.env.items() if name not in self.environment}
        return replace(
            program,
            # [python, -m, MODULE, ROLE]: the image's entry point is the first two.
            argv=self.command([*self.entry, *program.argv[2:]]),
            env={**ours, **self.environment, "RECORDINGS_URL": "/tmp/recordings"},  # noqa: S108 - the image's own
            cwd=Path("/"),
        )

    def table(self, site: Site) -> Plan:
        """Lay out the product as it is, each process out of the image."""
        plan = product(site)
        return replace(
            plan,
            migrate=self.holding(plan.migrate) if plan.migrate else None,
            tiers=[[self.holding(each) for each in tier] for tier in plan.tiers],
        )


def built(builder: Builder, registry: str) -> Image:
    """Build the image from the checkout, and lay its files open."""
    mirrors = {
        name: os.environ[variable]
        for name, variable in (("PIP_INDEX_URL", "PIP_INDEX_URL"), ("NPM_REGISTRY", "npm_config_registry"))
        if os.environ.get(variable)
    }
    builder.build("localhost/gonghai:check", DOCKERFILE, ROOT, REGISTRY=registry, **mirrors)
    said: dict[str, Any] = json.loads(builder.run("inspect", "--type", "image", "localhost/gonghai:check"))
    config = said["OCIv1"]["config"]
    container = builder.run("from", "localhost/gonghai:check")
    return Image(
        root=Path(builder.run("mount", container)),
        user=config["User"],
        folder=config["WorkingDir"],
        environment=dict(line.split("=", 1) for line in config["Env"]),
        entry=config["Entrypoint"],
    )


def confined(process: Process) -> bool:
    """Tell whether a process is nobody in particular, may do nothing special, and can write to its /tmp only."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    facts = {name: value.split() for name, _, value in (line.partition(":") for line in status.splitlines())}
    mounts = [line.split() for line in Path(f"/proc/{process.pid}/mounts").read_text().splitlines()]
    root = [options.split(",") for _, place, _, options, *_ in mounts if place == "/"][-1]
    return (
        set(facts["Uid"]) == set(facts["Gid"]) == {"10001"}
        and int(facts["CapEff"][0], 16) == int(facts["CapBnd"][0], 16) == 0
        and facts["NoNewPrivs"] == ["1"]
        and "ro" in root
    )


def used(stack: Stack, image: Image) -> None:
    """Do what a site does first: a tenant by the operator's command, the page, a session, a look at what is there."""
    words = ("services.identity", "create-tenant", "--slug", "acme", "--name", "某某公司")
    program = stack.processes["identity-1"].program
    subprocess.run(
        image.command([*image.entry, *words, "--admin", "admin", "--admin-name", "管理员"]),
        env={**program.env, "ADMIN_PASSWORD": PASSWORD},
        check=True,
        capture_output=True,
    )
    with httpx.Client(base_url=stack.address, timeout=30) as browser:
        page = browser.get("/").raise_for_status().text
        scripts = re.findall(r'<script[^>]* src="([^"]+)"', page)
        if not scripts:
            sys.exit(f"no script in the page: {page[:300]}")
        for script in scripts:
            browser.get(script).raise_for_status()
        login = {"tenant": "acme", "login": "admin", "password": PASSWORD}
        session = browser.post("/api/v1/session?token=true", json=login).raise_for_status().json()
        who = {"authorization": f"Bearer {session['sessionToken']}"}
        for path in ("departments", "customers:settings"):
            browser.get(f"/api/v1/{path}", headers=who).raise_for_status()


def main() -> int:
    """Build, run, look; 1 when a process of it is not confined."""
    parser = argparse.ArgumentParser(prog="python -m tests.image.check", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--registry", default="", help="where the real bases are; without it they are made here"
    )
    asked = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("需要 root / root is needed: what a container may not do, only root can take away")
    with ExitStack() as things:
        builder = Builder(Path(things.enter_context(tempfile.TemporaryDirectory(prefix="gonghai-image-"))))
        things.callback(builder.close)
        begin = time.monotonic()
        registry = asked.registry or stand_ins(builder)
        image = built(builder, registry)
        build_s = time.monotonic() - begin
        size = subprocess.run(["du", "-sxm", str(image.root)], check=True, capture_output=True, text=True)
        print(f"  ✓ image {build_s:.0f} s", flush=True)
        begin = time.monotonic()
        stack = things.enter_context(
            Stack(simulators=False, given={}, table=image.table, say=lambda line: print(line, flush=True))
        )
        ready_s = time.monotonic() - begin
        used(stack, image)
        ours = [stack.processes[each.name] for tier in stack.plan.tiers for each in tier]
        loose = [process.name for process in ours if not confined(process)]
        if loose:
            print(f"not confined: {loose}", file=sys.stderr)
        result = {
            "bases": "registry" if asked.registry else "stand-ins",
            "build_s": round(build_s),
            "image_mb": int(size.stdout.split()[0]),
            "processes": len(ours),
            "ready_s": round(ready_s, 1),
        }
    print(json.dumps(result))
    return 1 if loose else 0


if __name__ == "__main__":
    sys.exit(main())
