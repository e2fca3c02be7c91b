"""One mail to many customers: each address once, each with its own fate, none to who refuses."""

from dataclasses import dataclass, field
from datetime import timedelta
from email import message_from_bytes
from email.policy import default
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from services.chassis.clock import utc_now
from services.chassis.db import Store
from services.chassis.errors import InvalidInput, NotFound, RuleViolation
from services.chassis.ids import new_id
from services.chassis.tenancy import Tenant
from services.notify.channels import Mail, Way
from services.notify.domain.bulk_mail import Wording
from services.notify.domain.notices import Channel, Preferences
from services.notify.store.tables import BulkMail
from services.notify.usecases import bulk_mails, settings
from services.notify.usecases.bulk_mails import Address, Portion
from services.notify.usecases.deliveries import Outgoing
from services.notify.workflows.activities import ReminderActivities
from services.notify.workflows.contracts import Sweep
from tests.integration.notify.conftest import Postbox
from tests.integration.notify.test_channels import Died
from tests.integration.notify.test_reminders import World


@dataclass
class Desk:
    """A tenant whose person writes to many, on a clock that the test moves."""

    store: Store
    tenant: Tenant
    ways: dict[Channel, Way] = field(default_factory=dict)
    person_id: str = field(default_factory=new_id)
    now: Any = field(default_factory=utc_now)

    def staged(self, *mails: tuple[str, str]) -> str:
        """Return a bulk mail to customers of these names and addresses, "" for none."""
        bulk_id = new_id()
        customers = [(new_id(), name, address) for name, address in mails]
        addresses = [Address(*each) for each in customers if each[2]]
        with self.store.transaction(self.tenant, now=self.now) as tx:
            wording = Wording("{name}，节日快乐", "尊敬的{name}：国庆照常发货。")
            bulk_mails.create(tx, self.person_id, bulk_id, wording, {})
            portion = Portion([each[0] for each in customers], addresses, "")
            bulk_mails.stage(tx, self.person_id, bulk_id, "", portion)
        return bulk_id

    def start(self, bulk_id: str, **later: float) -> None:
        """Start it, some time later."""
        with self.store.transaction(self.tenant, now=self.now) as tx:
            bulk_mails.start(tx, self.person_id, bulk_id, self.now + timedelta(**later))

    def sweep(self, **later: float) -> None:
        """Sweep after some time."""
        self.now += timedelta(**later)
        world = World()
        activities = ReminderActivities(self.store, world, world, world, self.ways)
        ActivityEnvironment().run(activities.sweep, Sweep(self.tenant, self.now.isoformat()))

    def fates(self, bulk_id: str) -> list[tuple[str, str]]:
        """Return the name and state of every recipient, in order."""
        with self.store.transaction(self.tenant) as tx:
            return [(row.customer_name, row.state) for row, _ in bulk_mails.recipients(tx, bulk_id, None, 99)]

    def row(self, bulk_id: str) -> BulkMail:
        """Return it as it is stored."""
        with self.store.transaction(self.tenant) as tx:
            return bulk_mails.find(tx, self.person_id, bulk_id)


@pytest.fixture
def desk(store: Store, main_tenant: Tenant) -> Desk:
    return Desk(store, main_tenant)


def test_everybody_gets_one_mail_in_their_name_and_the_writer_hears_the_end(
    desk: Desk, postbox: tuple[Postbox, Mail]
) -> None:
    """F200: deduplicated by address, with a fate for each, answers go to the writer."""
    box, desk.ways[Channel.MAIL] = postbox
    with desk.store.transaction(desk.tenant) as tx:
        settings.save_preferences(tx, desk.person_id, Preferences(mail="seller@example.cn"))
    bulk_id = desk.staged(("甲", "a@example.cn"), ("乙", "b@example.cn"), ("丙", "A@Example.cn"), ("丁", ""))
    row = desk.row(bulk_id)
    assert (row.state, row.customer_count, row.duplicate_count, row.without_address_count) == (
        "staged",
        4,
        1,
        1,
    )
    box.receiver_answers = ["550 nobody here"]
    desk.start(bulk_id, hours=1)
    desk.sweep()
    assert box.mails == []
    for _ in range(2):
        desk.sweep(hours=1)
    assert desk.fates(bulk_id) == [("甲", "failed"), ("乙", "sent")]
    (mail,) = (message_from_bytes(data, policy=default) for data in box.mails)
    assert (mail["To"], mail["Reply-To"], mail["Subject"]) == (
        "b@example.cn",
        "seller@example.cn",
        "乙，节日快乐",
    )
    assert mail.get_content().startswith("尊敬的乙：国庆照常发货。")
    assert "不希望再收到" in mail.get_content()
    assert desk.row(bulk_id).state == "done"


def test_a_server_that_is_away_is_asked_again_and_sends_nobody_two(desk: Desk) -> None:
    """F200."""
    desk.ways[Channel.MAIL] = Mail("smtp://127.0.0.1:1", "crm@example.cn")
    bulk_id = desk.staged(("甲", "a@example.cn"))
    desk.start(bulk_id)
    desk.sweep(seconds=1)
    assert desk.fates(bulk_id) == [("甲", "waiting")]
    sent: list[str] = []
    desk.ways[Channel.MAIL] = lambda outgoing: sent.append(outgoing.address)
    for _ in range(2):
        desk.sweep(minutes=1)
    assert sent == ["a@example.cn"]


def test_killed_while_it_sends_a_mail_is_uncertain_and_the_others_go_on(desk: Desk) -> None:
    """F200: nobody knows whether it left, so nobody sends it again by itself."""
    sent: list[str] = []

    def dying(outgoing: Outgoing) -> None:
        sent.append(outgoing.address)
        if len(sent) == 1:
            raise Died

    desk.ways[Channel.MAIL] = dying
    bulk_id = desk.staged(("甲", "a@example.cn"), ("乙", "b@example.cn"))
    desk.start(bulk_id)
    with pytest.raises(Died):
        desk.sweep(seconds=1)
    desk.sweep(seconds=1)
    assert desk.fates(bulk_id) == [("甲", "sending"), ("乙", "sent")]
    desk.sweep(minutes=6)
    assert desk.fates(bulk_id) == [("甲", "uncertain"), ("乙", "sent")]
    assert sent == ["a@example.cn", "b@example.cn"]


def test_who_refuses_bulk_mail_gets_none_from_that_moment_on(desk: Desk) -> None:
    """F200: of this one and of all later ones, until it is wanted again."""
    sent: list[str] = []
    desk.ways[Channel.MAIL] = lambda outgoing: sent.append(outgoing.address)
    first, second = (desk.staged(("甲", "a@example.cn"), ("乙", "b@example.cn")) for _ in range(2))
    with desk.store.transaction(desk.tenant) as tx:
        ((recipient, refused), _) = bulk_mails.recipients(tx, first, None, 9)
        bulk_mails.refuse(tx, desk.person_id, first, recipient.id, refused=True)
    assert not refused
    for bulk_id in (first, second):
        desk.start(bulk_id)
    desk.sweep(seconds=1)
    assert sent == ["b@example.cn"] * 2
    assert desk.fates(second) == [("甲", "skipped"), ("乙", "sent")]


def test_cancelled_it_ends_for_good_and_takes_no_other_step(desk: Desk) -> None:
    """F200."""
    desk.ways[Channel.MAIL] = lambda outgoing: None
    bulk_id = desk.staged(("甲", "a@example.cn"))
    desk.start(bulk_id, hours=1)
    with desk.store.transaction(desk.tenant, now=desk.now) as tx:
        bulk_mails.cancel(tx, desk.person_id, bulk_id)
    desk.sweep(hours=2)
    assert desk.fates(bulk_id) == [("甲", "skipped")]
    with pytest.raises(RuleViolation, match="BULK_MAIL_STATE"):
        desk.start(bulk_id)
    with pytest.raises(RuleViolation, match="BULK_MAIL_EMPTY"):
        desk.start(desk.staged(("丁", "")))


def test_nobody_sees_anothers_bulk_mail(desk: Desk) -> None:
    """F200: the list is the writer's, and another sees other customers in it."""
    bulk_id = desk.staged(("甲", "a@example.cn"))
    with pytest.raises(NotFound), desk.store.transaction(desk.tenant) as tx:
        bulk_mails.find(tx, new_id(), bulk_id)


@pytest.mark.parametrize(
    ("wording", "field", "reason"),
    [
        (Wording(" ", "x"), "subject", "SUBJECT_LENGTH"),
        (Wording("题" * 101, "x"), "subject", "SUBJECT_LENGTH"),
        (Wording("x", ""), "text", "TEXT_LENGTH"),
    ],
)
def test_words_that_make_no_mail_are_refused_by_field(wording: Wording, field: str, reason: str) -> None:
    """F200."""
    with pytest.raises(InvalidInput) as refused:
        wording.check()
    assert (refused.value.field, refused.value.reason) == (field, reason)
