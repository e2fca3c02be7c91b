"""The stack starts in order, watches over its processes, says clearly what is wrong, and leaves nothing
behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.errors import LocalError
from deploy.local.health import answers
from deploy.local.ports import LISTEN_PORTS, Ports, is_free
from deploy.local.process import Process, Program, descendants, has_ended
from deploy.local.stack import Stack, require_space
from tests.integration.local.toy import toy
from tests.support.until import until

# Starting a whole stack on two busy cores may take more than a test usually gets.
pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(table=toy, simulators=False, given={}) as running:
        yield running


def described(stack: Stack, name: str) -> dict[str, object]:
    """Return what stack.json says of one process."""
    listed = json.loads((stack.state.path / "stack.json").read_text())["processes"]
    (found,) = [process for process in listed if process["name"] == name]
    return dict(found)


def test_all_of_it_is_healthy(stack: Stack) -> None:
    assert answers(stack.address + "/")
    assert all(process.healthy() for process in stack.processes.values())


def test_a_killed_process_comes_back_and_is_written_down(stack: Stack) -> None:
    before = described(stack, "second")
    stack.kill("second")
    stack.wait_healthy("second")
    until(lambda: described(stack, "second")["restarts"])
    after = described(stack, "second")
    assert after["pid"] != before["pid"]
    assert after["ports"] == before["ports"]


def test_a_process_stays_down_until_it_is_started(stack: Stack) -> None:
    stack.kill("first", stay_down=True)
    assert not stack.processes["first"].alive
    stack.start_process("first")
    assert stack.processes["first"].healthy()


def test_a_killed_broker_comes_back(stack: Stack) -> None:
    stack.kill("rabbitmq")
    stack.wait_healthy("rabbitmq")


def test_what_is_written_down_is_for_its_owner_only(stack: Stack) -> None:
    private = [stack.state.path / "stack.json", *(stack.state.path / "secrets").iterdir()]
    assert len(private) > 3
    for file in private:
        assert file.stat().st_mode & 0o077 == 0, file


def test_a_second_start_is_refused_and_names_the_first(stack: Stack) -> None:
    with pytest.raises(LocalError, match=f"already running .*pid {os.getpid()}"):
        Stack(stack.state.path, table=toy, simulators=False, given={})


def test_a_port_that_was_asked_for_and_is_taken_is_named(state_directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LocalError, match=f"port {port}, asked for gateway-1, is taken"):
            Stack(state_directory, simulators=False, given={}, asked_port=port)


def test_a_shop_without_pbx_and_modem_is_planned_without_their_edges(state_directory: Path) -> None:
    planned = Stack(state_directory, simulators=False, given={})
    planned.stop()
    assert {"customers-1", "gateway-1", "events", "worker"} <= planned.processes.keys()
    assert not {"pbx", "modem", "asterisk", "modem-emulator"} & planned.processes.keys()


def test_a_full_disk_is_said_before_anything_starts(state_directory: Path) -> None:
    with pytest.raises(LocalError, match="GB left on the disk"):
        require_space(state_directory, needed_bytes=10**18)


def test_a_process_that_cannot_start_shows_the_end_of_its_log(state_directory: Path) -> None:
    broken = Stack(state_directory, table=toy, simulators=False, given={})
    blocked = broken.processes["second"].program.ports["listen"]
    with (
        socket.create_server(("127.0.0.1", blocked)),
        pytest.raises(LocalError, match=r"(?s)second .*Address already in use.*second\.log"),
        broken,
    ):
        pass
    assert not any(process.alive for process in broken.processes.values())


def test_a_process_that_stands_back_is_nicer_than_we_are(state_directory: Path) -> None:
    process = Process(Program("nap", ["sleep", "60"], health="", niceness=7), state_directory / "nap.log")
    process.spawn()
    try:
        until(lambda: os.getpriority(os.PRIO_PROCESS, process.pid or 0) == 7)
    finally:
        process.kill()


def test_ports_are_kept_between_starts_and_never_ephemeral(state_directory: Path) -> None:
    file = state_directory / "ports.json"
    port = Ports(file).take("some")
    assert port in LISTEN_PORTS
    assert Ports(file).take("some") == port
    with socket.create_server(("127.0.0.1", port)):
        assert Ports(file).take("some") != port


def test_nobody_takes_a_port_out_of_the_middle_of_a_span_which_the_next_start_finds_again(
    state_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many in a row as calls need; in the narrow range of a test's worker nearly half of all ports."""
    monkeypatch.setenv("LISTEN_PORTS", "31700-31899")
    file = state_directory / "ports.json"
    ports = Ports(file)
    first = ports.take("rtp", datagram=True, span=100)
    others = [ports.take(f"other {number}") for number in range(60)]
    assert set(others).isdisjoint(range(first, first + 100))
    assert Ports(file).take("rtp", datagram=True, span=100) == first


class ForeignStack:
    """The toy stack in a process of its own, as `make demo` runs it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = {**os.environ, "STATE_DIRECTORY": str(directory)}
        with (directory / "output").open("wb") as output:
            self.supervisor = subprocess.Popen(
                [sys.executable, "-m", "tests.integration.local.toy", "toy"],
                cwd=ROOT,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        return (self.directory / "output").read_text()

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m deploy.local` beside it."""
        return subprocess.run(
            [sys.executable, "-m", "deploy.local", *words],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def wait_ready(self) -> list[int]:
        """Wait until it says where to look; return the ids of everything it started."""
        until(lambda: "make down" in self.output or self.supervisor.poll() is not None, timeout_s=150)
        assert self.supervisor.poll() is None, self.output
        return descendants(self.supervisor.pid)


@pytest.fixture
def foreign(state_directory: Path) -> Iterator[ForeignStack]:
    stack = ForeignStack(state_directory)
    yield stack
    if stack.supervisor.poll() is None:
        stack.supervisor.terminate()
    stack.supervisor.wait()


def test_commands_beside_a_running_stack(foreign: ForeignStack) -> None:
    children = foreign.wait_ready()
    assert len(children) > 15
    for step in ("postgresql", "rabbitmq", "temporal", "asterisk", "modem-emulator", "migrate", "desktop"):
        assert f"✓ {step}" in foreign.output

    status = foreign.command("status")
    assert status.returncode == 0, status.stdout
    assert status.stdout.count("正常 ok") == foreign.output.count("✓") - 1  # migrate does not stay

    second = foreign.command("--stack", "toy", "demo")
    assert second.returncode == 1
    assert f"pid {foreign.supervisor.pid}" in second.stderr
    assert "Traceback" not in second.stderr

    call = foreign.command("call", "13800138000", "--to", "4008", "--seconds", "5")
    assert call.returncode == 0, call.stderr

    inbox = foreign.command("sms-inbox")
    assert (inbox.returncode, "no message yet" in inbox.stdout) == (0, True)

    variable = foreign.command("run", "platform")
    assert variable.returncode == 0

    down = foreign.command("down")
    assert down.returncode == 0
    assert foreign.supervisor.wait() == 0
    until(lambda: all(map(has_ended, children)))
    assert foreign.command("status").returncode == 1
    assert "nothing is running" in foreign.command("call", "13800138000").stderr


def test_ctrl_c_in_mid_start_leaves_nothing(foreign: ForeignStack) -> None:
    until(lambda: "✓ postgresql" in foreign.output, timeout_s=30)
    children = descendants(foreign.supervisor.pid)
    foreign.supervisor.send_signal(signal.SIGINT)
    assert foreign.supervisor.wait() == 0
    assert foreign.output.endswith("stopped\n")
    assert all(map(has_ended, children))


def test_killing_the_supervisor_leaves_no_orphan_and_the_next_start_goes_on(foreign: ForeignStack) -> None:
    children = foreign.wait_ready()
    names = {Path(f"/proc/{pid}/comm").read_text().strip() for pid in children}
    assert {"postgres", "epmd", "beam.smp", "temporal", "sipp"} <= names
    port = json.loads((foreign.directory / "toy/ports.json").read_text())["rabbitmq"]
    foreign.supervisor.kill()
    foreign.supervisor.wait()
    until(lambda: all(map(has_ended, children)))
    assert is_free(port)
    again = ForeignStack(foreign.directory)
    again.wait_ready()
    assert again.command("down").returncode == 0
    assert again.supervisor.wait() == 0
