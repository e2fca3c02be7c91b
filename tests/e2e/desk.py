"""People at work: each has a session on a gateway and speaks the public HTTP API, as the desktop does."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Origin

from services.chassis.ids import new_id
from tests.support.until import until

Json = dict[str, Any]


@dataclass
class Refused(Exception):
    """The API said no."""

    status: int
    error: Json = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """The stable reason."""
        return str(self.error.get("reason", ""))

    @property
    def fields(self) -> list[str]:
        """The fields that were refused."""
        return [item["field"] for item in self.error.get("fields", [])]


class Live:
    """What a person's open page was told over the live socket."""

    def __init__(self) -> None:
        self.frames: list[Json] = []

    def of(self, kind: str) -> list[Json]:
        """Return the frames of a kind, oldest first."""
        return [frame for frame in self.frames if frame["type"] == kind]

    def pop_states(self, customer_name: str) -> list[str]:
        """Return what the pops of a caller were, one after the other, snapshots included."""
        pops = [
            pop
            for frame in self.frames
            for pop in (frame["pops"] if frame["type"] == "snapshot" else [frame.get("pop", {})])
        ]
        return [
            pop["state"]
            for pop in pops
            if customer_name in [caller.get("customerName") for caller in pop.get("callers", [])]
        ]

    def has_shown(self, customer_name: str, state: str) -> bool:
        """Return True once a pop of a caller was in that state; else raise AssertionError with all that was told."""
        assert state in self.pop_states(customer_name), self.frames
        return True


# Made once: to read the machine's certificates costs more than a call.
TLS = ssl.create_default_context()
# What a person who sees it tries again: the gateway has no answer from a service, or is away itself.
PASSING = (502, 503, 504)


class Desk:
    """One signed-in person, or an outside system with an API key.

    patience_s: how long to try again, with the very same request, while the system says that it is unavailable.
    """

    # A machine that is busy with everything else answers late, and says nothing of who was right.
    patience_s = 30.0

    def __init__(self, url: str, token: str = "", person_id: str = "") -> None:
        self.url = url
        self.person_id = person_id
        headers = {"X-Requested-With": "gonghai", "Accept-Language": "zh-CN"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        # A connection that rests longer than this may be closed by the server just as it is used again.
        limits = httpx.Limits(keepalive_expiry=2)
        self.http = httpx.Client(base_url=url, headers=headers, timeout=20, limits=limits, verify=TLS)

    @staticmethod
    def sign_in(url: str, tenant: str, login: str, password: str) -> "Desk":
        """Open a session with a cookie."""
        desk = Desk(url)
        try:
            answer = desk.call("POST", "/api/v1/session", tenant=tenant, login=login, password=password)
        except Refused:
            desk.close()
            raise
        desk.person_id = answer["person"]["personId"]
        return desk

    def get(self, path: str, **query: str | int) -> Json:
        """GET a path below /api/v1."""
        return self._send(lambda: self.http.get(f"/api/v1/{path}", params=query))

    def post(self, path: str, **body: Any) -> Json:
        """POST a mutation with a request id of its own."""
        return self.call("POST", f"/api/v1/{path}", **({"requestId": new_id()} | body))

    def patch(self, path: str, **body: Any) -> Json:
        """PATCH with a request id of its own."""
        return self.call("PATCH", f"/api/v1/{path}", **({"requestId": new_id()} | body))

    def call(self, method: str, path: str, **body: Any) -> Json:
        """Send a JSON body."""
        return self._send(lambda: self.http.request(method, path, json=body))

    @contextmanager
    def live(self) -> Iterator[Live]:
        """Keep a live socket open, as the person's page does."""
        seen = Live()
        cookies = "; ".join(f"{name}={value}" for name, value in self.http.cookies.items())
        url = self.url.replace("http", "ws", 1) + "/api/v1/live"
        with connect(url, additional_headers={"Cookie": cookies}, origin=Origin(self.url)) as socket:

            def read() -> None:
                try:
                    for text in socket:
                        seen.frames.append(json.loads(text))
                except ConnectionClosed:
                    pass

            reader = threading.Thread(target=read)
            reader.start()
            until(lambda: seen.of("snapshot"))
            yield seen
        reader.join()

    def close(self) -> None:
        """Close the connection; the session stays."""
        self.http.close()

    def _send(self, send: Callable[[], httpx.Response]) -> Json:
        def attempt() -> tuple[Json] | None:
            try:
                return (self._answer(send()),)
            except (Refused, httpx.TransportError) as error:
                passing = isinstance(error, httpx.TransportError) or error.status in PASSING
                if passing and self.patience_s:
                    return None
                raise

        done = until(attempt, self.patience_s)
        if done is None:
            raise AssertionError("until returned nothing")
        return done[0]

    @staticmethod
    def _answer(response: httpx.Response) -> Json:
        if response.is_success:
            return response.json() if response.content else {}
        try:
            error: Mapping[str, Any] = response.json()["error"]
        except (ValueError, KeyError):
            error = {"message": response.text}
        raise Refused(response.status_code, dict(error))
