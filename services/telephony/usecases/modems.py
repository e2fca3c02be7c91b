"""Keep what is known of modems and a tenant's rules for SMS: health, limits, whether any modem can send."""

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.chassis.errors import InvalidInput, not_found
from services.telephony.domain.sms import MODEM_GONE_AFTER, Policy, SegmentState
from services.telephony.modem.port import LinkState
from services.telephony.store import tables
from services.telephony.store.rows import Row, every, one

# The most that an operator can allow a SIM or a number; more is a slip of the finger.
MOST_HOURLY: Final = 10_000
MOST_DAILY: Final = 100_000


@dataclass(frozen=True)
class Limits:
    """Say how a modem may be used: whether at all, and how much its SIM sends in an hour and in 24 hours."""

    enabled: bool
    hourly: int
    daily: int


@dataclass(frozen=True)
class ModemView:
    """Hold a modem's row with what its SIM has sent in the last hour and in 24 hours."""

    row: Row
    sent_hour: int
    sent_day: int
    # Whether the process that owns it is alive.
    alive: bool


def note_modem(tx: Transaction, name: str, state: LinkState, detail: str) -> None:
    """Note where a modem stands."""
    modem = tables.modem
    tx.session.execute(
        update(modem)
        .where(modem.c.name == name, modem.c.tenant_id == tx.tenant.id)
        .values(state=state.value, detail=detail, state_time=tx.now, seen_time=tx.now)
    )


def note_signal(tx: Transaction, name: str, signal: int | None) -> None:
    """Note how strong the signal is, 0 to 31; None: the modem does not know."""
    modem = tables.modem
    tx.session.execute(
        update(modem).where(modem.c.name == name, modem.c.tenant_id == tx.tenant.id).values(signal=signal)
    )


def limits_of(tx: Transaction, name: str) -> Limits | None:
    """Note that the owner of a modem is alive, and return how it may be used; None: not the tenant's any more."""
    modem = tables.modem
    row = one(
        tx.session,
        update(modem)
        .where(modem.c.name == name, modem.c.tenant_id == tx.tenant.id)
        .values(seen_time=tx.now)
        .returning(modem.c.enabled, modem.c.hourly_limit, modem.c.daily_limit),
    )
    return None if row is None else Limits(row["enabled"], row["hourly_limit"], row["daily_limit"])


def configure_modem(tx: Transaction, name: str, limits: Limits) -> ModemView:
    """Say how a modem may be used; its owner follows within seconds.

    Raises NotFound MODEM_NOT_FOUND, InvalidInput LIMIT_OUT_OF_RANGE.
    """
    check_limit("hourly_limit", limits.hourly, MOST_HOURLY)
    check_limit("daily_limit", limits.daily, MOST_DAILY)
    modem = tables.modem
    changed = tx.session.execute(
        update(modem)
        .where(modem.c.name == name, modem.c.tenant_id == tx.tenant.id)
        .values(enabled=limits.enabled, hourly_limit=limits.hourly, daily_limit=limits.daily)
        .returning(modem.c.name)
    ).first()
    if changed is None:
        raise not_found("modem", "短信猫", name)
    (view,) = list_modems(tx, name)
    return view


def list_modems(tx: Transaction, name: str = "") -> list[ModemView]:
    """Return the tenant's modems by name, or the one of this name."""
    modem, segment = tables.modem, tables.sms_segment
    query = select(modem).where(modem.c.tenant_id == tx.tenant.id).order_by(modem.c.name)
    if name:
        query = query.where(modem.c.name == name)
    rows = every(tx.session, query)
    sent_time = func.coalesce(segment.c.send_time, segment.c.intent_time)
    used = every(
        tx.session,
        select(
            segment.c.modem,
            func.count().label("day"),
            func.count().filter(sent_time > tx.now - timedelta(hours=1)).label("hour"),
        )
        .where(
            segment.c.tenant_id == tx.tenant.id,
            segment.c.modem.in_([row["name"] for row in rows]),
            segment.c.send_time.is_not(None) | (segment.c.state == SegmentState.UNCERTAIN),
            sent_time > tx.now - timedelta(days=1),
        )
        .group_by(segment.c.modem),
    )
    counts = {row["modem"]: row for row in used}
    none = {"hour": 0, "day": 0}
    return [
        ModemView(
            row,
            counts.get(row["name"], none)["hour"],
            counts.get(row["name"], none)["day"],
            row["seen_time"] is not None and row["seen_time"] > tx.now - MODEM_GONE_AFTER,
        )
        for row in rows
    ]


def can_send(tx: Transaction) -> bool:
    """Tell whether any modem of the tenant sends now."""
    modem = tables.modem
    query = select(modem.c.name).where(
        modem.c.tenant_id == tx.tenant.id,
        modem.c.enabled,
        modem.c.state == LinkState.READY.value,
        modem.c.seen_time > tx.now - MODEM_GONE_AFTER,
    )
    return tx.session.execute(query.limit(1)).first() is not None


def gone_modems(tx: Transaction) -> list[str]:
    """Return the modems that hold segments though no process owns them any more, by name."""
    modem, segment = tables.modem, tables.sms_segment
    holders = (
        select(segment.c.modem)
        .where(
            segment.c.tenant_id == tx.tenant.id,
            segment.c.state.in_([SegmentState.CLAIMED, SegmentState.SENDING]),
        )
        .distinct()
    )
    alive = select(modem.c.name).where(
        modem.c.tenant_id == tx.tenant.id, modem.c.seen_time > tx.now - MODEM_GONE_AFTER
    )
    return [
        name for name in sorted(tx.session.scalars(holders)) if name not in set(tx.session.scalars(alive))
    ]


def policy_of(tx: Transaction) -> Policy:
    """Return the tenant's rules for SMS."""
    table = tables.sms_policy
    row = one(tx.session, select(table).where(table.c.tenant_id == tx.tenant.id))
    return Policy(**{name: value for name, value in row.items() if name != "tenant_id"}) if row else Policy()


def save_policy(tx: Transaction, policy: Policy) -> None:
    """Keep the tenant's rules for SMS; raises InvalidInput naming what is out of range."""
    if not 0 <= policy.bulk_from_minute < policy.bulk_until_minute <= 24 * 60:
        raise InvalidInput(
            "bulk_until_minute",
            "HOURS_OUT_OF_ORDER",
            "群发时段的开始应早于结束",
            "The hours for bulk begin before they end",
        )
    check_limit("number_hourly_limit", policy.number_hourly_limit, MOST_HOURLY)
    check_limit("number_daily_limit", policy.number_daily_limit, MOST_DAILY)
    check_limit("blocked_after_s", policy.blocked_after_s, 86_400)
    values = asdict(policy)
    added = insert(tables.sms_policy).values(tenant_id=tx.tenant.id, **values)
    tx.session.execute(added.on_conflict_do_update(index_elements=["tenant_id"], set_=values))


def check_limit(field: str, value: int, most: int) -> None:
    """Raise InvalidInput LIMIT_OUT_OF_RANGE for a number outside 1 to `most`."""
    if not 1 <= value <= most:
        raise InvalidInput(
            field, "LIMIT_OUT_OF_RANGE", "应为1到{most}", "This is a number from 1 to {most}", most=most
        )
