"""People at work on every gateway: a fresh tenant, and writers who send again, by the next gateway, until it is done.

As the desktop does: the same request id again, so that what was done already is not done twice.
"""

import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from deploy.local.stack import Stack
from deploy.local.table import ROOT
from services.chassis.ids import new_id
from tests.support.unique import letters

PASSWORD = "a-password-for-loads"
# What passes: a part is away, or too much is at work.
PASSING = (429, 502, 503, 504)
# Longest wait for one answer, in seconds: a frozen gateway never answers.
ANSWER_S = 10.0


class Person:
    """Somebody with a session that any gateway takes. patience_s: how long to send a request again."""

    def __init__(self, addresses: Sequence[str], token: str, patience_s: float = 120.0) -> None:
        self._clients = [
            httpx.Client(
                base_url=address,
                headers={"authorization": f"Bearer {token}"} if token else {},
                timeout=ANSWER_S,
            )
            for address in addresses
        ]
        self._turn = itertools.cycle(range(len(self._clients)))
        self._patience_s = patience_s

    def send(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send until it is answered; raises httpx.HTTPStatusError for a refusal, TimeoutError without an answer."""
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                answer = self._clients[next(self._turn)].request(method, f"/api/v1/{path}", json=body)
                if answer.status_code not in PASSING:
                    answer.raise_for_status()
                    found: dict[str, Any] = answer.json() if answer.content else {}
                    return found
            except httpx.TransportError:
                pass
            if time.monotonic() > deadline:
                raise TimeoutError(f"{method} {path}")
            time.sleep(0.1)

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        """Send a change under a request id of its own."""
        return self.send("POST", path, {"requestId": new_id(), **body})

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            client.close()


def found(stack: Stack, people: int) -> tuple[str, str, list[Person]]:
    """Make a tenant with so many reps; return its short name, its first pool's id, and the people, signed in."""
    slug = f"load{new_id()[-8:]}"
    environment = {**os.environ, **stack.plan.environment, "ADMIN_PASSWORD": PASSWORD}
    words = ("--slug", slug, "--name", "压测", "--admin", "admin", "--admin-name", "管理员")
    subprocess.run(
        [sys.executable, "-m", "services.identity", "create-tenant", *words],
        env=environment,
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    addresses = stack.plan.addresses

    def sign_in(login: str) -> Person:
        stranger = Person(addresses, "")
        body = {"tenant": slug, "login": login, "password": PASSWORD}
        token = stranger.send("POST", "session?token=true", body)["sessionToken"]
        stranger.close()
        return Person(addresses, token)

    admin = sign_in("admin")
    settings = admin.send("GET", "customers:settings")["settings"]
    admin.send(
        "PATCH",
        "customers:settings",
        {
            "requestId": new_id(),
            "settings": {**settings, "registrationRequired": False, "ownerCap": 1_000_000},
        },
    )
    department_id = admin.send("GET", "departments")["departments"][0]["departmentId"]
    logins = [f"rep{number}" for number in range(people)]
    for login in logins:
        person = {
            "login": login,
            "name": login,
            "departmentId": department_id,
            "roles": ["sales_rep"],
            "active": True,
        }
        admin.post("people", person=person, password=PASSWORD)
    admin.close()
    return slug, settings["defaultPoolId"], [sign_in(login) for login in logins]


@dataclass
class Done:
    """What was acknowledged, by name of the customer: its id; how long each step took, with when it began."""

    customers: dict[str, str] = field(default_factory=dict)
    followed: set[str] = field(default_factory=set)
    returned: set[str] = field(default_factory=set)
    waits: list[tuple[float, float]] = field(default_factory=list)
    unanswered: int = 0


def write(person: Person, pool_id: str, stop: threading.Event, done: Done) -> None:
    """Create customers, follow each up and give every other one back, until told to stop; `done` is this writer's."""

    def timed(path: str, **body: Any) -> dict[str, Any]:
        began = time.monotonic()
        answer = person.post(path, **body)
        done.waits.append((began, time.monotonic() - began))
        return answer

    for number in itertools.count():
        if stop.is_set():
            return
        name = f"压测{letters()}"
        try:
            customer_id = timed("customers", name=name)["customer"]["customerId"]
            done.customers[name] = customer_id
            timed(f"customers/{customer_id}/followUps", text=f"跟进{name}")
            done.followed.add(name)
            if number % 2:
                timed(f"customers/{customer_id}:return", reason="压测", poolId=pool_id)
                done.returned.add(name)
        except (TimeoutError, httpx.HTTPStatusError) as error:
            # Nobody was told that it was done: it may be there or not.
            done.unanswered += 1
            said = error.response.text if isinstance(error, httpx.HTTPStatusError) else ""
            print(f"  unanswered: {error} {said}", flush=True)
