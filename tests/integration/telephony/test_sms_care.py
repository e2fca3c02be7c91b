"""Every message has one end: lanes, limits, opt-outs, modems that go away, people who decide, processes that die."""

import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from services.chassis.clock import utc_now
from services.chassis.db import Store
from services.chassis.errors import AppError, InvalidInput, NotFound, RuleViolation, Unavailable
from services.chassis.ids import new_id
from services.chassis.settings import Settings
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Caller
from services.telephony.domain.sms import Decision, Lane, Policy
from services.telephony.edges.sms_keeper import SmsKeeper
from services.telephony.modem.link import Link
from services.telephony.modem.pdu import Encoding, Submit
from services.telephony.modem.port import Failure, Fate, Incoming, LinkState
from services.telephony.modem.session import Settings as ModemSettings
from services.telephony.store import tables
from services.telephony.usecases import calls, modems, sms, staff, upkeep
from services.telephony.usecases.modems import Limits
from tests.integration.telephony.conftest import Shop
from tests.integration.telephony.test_sms import (
    LONG,
    NUMBER,
    Clock,
    claim,
    clock,
    desk,
    modem_of,
    queue_of,
    report,
    submit,
    told,
)
from tests.support.modem import emulator
from tests.support.until import until

# Fixtures, named so that ruff does not take them for unused imports.
__all__ = ["clock", "desk"]

OTHER = "+8613900002222"


def send(shop: Shop, text: str, number: str = NUMBER, lane: Lane = Lane.REMINDER) -> str:
    sms_id = new_id()
    with shop.store.transaction(shop.tenant) as tx:
        sms.queue_sms(tx, sms_id, new_id(), number, text, lane=lane)
    return sms_id


def state_of(shop: Shop, sms_id: str) -> tuple[str, str]:
    (row,) = [row for row in shop.rows("sms") if row["id"] == sms_id]
    return row["state"], row["reason"]


def seen(shop: Shop, state: LinkState = LinkState.READY, modem: str = "") -> None:
    """Have a modem's process say that it lives."""
    queue_of(shop, modem).link_changed(state, "")


def keep_up(shop: Shop) -> upkeep.Kept:
    with shop.store.transaction(shop.tenant) as tx:
        return upkeep.keep_up(tx)


def incoming(number: str, text: str, part: int = 1, parts: int = 1, reference: int = 5) -> Incoming:
    return Incoming(number, text, Encoding.UCS2, None, part, parts, reference, new_id())


def everyone(shop: Shop) -> Caller:
    return Caller(tenant=shop.tenant, person_id=new_id(), scope="all")


def test_a_reminder_goes_before_bulk_that_waits_longer(desk: Shop, clock: Clock) -> None:
    clock.now = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
    for index in range(3):
        send(desk, f"bulk {index}", f"+861390000300{index}", Lane.BULK)
    clock.pass_(minutes=10)
    send(desk, "reminder")
    send(desk, "urgent", OTHER, Lane.URGENT)
    queue = queue_of(desk)
    texts = [submit(queue).text for _ in range(5)]
    assert texts[:2] == ["urgent", "reminder"]
    assert sorted(texts[2:]) == ["bulk 0", "bulk 1", "bulk 2"]


def test_bulk_waits_for_the_hours_for_it_and_a_reminder_does_not(desk: Shop, clock: Clock) -> None:
    """Promotions only 9:00-20:00 local."""
    clock.now = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    send(desk, "bulk", lane=Lane.BULK)
    send(desk, "reminder", OTHER)
    queue = queue_of(desk)
    assert submit(queue).text == "reminder"
    assert queue.next_segment() is None
    clock.now = datetime(2026, 11, 23, 1, 0, tzinfo=UTC)
    assert submit(queue).text == "bulk"


def test_the_same_text_to_the_same_number_waits_a_minute_and_holds_up_no_other(
    desk: Shop, clock: Clock
) -> None:
    """Operators drop the same text to the same number within 59 s."""
    for number in (NUMBER, NUMBER, OTHER):
        send(desk, "same", number)
    queue = queue_of(desk)
    assert {submit(queue).number, submit(queue).number} == {NUMBER, OTHER}
    assert queue.next_segment() is None
    clock.pass_(seconds=60)
    assert submit(queue).number == NUMBER


def test_a_number_gets_so_many_in_an_hour_and_urgent_ones_besides(desk: Shop, clock: Clock) -> None:
    with desk.store.transaction(desk.tenant) as tx:
        modems.save_policy(tx, Policy(number_hourly_limit=2))
    for index in range(3):
        send(desk, f"reminder {index}")
        clock.pass_(seconds=1)
    queue = queue_of(desk)
    submit(queue)
    submit(queue)
    assert queue.next_segment() is None
    send(desk, "urgent", lane=Lane.URGENT)
    assert submit(queue).text == "urgent"
    clock.pass_(hours=1)
    assert submit(queue).text == "reminder 2"


@pytest.mark.parametrize("words", ["退订", " t ", "ＴＤ。", "退订！", "stop"])
def test_who_opts_out_gets_no_bulk_from_that_moment_on(desk: Shop, clock: Clock, words: str) -> None:
    """退订/T opts out at once: what waits fails, what comes later too; reminders to staff still go."""
    clock.now = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
    waiting = send(desk, "bulk", lane=Lane.BULK)
    queue = queue_of(desk)
    queue.received(incoming(NUMBER.removeprefix("+86"), words))
    assert state_of(desk, waiting) == ("failed", "OPTED_OUT")
    later = send(desk, "more bulk", lane=Lane.BULK)
    send(desk, "reminder")
    assert submit(queue).text == "reminder"
    assert queue.next_segment() is None
    assert state_of(desk, later) == ("failed", "OPTED_OUT")


def test_an_answer_that_only_mentions_it_is_no_opt_out(desk: Shop) -> None:
    queue_of(desk).received(incoming(NUMBER, "请问怎么退订？"))
    assert desk.rows("sms_opt_out") == []


def test_a_long_reply_is_joined_whatever_the_order_of_its_parts(desk: Shop) -> None:
    queue = queue_of(desk)
    for part, text in ((2, "上午"), (3, "见。"), (1, "明天")):
        assert desk.rows("sms_received") == []
        queue.received(incoming(NUMBER, text, part, 3))
    assert (desk.row("sms_received")["text"], desk.row("sms_received")["missing_parts"]) == (
        "明天上午见。",
        0,
    )
    # The reference comes again: a new message.
    for part, text in ((1, "好"), (2, "的"), (3, "！")):
        queue.received(incoming(NUMBER, text, part, 3))
    assert sorted(row["text"] for row in desk.rows("sms_received")) == ["好的！", "明天上午见。"]


def test_a_long_reply_whose_rest_never_comes_is_shown_with_a_gap(desk: Shop, clock: Clock) -> None:
    queue_of(desk).received(incoming(NUMBER, "明天", 1, 2))
    keep_up(desk)
    assert desk.rows("sms_received") == []
    clock.pass_(hours=1, seconds=1)
    keep_up(desk)
    assert (desk.row("sms_received")["text"], desk.row("sms_received")["missing_parts"]) == ("明天…", 1)


class Directory:
    """Say who has a number, or be away."""

    def __init__(self) -> None:
        self.away = True
        self.found: list[calls.Caller] = []

    def callers(self, tenant: Tenant, number: str, timeout_s: float) -> Sequence[calls.Caller]:
        if self.away:
            raise Unavailable("CUSTOMERS_AWAY", "暂不可用", "away")
        # A round looks at every tenant: what other tests left is nobody's.
        return self.found if number == NUMBER else []


def test_a_reply_is_matched_to_its_customer_and_told_once_though_customers_was_away(desk: Shop) -> None:
    directory = Directory()
    keeper = SmsKeeper(desk.store, directory, lambda _: True)
    queue_of(desk).received(incoming("13900001111", "好的"))
    keeper.round(desk.tenant.database)
    assert desk.events("sms_received") == []
    directory.away = False
    directory.found = [calls.Caller(new_id(), "华强电子", new_id(), "王经理", new_id())]
    for _ in range(2):
        keeper.round(desk.tenant.database)
    (event,) = desk.events("sms_received")
    assert (event.data["customerId"], event.data["text"]) == (directory.found[0].customer_id, "好的")
    assert event.data["ownerId"] == directory.found[0].owner_id


def test_what_a_sim_may_still_send_is_measured(desk: Shop) -> None:
    keeper = SmsKeeper(desk.store, Directory(), lambda _: True)
    name = modem_of(desk)
    with desk.store.transaction(desk.tenant) as tx:
        modems.configure_modem(tx, name, Limits(True, 20, 300))
    send(desk, "一条")
    submit(queue_of(desk))
    keeper.round(desk.tenant.database)

    def left(period: str) -> float | None:
        labels = {"modem": name, "period": period}
        return REGISTRY.get_sample_value("crm_telephony_sim_quota_left_segments", labels)

    assert (left("hour"), left("day")) == (19, 299)


def test_what_a_modem_had_that_is_gone_falls_to_another(desk: Shop, clock: Clock) -> None:
    """A process that died and whose modem nobody owns: unsent goes on, what may be on the air is parked."""
    on_air = send(desk, "on air")
    queue = queue_of(desk)
    seen(desk)
    queue.before_send(claim(queue))
    claimed = send(desk, "claimed")
    claim(queue)
    with desk.store.transaction(desk.tenant) as tx:
        staff.add_modem(tx, f"other-{desk.tenant.id}")
    clock.pass_(seconds=31)
    seen(desk, modem=f"other-{desk.tenant.id}")
    keep_up(desk)
    assert state_of(desk, on_air)[0] == "uncertain"
    assert submit(queue_of(desk, f"other-{desk.tenant.id}")).text == "claimed"
    assert state_of(desk, claimed)[0] == "sent"


def test_a_modem_thought_gone_that_sent_after_all_is_believed(desk: Shop, clock: Clock) -> None:
    sms_id = send(desk, "slow")
    queue = queue_of(desk)
    segment = claim(queue)
    queue.before_send(segment)
    clock.pass_(seconds=60)
    keep_up(desk)
    assert state_of(desk, sms_id)[0] == "uncertain"
    queue.sent(segment, 7)
    assert state_of(desk, sms_id)[0] == "sent"


def test_without_a_modem_that_sends_reminders_fail_in_minutes_and_bulk_waits(
    desk: Shop, clock: Clock
) -> None:
    """All blocked: an urgent reminder goes to other channels, nothing waits for ever."""
    clock.now = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
    seen(desk, LinkState.PAUSED)
    urgent, reminder = send(desk, "urgent", lane=Lane.URGENT), send(desk, "reminder")
    bulk = send(desk, "bulk", lane=Lane.BULK)
    assert keep_up(desk) == upkeep.Kept(blocked=True, unrouted=0)
    clock.pass_(seconds=61)
    keep_up(desk)
    assert (state_of(desk, urgent), state_of(desk, reminder)[0]) == (("failed", "NO_MODEM"), "queued")
    seen(desk)
    clock.pass_(seconds=10)
    assert keep_up(desk) == upkeep.Kept(blocked=False, unrouted=0)
    clock.pass_(minutes=10)
    assert keep_up(desk).unrouted == 1
    assert state_of(desk, reminder) == ("failed", "NO_MODEM")
    assert state_of(desk, bulk)[0] == "queued"
    clock.pass_(hours=24)
    keep_up(desk)
    assert state_of(desk, bulk) == ("failed", "EXPIRED")
    assert {event.data["reason"] for event in desk.events("sms_failed")} == {"NO_MODEM", "EXPIRED"}


def test_a_long_message_whose_modem_never_comes_back_ends(desk: Shop, clock: Clock) -> None:
    sms_id = send(desk, LONG)
    submit(queue_of(desk))
    clock.pass_(hours=24, seconds=1)
    keep_up(desk)
    assert state_of(desk, sms_id) == ("failed", "EXPIRED")


@pytest.mark.parametrize(
    ("decision", "state"),
    [
        (Decision.WENT_OUT, ("sent", "")),
        (Decision.DID_NOT, ("failed", "DECIDED")),
        (Decision.SEND_AGAIN, ("queued", "")),
    ],
)
def test_a_person_decides_what_became_of_an_uncertain_message(
    desk: Shop, decision: Decision, state: tuple[str, str]
) -> None:
    sms_id = send(desk, "订单即将超时")
    queue = queue_of(desk)
    segment = claim(queue)
    queue.before_send(segment)
    queue.uncertain(segment, "no answer")
    boss = everyone(desk)
    with desk.store.transaction(desk.tenant) as tx:
        assert sms.decide(tx, boss, sms_id, decision)["decided_by_id"] == boss.person_id
    assert state_of(desk, sms_id) == state
    if decision is Decision.SEND_AGAIN:
        assert submit(queue).id == segment.id
        queue.report(report(desk, Fate.DELIVERED))
        assert state_of(desk, sms_id)[0] == "delivered"
        assert told(desk) == ["sms_uncertain", "sms_sent", "sms_delivered"]
    with pytest.raises(RuleViolation) as refused, desk.store.transaction(desk.tenant) as tx:
        sms.decide(tx, boss, sms_id, decision)
    assert refused.value.reason == "SMS_NOT_UNCERTAIN"


def test_nobody_decides_on_a_message_out_of_sight(desk: Shop) -> None:
    sms_id = send(desk, "x")
    stranger = Caller(tenant=desk.tenant, person_id=new_id(), scope="self")
    with pytest.raises(NotFound), desk.store.transaction(desk.tenant) as tx:
        sms.decide(tx, stranger, sms_id, Decision.WENT_OUT)


def test_operators_see_signal_and_quota_and_set_the_limits(desk: Shop, clock: Clock) -> None:
    queue = queue_of(desk)
    seen(desk)
    queue.signal(17)
    for text in ("one", "two"):
        send(desk, text)
        submit(queue)
        clock.pass_(minutes=59)
    seen(desk)
    with desk.store.transaction(desk.tenant) as tx:
        (view,) = modems.list_modems(tx)
        assert (view.row["signal"], view.sent_hour, view.sent_day, view.alive) == (17, 1, 2, True)
        limits = Limits(enabled=False, hourly=20, daily=30)
        modems.configure_modem(tx, modem_of(desk), limits)
        assert modems.limits_of(tx, modem_of(desk)) == limits
        assert not modems.can_send(tx)
        for bad in (Limits(True, 0, 5), Limits(True, 5, 1_000_000)):
            with pytest.raises(InvalidInput):
                modems.configure_modem(tx, modem_of(desk), bad)
        with pytest.raises(AppError) as missing:
            modems.configure_modem(tx, "nobody's", limits)
        assert missing.value.reason == "MODEM_NOT_FOUND"
    clock.pass_(seconds=31)
    with desk.store.transaction(desk.tenant) as tx:
        assert not modems.list_modems(tx)[0].alive


def test_a_text_refused_by_its_network_says_so_for_programs(desk: Shop) -> None:
    sms_id = send(desk, "x")
    queue = queue_of(desk)
    segment = claim(queue)
    queue.before_send(segment)
    queue.failed(segment, Failure.MESSAGE, "+CMS ERROR: 28")
    assert state_of(desk, sms_id) == ("failed", "REFUSED")


# Each change of a message's state, and what the network does to bring it about.
CHANGES: dict[str, dict[str, object] | None] = {
    "next_segment": None,
    "before_send": None,
    "sent": None,
    "failed": {"cms_error": 28},
    "uncertain": {"accepted": True},
    "report": None,
}
PLACES = [(method, when) for method in CHANGES for when in ("before", "after")]


@pytest.mark.timeout(120)
def test_killed_at_each_change_of_state_a_text_leaves_at_most_once(
    settings: Settings, environment: dict[str, str], main_tenant: Tenant, tmp_path: Path
) -> None:
    """kill -9 between any two lines: the emulator's own log says how often each text left."""
    store = Store(settings.database_urls, tables.metadata, utc_now)
    shop = Shop(store, main_tenant, "")
    modem = modem_of(shop)
    with store.transaction(main_tenant) as tx:
        staff.add_modem(tx, modem)
    with emulator(tmp_path) as network:
        for method, when in PLACES:
            send(
                shop,
                f"{method} {when}",
                f"+86139{new_id()[-8:].translate(str.maketrans('abcdef', '012345'))}",
            )
            if fault := CHANGES[method]:
                network.tell("fault", **fault)
            arguments = (main_tenant.database, main_tenant.id, modem, str(network.link), method, when)
            died = subprocess.run(
                [sys.executable, "-m", "tests.support.dying_modem", *arguments],
                env={**os.environ, **environment},
                timeout=30,
                check=False,
            )
            assert died.returncode == -9
        link = Link(ModemSettings(name=modem, port=str(network.link), poll_s=0.05), queue_of(shop))
        link.start()
        until(lambda: not {row["state"] for row in shop.rows("sms")} & {"queued", "sending"})
        assert link.stop()
        left = [Submit.decode(entry["pdu"]).text for entry in network.submitted()]
    assert len(left) == len(set(left))
    states = {row["text"]: row["state"] for row in shop.rows("sms")}
    assert set(states.values()) <= {"sent", "delivered", "uncertain", "failed"}
    # What died between its intent and Ctrl-Z, or before its refusal was kept, never left; nobody can know, so nobody
    # sends it again. The other refusal is known.
    assert sorted(states[text] for text in states if text not in left) == ["failed", "uncertain", "uncertain"]
    assert "failed" not in {states[text] for text in left}
    store.close()
