"""The business registry's providers: candidates, backfill, and what happens when one is slow, wrong or away."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from services.chassis.errors import Unavailable
from services.chassis.settings import SettingsError
from services.customers.domain.registry import Company
from services.customers.registry import (
    CACHE_S,
    FAILURES_TO_OPEN,
    OPEN_S,
    SAMPLE,
    FileRegistry,
    Guarded,
    HttpRegistry,
    registry_from,
)

RECORD = {
    "creditCode": "91350100M000100Y43",
    "name": "福州甲公司",
    "legalPerson": "王小明",
    "address": "福州市",
}
COMPANY = Company("91350100M000100Y43", "福州甲公司", "王小明", "福州市")


@dataclass
class Provider:
    """A scripted HTTP provider. answer: status and body of every request."""

    answer: tuple[int, bytes] = (200, b"{}")
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""
    hold: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def provider() -> Iterator[Provider]:
    """A provider on loopback."""
    scripted = Provider()
    scripted.hold.set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            scripted.asked.append((self.path, self.headers["Authorization"]))
            scripted.hold.wait(5)
            status, body = scripted.answer
            self.send_response(status)
            self.send_header("Location", "http://127.0.0.1:1/")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """A client that did not wait is what a test is about."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        scripted.url = f"http://127.0.0.1:{server.server_address[1]}/api/"
        yield scripted
        scripted.hold.set()
        server.shutdown()
        thread.join()


def test_the_sample_gives_candidates_while_typing_and_fills_the_form() -> None:
    """F37, F38."""
    registry = FileRegistry(SAMPLE)
    names = [company.name for company in registry.search("示例 云")]
    assert names == ["上海示例云海物流有限公司", "上海示例云帆信息技术有限公司"]
    (first, *_) = registry.search("上海示例云帆")
    found = registry.get(first.credit_code)
    assert found
    assert (found.legal_person, found.address) == ("陈云帆", "上海市浦东新区张江路1号")
    assert registry.get("91350100M000100Y43") is None


def test_an_http_provider_is_asked_by_its_contract(provider: Provider) -> None:
    registry = HttpRegistry(provider.url, "secret")
    provider.answer = (200, json.dumps({"companies": [RECORD]}).encode())
    assert registry.search("甲 公司&x") == [COMPANY]
    path, token = provider.asked[0]
    assert (urlsplit(path).path, token) == ("/api/companies", "Bearer secret")
    assert parse_qs(urlsplit(path).query) == {"query": ["甲 公司&x"], "limit": ["10"]}
    provider.answer = (200, json.dumps(RECORD).encode())
    assert registry.get(COMPANY.credit_code) == COMPANY
    provider.answer = (404, b"")
    assert registry.get(COMPANY.credit_code) is None


@pytest.mark.parametrize(
    "answer",
    [
        (500, b""),
        (302, b""),
        (200, b"not json"),
        (200, b"[]"),
        (200, b'{"companies": [{"name": "x"}]}'),
        (200, json.dumps({"companies": [RECORD | {"creditCode": "91350100M000100Y44"}]}).encode()),
    ],
)
def test_a_wrong_answer_is_as_good_as_none(provider: Provider, answer: tuple[int, bytes]) -> None:
    provider.answer = answer
    with pytest.raises(Unavailable, match="REGISTRY_UNAVAILABLE"):
        HttpRegistry(provider.url, "").search("甲公司")


def test_a_slow_provider_does_not_hold_up_whoever_types(provider: Provider) -> None:
    provider.hold.clear()
    with pytest.raises(Unavailable):
        HttpRegistry(provider.url, "", timeout_s=0.05).search("甲公司")
    provider.hold.set()


class Counting:
    """A registry that counts its questions and may be away."""

    def __init__(self) -> None:
        self.asked, self.away = 0, False

    def search(self, query: str) -> list[Company]:
        """Answer or not."""
        self.asked += 1
        if self.away:
            raise Unavailable("REGISTRY_UNAVAILABLE", "", "")
        return [COMPANY]

    def get(self, credit_code: str) -> Company | None:
        """Answer or not."""
        return self.search(credit_code)[0]


def test_answers_are_kept_and_a_dead_provider_is_left_alone() -> None:
    inner, now = Counting(), [0.0]
    registry = Guarded(inner, lambda: now[0])
    assert registry.search("甲 公司") == registry.search("甲公司") == [COMPANY]
    assert inner.asked == 1
    now[0] += CACHE_S + 1
    inner.away = True
    for _ in range(FAILURES_TO_OPEN + 3):
        with pytest.raises(Unavailable):
            registry.search("甲公司")
    assert inner.asked == 1 + FAILURES_TO_OPEN
    now[0] += OPEN_S + 1
    with pytest.raises(Unavailable):
        registry.get(COMPANY.credit_code)
    with pytest.raises(Unavailable):
        registry.get(COMPANY.credit_code)
    assert inner.asked == 2 + FAILURES_TO_OPEN
    inner.away = False
    now[0] += OPEN_S + 1
    assert registry.get(COMPANY.credit_code) == COMPANY


def test_settings_choose_the_provider() -> None:
    assert isinstance(registry_from({}), FileRegistry)
    assert isinstance(registry_from({"REGISTRY_URL": "https://registry.example/v1"}), Guarded)
    with pytest.raises(SettingsError, match="REGISTRY_URL"):
        registry_from({"REGISTRY_URL": "file:///etc/passwd"})
