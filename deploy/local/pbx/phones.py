"""Simulate phones that answer and callers outside, with SIPp (Debian's sip-tester).

`sipp/tone.al` is what a caller says: one second of 440 Hz, A-law, 8000 samples a second.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from deploy.local.account import Account
from deploy.local.errors import LocalError
from deploy.local.ports import Ports
from deploy.local.process import BARE_ENVIRONMENT, Process, Program
from deploy.local.state import write_private

SCENARIOS = Path(__file__).parent / "sipp"
# Where calls from outside come from; the PBX knows its carrier by this address.
CARRIER_HOST = "127.0.0.2"


def phone_scenario(ring_s: float) -> str:
    """Return what a phone does that takes every call after ringing for so long."""
    return (SCENARIOS / "phone.xml").read_text().replace("@RING_MS@", str(round(ring_s * 1000)))


def phone_program(
    *,
    name: str,
    host: str,
    port: int,
    media_port: int,
    sip_port: int,
    scenario: str,
    directory: Path,
    account: Account | None,
) -> Program:
    """Return a phone at `host`:`port` that does with every call what the scenario says, and echoes what it hears."""
    file = directory / f"{name}.xml"
    return Program(
        name=name,
        argv=[
            *(*_sipp(), f"127.0.0.1:{sip_port}", "-sf", str(file)),
            *("-i", host, "-p", str(port), "-mi", host, "-mp", str(media_port), "-rtp_echo"),
        ],
        env=BARE_ENVIRONMENT | {"TERM": "dumb"},
        health=f"udp://{host}:{port}",
        prepare=lambda: write_private(file, scenario, account),
        account=account,
        cwd=directory,
        ports={"sip": port},
    )


class Caller:
    """Places calls into a PBX (by its SIP port) from the carrier's address or a phone's; files go to `directory`."""

    def __init__(self, sip_port: int, directory: Path, host: str = CARRIER_HOST) -> None:
        self._sip_port = sip_port
        self._directory = directory
        self._host = host

    def place(
        self,
        numbers: Sequence[str],
        to: str,
        seconds: float,
        *,
        calls: int = 1,
        rate_per_s: int = 1,
        media: bool = True,
        trace: Path | None = None,
    ) -> Process:
        """Return, not yet started, `calls` calls to the number `to`, from each of `numbers` in turn.

        Each call lasts `seconds` from the PBX's answer on. Without `media` it is silent, which a load wants. trace: the
        file into which SIPp writes each SIP message and when it went or came.
        """
        ports = Ports()
        port = ports.take("sip", host=self._host, datagram=True)
        media_port = ports.take("rtp", host=self._host, datagram=True, span=4)
        base = self._directory / f"caller-{port}"
        scenario, callers = base.with_suffix(".xml"), base.with_suffix(".csv")
        stream = f'<nop><action><exec rtp_stream="{SCENARIOS}/tone.al,-1,8,PCMA/8000"/></action></nop>'
        text = (
            (SCENARIOS / "caller.xml")
            .read_text()
            .replace("@TALK_MS@", str(round(seconds * 1000)))
            .replace("@MEDIA@", stream if media else "")
            .replace("@MEDIA_PORT@", "rtpstream_audio_port" if media else "media_port")
        )

        def prepare() -> None:
            write_private(scenario, text)
            write_private(callers, "SEQUENTIAL\n" + "".join(f"{number}\n" for number in numbers))

        program = Program(
            name=f"caller-{port}",
            argv=[
                *(*_sipp(), f"127.0.0.1:{self._sip_port}", "-sf", str(scenario), "-inf", str(callers)),
                *("-i", self._host, "-p", str(port), "-mi", self._host, "-mp", str(media_port)),
                *("-s", to, "-m", str(calls), "-r", str(rate_per_s), "-l", str(calls)),
                *(("-trace_msg", "-message_file", str(trace)) if trace else ()),
            ],
            env=BARE_ENVIRONMENT | {"TERM": "dumb"},
            health="",
            prepare=prepare,
            cwd=self._directory,
        )
        return Process(program, base.with_suffix(".log"))


def _sipp() -> list[str]:
    sipp = shutil.which("sipp")
    if not sipp:
        raise LocalError("缺少 SIPp，请先安装 / SIPp is missing: apt-get install sip-tester")
    # No keyboard, and its screen of figures once an hour instead of each second.
    return [sipp, "-nostdin", "-f", "3600"]
