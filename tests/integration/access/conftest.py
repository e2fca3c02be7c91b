"""Every service served in this process, as `python -m services.<name> api` does, and tokens of whoever may call."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from services.__main__ import load
from services.chassis.clock import utc_now
from services.chassis.epochs import Epochs
from services.chassis.errors import AppError
from services.chassis.grpc_errors import from_rpc_error
from services.chassis.grpc_server import Server
from services.chassis.service import Runtime
from services.chassis.settings import Settings
from services.chassis.tokens import Verifier
from tests.support.served import free_port

# Longest wait for an answer, in seconds.
TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Rpc:
    """One RPC of one service, and a channel to it."""

    service: str
    method: MethodDescriptor
    channel: grpc.Channel

    @property
    def path(self) -> str:
        """Path on the wire."""
        return f"/{self.method.containing_service.full_name}/{self.method.name}"

    def call(self, token: str, request: Message | None = None) -> tuple[AppError | None, list[Message]]:
        """Call with this token; return the refusal, if it was refused, and what was answered."""
        make = self.channel.unary_stream if self.method.server_streaming else self.channel.unary_unary
        method: Callable[..., Any] = make(
            self.path,
            request_serializer=GetMessageClass(self.method.input_type).SerializeToString,
            response_deserializer=GetMessageClass(self.method.output_type).FromString,
        )
        given = GetMessageClass(self.method.input_type)() if request is None else request
        try:
            answer = method(given, timeout=TIMEOUT_S, metadata=(("authorization", f"Bearer {token}"),))
            return None, list(answer) if self.method.server_streaming else [answer]
        except grpc.RpcError as error:
            code = error.code()
            # A method that no servicer has must not pass for one that let somebody in.
            assert code is not grpc.StatusCode.UNIMPLEMENTED, f"{self.path} is declared and not served"
            return from_rpc_error(error), []


@dataclass
class System:
    """All services. epochs: what each of them knows of old tokens."""

    rpcs: Sequence[Rpc]
    epochs: Epochs
    runtimes: Mapping[str, Runtime] = field(default_factory=dict)


@pytest.fixture(scope="module")
def system(settings: Settings) -> Iterator[System]:
    """Every service, and each of its RPCs."""
    services = load()
    addresses = {service.name: f"127.0.0.1:{free_port()}" for service in services}
    settings = replace(settings, addresses={**settings.addresses, **addresses})
    epochs, rpcs, runtimes = Epochs(), [], {}
    with ExitStack() as stack:
        for service in services:
            runtime = Runtime(service.name, settings, service.metadata(), {}, utc_now)
            server = Server(service.name, Verifier(settings.trusted_keys), epochs)
            assert service.api
            names = service.api(runtime, server.grpc)
            server.start("127.0.0.1", int(addresses[service.name].partition(":")[2]), *names)
            stack.callback(runtime.store.close)
            stack.callback(server.stop, 0)
            channel = stack.enter_context(grpc.insecure_channel(addresses[service.name]))
            runtimes[service.name] = runtime
            for name in names:
                methods = descriptor_pool.Default().FindServiceByName(name).methods
                rpcs += [Rpc(service.name, method, channel) for method in methods]
        yield System(rpcs, epochs, runtimes)
