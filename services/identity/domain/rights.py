"""What can be granted, the roles that every tenant begins with, and who may grant what.

A right's name is the one that a contract asks for in its `access` option; a test keeps both lists the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from services.chassis.errors import Forbidden


class Scope(StrEnum):
    """How far a person sees, narrowest first."""

    SELF = "self"
    DEPARTMENT = "department"
    ALL = "all"


# Scopes by width.
WIDTH = {Scope.SELF: 0, Scope.DEPARTMENT: 1, Scope.ALL: 2}

ALL_RIGHTS = frozenset(
    {
        "approvals.decide",
        "calls.agent",
        "calls.view",
        "customers.claim",
        "customers.create",
        "customers.follow",
        "customers.lock",
        "customers.return",
        "customers.view",
        "integrations.manage",
        "leads.assign",
        "leads.capture",
        "leads.convert",
        "leads.create",
        "leads.follow",
        "leads.view",
        # Numbers of customers that others own, unmasked: asked for by content, not by a method.
        "numbers.view_all",
        "opportunities.close",
        "orders.handle",
        "orders.view",
        "people.manage",
        "people.view",
        "pools.manage",
        "recordings.play",
        "settings.manage",
        "sms.view",
    }
)

# What somebody who sells does.
SELLING = frozenset(
    {
        "calls.agent",
        "calls.view",
        "customers.claim",
        "customers.create",
        "customers.follow",
        "customers.lock",
        "customers.return",
        "customers.view",
        "leads.convert",
        "leads.create",
        "leads.follow",
        "leads.view",
        "opportunities.close",
        "orders.handle",
        "orders.view",
        "recordings.play",
    }
)


@dataclass(frozen=True)
class Role:
    """A named set of rights. code: unique in the tenant. name: for display."""

    code: str
    name: str
    scope: Scope
    rights: frozenset[str]


PRESET_ROLES = (
    Role("admin", "管理员", Scope.ALL, ALL_RIGHTS),
    Role(
        "director",
        "销售总监",
        Scope.ALL,
        frozenset(
            {
                "approvals.decide",
                "calls.view",
                "customers.view",
                "leads.view",
                "numbers.view_all",
                "orders.view",
                "people.view",
                "recordings.play",
                "sms.view",
            }
        ),
    ),
    Role(
        "sales_manager",
        "销售经理",
        Scope.DEPARTMENT,
        SELLING | {"approvals.decide", "leads.assign", "people.view", "pools.manage", "sms.view"},
    ),
    Role("sales_rep", "销售员", Scope.SELF, SELLING),
    Role(
        "service_agent",
        "客服专员",
        # Whoever calls is somebody's customer: an agent finds each of them, with masked numbers.
        Scope.ALL,
        frozenset(
            {
                "calls.agent",
                "calls.view",
                "customers.create",
                "customers.follow",
                "customers.view",
                "recordings.play",
            }
        ),
    ),
)


@dataclass(frozen=True)
class Grant:
    """What several roles give together."""

    rights: frozenset[str]
    scope: Scope


def together(roles: Iterable[Role]) -> Grant:
    """Return the rights of all roles and the widest of their scopes; no role sees only its own."""
    listed = list(roles)
    rights: frozenset[str] = frozenset().union(*(role.rights for role in listed))
    scope = max((role.scope for role in listed), key=WIDTH.__getitem__, default=Scope.SELF)
    return Grant(rights, scope)


def check_may_grant(granter: Grant, granted: Grant) -> None:
    """Raise Forbidden RIGHTS_BEYOND_OWN when somebody would give or take what the person does not have."""
    missing = sorted(granted.rights - granter.rights)
    if missing or WIDTH[granted.scope] > WIDTH[granter.scope]:
        raise Forbidden(
            "RIGHTS_BEYOND_OWN",
            "不能授予或变更超出您自身权限的角色（{rights}）",
            "You cannot give or change rights beyond your own ({rights})",
            rights=", ".join(missing) or granted.scope.value,
        )
