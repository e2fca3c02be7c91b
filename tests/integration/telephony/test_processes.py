"""The edges as real processes: events over a real broker, a kill in mid-call, a successor, a modem that sends."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import groupby
from pathlib import Path
from typing import Any

import grpc
import pytest
from crm.customers.v1 import customers_pb2, customers_pb2_grpc
from kombu import Connection, Consumer, Queue

from services.chassis.amqp import event_exchange
from services.chassis.grpc_server import Api, Server
from services.chassis.ids import new_id
from services.chassis.settings import Settings
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Verifier
from services.telephony.usecases import sms, staff
from tests.integration.telephony.conftest import Shop
from tests.integration.telephony.pbx.ami_server import threaded_ami_server
from tests.integration.telephony.test_pbx_edge import ANSWERED, RINGING, cut_at, lists, lists_nothing, live
from tests.support.modem import emulator
from tests.support.until import until

ROOT = Path(__file__).resolve().parents[3]


class KnowsEverybody(customers_pb2_grpc.CustomersServiceServicer, Api):
    """A customers service that finds the same customer under every number."""

    def MatchPhone(
        self, request: customers_pb2.MatchPhoneRequest, context: grpc.ServicerContext
    ) -> customers_pb2.MatchPhoneResponse:
        found = customers_pb2.Candidate(
            customer_id="0a000000-0000-4000-8000-000000000001", customer_name="上海云海"
        )
        return customers_pb2.MatchPhoneResponse(candidates=[found])


class Listener:
    """Bind a queue of its own to telephony's events, as a gateway does."""

    def __init__(self, connection: Connection, tenant: Tenant) -> None:
        self._connection = connection
        self._tenant = tenant
        self._queue = Queue("", event_exchange("telephony"), "#", exclusive=True)
        self.events: list[Mapping[str, Any]] = []
        self._consumer = Consumer(
            connection.channel(), [self._queue], callbacks=[self._take], accept=["json"], no_ack=True
        )
        self._consumer.consume()

    def _take(self, body: Mapping[str, Any], _message: object) -> None:
        if body["tenant"]["id"] == self._tenant.id:
            self.events.append(body)

    def knows(self, customer_name: str) -> bool:
        """Return whether the newest pop names this customer, waiting a moment for more."""
        self.states()
        callers = self.events[-1]["data"].get("callers", [])
        return [caller["customerName"] for caller in callers] == [customer_name]

    def states(self) -> list[str]:
        """Return the states of the pops told so far, each once however often it was told, waiting a moment for more."""
        with suppress(TimeoutError):
            self._connection.drain_events(timeout=0.05)
        told = [
            event["data"]["state"].removeprefix("POP_STATE_")
            for event in self.events
            if event["type"] == "pop_changed"
        ]
        # A late answer who is calling tells the state again.
        return [state for state, _ in groupby(told)]


@pytest.fixture
def listener(settings: Settings, main_shop: Shop) -> Iterator[Listener]:
    with Connection(settings.amqp_url) as connection:
        yield Listener(connection, main_shop.tenant)


@pytest.fixture
def customers(settings: Settings, main_shop: Shop) -> Iterator[str]:
    """A scripted customers service; its address."""
    server = Server("customers", Verifier(settings.trusted_keys))
    # The stubs call the unscripted methods abstract.
    scripted = KnowsEverybody(main_shop.store)  # type: ignore[abstract]  # the rest is never asked
    customers_pb2_grpc.add_CustomersServiceServicer_to_server(scripted, server.grpc)
    yield f"127.0.0.1:{server.start('127.0.0.1', 0)}"
    server.stop(0)


@contextmanager
def process(
    role: str, environment: Mapping[str, str], log: Path, **more: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `python -m services.telephony <role>`; it is told to end at the end, unless it has been killed."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "services.telephony", role],
            cwd=ROOT,
            env={**os.environ, **environment, "PYTHONPATH": f"{ROOT}:{ROOT / 'proto/gen'}", **more},
            stderr=output,
        )
        try:
            yield child
            if child.returncode is None:
                child.terminate()
                assert child.wait(timeout=20) == 0, log.read_text()
        finally:
            child.kill()
            child.wait()


def test_a_killed_edge_is_followed_by_the_one_that_stood_by(
    environment: Mapping[str, str], main_shop: Shop, listener: Listener, customers: str, tmp_path: Path
) -> None:
    """One active edge for each PBX; kill -9 in mid-call, the successor finishes the call over a real broker."""
    main_shop.line("did", "4000")
    main_shop.agent("王小明", "1001")
    ringing, _ = cut_at("queue-call", *RINGING)
    answered, rest = cut_at("queue-call", *ANSWERED)
    log = tmp_path / "log"
    with threaded_ami_server() as server:
        lists_nothing(server)
        given = {
            **environment,
            "AMI_ADDRESS": f"127.0.0.1:{server.port}",
            "AMI_USER": "crm",
            "AMI_SECRET": "right",
            "PBX_NAME": main_shop.pbx,
            "CUSTOMERS_ADDRESS": customers,
            "LEADS_ADDRESS": customers,
        }
        with process("pbx", given, log) as first:
            until(lambda: server.names().count("QueueStatus") == 1, 20)
            with process("pbx", given, log):
                until(lambda: b"standing by" in log.read_bytes(), 20)
                server.send_soon(ringing)
                until(lambda: listener.states() == ["RINGING"])
                until(lambda: listener.knows("上海云海"))
                trunk = live(b"pbx1-1795291960.3", b"PJSIP/trunk-00000002")
                phone = live(b"pbx1-1795291960.4", b"PJSIP/1001-00000003")
                lists(
                    server, [trunk, phone.replace(b"State: 6", b"State: 5").replace(b"BridgeId: b\r\n", b"")]
                )
                first.send_signal(signal.SIGKILL)
                first.wait()
                until(lambda: server.names().count("QueueStatus") == 2, 20)
                server.send_soon(answered.removeprefix(ringing))
                until(lambda: listener.states() == ["RINGING", "TALKING"])
                server.send_soon(rest)
                until(lambda: listener.states() == ["RINGING", "TALKING", "WRAP_UP"])
    assert main_shop.row("call")["state"] == "ended"
    assert not main_shop.row("call")["lost"]


def test_a_stopped_edge_ends_and_one_without_settings_says_what_is_missing(
    environment: Mapping[str, str], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    child = subprocess.run(
        [sys.executable, "-m", "services.telephony", "pbx"],
        cwd=ROOT,
        env={**os.environ, **environment, "PYTHONPATH": f"{ROOT}:{ROOT / 'proto/gen'}"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert child.returncode == 2
    assert b"AMI_ADDRESS is not set" in child.stderr
    assert not log.exists()


def test_a_message_leaves_by_the_modem_and_its_report_comes_back(
    environment: Mapping[str, str], main_shop: Shop, tmp_path: Path
) -> None:
    """F188, O16: the modem edge, a pty, AT commands and PDUs."""
    name = f"modem-{new_id()}"
    with main_shop.store.transaction(main_shop.tenant) as tx:
        staff.add_modem(tx, name)
    with emulator(tmp_path) as modem:
        ports = json.dumps([{"name": name, "port": str(modem.link)}])
        with process("modem", environment, tmp_path / "log", MODEMS=ports):
            until(lambda: main_shop.row("modem")["state"] == "ready", 30)
            with main_shop.store.transaction(main_shop.tenant) as tx:
                sms.queue_sms(tx, new_id(), new_id(), "+8613900001111", "订单 SO-1 即将超时，请尽快处理")
            until(lambda: main_shop.row("sms")["state"] == "delivered", 30)
        assert main_shop.row("modem")["state"] == "down"
        assert [line["text"] for line in map(json.loads, modem.inbox.read_text().splitlines())] == [
            "订单 SO-1 即将超时，请尽快处理"
        ]
