"""What can be granted, the roles that every tenant begins with, and who may grant what.

A right is what a contract asks for in its `access` option: the list of all follows from the contracts, and only names
for people to read are written here.
"""

import importlib
import pkgutil
import re
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import crm
from crm.options.v1 import options_pb2

from services.chassis.errors import Forbidden, InvalidInput


class Scope(StrEnum):
    """How far a person sees: `services.kernel.visibility` says what each means."""

    SELF = "self"
    SUBORDINATES = "subordinates"
    REGIONS = "regions"
    DEPARTMENT_ONLY = "department_only"
    DEPARTMENT = "department"
    ALL = "all"


# Scopes by width, for show; which covers which is no matter of width alone: see `covers`.
WIDTH = {scope: width for width, scope in enumerate(Scope)}

# Stands in a role for every right, of releases to come too.
EVERY_RIGHT = "*"

# Modules by name: (Chinese, English).
MODULES = {
    "approvals": ("审批", "Approvals"),
    "attachments": ("附件", "Attachments"),
    "audit": ("审计", "Audit"),
    "calls": ("通话", "Calls"),
    "customers": ("客户", "Customers"),
    "departments": ("组织架构", "Departments"),
    "finance": ("财务", "Finance"),
    "integrations": ("系统集成", "Integrations"),
    "leads": ("线索", "Leads"),
    "numbers": ("电话号码", "Numbers"),
    "opportunities": ("商机", "Opportunities"),
    "orders": ("订单", "Orders"),
    "people": ("员工", "Staff"),
    "pools": ("公海", "Pools"),
    "products": ("产品", "Products"),
    "recordings": ("录音", "Recordings"),
    "roles": ("角色权限", "Roles"),
    "schedules": ("排班与请假", "Schedules"),
    "settings": ("系统设置", "Settings"),
    "sms": ("短信", "SMS"),
}

# What stands behind a right's dot: (Chinese, English).
OPERATIONS = {
    "agent": ("坐席接听", "take calls as an agent"),
    "assign": ("分配", "assign"),
    "bulk": ("群发", "send to many"),
    "capture": ("接收外部数据", "capture from outside"),
    "claim": ("领取", "claim"),
    "close": ("结单", "close"),
    "convert": ("转化", "convert"),
    "create": ("新建", "create"),
    "decide": ("审批决定", "decide"),
    "delete": ("删除", "delete"),
    "download": ("下载", "download"),
    "edit": ("编辑", "edit"),
    "edit_phones": ("修改号码", "change numbers"),
    "export": ("导出", "export"),
    "follow": ("跟进", "follow up"),
    "handle": ("处理", "handle"),
    "import": ("导入", "import"),
    "lock": ("锁定", "lock"),
    "manage": ("管理", "manage"),
    "merge": ("合并", "merge"),
    "play": ("播放", "play"),
    "reopen": ("重新打开", "reopen"),
    "restore": ("恢复", "restore"),
    "return": ("退回", "return"),
    "reveal": ("查看完整号码", "reveal"),
    "transfer": ("转移", "transfer"),
    "view": ("查看", "view"),
    "view_all": ("查看全部号码", "see all unmasked"),
}

# Asked for by a call's content, not by a method: numbers of customers that others own, unmasked.
CONTENT_RIGHTS = frozenset({"numbers.view_all"})


@dataclass(frozen=True)
class Right:
    """Something that a role can give. is_entry: opens its module; else it is one operation in it."""

    right: str
    is_entry: bool
    zh: str
    en: str


@dataclass(frozen=True)
class RightModule:
    """The rights of one part of the system, its entry first."""

    module: str
    zh: str
    en: str
    rights: tuple[Right, ...]


def _declared() -> frozenset[str]:
    """Return the rights that the contracts' access options ask for."""
    for found in pkgutil.walk_packages(crm.__path__, "crm."):
        if found.name.endswith("_pb2"):
            importlib.import_module(found.name)
    declared = {
        method.GetOptions().Extensions[options_pb2.access].right
        for found in list(sys.modules.values())
        if found.__name__.startswith("crm.") and hasattr(found, "DESCRIPTOR")
        for service in found.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    return frozenset(declared - {""})


# Every right there is.
ALL_RIGHTS = _declared() | CONTENT_RIGHTS


def catalogue() -> list[RightModule]:
    """Return every right by module; a word without a translation stands for itself."""
    modules: defaultdict[str, list[Right]] = defaultdict(list)
    for right in sorted(ALL_RIGHTS):
        module, _, operation = right.partition(".")
        zh, en = OPERATIONS.get(operation, (operation, operation))
        modules[module].append(Right(right, operation == "view", zh, en))
    return [
        RightModule(
            module,
            *MODULES.get(module, (module, module)),
            tuple(sorted(rights, key=lambda right: not right.is_entry)),
        )
        for module, rights in sorted(modules.items())
    ]


# What somebody who sells does.
SELLING = frozenset(
    {
        "attachments.download",
        "calls.agent",
        "calls.view",
        "customers.claim",
        "customers.create",
        "customers.edit",
        "customers.follow",
        "customers.lock",
        "customers.return",
        "customers.view",
        "leads.claim",
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


# What somebody reads who reviews orders and contracts, the papers behind them too.
REVIEWING = frozenset({"approvals.decide", "attachments.download", "customers.view", "orders.view"})


# A role's code.
CODE = re.compile(r"[a-z][a-z0-9_]{1,31}")


@dataclass(frozen=True)
class Role:
    """A named set of rights. code: unique in the tenant. name: for display. version: of its last change."""

    code: str
    name: str
    scope: Scope
    rights: frozenset[str]
    version: int = 1


# The role that has every right, whatever is stored of it.
ADMIN = "admin"

PRESET_ROLES = (
    Role(ADMIN, "管理员", Scope.ALL, ALL_RIGHTS),
    Role(
        "director",
        "销售总监",
        Scope.ALL,
        REVIEWING
        | {"calls.view", "leads.view", "numbers.view_all", "people.view", "recordings.play", "sms.view"},
    ),
    Role(
        "sales_manager",
        "销售经理",
        Scope.DEPARTMENT,
        SELLING
        | {
            "approvals.decide",
            "calls.handle",
            "customers.edit_phones",
            "customers.export",
            "customers.import",
            "leads.assign",
            "numbers.reveal",
            "people.view",
            "pools.manage",
            "products.manage",
            "schedules.manage",
            "sms.bulk",
            "sms.view",
        },
    ),
    Role("sales_rep", "销售员", Scope.SELF, SELLING),
    # Either of them reviews a submitted order where its flow says so (F179).
    Role("operations", "运营", Scope.ALL, REVIEWING | {"leads.view", "products.manage"}),
    Role("finance", "财务", Scope.ALL, REVIEWING | {"finance.manage"}),
    Role(
        "service_agent",
        "客服专员",
        # Whoever calls is somebody's customer: an agent finds each of them, with masked numbers.
        Scope.ALL,
        frozenset(
            {
                "calls.agent",
                "calls.handle",
                "calls.view",
                "customers.create",
                "customers.follow",
                "customers.view",
                "numbers.reveal",
                "recordings.play",
            }
        ),
    ),
)


PRESET_CODES = frozenset(role.code for role in PRESET_ROLES)


@dataclass(frozen=True)
class Grant:
    """What several roles give together. scope: the widest; also: those that it does not cover."""

    rights: frozenset[str]
    scope: Scope
    also: frozenset[Scope] = frozenset()

    @property
    def scopes(self) -> frozenset[Scope]:
        """Every scope that counts."""
        return self.also | {self.scope}


def covers(wide: Scope, narrow: Scope) -> bool:
    """Tell whether whoever has one scope sees all that another gives."""
    return (
        wide in (narrow, Scope.ALL)
        or narrow is Scope.SELF
        or (wide is Scope.DEPARTMENT and narrow is Scope.DEPARTMENT_ONLY)
    )


def together(roles: Iterable[Role]) -> Grant:
    """Return the rights of all roles and their scopes; no role sees only its own."""
    listed = list(roles)
    rights: frozenset[str] = frozenset().union(*(role.rights for role in listed))
    scope = max((role.scope for role in listed), key=WIDTH.__getitem__, default=Scope.SELF)
    return Grant(rights, scope, frozenset(role.scope for role in listed if not covers(scope, role.scope)))


def check_may_grant(granter: Grant, granted: Grant) -> None:
    """Raise Forbidden RIGHTS_BEYOND_OWN when somebody would give or take what the person does not have."""
    missing = sorted(granted.rights - granter.rights) + sorted(
        narrow.value for narrow in granted.scopes if not any(covers(wide, narrow) for wide in granter.scopes)
    )
    if missing:
        raise Forbidden(
            "RIGHTS_BEYOND_OWN",
            "不能授予或变更超出您自身权限的角色（{rights}）",
            "You cannot give or change rights beyond your own ({rights})",
            rights=", ".join(missing),
        )


def parse_code(text: str, field: str) -> str:
    """Return a role's code; raises InvalidInput CODE_INVALID."""
    if not CODE.fullmatch(text):
        raise InvalidInput(
            field,
            "CODE_INVALID",
            "角色代码应以小写字母开头，由2到32位小写字母、数字或 _ 组成",
            "A role's code has 2 to 32 lower-case letters, digits or _, a letter first",
        )
    return text


def parse_rights(rights: Iterable[str], field: str) -> frozenset[str]:
    """Return a role's rights; raises InvalidInput RIGHT_UNKNOWN."""
    given = frozenset(rights)
    unknown = sorted(given - ALL_RIGHTS)
    if unknown:
        raise InvalidInput(
            field,
            "RIGHT_UNKNOWN",
            "没有该权限：{rights}",
            "No such right: {rights}",
            rights=", ".join(unknown),
        )
    return given


def minimal_paths(paths: Iterable[str]) -> tuple[str, ...]:
    """Return department paths without those below another one of them, sorted."""
    kept: list[str] = []
    for path in sorted(set(paths)):
        if not kept or not path.startswith(kept[-1]):
            kept.append(path)
    return tuple(kept)
