"""Name the AT commands in use, how their answers look, and what their errors mean.

Sources: 3GPP TS 27.007 and 27.005, V.250. A command says by a pattern which lines are its answer; with
everything that a modem may say unasked in between, nothing else tells them apart.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from services.telephony.modem.port import Failure


@dataclass(frozen=True)
class Command:
    """Hold one command line, the pattern of its answer lines (None: only a final result) and its time-out."""

    line: str
    answer: re.Pattern[str] | None = None
    timeout_s: float = 5.0

    def owns(self, text: str) -> bool:
        """Tell whether a line is this command's answer rather than something said unasked."""
        return self.answer is not None and self.answer.match(text) is not None


class CommandError(Exception):
    """Hold a modem's refusal in its own words.

    kind and code: of `+CMS ERROR: code` or `+CME ERROR: code`, empty and None for a bare ERROR.
    """

    def __init__(self, words: str) -> None:
        super().__init__(words)
        found = re.fullmatch(r"\+(CMS|CME) ERROR: ?(\d+)", words)
        self.kind = found[1] if found else ""
        self.code = int(found[2]) if found else None


class Repair(Enum):
    """Name what the engine can mend itself before the segment is tried again."""

    # The message memory is full: keep what it holds, then delete it.
    MEMORY_FULL = 322
    # The service centre's number is missing: write back the one read at the start.
    SERVICE_CENTRE = 330


# V.250 5.7.1 and the vendors' own ways to say that a command is over. Anchored: `OK` inside a text is no
# result.
_FINAL = re.compile(
    r"OK|ERROR|\+CM[SE] ERROR: ?.*|COMMAND NOT SUPPORT|TOO MANY PARAMETERS|NO CARRIER|ABORTED"
)

# +CMS ERROR (TS 27.005 3.2.5; below 128 the network's causes of TS 24.011 annex E). Codes from 512 on are the
# vendor's.
CMS_FAILURES: Mapping[int, Failure] = (
    dict.fromkeys((17, 22, 27, 38, 41, 42, 47, 314, 331, 332, 500), Failure.RETRY)
    | dict.fromkeys((1, 28, 304, 305), Failure.MESSAGE)
    | dict.fromkeys((8, 10, 29, 50, 310, 311, 312, 313, 315, 316, 317, 318), Failure.SIM)
    | {21: Failure.LIMITED}
)
# +CME ERROR (TS 27.007 9.2): SIM busy; SIM missing, locked, broken or wrong.
_CME_FAILURES = {14: Failure.RETRY} | dict.fromkeys((10, 11, 12, 13, 15, 17, 18), Failure.SIM)

# 1 and 5 registered at home and abroad, 6 and 7 the same for SMS only (TS 27.007 7.2).
_REGISTERED = {1, 5, 6, 7}

# Characters behind AT that every modem takes in one line (V.250 5.2).
_LONGEST_BODY = 40

# -51 dBm or more (TS 27.007 8.5).
_STRONGEST_SIGNAL = 31

ECHO_OFF = Command("ATE0")
NUMERIC_ERRORS = Command("AT+CMEE=1")
PDU_MODE = Command("AT+CMGF=0")
SIM_STATE = Command("AT+CPIN?", re.compile(r"\+CPIN: ?[A-Z]"), timeout_s=10)
# Unasked the line has one number and then quotes; the answer has the mode before it (ofono-phonesim one more).
REGISTRATION = Command("AT+CREG?", re.compile(r"\+CREG: ?\d(?:, ?(\d)\b)+"))
LTE_REGISTRATION = Command("AT+CEREG?", re.compile(r"\+CEREG: ?\d(?:, ?(\d)\b)+"))
SIGNAL = Command("AT+CSQ", re.compile(r"\+CSQ: ?\d"))
SERVICE_CENTRE = Command("AT+CSCA?", re.compile(r'\+CSCA: ?"'))
MEMORIES = Command("AT+CPMS=?", re.compile(r"\+CPMS: ?\("))
SERVICE = Command("AT+CSMS?", re.compile(r"\+CSMS: ?\d"))
# What +CDS or +CMT brought is kept; without it a modem of phase 2+ stops passing messages on (TS 27.005
# 3.4.4).
ACKNOWLEDGE = Command("AT+CNMA")
# Keep the radio link up between messages: each would else set one up of its own (TS 27.005 3.5.6).
KEEP_LINK = Command("AT+CMMS=2")
LIST_ALL = Command("AT+CMGL=4", re.compile(r"\+CMGL: ?\d"), timeout_s=60)
# How a modem is to tell of messages and reports (TS 27.005 3.4.1), the best that it takes: both kept in its
# memory until they are deleted; reports passed on at once; no reports.
NEW_MESSAGE_INDICATIONS = tuple(Command(f"AT+CNMI={modes}") for modes in ("2,1,0,2,0", "2,1,0,1,0", "2,1"))
# A restart of the modem, when nothing milder helped. No answer is waited for.
RESTART = Command("AT+CFUN=1,1")
# In answer to AT+CMGS and its PDU; TP-MR is 0 to 255 (TS 27.005 3.5.1).
SUBMITTED = re.compile(r"\+CMGS: ?(\d+)")


def select_memory(memory: str) -> Command:
    """Return the command that makes `memory` the one to list and delete in."""
    return Command(f'AT+CPMS="{memory}"', re.compile(r"\+CPMS: ?\d"))


def delete(index: int) -> Command:
    """Return the command that deletes the message at an index of the selected memory."""
    return Command(f"AT+CMGD={index}", timeout_s=25)


def deletions(indices: Sequence[int]) -> list[Command]:
    """Return commands that delete several messages each: a line for each would cost a pause for each."""
    bodies: list[list[str]] = []
    for index in indices:
        one = f"+CMGD={index}"
        if bodies and len(";".join([*bodies[-1], one])) <= _LONGEST_BODY:
            bodies[-1].append(one)
        else:
            bodies.append([one])
    return [Command("AT" + ";".join(body), timeout_s=25.0 * len(body)) for body in bodies]


def set_service_centre(value: str) -> Command:
    """Return the command that writes back a service centre's address as SERVICE_CENTRE read it."""
    return Command(f"AT+CSCA={value}", timeout_s=15)


def is_registered(answer: str) -> bool:
    """Read the answer to REGISTRATION or LTE_REGISTRATION."""
    found = re.search(r"REG: ?\d(?:, ?(\d)\b)+", answer)
    return found is not None and int(found[1]) in _REGISTERED


def signal_strength(answer: str) -> int | None:
    """Read the answer to SIGNAL (TS 27.007 8.5): 0 to 31; None for 99, not known."""
    found = re.search(r"\+CSQ: ?(\d+)", answer)
    strength = int(found[1]) if found else 99
    return strength if strength <= _STRONGEST_SIGNAL else None


def final_result(text: str) -> str | None:
    """Return the line if it ends a command, else None; `OK` is success, everything else a refusal."""
    return text if _FINAL.fullmatch(text) else None


def classify(error: CommandError, failures: Mapping[int, Failure] = CMS_FAILURES) -> Failure | Repair:
    """Say what to do about a refused AT+CMGS; a code that nobody listed may be the moment or the message."""
    if error.kind == "CME" and error.code is not None:
        return _CME_FAILURES.get(error.code, Failure.LIMITED)
    if error.kind == "CMS" and error.code is not None:
        if error.code in (repair.value for repair in Repair):
            return Repair(error.code)
        return failures.get(error.code, Failure.LIMITED)
    return Failure.LIMITED
