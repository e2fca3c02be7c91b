"""Ask a program whether it works; how is a URL, so that it can stand in a file and be asked from elsewhere.

| URL | works when |
|---|---|
| postgresql://, amqp://, amqps:// | the server lets us in |
| grpc://host:port/name | the gRPC health service says SERVING, for the whole server or the service named |
| http://host:port/path | it answers 200 |
| metrics://host:port | its Prometheus page says that the process has started (`crm_up 1`) |
| ami://user:secret@host:port | Asterisk lets us in and has fully booted |
| tcp://host:port, udp://host:port | somebody listens there |
| file:///path | the path exists |
"""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

import grpc
import psycopg
from amqp.connection import Connection as AmqpConnection
from amqp.exceptions import AMQPError
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy.local.ports import is_free

# How long one probe may take.
PROBE_TIMEOUT_S = 3


def answers(url: str) -> bool:
    """Tell whether what stands behind this URL works now; an empty URL always does."""
    parts = urlsplit(url)
    match parts.scheme:
        case "":
            return True
        case "postgresql" | "postgres":
            return _postgresql(url)
        case "amqp" | "amqps":
            return _amqp(parts)
        case "grpc":
            return _grpc(parts)
        case "http":
            return _http(url) is not None
        case "metrics":
            page = _http(f"http://{parts.netloc}/metrics")
            return page is not None and _says_up(page)
        case "ami":
            return _ami(parts)
        case "tcp" | "udp":
            return not is_free(_port(parts), host=_host(parts), datagram=parts.scheme == "udp")
        case "file":
            return Path(parts.path).exists()
    raise ValueError(f"no way to ask {parts.scheme}://")


def _host(parts: SplitResult) -> str:
    return parts.hostname or "127.0.0.1"


def _port(parts: SplitResult) -> int:
    if parts.port is None:
        raise ValueError(f"no port in {parts.geturl()}")
    return parts.port


def _postgresql(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=PROBE_TIMEOUT_S).close()
    except psycopg.OperationalError:
        return False
    return True


def _amqp(parts: SplitResult) -> bool:
    tls = parts.scheme == "amqps"
    connection = AmqpConnection(
        f"{_host(parts)}:{parts.port or (5671 if tls else 5672)}",
        ssl=tls,
        userid=unquote(parts.username or "guest"),
        password=unquote(parts.password or "guest"),
        virtual_host=unquote(parts.path[1:]) or "/",
        connect_timeout=PROBE_TIMEOUT_S,
        read_timeout=PROBE_TIMEOUT_S,
    )
    try:
        connection.connect()
    except (AMQPError, OSError):
        return False
    connection.close()
    return True


def _grpc(parts: SplitResult) -> bool:
    with grpc.insecure_channel(f"{_host(parts)}:{_port(parts)}") as channel:
        try:
            request = health_pb2.HealthCheckRequest(service=parts.path.removeprefix("/"))
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=PROBE_TIMEOUT_S)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _http(url: str) -> str | None:
    try:
        with urllib.request.urlopen(url, timeout=PROBE_TIMEOUT_S) as answer:  # noqa: S310 - http only, see above
            return str(answer.read().decode())
    except (OSError, urllib.error.URLError):
        return None


def _says_up(page: str) -> bool:
    return any(line.startswith("crm_up") and float(line.split()[-1]) == 1 for line in page.splitlines())


def _ami(parts: SplitResult) -> bool:
    login = f"Action: Login\r\nUsername: {parts.username}\r\nSecret: {parts.password}\r\n\r\n"
    try:
        with socket.create_connection((_host(parts), _port(parts)), PROBE_TIMEOUT_S) as link:
            link.sendall(login.encode())
            with link.makefile(encoding="utf-8", errors="replace") as lines:
                # Sent right behind the answer to the login, once everything is loaded.
                return any(line.strip() == "Event: FullyBooted" for line in lines)
    except OSError:
        return False
