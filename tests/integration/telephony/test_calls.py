"""From the call graph to rows and events: what is stored of a call, and who sees a pop."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.chassis.ids import new_id
from services.telephony.domain.pops import PopMoment, PopRules, PopSettings
from services.telephony.pbx.callgraph import Call, Event, Graph, apply
from services.telephony.usecases import staff
from services.telephony.usecases.calls import Caller, CallUpdate, attach_callers, call_id_of, record_calls
from services.telephony.usecases.desk import close_pop
from tests.integration.telephony.conftest import Shop
from tests.unit.telephony.pbx.transcripts import START, TRUNKS, dial, events, hangup, new_channel

RIVERA = Caller("0a000000-0000-4000-8000-000000000001", "上海云海", "", "张三", "", ("exact_number",))
OTHER = Caller("0a000000-0000-4000-8000-000000000002", "北京山河", "", "李四", "", ("exact_number",))


class Line:
    """Apply events and store the calls they change, as the edge does."""

    def __init__(
        self, shop: Shop, callers: Sequence[Caller] | None = (), pops: PopSettings | None = None
    ) -> None:
        self.shop = shop
        self.callers = callers
        self.pops = pops or PopSettings()
        self.graph = Graph(TRUNKS)
        self.now = START

    def feed(self, all_events: Sequence[Event]) -> None:
        for event in all_events:
            self.now += timedelta(seconds=1)
            self.graph, changes = apply(self.graph, event, self.now)
            if changes:
                linked_id = changes[-1].call.linked_id
                self.store(self.graph.calls.get(linked_id, changes[-1].call))

    def store(self, call: Call) -> None:
        with self.shop.store.transaction(self.shop.tenant) as tx:
            record_calls(tx, self.shop.pbx, [CallUpdate(call, self.callers)], self.pops)


def until_event(name: str, event_type: str, **fields: str) -> list[Event]:
    """Return a transcript up to and with the first such event."""
    all_events = events(name)
    for number, event in enumerate(all_events):
        if event["Event"] == event_type and all(event.get(key) == value for key, value in fields.items()):
            return all_events[: number + 1]
    raise AssertionError(f"{name} has no {event_type}")


def test_a_queue_call_is_one_row_with_its_leg_and_its_customer(shop: Shop) -> None:
    """F219, F221: one call is one row; one match links by itself (O5)."""
    agent = shop.agent("王小明", "1001")
    Line(shop, [RIVERA]).feed(events("queue-call"))
    call = shop.row("call")
    assert (call["direction"], call["state"], call["queue"], call["did"]) == (
        "inbound",
        "ended",
        "sales",
        "4000",
    )
    assert call["number"] == "+8613800138000"
    assert (call["customer_id"], call["customer_name"]) == (RIVERA.customer_id, "上海云海")
    assert (call["answered_by_id"], call["answered_by_name"]) == (agent, "王小明")
    assert call["graph"] is None
    leg = shop.row("leg")
    assert (leg["extension"], leg["person_id"], leg["result"]) == ("1001", agent, "ANSWER")
    assert shop.row("recording")["path"] == "/var/spool/asterisk/monitor/pbx1-1795291960.3.wav"
    (told,) = shop.events("call_ended")
    assert told.aggregate == call["id"]
    assert told.data["customerId"] == RIVERA.customer_id
    assert told.data["personId"] == agent
    assert told.data["talkSeconds"] == (call["end_time"] - call["answer_time"]).total_seconds()


def test_the_pop_rings_talks_and_stays_for_notes_with_growing_versions(shop: Shop) -> None:
    """F218, F223."""
    agent = shop.agent("王小明", "1001")
    Line(shop, [RIVERA]).feed(events("queue-call"))
    told = shop.events("pop_changed")
    assert [event.data["state"] for event in told] == [
        "POP_STATE_RINGING",
        "POP_STATE_TALKING",
        "POP_STATE_WRAP_UP",
    ]
    assert [event.version for event in told] == [1, 2, 3]
    assert {event.aggregate for event in told} == {shop.row("pop")["id"]}
    assert told[0].data["personId"] == agent
    assert [caller["customerName"] for caller in told[0].data["callers"]] == ["上海云海"]
    assert told[1].data["answeredByName"] == "王小明"
    assert told[0].data["receiveTime"] == told[0].data["ringTime"]


def test_when_one_answers_the_others_pops_are_withdrawn_and_say_who(shop: Shop) -> None:
    """Ring-all: everybody kept a pop (yaai #83)."""
    one, other = shop.agent("王小明", "1001"), shop.agent("李雷", "1003")
    line = Line(shop)
    line.feed(until_event("ring-all", "Newstate", ChannelStateDesc="Up"))
    pops = {pop["person_id"]: pop for pop in shop.rows("pop")}
    assert pops[one]["state"] == "talking"
    assert (pops[other]["state"], pops[other]["answered_by_id"], pops[other]["answered_by_name"]) == (
        "withdrawn",
        one,
        "王小明",
    )
    line.feed(events("ring-all"))
    pops = {pop["person_id"]: pop for pop in shop.rows("pop")}
    assert (pops[one]["state"], pops[other]["state"]) == ("wrap_up", "withdrawn")


def test_an_abandoned_call_is_missed_and_its_pop_withdrawn(shop: Shop) -> None:
    shop.agent("王小明", "1001")
    Line(shop).feed(events("abandoned"))
    assert shop.row("call")["state"] == "missed"
    assert shop.row("pop")["state"] == "withdrawn"
    assert shop.events("call_ended")[0].data["talkSeconds"] == 0


def test_nobody_signed_on_means_no_pop_but_the_call_is_kept(shop: Shop) -> None:
    """An unknown extension stays unassigned, never an administrator's (yaai #162)."""
    Line(shop).feed(events("queue-call"))
    assert shop.rows("pop") == []
    assert shop.row("leg")["person_id"] is None
    assert shop.row("call")["answered_by_id"] is None


def test_an_outbound_call_pops_nothing_and_knows_who_dialled(shop: Shop) -> None:
    agent = shop.agent("王小明", "1001")
    Line(shop, [RIVERA]).feed(events("originate"))
    call = shop.row("call")
    assert (call["direction"], call["number"], call["origin_person_id"]) == (
        "outbound",
        "+8613900139000",
        agent,
    )
    assert call["customer_id"] == RIVERA.customer_id
    assert shop.rows("pop") == []


def test_an_agents_pages_are_told_of_a_call_that_has_no_card(shop: Shop) -> None:
    """Of one with a card the card tells them."""
    agent = shop.agent("王小明", "1001")

    Line(shop, [RIVERA]).feed(events("queue-call"))
    assert len(shop.events("agent_changed")) == 1
    hidden = PopRules(hide_one=True)
    line = Line(shop, [RIVERA], PopSettings(hidden, hidden))
    for transcript in ("originate", "abandoned"):
        line.feed(events(transcript))
        told, ended = shop.events("agent_changed")[-1], shop.events("call_ended")[-1]
        assert (told.data["personId"], told.time) == (agent, ended.time)
    assert len(shop.rows("pop")) == 1


def test_of_several_matches_none_is_linked(shop: Shop) -> None:
    """O5: never pick silently."""
    shop.agent("王小明", "1001")
    Line(shop, [RIVERA, OTHER]).feed(events("queue-call"))
    assert shop.row("call")["customer_id"] is None
    assert len(shop.events("pop_changed")[0].data["callers"]) == 2


def test_the_number_is_masked_for_who_does_not_own_the_customer(shop: Shop) -> None:
    """Own customers come first, with the number; others' are masked; an unknown caller's number is needed."""
    owner, other = shop.agent("王小明", "1001"), shop.agent("李雷", "1003")
    mine = Caller(OTHER.customer_id, OTHER.customer_name, owner_id=owner)
    Line(shop, [RIVERA, mine]).feed(until_event("ring-all", "Newstate", ChannelStateDesc="Up"))
    pops = {pop["person_id"]: pop for pop in shop.rows("pop")}
    assert pops[owner]["number"] == "+8613800138000"
    assert [caller["customerName"] for caller in pops[owner]["callers"]] == ["北京山河", "上海云海"]
    assert pops[owner]["callers"][0]["reasons"][0] == "own_customer"
    assert pops[other]["number"] == "+86138****8000"
    assert [caller["customerName"] for caller in pops[other]["callers"]] == ["上海云海", "北京山河"]


def test_an_anonymous_caller_is_kept_and_pops(shop: Shop) -> None:
    """Anonymous callers were dropped (asterlink)."""
    shop.agent("王小明", "1001")
    hidden = [
        {**event, "CallerIDNum": "anonymous"} if event.get("CallerIDNum") == "13800138000" else event
        for event in events("queue-call")
    ]
    Line(shop).feed(hidden)
    assert shop.row("call")["number"] == ""
    assert shop.events("pop_changed")[0].data["number"] == ""


def test_a_late_answer_who_is_calling_reaches_the_open_pop_and_links_the_call(shop: Shop) -> None:
    shop.agent("王小明", "1001")
    line = Line(shop, None)
    line.feed(until_event("queue-call", "DialEnd"))
    linked_id = next(iter(line.graph.calls))
    with shop.store.transaction(shop.tenant) as tx:
        attach_callers(tx, shop.pbx, linked_id, [RIVERA])
    told = shop.events("pop_changed")[-1]
    assert told.data["state"] == "POP_STATE_TALKING"
    assert told.data["callers"][0]["customerId"] == RIVERA.customer_id
    line.feed(events("queue-call"))
    assert shop.row("call")["customer_id"] == RIVERA.customer_id
    assert shop.events("call_ended")[0].data["customerId"] == RIVERA.customer_id
    assert shop.events("call_linked") == []


def test_an_answer_after_the_call_links_it_and_says_so(shop: Shop) -> None:
    Line(shop, None).feed(events("queue-call"))
    for _ in range(2):
        with shop.store.transaction(shop.tenant) as tx:
            attach_callers(tx, shop.pbx, "pbx1-1795291960.3", [RIVERA])
    (told,) = shop.events("call_linked")
    assert told.data["customerId"] == RIVERA.customer_id
    # Evidence is of when the call was, however late its customer became known.
    assert told.data["endTime"] == shop.row("call")["end_time"].isoformat()


def test_writing_a_finished_call_again_changes_nothing(shop: Shop) -> None:
    shop.agent("王小明", "1001")
    line = Line(shop)
    line.feed(events("queue-call"))
    before = [shop.rows(table) for table in ("call", "leg", "pop", "recording", "outbox")]
    line.graph = Graph(TRUNKS)
    line.feed(events("queue-call"))
    assert [shop.rows(table) for table in ("call", "leg", "pop", "recording", "outbox")] == before


def test_a_closed_pop_stays_closed_until_it_rings_again(shop: Shop) -> None:
    agent = shop.agent("王小明", "1001")
    channel = "PJSIP/1001-00000001"
    line = Line(shop)
    first = [
        new_channel("1.0", "1.0", "PJSIP/trunk-00000001", CallerIDNum="13800138000", Exten="4000"),
        new_channel("1.1", "1.0", channel),
        dial("DialBegin", "1.0", "1.1", channel),
        dial("DialState", "1.0", "1.1", channel, DialStatus="RINGING"),
        dial("DialEnd", "1.0", "1.1", channel, DialStatus="ANSWER"),
        hangup("1.1"),
    ]
    line.feed(first)
    with shop.store.transaction(shop.tenant) as tx:
        close_pop(tx, agent, shop.row("pop")["id"])
    line.feed([new_channel("1.2", "1.0", "PJSIP/1003-00000002")])
    line.store(line.graph.calls["1.0"])
    assert shop.row("pop")["state"] == "closed"
    again = "PJSIP/1001-00000003"
    line.feed(
        [
            new_channel("1.3", "1.0", again),
            dial("DialBegin", "1.0", "1.3", again),
            dial("DialState", "1.0", "1.3", again, DialStatus="RINGING"),
        ]
    )
    assert shop.row("pop")["state"] == "ringing"
    assert shop.events("pop_changed")[-1].version == shop.row("pop")["version"]


def test_who_signs_off_in_mid_call_keeps_the_pop_and_the_credit(shop: Shop) -> None:
    agent = shop.agent("王小明", "1001")
    line = Line(shop)
    line.feed(until_event("queue-call", "DialEnd"))
    with shop.store.transaction(shop.tenant) as tx:
        staff.sign_off(tx, agent)
        staff.sign_on(tx, new_id(), "李雷", "1001")
    line.feed(events("queue-call"))
    assert shop.row("pop")["person_id"] == agent
    assert shop.row("call")["answered_by_id"] == agent
    assert shop.row("leg")["person_id"] == agent


def test_a_live_call_is_stored_with_its_graph(shop: Shop) -> None:
    """State only in memory: a restart lost live calls (asterlink)."""
    line = Line(shop)
    line.feed(until_event("queue-call", "DialEnd"))
    row = shop.row("call")
    assert row["id"] == call_id_of(shop.pbx, row["linked_id"])
    assert row["graph"]["legs"][0]["extension"] == "1001"


def test_calls_written_together_are_what_each_is_alone(main_shop: Shop) -> None:
    """The edge writes all that changed in one transaction: nothing of one call may get into another."""
    for extension in ("1001", "1003"):
        main_shop.agent(f"座席{extension}", extension)
    names = {"queue-call": [RIVERA], "ring-all": [OTHER], "abandoned": None, "originate": []}
    steps: dict[str, list[Call]] = {}
    for name in names:
        graph, steps[name] = Graph(TRUNKS), []
        for second, event in enumerate(events(name)):
            graph, changes = apply(graph, event, START + timedelta(seconds=second))
            steps[name] += [change.call for change in changes]
    # The same number of times each, the last one the call's end, which comes twice.
    times = max(map(len, steps.values())) + 1
    padded = {name: [*calls, *[calls[-1]] * (times - len(calls))] for name, calls in steps.items()}

    def told(together: bool) -> tuple[list[Any], ...]:
        shop = Shop(main_shop.store, main_shop.tenant, f"pbx-{new_id()[-12:]}")
        for turn in range(times):
            updates = [
                CallUpdate(replace(padded[name][turn], linked_id=name), callers)
                for name, callers in names.items()
            ]
            for batch in [updates] if together else [[update] for update in updates]:
                with shop.store.transaction(shop.tenant) as tx:
                    record_calls(tx, shop.pbx, batch)
        ids = {call_id_of(shop.pbx, name): name for name in names}
        rows = [
            sorted(
                (
                    ids[str(row.get("call_id", row["id"] if table == "call" else ""))],
                    *(str(row.get(column)) for column in ("extension", "state", "version", "person_id")),
                    *(str(row.get(column)) for column in ("answered_by_id", "customer_id", "callers")),
                    *(str(row.get(column)) for column in ("ring_time", "answer_time", "end_time", "result")),
                )
                for row in shop.rows(table)
                if str(row["call_id"] if table != "call" else row["id"]) in ids
            )
            for table in ("call", "leg", "pop", "recording")
        ]
        events_of = [
            (ids[event.data["callId"]], event.type, event.version, event.data.get("state"))
            for kind in ("pop_changed", "call_ended")
            for event in shop.events(kind)
            if event.data["callId"] in ids
        ]
        return *rows, sorted(events_of, key=str)

    alone = told(together=False)
    assert all(alone)
    assert told(together=True) == alone


@pytest.fixture
def store_shop(main_shop: Shop) -> Shop:
    """A shop whose extensions have agents; every example has its own PBX in it."""
    for extension in ("1001", "1003"):
        main_shop.agent(f"agent {extension}", extension)
    return main_shop


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.sampled_from(["queue-call", "ring-all", "abandoned", "local-queue"]), st.randoms(use_true_random=False)
)
def test_after_any_order_of_events_no_pop_is_left_ringing(
    store_shop: Shop, name: str, random: Random
) -> None:
    """No ghost pop."""
    shop = Shop(store_shop.store, store_shop.tenant, f"pbx-{new_id()[-12:]}")
    first = [event for event in events(name) if event["Event"] == "Newchannel"]
    rest = [event for event in events(name) if event["Event"] != "Newchannel"]
    random.shuffle(rest)
    Line(shop).feed([*first, *rest])
    calls = {row["id"]: row for row in shop.rows("call") if row["pbx"] == shop.pbx}
    assert len(calls) == 1
    for pop in shop.rows("pop"):
        if pop["call_id"] in calls:
            assert pop["state"] in ("withdrawn", "wrap_up")


def ring_again(leg: str) -> list[Event]:
    channel = f"PJSIP/1001-0000000{leg[-1]}"
    return [
        new_channel(leg, "1.0", channel),
        dial("DialState", "1.0", leg, channel, DialStatus="RINGING"),
    ]


CALLER = new_channel("1.0", "1.0", "PJSIP/trunk-00000001", CallerIDNum="13800138000", Exten="4000")


def reseat(shop: Shop, leaving: str) -> str:
    """Let the next person sit down at 1001 and return the id."""
    person_id = new_id()
    with shop.store.transaction(shop.tenant) as tx:
        staff.sign_off(tx, leaving)
        staff.sign_on(tx, person_id, "李雷", "1001")
    return person_id


def test_a_second_ring_after_a_change_of_shift_goes_to_who_sits_there_now(shop: Shop) -> None:
    first = shop.agent("王小明", "1001")
    line = Line(shop)
    line.feed([CALLER, *ring_again("1.1")])
    second = reseat(shop, first)
    line.feed(
        [dial("DialEnd", "1.0", "1.1", "PJSIP/1001-00000001", DialStatus="NOANSWER"), *ring_again("1.2")]
    )
    assert {pop["person_id"]: pop["state"] for pop in shop.rows("pop")} == {
        first: "withdrawn",
        second: "ringing",
    }


def test_what_a_lost_step_left_ringing_is_withdrawn_by_the_next_ring(shop: Shop) -> None:
    """States in between may be left out; no ghost pop stays with who has gone."""
    first = shop.agent("王小明", "1001")
    line = Line(shop)
    line.feed([CALLER, *ring_again("1.1")])
    second = reseat(shop, first)
    graph = line.graph
    for event in [hangup("1.1", "19"), *ring_again("1.2")]:
        graph, _ = apply(graph, event, line.now + timedelta(seconds=9))
    line.store(graph.calls["1.0"])
    assert {pop["person_id"]: pop["state"] for pop in shop.rows("pop")} == {
        first: "withdrawn",
        second: "ringing",
    }


def test_who_sits_down_in_mid_call_gets_no_pop_of_it(shop: Shop) -> None:
    first = shop.agent("王小明", "1001")
    line = Line(shop)
    line.feed([CALLER, *ring_again("1.1"), dial("DialEnd", "1.0", "1.1", "x", DialStatus="ANSWER")])
    reseat(shop, first)
    line.store(line.graph.calls["1.0"])
    assert [pop["person_id"] for pop in shop.rows("pop")] == [first]


def pop_states(shop: Shop) -> list[str]:
    return [event.data["state"].removeprefix("POP_STATE_") for event in shop.events("pop_changed")]


def test_a_card_may_wait_until_the_agent_answers(main_shop: Shop) -> None:
    """Convention 1: the moment is a setting; who only rang gets no card then."""
    one, _ = main_shop.agent("王小明", "1001"), main_shop.agent("李雷", "1003")
    answered = PopSettings(direct=PopRules(PopMoment.ANSWERED))
    Line(main_shop, [RIVERA], answered).feed(events("ring-all"))
    assert pop_states(main_shop) == ["TALKING", "WRAP_UP"]
    assert main_shop.row("pop")["person_id"] == one


@pytest.mark.parametrize(
    ("hidden", "callers"),
    [
        (PopRules(hide_unknown=True), []),
        (PopRules(hide_one=True), [RIVERA]),
        (PopRules(hide_several=True), [RIVERA, OTHER]),
    ],
)
def test_a_case_may_have_no_card_and_the_call_is_kept(
    main_shop: Shop, hidden: PopRules, callers: list[Caller]
) -> None:
    """Convention 1: no match, one match, many matches, for each way a call came."""
    main_shop.agent("王小明", "1001")
    line = Line(main_shop, callers, PopSettings(queue=hidden))
    line.feed(events("queue-call"))
    assert main_shop.rows("pop") == []
    assert main_shop.row("call")["state"] == "ended"
    # The other way of calling keeps its cards.
    line.feed(events("busy"))
    line.feed(events("ring-all"))
    assert pop_states(main_shop) == ["RINGING", "TALKING", "WRAP_UP"]


def test_a_card_that_depends_on_who_calls_waits_to_hear_it(main_shop: Shop) -> None:
    main_shop.agent("王小明", "1001")
    line = Line(main_shop, None, PopSettings(queue=PopRules(hide_unknown=True)))
    line.feed(until_event("queue-call", "Newstate", ChannelStateDesc="Ringing"))
    assert main_shop.rows("pop") == []
    (call,) = line.graph.calls.values()
    with main_shop.store.transaction(main_shop.tenant) as tx:
        attach_callers(tx, main_shop.pbx, call.linked_id, [RIVERA])
    # The edge writes it again then.
    line.store(call)
    assert pop_states(main_shop) == ["RINGING"]


def test_of_several_the_own_customer_comes_first_then_whom_the_agent_talked_to(main_shop: Shop) -> None:
    """Convention 2: ranked, with the reasons; the call is nobody's until the pick."""
    agent = main_shop.agent("王小明", "1001")
    line = Line(main_shop, [OTHER])
    line.feed(events("queue-call"))
    line.callers = [
        RIVERA,
        OTHER,
        replace(RIVERA, customer_id=new_id(), customer_name="广州海纳", owner_id=agent),
    ]

    def later(value: str | list[str]) -> str | list[str]:
        return value.replace("1795291960", "1795291990") if isinstance(value, str) else value

    again = [{key: later(value) for key, value in event.items()} for event in events("queue-call")]
    line.feed(again)
    callers = main_shop.events("pop_changed")[-1].data["callers"]
    assert [(caller["customerName"], caller["reasons"][0]) for caller in callers] == [
        ("广州海纳", "own_customer"),
        ("北京山河", "talked_before"),
        ("上海云海", "exact_number"),
    ]
    assert [row["customer_id"] for row in main_shop.rows("call")].count(None) == 1
