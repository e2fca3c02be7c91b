"""Pick loopback ports and remember them, so that a restarted process is found where it was."""

from __future__ import annotations

import json
import os
import random
import socket
from pathlib import Path

from deploy.local.errors import LocalError

# Below Linux's ephemeral range (32768 and up): a client that keeps reconnecting to a port of that range while
# its server is down can be given the very same port as its own, connect to itself, and keep the server from
# coming back.
LISTEN_PORTS = range(15000, 32000)


def listen_ports() -> range:
    """Return the ports to pick from: LISTEN_PORTS of the environment ("15000-18999"), else all.

    A port is free until its process listens: stacks that start at the same moment need ranges of their own.
    """
    first, _, last = os.environ.get("LISTEN_PORTS", "").partition("-")
    return range(int(first), int(last) + 1) if first and last else LISTEN_PORTS


def is_free(port: int, *, host: str = "127.0.0.1", datagram: bool = False) -> bool:
    """Tell whether a TCP (or UDP, with `datagram`) port of that address can be listened on now."""
    kind = socket.SOCK_DGRAM if datagram else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as probe:
        if not datagram:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


class Ports:
    """Hold the ports of one stack by name; `file` (JSON, or None) keeps them between starts."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._ports: dict[str, int] = json.loads(file.read_text()) if file and file.exists() else {}
        self._spans: dict[str, int] = {}

    def take(
        self,
        name: str,
        *,
        host: str = "127.0.0.1",
        datagram: bool = False,
        span: int = 1,
        prefer: int | None = None,
    ) -> int:
        """Return the first of `span` free ports: the one used before, else `prefer`, else any.

        Who takes more than one takes them before all others, in every start: the file does not say how many it were.
        """
        ports = listen_ports()
        # A span that went past the last port would be in somebody else's range.
        firsts = ports[: len(ports) - span + 1]
        for port in (self._ports.get(name), prefer, *random.sample(firsts, min(len(firsts), 500))):
            if (
                port is not None
                and self._unclaimed(name, port, span)
                and self._all_free(host, port, span, datagram)
            ):
                self._spans[name] = span
                return self._keep(name, port)
        raise LocalError(f"没有空闲端口 / no free port for {name} between {ports.start} and {ports.stop}")

    def demand(self, name: str, port: int, *, host: str = "127.0.0.1") -> int:
        """Return exactly this TCP port, or raise LocalError when somebody listens there already."""
        if not is_free(port, host=host):
            raise LocalError(
                f"端口 {port} 已被占用，请换一个 / port {port}, asked for {name}, is taken on {host}; "
                f"`ss -ltnp 'sport = :{port}'` tells by whom"
            )
        return self._keep(name, port)

    def _unclaimed(self, name: str, port: int, span: int) -> bool:
        return not any(
            taken < port + span and port < taken + self._spans.get(other, 1)
            for other, taken in self._ports.items()
            if other != name
        )

    @staticmethod
    def _all_free(host: str, port: int, span: int, datagram: bool) -> bool:
        # Of a wide span (RTP) the two ends tell enough: both belong to whoever took the span.
        return all(is_free(each, host=host, datagram=datagram) for each in {port, port + span - 1})

    def _keep(self, name: str, port: int) -> int:
        self._ports[name] = port
        if self._file:
            self._file.write_text(json.dumps(self._ports, indent=1))
        return port
