"""The modem emulator as other programs have talked to modems."""

import json
import re
from pathlib import Path

import pytest

from deploy.local.modem_emulator.modem import Fault
from tests.support.modem import Wire

DIALOGS = Path(__file__).parents[3] / "fixtures" / "modem" / "dialogs"
RESULTS = {
    "OK": r"\r\nOK\r\n$",
    "refused": r"\r\n(ERROR|\+CM[SE] ERROR: \d+)\r\n$",
    "prompt": r"\r\n> $",
    "nothing": r"^\r?$",
}


def talk(wire: Wire, typed: str, for_s: float = 0.1) -> str:
    """Type, and return what the modem says in that time."""
    wire.write(typed.encode())
    heard, end = b"", wire.clock.now + for_s
    while wire.clock.now < end:
        heard += wire.read(end - wire.clock.now)
    return heard.decode()


@pytest.mark.parametrize(
    ("program", "text"),
    [
        ("gammu", "这是一条很长的提醒短信内容" * 15),
        ("gnokii", "您好，明天九点预约"),
        ("kannel", "您好，明天九点预约" + "这是一条很长的提醒短信内容" * 5 + "这是一条很"),
    ],
)
def test_recorded_programs_are_answered_as_the_modem_then_did(program: str, text: str) -> None:
    """Whole dialogs of clients that are not run here; the message they sent arrives."""
    wire = Wire()
    for line in (DIALOGS / f"{program}.jsonl").read_text().splitlines():
        step = json.loads(line)
        assert re.search(RESULTS[step["result"]], talk(wire, step["sent"])), step
    assert "".join(taken.text for taken in wire.taken) == text


def test_compound_commands_are_run_in_order_up_to_the_first_refusal() -> None:
    """V.250 5.2; smstools types `AT+CMEE=1;+CREG=2`."""
    wire = Wire()
    assert talk(wire, "ATE0\rAT+CMEE=1;+CREG=2\r").endswith("\r\nOK\r\n\r\nOK\r\n")
    assert talk(wire, "AT+CSQ;+NOSUCH;+CREG?\r") == "\r\n+CSQ: 21,99\r\n\r\n+CME ERROR: 100\r\n"


def test_unsolicited_lines_wait_while_the_prompt_is_open() -> None:
    """And come when it closes, here by an escape."""
    wire = Wire()
    talk(wire, "ATE0\rAT+CNMI=2,1,0,1,0\rAT+CMGS=23\r")
    wire.receive("+8613900139000", "您好")
    assert talk(wire, "0031") == ""
    assert talk(wire, "\x1b") == '\r\nOK\r\n\r\n+CMTI: "SM",1\r\n'


@pytest.mark.parametrize(
    "typed", ["AT+CMGR=7\r", "AT+CMGD=7\r", 'AT+CPMS="XX"\r', "AT+CNMI=9\r", "AT+CMGF=1\r"]
)
def test_what_makes_no_sense_is_refused_by_number(typed: str) -> None:
    """+CMS ERROR once AT+CMEE=1 was said, else a bare ERROR."""
    wire = Wire()
    assert talk(wire, "ATE0\r" + typed).endswith("\r\nERROR\r\n")
    assert re.search(r"\r\n\+CMS ERROR: \d+\r\n$", talk(wire, "AT+CMEE=1\r" + typed))


def test_a_pdu_that_is_not_what_it_says_is_refused_and_not_sent() -> None:
    """Wrong length, not hex, not a SUBMIT."""
    wire = Wire()
    for octets, typed in ((5, "0011"), (2, "zz"), (2, "000400")):
        assert talk(wire, f"ATE0\rAT+CMGS={octets}\r{typed}\x1a").endswith("ERROR\r\n")
    assert wire.taken == []


def test_a_fault_strikes_as_often_as_told_and_only_its_number() -> None:
    """So that a test can say what goes wrong."""
    wire = Wire()
    wire.conditions.faults.append(Fault(cms_error=38, number="+8613800138000", count=2))
    sent = "ATE0\rAT+CMEE=1\rAT+CMGS=23\r0031000D91683108108300F00008A70860A8597DFF0C864E\x1a"
    for _ in range(2):
        assert talk(wire, sent).endswith("\r\n+CMS ERROR: 38\r\n")
    assert talk(wire, sent).endswith("\r\n+CMGS: 1\r\n\r\nOK\r\n")
