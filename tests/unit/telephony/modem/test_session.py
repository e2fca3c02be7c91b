"""Sending and receiving through the emulator's modem, in the same process and by a clock that only waiting moves."""

import contextlib
import json
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.local.modem_emulator.modem import Fault
from services.telephony.modem.engine import Engine, LinkLostError, NoAnswerError
from services.telephony.modem.pace import Breaker
from services.telephony.modem.pdu import Encoding
from services.telephony.modem.port import Fate, Incoming, LinkState
from services.telephony.modem.session import Session, Settings, SimStoppedError
from tests.support.modem import Answers, Queue, Wire

FIXTURES = Path(__file__).parents[3] / "fixtures" / "modem"
FIRST, SECOND = "+8613800138000", "+8613900139000"


class Bench:
    """Hold a modem, a queue, and one session after another between them."""

    def __init__(
        self, queue: Queue | None = None, *, hourly_limit: int = 200, daily_limit: int = 1000
    ) -> None:
        self.wire = Wire()
        self.queue = queue or Queue()
        self.settings = Settings(
            "test", "none", store_retry_s=0, hourly_limit=hourly_limit, daily_limit=daily_limit
        )
        self.breaker = Breaker(5, 60, self.wire.clock)

    def session(
        self,
        until: Callable[[], object],
        *,
        on: Mapping[LinkState, Callable[[], object]] | None = None,
        within_s: float = 3600,
    ) -> None:
        """Run a session until a condition holds; AssertionError if it does not within that time.

        on: what happens when the modem comes into a state for the first time.
        """
        actions = dict(on or {})

        def enter(state: LinkState, detail: str) -> None:
            self.queue.link_changed(state, detail)
            actions.pop(state, lambda: None)()

        stop = _Condition(until, self.wire.clock.now + within_s, self.wire.clock)
        self.queue.recover()
        Session(
            Engine(self.wire, self.wire.clock),
            self.queue,
            self.settings,
            self.breaker,
            enter=enter,
            stop=stop,
            wake=threading.Event(),
        ).run()
        assert until()
        assert self.queue.breaches == []


class _Condition(threading.Event):
    """Be a stop event that is set once a condition holds, or too late."""

    def __init__(self, condition: Callable[[], object], deadline: float, clock: Callable[[], float]) -> None:
        super().__init__()
        self._condition = condition
        self._deadline = deadline
        self._clock = clock

    def is_set(self) -> bool:
        return bool(self._condition()) or self._clock() > self._deadline

    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set()


def test_a_text_is_sent_reported_and_the_report_deleted_from_the_modem() -> None:
    """O16: sent at +CMGS, delivered at the report, matched by reference and number."""
    bench = Bench()
    (segment,) = bench.queue.put(FIRST, "您有一个订单待处理")
    bench.session(lambda: len(bench.queue.reports) == 1)
    (report,) = bench.queue.reports.values()
    assert bench.queue.states[segment] == "sent"
    assert (report.reference, report.number, report.fate) == (
        bench.queue.references[segment],
        FIRST,
        Fate.DELIVERED,
    )
    assert [taken.text for taken in bench.wire.taken] == ["您有一个订单待处理"]
    assert bench.wire.modem.stored() == 0


def test_a_long_text_goes_out_in_segments_that_a_phone_joins() -> None:
    """The reference is the message's, the same in each."""
    bench = Bench()
    text = "很长的提醒，" * 40
    bench.queue.put(FIRST, text)
    bench.session(lambda: bench.queue.all_in("sent"))
    assert "".join(taken.text for taken in bench.wire.taken) == text
    assert [(taken.part, taken.parts) for taken in bench.wire.taken] == [(part, 4) for part in (1, 2, 3, 4)]
    assert len({taken.group for taken in bench.wire.taken}) == 1


class _NoReceiving(Queue):
    """Be a store that fails just when a message comes in."""

    def received(self, message: Incoming) -> None:
        raise OSError("no store")


def test_a_received_message_is_deleted_only_once_it_is_kept() -> None:
    """A store that is away when it comes finds it in the modem later."""
    bench = Bench(_NoReceiving())
    with pytest.raises(OSError, match="no store"):
        bench.session(lambda: False, on={LinkState.READY: lambda: bench.wire.receive(SECOND, "退订")})
    assert bench.wire.modem.stored() == 1
    bench.queue = Queue()
    bench.session(lambda: bench.queue.messages)
    (message,) = bench.queue.messages.values()
    assert (message.number, message.text) == (SECOND, "退订")
    assert bench.wire.modem.stored() == 0


def test_a_received_long_message_keeps_its_places() -> None:
    """The store joins what the segments say belongs together."""
    bench = Bench()
    bench.session(
        lambda: len(bench.queue.messages) == 2,
        on={LinkState.READY: lambda: bench.wire.receive(SECOND, "收到了" * 30)},
    )
    parts = sorted(bench.queue.messages.values(), key=lambda message: message.part)
    assert "".join(part.text for part in parts) == "收到了" * 30
    assert [(part.part, part.parts) for part in parts] == [(1, 2), (2, 2)]
    assert parts[0].reference == parts[1].reference


def test_what_cannot_be_read_is_kept_as_it_is() -> None:
    """Nothing that a person sent is thrown away, nor fills the memory for ever."""
    bench = Bench()
    bench.session(
        lambda: bench.queue.messages, on={LinkState.READY: lambda: bench.wire.modem.deliver("0004", 1)}
    )
    (message,) = bench.queue.messages.values()
    assert (message.number, message.text, message.encoding) == ("", "0004", Encoding.OCTETS)
    assert bench.wire.modem.stored() == 0


def test_one_bad_number_does_not_hold_up_the_rest() -> None:
    """F199: it fails for good, the others go out."""
    bench = Bench()
    bench.wire.conditions.faults.append(Fault(cms_error=28, number=FIRST, count=100))
    (bad,) = bench.queue.put(FIRST, "坏号码")
    good = [bench.queue.put(SECOND, f"好号码{number}")[0] for number in range(10)]
    bench.session(lambda: bench.queue.all_in("sent", "failed"))
    assert bench.queue.states[bad] == "failed"
    assert bench.queue.errors[bad] == ["+CMS ERROR: 28"]
    assert {bench.queue.states[segment] for segment in good} == {"sent"}


def test_a_number_that_cannot_be_written_fails_without_a_word_to_the_modem() -> None:
    """Nor does it end the session."""
    bench = Bench()
    bench.queue.put("not a number", "x")
    bench.queue.put(SECOND, "好")
    bench.session(lambda: bench.queue.all_in("sent", "failed"))
    assert list(bench.queue.states.values()) == ["failed", "sent"]


def test_congestion_is_tried_again() -> None:
    """+CMS ERROR 42 is the network's moment, not the message's fault."""
    bench = Bench()
    bench.wire.conditions.faults.append(Fault(cms_error=42))
    (segment,) = bench.queue.put(FIRST, "再试一次")
    bench.session(lambda: bench.queue.all_in("sent"))
    assert bench.queue.errors[segment] == ["+CMS ERROR: 42"]
    assert len(bench.wire.taken) == 1


def test_failures_in_a_row_pause_sending_but_not_receiving() -> None:
    """Five failures, a pause of a minute, one more failure, a pause of two, then it goes out."""
    bench = Bench(Queue(retries=100))
    bench.wire.conditions.faults.append(Fault(cms_error=38, count=6))
    (segment,) = bench.queue.put(FIRST, "网络坏了")
    started = bench.wire.clock.now
    received_while = []

    def receive() -> None:
        bench.wire.receive(SECOND, "还在吗")
        received_while.append(bench.queue.link)

    bench.session(lambda: bench.queue.all_in("sent"), on={LinkState.PAUSED: receive})
    assert (LinkState.PAUSED, "too many failures in a row, the last: +CMS ERROR: 38") in bench.queue.links
    assert len(bench.queue.errors[segment]) == 6
    assert len(bench.queue.messages) == 1
    assert 180 <= bench.wire.clock.now - started < 240


def test_a_full_memory_is_emptied_and_the_message_sent() -> None:
    """+CMS ERROR 322: what the memory holds is kept, then deleted, and the message tried again."""
    bench = Bench()
    (segment,) = bench.queue.put(FIRST, "满了")
    bench.session(lambda: bench.queue.all_in("sent"), on={LinkState.READY: bench.wire.modem.fill})
    assert bench.queue.errors[segment] == ["+CMS ERROR: 322"]
    assert bench.wire.modem.stored() == 0
    assert [message.number for message in bench.queue.messages.values()] == ["10086"]


def test_a_lost_service_centre_is_written_back() -> None:
    """+CMS ERROR 330: the number read at the start."""
    bench = Bench()
    (segment,) = bench.queue.put(FIRST, "中心")
    bench.wire.conditions.faults.append(Fault(cms_error=330))
    bench.session(lambda: bench.queue.all_in("sent"))
    assert bench.queue.errors[segment] == ["+CMS ERROR: 330"]


def test_a_barred_sim_stops_and_the_message_waits() -> None:
    """+CMS ERROR 8: a person has to look; the message is not at fault."""
    bench = Bench()
    (segment,) = bench.queue.put(FIRST, "停机")
    bench.wire.conditions.faults.append(Fault(cms_error=8))
    with pytest.raises(SimStoppedError, match="CMS ERROR: 8"):
        bench.session(lambda: False)
    assert bench.queue.states[segment] == "waiting"


@pytest.mark.parametrize("state", ["SIM PIN", "SIM PUK", "PH-SIM PIN"])
def test_a_sim_that_asks_for_a_code_stops_the_modem(state: str) -> None:
    """Guessing would block it."""
    bench = Bench()
    bench.wire.conditions.sim = state
    with pytest.raises(SimStoppedError, match=state):
        bench.session(lambda: False)


def test_nothing_is_sent_before_the_network_is_there() -> None:
    """A modem that never registers is opened anew."""
    bench = Bench()
    bench.queue.put(FIRST, "没有信号")
    bench.wire.conditions.registration = 2
    with pytest.raises(LinkLostError, match="not registered"):
        bench.session(lambda: False)
    assert bench.wire.taken == []


@pytest.mark.parametrize(
    ("hourly", "daily", "ages", "sent"),
    [
        (3, 1000, [], 3),
        (3, 1000, [10, 3000, 3601, 9000], 1),
        (300, 5, [7200, 80000], 3),
    ],
)
def test_a_sim_sends_no_more_than_it_may(hourly: int, daily: int, ages: list[float], sent: int) -> None:
    """The limits hold across restarts: the queue tells what was sent before."""
    bench = Bench(hourly_limit=hourly, daily_limit=daily)
    bench.queue.ages = ages
    for number in range(10):
        bench.queue.put(SECOND, f"群发{number}")
    ended = bench.wire.clock.now + 500
    bench.session(lambda: bench.wire.clock.now > ended)
    assert len(bench.wire.taken) == sent
    assert bench.queue.link is LinkState.PAUSED


def test_an_answer_lost_is_uncertain_and_settled_by_its_report() -> None:
    """The network had it: the report comes with the next connection; the message does not go out again."""
    bench = Bench()
    bench.wire.conditions.faults.append(Fault(accepted=True))
    (segment,) = bench.queue.put(FIRST, "发了吗")
    with pytest.raises(LinkLostError):
        bench.session(lambda: False)
    assert bench.queue.states[segment] == "uncertain"
    bench.session(lambda: bench.queue.reports)
    assert [report.number for report in bench.queue.reports.values()] == [FIRST]
    assert bench.queue.states[segment] == "uncertain"
    assert len(bench.wire.taken) == 1


def test_a_modem_that_swallows_messages_does_not_swallow_the_queue() -> None:
    """Five answers lost in a row, over as many connections, and sending pauses."""
    bench = Bench()
    bench.wire.conditions.faults.append(Fault(count=100))
    for number in range(20):
        bench.queue.put(FIRST, f"第{number}条")
    for _ in range(5):
        with pytest.raises(LinkLostError):
            bench.session(lambda: False)
    bench.session(lambda: bench.queue.link is LinkState.PAUSED)
    assert sorted(set(bench.queue.states.values())) == ["uncertain", "waiting"]
    assert list(bench.queue.states.values()).count("uncertain") == 5


def test_reports_and_messages_passed_on_at_once_are_acknowledged_once_kept() -> None:
    """A modem that stores no reports, in phase 2+: +CDS and +CMT come by themselves and want AT+CNMA."""
    script = Answers(
        {
            **dict.fromkeys(
                ("AT", "ATE0", "AT+CMGF=0", "AT+CNMI=2,1,0,1,0", "AT+CNMA", "AT+CSQ"), "\r\nOK\r\n"
            ),
            "AT+CPIN?": "\r\n+CPIN: READY\r\n\r\nOK\r\n",
            "AT+CSMS?": "\r\n+CSMS: 1,1,1,1\r\n\r\nOK\r\n",
        }
    )
    report, message = json_lines("received.jsonl")[6], json_lines("received.jsonl")[1]
    words = [f"\r\n+CDS: 26\r\n{report['pdu']}\r\n\r\n+CMT: ,44\r\n{message['pdu']}\r\n"]
    queue = Queue()
    Session(
        Engine(script, script.clock),
        queue,
        Settings("test", "none"),
        Breaker(5, 60, script.clock),
        enter=lambda state, _: script.say(words.pop()) if state is LinkState.READY and words else None,
        stop=_Condition(lambda: script.asked.count("AT+CNMA") == 2, script.clock() + 600, script.clock),
        wake=threading.Event(),
    ).run()
    assert script.asked.count("AT+CNMA") == 2
    assert [report.reference for report in queue.reports.values()] == [1]
    assert [message.text for message in queue.messages.values()] == ["收到，明天见。TD 退订"]


def json_lines(name: str) -> list[dict[str, str]]:
    """Read a fixture."""
    return [json.loads(line) for line in (FIXTURES / name).read_text().splitlines()]


def test_a_modem_that_restarted_by_itself_is_set_up_again() -> None:
    """It has forgotten PDU mode and reports."""
    bench = Bench()
    with pytest.raises(LinkLostError, match="restarted"):
        bench.session(lambda: False, on={LinkState.READY: lambda: bench.wire.modem.say("RDY")})


def test_a_modem_as_poor_as_ofono_phonesim_is_good_enough() -> None:
    """Its recorded answers: bare AT, CMEE, CNMI=2,1,0,2,0 and more are refused, +CMGS is 0, no reports come."""
    answers = json.loads((FIXTURES / "ofono-phonesim.json").read_text())
    script = Answers({**answers, "AT+CEREG?": "\r\nERROR\r\n"})
    queue, states = Queue(), []
    queue.put(FIRST, "您好")
    Session(
        Engine(script, script.clock),
        queue,
        Settings("test", "none"),
        Breaker(5, 60, script.clock),
        enter=lambda state, _: states.append(state),
        stop=_Condition(lambda: queue.all_in("sent"), script.clock() + 600, script.clock),
        wake=threading.Event(),
    ).run()
    assert queue.references == {"0/1": 0}
    assert states[-1] is LinkState.READY


@pytest.mark.parametrize("together", [True, False])
def test_what_is_kept_is_deleted_in_one_line_and_singly_where_a_modem_refuses_that(together: bool) -> None:
    """A pause behind each command would else cost more than the sending (V.250 5.2).

    Refused in the middle, nobody knows which are gone, and an index may be another message's by then: listed anew.
    """
    answers = dict.fromkeys(("AT", "ATE0", "AT+CMGF=0", "AT+CSQ"), "\r\nOK\r\n")
    answers |= dict.fromkeys((f"AT+CMGD={index}" for index in range(1, 7)), "\r\nOK\r\n")
    lines = ["AT+CMGD=1;+CMGD=2;+CMGD=3;+CMGD=4;+CMGD=5", "AT+CMGD=6"]
    answers |= dict.fromkeys(lines, "\r\nOK\r\n") if together else {}
    pdu = json_lines("received.jsonl")[1]["pdu"]
    listed = "".join(f"\r\n+CMGL: {index},0,,44\r\n{pdu}\r\n" for index in range(1, 7))
    script = Answers(
        {**answers, "AT+CPIN?": "\r\n+CPIN: READY\r\n\r\nOK\r\n", "AT+CMGL=4": f"{listed}\r\nOK\r\n"}
    )
    queue, states = Queue(), []
    Session(
        Engine(script, script.clock),
        queue,
        Settings("test", "none"),
        Breaker(5, 60, script.clock),
        enter=lambda state, _: states.append(state),
        stop=_Condition(lambda: "AT+CMGD=6" in script.asked, script.clock() + 600, script.clock),
        wake=threading.Event(),
    ).run()
    deleted = [line for line in script.asked if "CMGD" in line]
    assert deleted == (lines if together else [lines[0], *(f"AT+CMGD={index}" for index in range(1, 7))])
    assert script.asked.count("AT+CMGL=4") == (1 if together else 2)
    assert len(queue.messages) == 1


class _Killed(BaseException):
    """Be the end of the process, at any line."""


faults = st.one_of(
    st.builds(Fault, cms_error=st.sampled_from([8, 28, 42, 322, 500, 513])),
    st.builds(Fault, accepted=st.booleans(), unplug=st.booleans()),
)


@settings(deadline=None)
@given(st.data())
def test_whatever_happens_each_segment_goes_out_at_most_once(data: st.DataObject) -> None:
    """F199, and the house rule: lost answers, unplugging, kills and an absent store in any order and place.

    Every segment ends in one fate; sent means that the network has it, failed that it has not; the uncertain ones are
    those that nobody can know.
    """
    bench = Bench(Queue(retries=2))
    for number in range(data.draw(st.integers(1, 4), "messages")):
        bench.queue.put(
            FIRST, f"第{number}条" + f"，很长{number}" * data.draw(st.sampled_from([0, 40]), "length")
        )
    bench.wire.conditions.faults += data.draw(st.lists(faults, max_size=5), "faults")
    blows = data.draw(st.dictionaries(st.integers(1, 60), st.sampled_from(["kill", "no store"]), max_size=4))
    # Those strike before a call, these after it: what it did stays, its answer is lost.
    late_blows = data.draw(
        st.dictionaries(st.integers(1, 60), st.sampled_from(["kill", "no store"]), max_size=4)
    )

    def strike(blows: dict[int, str], call: int) -> None:
        blow = blows.pop(call, None)
        if blow == "kill":
            raise _Killed
        if blow:
            raise OSError(blow)

    bench.queue.before_call = partial(strike, blows)
    bench.queue.after_call = partial(strike, late_blows)
    done = ("sent", "failed", "uncertain")
    for _ in range(60):
        bench.wire.plug()
        with contextlib.suppress(_Killed, OSError, LinkLostError, NoAnswerError, SimStoppedError):
            bench.session(lambda: bench.queue.all_in(*done))
            break
    else:
        pytest.fail(f"never done: {bench.queue.states}")
    assert bench.queue.breaches == []
    taken = [f"{taken.text}{taken.part}" for taken in bench.wire.taken]
    assert len(taken) == len(set(taken))
    for key, segment in bench.queue.segments.items():
        had = f"{segment.text}{segment.part}" in taken
        assert bench.queue.states[key] != "sent" or had
        assert bench.queue.states[key] != "failed" or not had
