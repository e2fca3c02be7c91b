"""The gateway as a process: started, measured, asked to stop; and its page in a real browser."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import sync_playwright

from services.gateway.routes import CONTRACTS
from tests.integration.gateway.conftest import Script
from tests.support.browser import launch
from tests.support.served import free_port
from tests.support.until import until

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def process(
    backend: str, issuer_keys: Mapping[str, tuple[str, str]], tmp_path: Path
) -> Iterator[tuple[subprocess.Popen[bytes], int, int]]:
    """A gateway process without a broker; its HTTP and metrics ports."""
    port, metrics_port = free_port(), free_port()
    environment = {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'proto' / 'gen'}",
        "AMQP_URL": "amqp://guest:guest@127.0.0.1:1/",
        "SIGNING_KEYS": json.dumps({"gateway": issuer_keys["gateway"][0]}),
        "PORT": str(port),
        "METRICS_PORT": str(metrics_port),
        **{f"{name.upper()}_ADDRESS": backend for name in CONTRACTS},
    }
    with (tmp_path / "log").open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "services.gateway", "api"], env=environment, cwd=ROOT, stderr=log
        )
        try:
            until(lambda: answers(port), timeout_s=30)
            yield child, port, metrics_port
        finally:
            child.kill()
            child.wait()


def answers(port: int) -> bool:
    """Return whether a gateway serves there."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
    except httpx.TransportError:
        return False


def test_the_process_serves_is_measured_and_stops(
    process: tuple[subprocess.Popen[bytes], int, int], tmp_path: Path
) -> None:
    child, port, metrics_port = process
    assert httpx.get(f"http://127.0.0.1:{port}/api/v1/customers/secret-id").status_code == 401
    measured = httpx.get(f"http://127.0.0.1:{metrics_port}/metrics").text
    assert 'crm_up{process="gateway.api"} 1.0' in measured
    assert 'route="/api/v1/customers/{customer_id}",status="401"' in measured
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=15) == 0
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert any(line["event"] == "request" and line["status"] == 401 for line in lines)
    assert len([line for line in lines if "broker" in line["event"]]) == 1


def test_a_process_without_its_settings_says_which() -> None:
    environment = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'proto' / 'gen'}"}
    done = subprocess.run(
        [sys.executable, "-m", "services.gateway", "api"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert b"SIGNING_KEYS" in done.stderr


def test_the_apis_page_works_in_a_browser_within_its_policy(address: str, script: Script) -> None:
    """Offline, and without one complaint about the content security policy."""
    with sync_playwright() as playwright:
        browser = launch(playwright)
        page = browser.new_page()
        complaints: list[str] = []
        page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"http://{address}/api/docs")
        page.get_by_text("/api/v1/customers:claim").first.click()
        page.get_by_text("Claim pool customers, at most 10").first.wait_for()
        assert complaints == []
        browser.close()
