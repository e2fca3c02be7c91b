"""The call graph: what Asterisk's events mean, in any order in which they come."""

import json
from collections import Counter
from datetime import timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.telephony.pbx.callgraph import (
    Call,
    CallEnded,
    CallStarted,
    Change,
    Direction,
    EndReason,
    Event,
    Graph,
    LegAnswered,
    LegEnded,
    LegRinging,
    LegState,
    RecordingFinished,
    apply,
    from_json,
    restore,
    resync,
    to_json,
)
from tests.unit.telephony.pbx.transcripts import START, TRUNKS, dial, events, hangup, new_channel, replay

NAMES = ("queue-call", "abandoned", "originate", "ring-all", "local-queue", "busy")


def kinds(changes: list[Change]) -> list[str]:
    return [type(change).__name__ for change in changes]


def ended(changes: list[Change]) -> Call:
    return next(change.call for change in changes if isinstance(change, CallEnded))


def trunk_call(exten: str = "4000") -> Event:
    return new_channel("1.0", "1.0", "PJSIP/trunk-00000001", CallerIDNum="13800138000", Exten=exten)


def ring(leg: str, extension: str) -> list[Event]:
    """Return the events of a leg that begins to ring for the call 1.0."""
    channel = f"PJSIP/{extension}-0000000{leg[-1]}"
    return [
        new_channel(leg, "1.0", channel, CallerIDNum=extension, Exten="s"),
        dial("DialBegin", "1.0", leg, channel, DestCallerIDNum=extension),
        dial("DialState", "1.0", leg, channel, DialStatus="RINGING"),
    ]


def end(leg: str, extension: str, status: str) -> Event:
    return dial("DialEnd", "1.0", leg, f"PJSIP/{extension}-0000000{leg[-1]}", DialStatus=status)


def test_a_queue_call_rings_is_answered_ends_and_leaves_its_recording() -> None:
    """F218, F219."""
    graph, changes = replay(events("queue-call"))
    assert kinds(changes) == [
        "CallStarted",
        "LegRinging",
        "LegAnswered",
        "CallAnswered",
        "LegEnded",
        "CallEnded",
        "RecordingFinished",
    ]
    assert not graph.calls
    assert not graph.by_channel
    call = ended(changes)
    assert (call.direction, call.caller_number, call.dialled_number, call.queue) == (
        Direction.INBOUND,
        "13800138000",
        "4000",
        "sales",
    )
    assert call.outside_number == "13800138000"
    assert not call.missed
    (leg,) = call.legs
    assert (leg.extension, leg.state, leg.reason, leg.dial_status) == (
        "1001",
        LegState.ENDED,
        EndReason.HANGUP,
        "ANSWER",
    )
    assert call.answered_by == leg.uniqueid
    assert call.recordings == ("/var/spool/asterisk/monitor/pbx1-1795291960.3.wav",)


def test_a_leg_rings_at_its_first_sign() -> None:
    """Pop at ringing: Newstate comes before DialState."""
    all_events = events("queue-call")
    _, changes = replay(all_events)
    ringing = next(change for change in changes if isinstance(change, LegRinging))
    first = next(
        number for number, event in enumerate(all_events) if event.get("ChannelStateDesc") == "Ringing"
    )
    assert ringing.leg.ring_time == START + timedelta(seconds=first)


def test_an_abandoned_call_is_missed_once_though_dial_end_comes_twice() -> None:
    """One call is one row; missed means that no leg answered, once."""
    graph, changes = replay(events("abandoned"))
    assert kinds(changes) == ["CallStarted", "LegRinging", "LegEnded", "CallEnded", "RecordingFinished"]
    call = ended(changes)
    assert call.missed
    assert call.abandoned
    assert call.legs[0].reason is EndReason.CANCELLED
    assert not graph.calls


def test_an_originated_call_is_outbound_and_connected_when_the_customer_answers() -> None:
    """Click-to-dial: the agent's leg first; accepted is not connected."""
    _, changes = replay(events("originate"))
    assert kinds(changes) == [
        "CallStarted",
        "LegRinging",
        "LegAnswered",
        "LegRinging",
        "LegAnswered",
        "CallAnswered",
        "LegEnded",
        "LegEnded",
        "CallEnded",
        "RecordingFinished",
    ]
    call = ended(changes)
    assert (call.linked_id, call.direction) == ("ctc-0001", Direction.OUTBOUND)
    assert (call.origin_extension, call.caller_number) == ("1001", "1001")
    assert (call.dialled_number, call.outside_number) == ("13900139000", "13900139000")
    assert [leg.extension for leg in call.legs] == ["1001", ""]
    assert call.answered_by == call.legs[1].uniqueid
    assert call.recordings == ("/var/spool/asterisk/monitor/ctc-0001.wav",)


def test_a_call_straight_to_an_extension_rings_there() -> None:
    _, changes = replay([trunk_call("4001"), *ring("1.1", "1001"), end("1.1", "1001", "ANSWER")])
    assert kinds(changes) == ["CallStarted", "LegRinging", "LegAnswered", "CallAnswered"]


def test_in_ring_all_the_others_end_as_answered_elsewhere() -> None:
    """Ring-all: on answer every other one closes and says who answered, though its DialEnd comes first."""
    _, changes = replay(events("ring-all"))
    assert kinds(changes) == [
        "CallStarted",
        "LegRinging",
        "LegRinging",
        "LegAnswered",
        "CallAnswered",
        "LegEnded",
        "LegEnded",
        "CallEnded",
        "RecordingFinished",
    ]
    call = ended(changes)
    assert [(leg.extension, leg.reason) for leg in call.legs] == [
        ("1001", EndReason.HANGUP),
        ("1003", EndReason.ANSWERED_ELSEWHERE),
    ]
    assert call.answered_by == call.legs[0].uniqueid


def test_the_ringing_follows_a_hunt_from_one_agent_to_the_next() -> None:
    """The pop follows DialBegin and DialEnd by destination."""
    _, changes = replay(
        [
            trunk_call(),
            *ring("1.1", "1001"),
            end("1.1", "1001", "NOANSWER"),
            hangup("1.1", "19"),
            *ring("1.2", "1002"),
        ]
    )
    assert kinds(changes) == ["CallStarted", "LegRinging", "LegEnded", "LegRinging"]
    assert isinstance(changes[2], LegEnded)
    assert changes[2].leg.reason is EndReason.NO_ANSWER


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("BUSY", EndReason.BUSY),
        ("NOANSWER", EndReason.NO_ANSWER),
        ("CONGESTION", EndReason.UNAVAILABLE),
        ("CHANUNAVAIL", EndReason.UNAVAILABLE),
        ("CANCEL", EndReason.CANCELLED),
        ("A STATUS OF A LATER ASTERISK", EndReason.UNAVAILABLE),
    ],
)
def test_a_leg_that_fails_says_why(status: str, reason: EndReason) -> None:
    graph, _ = replay([trunk_call(), *ring("1.1", "1001"), end("1.1", "1001", status)])
    assert graph.calls["1.0"].legs[0].reason is reason


def test_a_hangup_without_dial_end_tells_the_reason_by_its_cause() -> None:
    graph, _ = replay([trunk_call(), *ring("1.1", "1001"), hangup("1.1", "17")])
    assert graph.calls["1.0"].legs[0].reason is EndReason.BUSY


def test_local_channels_are_one_hop_and_no_legs() -> None:
    """Local;1 and Local;2 carry a queue member; the leg is the phone behind them."""
    _, changes = replay(events("local-queue"))
    assert kinds(changes) == [
        "CallStarted",
        "LegRinging",
        "LegAnswered",
        "CallAnswered",
        "LegEnded",
        "CallEnded",
        "RecordingFinished",
    ]
    call = ended(changes)
    assert [leg.extension for leg in call.legs] == ["1001"]
    assert (call.queue, call.missed) == ("viaLocal", False)


def test_a_busy_phone_never_rings_and_the_call_is_missed() -> None:
    _, changes = replay(events("busy"))
    assert kinds(changes) == ["CallStarted", "LegEnded", "CallEnded", "RecordingFinished"]
    call = ended(changes)
    assert call.missed
    assert call.legs[0].reason is EndReason.BUSY


def test_an_internal_call_is_neither_inbound_nor_missed() -> None:
    _, changes = replay(
        [
            new_channel("1.0", "1.0", "PJSIP/1002-00000001", CallerIDNum="1002", Exten="1001"),
            *ring("1.1", "1001"),
            hangup("1.1"),
            hangup("1.0"),
        ]
    )
    call = ended(changes)
    assert call.direction is Direction.INTERNAL
    assert call.origin_extension == "1002"
    assert call.outside_number == ""
    assert not call.missed


def test_a_phone_that_dials_out_makes_an_outbound_call_however_long_the_number() -> None:
    """Direction comes from the trunk, never from the number's length."""
    trunk = "PJSIP/trunk-00000002"
    graph, _ = replay(
        [
            new_channel("1.0", "1.0", "PJSIP/1002-00000001", CallerIDNum="1002", Exten="9110"),
            new_channel("1.1", "1.0", trunk, CallerIDNum="<unknown>", Exten="s"),
            dial("DialBegin", "1.0", "1.1", trunk, DestCallerIDNum="110"),
        ]
    )
    call = graph.calls["1.0"]
    assert (call.direction, call.outside_number) == (Direction.OUTBOUND, "110")


def test_an_anonymous_caller_still_makes_a_call() -> None:
    graph, _ = replay([{**trunk_call(), "CallerIDNum": "<unknown>"}])
    assert graph.calls["1.0"].caller_number == ""


def test_an_analogue_line_may_tell_the_number_late() -> None:
    late = {"Event": "NewCallerid", "Uniqueid": "1.0", "CallerIDNum": "13800138000"}
    graph, _ = replay([{**trunk_call(), "CallerIDNum": ""}, late])
    assert graph.calls["1.0"].caller_number == "13800138000"


def test_a_recording_is_known_without_the_dialplan_class() -> None:
    """The lean AMI user gets no VarSet; the path is in ChanVariable then."""
    lean = [event for event in events("queue-call") if event["Event"] != "VarSet"]
    _, changes = replay(lean)
    assert [change.path for change in changes if isinstance(change, RecordingFinished)] == [
        "/var/spool/asterisk/monitor/pbx1-1795291960.3.wav"
    ]


def test_stragglers_make_no_ghost() -> None:
    """A Cdr or a DialEnd behind the last Hangup belongs to no live call."""
    finished = events("queue-call")
    graph, _ = replay(finished)
    after, changes = replay([event for event in finished if event["Event"] != "Newchannel"], graph)
    assert after is graph
    assert changes == []


def test_an_event_that_says_nothing_new_returns_the_same_graph() -> None:
    graph, _ = replay([trunk_call(), *ring("1.1", "1001")])
    again, changes = replay(ring("1.1", "1001"), graph)
    assert again is graph
    assert changes == []


@given(st.sampled_from(NAMES), st.randoms(use_true_random=False))
def test_any_order_of_events_ends_every_leg_and_every_call_once(name: str, random: Random) -> None:
    """The order of Cdr, DialEnd and the Hangups varies from run to run."""
    first = [event for event in events(name) if event["Event"] == "Newchannel"]
    rest = [event for event in events(name) if event["Event"] != "Newchannel"]
    random.shuffle(rest)
    graph, changes = replay([*first, *rest])
    assert not graph.calls
    assert not graph.by_channel
    counts = Counter(kinds(changes))
    assert counts["CallStarted"] == counts["CallEnded"] == 1
    assert counts["CallAnswered"] <= 1
    ringing = [change.leg.uniqueid for change in changes if isinstance(change, LegRinging | LegAnswered)]
    over = [change.leg.uniqueid for change in changes if isinstance(change, LegEnded)]
    assert len(over) == len(set(over))
    assert set(ringing) <= set(over)
    assert isinstance(changes[0], CallStarted)
    order = kinds(changes)
    assert set(order[order.index("CallEnded") + 1 :]) <= {"RecordingFinished"}


@given(st.data())
def test_calls_in_parallel_do_not_touch_each_other(data: st.DataObject) -> None:
    """Interleaved, each call tells the same story as alone."""
    waiting = {name: list(events(name)) for name in NAMES}
    graph, told = Graph(TRUNKS), list[Change]()
    while any(waiting.values()):
        name = data.draw(st.sampled_from([name for name in NAMES if waiting[name]]))
        graph, changes = apply(graph, waiting[name].pop(0), START)
        told += changes
    assert not graph.calls
    for name in NAMES:
        _, alone = replay(events(name))
        linked_id = alone[0].call.linked_id
        assert kinds([change for change in told if change.call.linked_id == linked_id]) == kinds(alone)


@given(st.sampled_from(NAMES), st.integers(0, 120))
def test_a_restart_in_mid_call_continues_it(name: str, cut: int) -> None:
    """The state of a live call survives as JSON: a restart in mid-call loses nothing."""
    all_events = events(name)
    graph, before = replay(all_events[:cut])
    stored = json.dumps([to_json(call) for call in graph.calls.values()])
    restored = restore(TRUNKS, [from_json(state) for state in json.loads(stored)])
    assert restored == graph
    _, after = replay(all_events[cut:], restored)
    _, whole = replay(all_events)
    assert kinds(before + after) == kinds(whole)


def transfer(first: str, caller: str, second: str, target: str) -> Event:
    """Return what AMI tells when a phone joins its two calls: its own channels, and each one's other party."""
    return {
        "Event": "AttendedTransfer",
        "OrigTransfererUniqueid": first,
        "TransfereeUniqueid": caller,
        "SecondTransfererUniqueid": second,
        "TransferTargetUniqueid": target,
    }


def two_calls(second: Event, *more: Event) -> Graph:
    """Return a call from outside that 1001 has taken, and one more."""
    graph, _ = replay([trunk_call(), *ring("1.1", "1001"), end("1.1", "1001", "ANSWER"), second, *more])
    return graph


def test_a_transfer_told_from_the_second_line_leads_to_the_caller_all_the_same() -> None:
    """Some phones hand over the colleague to the caller, not the caller to the colleague."""
    channel = "PJSIP/1003-00000003"
    graph = two_calls(
        new_channel("2.0", "2.0", "PJSIP/1001-00000002", CallerIDNum="1001", Exten="1003"),
        new_channel("2.1", "2.0", channel),
        dial("DialEnd", "2.0", "2.1", channel, DialStatus="ANSWER"),
    )
    graph, changes = replay([transfer("2.0", "2.1", "1.1", "1.0"), hangup("1.1"), hangup("2.0")], graph)
    assert kinds(changes) == ["LegEnded", "LegAnswered", "LegEnded", "CallEnded"]
    (call,) = graph.calls.values()
    assert [(leg.extension, leg.state) for leg in call.legs] == [
        ("1001", LegState.ENDED),
        ("1003", LegState.ANSWERED),
    ]


def test_two_callers_from_outside_that_are_joined_stay_two_calls() -> None:
    channel = "PJSIP/1001-00000003"
    graph = two_calls(
        new_channel("2.0", "2.0", "PJSIP/trunk-00000002", CallerIDNum="13900139000", Exten="4001"),
        new_channel("2.1", "2.0", channel),
        dial("DialEnd", "2.0", "2.1", channel, DialStatus="ANSWER"),
    )
    joined, changes = replay([transfer("1.1", "1.0", "2.1", "2.0")], graph)
    assert (joined, changes) == (graph, [])


def live(uniqueid: str, channel: str, state: str = "6", **headers: str) -> Event:
    return {
        "Event": "CoreShowChannel",
        "Uniqueid": uniqueid,
        "Linkedid": "1.0",
        "Channel": channel,
        "ChannelState": state,
        **headers,
    }


def test_a_call_that_died_in_a_gap_is_ended_by_the_resync() -> None:
    """An AMI gap leaves no ghost pop."""
    graph, _ = replay([trunk_call(), *ring("1.1", "1001"), *ring("1.2", "1002")])
    now = START + timedelta(minutes=5)
    graph, changes = resync(graph, [], now)
    assert kinds(list(changes)) == ["LegEnded", "LegEnded", "CallEnded"]
    call = ended(list(changes))
    assert (call.lost, call.end_time, call.legs[0].reason) == (True, now, EndReason.LOST)
    assert not graph.calls


def test_a_leg_that_was_answered_in_a_gap_is_answered_by_the_resync() -> None:
    graph, _ = replay([trunk_call(), *ring("1.1", "1001"), *ring("1.2", "1002")])
    rows = [
        live("1.2", "PJSIP/1002-00000002", BridgeId="b"),
        live("1.0", "PJSIP/trunk-00000001", BridgeId="b"),
    ]
    graph, changes = resync(graph, rows, START)
    assert kinds(list(changes)) == ["LegEnded", "LegAnswered", "CallAnswered"]
    assert graph.calls["1.0"].answered_by == "1.2"


def test_a_call_that_began_in_a_gap_rings_after_the_resync() -> None:
    rows = [
        live("1.1", "PJSIP/1001-00000001", "5", CallerIDNum="1001"),
        live("1.0", "PJSIP/trunk-00000001", CallerIDNum="13800138000", Exten="4000"),
    ]
    graph, changes = resync(Graph(TRUNKS), rows, START)
    assert kinds(list(changes)) == ["CallStarted", "LegRinging"]
    assert graph.calls["1.0"].caller_number == "13800138000"
    assert graph.calls["1.0"].legs[0].extension == "1001"


def test_a_list_of_live_channels_gives_the_call_that_its_events_gave() -> None:
    """CoreShowChannels while a queue rings a member through a Local channel, as Asterisk 22 lists it."""
    graph, changes = resync(Graph(TRUNKS), events("live-channels")[:-1], START)
    assert kinds(list(changes)) == ["CallStarted", "LegRinging"]
    (call,) = graph.calls.values()
    assert (call.direction, call.caller_number, call.dialled_number) == (
        Direction.INBOUND,
        "13800138000",
        "4011",
    )
    assert [(leg.extension, leg.state) for leg in call.legs] == [("1001", LegState.RINGING)]
    assert call.recordings == ("/var/spool/asterisk/monitor/pbx1-1795322733.20.wav",)
    _, changes = resync(graph, events("live-channels")[:-1], START)
    assert changes == ()


def test_a_resync_that_finds_what_is_known_changes_nothing() -> None:
    graph, _ = replay([trunk_call(), *ring("1.1", "1001"), end("1.1", "1001", "ANSWER")])
    rows = [
        live("1.1", "PJSIP/1001-00000001", BridgeId="b"),
        live("1.0", "PJSIP/trunk-00000001", BridgeId="b"),
    ]
    assert resync(graph, rows, START) == (graph, ())


@given(st.sampled_from(NAMES), st.integers(0, 120), st.integers(0, 120))
def test_events_lost_in_a_gap_leave_no_ghosts(name: str, first: int, second: int) -> None:
    """Whatever is cut out of the stream, after the resync and the rest of the events no call is left."""
    all_events = events(name)
    start, stop = sorted((first, second))
    channels: dict[str, Event] = {}
    for event in all_events[:stop]:
        if event["Event"] == "Newchannel":
            channels[str(event["Uniqueid"])] = event
        elif event["Event"] == "Hangup":
            channels.pop(str(event["Uniqueid"]))
    graph, _ = replay(all_events[:start])
    graph, _ = resync(graph, channels.values(), START)
    graph, _ = replay(all_events[stop:], graph)
    assert not graph.calls


IDS = st.sampled_from(["", "1.0", "1.1", "2.0", "2.1"])
HEADERS = {
    "Event": st.sampled_from(
        [
            *("Newchannel", "Newstate", "DialBegin", "DialState", "DialEnd", "BridgeEnter", "Hangup"),
            "AttendedTransfer",
            *("QueueCallerJoin", "QueueCallerAbandon", "VarSet", "NewCallerid", "Newexten", "Cdr", ""),
        ]
    ),
    "Uniqueid": IDS,
    "DestUniqueid": IDS,
    **dict.fromkeys(
        (
            "OrigTransfererUniqueid",
            "TransfereeUniqueid",
            "SecondTransfererUniqueid",
            "TransferTargetUniqueid",
        ),
        IDS,
    ),
    "Linkedid": IDS,
    "Channel": st.sampled_from(["PJSIP/trunk-1", "PJSIP/1001-2", "Local/1@x-0;1", "", "/-"]),
    "DestChannel": st.sampled_from(["PJSIP/trunk-1", "PJSIP/1002-3", "", "-"]),
    "ChannelState": st.sampled_from(["", "5", "6", "x"]),
    "DialStatus": st.sampled_from(["", "ANSWER", "RINGING", "CANCEL", "?"]),
    "Cause": st.sampled_from(["", "16", "26", "no number"]),
    "CallerIDNum": st.text(max_size=3),
    "ChanVariable": st.one_of(st.text(max_size=3), st.lists(st.text(max_size=3), min_size=1, max_size=2)),
}
ANYTHING = st.fixed_dictionaries(
    {"Event": HEADERS["Event"]}, optional={name: kind for name, kind in HEADERS.items() if name != "Event"}
)


@given(st.lists(ANYTHING, max_size=30), st.lists(ANYTHING, max_size=5))
def test_whatever_comes_the_graph_neither_raises_nor_grows_without_bound(
    all_events: list[dict[str, str | list[str]]], live: list[dict[str, str | list[str]]]
) -> None:
    """Event changes between Asterisk versions: what makes no sense costs no call."""
    graph, _ = replay(all_events)
    channels = {uniqueid for call in graph.calls.values() for uniqueid in call.channels}
    assert channels == set(graph.by_channel)
    assert all(call.channels for call in graph.calls.values())
    assert len(channels) <= 4
    graph, _ = resync(graph, live, START)
    graph, _ = resync(graph, [], START)
    assert not graph.calls
    assert not graph.by_channel
