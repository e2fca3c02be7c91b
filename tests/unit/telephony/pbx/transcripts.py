"""Read the AMI transcripts, and write AMI events by hand."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from services.telephony.pbx.callgraph import Change, Event, Graph, apply

FOLDER = Path(__file__).parents[3] / "fixtures" / "ami"
START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
TRUNKS = frozenset({"trunk"})


def raw(name: str) -> bytes:
    """Return a transcript as it came from the socket."""
    return (FOLDER / f"{name}.txt").read_bytes()


def events(name: str) -> list[Event]:
    """Return a transcript's events in order."""
    found: list[Event] = []
    for block in raw(name).decode().split("\r\n\r\n"):
        event: dict[str, str | list[str]] = {}
        for line in block.split("\r\n"):
            header, colon, value = line.partition(": ")
            if not colon:
                continue
            before = event.get(header)
            if before is None:
                event[header] = value
            else:
                event[header] = [*([before] if isinstance(before, str) else before), value]
        if "Event" in event:
            found.append(event)
    return found


def replay(all_events: Iterable[Event], graph: Graph | None = None) -> tuple[Graph, list[Change]]:
    """Apply events a second apart, from START on; returns the last graph and all changes."""
    graph = graph or Graph(TRUNKS)
    changes: list[Change] = []
    for seconds, event in enumerate(all_events):
        graph, happened = apply(graph, event, START + timedelta(seconds=seconds))
        changes += happened
    return graph, changes


def new_channel(uniqueid: str, linked_id: str, channel: str, **headers: str) -> Event:
    """Return a Newchannel."""
    return {"Event": "Newchannel", "Uniqueid": uniqueid, "Linkedid": linked_id, "Channel": channel, **headers}


def dial(name: str, source: str, destination: str, channel: str, **headers: str) -> Event:
    """Return a DialBegin, DialState or DialEnd from one unique id to another's channel."""
    return {"Event": name, "Uniqueid": source, "DestUniqueid": destination, "DestChannel": channel, **headers}


def hangup(uniqueid: str, cause: str = "16") -> Event:
    """Return a Hangup."""
    return {"Event": "Hangup", "Uniqueid": uniqueid, "Cause": cause}
