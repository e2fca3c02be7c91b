"""What lies between the processes in a chaos: links that can be pulled, and a table that leads everybody over them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from deploy.local.process import Program
from deploy.local.table import Plan, Site


class Link(Protocol):
    """What connects one process with the others."""

    def pull(self) -> None:
        """Let nothing pass, silently."""

    def plug(self) -> None:
        """Let everything pass again."""


class Network(Protocol):
    """The links of a stack, by the name of the process at their end, once `table` has laid them.

    `name` says what it is, `host` is the address of this machine that everybody finds.
    """

    name: str
    host: str

    def __getitem__(self, name: str) -> Link: ...

    def __contains__(self, name: str) -> bool: ...

    def table(self, site: Site) -> Plan:
        """Lay out the product as it is, with a link for each process that can have one."""

    def close(self) -> None:
        """Take everything away."""


def led_over(plan: Plan, moved: Mapping[str, str], placed: Callable[[Program], Program]) -> Plan:
    """Return a plan whose processes are `placed`, and whose servers are found at other addresses (host:port)."""

    def through(environment: Mapping[str, str]) -> dict[str, str]:
        return {
            name: _rewritten(value, moved) if name.endswith("_ADDRESS") else value
            for name, value in environment.items()
        }

    return replace(
        plan,
        tiers=[[placed(replace(each, env=through(each.env))) for each in tier] for tier in plan.tiers],
        environment=through(plan.environment),
        addresses=[_rewritten(address, moved) for address in plan.addresses],
    )


def _rewritten(text: str, moved: Mapping[str, str]) -> str:
    # "ipv4:127.0.0.1:5,127.0.0.1:51": whole addresses only.
    scheme, separator, rest = text.rpartition("//") if "//" in text else text.partition("ipv4:")
    return scheme + separator + ",".join(moved.get(address, address) for address in rest.split(","))
