"""A modem thread on a modem emulator that knows nothing of this project, over TCP."""

import pytest

from services.telephony.modem.link import Link
from services.telephony.modem.port import LinkState
from services.telephony.modem.session import Settings
from tests.support.modem import Queue
from tests.support.phonesim import phonesim
from tests.support.until import until


# Its packages are downloaded the first time.
@pytest.mark.timeout(600)
def test_ofono_phonesim_takes_chinese_and_long_messages() -> None:
    """F199: its bare AT, CMEE, CPMS? and more are refused, its +CMGS is always 0, it sends no reports."""
    queue = Queue()
    queue.put("+8613800138000", "您好，请处理订单🙂")
    queue.put("+8613800138000", "很长的提醒" * 40)
    with phonesim() as port:
        link = Link(Settings("phonesim", port, reopen_s=0.05), queue)
        link.start()
        try:
            until(lambda: queue.all_in("sent"), timeout_s=30)
        finally:
            assert link.stop()
        assert queue.link is LinkState.DOWN
    assert set(queue.references.values()) == {0}
    assert queue.breaches == []
