"""Mutual TLS between the services: who has no certificate of the site's own CA is nobody to talk to.

The token still says who calls; TLS keeps it from being read on the way, and strangers from even asking.
"""

from contextlib import suppress
from dataclasses import dataclass

import grpc

from services.chassis.settings import InternalTls


def channel_credentials(tls: InternalTls) -> grpc.ChannelCredentials:
    """Return what a client shows and trusts; read once: a client with a new certificate is a new process."""
    read = _read(tls)
    return grpc.ssl_channel_credentials(read.ca, read.key, read.certificate)


def server_credentials(tls: InternalTls) -> grpc.ServerCredentials:
    """Return what a server shows and trusts; what is renewed in the files counts from the next handshake."""
    shown = _read(tls)

    def current() -> grpc.ServerCertificateConfiguration:
        nonlocal shown
        # In the middle of a renewal what was shown so far is as good.
        with suppress(OSError):
            shown = _read(tls)
        return shown.configuration()

    return grpc.dynamic_ssl_server_credentials(
        shown.configuration(), current, require_client_authentication=True
    )


@dataclass(frozen=True)
class _Read:
    certificate: bytes
    key: bytes
    ca: bytes

    def configuration(self) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([(self.key, self.certificate)], self.ca)


def _read(tls: InternalTls) -> _Read:
    return _Read(tls.certificate.read_bytes(), tls.key.read_bytes(), tls.ca.read_bytes())
