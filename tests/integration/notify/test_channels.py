"""Messages on their ways out of the app: a real mail server, a robot's webhook, SMS; each with its own fate."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from sqlalchemy import select
from temporalio.testing import ActivityEnvironment

from services.chassis.db import Store
from services.chassis.errors import InvalidInput, RuleViolation
from services.chassis.ids import new_id
from services.chassis.tenancy import Tenant
from services.notify.__main__ import handlers
from services.notify.channels import Mail, Robots, Way, check_robot
from services.notify.domain.notices import ESCALATE_AFTER, Channel, Preferences
from services.notify.domain.texts import Words
from services.notify.store.tables import Delivery, FollowUpReminder, Message, Robot
from services.notify.usecases import deliveries, follow_ups, settings
from services.notify.usecases.messages import Subject, mark_read, write_message
from services.notify.workflows.activities import ReminderActivities
from services.notify.workflows.contracts import Sweep
from tests.integration.notify.conftest import Postbox
from tests.integration.notify.test_reminders import World
from tests.support.running import event_of, take

NOON = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
WORDS = Words("标题", "正文", "Title", "Text", {"name": "甲"})


class Died(BaseException):
    """The process was killed here: nothing catches it."""


@dataclass
class Group:
    """A robot's webhook: what it was told, and what it answers."""

    url: str = ""
    told: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    answers: list[tuple[int, dict[str, Any]]] = field(default_factory=list)


@pytest.fixture
def group() -> Iterator[Group]:
    """A webhook on this machine."""
    group = Group()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            group.told.append((self.path, body))
            status, answer = group.answers.pop(0) if group.answers else (200, {"errcode": 0, "errmsg": "ok"})
            if status == 0:
                # The connection ends without a word.
                return
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    group.url = f"http://127.0.0.1:{server.server_port}/robot/send?access_token=k"
    yield group
    server.shutdown()
    server.server_close()
    thread.join()


@dataclass
class Desk:
    """A tenant with one person, on a clock that the test moves."""

    store: Store
    tenant: Tenant
    world: World = field(default_factory=World)
    ways: dict[Channel, Way] = field(default_factory=dict)
    person_id: str = field(default_factory=new_id)
    now: datetime = NOON

    def prefer(self, *channels: Channel, **preferences: Any) -> None:
        """Say how the person wants to be told."""
        with self.store.transaction(self.tenant, now=self.now) as tx:
            chosen = Preferences({"*": channels}, mail="rep@example.cn", **preferences)
            settings.save_preferences(tx, self.person_id, chosen)

    def tell(self, kind: str = "lead_assigned", cause: str = "", words: Words = WORDS) -> None:
        """Write a message to the person."""
        with self.store.transaction(self.tenant, now=self.now) as tx:
            subject = Subject("lead", new_id())
            write_message(tx, cause or new_id(), self.person_id, kind, subject, words)

    def hear(self, source: str, event_type: str, data: dict[str, Any], version: int = 1) -> None:
        """Let notify take an event."""
        take(self.store, handlers(), event_of(self.tenant, source, event_type, data, version=version))

    def sweep(self, **later: float) -> str:
        """Sweep after some time and return when the next one is due."""
        self.now += timedelta(**later)
        activities = ReminderActivities(self.store, self.world, self.world, self.world, self.ways)
        swept = ActivityEnvironment().run(activities.sweep, Sweep(self.tenant, self.now.isoformat()))
        return swept.next_time

    def fates(self) -> list[tuple[str, str, str]]:
        """Return channel, state and detail of every delivery, in order."""
        with self.store.transaction(self.tenant) as tx:
            query = select(Delivery).where(Delivery.tenant_id == self.tenant.id)
            rows = tx.session.scalars(query.order_by(Delivery.create_time, Delivery.channel))
            return [(row.channel, row.state, row.detail) for row in rows]

    def messages(self, kind: str) -> list[Message]:
        """Return the messages of a kind, oldest first."""
        with self.store.transaction(self.tenant) as tx:
            query = select(Message).where(Message.tenant_id == self.tenant.id, Message.kind == kind)
            return list(tx.session.scalars(query.order_by(Message.create_time, Message.person_id)))


@pytest.fixture
def desk(store: Store, main_tenant: Tenant) -> Desk:
    return Desk(store, main_tenant)


def test_a_mail_arrives_whole_and_once(desk: Desk, postbox: tuple[Postbox, Mail]) -> None:
    box, desk.ways[Channel.MAIL] = postbox
    desk.prefer(Channel.MAIL, locale="en")
    desk.tell(words=Words("标题", "正文", "Title\r\nBcc: x@y.cn", "多语言 text", {}))
    for _ in range(2):
        desk.sweep()
    (mail,) = (message_from_bytes(data, policy=default) for data in box.mails)
    assert (mail["To"], mail["Subject"], mail["Bcc"]) == ("rep@example.cn", "Title Bcc: x@y.cn", None)
    assert mail.get_content().strip() == "多语言 text"
    assert desk.fates() == [("mail", "sent", "")]


def test_a_server_that_refuses_for_now_is_asked_again_and_one_that_refuses_is_not(
    desk: Desk, postbox: tuple[Postbox, Mail]
) -> None:
    box, desk.ways[Channel.MAIL] = postbox
    desk.prefer(Channel.MAIL)
    box.receiver_answers = ["451 later", "550 nobody here"]
    desk.tell()
    desk.sweep()
    assert desk.fates() == [("mail", "pending", "MAIL_UNAVAILABLE")]
    desk.sweep(seconds=29)
    assert len(box.receiver_answers) == 1
    desk.sweep(seconds=2)
    assert desk.fates() == [("mail", "failed", "MAIL_REFUSED")]
    assert box.mails == []


def test_without_a_mail_server_the_mail_fails_and_says_so(desk: Desk) -> None:
    desk.prefer(Channel.MAIL)
    desk.tell()
    desk.sweep()
    assert desk.fates() == [("mail", "failed", "channel is not set up")]


def test_a_process_that_dies_while_it_sends_leaves_it_uncertain_and_sends_no_second(desk: Desk) -> None:
    """Killed between intent and outcome: nobody knows, so nobody sends it again by itself."""
    sent: list[str] = []

    def dying(outgoing: deliveries.Outgoing) -> None:
        sent.append(outgoing.title)
        raise Died

    desk.ways[Channel.MAIL] = dying
    desk.prefer(Channel.MAIL)
    desk.tell()
    with pytest.raises(Died):
        desk.sweep()
    desk.sweep(minutes=4)
    assert desk.fates() == [("mail", "sending", "")]
    desk.sweep(minutes=2)
    assert desk.fates() == [("mail", "uncertain", "the process ended while it was sent")]
    assert sent == ["标题"]


@pytest.mark.parametrize(
    ("answer", "fate"),
    [
        ((200, {"errcode": 0}), ("sent", "")),
        ((200, {"errcode": 310000, "errmsg": "sign not match"}), ("failed", "ROBOT_REFUSED")),
        ((200, {"errcode": 45009}), ("pending", "ROBOT_UNAVAILABLE")),
        ((503, {}), ("pending", "ROBOT_UNAVAILABLE")),
        ((302, {}), ("failed", "ROBOT_REFUSED")),
        ((0, {}), ("uncertain", "ROBOT_UNKNOWN")),
    ],
)
def test_a_robot_says_it_once_signed_and_its_answer_is_the_fate(
    desk: Desk, group: Group, answer: tuple[int, dict[str, Any]], fate: tuple[str, str]
) -> None:
    host = group.url.split("/")[2]
    desk.ways[Channel.DINGTALK] = Robots({Channel.DINGTALK: host}, lambda: 1_700_000_000.0)
    group.answers.append(answer)
    with desk.store.transaction(desk.tenant, now=desk.now) as tx:
        robot = Robot(
            id=new_id(),
            tenant_id=desk.tenant.id,
            channel="dingtalk",
            name="销售群",
            url=group.url,
            secret="SECabc",
            kinds=["lead_assigned"],
            create_time=desk.now,
        )
        settings.add_robot(tx, robot)
    cause = new_id()
    desk.tell(cause=cause)
    desk.person_id = new_id()
    # Another person of the same cause: the group has heard of it.
    desk.tell(cause=cause)
    desk.tell(kind="customer_reclaimed")
    desk.sweep()
    ((path, body),) = group.told
    assert "&timestamp=1700000000000&sign=" in path
    assert body == {"msgtype": "text", "text": {"content": "标题\n正文"}}
    assert desk.fates() == [("dingtalk", *fate)]


def test_a_robot_elsewhere_than_at_its_vendor_is_refused() -> None:
    """A webhook could else be made to ask anything inside the network."""
    check_robot(Channel.WECOM, "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=x")
    for url in (
        "http://qyapi.weixin.qq.com/x",
        "https://127.0.0.1/x",
        "https://qyapi.weixin.qq.com@evil.cn/",
        "https://qyapi.weixin.qq.com.evil.cn/",
        "file:///etc/passwd",
    ):
        with pytest.raises(RuleViolation):
            check_robot(Channel.WECOM, url)


def test_an_sms_is_handed_over_once_and_telephony_tells_its_fate(desk: Desk) -> None:
    desk.prefer(Channel.SMS)
    desk.world.faults = ["answer lost"]
    desk.tell()
    desk.sweep()
    desk.sweep(minutes=1)
    ((sms_id, text),) = desk.world.sent.items()
    assert text == "标题：正文"
    assert desk.fates() == [("sms", "queued", "")]
    desk.hear("telephony", "sms_delivered", {"smsId": sms_id, "detail": ""}, version=3)
    desk.hear("telephony", "sms_sent", {"smsId": sms_id, "detail": ""}, version=2)
    assert desk.fates() == [("sms", "delivered", "")]


def test_a_digest_is_one_mail_of_what_is_still_unread(desk: Desk, postbox: tuple[Postbox, Mail]) -> None:
    """One digest where the person says so."""
    box, desk.ways[Channel.MAIL] = postbox
    desk.prefer(Channel.MAIL, digest_minute=18 * 60)
    for title in ("甲", "乙", "丙"):
        desk.tell(words=Words(title, "正文", title, "text"))
        desk.now += timedelta(minutes=1)
    desk.sweep()
    assert box.mails == []
    (first, *_) = desk.messages("lead_assigned")
    with desk.store.transaction(desk.tenant, now=desk.now) as tx:
        mark_read(tx, desk.person_id, [first.id])
    desk.sweep(hours=6)
    (mail,) = (message_from_bytes(data, policy=default) for data in box.mails)
    assert mail["Subject"] == "您有 2 条消息"
    assert mail.get_content().split() == ["1.", "乙", "2.", "丙"]
    assert [state for _, state, _ in desk.fates()] == ["skipped", "sent", "sent"]


def test_an_order_sms_that_no_modem_could_send_goes_on_by_the_other_channels(
    desk: Desk, postbox: tuple[Postbox, Mail]
) -> None:
    """All modems blocked: the reminder goes another way."""
    box, desk.ways[Channel.MAIL] = postbox
    desk.now = datetime.now(UTC)
    desk.prefer(Channel.MAIL)
    order = {
        "orderId": new_id(),
        "number": "SO-1",
        "title": "空调",
        "ownerId": desk.person_id,
        "amount": "1.00",
        "remindTime": desk.now.isoformat(),
    }
    desk.hear("orders", "order_generated", order)
    desk.sweep(seconds=1)
    (sms_id,) = desk.world.sent
    mails = len(box.mails)
    for version in (2, 3):
        desk.hear("telephony", "sms_failed", {"smsId": sms_id, "detail": "no modem can send"}, version)
    desk.now = max(desk.now, datetime.now(UTC))
    desk.sweep(seconds=1)
    assert len(box.mails) == mails + 1
    assert "SO-1" in message_from_bytes(box.mails[-1], policy=default).get_content()


@pytest.mark.parametrize("handled", [False, True])
def test_managers_hear_of_an_order_that_stays_unhandled(desk: Desk, handled: bool) -> None:
    """F188 with escalation; it stops when the order is handled."""
    desk.world.managers = [new_id()]
    order_id = new_id()
    order = {
        "orderId": order_id,
        "number": "SO-1",
        "title": "空调",
        "ownerId": desk.person_id,
        "amount": "1.00",
        "remindTime": desk.now.isoformat(),
    }
    desk.hear("orders", "order_generated", order)
    next_time = datetime.fromisoformat(desk.sweep())
    assert next_time == desk.now + ESCALATE_AFTER
    if handled:
        desk.world.handled.add(order_id)
        desk.hear("orders", "order_handled", {"orderId": order_id})
    for _ in range(2):
        desk.sweep(hours=2)
    told = [message.person_id for message in desk.messages("order_escalated")]
    assert told == ([] if handled else desk.world.managers)


def test_a_visit_an_order_and_an_entry_of_the_schedule_are_reminded_of_at_their_time(desk: Desk) -> None:
    """F198, F206: once each, in the order of their times; what was finished before is not."""
    desk.now = datetime.now(UTC)
    wanted = {"上门拜访": "customer", "催交货": "order", "周会": "", "取消的会": ""}
    ids = {title: new_id() for title in wanted}
    with desk.store.transaction(desk.tenant, now=desk.now) as tx:
        for hours, (title, kind) in enumerate(wanted.items(), start=1):
            subject_id = new_id() if kind else ""
            plan = follow_ups.Plan(
                title, desk.now + timedelta(hours=hours), subject_type=kind, subject_id=subject_id
            )
            follow_ups.set_reminder(tx, ids[title], desk.person_id, plan)
        follow_ups.finish_reminder(tx, desk.person_id, ids["取消的会"])
    for _ in range(5):
        desk.sweep(hours=1)
    fired = desk.messages("follow_up_due")
    assert [message.title_zh.split("：")[-1] for message in fired] == ["上门拜访", "催交货", "周会"]
    assert {message.person_id for message in fired} == {desk.person_id}


def test_a_reminder_fires_at_its_times_until_it_was_followed_up(desk: Desk) -> None:
    """F191, F192, F196."""
    customer_id = new_id()
    desk.now = datetime.now(UTC)
    plan = follow_ups.Plan(
        "回访",
        desk.now + timedelta(hours=1),
        interval_minutes=60,
        subject_type="customer",
        subject_id=customer_id,
        subject_name="华强",
        source="展会",
    )
    with desk.store.transaction(desk.tenant, now=desk.now) as tx:
        follow_ups.set_reminder(tx, new_id(), desk.person_id, plan)
    follow_up = {
        "customerId": customer_id,
        "name": "华强",
        "ownerId": desk.person_id,
        "authorId": desk.person_id,
        "text": "已发报价",
        "time": desk.now.isoformat(),
    }
    # Before its first time, work on the customer is no answer to it.
    desk.hear("customers", "follow_up_added", follow_up)
    assert datetime.fromisoformat(desk.sweep()) == plan.first_time
    desk.sweep(hours=1)
    # Two times passed while nothing ran: one message.
    desk.sweep(hours=2)
    fired = desk.messages("follow_up_due")
    assert [message.title_zh for message in fired] == ["跟进提醒：回访"] * 2
    assert fired[0].text_zh == "华强（来源：展会），上次跟进：已发报价。"
    desk.hear("customers", "follow_up_added", {**follow_up, "time": desk.now.isoformat()})
    desk.sweep(hours=5)
    assert len(desk.messages("follow_up_due")) == 2
    with desk.store.transaction(desk.tenant) as tx:
        (row,) = tx.session.scalars(
            select(FollowUpReminder).where(FollowUpReminder.tenant_id == desk.tenant.id)
        )
        assert (row.state, row.next_time) == ("done", None)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"title": ""}, "REMINDER_TITLE"),
        ({"first_time": NOON}, "REMINDER_TIME"),
        ({"interval_minutes": 1}, "REMINDER_INTERVAL"),
        ({"until_time": NOON}, "REMINDER_TIME"),
        ({"subject_type": "customer"}, "REMINDER_SUBJECT"),
    ],
)
def test_a_reminder_that_makes_no_sense_is_refused(desk: Desk, change: dict[str, Any], reason: str) -> None:
    plan = follow_ups.Plan(**{"title": "x", "first_time": NOON + timedelta(hours=1), **change})
    with (
        pytest.raises(InvalidInput) as refused,
        desk.store.transaction(desk.tenant, now=NOON) as tx,
    ):
        follow_ups.set_reminder(tx, new_id(), desk.person_id, plan)
    assert refused.value.reason == reason


def test_a_customer_past_its_usual_gap_is_told_once_and_to_its_owner_only(desk: Desk) -> None:
    """F193: derived from the follow-ups, nothing set up."""
    customer_id, start = new_id(), datetime.now(UTC)
    for week in range(4):
        desk.hear(
            "customers",
            "follow_up_added",
            {
                "customerId": customer_id,
                "name": "华强",
                "ownerId": desk.person_id,
                "authorId": desk.person_id,
                "text": f"第{week}次",
                "time": (start + timedelta(weeks=week)).isoformat(),
            },
        )
    desk.now = start + timedelta(weeks=3)
    assert datetime.fromisoformat(desk.sweep()) == start + timedelta(weeks=4.5)
    desk.sweep(days=10)
    assert desk.messages("cadence_overdue") == []
    for _ in range(2):
        desk.sweep(days=1)
    (message,) = desk.messages("cadence_overdue")
    assert message.person_id == desk.person_id
    assert message.text_zh == "客户“华强”通常每 7 天跟进一次，现已超期。上次跟进：第3次"


def test_a_customer_in_a_pool_reminds_nobody(desk: Desk) -> None:
    customer_id, start = new_id(), datetime.now(UTC)
    for day in range(4):
        data = {
            "customerId": customer_id,
            "name": "华强",
            "ownerId": desk.person_id,
            "authorId": desk.person_id,
            "text": "x",
            "time": (start + timedelta(days=day)).isoformat(),
        }
        desk.hear("customers", "follow_up_added", data)
    desk.hear("customers", "customer_returned", {"customerId": customer_id}, version=5)
    # Older news of an owner.
    desk.hear("customers", "customer_claimed", {"customerId": customer_id, "toOwnerId": new_id()}, version=4)
    desk.now = start + timedelta(days=30)
    assert desk.sweep() == ""
    assert desk.messages("cadence_overdue") == []


def test_an_announcement_reaches_everybody_who_is_active_and_admins_hear_of_orders(desk: Desk) -> None:
    """F190, F200, F207: a note is for active colleagues, once; with one that is not, nobody gets it."""
    people = {new_id(): (True, ["settings.manage"]), new_id(): (True, []), new_id(): (False, [])}
    for person_id, (active, rights) in people.items():
        data = {"personId": person_id, "name": "某", "active": active, "rights": rights}
        take(
            desk.store,
            handlers(),
            event_of(desk.tenant, "identity", "person_saved", data, aggregate=person_id),
        )
    with desk.store.transaction(desk.tenant) as tx:
        settings.announce(tx, new_id(), new_id(), "放假通知", "国庆放假七天")
    working = sorted(person_id for person_id, (works, _) in people.items() if works)
    boss, colleague, gone = people
    note_id = new_id()
    for _ in range(2):
        with desk.store.transaction(desk.tenant) as tx:
            settings.leave_note(tx, note_id, boss, [colleague, colleague], "下午三点开会")
    (note,) = desk.messages("note")
    assert (note.person_id, note.title_zh, note.text_en) == (colleague, "某给您留言", "下午三点开会")
    for readers in ([colleague, gone], [new_id()], []):
        with pytest.raises(InvalidInput) as refused, desk.store.transaction(desk.tenant) as tx:
            settings.leave_note(tx, new_id(), boss, readers, "在吗")
        assert refused.value.field == "person_ids"
    assert len(desk.messages("note")) == 1
    assert sorted(message.person_id for message in desk.messages("announcement")) == working
    order = {
        "orderId": new_id(),
        "number": "SO-1",
        "title": "空调",
        "ownerId": desk.person_id,
        "amount": "1.00",
        "remindTime": (NOON + timedelta(days=9)).isoformat(),
    }
    desk.hear("orders", "order_generated", order)
    hearers = {message.person_id for message in desk.messages("order_generated")}
    assert hearers == {desk.person_id, next(iter(people))}


def test_both_sides_hear_of_a_registration_of_the_same_customer(desk: Desk) -> None:
    """F170: both are told, each of the other, masked."""
    submitter, holder = new_id(), new_id()
    refused = {
        "reservationId": new_id(),
        "name": "上海某某",
        "submitterId": submitter,
        "submitterName": "王**",
        "holderId": holder,
        "holderName": "李*",
    }
    desk.hear("dedupe", "keys_refused", refused)
    texts = {message.person_id: message.text_zh for message in desk.messages("registration_conflict")}
    assert "李*" in texts[submitter]
    assert "王**" in texts[holder]


def test_a_suspect_is_told_to_who_recorded_its_inquiries(desk: Desk) -> None:
    """F201."""
    sellers = [new_id(), new_id()]
    raised = {"suspectId": new_id(), "dimension": "product", "personIds": sellers, "shared": "非标法兰"}
    desk.hear("dedupe", "suspect_raised", raised)
    messages = desk.messages("suspect_raised")
    assert sorted(message.person_id for message in messages) == sorted(sellers)
    assert all("非标法兰" in message.text_zh for message in messages)


def test_a_tenants_own_words_go_before_ours_and_ours_come_back(desk: Desk) -> None:
    own = Words("新线索 {name}", "请联系 {name}", "New {name}", "Call {name}")
    with desk.store.transaction(desk.tenant) as tx:
        settings.save_template(tx, "lead_assigned", own)
    desk.tell()
    with desk.store.transaction(desk.tenant) as tx:
        settings.save_template(tx, "lead_assigned", Words("", "", "", ""))
    desk.now += timedelta(seconds=1)
    desk.tell()
    titles = [(message.title_zh, message.title_en) for message in desk.messages("lead_assigned")]
    assert titles == [("新线索 甲", "New 甲"), ("标题", "Title")]


@pytest.mark.parametrize(
    ("preferences", "field"),
    [
        (Preferences(mail="a@b\r\nBcc: c@d.cn"), "mail"),
        (Preferences(mail="x"), "mail"),
        (Preferences({"nonsense": [Channel.SMS]}), "channels"),
        (Preferences({"*": [Channel.DINGTALK]}), "channels"),
        (Preferences(digest_minute=1440), "digest_minute"),
        (Preferences(quiet_from_minute=-1), "quiet_from_minute"),
    ],
)
def test_preferences_that_cannot_be_kept_are_refused(
    desk: Desk, preferences: Preferences, field: str
) -> None:
    with pytest.raises(InvalidInput) as refused, desk.store.transaction(desk.tenant) as tx:
        settings.save_preferences(tx, desk.person_id, preferences)
    assert refused.value.field == field
