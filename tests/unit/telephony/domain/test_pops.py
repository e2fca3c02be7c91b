"""Which cards a call calls for."""

from datetime import timedelta

from services.telephony.domain.pops import PopState, cards
from services.telephony.pbx.callgraph import Call, Event
from tests.unit.telephony.pbx.transcripts import START, dial, hangup, new_channel, replay

TRUNK = new_channel("1.0", "1.0", "PJSIP/trunk-00000001", CallerIDNum="13800138000", Exten="4000")


def ring(leg: str, extension: str) -> list[Event]:
    channel = f"PJSIP/{extension}-0000000{leg[-1]}"
    return [
        new_channel(leg, "1.0", channel),
        dial("DialState", "1.0", leg, channel, DialStatus="RINGING"),
    ]


def end(leg: str, extension: str, status: str) -> Event:
    return dial("DialEnd", "1.0", leg, f"PJSIP/{extension}-0000000{leg[-1]}", DialStatus=status)


def live(*all_events: Event) -> Call:
    graph, _ = replay([TRUNK, *all_events])
    return graph.calls["1.0"]


def states(call: Call) -> dict[str, PopState]:
    return {card.extension: card.state for card in cards(call)}


def test_two_devices_at_one_extension_are_one_card() -> None:
    """Two devices on one extension (asterlink #27)."""
    call = live(*ring("1.1", "1001"), *ring("1.2", "1001"))
    (card,) = cards(call)
    assert (card.state, card.ring_time) == (PopState.RINGING, START + timedelta(seconds=2))
    call = live(*ring("1.1", "1001"), *ring("1.2", "1001"), end("1.1", "1001", "BUSY"))
    assert states(call) == {"1001": PopState.RINGING}
    call = live(
        *ring("1.1", "1001"), *ring("1.2", "1001"), end("1.2", "1001", "ANSWER"), end("1.1", "1001", "CANCEL")
    )
    assert states(call) == {"1001": PopState.TALKING}


def test_an_answer_withdraws_who_rang_until_then_and_a_transfer_rings_anew() -> None:
    """The second agent of a transfer gets a card of its own."""
    answered = [*ring("1.1", "1001"), *ring("1.2", "1002"), end("1.1", "1001", "ANSWER")]
    assert states(live(*answered)) == {"1001": PopState.TALKING, "1002": PopState.WITHDRAWN}
    transferred = live(*answered, hangup("1.2"), *ring("1.3", "1003"))
    assert states(transferred)["1003"] is PopState.RINGING
    assert states(live(*answered, hangup("1.2"), *ring("1.3", "1003"), hangup("1.1"))) == {
        "1001": PopState.WRAP_UP,
        "1002": PopState.WITHDRAWN,
        "1003": PopState.RINGING,
    }


def test_what_never_rang_has_no_card() -> None:
    assert cards(live(*ring("1.1", "1001")[:1], end("1.1", "1001", "CHANUNAVAIL"))) == []


def test_an_internal_and_an_outbound_call_have_no_cards() -> None:
    """Nothing pops on internal calls."""
    graph, _ = replay(
        [
            new_channel("1.0", "1.0", "PJSIP/1009-00000001", CallerIDNum="1009", Exten="1001"),
            *ring("1.1", "1001"),
        ]
    )
    assert cards(graph.calls["1.0"]) == []
