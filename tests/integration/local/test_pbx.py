"""The private Asterisk takes calls, records them, and keeps to itself."""

from __future__ import annotations

import socket
import wave
from collections.abc import Iterator

import pytest

from deploy.local.pbx.asterisk import PrivatePbx
from tests.support.until import until


@pytest.fixture(scope="module")
def pbx() -> Iterator[PrivatePbx]:
    with PrivatePbx(ring_s=1) as running:
        yield running


def ami_answer(pbx: PrivatePbx, action: str) -> str:
    """Log in as the service and return what one action is answered, up to the next empty line."""
    host, _, port = pbx.ami_address.partition(":")
    login = f"Action: Login\r\nUsername: {pbx.ami_user}\r\nSecret: {pbx.ami_secret}\r\nEvents: off\r\n\r\n"
    with socket.create_connection((host, int(port)), 5) as link, link.makefile("r", newline="\r\n") as lines:
        link.sendall(f"{login}{action}\r\nActionID: asked\r\n\r\n".encode())
        for line in lines:
            if line == "ActionID: asked\r\n":
                return "".join(iter(lines.readline, "\r\n"))
    raise AssertionError("AMI closed the connection")


def test_a_call_to_the_queue_is_answered_and_recorded(pbx: PrivatePbx) -> None:
    call = pbx.call("13800138000", to="4000", seconds=4)
    until(lambda: not call.alive, timeout_s=20)
    assert call.exit_code == 0
    (recording,) = until(lambda: list(pbx.recordings.glob("pbx1-*.wav")))
    with wave.open(str(recording)) as sound:
        assert sound.getframerate() == 8000
        assert sound.getnframes() > 8000
        assert max(sound.readframes(sound.getnframes())) > 0


def test_a_call_to_one_agent_is_answered_by_that_agent(pbx: PrivatePbx) -> None:
    call = pbx.call("13800138001", to="4101", seconds=1)
    until(lambda: not call.alive, timeout_s=20)
    assert call.exit_code == 0
    records = pbx.state.path / "asterisk/log/cdr-csv/Master.csv"
    until(lambda: [line for line in records.read_text().splitlines() if "13800138001" in line])
    (record,) = [line for line in records.read_text().splitlines() if "13800138001" in line]
    assert '"4101"' in record
    assert "PJSIP/1101-" in record
    assert "ANSWERED" in record


def test_a_phone_can_be_told_to_let_it_ring(pbx: PrivatePbx) -> None:
    pbx.set_ring("1101", 600)
    call = pbx.call("13800138002", to="4101", seconds=1)
    until(lambda: "ChannelStateDesc: Ringing" in ami_answer_events(pbx), timeout_s=10)
    call.kill()
    pbx.set_ring("1101", 1)


def ami_answer_events(pbx: PrivatePbx) -> str:
    """Return the list of live channels."""
    host, _, port = pbx.ami_address.partition(":")
    login = f"Action: Login\r\nUsername: {pbx.ami_user}\r\nSecret: {pbx.ami_secret}\r\n\r\n"
    with socket.create_connection((host, int(port)), 5) as link, link.makefile("r", newline="\r\n") as lines:
        link.sendall(f"{login}Action: CoreShowChannels\r\n\r\n".encode())
        return "".join(iter(lines.readline, "Event: CoreShowChannelsComplete\r\n"))


def test_the_service_may_read_channels_but_run_no_command(pbx: PrivatePbx) -> None:
    assert "Permission denied" in ami_answer(pbx, "Action: Command\r\nCommand: core show version")
    assert "Permission denied" in ami_answer(pbx, "Action: MixMonitor\r\nChannel: any\r\nCommand: /bin/true")
    assert "Channels will follow" in ami_answer(pbx, "Action: CoreShowChannels")


def test_asterisk_killed_comes_back_on_the_same_ports(pbx: PrivatePbx) -> None:
    asterisk = pbx.processes["asterisk"]
    asterisk.kill()
    assert not asterisk.healthy()
    asterisk.start()
    call = pbx.call("13800138003", to="4008", seconds=5)
    until(lambda: not call.alive, timeout_s=20)
    assert call.exit_code == 0


def test_two_stand_side_by_side(pbx: PrivatePbx) -> None:
    with PrivatePbx(ring_s=1, name="pbx2") as other:
        calls = [each.call("13800138004", to="4001", seconds=1) for each in (pbx, other)]
        until(lambda: not any(call.alive for call in calls), timeout_s=20)
        assert [call.exit_code for call in calls] == [0, 0]


def test_the_load_queue_holds_many_calls(pbx: PrivatePbx) -> None:
    numbers = [f"139{number:08}" for number in range(40)]
    load = pbx.caller.place(numbers, "4005", seconds=2, calls=40, rate_per_s=20, media=False)
    load.start()
    until(lambda: not load.alive, timeout_s=30)
    assert load.exit_code == 0
