"""Take messages out of the app: which way, when, and what became of each on each channel.

A mail or a robot's message is sent at most once by itself: the intent is written before, the outcome after it; an
intent without an outcome becomes uncertain. An SMS is handed to telephony under the delivery's id, which takes an id
once; from then on telephony says what became of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction, WorkflowStart
from services.chassis.ids import derive_id
from services.notify.domain import texts
from services.notify.domain.notices import (
    OUTCOME_WITHIN,
    PERSONAL,
    Channel,
    DeliveryState,
    Preferences,
    retry_after,
)
from services.notify.domain.texts import Words
from services.notify.store.tables import Delivery, Message, Preference, Robot
from services.notify.workflows.contracts import QUEUE, WAKE, WORKFLOW, Sweeper, reminders_workflow_id

# A sweep has something to do for these.
UNSETTLED: Final = (DeliveryState.PENDING, DeliveryState.SENDING)


@dataclass(frozen=True)
class Outgoing:
    """One thing to send: several deliveries where it is a digest, else one.

    delivery_ids: the first gives its id to what is sent. address: of a mail, reply_to: to whom it is answered, "" for
    the sender; url, secret: of a robot.
    """

    delivery_ids: tuple[str, ...]
    channel: Channel
    person_id: str
    title: str
    text: str
    address: str = ""
    url: str = ""
    secret: str = ""
    reply_to: str = ""


def preferences_of(tx: Transaction, person_id: str) -> Preferences:
    """Return how a person wants to be told; without a word of the person's, in the app only."""
    row = tx.session.get(Preference, {"tenant_id": tx.tenant.id, "person_id": person_id})
    if row is None:
        return Preferences()
    return Preferences(
        {kind: [Channel(way) for way in ways] for kind, ways in row.channels.items()},
        row.digest_minute,
        row.quiet_from_minute,
        row.quiet_until_minute,
        row.mail,
        row.locale,
    )


def plan(
    tx: Transaction,
    cause_id: str,
    message_id: str,
    person_id: str,
    kind: str,
    words: Words,
    *,
    without: Sequence[Channel] = (),
) -> None:
    """Plan a message's ways out of the app, as its receiver and the groups' robots want it.

    cause_id: of which a group hears once, however many persons do. without: channels that it does not go, as it goes
    there another way or cannot.
    """
    preferences = preferences_of(tx, person_id)
    send_time, in_digest = preferences.send_time(kind, tx.now)
    english = preferences.locale.startswith("en")
    title, text = (words.title_en, words.text_en) if english else (words.title_zh, words.text_zh)
    common = {
        "tenant_id": tx.tenant.id,
        "message_id": message_id,
        "person_id": person_id,
        "state": DeliveryState.PENDING.value,
        "detail": "",
        "create_time": tx.now,
    }
    planned = [
        {
            **common,
            "id": derive_id("delivery", message_id, way),
            "robot_id": None,
            "channel": way.value,
            "digest": in_digest,
            "title": title,
            "text": text,
            "attempt_time": send_time,
        }
        for way in preferences.ways(kind)
        if way in PERSONAL and way not in without
    ]
    robots = tx.session.scalars(
        select(Robot).where(Robot.tenant_id == tx.tenant.id, Robot.kinds.contains([kind]))
    )
    planned += [
        {
            **common,
            "id": derive_id("robot", cause_id, kind, robot.id),
            "robot_id": robot.id,
            "channel": robot.channel,
            "digest": False,
            "title": words.title_zh,
            "text": words.text_zh,
            "attempt_time": tx.now,
        }
        for robot in robots
    ]
    if planned:
        tx.session.execute(insert(Delivery).values(planned).on_conflict_do_nothing())
        wake(tx)


def wake(tx: Transaction) -> None:
    """Have the tenant's sweeper look at once."""
    tx.session.flush()
    tx.start_workflow(
        WorkflowStart(WORKFLOW, reminders_workflow_id(tx.tenant.id), QUEUE, Sweeper(tx.tenant), signal=WAKE)
    )


def due(tx: Transaction, limit: int) -> list[Outgoing]:
    """Return what is to be sent now, the longest due first, digests put together.

    What lost its reason is skipped: a digest's message that was read meanwhile. What has an intent and no outcome for
    five minutes becomes uncertain.
    """
    rows = tx.session.scalars(
        select(Delivery)
        .where(
            Delivery.tenant_id == tx.tenant.id,
            Delivery.state.in_(UNSETTLED),
            Delivery.attempt_time <= tx.now,
        )
        .order_by(Delivery.attempt_time, Delivery.create_time, Delivery.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    groups: dict[object, list[Delivery]] = {}
    read = _read(tx, [row.message_id for row in rows if row.digest])
    for row in rows:
        if row.state == DeliveryState.SENDING and row.channel != Channel.SMS:
            _settle(tx, row, DeliveryState.UNCERTAIN, "the process ended while it was sent")
        elif row.digest and row.message_id in read:
            _settle(tx, row, DeliveryState.SKIPPED, "read in the app")
        else:
            groups.setdefault((row.person_id, row.channel) if row.digest else row.id, []).append(row)
    return [_outgoing(tx, group) for group in groups.values()]


def begin(tx: Transaction, outgoing: Outgoing) -> bool:
    """Write the intent to send; tell whether it is still to be sent."""
    rows = [row for row in _locked(tx, outgoing) if row.state in UNSETTLED]
    for row in rows:
        row.state = DeliveryState.SENDING
        row.attempts += 1
        # Looked at again when no outcome comes.
        row.attempt_time = tx.now + OUTCOME_WITHIN
    return len(rows) == len(outgoing.delivery_ids)


def settle(tx: Transaction, outgoing: Outgoing, state: DeliveryState, detail: str = "") -> None:
    """Write what became of it."""
    for row in _locked(tx, outgoing):
        if row.state == DeliveryState.SENDING:
            _settle(tx, row, state, detail)


def try_again(tx: Transaction, outgoing: Outgoing, why: str) -> None:
    """Note that it definitely did not go out, and when it is tried again, if ever."""
    for row in _locked(tx, outgoing):
        if row.state != DeliveryState.SENDING:
            continue
        wait = retry_after(row.attempts)
        if wait is None:
            _settle(tx, row, DeliveryState.FAILED, why)
        else:
            row.state = DeliveryState.PENDING
            row.attempt_time = tx.now + wait
            row.detail = why


def hear_of_sms(tx: Transaction, sms_id: str, state: DeliveryState, version: int, detail: str) -> None:
    """Note what telephony tells of a delivery's SMS; of others, or older news, nothing."""
    row = tx.session.scalars(
        select(Delivery).where(Delivery.tenant_id == tx.tenant.id, Delivery.id == sms_id).with_for_update()
    ).one_or_none()
    if row is None or version <= row.sms_version or row.state == DeliveryState.DELIVERED:
        return
    row.sms_version = version
    _settle(tx, row, state, detail)


def next_time(tx: Transaction) -> datetime | None:
    """Return when something is to be sent next, None for never."""
    return tx.session.scalar(
        select(func.min(Delivery.attempt_time)).where(
            Delivery.tenant_id == tx.tenant.id, Delivery.state.in_(UNSETTLED)
        )
    )


def deliveries_of(tx: Transaction, message_ids: Sequence[str]) -> Mapping[str, Sequence[Delivery]]:
    """Return what became of messages on each channel, by message."""
    found: dict[str, list[Delivery]] = {}
    query = select(Delivery).where(Delivery.tenant_id == tx.tenant.id, Delivery.message_id.in_(message_ids))
    for row in tx.session.scalars(query.order_by(Delivery.channel, Delivery.id)):
        found.setdefault(row.message_id, []).append(row)
    return found


def _outgoing(tx: Transaction, rows: Sequence[Delivery]) -> Outgoing:
    first, channel = rows[0], Channel(rows[0].channel)
    preferences = preferences_of(tx, first.person_id)
    title, text = first.title, first.text
    if len(rows) > 1:
        words = texts.digest([row.title for row in rows])
        english = preferences.locale.startswith("en")
        title, text = (words.title_en, words.text_en) if english else (words.title_zh, words.text_zh)
    robot = tx.session.get(Robot, first.robot_id) if first.robot_id else None
    return Outgoing(
        tuple(row.id for row in rows),
        channel,
        first.person_id,
        title,
        text,
        address=preferences.mail,
        url=robot.url if robot else "",
        secret=robot.secret if robot else "",
    )


def _locked(tx: Transaction, outgoing: Outgoing) -> Sequence[Delivery]:
    return tx.session.scalars(
        select(Delivery)
        .where(Delivery.tenant_id == tx.tenant.id, Delivery.id.in_(outgoing.delivery_ids))
        .order_by(Delivery.id)
        .with_for_update()
    ).all()


def _settle(tx: Transaction, row: Delivery, state: DeliveryState, detail: str) -> None:
    row.state = state
    row.detail = detail
    row.done_time = tx.now


def _read(tx: Transaction, message_ids: Sequence[str]) -> set[str]:
    return set(
        tx.session.scalars(
            select(Message.id).where(
                Message.tenant_id == tx.tenant.id, Message.id.in_(message_ids), Message.read_time.is_not(None)
            )
        )
    )
