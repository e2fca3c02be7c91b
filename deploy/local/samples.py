"""Fill a running demo with a company to play with: python -m deploy.local.samples, in a stack's environment.

Everything that the public API can do is done through it, at GATEWAY_URL, under request ids that are derived
from what is made: a run that was cut short goes on where it was, and one that is repeated changes nothing.
Only two things have no API and come from the operator's side: the tenant with its departments and lines
(commands of the services), and customers that were neglected for 89 days (rows).

Every name and number here is made up.
"""

from __future__ import annotations

import base64
import io
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
from sqlalchemy import select

from deploy.local.errors import LocalError
from deploy.local.process import wait_until
from services.chassis.clock import utc_now
from services.chassis.db import Store
from services.chassis.ids import derive_id, new_id
from services.chassis.service import Service
from services.chassis.settings import Settings
from services.chassis.tenancy import Tenant
from services.customers.store.rules import sweep_start
from services.customers.store.tables import Base, Customer
from services.customers.workflows.contracts import Sweep
from services.identity.__main__ import SERVICE as IDENTITY
from services.telephony.__main__ import SERVICE as TELEPHONY

Json = dict[str, Any]

SLUG, NAME = "yunhai", "云海"
# Of every user of the demo, which listens on loopback only; a real tenant has no default password.
PASSWORD = "yunhai-demo-2026"  # noqa: S105 - it is printed, on purpose
# The one who calls in `make call FROM=13800138000`.
CALLER, CALLER_NAME, CALLER_CONTACT = "13800138000", "上海云帆国际贸易有限公司", "王小明"
# The caller's company again, as somebody else wrote it down: what a scan for duplicates finds.
CALLER_AGAIN = "云帆国际贸易（上海）有限责任公司"
# What two who say that they are different companies ask a price for.
PARTS = (
    {"product": "非标法兰", "specification": "DN80 PN16 304 厚12mm"},
    {"product": "异径三通", "specification": "DN80x50 304"},
)
# The last thing that is made: where it is, the rest is too.
LAST_NAME = "杭州云栖数码科技有限公司"
# The number of the PBX to play with, and the modem.
DID = "4000"
MODEM = "modem0"
# An order that its owner leaves alone is reminded of after this.
HANDLE_WITHIN = "60s"


@dataclass(frozen=True)
class User:
    """Somebody to sign in as."""

    login: str
    name: str
    role: str
    title: str
    department: str = ""
    mobile: str = ""
    extension: str = ""


ADMIN = User("admin", "管理员", "admin", "管理员")
STAFF = (
    User("zhou", "周明", "director", "销售总监", mobile="13900001000"),
    User("wang", "王芳", "sales_manager", "华东销售经理", "华东", "13900001001"),
    User("li", "李雷", "sales_rep", "销售员", "华东", "13900001002", "1001"),
    User("zhang", "张伟", "sales_rep", "销售员", "华东", "13900001003", "1002"),
    User("chen", "陈静", "service_agent", "客服专员", "华南", "13900001004", "1003"),
    User("yang", "杨帆", "operations", "运营", mobile="13900001005"),
    User("qian", "钱莉", "finance", "财务", mobile="13900001006"),
)
DEPARTMENTS = ("华东", "华南")

CITIES = ("上海", "杭州", "苏州", "南京", "宁波", "无锡", "广州", "深圳", "佛山", "东莞")
# A white pixel as a PNG file: the payment proof of an order.
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsTj2FAAAAABJRU5ErkJggg=="
)
BRANDS = (
    "恒远",
    "瑞丰",
    "华盛",
    "金鼎",
    "博雅",
    "新科",
    "天成",
    "宏达",
    "嘉禾",
    "明德",
    "启航",
    "凯达",
    "正泰",
    "联创",
)
TRADES = (
    "机电设备",
    "包装材料",
    "医疗器械",
    "食品贸易",
    "建筑装饰",
    "电子科技",
    "纺织品",
    "物流",
    "环保工程",
)
SURNAMES, GIVEN_NAMES = (
    "赵钱孙周吴郑冯陈褚卫蒋沈韩杨",
    ("伟", "静", "敏", "强", "丽华", "建国", "晓东", "婷", "志远", "雪梅"),
)
FOLLOW_UPS = (
    "电话沟通，对方有采购计划，下周发报价。",
    "已拜访，负责人出差，约周四再谈。",
    "微信确认了规格，等对方内部审批。",
    "寄送样品，三天后回访。",
)


class Desk:
    """Somebody at work through the public HTTP API."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self._http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30)

    @staticmethod
    def sign_in(url: str, login: str) -> Desk:
        """Open a session; raises LocalError."""
        body = {"tenant": SLUG, "login": login, "password": PASSWORD}
        answer = httpx.post(f"{url}/api/v1/session", params={"token": "true"}, json=body, timeout=30)
        return Desk(url, str(_read(answer)["sessionToken"]))

    def get(self, path: str, **query: str | int) -> Json:
        """Ask for something; raises LocalError."""
        return _read(self._http.get(f"/api/v1/{path}", params=query))

    def post(self, key: str, path: str, **body: Any) -> Json:
        """Make what `key` names, once; raises LocalError."""
        return _read(self._http.post(f"/api/v1/{path}", json=body | {"requestId": derive_id("samples", key)}))

    def patch(self, key: str, path: str, **body: Any) -> Json:
        """Change what `key` names, once; raises LocalError."""
        return _read(
            self._http.patch(f"/api/v1/{path}", json=body | {"requestId": derive_id("samples", key)})
        )


def _read(answer: httpx.Response) -> Json:
    if not answer.is_success:
        raise LocalError(
            f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text}"
        )
    body: Json = answer.json()
    return body


def operate(service: Service, command: str, *words: str, **environment: str) -> str:
    """Run a command of the product inside this process; raises LocalError with what it said."""
    runtime = service.runtime(Settings.read(os.environ), {**os.environ, **environment})
    with redirect_stdout(io.StringIO()) as said, redirect_stderr(said):
        status = service.commands[command](runtime, words)
    runtime.store.close()
    if status:
        raise LocalError(f"{service.name} {command}: {said.getvalue().strip()}")
    return said.getvalue()


def our_tenant() -> Tenant | None:
    """Return the demo's tenant if it is there."""
    rows = (line.split("\t") for line in operate(IDENTITY, "list-tenants").splitlines())
    return next((Tenant(tenant_id, database) for slug, database, tenant_id, _ in rows if slug == SLUG), None)


def found_tenant() -> Tenant:
    """Return the demo's tenant, created if it is not there, with its telephone lines and its SIM."""
    if our_tenant() is None:
        words = ("--slug", SLUG, "--name", NAME, "--admin", ADMIN.login, "--admin-name", ADMIN.name)
        operate(IDENTITY, "create-tenant", *words, ADMIN_PASSWORD=PASSWORD)
    tenant = our_tenant()
    if tenant is None:
        raise LocalError(f"租户 {SLUG} 不存在 / the tenant {SLUG} is not there")
    operate(TELEPHONY, "line", tenant.database, tenant.id, "did", DID)
    operate(TELEPHONY, "sim", tenant.database, tenant.id, MODEM)
    return tenant


def hire(url: str, admin: Desk) -> dict[str, Desk]:
    """Add departments and people; return everybody's desk, and the ids under "<login>.id"."""
    known = {item["name"] for item in admin.get("departments")["departments"]}
    for department in DEPARTMENTS:
        if department not in known:
            operate(IDENTITY, "create-department", "--tenant", SLUG, "--name", department)
    ids = {item["name"]: item["departmentId"] for item in admin.get("departments")["departments"]}
    for user in STAFF:
        person = {
            "login": user.login,
            "name": user.name,
            "roles": [user.role],
            "departmentId": ids[user.department or NAME],
            "mobile": user.mobile,
            "extension": user.extension,
            "active": True,
        }
        admin.post(f"person {user.login}", "people", person=person, password=PASSWORD)
    return {user.login: Desk.sign_in(url, user.login) for user in STAFF}


def person_id(admin: Desk, login: str) -> str:
    """Return somebody's id."""
    return str(next(p["personId"] for p in admin.get("people")["people"] if p["login"] == login))


def composed_customers(count: int) -> Iterator[Json]:
    """Yield customers that differ in name and number, the same each time."""
    for index in range(count):
        city = CITIES[index % len(CITIES)]
        brand = BRANDS[index % len(BRANDS)]
        trade = TRADES[index % len(TRADES)]
        contact = SURNAMES[index % len(SURNAMES)] + GIVEN_NAMES[index // 3 % len(GIVEN_NAMES)]
        yield {
            "name": f"{city}{brand}{trade}有限公司",
            "region": city,
            "businessType": trade,
            "level": "ABC"[index % 3],
            "address": f"{city}市示范路{index + 1}号",
            "phones": [{"number": f"1380200{index:04d}"}],
            "contacts": [{"name": contact, "title": "采购", "phones": [{"number": f"1370200{index:04d}"}]}],
        }


def fill_pools_and_customers(admin: Desk, desks: dict[str, Desk]) -> None:
    """Make 201 customers: the caller's, twice, the reps' own, and those in the pools."""
    east = next(d["departmentId"] for d in admin.get("departments")["departments"] if d["name"] == "华东")
    pool = {
        "name": "华东公海",
        "rule": {"idleDays": 90, "warnDays": 1},
        "departmentIds": [east],
        "dailyClaims": 20,
    }
    east_pool = admin.post("pool", "pools", pool=pool)["pool"]["poolId"]
    common_pool = next(p["poolId"] for p in admin.get("pools")["pools"] if p["poolId"] != east_pool)
    caller = {
        "name": CALLER_NAME,
        "region": "上海",
        "businessType": "国际贸易",
        "level": "A",
        "phones": [{"number": "021-62881234"}],
        "contacts": [{"name": CALLER_CONTACT, "title": "总经理", "phones": [{"number": CALLER}]}],
    }
    caller_id = desks["li"].post("customer caller", "customers", **caller)["customer"]["customerId"]
    desks["li"].post("follow caller", f"customers/{caller_id}/followUps", text=FOLLOW_UPS[0])
    again = {"name": CALLER_AGAIN, "region": "上海", "phones": [{"number": "021-62881235"}]}
    desks["zhang"].post("customer caller again", "customers", **again)

    def make(item: tuple[int, Json]) -> None:
        index, customer = item
        where = ("li", "zhang", "li", "zhang", "pool")[index % 5]
        key = f"customer {index}"
        if where == "pool":
            pool_id = (common_pool, east_pool)[index // 5 % 2]
            admin.post(key, "customers", **customer, poolId=pool_id)
            return
        made = desks[where].post(key, "customers", **customer)["customer"]
        if index % 3 == 0:
            text = FOLLOW_UPS[index // 3 % len(FOLLOW_UPS)]
            desks[where].post(f"follow {index}", f"customers/{made['customerId']}/followUps", text=text)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(make, enumerate(composed_customers(199))))


def bring_leads(admin: Desk, desks: dict[str, Desk]) -> list[Json]:
    """Capture twelve leads as a website would, and assign six; return those, each with its owner's login."""
    # The key's secret is shown once, so each run that comes so far makes its own.
    key = admin.post(f"key {new_id()}", "apiKeys", name="官网表单", rights=["leads.capture"])["secret"]
    website = Desk(admin.url, key)
    owners = {login: person_id(admin, login) for login in ("li", "zhang")}
    assigned = []
    for index in range(12):
        lead = website.post(
            f"lead {index}",
            "leads:capture",
            source="website",
            sourceKey=f"sample-{index}",
            name=SURNAMES[-index - 1] + GIVEN_NAMES[index % len(GIVEN_NAMES)],
            company=f"{CITIES[index % len(CITIES)]}{BRANDS[-index - 1]}智能制造有限公司",
            phone=f"1360200{index:04d}",
            note="官网留言：请联系我们报价",
        )["lead"]
        if index < 6:
            login = ("li", "zhang")[index % 2]
            admin.post(f"assign {index}", f"leads/{lead['leadId']}:assign", ownerId=owners[login])
            assigned.append({**lead, "login": login})
    return assigned


def submit_order(admin: Desk, desk: Desk, order: Json) -> None:
    """Quote, fill an order in with product, contract and payment proof, and submit it."""
    given = {"code": "CNC-850", "name": "数控加工中心", "unit": "台", "price": "13000", "active": True}
    product = admin.post("product", "products", product=given)["product"]
    desk.post(
        "quote",
        "quotes",
        quote={
            "title": "设备出口报价",
            "customerId": order["customerId"],
            "customerName": order["customerName"],
            "mode": "QUOTE_MODE_CIF",
            "currency": "USD",
            "portOfLoading": "上海",
            "portOfDestination": "Hamburg",
            "freight": "800",
            "insurance": "55.50",
            "validUntil": "2099-12-31",
            "terms": "T/T，收款后 30 天内发货。",
            "lines": [{"productId": product["productId"], "quantity": "2", "unitPrice": "1800"}],
        },
    )
    path = f"orders/{order['orderId']}"
    lines = [{"productId": product["productId"], "quantity": "2"}]
    desk.post("order lines", f"{path}:update", version=order["version"], lines=lines)
    desk.post(
        "contract",
        "contracts",
        title="设备采购合同",
        orderId=order["orderId"],
        startDate="2026-01-01",
        endDate="2027-12-31",
    )
    desk.post(
        "payment proof",
        "attachments",
        kind="ATTACHMENT_KIND_PAYMENT_PROOF",
        subjectId=order["orderId"],
        name="银行回单.png",
        content=base64.b64encode(PIXEL).decode(),
    )
    desk.post("submit", f"{path}:submit")


def win_orders(admin: Desk, desks: dict[str, Desk], leads: list[Json]) -> None:
    """Win two opportunities: li's order waits for its reminder, zhang's for its approvers."""
    for index, (lead, amount) in enumerate(zip(leads, ("8800", "26000"), strict=False)):
        desk = desks[lead["login"]]
        path = f"leads/{lead['leadId']}"
        desk.post(f"lead follow {index}", f"{path}/followUps", text="已电话沟通，确认采购意向。")
        opportunity = {"name": f"{lead['company']}设备采购", "amount": amount}
        converted = desk.post(
            f"convert {index}", f"{path}:convert", createContact=True, opportunity=opportunity
        )
        opportunity_id = converted["opportunityId"]
        desk.post(f"win {index}", f"opportunities/{opportunity_id}:win")
        order = _awaited(lambda d=desk, o=opportunity_id: _order_of(d, o))  # type: ignore[misc]  # bound at once
        if lead["login"] == "zhang":
            submit_order(admin, desk, order)
    for lead in leads[2:4]:
        desks[lead["login"]].post(
            f"lead follow {lead['leadId']}", f"leads/{lead['leadId']}/followUps", text=FOLLOW_UPS[2]
        )


def pursue_opportunities(admin: Desk, desks: dict[str, Desk], leads: list[Json]) -> None:
    """Convert two leads whose opportunities are on their way, one stage apart."""
    stages = [stage["stageId"] for stage in admin.get("opportunityStages")["stages"]]
    for index, (lead, amount) in enumerate(zip(leads, ("52000", "118000"), strict=True)):
        desk = desks[lead["login"]]
        opportunity = {"name": f"{lead['company']}产线改造", "amount": amount}
        converted = desk.post(
            f"pursue {index}", f"leads/{lead['leadId']}:convert", createContact=True, opportunity=opportunity
        )
        path = f"opportunities/{converted['opportunityId']}"
        desk.post(f"move {index}", f"{path}:move", stageId=stages[index + 1])
        day = (utc_now() + timedelta(days=30 * (index + 1))).date().isoformat()
        version = desk.get(path)["opportunity"]["version"]
        desk.post(
            f"expect {index} {day}",
            f"{path}:update",
            version=version,
            amount=amount,
            expectedCloseDate=day,
        )


def ask_twice(desks: dict[str, Desk]) -> None:
    """Let two inquirers ask two reps for the same parts, and have the whole base looked through once."""
    asked = (
        ("li", "王经理", "华通管道工程有限公司", "13702008881"),
        ("zhang", "张经理", "恒信机电设备公司", "13702008882"),
    )
    for login, name, company, phone in asked:
        desks[login].post(
            f"inquiry {login}", "inquiries", inquirerName=name, companyName=company, phone=phone, items=PARTS
        )
    desks["wang"].post("scan", "dedupe/scans")


def _order_of(desk: Desk, opportunity_id: str) -> Json | None:
    orders = desk.get("orders").get("orders", [])
    return next((order for order in orders if order.get("opportunityId") == opportunity_id), None)


def _awaited(look: Callable[[], Json | None]) -> Json:
    found: list[Json] = []

    def there() -> bool:
        answer = look()
        found.extend([answer] if answer else [])
        return bool(found)

    if not wait_until(there, 60):
        raise LocalError("订单没有生成 / the order was not generated within 60 s")
    return found[0]


def neglect_some(tenant: Tenant, owner_id: str) -> None:
    """Let five of somebody's customers be neglected: three are warned about soon, two fall back in minutes.

    There is no API to have done nothing for 89 days. The ledger is not touched: nobody's ownership changes
    here.
    """
    store = Store(Settings.read(os.environ).database_urls, Base.metadata, utc_now)
    with store.transaction(tenant) as tx:
        rows = tx.session.scalars(
            select(Customer)
            .where(
                Customer.tenant_id == tenant.id,
                Customer.owner_id == owner_id,
                Customer.pool_id.is_(None),
                Customer.last_evidence_time.is_(None),
            )
            .order_by(Customer.name)
            .limit(5)
            .with_for_update()
        ).all()
        for index, customer in enumerate(rows):
            soon = tx.now + timedelta(minutes=2 + index)
            left = timedelta(days=1) if index < 3 else timedelta()
            customer.own_time = customer.create_time = soon + left - timedelta(days=90)
            customer.reclaim_due_at = soon + left
            customer.warn_due_at = soon if left else None
            customer.warned_time = None if left else soon - timedelta(days=1)
            customer.version += 1
        tx.start_workflow(sweep_start(Sweep(tenant, "")))
    store.close()


def register_one(admin: Desk, desks: dict[str, Desk]) -> None:
    """Ask for approvers from now on, and leave one registration waiting for the manager."""
    settings = admin.get("customers:settings")["settings"]
    admin.patch("registration", "customers:settings", settings={**settings, "registrationRequired": True})
    customer = {"name": LAST_NAME, "region": "杭州", "phones": [{"number": "13702009999"}]}
    approver_id = person_id(admin, "wang")
    desks["zhang"].post("registration of the last", "customers", **customer, approverId=approver_id)


def is_filled(admin: Desk) -> bool:
    """Return whether a run before came to its end."""
    views = ("CUSTOMER_VIEW_REGISTRATIONS", "CUSTOMER_VIEW_ALL")
    return any(admin.get("customers", view=view, query=LAST_NAME).get("customers") for view in views)


def fill(url: str) -> None:
    """Fill the demo unless it is filled."""
    if our_tenant() and is_filled(Desk.sign_in(url, ADMIN.login)):
        return
    print("示例数据 / sample data …", flush=True)
    tenant = found_tenant()
    admin = Desk.sign_in(url, ADMIN.login)
    desks = hire(url, admin)
    admin.patch("orders", "orders:settings", settings={"handleWithin": HANDLE_WITHIN})
    fill_pools_and_customers(admin, desks)
    leads = bring_leads(admin, desks)
    win_orders(admin, desks, leads[:4])
    pursue_opportunities(admin, desks, leads[4:])
    ask_twice(desks)
    neglect_some(tenant, person_id(admin, "li"))
    register_one(admin, desks)


def users() -> str:
    """Say whom one can sign in as."""
    lines = [
        "",
        f"  租户 / tenant   {SLUG}",
        f"  密码 / password {PASSWORD}（仅用于演示 / for the demo only）",
    ]
    for user in (ADMIN, *STAFF):
        extension = f"  分机 / extension {user.extension}" if user.extension else ""
        lines.append(f"    {user.login:<8}{user.name}，{user.title}{extension}")
    lines += [
        "  可以看 / to look at:",
        f"    li      约 1 分钟后收到一条订单短信 / an order's SMS after {HANDLE_WITHIN}; 几分钟后有客户被收回公海 /",
        "            customers fall back into the pool within minutes",
        "    wang    待审批：一条客户报备和一张订单 / a registration and an order wait for approval;",
        "            疑似撞单：两位经理询同样的非标件 / two managers who ask for the same parts;",
        "            客户查重：同一家公司录了两次 / a company that was written down twice",
    ]
    return "\n".join(lines)


def main() -> int:
    """Fill the demo and print its users; return the exit status."""
    try:
        fill(os.environ["GATEWAY_URL"])
    except (LocalError, httpx.HTTPError) as error:
        print(error, file=sys.stderr)
        return 1
    print(users(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
