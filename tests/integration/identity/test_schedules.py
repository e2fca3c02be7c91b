"""The calendar, shifts and leave through identity's API: who is there when."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from crm.identity.v1 import identity_pb2
from crm.identity.v1 import schedules_pb2 as pb
from crm.identity.v1 import schedules_pb2_grpc as pb_grpc
from google.protobuf.timestamp_pb2 import Timestamp

from services.chassis.errors import AppError
from services.chassis.ids import new_id
from services.kernel.china_time import CHINA
from tests.support.callers import Caller
from tests.support.running import emitted
from tests.support.staff import Company

pytestmark = pytest.mark.parametrize("company", ["main"], indirect=True)

# Far from any run of these tests: a working Thursday, and the Saturday behind it.
THURSDAY = "2035-03-01"
SATURDAY = "2035-03-03"
NOON = datetime(2035, 3, 1, 12, tzinfo=CHINA)


@pytest.fixture
def stub(address: str) -> pb_grpc.SchedulesServiceStub:
    """The service under test."""
    return pb_grpc.SchedulesServiceStub(grpc.insecure_channel(address))


def stamp(time: datetime) -> Timestamp:
    result = Timestamp()
    result.FromDatetime(time.astimezone(UTC))
    return result


def presence(
    stub: pb_grpc.SchedulesServiceStub, caller: Caller, person_id: str, time: datetime
) -> "pb.Presence.ValueType | None":
    """Return what a caller is told of somebody; None for nothing."""
    request = pb.FindPresenceRequest(person_ids=[person_id], time=stamp(time))
    found = caller(stub.FindPresence, request).people
    return found[0].presence if found else None


def leave(start: datetime, hours: int, person_id: str = "") -> pb.CreateLeaveRequest:
    wanted = pb.Leave(
        person_id=person_id,
        start_time=stamp(start),
        end_time=stamp(start + timedelta(hours=hours)),
        kind=pb.LEAVE_KIND_SICK,
        reason="发烧",
    )
    return pb.CreateLeaveRequest(request_id=new_id(), leave=wanted)


def assign(person_id: str, first: str, last: str, **more: object) -> pb.AssignShiftRequest:
    return pb.AssignShiftRequest(
        request_id=new_id(),
        person_ids=[person_id],
        first_day=first,
        last_day=last,
        **more,  # type: ignore[arg-type]  # keywords of several types
    )


def test_the_calendar_has_a_week_and_days_that_differ(
    company: Company, stub: pb_grpc.SchedulesServiceStub
) -> None:
    """O14: and other services hear of it."""
    admin = company.admin
    calendar = admin(stub.GetCalendar, pb.GetCalendarRequest()).calendar
    assert (list(calendar.weekdays), calendar.start_minute, calendar.version) == ([1, 2, 3, 4, 5], 540, 0)
    calendar.weekdays[:] = [6, 1, 2, 3, 4, 5]
    calendar.end_minute = 17 * 60
    changed = admin(
        stub.UpdateCalendar, pb.UpdateCalendarRequest(request_id=new_id(), calendar=calendar)
    ).calendar
    assert (list(changed.weekdays), changed.end_minute, changed.version) == ([1, 2, 3, 4, 5, 6], 1020, 1)
    stale = pb.UpdateCalendarRequest(request_id=new_id(), calendar=calendar)
    assert admin.refused(stub.UpdateCalendar, stale).reason == "VERSION_CHANGED"

    def set_days(*days: pb.CalendarDay, cleared: tuple[str, ...] = ()) -> pb.SetCalendarDaysRequest:
        return pb.SetCalendarDaysRequest(request_id=new_id(), days=days, cleared_days=cleared)

    holiday = pb.CalendarDay(day=THURSDAY, working=False, name="店庆")
    days = admin(stub.SetCalendarDays, set_days(holiday, pb.CalendarDay(day="2035-03-04", working=True)))
    assert [(item.day, item.working, item.name) for item in days.calendar.days] == [
        (THURSDAY, False, "店庆"),
        ("2035-03-04", True, ""),
    ]
    person_id = company.add("wang", "sales_rep")
    assert presence(stub, admin, person_id, NOON) == pb.PRESENCE_DAY_OFF
    assert presence(stub, admin, person_id, NOON + timedelta(days=3)) == pb.PRESENCE_AVAILABLE
    admin(stub.SetCalendarDays, set_days(cleared=(THURSDAY,)))
    assert presence(stub, admin, person_id, NOON) == pb.PRESENCE_AVAILABLE
    for day in ("3月1日", "9999-12-31", "0001-01-01"):
        refused = admin.refused(stub.SetCalendarDays, set_days(pb.CalendarDay(day=day)))
        assert (refused.reason, refused.metadata["field"]) == ("DAY_INVALID", "days[0].day")
    assert (
        admin.refused(stub.ListRoster, pb.ListRosterRequest(first_day="9999-12-31")).reason == "DAY_INVALID"
    )
    long_ago = pb.FindPresenceRequest(person_ids=[person_id], time=stamp(datetime(1, 1, 1, tzinfo=UTC)))
    assert admin.refused(stub.FindPresence, long_ago).reason == "TIME_INVALID"
    events = emitted(company.runtime.store, company.tenant, "calendar_saved")
    assert events[-1]["days"] == {"2035-03-04": True}
    assert len(events) == 3


def test_shifts_are_set_for_people_and_say_when_they_are_there(
    company: Company, stub: pb_grpc.SchedulesServiceStub
) -> None:
    """F135: only those able to take it; the leads' push asks for it as a service."""
    admin = company.admin
    person_id = company.add("zhao", "sales_rep")

    def save(shift: pb.Shift) -> pb.Shift:
        saved: pb.Shift = admin(stub.SaveShift, pb.SaveShiftRequest(request_id=new_id(), shift=shift)).shift
        return saved

    night = save(pb.Shift(name="夜班", start_minute=22 * 60, end_minute=6 * 60))
    twice = pb.SaveShiftRequest(request_id=new_id(), shift=pb.Shift(name="夜班", end_minute=60))
    assert admin.refused(stub.SaveShift, twice).reason == "SHIFT_EXISTS"
    request = assign(person_id, THURSDAY, SATURDAY, shift_id=night.shift_id, working_days_only=True)
    assert admin(stub.AssignShift, request).duty_count == 2
    # A repeat of the request sets nothing again.
    assert admin(stub.AssignShift, request).duty_count == 2
    admin(stub.AssignShift, assign(person_id, SATURDAY, SATURDAY, day_off=True))
    leads = company.service("leads")
    assert presence(stub, leads, person_id, NOON) == pb.PRESENCE_OFF_SHIFT
    assert presence(stub, leads, person_id, NOON.replace(hour=23)) == pb.PRESENCE_AVAILABLE
    # The night of Friday lasts into Saturday, which is off.
    assert presence(stub, leads, person_id, NOON.replace(day=3, hour=5)) == pb.PRESENCE_AVAILABLE
    assert presence(stub, leads, person_id, NOON.replace(day=3)) == pb.PRESENCE_DAY_OFF
    roster = admin(stub.ListRoster, pb.ListRosterRequest(first_day="2035-02-28", day_count=5)).people
    kinds = {item.person_id: [duty.kind for duty in item.duties] for item in roster}[person_id]
    assert kinds == [
        pb.DUTY_KIND_CALENDAR,
        pb.DUTY_KIND_SHIFT,
        pb.DUTY_KIND_SHIFT,
        pb.DUTY_KIND_DAY_OFF,
        pb.DUTY_KIND_REST,
    ]
    in_use = pb.DeleteShiftRequest(request_id=new_id(), shift_id=night.shift_id)
    assert admin.refused(stub.DeleteShift, in_use).reason == "SHIFT_IN_USE"
    admin(stub.AssignShift, assign(person_id, THURSDAY, SATURDAY))
    assert presence(stub, leads, person_id, NOON) == pb.PRESENCE_AVAILABLE
    admin(stub.DeleteShift, in_use)
    assert list(admin(stub.ListShifts, pb.ListShiftsRequest()).shifts) == []
    events = emitted(company.runtime.store, company.tenant, "duties_set")
    assert len(events) == 3
    assert events[0]["days"] == [THURSDAY, "2035-03-02"]
    both = assign(person_id, THURSDAY, THURSDAY, shift_id=night.shift_id, day_off=True)
    assert admin.refused(stub.AssignShift, both).reason == "SHIFT_AND_DAY_OFF"
    backwards = assign(person_id, SATURDAY, THURSDAY, day_off=True)
    assert admin.refused(stub.AssignShift, backwards).reason == "DAYS_OUT_OF_RANGE"


def test_a_leave_is_ones_own_or_noted_by_who_manages_schedules_within_scope(
    company: Company, stub: pb_grpc.SchedulesServiceStub
) -> None:
    """F238, O14."""
    company.add("boss", "sales_manager", department="华东")
    li, far = (
        company.add("li", "sales_rep", department="华东"),
        company.add("far", "sales_rep", department="华南"),
    )
    boss, rep, stranger = company.caller("boss"), company.caller("li"), company.caller("far")
    own = rep(stub.CreateLeave, leave(NOON, 24)).leave
    assert (own.person_id, own.reason) == (li, "发烧")
    assert presence(stub, boss, li, NOON) == pb.PRESENCE_ON_LEAVE
    assert presence(stub, boss, li, NOON + timedelta(hours=24)) == pb.PRESENCE_AVAILABLE
    assert rep.refused(stub.CreateLeave, leave(NOON + timedelta(hours=23), 5)).reason == "LEAVE_OVERLAPS"
    assert stranger.refused(stub.CreateLeave, leave(NOON, 1, li)).reason == "RIGHT_MISSING"
    assert boss.refused(stub.CreateLeave, leave(NOON, 1, far)).reason == "PERSON_NOT_FOUND"
    noted = boss(stub.CreateLeave, leave(NOON + timedelta(days=30), 8, li)).leave
    listing = pb.ListLeavesRequest(page_size=1)
    first = boss(stub.ListLeaves, listing)
    listing.page_token = first.next_page_token
    second = boss(stub.ListLeaves, listing)
    assert [first.leaves[0].leave_id, second.leaves[0].leave_id] == [own.leave_id, noted.leave_id]
    assert second.next_page_token == ""
    assert list(stranger(stub.ListLeaves, pb.ListLeavesRequest()).leaves) == []
    # Whoever sees everybody but manages no schedules learns that somebody is away, not why.
    company.add("agent", "service_agent")
    told = company.caller("agent")(stub.ListLeaves, pb.ListLeavesRequest()).leaves[0]
    assert (told.kind, told.reason) == (pb.LEAVE_KIND_UNSPECIFIED, "")
    cancel = pb.CancelLeaveRequest(request_id=new_id(), leave_id=own.leave_id)
    assert stranger.refused(stub.CancelLeave, cancel).reason == "LEAVE_NOT_FOUND"
    assert rep(stub.CancelLeave, cancel).leave.HasField("cancel_time")
    assert presence(stub, boss, li, NOON) == pb.PRESENCE_AVAILABLE
    told_others = emitted(company.runtime.store, company.tenant, "leave_saved")
    assert [event["cancelled"] for event in told_others] == [False, False, True]
    assert not any("发烧" in str(event) for event in told_others)


def test_of_two_leaves_at_once_for_the_same_time_one_is_kept(
    company: Company, stub: pb_grpc.SchedulesServiceStub
) -> None:
    """Also when two pages of one person send it, or a process dies in between: its half is undone."""
    company.add("sun", "sales_rep")
    sun = company.caller("sun")

    def once(hour: int) -> str:
        try:
            sun(stub.CreateLeave, leave(NOON + timedelta(hours=hour), 10))
        except AppError as error:
            return error.reason
        return "kept"

    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(once, range(6)))
    assert sorted(outcomes) == ["LEAVE_OVERLAPS"] * 5 + ["kept"]


def test_who_left_or_is_unknown_takes_nothing(company: Company, stub: pb_grpc.SchedulesServiceStub) -> None:
    """F247."""
    person_id = company.add("gone", "sales_rep")
    company.admin(
        company.stub.RetirePerson, identity_pb2.RetirePersonRequest(request_id=new_id(), person_id=person_id)
    )
    assert presence(stub, company.admin, person_id, NOON) == pb.PRESENCE_INACTIVE
    assert presence(stub, company.admin, new_id(), NOON) is None
