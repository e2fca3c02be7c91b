"""What identity asks the tables of the calendar and of who is there."""

from collections.abc import Collection, Sequence
from datetime import date, datetime

from sqlalchemy import Select, select, tuple_

from services.chassis.db import Transaction
from services.chassis.errors import not_found
from services.chassis.tokens import Caller
from services.identity.store.schedule_tables import Calendar, CalendarDay, Duty, Leave, Shift
from services.identity.store.tables import Department, Person
from services.kernel.visibility import visible
from services.kernel.working_days import WorkingCalendar

# The week and hours of a tenant that set none.
DEFAULT = WorkingCalendar()


def lock_calendar(tx: Transaction) -> Calendar:
    """Return the tenant's calendar, locked, made with the default where there is none; not yet in the database then."""
    row = tx.session.get(Calendar, tx.tenant.id, with_for_update=True)
    if row is None:
        row = Calendar(
            tenant_id=tx.tenant.id,
            weekdays=list(DEFAULT.weekdays),
            start_minute=DEFAULT.start_minute,
            end_minute=DEFAULT.end_minute,
            version=0,
        )
        tx.session.add(row)
    return row


def calendar_version(tx: Transaction) -> int:
    """Return the number of the calendar's last change, 0 for the default."""
    row = tx.session.get(Calendar, tx.tenant.id)
    return row.version if row else 0


def calendar_days(tx: Transaction, first: date | None = None) -> Sequence[CalendarDay]:
    """Return the days that differ from the week, from one on, in order."""
    query = select(CalendarDay).where(CalendarDay.tenant_id == tx.tenant.id)
    if first:
        query = query.where(CalendarDay.day >= first)
    return tx.session.scalars(query.order_by(CalendarDay.day)).all()


def working_calendar(tx: Transaction) -> WorkingCalendar:
    """Return the tenant's calendar."""
    row = tx.session.get(Calendar, tx.tenant.id)
    days = {item.day: item.working for item in calendar_days(tx)}
    if row is None:
        return WorkingCalendar(days=days)
    return WorkingCalendar(tuple(row.weekdays), row.start_minute, row.end_minute, days)


def shifts(tx: Transaction) -> Sequence[Shift]:
    """Return the tenant's shifts, by begin."""
    return tx.session.scalars(
        select(Shift)
        .where(Shift.tenant_id == tx.tenant.id, Shift.active)
        .order_by(Shift.start_minute, Shift.name)
    ).all()


def shifts_by_id(tx: Transaction, shift_ids: Collection[str]) -> dict[str, Shift]:
    """Return these shifts, of those that are gone too."""
    found = tx.session.scalars(select(Shift).where(Shift.tenant_id == tx.tenant.id, Shift.id.in_(shift_ids)))
    return {shift.id: shift for shift in found}


def lock_shift(tx: Transaction, shift_id: str, *, read: bool = False) -> Shift:
    """Return a shift that there is, locked; raises NotFound SHIFT_NOT_FOUND. read: others may read it locked too."""
    shift = tx.session.scalar(
        select(Shift)
        .where(Shift.tenant_id == tx.tenant.id, Shift.id == shift_id, Shift.active)
        .with_for_update(read=read)
    )
    if shift is None:
        raise not_found("shift", "班次", shift_id)
    return shift


def is_assigned(tx: Transaction, shift_id: str, first: date) -> bool:
    """Tell whether anybody is set for a shift from a day on."""
    query = select(Duty.day).where(
        Duty.tenant_id == tx.tenant.id, Duty.shift_id == shift_id, Duty.day >= first
    )
    return tx.session.scalar(query.limit(1)) is not None


def duties(tx: Transaction, person_ids: Collection[str], first: date, last: date) -> Sequence[Duty]:
    """Return what was set for people's days."""
    return tx.session.scalars(
        select(Duty).where(
            Duty.tenant_id == tx.tenant.id,
            Duty.person_id.in_(person_ids),
            Duty.day >= first,
            Duty.day <= last,
        )
    ).all()


def leaves_between(
    tx: Transaction, person_ids: Collection[str], start: datetime, end: datetime
) -> Sequence[Leave]:
    """Return the leaves of people that touch a time from start to before end."""
    return tx.session.scalars(
        select(Leave).where(
            Leave.tenant_id == tx.tenant.id,
            Leave.person_id.in_(person_ids),
            Leave.cancel_time.is_(None),
            Leave.start_time < end,
            Leave.end_time > start,
        )
    ).all()


def lock_leave(tx: Transaction, leave_id: str) -> Leave:
    """Return a leave, locked; raises NotFound LEAVE_NOT_FOUND."""
    leave = tx.session.scalar(
        select(Leave).where(Leave.tenant_id == tx.tenant.id, Leave.id == leave_id).with_for_update()
    )
    if leave is None:
        raise not_found("leave", "请假", leave_id)
    return leave


def seen_leaves(
    tx: Transaction,
    caller: Caller,
    *,
    person_id: str,
    after: datetime,
    behind: tuple[datetime, str] | None,
    limit: int,
) -> Sequence[Leave]:
    """Return leaves of the people whom a caller sees that end after a time, by begin; behind: the last one before."""
    query = (
        select(Leave)
        .join(Person, Person.id == Leave.person_id)
        .join(Department, Department.id == Person.department_id)
        .where(
            Leave.tenant_id == tx.tenant.id,
            Leave.cancel_time.is_(None),
            Leave.end_time > after,
            visible(caller, Person.id, Department.path),
        )
    )
    if person_id:
        query = query.where(Leave.person_id == person_id)
    if behind:
        query = query.where(tuple_(Leave.start_time, Leave.id) > behind)
    return tx.session.scalars(query.order_by(Leave.start_time, Leave.id).limit(limit)).all()


def seen_staff(
    tx: Transaction, caller: Caller, *, below: str = "", after_login: str = "", limit: int
) -> Sequence[Person]:
    """Return the active people whom a caller sees, by login; below: only those of this department's path and below."""
    query = _seen(tx, caller).where(Person.active, Person.login > after_login)
    if below:
        query = query.where(Department.path.startswith(below, autoescape=True))
    return tx.session.scalars(query.order_by(Person.login).limit(limit)).all()


def seen_people(tx: Transaction, caller: Caller, person_ids: Collection[str]) -> Sequence[Person]:
    """Return those of these people whom a caller sees, by id; a service sees everybody."""
    found = _seen(tx, caller) if caller.person_id else select(Person).where(Person.tenant_id == tx.tenant.id)
    return tx.session.scalars(found.where(Person.id.in_(person_ids)).order_by(Person.id)).all()


def _seen(tx: Transaction, caller: Caller) -> Select[Person]:
    return (
        select(Person)
        .join(Department, Department.id == Person.department_id)
        .where(Person.tenant_id == tx.tenant.id, visible(caller, Person.id, Department.path))
    )
