"""Tell a person what is on a port and whether it can send: python -m services.telephony.modem.check PORT [BAUD].

Asks the modem the questions that a session asks, shows what it says, and sends nothing. Exit code 0 if
messages could go out, 1 if not. The modem must not be in use: stop the modem process first.
"""

import re
import sys

from services.telephony.modem import commands
from services.telephony.modem.commands import Command, CommandError
from services.telephony.modem.engine import Engine, LinkLostError, NoAnswerError
from services.telephony.modem.link import SerialTransport
from services.telephony.modem.session import Settings

# What is asked, and how it is called. A bare answer has no prefix: anything but an unsolicited line.
_BARE = re.compile(r"[^+^*]")
_QUESTIONS = (
    ("厂商 manufacturer", Command("AT+CGMI", _BARE)),
    ("型号 model", Command("AT+CGMM", _BARE)),
    ("固件 firmware", Command("AT+CGMR", _BARE)),
    ("串号 IMEI", Command("AT+CGSN", _BARE)),
    ("SIM 卡 SIM", commands.SIM_STATE),
    ("网络 registration", commands.REGISTRATION),
    ("LTE 网络 LTE registration", commands.LTE_REGISTRATION),
    ("运营商 operator", Command("AT+COPS?", re.compile(r"\+COPS:"))),
    ("信号 signal", commands.SIGNAL),
    ("短信中心 service centre", commands.SERVICE_CENTRE),
    ("存储 memories", commands.MEMORIES),
)


def main(port: str, baud: int = Settings.baud) -> int:
    """Ask everything and print the answers; return the exit code."""
    try:
        with SerialTransport(port, baud) as transport:
            engine = Engine(transport)
            engine.resync()
            return _report(engine)
    except (LinkLostError, NoAnswerError) as error:
        _say("连接 connection", f"失败 failed: {error}")
        return 1


def _report(engine: Engine) -> int:
    for setting in (commands.ECHO_OFF, commands.NUMERIC_ERRORS):
        _ask(engine, setting)
    answers = {}
    for name, question in _QUESTIONS:
        answers[question] = _ask(engine, question)
        _say(name, answers[question])
    pdu_mode = _ask(engine, commands.PDU_MODE) == ""
    _say("PDU 模式 PDU mode", "可用 yes" if pdu_mode else "不可用 no")
    indications = next((mode for mode in commands.NEW_MESSAGE_INDICATIONS if _ask(engine, mode) == ""), None)
    _say("送达报告 delivery reports", _reports(indications))
    registrations = [answers[commands.REGISTRATION], answers[commands.LTE_REGISTRATION]]
    ready = (
        pdu_mode
        and "READY" in answers[commands.SIM_STATE]
        and any(commands.is_registered(answer) for answer in registrations)
    )
    _say("结论 verdict", "可以发送短信 ready to send" if ready else "不能发送短信 cannot send")
    return 0 if ready else 1


def _reports(indications: Command | None) -> str:
    """Say what the modem does with delivery reports."""
    kept, passed_on, _ = commands.NEW_MESSAGE_INDICATIONS
    if indications is kept:
        return "保存在模块中 kept in the modem"
    return "即时转发 passed on at once" if indications is passed_on else "没有 none"


def _ask(engine: Engine, command: Command) -> str:
    """Return the answer lines, or what the modem said instead."""
    try:
        return " | ".join(line.text for line in engine.run(command))
    except CommandError as error:
        return str(error)


def _say(name: str, value: str) -> None:
    sys.stdout.write(f"{name}: {value}\n")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("用法 usage: python -m services.telephony.modem.check PORT [BAUD]")
    sys.exit(main(sys.argv[1], *map(int, sys.argv[2:])))
