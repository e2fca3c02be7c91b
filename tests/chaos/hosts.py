"""A host for each stateless process: a network namespace with an address of its own, and a cable onto a bridge.

    this network, of our own        198.18.0.1 on the bridge: the stores, the load, and what is not stateless
        identity-1                  198.18.0.2 on eth0, whose other end is a port of the bridge
        ...

A host whose cable is pulled reaches nobody and is reached by nobody: neither who calls it nor its stores. The bridge
lives in a namespace too, which nothing leads out of: nothing of the machine's own network is touched, and the kernel
takes everything away with the last process in it, whatever ended that.
"""

import os
import subprocess
import sys
from dataclasses import replace
from typing import Final

from deploy.local.process import Program
from deploy.local.stores import LOOPBACK
from deploy.local.table import Plan, Site, product
from tests.chaos.network import led_over

# Addresses for tests of devices that are connected with each other (RFC 2544, annex C.2.2).
NETWORK: Final = "198.18.0"
HUB: Final = f"{NETWORK}.1"
# Names the network that we were started in.
OUTSIDE: Final = "CHAOS_OUTSIDE"

APART: Final = ("unshare", "--net")
# What has to be possible: a bridge, and a cable into the network of another process.
TRY: Final = "ip link add hub type bridge && ip link add one type veth peer name eth0 netns $$"
# Keeps a network until it is killed. The end of its starter ends it.
KEEP: Final = ("setpriv", "--pdeathsig=KILL", *APART, "sh", "-c", "echo there && exec sleep infinity")


def go_apart() -> bool:
    """Go on in a network of our own, which starts this program anew; return False where none can be made."""
    here = os.readlink("/proc/self/ns/net")
    if outside := os.environ.get(OUTSIDE):
        return here != outside
    if subprocess.run([*APART, "sh", "-c", TRY], check=False, capture_output=True).returncode == 0:
        os.environ[OUTSIDE] = here
        sys.stdout.flush()
        os.execvp(APART[0], [*APART, *sys.orig_argv])  # noqa: S606 - ourselves, without a shell
    return False


class Host:
    """A network namespace, by the end of its cable at the bridge."""

    def __init__(self, number: int) -> None:
        self.address = f"{NETWORK}.{number}"
        self._port = f"host{number}"
        self._keeper = subprocess.Popen(KEEP, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert self._keeper.stdout
        # It says so once it is in its own network.
        self._keeper.stdout.readline()
        self.enter = ("nsenter", f"--target={self._keeper.pid}", "--net")
        _ip("link", "add", self._port, "type", "veth", "peer", "name", "eth0", "netns", str(self._keeper.pid))
        _ip("link", "set", self._port, "master", "hub", "up")
        for words in (
            ("link", "set", "lo", "up"),
            ("address", "add", f"{self.address}/24", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
        ):
            subprocess.run([*self.enter, "ip", *words], check=True)

    def pull(self) -> None:
        """Pull its cable."""
        _ip("link", "set", self._port, "down")

    def plug(self) -> None:
        """Plug it in again."""
        _ip("link", "set", self._port, "up")

    def close(self) -> None:
        """Let the kernel take it away."""
        self._keeper.kill()
        self._keeper.communicate()


class Hosts:
    """The hosts of a stack, by the name of the process on each; `table` makes them. `stateless`: kinds of process."""

    name = "network namespaces"
    host = HUB

    def __init__(self, stateless: tuple[str, ...]) -> None:
        self._stateless = stateless
        self._hosts: dict[str, Host] = {}
        _ip("link", "set", "lo", "up")
        _ip("link", "add", "hub", "type", "bridge")
        _ip("address", "add", f"{HUB}/24", "dev", "hub")
        _ip("link", "set", "hub", "up")

    def __getitem__(self, name: str) -> Host:
        return self._hosts[name]

    def __contains__(self, name: str) -> bool:
        return name in self._hosts

    def table(self, site: Site) -> Plan:
        """Lay out the product as it is, each stateless process on a host of its own."""
        plan = product(site)
        moved = {}
        for program in [each for tier in plan.tiers for each in tier]:
            if program.name.partition("-")[0] in self._stateless:
                host = self._hosts[program.name] = Host(len(self._hosts) + 2)
                if "listen" in program.ports:
                    port = program.ports["listen"]
                    moved[f"{LOOPBACK}:{port}"] = f"{host.address}:{port}"
        return led_over(plan, moved, self._placed)

    def close(self) -> None:
        """Take the hosts away; the bridge goes with us."""
        for host in self._hosts.values():
            host.close()

    def _placed(self, program: Program) -> Program:
        if program.name not in self._hosts:
            return program
        host = self._hosts[program.name]
        return replace(
            program,
            argv=[*host.enter, *program.argv],
            env={**program.env, "BIND_ADDRESS": host.address, "METRICS_ADDRESS": host.address},
            health=program.health.replace(f"//{LOOPBACK}:", f"//{host.address}:"),
        )


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
