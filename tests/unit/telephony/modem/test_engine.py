"""One conversation at a time over a line that carries others: answers, unsolicited lines, late results,
prompts."""

import pytest

from services.telephony.modem import commands
from services.telephony.modem.commands import CommandError
from services.telephony.modem.engine import AnswerLostError, Engine, LinkLostError, NoAnswerError
from services.telephony.modem.framing import Line
from tests.support.modem import Script

PDU = "0031000D91683108108300F00008A70860A8597DFF0C864E"
REPORT = b"\r\n+CDS: 26\r\n0891683108100005F006010D91683108108300F0621112912515236211129125152300\r\n"
RESYNC = ((b"\x1b\r", b""), (b"AT\r", b"\r\nOK\r\n"), (b"AT\r", b"\r\nOK\r\n"))


def engine_for(script: Script) -> Engine:
    return Engine(script, script.clock)


def submit(engine: Engine, log: list[str] | None = None) -> int | None:
    return engine.submit(PDU, 23, lambda: (log if log is not None else []).append("intent"), 120)


def test_an_answer_is_what_the_command_owns_and_everything_else_is_unsolicited() -> None:
    """python-gsmmodem's fault: a line that came in between became part of the answer."""
    script = Script((b"AT+CSQ\r", b'AT+CSQ\r\r\n+CMTI: "SM",3\r\n\r\n+CSQ: 21,99\r\n\r\nRING\r\n\r\nOK\r\n'))
    engine = engine_for(script)
    assert engine.run(commands.SIGNAL) == [Line("+CSQ: 21,99")]
    assert list(engine.unsolicited) == [Line('+CMTI: "SM",3'), Line("RING")]


def test_an_unsolicited_registration_is_not_taken_for_the_answer() -> None:
    """`+CREG` is both; only the answer has the mode before the state."""
    answer = b'\r\n+CREG: 2\r\n\r\n+CREG: 5,"1A2B","00C3"\r\n\r\n+CREG: 2,1,"1A2B","00C3",7\r\n\r\nOK\r\n'
    engine = engine_for(Script((b"AT+CREG?\r", answer)))
    assert [line.text for line in engine.run(commands.REGISTRATION)] == ['+CREG: 2,1,"1A2B","00C3",7']
    assert [line.text for line in engine.unsolicited] == ["+CREG: 2", '+CREG: 5,"1A2B","00C3"']


def test_a_late_answer_is_not_taken_for_the_next_commands() -> None:
    """After a time-out the line is brought into step before anything else is asked."""
    script = Script((b"AT+CSQ\r", b""), *RESYNC, (b"AT+CREG?\r", b"\r\n+CREG: 0,1\r\n\r\nOK\r\n"))
    engine = engine_for(script)
    with pytest.raises(NoAnswerError):
        engine.run(commands.SIGNAL)
    script.say(b"\r\n+CSQ: 21,99\r\n\r\nOK\r\n")
    assert [line.text for line in engine.run(commands.REGISTRATION)] == ["+CREG: 0,1"]
    assert script.finished


def test_a_second_result_of_one_command_is_dropped() -> None:
    """ofono-phonesim answers AT+CMGR of an empty place with ERROR and then OK."""
    script = Script((b"AT+CMGD=1\r", b"\r\nERROR\r\nOK\r\n"), (b"AT+CSQ\r", b"\r\n+CSQ: 31,99\r\n\r\nOK\r\n"))
    engine = engine_for(script)
    with pytest.raises(CommandError):
        engine.run(commands.delete(1))
    assert engine.run(commands.SIGNAL) == [Line("+CSQ: 31,99")]


def test_a_modem_that_refuses_a_bare_at_is_in_step_all_the_same() -> None:
    """ofono-phonesim does."""
    script = Script((b"\x1b\r", b""), (b"AT\r", b"\r\nERROR\r\n"), (b"AT\r", b"\r\nERROR\r\n"))
    engine_for(script).resync()
    assert script.finished


def test_a_silent_modem_is_lost() -> None:
    """Five questions without an answer."""
    with pytest.raises(LinkLostError):
        engine_for(Script((b"\x1b\r", b""), *[(b"AT\r", b"")] * 5)).resync()


def test_ctrl_z_is_written_after_the_intent_is_durable() -> None:
    """F199; the intent is the last thing before the point of no return."""
    log: list[str] = []
    script = Script(
        (b"AT+CMGS=23\r", b"AT+CMGS=23\r\r\n> "),
        (PDU.encode(), PDU.encode()),
        (b"\x1a", b"\x1a\r\n" + REPORT + b"\r\n+CMGS: 257\r\n\r\nOK\r\n"),
    )
    engine = engine_for(script)
    assert submit(engine, log) == 1
    assert log == ["intent"]
    assert [line.text for line in engine.unsolicited] == ["+CDS: 26"]


def test_a_report_while_the_prompt_is_open_does_not_disturb_the_message() -> None:
    """smstools loses the message there: it answers the report inside the prompt."""
    script = Script(
        (b"AT+CMGS=23\r", b"\r\n> " + REPORT), (PDU.encode(), b""), (b"\x1a", b"\r\n+CMGS: 7\r\n\r\nOK\r\n")
    )
    engine = engine_for(script)
    assert submit(engine) == 7
    assert engine.unsolicited[0].pdu.startswith("0891")


def test_a_refusal_after_ctrl_z_is_a_refusal() -> None:
    """The network has not taken it."""
    script = Script((b"AT+CMGS=23\r", b"\r\n> "), (PDU.encode(), b""), (b"\x1a", b"\r\n+CMS ERROR: 38\r\n"))
    with pytest.raises(CommandError) as refusal:
        submit(engine_for(script))
    assert refusal.value.code == 38


def test_no_prompt_means_that_nothing_was_sent() -> None:
    """The escape that follows cancels a prompt that comes late."""
    log: list[str] = []
    script = Script((b"AT+CMGS=23\r", b""), (b"\x1b", b""))
    with pytest.raises(NoAnswerError):
        submit(engine_for(script), log)
    assert log == []
    assert script.finished


def test_a_store_that_refuses_the_intent_cancels_the_message() -> None:
    """Escape instead of Ctrl-Z, and the line is brought into step before the next command."""
    script = Script(
        (b"AT+CMGS=23\r", b"\r\n> "),
        (PDU.encode(), b""),
        (b"\x1b", b"\r\nOK\r\n"),
        *RESYNC,
        (b"AT+CSQ\r", b"\r\n+CSQ: 21,99\r\n\r\nOK\r\n"),
    )
    engine = engine_for(script)

    def refuse() -> None:
        raise OSError("no store")

    with pytest.raises(OSError, match="no store"):
        engine.submit(PDU, 23, refuse, 120)
    assert engine.run(commands.SIGNAL) == [Line("+CSQ: 21,99")]


def test_silence_after_ctrl_z_is_an_answer_lost() -> None:
    """Nobody knows; the caller must not send it again."""
    script = Script((b"AT+CMGS=23\r", b"\r\n> "), (PDU.encode(), b""), (b"\x1a", b"\r\n+CREG: 1\r\n"))
    before = script.clock()
    with pytest.raises(AnswerLostError):
        submit(engine_for(script))
    assert script.clock() - before >= 120


def test_a_reference_without_its_ok_is_a_message_sent() -> None:
    """Some modems forget that OK, some lines break between the two."""
    script = Script((b"AT+CMGS=23\r", b"\r\n> "), (PDU.encode(), b""), (b"\x1a", b"\r\n+CMGS: 9\r\n"))
    before = script.clock()
    assert submit(engine_for(script)) == 9
    assert script.clock() - before < 5


def test_ok_without_a_reference_is_a_message_sent_without_one() -> None:
    """Its reports can only be matched by number and time."""
    script = Script((b"AT+CMGS=23\r", b"\r\n> "), (PDU.encode(), b""), (b"\x1a", b"\r\nOK\r\n"))
    assert submit(engine_for(script)) is None
