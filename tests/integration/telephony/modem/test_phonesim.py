"""A modem thread on a modem emulator that knows nothing of this project, over TCP."""

from collections.abc import Iterator

import pytest

from services.telephony.modem.link import Link
from services.telephony.modem.port import Incoming, LinkState
from services.telephony.modem.session import Settings
from tests.support.modem import Queue
from tests.support.phonesim import Phonesim, phonesim
from tests.support.until import until

SENDER = "+8613912345678"
LONG = "您好，明天上午十点见面谈，请带上合同原件和样品🙂。" * 4


@pytest.fixture
def modem() -> Iterator[Phonesim]:
    with phonesim() as running:
        yield running


# Its packages are downloaded the first time.
@pytest.mark.timeout(600)
def test_ofono_phonesim_takes_chinese_and_long_messages(modem: Phonesim) -> None:
    """F199: its bare AT, CMEE, CPMS? and more are refused, its +CMGS is always 0, it sends no reports."""
    queue = Queue()
    queue.put("+8613800138000", "您好，请处理订单🙂")
    queue.put("+8613800138000", "很长的提醒" * 40)
    link = Link(Settings("phonesim", modem.port, reopen_s=0.05), queue)
    link.start()
    try:
        until(lambda: queue.all_in("sent"), timeout_s=30)
    finally:
        assert link.stop()
    assert queue.link is LinkState.DOWN
    assert set(queue.references.values()) == {0}
    assert queue.breaches == []


@pytest.mark.timeout(600)
def test_ofono_phonesim_brings_chinese_and_long_messages(modem: Phonesim) -> None:
    """F199: encoded and cut by it, announced by +CMTI, listed, joined by what they say of each other, deleted."""
    queue = Queue()
    link = Link(Settings("phonesim", modem.port, reopen_s=0.05), queue)
    link.start()
    try:
        until(lambda: queue.link is LinkState.READY, timeout_s=60)
        modem.receive(SENDER, "收到，明天见。")
        modem.receive(SENDER, LONG)
        until(lambda: len(queue.messages) == 3, timeout_s=30)
        # Between two messages there is time to send, as ever.
        queue.put("+8613800138000", "您好")
        until(lambda: queue.all_in("sent"), timeout_s=30)
        modem.receive(SENDER, "好的")
        # What was kept is deleted: only the new one is found.
        until(lambda: len(queue.messages) == 4, timeout_s=30)
    finally:
        assert link.stop()
    parts = {message.part: message for message in queue.messages.values() if message.parts > 1}
    assert {message.number for message in queue.messages.values()} == {SENDER}
    assert _joined(parts) == LONG
    assert len({(message.parts, message.reference) for message in parts.values()}) == 1
    assert {message.text for message in queue.messages.values()} >= {"收到，明天见。", "好的"}
    assert queue.breaches == []


def _joined(parts: dict[int, Incoming]) -> str:
    """Join the parts; it may cut a character of two halves between them."""
    text = "".join(parts[part].text for part in sorted(parts))
    return text.encode("utf-16", "surrogatepass").decode("utf-16")
