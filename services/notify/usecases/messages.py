"""Write messages to people, and mark them as read."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.chassis.errors import InvalidInput
from services.chassis.ids import derive_id
from services.notify.domain.notices import Channel
from services.notify.domain.templates import fill_words
from services.notify.domain.texts import Words
from services.notify.store import queries
from services.notify.store.tables import Message, Template
from services.notify.usecases import deliveries

# Messages that one request may mark.
MOST_MARKED = 200

# What a message is about that was written for everybody to read.
ANNOUNCEMENT = "announcement"


@dataclass(frozen=True)
class Subject:
    """What a message is about: "approval", "order", "customer", "lead", "opportunity", "call", "announcement",
    or "person", whose note it is.

    id: its UUID.
    """

    kind: str
    id: str


def write_message(
    tx: Transaction,
    cause_id: str,
    person_id: str,
    kind: str,
    subject: Subject,
    words: Words,
    *,
    without: Sequence[Channel] = (),
) -> None:
    """Write a message once for each cause, person and kind, tell the person's open pages, and plan its other ways.

    The tenant's own template goes before the words. without: channels that it does not go.
    """
    words = worded(tx, kind, words)
    if subject.kind != ANNOUNCEMENT:
        # It goes to mail boxes and robots as well.
        words = words.without_numbers()
    message_id = derive_id("message", cause_id, person_id, kind)
    added = tx.session.execute(
        insert(Message)
        .values(
            id=message_id,
            tenant_id=tx.tenant.id,
            person_id=person_id,
            kind=kind,
            title_zh=words.title_zh,
            text_zh=words.text_zh,
            title_en=words.title_en,
            text_en=words.text_en,
            subject_type=subject.kind,
            subject_id=subject.id,
            create_time=tx.now,
        )
        .on_conflict_do_nothing()
        .returning(Message.id)
    ).first()
    if added is None:
        return
    tx.emit(
        "message_created",
        message_id,
        1,
        {
            "personId": person_id,
            # As the contract has a message, in the language that the desktop begins with; the other beside it.
            "message": {
                "messageId": message_id,
                "kind": kind,
                "title": words.title_zh,
                "text": words.text_zh,
                "subjectType": subject.kind,
                "subjectId": subject.id,
                "read": False,
                "createTime": tx.now.isoformat().replace("+00:00", "Z"),
            },
            "english": {"title": words.title_en, "text": words.text_en},
        },
    )
    deliveries.plan(tx, cause_id, message_id, person_id, kind, words, without=without)


def worded(tx: Transaction, kind: str, words: Words) -> Words:
    """Return the tenant's own words for a kind of message where it has them, else these."""
    template = tx.session.get(Template, {"tenant_id": tx.tenant.id, "kind": kind})
    if template is None:
        return words
    own = Words(template.title_zh, template.text_zh, template.title_en, template.text_en)
    return fill_words(own, words.values)


def mark_read(tx: Transaction, person_id: str, message_ids: Collection[str]) -> None:
    """Mark a person's messages as read, all of them when none is named; others' are left alone.

    Raises InvalidInput TOO_MANY_MESSAGES.
    """
    if len(message_ids) > MOST_MARKED:
        raise InvalidInput(
            "message_ids",
            "TOO_MANY_MESSAGES",
            "一次最多标记{most}条消息",
            "At most {most} messages at once",
            most=MOST_MARKED,
        )
    change = (
        update(Message)
        .where(Message.tenant_id == tx.tenant.id, Message.person_id == person_id, Message.read_time.is_(None))
        .values(read_time=tx.now)
        .returning(Message.id)
    )
    if message_ids:
        change = change.where(Message.id.in_(message_ids))
    if tx.session.execute(change).all():
        tx.emit(
            "messages_read",
            person_id,
            # No row counts a person's readings; time orders them well enough for a number on a page.
            int(tx.now.timestamp() * 1000),
            {"personId": person_id, "unreadCount": queries.unread_count(tx, person_id)},
        )
