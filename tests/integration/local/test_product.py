"""The product itself starts on one machine, every process of it works, and each holds only its own keys."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from deploy.local.health import answers
from deploy.local.stack import Stack
from deploy.local.table import ISSUERS
from services.chassis.settings import SERVICES
from tests.support.until import until

# Starting twenty processes on two busy cores may take more than a test usually gets.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(simulators=False, given={}, gateway_replicas=2) as running:
        yield running


def test_every_process_is_healthy(stack: Stack) -> None:
    assert {f"{name}-1" for name in SERVICES} <= stack.processes.keys()
    assert {"events", "worker", "gateway-1", "gateway-2"} <= stack.processes.keys()
    for name, process in stack.processes.items():
        assert process.healthy(), name


def test_each_gateway_serves_the_desktop_and_the_api(stack: Stack) -> None:
    assert len(stack.plan.addresses) == 2
    for address in stack.plan.addresses:
        assert answers(f"{address}/healthz")
        assert answers(f"{address}/api/docs")


def test_the_events_process_consumes_while_its_metrics_are_read(stack: Stack) -> None:
    log = stack.processes["events"].log_file
    until(lambda: "event handlers are consuming" in log.read_text(), timeout_s=20)
    assert stack.processes["events"].healthy()


def test_a_process_holds_only_the_keys_it_may_speak_with(stack: Stack) -> None:
    held = {
        name: set(json.loads(process.program.env["SIGNING_KEYS"]))
        for name, process in stack.processes.items()
        if "SIGNING_KEYS" in process.program.env
    }
    assert held["customers-1"] == {"customers"}
    assert held["gateway-1"] == {"gateway"}
    assert held["events"] == set()
    assert held["worker"] == set(ISSUERS) - {"identity", "gateway"}


def test_a_shop_without_pbx_and_modem_runs_without_their_edges(stack: Stack) -> None:
    assert not {"pbx", "modem", "asterisk", "modem-emulator"} & stack.processes.keys()


def test_a_service_killed_in_mid_flight_comes_back(stack: Stack) -> None:
    stack.kill("customers-1")
    stack.wait_healthy("customers-1")
    stack.kill("gateway-1")
    stack.wait_healthy("gateway-1")
    assert answers(f"{stack.address}/healthz")
