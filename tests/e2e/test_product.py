"""The product starts on one machine, every process of it works, and each holds only its own keys."""

import json

from deploy.local.health import answers
from deploy.local.stack import Stack
from deploy.local.table import ISSUERS
from services.chassis.settings import SERVICES
from tests.support.until import until


def test_every_process_is_healthy(stack: Stack) -> None:
    assert {f"{name}-{number}" for name in SERVICES for number in (1, 2)} <= stack.processes.keys()
    assert {"events", "worker", "gateway-1", "gateway-2", "pbx", "modem"} <= stack.processes.keys()
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
