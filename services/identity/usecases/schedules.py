"""The calendar, shifts and leave: who is there when.

Whoever changes somebody's days locks the person first, people in id order, so leaves cannot overlap and the events of
one person have an order. What is half done when the process dies is undone with its transaction, its event too.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.chassis.errors import AlreadyExists, Forbidden, InvalidInput, RuleViolation, not_found
from services.chassis.ids import new_id, parse_id
from services.chassis.tokens import Caller
from services.identity.domain.people import parse_name
from services.identity.domain.schedules import (
    LONGEST_REASON,
    MOST_CALENDAR_DAYS,
    MOST_DUTIES,
    Duty,
    Hours,
    LeaveKind,
    Presence,
    check_hours,
    check_leave,
    check_weekdays,
    days_between,
    parse_day,
    presence,
)
from services.identity.store import queries, schedules
from services.identity.store.schedule_tables import Calendar, CalendarDay, Leave, Shift
from services.identity.store.schedule_tables import Duty as DutyRow
from services.identity.store.tables import Person
from services.identity.usecases import audit
from services.identity.usecases.people import check_version
from services.kernel.china_time import CHINA
from services.kernel.texts import parse_text

# Who may change other people's days.
MANAGE = "schedules.manage"
# People of one question, and of one assignment.
MOST_PEOPLE = 500


@dataclass(frozen=True)
class ShiftInput:
    """A shift as typed; version: the one that was read, shift_id: "" for a new one."""

    shift_id: str
    name: str
    start_minute: int
    end_minute: int
    version: int


@dataclass(frozen=True)
class DayInput:
    """A day that differs from the week, as typed."""

    day: str
    working: bool
    name: str


@dataclass(frozen=True)
class LeaveInput:
    """A leave as typed; person_id: "" for the caller's own."""

    person_id: str
    start: datetime
    end: datetime
    kind: LeaveKind
    reason: str


@dataclass(frozen=True)
class RosterDay:
    """A day of somebody's roster. set_to: what was set for it, None for nothing; works: by the calendar."""

    day: date
    set_to: DutyRow | None
    works: bool
    on_leave: bool


def update_calendar(
    tx: Transaction, weekdays: Sequence[int], start_minute: int, end_minute: int, version: int
) -> None:
    """Set the week and its hours; raises InvalidInput for a field, Conflict VERSION_CHANGED."""
    row = schedules.lock_calendar(tx)
    check_version(row.version, version)
    hours = check_hours(start_minute, end_minute, "calendar.start_minute", over_midnight=False)
    row.weekdays = check_weekdays(weekdays, "calendar.weekdays")
    row.start_minute, row.end_minute = hours.start_minute, hours.end_minute
    _calendar_saved(tx, row)


def set_calendar_days(tx: Transaction, days: Sequence[DayInput], cleared: Sequence[str]) -> None:
    """Set days that differ from the week, and let others go by it again.

    Raises InvalidInput naming the field: DAY_INVALID, NAME_LENGTH, DAYS_OUT_OF_RANGE for none or too many.
    """
    if not 1 <= len(days) + len(cleared) <= MOST_CALENDAR_DAYS:
        raise InvalidInput(
            "days",
            "DAYS_OUT_OF_RANGE",
            "一次请设置1到{most}天",
            "Set 1 to {most} days at once",
            most=MOST_CALENDAR_DAYS,
        )
    row = schedules.lock_calendar(tx)
    tx.session.flush()
    gone = [parse_day(text, f"cleared_days[{index}]") for index, text in enumerate(cleared)]
    tx.session.execute(
        delete(CalendarDay).where(CalendarDay.tenant_id == tx.tenant.id, CalendarDay.day.in_(gone))
    )
    for index, given in enumerate(days):
        name = parse_text(given.name, f"days[{index}].name", 50, required=False)
        values = {"working": given.working, "name": name}
        tx.session.execute(
            insert(CalendarDay)
            .values(tenant_id=tx.tenant.id, day=parse_day(given.day, f"days[{index}].day"), **values)
            .on_conflict_do_update(index_elements=["tenant_id", "day"], set_=values)
        )
    _calendar_saved(tx, row)


def save_shift(tx: Transaction, given: ShiftInput) -> Shift:
    """Add or change a shift, for the days that it is set for too.

    Raises InvalidInput for a field, NotFound SHIFT_NOT_FOUND, Conflict VERSION_CHANGED, AlreadyExists SHIFT_EXISTS.
    """
    name = parse_name(given.name, "shift.name")
    hours = check_hours(given.start_minute, given.end_minute, "shift.start_minute", over_midnight=True)
    exists = AlreadyExists("SHIFT_EXISTS", "班次 {name} 已存在", "The shift {name} exists already", name=name)
    with queries.unique({"uq_shift_name": exists}):
        if given.shift_id:
            shift = schedules.lock_shift(tx, parse_id(given.shift_id, "shift.shift_id"))
            check_version(shift.version, given.version)
        else:
            shift = Shift(id=new_id(), tenant_id=tx.tenant.id, active=True, version=0)
            tx.session.add(shift)
        shift.name, shift.start_minute, shift.end_minute = name, hours.start_minute, hours.end_minute
        shift.version += 1
        tx.session.flush()
    _shift_saved(tx, shift)
    return shift


def delete_shift(tx: Transaction, shift_id: str) -> None:
    """Remove a shift; the days that were worked keep it.

    Raises NotFound SHIFT_NOT_FOUND, RuleViolation SHIFT_IN_USE when somebody is set for it from today on.
    """
    shift = schedules.lock_shift(tx, parse_id(shift_id, "shift_id"))
    if schedules.is_assigned(tx, shift.id, tx.now.astimezone(CHINA).date()):
        raise RuleViolation(
            "SHIFT_IN_USE",
            "仍有排班使用班次“{name}”，不能删除",
            "Somebody is still set for the shift {name}",
            name=shift.name,
        )
    shift.active = False
    shift.version += 1
    _shift_saved(tx, shift)


def assign_shift(
    tx: Transaction,
    caller: Caller,
    person_ids: Sequence[str],
    first_day: str,
    last_day: str,
    *,
    shift_id: str,
    day_off: bool,
    working_days_only: bool,
) -> int:
    """Set people's shift or day off for a run of days, or with neither let them go by the calendar again.

    Returns how many days of people were set. Raises InvalidInput for a field, DUTIES_OUT_OF_RANGE for none or too many,
    NotFound SHIFT_NOT_FOUND or PERSON_NOT_FOUND for somebody whom the caller does not see.
    """
    days = days_between(parse_day(first_day, "first_day"), parse_day(last_day, "last_day"), "last_day")
    wanted = {parse_id(person_id, "person_ids") for person_id in person_ids}
    if working_days_only:
        calendar = schedules.working_calendar(tx)
        days = [day for day in days if calendar.works_on(day)]
    if not 1 <= len(wanted) * len(days) <= MOST_DUTIES or len(wanted) > MOST_PEOPLE:
        raise InvalidInput(
            "person_ids",
            "DUTIES_OUT_OF_RANGE",
            "请选择员工和日期，一次最多{most}人天",
            "Choose people and days, at most {most} days of people at once",
            most=MOST_DUTIES,
        )
    if day_off and shift_id:
        raise InvalidInput(
            "day_off", "SHIFT_AND_DAY_OFF", "班次与休息只能选一项", "Choose a shift or a day off, not both"
        )
    shift = schedules.lock_shift(tx, parse_id(shift_id, "shift_id"), read=True) if shift_id else None
    people = _lock_seen(tx, caller, wanted)
    tx.session.execute(
        delete(DutyRow).where(
            DutyRow.tenant_id == tx.tenant.id, DutyRow.person_id.in_(wanted), DutyRow.day.in_(days)
        )
    )
    if shift or day_off:
        tx.session.execute(
            insert(DutyRow),
            [
                {
                    "tenant_id": tx.tenant.id,
                    "person_id": person.id,
                    "day": day,
                    "shift_id": shift.id if shift else None,
                }
                for person in people
                for day in days
            ],
        )
    for person in people:
        person.schedule_version += 1
        tx.emit(
            "duties_set",
            person.id,
            person.schedule_version,
            {
                "personId": person.id,
                "days": [day.isoformat() for day in days],
                "shiftId": shift.id if shift else "",
                "dayOff": day_off,
                "startMinute": shift.start_minute if shift else 0,
                "endMinute": shift.end_minute if shift else 0,
            },
        )
        audit.record(
            tx,
            "duties_set",
            person.id,
            details={
                "from": days[0].isoformat(),
                "to": days[-1].isoformat(),
                "shift": shift.name if shift else "off" if day_off else "",
            },
        )
    return len(people) * len(days)


def create_leave(tx: Transaction, caller: Caller, given: LeaveInput) -> Leave:
    """Note a leave: the own one, or that of somebody whom a manager of schedules sees.

    Raises InvalidInput for a field, Forbidden RIGHT_MISSING, NotFound PERSON_NOT_FOUND, RuleViolation LEAVE_OVERLAPS.
    """
    person_id = parse_id(given.person_id, "leave.person_id") if given.person_id else caller.person_id
    _check_may(caller, person_id)
    check_leave(given.start, given.end, "leave.end_time")
    reason = parse_text(given.reason, "leave.reason", LONGEST_REASON, required=False)
    (person,) = _lock_seen(tx, caller, {person_id})
    if schedules.leaves_between(tx, [person.id], given.start, given.end):
        raise RuleViolation(
            "LEAVE_OVERLAPS",
            "该时间段已有请假记录",
            "There is a leave in that time already",
        )
    leave = Leave(
        id=new_id(),
        tenant_id=tx.tenant.id,
        person_id=person.id,
        start_time=given.start,
        end_time=given.end,
        kind=given.kind,
        reason=reason,
        creator_id=tx.actor_id,
        create_time=tx.now,
        cancel_time=None,
    )
    tx.session.add(leave)
    _leave_saved(tx, person, leave)
    audit.record(tx, "leave_created", person.id, details=_span(leave))
    return leave


def cancel_leave(tx: Transaction, caller: Caller, leave_id: str) -> Leave:
    """Take a leave back; one that was taken back stays so.

    Raises NotFound LEAVE_NOT_FOUND, also for one of somebody whom the caller does not see, Forbidden RIGHT_MISSING.
    """
    found = schedules.lock_leave(tx, parse_id(leave_id, "leave_id"))
    if not schedules.seen_people(tx, caller, [found.person_id]):
        raise not_found("leave", "请假", leave_id)
    _check_may(caller, found.person_id)
    if found.cancel_time is None:
        person = queries.lock_person(tx, found.person_id)
        found.cancel_time = tx.now
        _leave_saved(tx, person, found)
        audit.record(tx, "leave_cancelled", person.id, details=_span(found))
    return found


def roster(
    tx: Transaction, people: Sequence[Person], first: date, day_count: int
) -> dict[str, list[RosterDay]]:
    """Return the days of people from the first on, by person."""
    ids = [person.id for person in people]
    days = [first + timedelta(days=offset) for offset in range(day_count)]
    calendar = schedules.working_calendar(tx)
    begins = {day: datetime(day.year, day.month, day.day, tzinfo=CHINA) for day in days}
    end = begins[days[-1]] + timedelta(days=1)
    held = {(row.person_id, row.day): row for row in schedules.duties(tx, ids, days[0], days[-1])}
    away = defaultdict(list)
    for leave in schedules.leaves_between(tx, ids, begins[days[0]], end):
        away[leave.person_id].append(leave)
    return {
        person_id: [
            RosterDay(
                day,
                held.get((person_id, day)),
                calendar.works_on(day),
                any(
                    leave.start_time < begins[day] + timedelta(days=1) and leave.end_time > begins[day]
                    for leave in away[person_id]
                ),
            )
            for day in days
        ]
        for person_id in ids
    }


def presences(
    tx: Transaction, caller: Caller, person_ids: Collection[str], time: datetime
) -> dict[str, Presence]:
    """Return whether people can take a task at a time, of those whom the caller sees, by id.

    Raises InvalidInput TOO_MANY.
    """
    wanted = {parse_id(person_id, "person_ids") for person_id in person_ids}
    if len(wanted) > MOST_PEOPLE:
        raise InvalidInput(
            "person_ids", "TOO_MANY", "最多{most}人", "At most {most} people", most=MOST_PEOPLE
        )
    people = schedules.seen_people(tx, caller, wanted)
    today = time.astimezone(CHINA).date()
    rows = schedules.duties(tx, wanted, today - timedelta(days=1), today)
    shifts = schedules.shifts_by_id(tx, {row.shift_id for row in rows if row.shift_id})
    set_to: defaultdict[str, list[Duty]] = defaultdict(list)
    for row in rows:
        set_to[row.person_id].append(Duty(row.day, _hours(shifts, row.shift_id)))
    away = {
        leave.person_id
        for leave in schedules.leaves_between(tx, wanted, time, time + timedelta(microseconds=1))
    }
    calendar = schedules.working_calendar(tx)
    return {
        person.id: presence(
            calendar, set_to[person.id], time, active=person.active, on_leave=person.id in away
        )
        for person in people
    }


def _hours(shifts: Mapping[str, Shift], shift_id: str | None) -> Hours | None:
    shift = shifts.get(shift_id or "")
    return Hours(shift.start_minute, shift.end_minute) if shift else None


def _lock_seen(tx: Transaction, caller: Caller, person_ids: Collection[str]) -> list[Person]:
    """Return people whom the caller sees, locked in id order; raises NotFound PERSON_NOT_FOUND."""
    seen = {person.id for person in schedules.seen_people(tx, caller, person_ids)}
    for person_id in sorted(person_ids):
        if person_id not in seen:
            raise not_found("person", "人员", person_id)
    return [queries.lock_person(tx, person_id) for person_id in sorted(person_ids)]


def _check_may(caller: Caller, person_id: str) -> None:
    if person_id != caller.person_id and MANAGE not in caller.rights:
        raise Forbidden(
            "RIGHT_MISSING",
            "您没有该操作的权限（{right}）",
            "You lack the right for this ({right})",
            right=MANAGE,
        )


def _calendar_saved(tx: Transaction, row: Calendar) -> None:
    row.version += 1
    tx.session.flush()
    first = date(tx.now.astimezone(CHINA).year - 1, 1, 1)
    tx.emit(
        "calendar_saved",
        tx.tenant.id,
        row.version,
        {
            "weekdays": list(row.weekdays),
            "startMinute": row.start_minute,
            "endMinute": row.end_minute,
            "days": {item.day.isoformat(): item.working for item in schedules.calendar_days(tx, first)},
        },
    )
    audit.record(tx, "calendar_changed", None)


def _shift_saved(tx: Transaction, shift: Shift) -> None:
    tx.emit(
        "shift_saved",
        shift.id,
        shift.version,
        {
            "shiftId": shift.id,
            "name": shift.name,
            "startMinute": shift.start_minute,
            "endMinute": shift.end_minute,
            "active": shift.active,
        },
    )
    audit.record(
        tx, "shift_saved" if shift.active else "shift_deleted", shift.id, details={"name": shift.name}
    )


def _leave_saved(tx: Transaction, person: Person, leave: Leave) -> None:
    # Why somebody is away is nobody else's business: neither kind nor reason goes out.
    person.schedule_version += 1
    tx.emit(
        "leave_saved",
        person.id,
        person.schedule_version,
        {
            "leaveId": leave.id,
            "personId": person.id,
            "startTime": leave.start_time.isoformat(),
            "endTime": leave.end_time.isoformat(),
            "cancelled": leave.cancel_time is not None,
        },
    )


def _span(leave: Leave) -> dict[str, str]:
    return {"from": leave.start_time.isoformat(), "to": leave.end_time.isoformat()}
