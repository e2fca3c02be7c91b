"""What is committed follows from the code: queues from handlers; and the event process keeps its runtime to itself."""

import subprocess
import sys

from services.__main__ import load
from services.chassis.amqp import manifest, read_manifest


def test_the_committed_queues_are_those_of_the_handlers() -> None:
    """Run `python -m services queues` after a handler came or went."""
    handlers = [handler for service in load() if service.handlers for handler in service.handlers().all]
    assert read_manifest() == manifest(handlers)


def test_a_handler_name_is_unique_in_its_service() -> None:
    """The inbox knows handlers by name."""
    for service in load():
        if service.handlers:
            names = [handler.name for handler in service.handlers().all]
            assert len(names) == len(set(names))


def test_the_event_process_loads_neither_grpc_nor_temporal() -> None:
    """One concurrency runtime in a process: a patched one with grpc hangs past its deadlines."""
    code = (
        "from services.chassis.service import patch_for_nameko; patch_for_nameko()\n"
        "import sys\n"
        "from services.__main__ import load\n"
        "import services.chassis.nameko_host\n"
        "[service.handlers() for service in load() if service.handlers]\n"
        "print([name for name in ('grpc', 'temporalio') if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
