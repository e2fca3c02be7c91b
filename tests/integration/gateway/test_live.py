"""The live socket over a real broker: snapshot, then stream; nothing lost, nothing twice, nothing for others."""

import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from crm.identity.v1 import identity_pb2
from crm.notify.v1 import notify_pb2 as notify
from crm.telephony.v1 import telephony_pb2 as telephony
from google.protobuf import json_format
from kombu import Connection, Producer
from prometheus_client import REGISTRY
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from deploy.local.stores import PrivateStores
from services.chassis.amqp import event_exchange
from services.chassis.clock import utc_now
from services.chassis.db import Event
from services.chassis.errors import Unavailable
from services.chassis.ids import new_id
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Caller
from services.gateway.limits import Allowances
from services.gateway.settings import Settings
from tests.integration.gateway.conftest import Script, serving
from tests.support.until import until

Publish = Callable[[str, str, Tenant, Mapping[str, Any]], None]


def pop_of(
    person_id: str, version: int, pop_id: str = "p1", state: str = "POP_STATE_RINGING"
) -> telephony.Pop:
    """Return a pop of a person."""
    return telephony.Pop(
        pop_id=pop_id, person_id=person_id, version=version, state=telephony.PopState.Value(state)
    )


def data_of(pop: telephony.Pop) -> dict[str, Any]:
    """Return the data of a pop_changed event."""
    return dict(json_format.MessageToDict(pop))


def frame(socket: ClientConnection, timeout_s: float = 10) -> dict[str, Any]:
    """Return the next frame."""
    value: dict[str, Any] = json.loads(socket.recv(timeout=timeout_s))
    return value


def slow_sockets() -> float:
    """Return how many sockets were closed because their reader was too slow."""
    return REGISTRY.get_sample_value("crm_gateway_live_sockets_closed_total", {"cause": "slow"}) or 0


def drain(socket: ClientConnection) -> None:
    """Read until the socket ends."""
    while True:
        frame(socket)


def rabbitmqctl(stores: PrivateStores, *words: str) -> str:
    """Run the broker's own tool on the private broker and return what it prints."""
    program = stores.processes["rabbitmq"].program
    drop = ["setpriv", *program.account.command()] if program.account else []
    tool = Path(program.argv[0]).with_name("rabbitmqctl")
    return subprocess.run(
        [*drop, str(tool), "-n", program.env["RABBITMQ_NODENAME"], *words],
        env=dict(program.env),
        cwd="/",
        check=True,
        capture_output=True,
        text=True,
    ).stdout


@pytest.fixture
def publish(stores: PrivateStores) -> Iterator[Publish]:
    """Publish an event as a service's relay does: source, type, tenant, data."""
    with Connection(stores.amqp_url) as connection:
        producer = Producer(connection.channel())

        def send(source: str, kind: str, tenant: Tenant, data: Mapping[str, Any]) -> None:
            event = Event(new_id(), kind, source, tenant, "", new_id(), 1, utc_now(), data)
            exchange = event_exchange(source)
            producer.publish(event.to_json(), exchange=exchange, routing_key=kind, declare=[exchange])

        yield send


@pytest.fixture(scope="session")
def live_settings(gateway_settings: Settings, stores: PrivateStores) -> Settings:
    """A gateway's settings with a broker; exchanges are trusted for half a second."""
    return replace(gateway_settings, amqp_url=stores.amqp_url, session_cache_s=0.5)


def takes_events(address: str) -> bool:
    """Return whether a gateway is subscribed at the broker."""
    subscribed: bool = httpx.get(f"http://{address}/healthz").json()["subscribed"]
    return subscribed


@contextlib.contextmanager
def subscribed(settings: Settings, *, pings: bool = True) -> Iterator[str]:
    """Run a gateway; give its address once events come in."""
    with serving(settings, pings=pings) as address:
        until(lambda: takes_events(address))
        yield address


@pytest.fixture(scope="session")
def only_live(live_settings: Settings) -> Iterator[str]:
    """The address of a gateway with a broker; one for all tests."""
    with subscribed(live_settings) as address:
        yield address


@pytest.fixture
def live(only_live: str, script: Script) -> str:
    """The address of a gateway that takes events."""
    until(lambda: takes_events(only_live))
    return only_live


def page(address: str, secret: str, query: str = "", **options: Any) -> ClientConnection:
    """Connect as a page does."""
    socket: ClientConnection = connect(
        f"ws://{address}/api/v1/live{query}",
        additional_headers={"cookie": f"gonghai_session={secret}"},
        origin=options.pop("origin", f"http://{address}"),
        **options,
    )
    return socket


@pytest.fixture
def person(script: Script, main_tenant: Tenant) -> tuple[str, Caller]:
    """A signed-in person: the secret, and who it is."""
    return script.person(main_tenant)


Person = tuple[str, Caller]


def test_a_page_gets_a_snapshot_and_then_what_happens(
    live: str, script: Script, person: Person, main_tenant: Tenant, publish: Publish
) -> None:
    """Decision 10: snapshot, then the stream with sequence numbers."""
    secret, caller = person
    standing = pop_of(caller.person_id, 3)
    script.answers["telephony.ListPops"] = lambda _: telephony.ListPopsResponse(pops=[standing])
    script.answers["notify.ListMessages"] = lambda _: notify.ListMessagesResponse(unread_count=2)
    with page(live, secret) as socket:
        first = frame(socket)
        assert (first["type"], first["seq"], first["unreadCount"]) == ("snapshot", 1, 2)
        assert [pop["popId"] for pop in first["pops"]] == ["p1"]

        publish("telephony", "pop_changed", main_tenant, data_of(pop_of(caller.person_id, 4)))
        second = frame(socket)
        assert (second["type"], second["seq"], second["pop"]["version"]) == ("pop", 2, "4")
        assert second["pop"]["callers"] == []

        message = {"messageId": "m1", "kind": "approval_waiting", "title": "待审批"}
        publish("notify", "message_created", main_tenant, {"personId": caller.person_id, "message": message})
        third, fourth = frame(socket), frame(socket)
        assert (third["type"], third["seq"], third["message"]["title"]) == ("message", 3, "待审批")
        assert third["message"]["read"] is False
        assert fourth == {"type": "unread", "seq": 4, "unreadCount": 2}

        script.answers["notify.ListMessages"] = lambda _: notify.ListMessagesResponse(unread_count=0)
        publish("notify", "messages_read", main_tenant, {"personId": caller.person_id})
        assert frame(socket) == {"type": "unread", "seq": 5, "unreadCount": 0}

        changed = {"personIds": [new_id(), caller.person_id], "approvalId": "a1"}
        publish("approvals", "approval_changed", main_tenant, changed)
        assert frame(socket) == {"type": "approval", "seq": 6, "approvalId": "a1"}

        publish("telephony", "agent_changed", main_tenant, {"personId": new_id()})
        publish("telephony", "agent_changed", main_tenant, {"personId": caller.person_id})
        assert frame(socket) == {"type": "agent", "seq": 7}


def test_a_page_hears_that_the_socket_lives_where_nothing_happens(
    live_settings: Settings, person: Person
) -> None:
    """Pings are the browser's own affair: without frames a page could not tell a dead network from a quiet day."""
    secret, _ = person
    with serving(replace(live_settings, alive_s=0.05)) as address, page(address, secret) as socket:
        assert frame(socket)["type"] == "snapshot"
        assert frame(socket) == {"type": "alive", "seq": 2}


def test_a_message_comes_in_the_language_of_the_page(
    live: str, person: Person, main_tenant: Tenant, publish: Publish
) -> None:
    secret, caller = person
    with page(live, secret) as chinese, page(live, secret, "?locale=en") as english:
        for socket in (chinese, english):
            assert frame(socket)["type"] == "snapshot"
        data = {
            "personId": caller.person_id,
            "message": {"messageId": "m1", "kind": "lead_assigned", "title": "新线索", "text": "请跟进"},
            "english": {"title": "New lead", "text": "Follow up"},
        }
        publish("notify", "message_created", main_tenant, data)
        assert frame(chinese)["message"]["title"] == "新线索"
        told = frame(english)["message"]
        assert (told["messageId"], told["title"], told["text"]) == ("m1", "New lead", "Follow up")


def test_nothing_reaches_another_person_or_another_tenant(
    live: str, script: Script, person: Person, main_tenant: Tenant, publish: Publish
) -> None:
    """Issue 2: a foreign tenant gets nothing, even where the person's id is the same."""
    secret, caller = person
    other_secret, other = script.person(main_tenant)
    foreign_tenant = Tenant(new_id(), "south")
    foreign_secret = "south.1"
    script.sessions[foreign_secret] = replace(caller, tenant=foreign_tenant)
    with (
        page(live, secret) as socket,
        page(live, other_secret) as next_desk,
        page(live, foreign_secret) as foreign,
    ):
        for reader in (socket, next_desk, foreign):
            assert frame(reader)["type"] == "snapshot"
        publish("telephony", "pop_changed", main_tenant, data_of(pop_of(caller.person_id, 1, "mine")))
        publish("telephony", "pop_changed", main_tenant, data_of(pop_of(other.person_id, 1, "theirs")))
        publish("telephony", "pop_changed", foreign_tenant, data_of(pop_of(caller.person_id, 1, "abroad")))
        # The first that comes is the own one: what came before it was not for this reader.
        assert frame(socket)["pop"]["popId"] == "mine"
        assert frame(next_desk)["pop"]["popId"] == "theirs"
        assert frame(foreign)["pop"]["popId"] == "abroad"


def test_what_happens_during_the_snapshot_follows_it_unless_it_is_older(
    live: str, script: Script, person: Person, main_tenant: Tenant, publish: Publish
) -> None:
    secret, caller = person
    asked, may_answer = threading.Event(), threading.Event()

    def list_pops(_request: telephony.ListPopsRequest) -> telephony.ListPopsResponse:
        asked.set()
        assert may_answer.wait(10)
        return telephony.ListPopsResponse(pops=[pop_of(caller.person_id, 5)])

    script.answers["telephony.ListPops"] = list_pops
    with page(live, secret) as socket:
        assert asked.wait(10)
        for version in (4, 5, 6):
            publish("telephony", "pop_changed", main_tenant, data_of(pop_of(caller.person_id, version)))
        mark = {"personIds": [caller.person_id], "approvalId": "mark"}
        publish("approvals", "approval_changed", main_tenant, mark)
        # Approvals are not held: once this one is here, the pops before it are as well.
        assert frame(socket)["approvalId"] == "mark"
        may_answer.set()
        assert frame(socket)["pops"][0]["version"] == "5"
        assert frame(socket)["pop"]["version"] == "6"


def test_a_repeated_or_late_event_is_not_shown_again(
    live: str, person: Person, main_tenant: Tenant, publish: Publish
) -> None:
    """Events come at least once: a closed pop must not come back."""
    secret, caller = person
    with page(live, secret) as socket:
        assert frame(socket)["type"] == "snapshot"
        for version in (1, 3, 2, 3, 4):
            publish("telephony", "pop_changed", main_tenant, data_of(pop_of(caller.person_id, version)))
        assert [frame(socket)["pop"]["version"] for _ in range(3)] == ["1", "3", "4"]


def test_an_event_that_cannot_be_read_harms_nobody(
    live: str, person: Person, main_tenant: Tenant, publish: Publish
) -> None:
    secret, caller = person
    with page(live, secret) as socket:
        assert frame(socket)["type"] == "snapshot"
        unreadable: list[dict[str, Any]] = [
            {},
            {"personId": caller.person_id, "version": "many"},
            {"personId": []},
        ]
        for data in unreadable:
            publish("telephony", "pop_changed", main_tenant, data)
        newer = data_of(pop_of(caller.person_id, 1)) | {"aFieldOfTomorrow": 1}
        publish("telephony", "pop_changed", main_tenant, newer)
        assert frame(socket)["pop"]["version"] == "1"


def test_two_gateways_serve_every_page(
    live: str, live_settings: Settings, person: Person, main_tenant: Tenant, publish: Publish
) -> None:
    """Issue 2: two gateways serve the stories as one does."""
    secret, caller = person
    with subscribed(live_settings) as second, page(live, secret) as here, page(second, secret) as there:
        for reader in (here, there):
            assert frame(reader)["type"] == "snapshot"
        publish("telephony", "pop_changed", main_tenant, data_of(pop_of(caller.person_id, 1)))
        for reader in (here, there):
            assert frame(reader)["pop"]["popId"] == "p1"


def test_after_the_broker_was_away_every_page_gets_a_fresh_snapshot(
    live: str, script: Script, person: Person, main_tenant: Tenant, publish: Publish, stores: PrivateStores
) -> None:
    """Issue 2: RabbitMQ killed and restarted; what was missed meanwhile is in the snapshot."""
    secret, caller = person
    with page(live, secret) as socket:
        assert frame(socket)["pops"] == []
        stores.processes["rabbitmq"].kill()
        script.answers["telephony.ListPops"] = lambda _: telephony.ListPopsResponse(
            pops=[pop_of(caller.person_id, 7, "missed")]
        )
        stores.processes["rabbitmq"].start()
        again = frame(socket, timeout_s=30)
        assert (again["type"], again["seq"], again["pops"][0]["popId"]) == ("snapshot", 2, "missed")
    with Connection(stores.amqp_url) as connection, page(live, secret) as socket:
        assert frame(socket)["type"] == "snapshot"
        event = Event(
            new_id(),
            "pop_changed",
            "telephony",
            main_tenant,
            "",
            "p",
            8,
            utc_now(),
            data_of(pop_of(caller.person_id, 8, "missed")),
        )
        Producer(connection.channel()).publish(
            event.to_json(), exchange=event_exchange("telephony"), routing_key="pop_changed"
        )
        assert frame(socket)["pop"]["version"] == "8"


def test_a_subscription_that_the_broker_ends_is_taken_up_again(
    live: str, script: Script, person: Person, main_tenant: Tenant, publish: Publish, stores: PrivateStores
) -> None:
    """The link lives, but its queue is gone: without a look nothing would ever come again."""
    secret, caller = person
    with page(live, secret) as socket:
        assert frame(socket)["type"] == "snapshot"
        for name in rabbitmqctl(stores, "list_queues", "--silent", "name").split():
            if name.startswith("live-"):
                rabbitmqctl(stores, "delete_queue", name)
        again = frame(socket)
        assert (again["type"], again["seq"]) == ("snapshot", 2)
        publish("telephony", "pop_changed", main_tenant, data_of(pop_of(caller.person_id, 1)))
        assert frame(socket)["pop"]["popId"] == "p1"


def test_a_page_that_comes_while_the_broker_is_away_still_gets_its_snapshot(
    gateway_settings: Settings, script: Script, person: Person
) -> None:
    secret, caller = person
    script.answers["telephony.ListPops"] = lambda _: telephony.ListPopsResponse(
        pops=[pop_of(caller.person_id, 1)]
    )
    with serving(gateway_settings) as address, page(address, secret) as socket:
        assert frame(socket)["pops"][0]["popId"] == "p1"


def test_a_snapshot_waits_for_a_service_that_is_away(live: str, script: Script, person: Person) -> None:
    secret, _ = person
    script.refuse("telephony.ListPops", Unavailable("DOWN", "暂停", "Down"))
    with page(live, secret) as socket:
        until(lambda: script.asked("telephony.ListPops"))
        script.answers["telephony.ListPops"] = lambda _: telephony.ListPopsResponse()
        assert frame(socket)["type"] == "snapshot"


def test_a_socket_is_closed_when_its_session_ends(live: str, script: Script, person: Person) -> None:
    secret, _ = person
    with page(live, secret) as socket:
        assert frame(socket)["type"] == "snapshot"
        del script.sessions[secret]
        with pytest.raises(ConnectionClosed) as closed:
            frame(socket)
        assert closed.value.rcvd
        assert closed.value.rcvd.code == 4401


def test_the_sessions_of_all_pages_are_looked_at_at_once(
    live: str, script: Script, main_tenant: Tenant
) -> None:
    """O16: five hundred open pages cost identity one question and no token; none is lost while it is away."""
    secrets = [script.person(main_tenant)[0] for _ in range(5)]
    with contextlib.ExitStack() as pages:
        sockets = [pages.enter_context(page(live, secret)) for secret in secrets]
        for socket in sockets:
            assert frame(socket)["type"] == "snapshot"
        exchanged = script.exchanges

        def asked() -> list[set[str]]:
            return [set(request.message.session_tokens) for request in script.asked("identity.CheckSessions")]

        until(lambda: set(secrets) in asked())
        answer = script.answers["identity.CheckSessions"]
        script.refuse("identity.CheckSessions", Unavailable("AWAY", "稍后再试", "Try again later"))
        so_far = len(asked())
        until(lambda: len(asked()) > so_far + 1)
        script.answers["identity.CheckSessions"] = answer
        del script.sessions[secrets[0]]
        with pytest.raises(ConnectionClosed) as closed:
            drain(sockets[0])
        assert closed.value.rcvd
        assert closed.value.rcvd.code == 4401
        # The one that was over asked for itself; the others only wait.
        assert script.exchanges == exchanged + 1
        with pytest.raises(TimeoutError):
            sockets[1].recv(timeout=0.2)


@pytest.mark.parametrize("secret", ["", "main.nobody"])
def test_a_stranger_is_told_to_sign_in(live: str, secret: str) -> None:
    with page(live, secret) as socket:
        with pytest.raises(ConnectionClosed) as closed:
            frame(socket)
        assert closed.value.rcvd
        assert closed.value.rcvd.code == 4401


def test_a_foreign_page_is_refused_before_the_handshake(live: str, person: Person) -> None:
    with pytest.raises(InvalidStatus) as refused:
        page(live, person[0], origin="https://evil.example")
    assert refused.value.response.status_code == 403


def test_a_program_connects_by_header_or_by_subprotocol(live: str, person: Person) -> None:
    secret, _ = person
    url = f"ws://{live}/api/v1/live"
    with connect(url, additional_headers={"authorization": f"Bearer {secret}"}) as socket:
        assert frame(socket)["type"] == "snapshot"
    with connect(url, subprotocols=["gonghai", f"bearer.{secret}"]) as socket:  # type: ignore[list-item]  # a plain text is one
        assert socket.subprotocol == "gonghai"
        assert frame(socket)["type"] == "snapshot"


@pytest.mark.timeout(300)
def test_a_reader_that_does_not_read_is_closed(
    live_settings: Settings, person: Person, main_tenant: Tenant, publish: Publish
) -> None:
    """A page that hangs costs no memory: its socket is closed, and it starts over when it wakes.

    Without pings: on a slow machine the missing pong would end it before the backlog is full.
    """
    secret, caller = person
    big = {"messageId": "m", "text": "长" * 30_000}
    closed_before = slow_sockets()
    with (
        subscribed(live_settings, pings=False) as live,
        page(live, secret, max_queue=1, ping_interval=None) as slow,
        page(live, secret) as quick,
    ):
        for reader in (slow, quick):
            assert frame(reader)["type"] == "snapshot"
        sent = 0
        # The kernel's buffers take some of it, then the backlog fills.
        while slow_sockets() == closed_before:
            publish("notify", "message_created", main_tenant, {"personId": caller.person_id, "message": big})
            sent += 1
            assert sent < 2000
            while frame(quick)["type"] != "message":
                continue
        with pytest.raises(ConnectionClosed) as closed:
            drain(slow)
        assert closed.value.rcvd
        assert closed.value.rcvd.code == 1013
        publish("notify", "messages_read", main_tenant, {"personId": caller.person_id})
        assert frame(quick)["type"] == "unread"


def test_pages_that_come_back_together_are_all_served(
    live_settings: Settings, script: Script, main_tenant: Tenant
) -> None:
    """A gateway was rolled: what a page asks by itself counts as no request of its tenant, and waits its turn."""
    narrow = replace(live_settings, allowances=Allowances(requests_per_second=1, in_flight=1))
    secrets = [script.person(main_tenant)[0] for _ in range(20)]
    with subscribed(narrow) as address, ThreadPoolExecutor(len(secrets)) as threads:

        def first(secret: str) -> object:
            with page(address, secret) as socket:
                return frame(socket)["type"]

        assert set(threads.map(first, secrets)) == {"snapshot"}


def test_a_gateway_that_stops_tells_its_pages(live_settings: Settings, person: Person) -> None:
    secret, _ = person
    with contextlib.ExitStack() as gateway:
        address = gateway.enter_context(subscribed(live_settings))
        with page(address, secret) as socket:
            assert frame(socket)["type"] == "snapshot"
            gateway.close()
            with pytest.raises(ConnectionClosed) as closed:
                frame(socket)
    assert closed.value.rcvd
    assert closed.value.rcvd.code == 1012


def test_an_account_that_identity_ends_loses_its_pages_within_two_seconds(
    gateway_settings: Settings, stores: PrivateStores, script: Script, main_tenant: Tenant
) -> None:
    """F247, F251: though the exchange would be trusted for twenty seconds."""
    settings = replace(gateway_settings, amqp_url=stores.amqp_url, session_cache_s=20)
    secret, caller = script.person(main_tenant)
    other_secret, _ = script.person(main_tenant)
    with (
        subscribed(settings) as address,
        page(address, secret) as ended,
        page(address, other_secret) as other,
    ):
        assert frame(ended)["type"] == frame(other)["type"] == "snapshot"
        del script.sessions[secret]
        raised = identity_pb2.ListEpochsResponse(
            epochs=[identity_pb2.Epoch(person_id=caller.person_id, epoch=2)]
        )
        script.answers["identity.ListEpochs"] = lambda _: raised
        started = time.monotonic()
        with pytest.raises(ConnectionClosed) as closed:
            drain(ended)
        assert time.monotonic() - started < 2
        assert closed.value.rcvd
        assert closed.value.rcvd.code == 4401
        # Somebody else's page stays as it was.
        with pytest.raises(TimeoutError):
            other.recv(timeout=0.2)
