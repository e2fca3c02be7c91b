"""The API of customers as a process that dies where it is told to, and is started again at its address."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from deploy.local.health import answers
from tests.support.until import until

ROOT = Path(__file__).resolve().parents[3]


class Api:
    """The API's process at one address, started as often as it dies."""

    def __init__(self, environment: Mapping[str, str], port: int) -> None:
        self._environment = environment
        self.address = f"127.0.0.1:{port}"

    @contextmanager
    def alive(self, number: int = 0, place: str = "") -> Iterator["subprocess.Popen[bytes]"]:
        """Run it, to die at this place, or at the end."""
        command = [sys.executable, "-m", "tests.integration.customers.dying_pools", str(number), place]
        with subprocess.Popen(command, env={**os.environ, **self._environment}, cwd=ROOT) as process:
            try:
                until(lambda: process.poll() is not None or answers(f"grpc://{self.address}"), 60)
                assert process.poll() is None, "the API ended before it served"
                yield process
            finally:
                process.kill()
