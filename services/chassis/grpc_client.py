"""One builder for every client of another service: deadlines, tokens, round robin, AppErrors.

What tells of a server that is away, or that is leaving, is retried by the channel; every mutation carries a request
id, so a repeat is safe.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

import grpc

from services.chassis.errors import AppError
from services.chassis.grpc_errors import from_rpc_error
from services.chassis.grpc_tls import channel_credentials
from services.chassis.logging import current_trace
from services.chassis.settings import InternalTls
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Signer

# Longest wait for an answer, in seconds, where the caller names none.
TIMEOUT_S = 5.0

SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.05s",
                "maxBackoff": "1s",
                "backoffMultiplier": 3,
                # CANCELLED is what a server that stops says of calls that reached it in its last moment.
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ],
}

CHANNEL_OPTIONS: tuple[tuple[str, str | int], ...] = (
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    # A refusal is a trailer, with what was typed in both languages; 8 KiB, the default, do not hold that.
    ("grpc.max_metadata_size", 64 * 1024),
    ("grpc.absolute_max_metadata_size", 64 * 1024),
)

Stub = TypeVar("Stub")
Response_co = TypeVar("Response_co", covariant=True)


class UnaryMethod(Protocol[Response_co]):
    """A stub's method."""

    def __call__(self, request: Any, *, timeout: float | None = ..., metadata: Any = ...) -> Response_co: ...


class Client(Generic[Stub]):
    """A client of one service, safe to share between threads.

    stub: the generated stub class. target: gRPC address list. signer: this service's own identity. tls: of the site.
    """

    def __init__(
        self,
        stub: Callable[[grpc.Channel], Stub],
        target: str,
        signer: Signer,
        tls: InternalTls | None = None,
    ) -> None:
        if tls:
            self._channel = grpc.secure_channel(target, channel_credentials(tls), options=CHANNEL_OPTIONS)
        else:
            self._channel = grpc.insecure_channel(target, options=CHANNEL_OPTIONS)
        self.stub = stub(self._channel)
        self._signer = signer

    def call(
        self,
        method: UnaryMethod[Response_co],
        request: object,
        *,
        tenant: Tenant | None,
        actor_id: str = "",
        timeout_s: float = TIMEOUT_S,
    ) -> Response_co:
        """Call in this service's own name, on behalf of an actor; raises the AppError of the answer."""
        return self._call(method, request, self._signer.service_token(tenant, actor_id), timeout_s)

    def forward(
        self, method: UnaryMethod[Response_co], request: object, token: str, timeout_s: float = TIMEOUT_S
    ) -> Response_co:
        """Call in the name of the person whose token it is; raises the AppError of the answer."""
        return self._call(method, request, token, timeout_s)

    def _call(
        self, method: UnaryMethod[Response_co], request: object, token: str, timeout_s: float
    ) -> Response_co:
        try:
            metadata = (("authorization", f"Bearer {token}"), ("x-request-id", current_trace()))
            return method(request, timeout=timeout_s, metadata=metadata)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()


def address_of(addresses: Mapping[str, str], service: str) -> str:
    """Return a service's target; raises LookupError naming the variable that is missing."""
    try:
        return addresses[service]
    except KeyError:
        raise LookupError(f"{service.upper()}_ADDRESS is not set") from None


__all__ = ["CHANNEL_OPTIONS", "TIMEOUT_S", "AppError", "Client", "address_of"]
