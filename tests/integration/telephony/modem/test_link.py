"""A modem thread and the emulator, each on its end of a real pty."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.telephony.modem.link import Link
from services.telephony.modem.port import Fate, LinkState, StoreAwayError
from services.telephony.modem.session import Settings
from tests.support.modem import Emulator, Queue, emulator
from tests.support.until import until

FIRST, SECOND = "+8613800138000", "+8613900139000"


@pytest.fixture
def modem(tmp_path: Path) -> Iterator[Emulator]:
    """Run an emulator."""
    with emulator(tmp_path) as running:
        yield running


@pytest.fixture
def queue() -> Iterator[Queue]:
    """Keep a queue, and see at the end that the modem's thread kept the port's rules."""
    kept = Queue()
    yield kept
    assert kept.breaches == []


@pytest.fixture
def link(modem: Emulator, queue: Queue) -> Iterator[Link]:
    """Run a modem thread that reopens quickly and does not wait two minutes for an answer."""
    settings = Settings(
        "test", str(modem.link), submit_timeout_s=1.0, reopen_s=0.05, reopen_max_s=0.2, poll_s=0.1
    )
    running = Link(settings, queue)
    running.start()
    until(lambda: queue.link is LinkState.READY)
    yield running
    assert running.stop()
    assert queue.links[-1] == (LinkState.DOWN, "stopped")


def inbox(modem: Emulator) -> list[tuple[str, str]]:
    """Return the number and text of each message that arrived whole."""
    messages = [json.loads(line) for line in modem.inbox.read_text().splitlines()]
    return [(message["number"], message["text"]) for message in messages if message["complete"]]


@pytest.mark.usefixtures("link")
def test_chinese_long_and_plain_texts_arrive_and_are_reported(modem: Emulator, queue: Queue) -> None:
    """O15, O16: sent at +CMGS, delivered at the report."""
    texts = [
        "【公海】订单 A-17 超过 30 分钟未处理，请及时处理。",
        "很长的提醒🙂，" * 40,
        "Order {A-17} is waiting: 10 €",
    ]
    for text in texts:
        queue.put(FIRST, text)
    until(lambda: queue.all_in("sent"))
    assert inbox(modem) == [(FIRST, text) for text in texts]
    until(lambda: len(queue.reports) == len(queue.segments))
    assert {report.fate for report in queue.reports.values()} == {Fate.DELIVERED}
    assert sorted(report.reference for report in queue.reports.values()) == sorted(
        reference for reference in queue.references.values() if reference is not None
    )


def test_work_is_taken_up_at_once_when_the_queue_says_so(link: Link, queue: Queue) -> None:
    """`wake` instead of waiting for the next look."""
    queue.put(FIRST, "马上")
    link.wake()
    until(lambda: queue.all_in("sent"), timeout_s=1)


@pytest.mark.usefixtures("link")
def test_a_storm_of_unsolicited_lines_loses_nothing(modem: Emulator, queue: Queue) -> None:
    """Lines between, before and after every answer."""
    modem.tell("say", line='+CREG: 1,"1A2B","00C3"', count=1000, every_s=0.002)
    for number in range(20):
        queue.put(FIRST, f"第{number}条")
    modem.tell("receive", number=SECOND, text="收到，退订")
    until(lambda: queue.all_in("sent"), timeout_s=20)
    assert inbox(modem) == [(FIRST, f"第{number}条") for number in range(20)]
    until(lambda: len(queue.reports) == 20)
    until(lambda: [message.text for message in queue.messages.values()] == ["收到，退订"])


@pytest.mark.parametrize("accepted", [True, False])
@pytest.mark.usefixtures("link")
def test_unplugged_in_mid_message_it_is_uncertain_and_never_sent_again(
    modem: Emulator, queue: Queue, accepted: bool
) -> None:
    """Whether the network had it or not: the engine cannot know. The next message goes out after plugging in."""
    modem.tell("fault", unplug=True, accepted=accepted)
    (segment,) = queue.put(FIRST, "拔掉了")
    until(lambda: queue.states[segment] == "uncertain")
    until(lambda: queue.link is LinkState.DOWN)
    modem.tell("plug")
    (later,) = queue.put(SECOND, "插回来了")
    until(lambda: queue.states[later] == "sent")
    assert queue.states[segment] == "uncertain"
    assert inbox(modem) == [(FIRST, "拔掉了")] * accepted + [(SECOND, "插回来了")]
    # The network's report comes when the modem is back, and may settle it.
    until(lambda: len(queue.reports) == 1 + accepted)


@pytest.mark.usefixtures("link")
def test_no_answer_to_a_message_is_uncertain_and_the_modem_is_opened_anew(
    modem: Emulator, queue: Queue
) -> None:
    """The modem hangs, the line does not."""
    modem.tell("fault", accepted=True)
    (segment,) = queue.put(FIRST, "没有回音")
    until(lambda: queue.states[segment] == "uncertain")
    until(lambda: queue.link is LinkState.READY)
    queue.put(SECOND, "还好")
    until(lambda: queue.all_in("sent", "uncertain"))
    assert inbox(modem) == [(FIRST, "没有回音"), (SECOND, "还好")]


@pytest.mark.usefixtures("link")
def test_one_bad_number_fails_and_the_others_go_out(modem: Emulator, queue: Queue) -> None:
    """F199: per-message status."""
    modem.tell("fault", cms_error=28, number=FIRST, count=9)
    (bad,) = queue.put(FIRST, "空号")
    for number in range(5):
        queue.put(SECOND, f"好号{number}")
    until(lambda: queue.all_in("sent", "failed"))
    assert [key for key, state in queue.states.items() if state == "failed"] == [bad]
    assert queue.errors[bad] == ["+CMS ERROR: 28"]


@pytest.mark.usefixtures("link")
def test_a_full_memory_is_emptied_and_the_message_sent(modem: Emulator, queue: Queue) -> None:
    """+CMS ERROR 322."""
    modem.tell("fill")
    (segment,) = queue.put(FIRST, "满了")
    until(lambda: queue.all_in("sent"))
    assert "+CMS ERROR: 322" in queue.errors[segment]
    assert [message.number for message in queue.messages.values()] == ["10086"]


@pytest.mark.usefixtures("link")
def test_a_modem_that_goes_and_comes_is_logged_once_each(
    modem: Emulator, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    """And what came in meanwhile is fetched."""
    caplog.set_level(logging.INFO)
    modem.tell("unplug")
    until(lambda: queue.link is LinkState.DOWN)
    modem.tell("receive", number=SECOND, text="在吗")
    until(lambda: "No such file" in queue.links[-1][1])
    modem.tell("plug")
    until(lambda: queue.link is LinkState.READY)
    until(lambda: [message.text for message in queue.messages.values()] == ["在吗"])
    logged = [record.message for record in caplog.records if record.name.endswith("modem.link")]
    assert logged == ["modem is lost", "modem is back"]


@pytest.mark.usefixtures("link")
def test_a_second_program_on_the_same_modem_is_kept_out(modem: Emulator) -> None:
    """Two on one line would mix their messages."""
    second = Queue()
    other = Link(Settings("other", str(modem.link), reopen_s=0.05), second)
    other.start()
    try:
        until(lambda: second.link is LinkState.DOWN)
        assert "lock" in second.links[-1][1]
    finally:
        assert other.stop()


@pytest.mark.usefixtures("link")
@pytest.mark.parametrize(
    "error", [OSError("no store"), StoreAwayError("TENANT_MOVING")], ids=["defect", "away"]
)
def test_a_store_that_is_away_for_a_while_costs_no_message(
    modem: Emulator, queue: Queue, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    """Every call to the store fails meanwhile; afterwards each message has gone out once.

    The log shows where it came from only when the store did not say itself that it is away.
    """
    failing = iter([True] * 6)

    def strike(_: int) -> None:
        if next(failing, False):
            raise error

    queue.before_call = strike
    for number in range(5):
        queue.put(FIRST, f"第{number}条")
    until(lambda: queue.all_in("sent"))
    assert inbox(modem) == [(FIRST, f"第{number}条") for number in range(5)]
    refusals = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert refusals
    assert any(record.exc_info for record in refusals) is not isinstance(error, StoreAwayError)


def test_a_sim_that_asks_for_a_code_is_told_and_not_guessed(modem: Emulator, queue: Queue) -> None:
    """The state and its reason reach the queue; once the SIM is ready the modem is used."""
    modem.tell("set", sim="SIM PIN")
    link = Link(Settings("test", str(modem.link), sim_retry_s=0.1), queue)
    link.start()
    try:
        until(lambda: queue.link is LinkState.SIM_STOPPED)
        assert "SIM PIN" in queue.links[-1][1]
        modem.tell("set", sim="READY")
        until(lambda: queue.link is LinkState.READY)
    finally:
        assert link.stop()


def test_a_modem_that_stays_out_of_the_network_is_restarted_as_a_last_step(
    modem: Emulator, queue: Queue
) -> None:
    """AT+CFUN=1,1 after five openings that came to nothing."""
    modem.tell("set", registration=2)
    settings = Settings("test", str(modem.link), network_timeout_s=0.05, reopen_s=0.01, reopen_max_s=0.01)
    link = Link(settings, queue)
    link.start()
    try:
        until(lambda: modem.tell("restarts") == 1, timeout_s=60)
        modem.tell("set", registration=1)
        until(lambda: queue.link is LinkState.READY)
    finally:
        assert link.stop()
    assert queue.links.count((LinkState.DOWN, "not registered in a network")) == 5


def test_the_emulator_leaves_nothing_behind(tmp_path: Path) -> None:
    """Its link and its socket go with it."""
    with emulator(tmp_path) as running:
        assert running.link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inbox.jsonl"]
