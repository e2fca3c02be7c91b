"""Read what a PBX itself wrote down of its queue calls: a witness which the product neither reads nor writes.

Asterisk's call records (CSV) tell who called. Its queue_log has a line for each step: `time|call's unique
id|queue|agent|event|data...`, times in whole seconds since the epoch; CONNECT tells who answered, COMPLETEAGENT and
COMPLETECALLER for how long they talked. Of a PBX without time these are late themselves: it notes when its queue
learned of a step. Its log of channel events (CEL) has the step's own time, in microseconds. What it says at verbosity 3
tells which phones rang: not each that was dialled did.
"""

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

# What app_queue and app_dial say, at verbosity 3, when a phone says that it rings.
_RINGS = re.compile(r"(\S+) is ringing$")


@dataclass(frozen=True)
class Heard:
    """Hold one queue call as the PBX tells it.

    agents: the extensions that talked, in order; none: nobody answered. talk_s: for how long, in seconds; the queue log
    knows whole ones.
    """

    number: str
    agents: tuple[str, ...] = ()
    talk_s: float = 0
    over: bool = False


def read_queue_log(path: Path) -> dict[str, Heard]:
    """Return the calls of a file by their unique ids; of one that is not there yet, none."""
    return heard(path.read_text().splitlines() if path.exists() else ())


def heard(lines: Iterable[str]) -> dict[str, Heard]:
    """Return the calls of these lines by their unique ids."""
    calls: dict[str, Heard] = {}
    for line in lines:
        _, unique_id, _, agent, event, *data = line.split("|")
        if event == "ENTERQUEUE":
            calls[unique_id] = Heard(number=data[1])
        if unique_id not in calls:
            continue
        call = calls[unique_id]
        match event:
            case "CONNECT":
                call = replace(call, agents=(*call.agents, agent))
            case "COMPLETEAGENT" | "COMPLETECALLER":
                call = replace(call, talk_s=call.talk_s + int(data[1]), over=True)
            case "ABANDON" | "EXITWITHTIMEOUT" | "EXITEMPTY":
                call = replace(call, over=True)
            case _:
                pass
        calls[unique_id] = call
    return calls


def read_callers(path: Path, context: str) -> set[str]:
    """Return the numbers that called into a context, by the call records of a file."""
    with path.open(newline="") as records:
        return {record[1] for record in csv.reader(records) if record[3] == context}


def read_channel_log(path: Path) -> dict[str, Heard]:
    """Return the calls of each number that somebody answered, by the log of channel events of a file.

    talk_s is from the first answer to the last channel's end.
    """
    numbers: dict[str, str] = {}
    answered: dict[str, tuple[float, str]] = {}
    over: dict[str, float] = {}
    with path.open(newline="") as lines:
        for time_text, event, unique_id, linked_id, channel, number, *_ in csv.reader(lines):
            time_s = float(time_text)
            if event == "CHAN_START" and unique_id == linked_id:
                numbers[linked_id] = number
            elif event == "ANSWER" and unique_id != linked_id:
                # A line of another channel may come a little out of order.
                answer = (time_s, channel.partition("/")[2].rpartition("-")[0])
                answered[linked_id] = min(answer, answered.get(linked_id, answer))
            elif event == "HANGUP":
                over[linked_id] = max(time_s, over.get(linked_id, time_s))
    return {
        numbers[call]: Heard(numbers[call], (agent,), over[call] - time_s, over=True)
        for call, (time_s, agent) in answered.items()
        if call in numbers and call in over
    }


def read_rung(verbose: Path, events: Path) -> set[str]:
    """Return the numbers whose calls made a phone ring, by what the PBX said and its log of channel events."""
    with verbose.open() as said:
        ringing = {found[1] for line in said if (found := _RINGS.search(line.rstrip()))}
    numbers: dict[str, str] = {}
    rung: set[str] = set()
    with events.open(newline="") as lines:
        for _, event, unique_id, linked_id, channel, number, *_ in csv.reader(lines):
            if event == "CHAN_START" and unique_id == linked_id:
                numbers[linked_id] = number
            if channel in ringing:
                rung.add(linked_id)
    return {numbers[linked_id] for linked_id in rung if linked_id in numbers}
