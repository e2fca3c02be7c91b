"""Notify's store, without a relay: a test delivers what the outbox would; and a real mail server."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from services.chassis.db import Store
from services.chassis.settings import Settings
from services.notify.__main__ import SERVICE
from services.notify.channels import Mail


@pytest.fixture(scope="module")
def store(settings: Settings) -> Iterator[Store]:
    """Notify's store."""
    runtime = SERVICE.runtime(settings, {})
    yield runtime.store
    runtime.store.close()


class Postbox:
    """A mail server's handler that keeps what it takes, or answers as told."""

    def __init__(self) -> None:
        self.mails: list[bytes] = []
        self.receiver_answers: list[str] = []

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if self.receiver_answers:
            return self.receiver_answers.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.mails.append(envelope.content)
        return "250 OK"


@pytest.fixture
def postbox() -> Iterator[tuple[Postbox, Mail]]:
    """A real SMTP server, and mail that goes through it."""
    box = Postbox()
    with socket.create_server(("127.0.0.1", 0)) as free:
        # The controller wants to know its port beforehand.
        port = free.getsockname()[1]
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    yield box, Mail(f"smtp://127.0.0.1:{port}", "crm@example.cn")
    controller.stop()
