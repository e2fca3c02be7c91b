"""The services behind the gateway, by grpc.aio."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from crm.customers.v1.exports_pb2_grpc import ExportsServiceStub
from crm.customers.v1.imports_pb2_grpc import ImportsServiceStub
from crm.identity.v1.identity_pb2_grpc import IdentityServiceStub
from crm.notify.v1.notify_pb2_grpc import NotifyServiceStub
from crm.telephony.v1.telephony_pb2_grpc import TelephonyServiceStub

from services.chassis.grpc_client import CHANNEL_OPTIONS
from services.chassis.grpc_tls import channel_credentials
from services.chassis.ids import new_id
from services.chassis.settings import InternalTls
from services.gateway.routes import Route

# Longest wait for a service's answer, in seconds.
TIMEOUT_S = 10.0

Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Trace:
    """What goes along with every call that a request causes.

    request_id: one for the whole way through the services. locale: "zh-CN" or "en".
    """

    request_id: str
    locale: str

    @classmethod
    def unasked(cls) -> "Trace":
        """Return that of a request which the gateway makes by itself."""
        return cls(new_id(), "zh-CN")

    def metadata(self, token: str) -> Metadata:
        """Return the gRPC metadata of a call in the name of whom the token names."""
        return (
            ("authorization", f"Bearer {token}"),
            ("accept-language", self.locale),
            ("x-request-id", self.request_id),
        )


class Backends:
    """Channels to every service; to be made inside the event loop that uses them.

    addresses: gRPC target by service. tls: of the site.
    """

    def __init__(self, addresses: Mapping[str, str], tls: InternalTls | None = None) -> None:
        self._channels = {
            name: grpc.aio.secure_channel(target, channel_credentials(tls), options=CHANNEL_OPTIONS)
            if tls
            else grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS)
            for name, target in addresses.items()
        }
        self.identity = IdentityServiceStub(self._channels["identity"])
        self.imports = ImportsServiceStub(self._channels["customers"])
        self.exports = ExportsServiceStub(self._channels["customers"])
        self.notify = NotifyServiceStub(self._channels["notify"])
        self.telephony = TelephonyServiceStub(self._channels["telephony"])

    def method(self, route: Route) -> Callable[..., Any]:
        """Return the callable of a route's RPC: request, timeout and metadata to an awaitable response."""
        return self._channels[route.service].unary_unary(
            route.rpc_path,
            request_serializer=route.request.SerializeToString,
            response_deserializer=route.response.FromString,
        )

    async def close(self) -> None:
        """Close every channel."""
        for channel in self._channels.values():
            await channel.close(None)
