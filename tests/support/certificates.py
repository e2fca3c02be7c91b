"""A certificate authority of a test, and a door that speaks TLS before a server that does not."""

import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Pem:
    """The files of a certificate: itself, its key, and the CA that signed it."""

    certificate: Path
    key: Path
    ca: Path


class Authority:
    """Signs certificates for 127.0.0.1 and localhost into a folder."""

    def __init__(self, folder: Path, name: str = "site") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._signed(self._name, self._key.public_key(), is_ca=True)
        self.ca = folder / f"{name}.ca.pem"
        self.ca.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str) -> Pem:
        """Sign a new certificate; again for the same name, it is renewed in its files."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        pem = Pem(self._folder / f"{name}.pem", self._folder / f"{name}.key", self.ca)
        pem.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        pem.key.chmod(0o600)
        certificate = self._signed(subject, key.public_key())
        pem.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return pem

    def _signed(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, is_ca: bool = False
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self._key, hashes.SHA256())
        )


@contextmanager
def tls_door(pem: Pem, host: str, port: int, *protocols: str) -> Iterator[int]:
    """Speak TLS on a port, ask for a certificate of the CA, and pass what comes on; give the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem.certificate, pem.key)
    context.load_verify_locations(pem.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    if protocols:
        context.set_alpn_protocols(list(protocols))
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        # It ends when the listener is closed.
        with suppress(OSError):
            while True:
                raw, _ = listener.accept()
                threading.Thread(target=pass_on, args=(raw,), daemon=True).start()

    def pass_on(raw: socket.socket) -> None:
        # Whoever shows no certificate of ours gets no further than the handshake.
        with (
            suppress(OSError),
            closing(raw),
            context.wrap_socket(raw, server_side=True) as outside,
            socket.create_connection((host, port)) as inside,
        ):
            back = threading.Thread(target=carry, args=(inside, outside), daemon=True)
            back.start()
            carry(outside, inside)
            back.join()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        # To wake the thread that waits in accept.
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def carry(source: socket.socket, target: socket.socket) -> None:
    """Pass on what one side says until it hangs up."""
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
