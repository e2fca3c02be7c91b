"""Programs that others wrote send, receive and get reports through the emulator: it is not judged by its own alone."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gammu
import pytest

from tests.support.modem import Emulator, emulator
from tests.support.until import until

FIRST, SECOND = "+8613800138000", "+8613900139000"
LONG = "您好，预约提醒，" * 20


@pytest.fixture
def modem(tmp_path: Path) -> Iterator[Emulator]:
    """Run an emulator."""
    with emulator(tmp_path) as running:
        yield running


def test_gammu_sends_receives_and_gets_reports(modem: Emulator, tmp_path: Path) -> None:
    """libGammu by python-gammu, set up by a file as its users do."""
    config = tmp_path / "gammurc"
    config.write_text(f"[gammu]\ndevice = {modem.link}\nconnection = at115200\nsynchronizetime = no\n")
    phone = gammu.StateMachine()
    phone.ReadConfig(Filename=str(config))
    phone.Init()
    try:
        phone.SetIncomingCallback(lambda *_: None)
        phone.SetIncomingSMS(True)
        references = [
            phone.SendSMS(segment) for text in (LONG, "Hello {x} €") for segment in gammu_segments(text)
        ]
        arrived = [json.loads(line)["text"] for line in modem.inbox.read_text().splitlines()]
        assert arrived == [LONG, "Hello {x} €"]
        modem.tell("receive", number=SECOND, text="收到，明天见")
        reported = set()
        received: list[tuple[str, str]] = []

        def everything_came() -> bool:
            for message in gammu_messages(phone):
                if message["Type"] == "Status_Report":
                    assert message["DeliveryStatus"] == 0
                    reported.add(message["MessageReference"])
                else:
                    received.append((message["Number"], message["Text"]))
                phone.DeleteSMS(0, message["Location"])
            return reported == set(references) and received == [(SECOND, "收到，明天见")]

        until(everything_came)
    finally:
        phone.Terminate()


def gammu_segments(text: str) -> list[dict[str, Any]]:
    """Have gammu cut a text up."""
    unicode = any(ord(char) > 255 and char != "€" for char in text)
    entries = [{"ID": "ConcatenatedTextLong", "Buffer": text}]
    segments: list[dict[str, Any]] = gammu.EncodeSMS({"Class": -1, "Unicode": unicode, "Entries": entries})
    for segment in segments:
        segment.update(SMSC={"Location": 1}, Number=FIRST, Type="Status_Report")
    return segments


def gammu_messages(phone: Any) -> list[dict[str, Any]]:
    """List what gammu finds in the modem."""
    found: list[dict[str, Any]] = []
    try:
        message = phone.GetNextSMS(Folder=0, Start=True)
        while True:
            found += message
            message = phone.GetNextSMS(Folder=0, Location=message[0]["Location"])
    except gammu.ERR_EMPTY:
        return found


def test_smstools_sends_receives_and_gets_reports(modem: Emulator, tmp_path: Path) -> None:
    """The smsd of Debian's smstools, asking for stored reports."""
    smsd = shutil.which("smsd", path="/usr/sbin:/usr/bin")
    if smsd is None:
        pytest.skip("smsd (Debian package smstools) is not installed")
    folders = {
        name: tmp_path / name for name in ("outgoing", "checked", "incoming", "failed", "sent", "report")
    }
    for folder in folders.values():
        folder.mkdir()
    (folders["outgoing"] / "long").write_text(f"To: {FIRST[1:]}\nReport: yes\nAlphabet: UTF-8\n\n{LONG}")
    settings = {
        "devices": "GSM1",
        "delaytime": "1",
        "stats_interval": "0",
        **{name: str(folder) for name, folder in folders.items()},
        **{name: str(tmp_path / name) for name in ("infofile", "pidfile", "logfile")},
    }
    device = {"device": modem.link, "init": "AT+CNMI=2,1,0,2,0", "incoming": "yes", "report": "yes"}
    config = tmp_path / "smsd.conf"
    config.write_text(
        "\n".join(
            [
                *(f"{name} = {value}" for name, value in settings.items()),
                "[GSM1]",
                *(f"{name} = {value}" for name, value in device.items()),
                "",
            ]
        )
    )
    modem.tell("receive", number=SECOND, text="收到，明天见")
    with subprocess.Popen(
        [smsd, "-c", str(config), "-t"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as daemon:
        try:
            until(lambda: LONG in modem.inbox.read_text(), timeout_s=60)
            until(lambda: contents(folders["report"]).count(b"Status: 0,Ok") == 3, timeout_s=60)
            until(lambda: "收到，明天见".encode("utf-16-be") in contents(folders["incoming"]), timeout_s=60)
        except AssertionError as error:
            raise AssertionError((tmp_path / "logfile").read_text()) from error
        finally:
            daemon.terminate()
    assert contents(folders["failed"]) == b""


def contents(folder: Path) -> bytes:
    """Return what all files of a folder hold."""
    return b"".join(path.read_bytes() for path in folder.iterdir())
