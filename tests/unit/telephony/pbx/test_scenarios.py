"""Whole calls as a real Asterisk 22 told them, by AMI and by its log of channel events, and what they come to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.telephony.pbx.callgraph import Call, CallEnded, Change, Direction, Event, Graph, apply, resync
from services.telephony.pbx.spool import Line, moved, read_since, replay, until_listed
from tests.unit.telephony.pbx.transcripts import FOLDER, TRUNKS, events

LEAN = FOLDER / "lean"


@dataclass(frozen=True)
class Expected:
    """What a call comes to. legs: extension ("" for outside), and talk in whole seconds, None if not answered."""

    legs: Sequence[tuple[str, int | None]]
    direction: str = "inbound"
    number: str = "13800138000"
    dialled: str = "5001"
    queue: str = ""
    answered_by: str = "1001"
    talk_s: int | None = 2


SCENARIOS = {
    "direct": Expected([("1001", 2)]),
    "ring-all": Expected([("1001", 2), ("1002", None)], dialled="5010"),
    "multi-device": Expected([("1001", None), ("1001", 2)], dialled="5014"),
    "queue": Expected(
        [("1003", None), ("1002", None), ("1001", 1), ("1004", None)], dialled="4000", queue="sales", talk_s=1
    ),
    "local-queue": Expected([("1001", 1)], dialled="5011", queue="vialocal", talk_s=1),
    "local-dial": Expected([("1001", 2)], dialled="5015"),
    "hunt": Expected([("1001", None), ("1002", 2)], dialled="5013", answered_by="1002"),
    "forward": Expected([("1001", None), ("1002", 2)], dialled="5017", answered_by="1002"),
    "blind-transfer": Expected([("1001", 1), ("1002", 3)], talk_s=6),
    "attended-transfer": Expected([("1001", 8), ("1002", 3)], talk_s=9),
    "attended-transfer-queue": Expected(
        [("1003", None), ("1002", None), ("1001", 6), ("1004", None), ("1002", 2)],
        dialled="4000",
        queue="sales",
        talk_s=8,
    ),
    # The agent's phone made two calls into one; the consultation before stays a call of its own.
    "consult-transfer": Expected([("1001", 4), ("1002", 3)], talk_s=7),
    # The same by the phone alone (REFER with Replaces), after a word with the colleague and while the colleague rings.
    "phone-transfer": Expected([("1101", 4), ("1003", 4)], dialled="4101", answered_by="1101", talk_s=8),
    "ringing-transfer": Expected([("1101", 2), ("1003", 4)], dialled="4101", answered_by="1101", talk_s=8),
    "no-answer": Expected([("1001", None)], dialled="5016", answered_by="", talk_s=None),
    "busy": Expected([("1001", None)], answered_by="", talk_s=None),
    "abandoned": Expected([("1001", None)], answered_by="", talk_s=None),
    "abandoned-queue": Expected([("1001", None)], dialled="5012", queue="hunt", answered_by="", talk_s=None),
    "originate": Expected(
        [("1001", 3), ("", 2)], direction="outbound", number="1001", dialled="13900139000", answered_by=""
    ),
}


def told(name: str) -> list[tuple[float, Event]]:
    """Return a scenario's AMI events with their times, in seconds since the epoch."""
    return [
        (float(str(event["Timestamp"])), event) for event in events(f"lean/{name}") if "Timestamp" in event
    ]


def logged(name: str) -> Sequence[Line]:
    return read_since(LEAN / f"{name}.csv", 0).lines


def live(name: str, until: int, late: bool) -> list[Event]:
    """Return what CoreShowChannels lists after so many of the AMI events.

    late: a transfer that AMI has told of is not done yet.
    """
    channels: dict[str, dict[str, str]] = {}
    for _, event in told(name)[:until]:
        uniqueid = str(event.get("Uniqueid", ""))
        if event["Event"] == "Newchannel":
            channels[uniqueid] = {key: str(value) for key, value in event.items()}
        elif event["Event"] == "Hangup":
            channels.pop(uniqueid, None)
        elif event["Event"] == "BridgeEnter":
            channels[uniqueid] |= {"BridgeId": "b", "ChannelState": "6", "Linkedid": str(event["Linkedid"])}
        elif event["Event"] == "AttendedTransfer" and "TransferTargetUniqueid" in event and not late:
            caller, colleague = (str(event[key]) for key in ("TransfereeUniqueid", "TransferTargetUniqueid"))
            channels[colleague]["Linkedid"] = channels[caller]["Linkedid"]
    return list(channels.values())


def over(changes: Iterable[Change]) -> dict[str, Call]:
    """Return the calls that ended, each as it first did: what ended stays as it was written."""
    ended: dict[str, Call] = {}
    for change in changes:
        if isinstance(change, CallEnded):
            ended.setdefault(change.call.linked_id, change.call)
    return ended


def talk_s(start: datetime | None, end: datetime | None) -> int | None:
    return round((end - start).total_seconds()) if start and end else None


def summary(call: Call) -> Expected:
    answering = call.leg(call.answered_by)
    return Expected(
        legs=[(leg.extension, talk_s(leg.answer_time, leg.end_time)) for leg in call.legs],
        direction=call.direction.value,
        number=call.caller_number,
        dialled=call.dialled_number,
        queue=call.queue,
        answered_by=answering.extension if answering else "",
        talk_s=talk_s(call.answer_time, call.end_time),
    )


def main_call(calls: dict[str, Call]) -> Call:
    return next(call for call in calls.values() if call.direction is not Direction.INTERNAL)


def applied(graph: Graph, all_events: Iterable[tuple[float, Event]]) -> tuple[Graph, list[Change]]:
    changes: list[Change] = []
    for time_s, event in all_events:
        graph, happened = apply(graph, event, datetime.fromtimestamp(time_s, UTC))
        changes += happened
    return graph, changes


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_call_is_one_call_with_its_legs_and_talk_times(name: str) -> None:
    """The failure list: one row for one call, the second agent's talk time after a transfer, missed once."""
    graph, changes = applied(Graph(TRUNKS), told(name))
    assert not graph.calls
    call = main_call(over(changes))
    assert summary(call) == SCENARIOS[name]
    assert call.missed == (SCENARIOS[name].talk_s is None)
    assert not call.lost
    assert len(call.recordings) == 1
    # Nor does the consultation before a transfer claim it.
    assert [each.recordings for each in over(changes).values() if each is not call and each.recordings] == []


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_log_of_channel_events_tells_the_same_call(name: str) -> None:
    """Decision 13: what came and went while the link was down."""
    graph, changes = replay(Graph(TRUNKS), logged(name))
    assert not graph.calls
    call = main_call(over(changes))
    assert summary(call) == SCENARIOS[name]
    assert len(call.recordings) == 1


def test_a_consultation_before_a_transfer_stays_a_call_of_its_own() -> None:
    _, changes = applied(Graph(TRUNKS), told("consult-transfer"))
    consultation = over(changes)["consult-1"]
    assert summary(consultation).legs == [("1001", 2), ("1002", 1)]
    assert not consultation.missed


# Asterisk tells of what happens at the same time in several threads; from then on it is in order, in seconds.
AT_ONCE_S = 0.005


def channels_of(event: Event) -> set[str]:
    return {str(event[name]) for name in ("Uniqueid", "DestUniqueid") if event.get(name)}


def may_swap(first: tuple[float, Event], second: tuple[float, Event]) -> bool:
    """Tell whether AMI may tell these the other way round: at the same time, and of different channels.

    A Cdr comes before or behind the Hangup of its channel, as it happens.
    """
    (one_s, one), (two_s, two) = first, second
    if abs(two_s - one_s) > AT_ONCE_S:
        return False
    if "Newchannel" in (one["Event"], two["Event"]):
        return False
    return "Cdr" in (one["Event"], two["Event"]) or not channels_of(one) & channels_of(two)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(SCENARIOS)), st.randoms(use_true_random=False), st.integers(1, 60))
def test_what_is_told_in_another_order_is_the_same_call(name: str, random: Random, swaps: int) -> None:
    """The order of Cdr and Hangup, and of the two Hangups, varies from run to run."""
    told_events = told(name)
    for _ in range(swaps):
        place = random.randrange(len(told_events) - 1)
        if may_swap(*told_events[place : place + 2]):
            told_events[place], told_events[place + 1] = told_events[place + 1], told_events[place]
    graph, changes = applied(Graph(TRUNKS), told_events)
    assert not graph.calls
    call = main_call(over(changes))
    assert summary(call) == SCENARIOS[name]
    assert sum(isinstance(change, CallEnded) for change in changes) == len(over(changes))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(SCENARIOS)), st.floats(0, 1), st.floats(0, 1), st.floats(0.1, 3), st.booleans())
# The log tells of a transfer that happened just after the live channels were listed.
@example("consult-transfer", 0.0, 0.75, 1.0, False)
@example("phone-transfer", 0.0, 0.75, 1.0, True)
# AMI comes back between the two channels of an Originate entering their bridge.
@example("originate", 0.0, 0.78125, 1.0, False)
def test_a_link_cut_anywhere_ends_in_the_same_call(
    name: str, first: float, second: float, overlap_s: float, late: bool
) -> None:
    """AMI drops: after the log and the resync each call is what it would have been, and none is twice or a ghost."""
    all_events = told(name)
    start, stop = sorted(round(share * len(all_events)) for share in (first, second))
    graph, changes = applied(Graph(TRUNKS), all_events[:start])
    if start < stop:
        since_s = all_events[start][0] - overlap_s
        until_s = all_events[stop][0] if stop < len(all_events) else all_events[-1][0] + 1
        lines = [line for line in logged(name) if since_s <= line.time_s < until_s]
        alive = live(name, stop, late)
        lines = until_listed(graph, lines, {str(row["Uniqueid"]) for row in alive})
        before = graph
        graph, happened = replay(graph, lines)
        changes += happened
        gone_over = moved(before, graph, lines)
        graph, happened = resync(graph, alive, datetime.fromtimestamp(until_s, UTC), gone_over)
        changes += happened
    graph, rest = applied(graph, all_events[stop:])
    assert not graph.calls
    assert not graph.by_channel
    assert summary(main_call(over([*changes, *rest]))) == SCENARIOS[name]
