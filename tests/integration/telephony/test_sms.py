"""The SMS queue over its tables: one fate for each message, and never a second sending by itself."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.chassis.clock import utc_now
from services.chassis.db import Store
from services.chassis.errors import AlreadyExists, InvalidInput
from services.chassis.ids import new_id
from services.chassis.migrations.runner import upgrade
from services.chassis.settings import Settings
from services.chassis.tenancy import Tenant
from services.telephony.edges.modem import StoredQueue, adopt, tenant_of_modem
from services.telephony.modem.pdu import Encoding
from services.telephony.modem.port import Failure, Fate, Incoming, LinkState, Outgoing, Report
from services.telephony.store import tables
from services.telephony.usecases import sms, staff
from tests.integration.telephony.conftest import Shop

NUMBER = "+8613900001111"
LONG = "订单超时未处理，请尽快登录系统处理。" * 8


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, 1, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, **span: float) -> None:
        self.now += timedelta(**span)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def desk(settings: Settings, clock: Clock, main_tenant: Tenant) -> Iterator[Shop]:
    """A tenant whose clock the test moves, with a modem."""
    store = Store(settings.database_urls, tables.metadata, clock)
    shop = Shop(store, main_tenant, "")
    with store.transaction(main_tenant) as tx:
        staff.add_modem(tx, modem_of(shop))
    yield shop
    store.close()


def modem_of(shop: Shop) -> str:
    return f"modem-{shop.tenant.id}"


def queue_of(shop: Shop, modem: str = "") -> StoredQueue:
    return StoredQueue(shop.store, shop.tenant, modem or modem_of(shop))


def send(shop: Shop, text: str = "订单即将超时", number: str = NUMBER) -> str:
    sms_id = new_id()
    with shop.store.transaction(shop.tenant) as tx:
        sms.queue_sms(tx, sms_id, new_id(), number, text)
    return sms_id


def claim(queue: StoredQueue) -> Outgoing:
    segment = queue.next_segment()
    assert segment is not None
    return segment


def submit(queue: StoredQueue, reference: int | None = 7) -> Outgoing:
    segment = claim(queue)
    queue.before_send(segment)
    queue.sent(segment, reference)
    return segment


def report(
    shop: Shop, fate: Fate, reference: int = 7, number: str = NUMBER, fingerprint: str = "a"
) -> Report:
    now = shop.store.clock()
    return Report(reference, number, now, now, 0, fate, fingerprint)


def told(shop: Shop) -> list[str]:
    """Return the names of all events, in order."""
    return [row["body"]["type"] for row in sorted(shop.rows("outbox"), key=lambda row: row["id"])]


def test_a_message_is_sent_and_delivered(desk: Shop) -> None:
    """F188, O16: +CMGS makes it sent, a report delivered."""
    sms_id, queue = send(desk), queue_of(desk)
    segment = claim(queue)
    assert (segment.number, segment.text, segment.encoding) == (NUMBER, "订单即将超时", Encoding.UCS2)
    assert desk.row("sms")["state"] == "sending"
    queue.before_send(segment)
    queue.sent(segment, 7)
    assert desk.row("sms")["state"] == "sent"
    queue.report(report(desk, Fate.DELIVERED))
    assert desk.row("sms")["state"] == "delivered"
    assert told(desk) == ["sms_sent", "sms_delivered"]
    assert desk.events("sms_sent")[0].data["smsId"] == sms_id
    assert queue.next_segment() is None


def test_a_long_message_leaves_in_order_by_one_modem_and_is_sent_once(desk: Shop) -> None:
    """A concatenated SMS: its parts stay with one SIM, and only the last one makes it sent."""
    send(desk, LONG)
    queue, other = queue_of(desk), queue_of(desk, "other")
    first = submit(queue, 1)
    assert (first.part, first.parts) == (1, 3)
    assert other.next_segment() is None
    assert [submit(queue, 2).part, desk.row("sms")["state"], submit(queue, 3).part] == [2, "sending", 3]
    assert told(desk) == ["sms_sent"]
    for number in (1, 2, 3):
        queue.report(report(desk, Fate.DELIVERED, number, fingerprint=str(number)))
    assert told(desk) == ["sms_sent", "sms_delivered"]


def test_messages_to_one_number_have_different_references(desk: Shop) -> None:
    for _ in range(2):
        send(desk, LONG)
    assert len({row["concat_reference"] for row in desk.rows("sms")}) == 2


def test_what_a_dead_process_left_behind_is_uncertain_or_queued_again(desk: Shop) -> None:
    """A process killed between intent and outcome: nobody knows; never sent again by itself."""
    send(desk, "one")
    queue = queue_of(desk)
    queue.before_send(claim(queue))
    send(desk, "two")
    claim(queue)
    again = queue_of(desk)
    again.recover()
    assert {row["text"]: row["state"] for row in desk.rows("sms")} == {"one": "uncertain", "two": "queued"}
    assert told(desk) == ["sms_uncertain"]
    assert claim(again).text == "two"
    assert again.next_segment() is None


def test_a_report_settles_an_uncertain_message(desk: Shop, clock: Clock) -> None:
    send(desk)
    queue = queue_of(desk)
    segment = claim(queue)
    queue.before_send(segment)
    queue.uncertain(segment, "no answer to a message")
    clock.pass_(seconds=20)
    # A report may lack the plus and the country code, and the reference of an uncertain one is unknown.
    queue.report(report(desk, Fate.TRYING, 99, "13900001111", "b"))
    assert desk.row("sms")["state"] == "sent"
    assert told(desk) == ["sms_uncertain", "sms_sent"]


def test_a_report_settles_nothing_that_was_sent_days_before(desk: Shop, clock: Clock) -> None:
    """What stays uncertain is not read again with every report."""
    send(desk)
    queue = queue_of(desk)
    submit(queue)
    clock.pass_(days=3, seconds=1)
    queue.report(report(desk, Fate.DELIVERED))
    assert desk.row("sms")["state"] == "sent"
    assert desk.row("sms_report")["segment_id"] is None


def test_a_report_that_comes_twice_or_fits_nothing_changes_nothing(desk: Shop) -> None:
    send(desk)
    queue = queue_of(desk)
    submit(queue)
    queue.report(report(desk, Fate.DELIVERED, 8, fingerprint="x"))
    queue.report(report(desk, Fate.DELIVERED, number="+8613900002222", fingerprint="y"))
    assert desk.row("sms")["state"] == "sent"
    for _ in range(2):
        queue.report(report(desk, Fate.DELIVERED))
    assert told(desk) == ["sms_sent", "sms_delivered"]
    assert len(desk.rows("sms_report")) == 3


def test_a_report_goes_to_the_nearest_of_two_with_one_reference(desk: Shop, clock: Clock) -> None:
    """The reference wraps at 256."""
    send(desk, "old")
    queue = queue_of(desk)
    submit(queue)
    clock.pass_(hours=3)
    send(desk, "new")
    submit(queue)
    queue.report(report(desk, Fate.DELIVERED))
    assert {row["text"]: row["state"] for row in desk.rows("sms")} == {"old": "sent", "new": "delivered"}


def test_a_handset_that_never_took_it_fails_the_message(desk: Shop) -> None:
    send(desk)
    queue = queue_of(desk)
    submit(queue)
    queue.report(report(desk, Fate.FAILED))
    assert told(desk) == ["sms_sent", "sms_failed"]


def test_a_busy_network_is_tried_again_later(desk: Shop, clock: Clock) -> None:
    send(desk)
    queue = queue_of(desk)
    segment = claim(queue)
    queue.before_send(segment)
    queue.failed(segment, Failure.RETRY, "+CMS ERROR: 42")
    assert queue.next_segment() is None
    clock.pass_(seconds=31)
    assert submit(queue).id == segment.id
    assert told(desk) == ["sms_sent"]


def test_a_message_that_is_worth_nothing_any_more_fails(desk: Shop, clock: Clock) -> None:
    send(desk)
    clock.pass_(hours=25)
    assert queue_of(desk).next_segment() is None
    assert desk.row("sms")["detail"] == "expired"
    assert told(desk) == ["sms_failed"]


def test_a_limited_failure_is_tried_three_times(desk: Shop, clock: Clock) -> None:
    send(desk)
    queue = queue_of(desk)
    for _ in range(3):
        segment = claim(queue)
        queue.before_send(segment)
        queue.failed(segment, Failure.LIMITED, "+CMS ERROR: 21")
        clock.pass_(hours=1)
    assert queue.next_segment() is None
    assert told(desk) == ["sms_failed"]


def test_a_bad_number_fails_at_once_with_all_its_parts_and_blocks_nobody(desk: Shop) -> None:
    """One unreachable phone blocked the queue (gammu #537)."""
    send(desk, LONG, "+8610")
    send(desk, "good")
    queue = queue_of(desk)
    segment = claim(queue)
    queue.before_send(segment)
    queue.failed(segment, Failure.MESSAGE, "+CMS ERROR: 28")
    assert submit(queue).text == "good"
    assert queue.next_segment() is None
    assert told(desk) == ["sms_failed", "sms_sent"]
    assert desk.events("sms_failed")[0].data["detail"] == "+CMS ERROR: 28"


def test_a_blocked_sim_leaves_the_message_to_another_modem(desk: Shop) -> None:
    send(desk)
    queue, other = queue_of(desk), queue_of(desk, "other")
    segment = claim(queue)
    queue.before_send(segment)
    queue.failed(segment, Failure.SIM, "+CMS ERROR: 310")
    assert submit(other).id == segment.id
    assert desk.row("sms")["modem"] == "other"


def test_a_modem_that_lost_its_lease_cannot_send_what_another_has(desk: Shop) -> None:
    send(desk)
    queue = queue_of(desk)
    segment = claim(queue)
    queue_of(desk).recover()
    successor = claim(queue_of(desk, "other"))
    assert successor.id == segment.id
    with pytest.raises(RuntimeError, match="not with modem"):
        queue.before_send(segment)


def test_the_allowance_counts_what_may_have_gone_out(desk: Shop, clock: Clock) -> None:
    for text in ("one", "two"):
        send(desk, text)
    queue = queue_of(desk)
    submit(queue)
    clock.pass_(hours=2)
    segment = claim(queue)
    queue.before_send(segment)
    queue.uncertain(segment, "lost")
    assert sorted(queue.sent_ages(86_400)) == [0.0, 7200.0]
    assert list(queue.sent_ages(3600)) == [0.0]


def test_a_received_message_is_kept_once(desk: Shop) -> None:
    message = Incoming(NUMBER, "退订", Encoding.UCS2, None, 1, 1, 0, "f")
    for _ in range(2):
        queue_of(desk).received(message)
    assert desk.row("sms_incoming")["text"] == "退订"


def test_the_modem_says_where_it_stands(desk: Shop) -> None:
    queue_of(desk).link_changed(LinkState.SIM_STOPPED, "the SIM asks for a code")
    assert (desk.row("modem")["state"], desk.row("modem")["detail"]) == (
        "sim_stopped",
        "the SIM asks for a code",
    )


def test_a_sim_belongs_to_one_tenant(desk: Shop) -> None:
    """A DID, an extension and a SIM belong to one tenant."""
    assert tenant_of_modem(desk.store, modem_of(desk)) == desk.tenant
    other = Tenant(new_id(), "main")
    with pytest.raises(AlreadyExists), desk.store.transaction(other) as tx:
        staff.add_modem(tx, modem_of(desk))
    send(desk)
    assert StoredQueue(desk.store, other, modem_of(desk)).next_segment() is None


def test_a_modem_of_nobody_falls_to_the_only_tenant(settings: Settings) -> None:
    """A small shop names its modem and is done; among several tenants somebody has to say whose it is."""
    name = f"shop_{new_id()[-12:]}"
    with psycopg.connect(settings.database_urls["main"], autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    url = settings.database_urls["main"].removesuffix("/main") + f"/{name}"
    upgrade("telephony", tables.metadata, url)
    store = Store({"main": url}, tables.metadata, utc_now)
    assert adopt(store, "modem0") is None
    first, second = Tenant(new_id(), "main"), Tenant(new_id(), "main")
    for number, tenant in enumerate((first, second)):
        if number:
            assert adopt(store, "modem0") == first
            assert tenant_of_modem(store, "modem0") == first
        with store.transaction(tenant) as tx:
            data = {"name": "王小明", "extension": "", "active": True, "departmentPath": "1/"}
            staff.save_person(tx, new_id(), 1, data)
    assert adopt(store, "modem1") is None
    store.close()


@pytest.mark.parametrize(
    ("text", "reason"), [("", "TEXT_LENGTH"), ("字" * 501, "TEXT_LENGTH"), ("\ud800", "TEXT_INVALID")]
)
def test_a_text_that_cannot_be_sent_is_refused(desk: Shop, text: str, reason: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        send(desk, text)
    assert (refused.value.field, refused.value.reason) == ("text", reason)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_in_any_story_a_segment_goes_out_at_most_once(desk: Shop, clock: Clock, data: st.DataObject) -> None:
    """Crashes, refusals, lost answers and two modems: what may be on the air is never sent again by itself."""
    for row in desk.rows("sms"):
        with desk.store.transaction(desk.tenant) as tx:
            tx.session.execute(tables.sms.delete().where(tables.sms.c.id == row["id"]))
    send(desk, data.draw(st.sampled_from(["short", LONG])))
    queues = [queue_of(desk), queue_of(desk, "other")]
    held: dict[int, Outgoing] = {}
    on_air: set[str] = set()
    for _ in range(data.draw(st.integers(5, 25))):
        which = data.draw(st.sampled_from([0, 1]))
        queue = queues[which]
        if which not in held:
            segment = queue.next_segment()
            if segment is None:
                clock.pass_(minutes=data.draw(st.sampled_from([1, 40])))
            else:
                assert segment.id not in on_air
                held[which] = segment
            continue
        segment = held.pop(which)
        act = data.draw(
            st.sampled_from(["sent", "uncertain", "refused", "sim", "crash before", "crash after"])
        )
        if act == "crash before":
            queue.recover()
            continue
        queue.before_send(segment)
        match act:
            case "sent":
                queue.sent(segment, 7)
                on_air.add(segment.id)
            case "uncertain":
                queue.uncertain(segment, "lost")
                on_air.add(segment.id)
            case "refused":
                queue.failed(segment, Failure.RETRY, "+CMS ERROR: 42")
            case "sim":
                queue.failed(segment, Failure.SIM, "+CMS ERROR: 310")
            case "crash after":
                queue.recover()
                on_air.add(segment.id)
    rows = {row["id"]: row["state"] for row in desk.rows("sms_segment")}
    assert {rows[segment_id] for segment_id in on_air} <= {"sent", "uncertain"}
    finals = [name for name in told(desk) if name in ("sms_delivered", "sms_failed")]
    assert finals == []
