"""Operators see in a real Prometheus what goes wrong, and that it is over."""

import httpx

from deploy.local.stack import Stack
from tests.support.until import until


def firing(stack: Stack) -> set[tuple[str, str]]:
    """Return which alerts fire, each with the instance it names."""
    port = stack.processes["prometheus"].program.ports["http"]
    answer = httpx.get(f"http://127.0.0.1:{port}/api/v1/alerts", timeout=10).raise_for_status().json()
    return {
        (alert["labels"]["alertname"], alert["labels"].get("instance", ""))
        for alert in answer["data"]["alerts"]
        if alert["state"] == "firing"
    }


def test_a_process_that_stays_down_raises_its_alert_until_it_is_back(stack: Stack) -> None:
    """The modem's process, which no other story waits for."""
    alert = ("ProcessDown", "modem")
    assert alert not in firing(stack)
    stack.kill("modem", stay_down=True)
    try:
        until(lambda: alert in firing(stack), timeout_s=90, interval_s=0.5)
    finally:
        stack.start_process("modem")
    until(lambda: alert not in firing(stack), timeout_s=60, interval_s=0.5)
