"""SchedulesService: proto to use case and back."""

from datetime import UTC, date, datetime

from crm.identity.v1 import schedules_pb2 as pb
from crm.identity.v1 import schedules_pb2_grpc as pb_grpc
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import ServicerContext

from services.chassis.db import Transaction
from services.chassis.errors import InvalidInput, not_found
from services.chassis.grpc_server import Api, current_caller
from services.chassis.ids import parse_id
from services.chassis.paging import cut_page, decode_key, encode_key, page_size
from services.chassis.timestamps import timestamp
from services.identity.domain.schedules import LeaveKind, Presence, check_time, parse_day
from services.identity.store import queries, schedules
from services.identity.store.schedule_tables import Leave, Shift
from services.identity.usecases import schedules as usecases
from services.kernel.china_time import CHINA
from services.kernel.phones import texts_for

LEAVE_KINDS = {
    LeaveKind.ANNUAL: pb.LEAVE_KIND_ANNUAL,
    LeaveKind.SICK: pb.LEAVE_KIND_SICK,
    LeaveKind.PERSONAL: pb.LEAVE_KIND_PERSONAL,
    LeaveKind.TRIP: pb.LEAVE_KIND_TRIP,
    LeaveKind.OTHER: pb.LEAVE_KIND_OTHER,
}
PRESENCES = {
    Presence.AVAILABLE: pb.PRESENCE_AVAILABLE,
    Presence.INACTIVE: pb.PRESENCE_INACTIVE,
    Presence.ON_LEAVE: pb.PRESENCE_ON_LEAVE,
    Presence.DAY_OFF: pb.PRESENCE_DAY_OFF,
    Presence.OFF_SHIFT: pb.PRESENCE_OFF_SHIFT,
}
# Days of a roster, when nobody says so and at most.
ROSTER_DAYS = 7
MOST_ROSTER_DAYS = 62


class SchedulesApi(pb_grpc.SchedulesServiceServicer, Api):
    """Answers when the tenant works and who is there."""

    def GetCalendar(self, request: pb.GetCalendarRequest, context: ServicerContext) -> pb.GetCalendarResponse:
        """Return the calendar."""
        return self.read(lambda tx: pb.GetCalendarResponse(calendar=_calendar(tx)))

    def UpdateCalendar(
        self, request: pb.UpdateCalendarRequest, context: ServicerContext
    ) -> pb.UpdateCalendarResponse:
        """Set the week; see `update_calendar` for what is refused."""
        given = request.calendar

        def work(tx: Transaction) -> pb.UpdateCalendarResponse:
            usecases.update_calendar(
                tx, list(given.weekdays), given.start_minute, given.end_minute, given.version
            )
            return pb.UpdateCalendarResponse(calendar=_calendar(tx))

        return self.write(request, pb.UpdateCalendarResponse, work)

    def SetCalendarDays(
        self, request: pb.SetCalendarDaysRequest, context: ServicerContext
    ) -> pb.SetCalendarDaysResponse:
        """Set days that differ from the week; see `set_calendar_days` for what is refused."""
        days = [usecases.DayInput(item.day, item.working, item.name) for item in request.days]

        def work(tx: Transaction) -> pb.SetCalendarDaysResponse:
            usecases.set_calendar_days(tx, days, list(request.cleared_days))
            return pb.SetCalendarDaysResponse(calendar=_calendar(tx))

        return self.write(request, pb.SetCalendarDaysResponse, work)

    def ListShifts(self, request: pb.ListShiftsRequest, context: ServicerContext) -> pb.ListShiftsResponse:
        """Return the shifts, by begin."""
        return self.read(lambda tx: pb.ListShiftsResponse(shifts=map(_shift, schedules.shifts(tx))))

    def SaveShift(self, request: pb.SaveShiftRequest, context: ServicerContext) -> pb.SaveShiftResponse:
        """Add or change a shift; see `save_shift` for what is refused."""
        given = request.shift
        shift = usecases.ShiftInput(
            given.shift_id, given.name, given.start_minute, given.end_minute, given.version
        )
        return self.write(
            request,
            pb.SaveShiftResponse,
            lambda tx: pb.SaveShiftResponse(shift=_shift(usecases.save_shift(tx, shift))),
        )

    def DeleteShift(self, request: pb.DeleteShiftRequest, context: ServicerContext) -> pb.DeleteShiftResponse:
        """Remove a shift; see `delete_shift` for what is refused."""

        def work(tx: Transaction) -> pb.DeleteShiftResponse:
            usecases.delete_shift(tx, request.shift_id)
            return pb.DeleteShiftResponse()

        return self.write(request, pb.DeleteShiftResponse, work)

    def AssignShift(self, request: pb.AssignShiftRequest, context: ServicerContext) -> pb.AssignShiftResponse:
        """Set people's days; see `assign_shift` for what is refused."""
        return self.write(
            request,
            pb.AssignShiftResponse,
            lambda tx: pb.AssignShiftResponse(
                duty_count=usecases.assign_shift(
                    tx,
                    current_caller(),
                    list(request.person_ids),
                    request.first_day,
                    request.last_day,
                    shift_id=request.shift_id,
                    day_off=request.day_off,
                    working_days_only=request.working_days_only,
                )
            ),
        )

    def ListRoster(self, request: pb.ListRosterRequest, context: ServicerContext) -> pb.ListRosterResponse:
        """Return people's days, by login; raises InvalidInput DAYS_OUT_OF_RANGE, NotFound DEPARTMENT_NOT_FOUND."""
        size = page_size(request.page_size)
        after = decode_key(request.page_token, "login", str)
        first = parse_day(request.first_day, "first_day")
        day_count = request.day_count or ROSTER_DAYS
        if not 1 <= day_count <= MOST_ROSTER_DAYS:
            raise InvalidInput(
                "day_count",
                "DAYS_OUT_OF_RANGE",
                "天数应为1到{most}",
                "1 to {most} days",
                most=MOST_ROSTER_DAYS,
            )
        department_id = parse_id(request.department_id, "department_id") if request.department_id else ""

        def work(tx: Transaction) -> pb.ListRosterResponse:
            below = queries.department_paths(tx, [department_id]).get(department_id) if department_id else ""
            if below is None:
                raise not_found("department", "部门", department_id)
            found = schedules.seen_staff(
                tx, current_caller(), below=below, after_login=after[0] if after else "", limit=size + 1
            )
            people, more = cut_page(found, size)
            days = usecases.roster(tx, people, first, day_count)
            return pb.ListRosterResponse(
                people=[
                    pb.PersonRoster(person_id=person.id, duties=map(_duty, days[person.id]))
                    for person in people
                ],
                next_page_token=encode_key("login", people[-1].login, people[-1].id) if more else "",
            )

        return self.read(work)

    def CreateLeave(self, request: pb.CreateLeaveRequest, context: ServicerContext) -> pb.CreateLeaveResponse:
        """Note a leave; see `create_leave` for what is refused, and LEAVE_KIND_MISSING."""
        given = request.leave
        kind = {number: kind for kind, number in LEAVE_KINDS.items()}.get(given.kind)
        if kind is None:
            raise InvalidInput(
                "leave.kind", "LEAVE_KIND_MISSING", "请选择请假类型", "Choose what the leave is for"
            )
        leave = usecases.LeaveInput(
            given.person_id,
            _time(given.start_time, "leave.start_time"),
            _time(given.end_time, "leave.end_time"),
            kind,
            given.reason,
        )
        return self.write(
            request,
            pb.CreateLeaveResponse,
            lambda tx: pb.CreateLeaveResponse(
                leave=_leave(usecases.create_leave(tx, current_caller(), leave))
            ),
        )

    def CancelLeave(self, request: pb.CancelLeaveRequest, context: ServicerContext) -> pb.CancelLeaveResponse:
        """Take a leave back; see `cancel_leave` for what is refused."""
        return self.write(
            request,
            pb.CancelLeaveResponse,
            lambda tx: pb.CancelLeaveResponse(
                leave=_leave(usecases.cancel_leave(tx, current_caller(), request.leave_id))
            ),
        )

    def ListLeaves(self, request: pb.ListLeavesRequest, context: ServicerContext) -> pb.ListLeavesResponse:
        """Return leaves that are not over, of the people within the caller's scope, by begin."""
        size = page_size(request.page_size)
        behind = decode_key(request.page_token, "start", datetime)
        person_id = parse_id(request.person_id, "person_id") if request.person_id else ""
        first = parse_day(request.first_day, "first_day") if request.first_day else None

        def work(tx: Transaction) -> pb.ListLeavesResponse:
            found = schedules.seen_leaves(
                tx,
                current_caller(),
                person_id=person_id,
                after=_begin(first or tx.now.astimezone(CHINA).date()),
                behind=behind,
                limit=size + 1,
            )
            page, more = cut_page(found, size)
            return pb.ListLeavesResponse(
                leaves=map(_leave, page),
                next_page_token=encode_key("start", page[-1].start_time, page[-1].id) if more else "",
            )

        return self.read(work)

    def FindPresence(
        self, request: pb.FindPresenceRequest, context: ServicerContext
    ) -> pb.FindPresenceResponse:
        """Return whether people can take a task; see `presences` for what is refused."""

        def work(tx: Transaction) -> pb.FindPresenceResponse:
            time = _time(request.time, "time") if request.HasField("time") else tx.now
            found = usecases.presences(tx, current_caller(), list(request.person_ids), time)
            return pb.FindPresenceResponse(
                people=[
                    pb.PersonPresence(person_id=person_id, presence=PRESENCES[presence])
                    for person_id, presence in found.items()
                ]
            )

        return self.read(work)


def _calendar(tx: Transaction) -> pb.Calendar:
    calendar = schedules.working_calendar(tx)
    first = date(tx.now.astimezone(CHINA).year - 1, 1, 1)
    return pb.Calendar(
        weekdays=sorted(calendar.weekdays),
        start_minute=calendar.start_minute,
        end_minute=calendar.end_minute,
        days=[
            pb.CalendarDay(day=item.day.isoformat(), working=item.working, name=item.name)
            for item in schedules.calendar_days(tx, first)
        ],
        version=schedules.calendar_version(tx),
    )


def _shift(shift: Shift) -> pb.Shift:
    return pb.Shift(
        shift_id=shift.id,
        name=shift.name,
        start_minute=shift.start_minute,
        end_minute=shift.end_minute,
        version=shift.version,
    )


def _duty(day: usecases.RosterDay) -> pb.Duty:
    if day.set_to:
        kind = pb.DUTY_KIND_SHIFT if day.set_to.shift_id else pb.DUTY_KIND_DAY_OFF
    else:
        kind = pb.DUTY_KIND_CALENDAR if day.works else pb.DUTY_KIND_REST
    return pb.Duty(
        day=day.day.isoformat(),
        kind=kind,
        shift_id=(day.set_to.shift_id or "") if day.set_to else "",
        on_leave=day.on_leave,
    )


def _leave(leave: Leave) -> pb.Leave:
    """Return a leave; what for is told to the person and to who manages schedules only."""
    caller = current_caller()
    told = leave.person_id == caller.person_id or usecases.MANAGE in caller.rights
    message = pb.Leave(
        leave_id=leave.id,
        person_id=leave.person_id,
        start_time=timestamp(leave.start_time),
        end_time=timestamp(leave.end_time),
        kind=LEAVE_KINDS[LeaveKind(leave.kind)] if told else pb.LEAVE_KIND_UNSPECIFIED,
        reason=leave.reason if told else "",
        cancel_time=timestamp(leave.cancel_time) if leave.cancel_time else None,
    )
    return texts_for(message, may_see=told)


def _begin(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=CHINA)


def _time(stamp: Timestamp, field: str) -> datetime:
    return check_time(stamp.ToDatetime(UTC), field)
