"""What a tenant and its people set: templates, preferences, robots, announcements; and who the people are."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import delete, select, tuple_
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.chassis.errors import InvalidInput, not_found
from services.notify.domain.notices import ANY_KIND, PERSONAL, Channel, Preferences
from services.notify.domain.templates import KINDS, check_template
from services.notify.domain.texts import Words, note_left
from services.notify.store.tables import Announcement, Person, Preference, Robot, Template
from services.notify.usecases.messages import ANNOUNCEMENT, Subject, write_message

ROBOT_CHANNELS: Final = (Channel.DINGTALK, Channel.WECOM)
# Robots and characters of their names at most.
MOST_ROBOTS: Final = 50
LONGEST_NAME: Final = 50
LONGEST_ANNOUNCEMENT: Final = 2000
LONGEST_NOTE: Final = 500
# Colleagues that one note is for.
MOST_READERS: Final = 50
DAY_MINUTES: Final = 24 * 60

# One address, nothing that a header or an SMTP command could take for more.
MAIL: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,190}\.[A-Za-z]{2,}")


def save_person(tx: Transaction, person_id: str, version: int, data: Mapping[str, object]) -> None:
    """Take over what identity says of a person; an older word changes nothing."""
    values = {
        "name": data["name"],
        "active": data["active"],
        "rights": data["rights"],
        "version": version,
    }
    added = insert(Person).values(id=person_id, tenant_id=tx.tenant.id, **values)
    tx.session.execute(
        added.on_conflict_do_update(index_elements=["id"], set_=values, where=Person.version < version)
    )


def people(tx: Transaction, right: str = "") -> Sequence[str]:
    """Return the ids of active people, those with a right only when one is named."""
    query = select(Person.id).where(Person.tenant_id == tx.tenant.id, Person.active)
    if right:
        query = query.where(Person.rights.contains([right]))
    return tx.session.scalars(query.order_by(Person.id)).all()


def save_template(tx: Transaction, kind: str, words: Words) -> None:
    """Keep the tenant's own words for a kind of message; without any the built-in ones come back.

    Raises as `check_template`.
    """
    texts = {
        "title_zh": words.title_zh,
        "text_zh": words.text_zh,
        "title_en": words.title_en,
        "text_en": words.text_en,
    }
    own = Template.tenant_id == tx.tenant.id, Template.kind == kind
    if not any(texts.values()):
        if kind not in KINDS:
            raise not_found("template_kind", "消息类型", kind)
        tx.session.execute(delete(Template).where(*own))
        return
    check_template(kind, texts)
    added = insert(Template).values(tenant_id=tx.tenant.id, kind=kind, **texts)
    tx.session.execute(added.on_conflict_do_update(index_elements=["tenant_id", "kind"], set_=texts))


def templates(tx: Transaction) -> Mapping[str, Template]:
    """Return the tenant's own words by kind."""
    rows = tx.session.scalars(select(Template).where(Template.tenant_id == tx.tenant.id))
    return {row.kind: row for row in rows}


def save_preferences(tx: Transaction, person_id: str, preferences: Preferences) -> None:
    """Keep how a person wants to be told.

    Raises InvalidInput CHANNEL_INVALID, MAIL_INVALID, MINUTE_INVALID naming the field.
    """
    for kind, ways in preferences.channels.items():
        if (kind != ANY_KIND and kind not in KINDS) or not set(ways) <= set(PERSONAL):
            raise InvalidInput(
                "channels", "CHANNEL_INVALID", "消息类型或通知方式无效", "No such kind or channel"
            )
    if preferences.mail and not MAIL.fullmatch(preferences.mail):
        raise InvalidInput("mail", "MAIL_INVALID", "邮箱地址无效", "This is no mail address")
    minutes = {
        "digest_minute": preferences.digest_minute or 0,
        "quiet_from_minute": preferences.quiet_from_minute,
        "quiet_until_minute": preferences.quiet_until_minute,
    }
    for field, minute in minutes.items():
        if not 0 <= minute < DAY_MINUTES:
            raise InvalidInput(field, "MINUTE_INVALID", "时间无效", "A minute of the day is 0 to 1439")
    values = {
        **minutes,
        "digest_minute": preferences.digest_minute,
        "channels": {kind: [str(way) for way in ways] for kind, ways in preferences.channels.items()},
        "mail": preferences.mail,
        "locale": "en" if preferences.locale.lower().startswith("en") else "zh-CN",
    }
    added = insert(Preference).values(tenant_id=tx.tenant.id, person_id=person_id, **values)
    tx.session.execute(added.on_conflict_do_update(index_elements=["tenant_id", "person_id"], set_=values))


def add_robot(tx: Transaction, robot: Robot) -> None:
    """Keep a group's robot; its address was checked.

    Raises InvalidInput ROBOT_NAME, ROBOT_KINDS, TOO_MANY_ROBOTS.
    """
    if not 1 <= len(robot.name.strip()) <= LONGEST_NAME:
        raise InvalidInput("name", "ROBOT_NAME", "请填写机器人名称", "A robot has a name")
    if not robot.kinds or not set(robot.kinds) <= KINDS.keys() | {"announcement"}:
        raise InvalidInput("kinds", "ROBOT_KINDS", "请选择要推送的消息类型", "Choose known kinds of messages")
    if len(robots(tx)) >= MOST_ROBOTS:
        raise InvalidInput("name", "TOO_MANY_ROBOTS", "机器人数量已达上限", "There are too many robots")
    tx.session.add(robot)


def robots(tx: Transaction) -> Sequence[Robot]:
    """Return the tenant's robots by name."""
    return tx.session.scalars(
        select(Robot).where(Robot.tenant_id == tx.tenant.id).order_by(Robot.name, Robot.id)
    ).all()


def remove_robot(tx: Transaction, robot_id: str) -> None:
    """Forget a robot; raises NotFound ROBOT_NOT_FOUND."""
    gone = tx.session.execute(
        delete(Robot).where(Robot.tenant_id == tx.tenant.id, Robot.id == robot_id).returning(Robot.id)
    ).first()
    if gone is None:
        raise not_found("robot", "机器人", robot_id)


def announce(tx: Transaction, announcement_id: str, author_id: str, title: str, text: str) -> Announcement:
    """Say something to everybody who is active (F207); raises InvalidInput ANNOUNCEMENT_TITLE or _TEXT."""
    if not 1 <= len(title.strip()) <= LONGEST_NAME * 2:
        raise InvalidInput(
            "title", "ANNOUNCEMENT_TITLE", "请填写标题（最多100字）", "A title has 1 to 100 characters"
        )
    if not 1 <= len(text.strip()) <= LONGEST_ANNOUNCEMENT:
        raise InvalidInput(
            "text", "ANNOUNCEMENT_TEXT", "公告内容应为1到2000字", "A text has 1 to 2000 characters"
        )
    row = Announcement(
        id=announcement_id,
        tenant_id=tx.tenant.id,
        author_id=author_id,
        title=title.strip(),
        text=text.strip(),
        create_time=tx.now,
    )
    tx.session.add(row)
    words = Words(row.title, row.text, row.title, row.text)
    for person_id in people(tx):
        write_message(tx, row.id, person_id, "announcement", Subject(ANNOUNCEMENT, row.id), words)
    return row


def leave_note(tx: Transaction, note_id: str, author_id: str, person_ids: Sequence[str], text: str) -> None:
    """Leave a note for colleagues (F200); repeated, nobody gets it twice.

    Raises InvalidInput NOTE_TEXT, NOTE_PEOPLE for too many or none, PERSON_UNKNOWN for one who is not active.
    """
    if not 1 <= len(text.strip()) <= LONGEST_NOTE:
        raise InvalidInput("text", "NOTE_TEXT", "留言内容应为1到500字", "A note has 1 to 500 characters")
    wanted = sorted(set(person_ids))
    if not 1 <= len(wanted) <= MOST_READERS:
        raise InvalidInput(
            "person_ids", "NOTE_PEOPLE", "请选择1到50位同事", "A note is for 1 to 50 colleagues"
        )
    found = select(Person.id, Person.name).where(
        Person.tenant_id == tx.tenant.id, Person.active, Person.id.in_([*wanted, author_id])
    )
    names = {row.id: row.name for row in tx.session.execute(found)}
    if not names.keys() >= set(wanted):
        raise InvalidInput(
            "person_ids", "PERSON_UNKNOWN", "所选同事不存在或已停用", "Somebody chosen is not on the staff"
        )
    words = note_left(names.get(author_id, ""), text.strip())
    for person_id in wanted:
        write_message(tx, note_id, person_id, "note", Subject("person", author_id), words)


def announcements(tx: Transaction, before: tuple[datetime, str] | None, limit: int) -> Sequence[Announcement]:
    """Return announcements, newest first, from behind `before` on."""
    query = select(Announcement).where(Announcement.tenant_id == tx.tenant.id)
    if before:
        query = query.where(tuple_(Announcement.create_time, Announcement.id) < before)
    return tx.session.scalars(
        query.order_by(Announcement.create_time.desc(), Announcement.id.desc()).limit(limit)
    ).all()
