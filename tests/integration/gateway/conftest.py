"""A gateway on a thread of its own, before scripted services that speak real gRPC and check real tokens."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
import httpx
import pytest
import uvicorn
from crm.identity.v1 import identity_pb2 as identity
from google.protobuf import descriptor_pool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from services.chassis.clock import utc_now
from services.chassis.declarations import note_scope_asked
from services.chassis.errors import AppError, Unauthenticated
from services.chassis.grpc_server import Server, current_caller
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Caller, Signer, Verifier
from services.gateway.__main__ import server as gateway_server
from services.gateway.routes import CONTRACTS
from services.gateway.settings import Settings
from tests.support.until import until

RIGHTS = frozenset(
    {
        "people.view",
        "people.manage",
        "customers.view",
        "customers.create",
        "customers.claim",
        "customers.export",
        "customers.import",
        "calls.agent",
        "recordings.play",
    }
)


@dataclass(frozen=True)
class Request:
    """A request as a service got it."""

    rpc: str
    message: Any
    metadata: Mapping[str, str]
    caller: Caller


@dataclass
class Script:
    """What the scripted services know, how they answer and what they were asked.

    signer: identity's. sessions: who is behind a secret. answers: by "identity.GetMe", a function of the request;
    what has none answers an empty message. epoch: persons' tokens of an older one are refused.
    """

    signer: Signer
    sessions: dict[str, Caller] = field(default_factory=dict)
    answers: dict[str, Callable[[Any], Any]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    exchanges: int = 0
    epoch: int = 1

    def forget(self) -> None:
        """Start over: nobody is signed in, nothing was asked."""
        self.sessions.clear()
        self.requests.clear()
        self.answers = {
            "identity.ExchangeSession": self.exchange,
            "identity.CheckSessions": self.check,
            "identity.SignOut": self.sign_out,
        }
        self.exchanges, self.epoch = 0, 1

    def person(
        self, tenant: Tenant, name: str = "王伟", rights: frozenset[str] = RIGHTS
    ) -> tuple[str, Caller]:
        """Add a signed-in person; return the session's secret and who it is."""
        secret = f"{tenant.database}.{uuid.uuid4().hex}"
        caller = Caller(tenant=tenant, person_id=str(uuid.uuid4()), name=name, rights=rights)
        self.sessions[secret] = caller
        return secret, caller

    def refuse(self, rpc: str, error: AppError) -> None:
        """Answer an RPC with an error from now on."""

        def answer(_request: Any) -> None:
            raise error

        self.answers[rpc] = answer

    def asked(self, rpc: str) -> list[Request]:
        """Return the requests of an RPC so far."""
        return [request for request in self.requests if request.rpc == rpc]

    def answer(
        self, rpc: str, request: Any, metadata: Mapping[str, str], response: type[Message], streams: bool
    ) -> Any:
        """Answer an RPC; with several messages one that streams."""
        caller = current_caller()
        self.requests.append(Request(rpc, request, metadata, caller))
        if caller.person_id and caller.epoch < self.epoch:
            raise Unauthenticated("TOKEN_STALE", "权限已变更", "The rights have changed")
        act = self.answers.get(rpc)
        note_scope_asked()
        if act:
            return act(request)
        return [response()] if streams else response()

    def exchange(self, request: identity.ExchangeSessionRequest) -> identity.ExchangeSessionResponse:
        """Answer ExchangeSession as identity does."""
        self.exchanges += 1
        caller = self.sessions.get(request.session_token)
        if caller is None or caller.tenant is None:
            raise Unauthenticated("SESSION_ENDED", "登录已失效，请重新登录", "The session has ended")
        token, expire = self.signer.person_token(replace(caller, epoch=self.epoch), utc_now())
        answer = identity.ExchangeSessionResponse(
            access_token=token, person_id=caller.person_id, tenant_id=caller.tenant.id
        )
        answer.expire_time.FromDatetime(expire)
        return answer

    def check(self, request: identity.CheckSessionsRequest) -> identity.CheckSessionsResponse:
        """Answer CheckSessions as identity does."""
        over = [secret for secret in request.session_tokens if secret not in self.sessions]
        return identity.CheckSessionsResponse(ended_tokens=over)

    def sign_out(self, request: identity.SignOutRequest) -> identity.SignOutResponse:
        """Answer SignOut as identity does."""
        self.sessions.pop(request.session_token, None)
        return identity.SignOutResponse()


class Handlers(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic for the checker only
    """Answers every RPC of every contract by the script."""

    def __init__(self, script: Script) -> None:
        self._script = script

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        service, _, name = details.method.lstrip("/").rpartition("/")
        try:
            method = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
        except KeyError:
            return None
        key = f"{service.split('.')[1]}.{name}"
        make = (
            grpc.unary_stream_rpc_method_handler
            if method.server_streaming
            else grpc.unary_unary_rpc_method_handler
        )

        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            metadata = {str(item): str(value) for item, value in context.invocation_metadata() or ()}
            response = GetMessageClass(method.output_type)
            return self._script.answer(key, request, metadata, response, method.server_streaming)

        return make(
            answer,
            request_deserializer=GetMessageClass(method.input_type).FromString,
            response_serializer=GetMessageClass(method.output_type).SerializeToString,
        )


@pytest.fixture(scope="session")
def only_script(issuer_keys: Mapping[str, tuple[str, str]]) -> Script:
    """What the scripted services go by; one for all tests, as a gateway takes a while to start."""
    return Script(Signer("identity", issuer_keys["identity"][0]))


@pytest.fixture
def script(only_script: Script) -> Script:
    """What this test's services know: nothing yet."""
    only_script.forget()
    return only_script


@pytest.fixture(scope="session")
def backend(only_script: Script, issuer_keys: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    """The address of the scripted services, all in one server."""
    server = Server("scripted", Verifier({name: public for name, (_, public) in issuer_keys.items()}))
    server.grpc.add_generic_rpc_handlers((Handlers(only_script),))
    port = server.start("127.0.0.1", 0)
    yield f"ipv4:127.0.0.1:{port}"
    server.stop(grace_s=0)


@contextmanager
def serving(settings: Settings, *, pings: bool = True) -> Iterator[str]:
    """Run a gateway on a thread of its own; give its address, "127.0.0.1:port". pings: of live sockets."""
    server: uvicorn.Server = gateway_server(settings)
    if not pings:
        server.config.ws_ping_interval = None
    ended: Future[None] = Future()

    def run() -> None:
        try:
            server.run()
            ended.set_result(None)
        except BaseException as error:
            ended.set_exception(error)

    threading.Thread(target=run, name="gateway").start()
    try:
        until(lambda: server.started or ended.done())
        yield f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        ended.result(timeout=15)


@pytest.fixture(scope="session")
def gateway_settings(
    backend: str, issuer_keys: Mapping[str, tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    """A gateway's settings; no broker answers at its address, no desktop is built."""
    return Settings(
        addresses=dict.fromkeys(CONTRACTS, backend),
        amqp_url="amqp://guest:guest@127.0.0.1:1/",
        signing_key=issuer_keys["gateway"][0],
        port=0,
        web=tmp_path_factory.mktemp("web") / "dist",
    )


@pytest.fixture(scope="session")
def address(gateway_settings: Settings) -> Iterator[str]:
    """The address of a gateway that serves."""
    with serving(gateway_settings) as running:
        yield running


@pytest.fixture
def http(address: str, script: Script) -> Iterator[httpx.Client]:
    """A client of the gateway without a session."""
    with httpx.Client(base_url=f"http://{address}", timeout=15) as client:
        yield client


@pytest.fixture
def signed_in(http: httpx.Client, script: Script, main_tenant: Tenant) -> tuple[httpx.Client, Caller]:
    """A client that shows a person's secret, and the person."""
    secret, caller = script.person(main_tenant)
    http.headers["authorization"] = f"Bearer {secret}"
    return http, caller
