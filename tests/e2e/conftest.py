"""The running system, as `make demo` starts it, with two gateways and two replicas of each api."""

import contextlib
import io
import itertools
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from kombu import Connection
from playwright.sync_api import Browser, sync_playwright

from deploy.local.health import answers
from deploy.local.process import Process
from deploy.local.stack import Stack
from services.__main__ import load
from services.chassis.amqp import read_manifest
from services.chassis.dead_letters import count
from services.chassis.ids import new_id
from services.chassis.settings import Settings
from services.kernel.phones import match_number
from tests.e2e.company import PASSWORD, Company
from tests.e2e.desk import Desk, Refused
from tests.e2e.screen import DESKTOP, Screen
from tests.support.browser import launch
from tests.support.until import until

# How long a phone rings before it is answered, in seconds: long enough to look at the ringing page twice.
RING_S = 6.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the first story time to start everything."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(400))


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Every process of the product over real parts."""
    given = {**os.environ, "PROMETHEUS": "yes"}
    with Stack(api_replicas=2, gateway_replicas=2, ring_s=RING_S, given=given, say=print) as stack:
        yield stack


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser; gone with the file: its event loop would be in the way of other tests'."""
    with sync_playwright() as playwright:
        chromium = launch(playwright)
        yield chromium
        chromium.close()


@dataclass(frozen=True)
class Operator:
    """Whoever runs the machine: the commands that are not on the network.

    addresses: the gateways in turn, so that the stories are spread over both.
    """

    stack: Stack
    addresses: Iterator[str]

    def run(self, service: str, command: str, *words: str, **environment: str) -> str:
        """Run a command of a service in the stack's environment, without a process of its own; return its words."""
        environ = {**self.stack.plan.environment, **environment}
        (loaded,) = load([service])
        runtime = loaded.runtime(Settings.read(environ), environ)
        with contextlib.redirect_stdout(io.StringIO()) as said:
            status = loaded.commands[command](runtime, words)
        runtime.store.close()
        assert status == 0, said.getvalue()
        return said.getvalue()

    def dead_letters(self) -> int:
        """Return how many events nobody could handle."""
        with Connection(self.stack.stores.amqp_url) as connection:
            return sum(count(connection, entry["queue"]) for entry in read_manifest())

    def found(self, name: str, database: str = "main") -> Company:
        """Create a tenant with its administrator."""
        slug = f"t{new_id().replace('-', '')[-10:]}"
        self.run(
            *("identity", "create-tenant", "--slug", slug, "--name", name, "--database", database),
            *("--admin", "admin", "--admin-name", "管理员"),
            ADMIN_PASSWORD=PASSWORD,
        )
        url = next(self.addresses)
        company = Company(url, slug, Desk.sign_in(url, slug, "admin", PASSWORD))
        settings = company.admin.get("customers:settings")["settings"]
        company.admin.patch("customers:settings", settings={**settings, "registrationRequired": False})
        return company

    def tenant_id(self, slug: str) -> str:
        """Return a tenant's id as the directory lists it."""
        rows = [line.split("\t") for line in self.run("identity", "list-tenants").splitlines()]
        return next(row[2] for row in rows if row[0] == slug)


@pytest.fixture(scope="session")
def operator(stack: Stack) -> Operator:
    """The machine's operator."""
    return Operator(stack, itertools.cycle(stack.plan.addresses))


@pytest.fixture
def company(operator: Operator) -> Iterator[Company]:
    """A tenant nobody used before."""
    company = operator.found("云海贸易")
    yield company
    company.close()


@pytest.fixture(scope="session", autouse=True)
def shop(operator: Operator) -> Iterator[Company]:
    """The tenant that has the PBX's lines and the modem: numbers and SIMs belong to one tenant.

    It comes first: a modem that is nobody's goes to the only tenant there is.
    """
    shop = operator.found("门店")
    tenant_id = operator.tenant_id(shop.slug)
    operator.run("telephony", "line", "main", tenant_id, "did", "4000")
    operator.run("telephony", "sim", "main", tenant_id, "modem0")
    yield shop
    shop.close()


@pytest.fixture
def website(request: pytest.FixtureRequest) -> Iterator[Desk]:
    """An outside source with an API key of the test's tenant that may capture leads and nothing else."""
    owner: Company = request.getfixturevalue("company" if "company" in request.fixturenames else "shop")
    secret = owner.admin.post("apiKeys", name="官网", rights=["leads.capture"])["secret"]
    desk = Desk(owner.url, token=secret)
    yield desk
    desk.close()


@pytest.fixture
def sign_in(browser: Browser, company: Company) -> Iterator[Callable[[str, str], Screen]]:
    """Sign somebody in on a page of their own."""
    with ExitStack() as opened:

        def sign_in_(login: str, name: str) -> Screen:
            context = browser.new_context(
                locale="zh-CN", viewport={"width": DESKTOP[0], "height": DESKTOP[1]}
            )
            opened.callback(context.close)
            screen = Screen(context.new_page())
            screen.page.goto(company.url)
            for field, text in (("tenant", company.slug), ("login", login), ("password", PASSWORD)):
                screen.fill(f"signin-{field}", text)
            screen.click("signin-submit")
            screen.says("user-name", name)
            return screen

        yield sign_in_


@dataclass(frozen=True)
class Inbox:
    """What reached the air through the modem emulator."""

    file: Path

    def all(self) -> list[dict[str, Any]]:
        """Return every message, oldest first."""
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        return [json.loads(line) for line in lines if line.strip()]

    def to(self, mobile: str) -> list[dict[str, Any]]:
        """Return the messages to a mobile."""
        return [
            message for message in self.all() if match_number(str(message["number"])) == match_number(mobile)
        ]


@pytest.fixture
def inbox(stack: Stack) -> Inbox:
    """The modem emulator's inbox."""
    return Inbox(stack.inbox)


Unique = Callable[[str], str]


@pytest.fixture
def unique() -> Unique:
    """Return a maker of logins that nobody has yet."""
    return lambda stem: f"{stem}{new_id().replace('-', '')[-8:]}"


@pytest.fixture(autouse=True)
def _everything_is_up(stack: Stack) -> None:
    """Begin each story on a whole system, whatever the one before has killed."""
    for name in stack.processes:
        stack.wait_healthy(name)
    until(lambda: all(answers(f"{url}/healthz") for url in stack.plan.addresses), timeout_s=30)


class Seat(Protocol):
    """Seat a new person of that name and role at an extension of the shop: login and desk, signed on."""

    def __call__(self, name: str, extension: str, role: str = "sales_rep") -> tuple[str, Desk]: ...


@pytest.fixture
def seat(stack: Stack, shop: Company, unique: Unique) -> Seat:
    """Return what seats people where the queue rings them."""

    def take(name: str, extension: str, role: str = "sales_rep") -> tuple[str, Desk]:
        login = unique("agent")
        desk = shop.hire(login, name, role)
        people = {person["login"]: person for person in shop.admin.get("people", pageSize=200)["people"]}
        # A test before may have left somebody there.
        others = [person for person in people.values() if person.get("extension") == extension]
        for person, now in [*((other, "") for other in others), (people[login], extension)]:
            shop.admin.patch(
                f"people/{person['personId']}", person={**person, "extension": now}, updateMask="extension"
            )

        def signed_on() -> bool:
            # The extension's event may still be on its way.
            try:
                return bool(desk.post("agent:signOn", extension=extension)["extension"] == extension)
            except Refused:
                return False

        pbx = stack.pbx
        assert pbx
        until(signed_on, timeout_s=30)
        # A call that came before the PBX heard that the pause of who sat here is over would ring everybody else.
        until(lambda: pbx.takes_calls(extension), timeout_s=30)
        return login, desk

    return take


Ring = Callable[[str, float], Process]


@pytest.fixture
def ring(stack: Stack) -> Iterator[Ring]:
    """Let a mobile call the sales queue, for so many seconds from the PBX's answer on: ringing counts too."""
    calls: list[Process] = []

    def place(mobile: str, seconds: float) -> Process:
        assert stack.pbx
        calls.append(stack.pbx.call(mobile, seconds=seconds))
        return calls[-1]

    yield place
    for call in calls:
        call.stop()
