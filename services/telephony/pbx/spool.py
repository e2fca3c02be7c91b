"""Read what a PBX wrote down of its calls (CEL) while nobody listened to it.

Asterisk appends a line for each step of each channel to a CSV file, as `deploy/asterisk/gonghai-cel_custom.conf`
says: times in seconds and microseconds since the epoch. Here the lines become the events that AMI would have
told, so the same call graph takes both. CDRs would not do: of a queue call they say when the queue answered,
not when the agent did. What no line tells: that a phone rang.

Guarantees: a line that cannot be read is left out and counted, never raises; a line that Asterisk is still
writing is left for the next time.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from services.telephony.pbx.callgraph import (
    RECORDING_VARIABLE,
    RINGING_STATE,
    UP_STATE,
    Call,
    Change,
    Event,
    Graph,
    apply,
)

# Rotated files that are looked through for older lines (gonghai.csv.1 and so on).
MOST_ROTATED: Final = 9

# The user event in which the dialplan tells where a recording goes.
RECORDING_EVENT: Final = "RECORDING"

# What Asterisk calls the application of a channel that Dial, Queue or Originate began.
_DIALLED: Final = "(Outgoing Line)"
_ORIGINATED: Final = "AppDial2"


class Line(NamedTuple):
    """Hold one line, its columns in the file's order; `time_s` is in seconds since the epoch."""

    time_s: float
    name: str
    uniqueid: str
    linked_id: str
    channel: str
    caller_number: str
    caller_name: str
    exten: str
    application: str
    application_data: str
    extra: str
    user_event: str


@dataclass(frozen=True)
class Found:
    """Hold the lines from a time on, oldest first, and how many could not be read."""

    lines: Sequence[Line]
    unreadable: int = 0


def read_since(path: Path, time_s: float) -> Found:
    """Return what was written at that time or later, also to files that were rotated since.

    Raises OSError when the file is there but cannot be read; one that is not there yet holds nothing.
    """
    parts: list[bytes] = []
    for number in range(MOST_ROTATED + 1):
        file = path.with_name(f"{path.name}.{number}") if number else path
        try:
            part, is_all = _tail(file, time_s)
        except FileNotFoundError:
            if number:
                break
            # Just rotated, and nothing was written since.
            continue
        parts.append(part)
        if not is_all:
            break
    rows = csv.reader(b"".join(reversed(parts)).decode("utf-8", "replace").splitlines())
    found: list[Line] = []
    unreadable = 0
    for row in rows:
        line = _line(row)
        if line is None:
            unreadable += 1
        elif line.time_s >= time_s:
            found.append(line)
    # Lines of different channels may come a little out of order.
    return Found(sorted(found, key=lambda line: line.time_s), unreadable)


def replay(graph: Graph, lines: Iterable[Line]) -> tuple[Graph, tuple[Change, ...]]:
    """Apply lines to the graph, each at its own time; what the graph knows already changes nothing.

    A line of a call that began before the first line, and that the graph does not follow, is left out.
    """
    changes: list[Change] = []
    for line in lines:
        if (
            line.name == "CHAN_START"
            and line.uniqueid != line.linked_id
            and line.linked_id not in graph.calls
        ):
            continue
        now = datetime.fromtimestamp(line.time_s, UTC)
        for event in _events(line, graph.call_of(line.uniqueid)):
            graph, happened = apply(graph, event, now)
            changes += happened
    return graph, tuple(changes)


def moved(before: Graph, after: Graph, lines: Iterable[Line]) -> set[str]:
    """Return the channels that these lines took from one call into another, between the two graphs."""
    seen = {uniqueid: {linked_id} for uniqueid, linked_id in after.by_channel.items()}
    for uniqueid, linked_id in before.by_channel.items():
        seen.get(uniqueid, set()).add(linked_id)
    for line in lines:
        seen.get(line.uniqueid, set()).add(line.linked_id)
    return {uniqueid for uniqueid, calls in seen.items() if len(calls) > 1}


def ended(graph: Graph, lines: Iterable[Line]) -> set[str]:
    """Return the channels whose end these lines tell, of those that the graph or the lines know from their begin."""
    known, over = set(graph.by_channel), set[str]()
    for line in lines:
        if line.name == "CHAN_START":
            known.add(line.uniqueid)
        elif line.name == "HANGUP" and line.uniqueid in known:
            over.add(line.uniqueid)
    return over


def until_listed(graph: Graph, lines: Sequence[Line], alive: Set[str]) -> list[Line]:
    """Return the lines without those of channels that began after the live ones were listed.

    alive: their unique ids. AMI tells of the others in time, behind the listing.
    """
    over = {line.uniqueid for line in lines if line.name == "HANGUP"}
    known = over | alive | graph.by_channel.keys()
    later = {line.uniqueid for line in lines if line.name == "CHAN_START" and line.uniqueid not in known}
    return [line for line in lines if line.uniqueid not in later]


def whole_calls(graph: Graph, lines: Sequence[Line]) -> list[Line]:
    """Return the lines of calls that are told from begin to end, and that the graph does not follow."""
    open_channels: dict[str, set[str]] = {}
    for line in lines:
        if line.name == "CHAN_START" and (line.uniqueid == line.linked_id or line.linked_id in open_channels):
            open_channels.setdefault(line.linked_id, set()).add(line.uniqueid)
        elif line.name == "HANGUP":
            open_channels.get(line.linked_id, set()).discard(line.uniqueid)
    whole = {linked_id for linked_id, channels in open_channels.items() if not channels}
    return [line for line in lines if line.linked_id in whole and line.linked_id not in graph.calls]


def _events(line: Line, call: Call | None) -> Iterator[Event]:
    """Yield what AMI tells of such a step, as far as the call graph asks for it."""
    own = {"Uniqueid": line.uniqueid, "Linkedid": line.linked_id, "Channel": line.channel}
    dialled = {"DestUniqueid": line.uniqueid, "DestChannel": line.channel}
    if call is not None and line.uniqueid == line.linked_id and line.exten:
        yield {"Event": "Newexten", **own, "Extension": line.exten}
    match line.name:
        case "CHAN_START":
            who = {"CallerIDNum": line.caller_number, "CallerIDName": line.caller_name, "Exten": line.exten}
            yield {"Event": "Newchannel", **own, **who}
            if line.uniqueid != line.linked_id:
                yield {"Event": "DialBegin", **dialled, "DestCallerIDNum": line.caller_number}
        case "ANSWER" if line.uniqueid == line.linked_id and line.application == _ORIGINATED:
            # An Originate's first phone: that it rang made a leg of it.
            yield {"Event": "Newstate", **own, "ChannelState": RINGING_STATE}
            yield {"Event": "Newstate", **own, "ChannelState": UP_STATE}
        case "ANSWER" if line.application_data == _DIALLED:
            yield {"Event": "DialEnd", **dialled, "DialStatus": "ANSWER"}
        case "BRIDGE_ENTER":
            yield {"Event": "BridgeEnter", **own, "CallerIDNum": line.caller_number}
        case "HANGUP":
            yield {"Event": "Hangup", **own, "Cause": str(_extra(line, "hangupcause"))}
        case "ATTENDEDTRANSFER":
            extra = {
                "SecondTransfererUniqueid": "channel2_uniqueid",
                "TransfereeUniqueid": "transferee_channel_uniqueid",
                "TransferTargetUniqueid": "transfer_target_channel_uniqueid",
            }
            others = {name: str(_extra(line, key)) for name, key in extra.items()}
            yield {"Event": "AttendedTransfer", "OrigTransfererUniqueid": line.uniqueid, **others}
        case "APP_START" if line.application == "Queue" and call is not None:
            yield {"Event": "QueueCallerJoin", **own, "Queue": line.application_data.partition(",")[0]}
        case _ if line.user_event == RECORDING_EVENT:
            path = str(_extra(line, "extra"))
            yield {"Event": "VarSet", **own, "Variable": RECORDING_VARIABLE, "Value": path}


def _extra(line: Line, name: str) -> object:
    try:
        extra = json.loads(line.extra)
    except ValueError:
        return ""
    return extra.get(name, "") if isinstance(extra, dict) else ""


def _tail(path: Path, time_s: float) -> tuple[bytes, bool]:
    """Return the complete lines from about that time on, and whether they are all of the file.

    Halves the file until the last line before that time is found: lines are as good as in order.
    """
    with path.open("rb") as file:
        low, high = 0, file.seek(0, 2)
        while low < high:
            middle = (low + high) // 2
            file.seek(middle)
            # The rest of a line that began before.
            file.readline()
            at = file.tell()
            first = _time_of(file.readline())
            if at < high and first is not None and first < time_s:
                low = at
            else:
                high = middle
        file.seek(low)
        if low:
            file.readline()
        start = file.tell()
        if low == 0:
            start = 0
            file.seek(0)
        data = file.read()
    return data[: data.rfind(b"\n") + 1], start == 0


def _time_of(line: bytes) -> float | None:
    try:
        return float(line.split(b",", 1)[0].strip(b'"'))
    except ValueError:
        return None


def _line(row: Sequence[str]) -> Line | None:
    if len(row) != len(Line._fields):
        return None
    try:
        return Line(float(row[0]), *row[1:])
    except ValueError:
        return None
