"""NoticesService: proto to use case and back."""

from datetime import UTC, datetime
from typing import Final

from crm.notify.v1 import notices_pb2 as pb
from crm.notify.v1 import notices_pb2_grpc as pb_grpc
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import ServicerContext

from services.chassis.db import Store, Transaction
from services.chassis.errors import InvalidInput, not_found
from services.chassis.grpc_server import Api, current_caller, current_tenant, current_token
from services.chassis.ids import derive_id, parse_id
from services.chassis.paging import cut_page, decode_cursor, encode_cursor, page_size
from services.chassis.timestamps import timestamp
from services.notify.channels import check_robot
from services.notify.clients import Telephony
from services.notify.domain.contacts import DueList, ReminderPolicy
from services.notify.domain.notices import Channel, DeliveryState, Preferences
from services.notify.domain.templates import KINDS, check_template, fill
from services.notify.domain.texts import Words
from services.notify.store.tables import Announcement, Delivery, FollowUpReminder, Message, Robot, Template
from services.notify.usecases import contacts, dealings, deliveries, follow_ups, settings
from services.notify.usecases.contacts import DueContact

CHANNELS: Final = {
    Channel.SMS: pb.CHANNEL_SMS,
    Channel.MAIL: pb.CHANNEL_MAIL,
    Channel.DINGTALK: pb.CHANNEL_DINGTALK,
    Channel.WECOM: pb.CHANNEL_WECOM,
}
STATES: Final = {
    DeliveryState.PENDING: pb.DELIVERY_STATE_PENDING,
    DeliveryState.SENDING: pb.DELIVERY_STATE_SENDING,
    DeliveryState.QUEUED: pb.DELIVERY_STATE_QUEUED,
    DeliveryState.SENT: pb.DELIVERY_STATE_SENT,
    DeliveryState.DELIVERED: pb.DELIVERY_STATE_DELIVERED,
    DeliveryState.FAILED: pb.DELIVERY_STATE_FAILED,
    DeliveryState.UNCERTAIN: pb.DELIVERY_STATE_UNCERTAIN,
    DeliveryState.SKIPPED: pb.DELIVERY_STATE_SKIPPED,
}

_LISTS: Final = {pb.DueList.Value(f"DUE_LIST_{each.value.upper()}"): each for each in DueList}


class NoticesApi(pb_grpc.NoticesServiceServicer, Api):
    """The servicer. telephony: says how many SMS a text takes."""

    def __init__(self, store: Store, telephony: Telephony) -> None:
        Api.__init__(self, store)
        self._telephony = telephony

    def GetPreferences(
        self, request: pb.GetPreferencesRequest, context: ServicerContext
    ) -> pb.GetPreferencesResponse:
        """Return how the caller wants to be told."""
        person_id = current_caller().person_id
        return self.read(
            lambda tx: pb.GetPreferencesResponse(
                preferences=_preferences(deliveries.preferences_of(tx, person_id))
            )
        )

    def SavePreferences(
        self, request: pb.SavePreferencesRequest, context: ServicerContext
    ) -> pb.SavePreferencesResponse:
        """Change that; raises InvalidInput CHANNEL_INVALID, MAIL_INVALID, MINUTE_INVALID."""
        asked = request.preferences
        preferences = Preferences(
            {entry.kind: [_channel(channel) for channel in entry.channels] for entry in asked.channels},
            asked.digest_minute if asked.digest else None,
            asked.quiet_from_minute,
            asked.quiet_until_minute,
            asked.mail,
            asked.locale,
        )
        person_id = current_caller().person_id

        def work(tx: Transaction) -> pb.SavePreferencesResponse:
            settings.save_preferences(tx, person_id, preferences)
            return pb.SavePreferencesResponse(
                preferences=_preferences(deliveries.preferences_of(tx, person_id))
            )

        return self.write(request, pb.SavePreferencesResponse, work)

    def ListDeliveries(
        self, request: pb.ListDeliveriesRequest, context: ServicerContext
    ) -> pb.ListDeliveriesResponse:
        """Return what became of an own message on each channel; raises NotFound MESSAGE_NOT_FOUND."""
        message_id = parse_id(request.message_id, "message_id")
        person_id = current_caller().person_id

        def work(tx: Transaction) -> pb.ListDeliveriesResponse:
            message = tx.session.get(Message, message_id)
            if message is None or (message.tenant_id, message.person_id) != (tx.tenant.id, person_id):
                raise not_found("message", "消息", message_id)
            found = deliveries.deliveries_of(tx, [message_id]).get(message_id, ())
            return pb.ListDeliveriesResponse(deliveries=[_delivery(row) for row in found])

        return self.read(work)

    def ListTemplates(
        self, request: pb.ListTemplatesRequest, context: ServicerContext
    ) -> pb.ListTemplatesResponse:
        """Return the kinds of messages and the tenant's own words."""

        def work(tx: Transaction) -> pb.ListTemplatesResponse:
            own = settings.templates(tx)
            return pb.ListTemplatesResponse(templates=[_template(kind, own.get(kind)) for kind in KINDS])

        return self.read(work)

    def SaveTemplate(
        self, request: pb.SaveTemplateRequest, context: ServicerContext
    ) -> pb.SaveTemplateResponse:
        """Word a kind of message; raises as `check_template`."""
        words = Words(request.title_zh, request.text_zh, request.title_en, request.text_en)

        def work(tx: Transaction) -> pb.SaveTemplateResponse:
            settings.save_template(tx, request.kind, words)
            own = settings.templates(tx).get(request.kind)
            return pb.SaveTemplateResponse(template=_template(request.kind, own))

        return self.write(request, pb.SaveTemplateResponse, work)

    def PreviewTemplate(
        self, request: pb.PreviewTemplateRequest, context: ServicerContext
    ) -> pb.PreviewTemplateResponse:
        """Return a text filled in with samples, and how many SMS it takes."""
        check_template(request.kind, {"text": request.text})
        text = fill(request.text, KINDS[request.kind])
        measured = self._telephony.measure(text, current_token())
        return pb.PreviewTemplateResponse(
            text=text, segment_count=measured.segment_count, unicode=measured.unicode
        )

    def ListRobots(self, request: pb.ListRobotsRequest, context: ServicerContext) -> pb.ListRobotsResponse:
        """Return the tenant's robots, without their keys."""
        return self.read(
            lambda tx: pb.ListRobotsResponse(robots=[_robot(row) for row in settings.robots(tx)])
        )

    def AddRobot(self, request: pb.AddRobotRequest, context: ServicerContext) -> pb.AddRobotResponse:
        """Add a robot; raises RuleViolation ROBOT_ADDRESS, InvalidInput as `settings.add_robot`."""
        channel = _channel(request.channel)
        check_robot(channel, request.url)

        def work(tx: Transaction) -> pb.AddRobotResponse:
            row = Robot(
                id=derive_id("robot", tx.tenant.id, request.request_id),
                tenant_id=tx.tenant.id,
                channel=channel,
                name=request.name.strip(),
                url=request.url,
                secret=request.secret,
                kinds=sorted(set(request.kinds)),
                create_time=tx.now,
            )
            settings.add_robot(tx, row)
            return pb.AddRobotResponse(robot=_robot(row))

        return self.write(request, pb.AddRobotResponse, work)

    def RemoveRobot(self, request: pb.RemoveRobotRequest, context: ServicerContext) -> pb.RemoveRobotResponse:
        """Remove a robot; raises NotFound ROBOT_NOT_FOUND."""
        robot_id = parse_id(request.robot_id, "robot_id")

        def work(tx: Transaction) -> pb.RemoveRobotResponse:
            settings.remove_robot(tx, robot_id)
            return pb.RemoveRobotResponse()

        return self.write(request, pb.RemoveRobotResponse, work)

    def SetFollowUpReminder(
        self, request: pb.SetFollowUpReminderRequest, context: ServicerContext
    ) -> pb.SetFollowUpReminderResponse:
        """Set a reminder for the caller; raises InvalidInput as `follow_ups.set_reminder`."""
        plan = follow_ups.Plan(
            title=request.title,
            first_time=_datetime(request.first_time),
            interval_minutes=request.interval_minutes,
            until_time=_datetime(request.until_time) if request.HasField("until_time") else None,
            subject_type=request.subject_type,
            subject_id=parse_id(request.subject_id, "subject_id") if request.subject_id else "",
            subject_name=request.subject_name,
            source=request.source,
        )
        person_id = current_caller().person_id
        reminder_id = derive_id("follow up reminder", current_tenant().id, request.request_id)
        return self.write(
            request,
            pb.SetFollowUpReminderResponse,
            lambda tx: pb.SetFollowUpReminderResponse(
                reminder=_reminder(follow_ups.set_reminder(tx, reminder_id, person_id, plan))
            ),
        )

    def FinishFollowUpReminder(
        self, request: pb.FinishFollowUpReminderRequest, context: ServicerContext
    ) -> pb.FinishFollowUpReminderResponse:
        """Stop an own reminder; raises NotFound REMINDER_NOT_FOUND."""
        reminder_id = parse_id(request.reminder_id, "reminder_id")
        person_id = current_caller().person_id
        return self.write(
            request,
            pb.FinishFollowUpReminderResponse,
            lambda tx: pb.FinishFollowUpReminderResponse(
                reminder=_reminder(follow_ups.finish_reminder(tx, person_id, reminder_id))
            ),
        )

    def ListFollowUpReminders(
        self, request: pb.ListFollowUpRemindersRequest, context: ServicerContext
    ) -> pb.ListFollowUpRemindersResponse:
        """Return the caller's own reminders, newest first."""
        size, before = page_size(request.page_size), decode_cursor(request.page_token)
        person_id = current_caller().person_id

        def work(tx: Transaction) -> pb.ListFollowUpRemindersResponse:
            found = follow_ups.reminders_of_person(
                tx, person_id, before, size + 1, active_only=request.active_only
            )
            page, more = cut_page(found, size)
            return pb.ListFollowUpRemindersResponse(
                reminders=[_reminder(row) for row in page],
                next_page_token=encode_cursor(page[-1].create_time, page[-1].id) if more else "",
            )

        return self.read(work)

    def Announce(self, request: pb.AnnounceRequest, context: ServicerContext) -> pb.AnnounceResponse:
        """Say something to everybody; raises InvalidInput ANNOUNCEMENT_TITLE, ANNOUNCEMENT_TEXT."""
        author_id = current_caller().person_id
        announcement_id = derive_id("announcement", current_tenant().id, request.request_id)
        return self.write(
            request,
            pb.AnnounceResponse,
            lambda tx: pb.AnnounceResponse(
                announcement=_announcement(
                    settings.announce(tx, announcement_id, author_id, request.title, request.text)
                )
            ),
        )

    def LeaveNote(self, request: pb.LeaveNoteRequest, context: ServicerContext) -> pb.LeaveNoteResponse:
        """Leave a note for colleagues; raises as `settings.leave_note`."""
        author_id = current_caller().person_id
        readers = [parse_id(person_id, "person_ids") for person_id in request.person_ids]
        note_id = derive_id("note", current_tenant().id, request.request_id)

        def work(tx: Transaction) -> pb.LeaveNoteResponse:
            settings.leave_note(tx, note_id, author_id, readers, request.text)
            return pb.LeaveNoteResponse()

        return self.write(request, pb.LeaveNoteResponse, work)

    def ListAnnouncements(
        self, request: pb.ListAnnouncementsRequest, context: ServicerContext
    ) -> pb.ListAnnouncementsResponse:
        """Return announcements, newest first."""
        size, before = page_size(request.page_size), decode_cursor(request.page_token)

        def work(tx: Transaction) -> pb.ListAnnouncementsResponse:
            page, more = cut_page(settings.announcements(tx, before, size + 1), size)
            return pb.ListAnnouncementsResponse(
                announcements=[_announcement(row) for row in page],
                next_page_token=encode_cursor(page[-1].create_time, page[-1].id) if more else "",
            )

        return self.read(work)

    def ListDueContacts(
        self, request: pb.ListDueContactsRequest, context: ServicerContext
    ) -> pb.ListDueContactsResponse:
        """Return one of the caller's lists; raises InvalidInput LIST_MISSING."""
        size, before = page_size(request.page_size), decode_cursor(request.page_token)
        due_list = _LISTS.get(request.list)
        if due_list is None:
            raise InvalidInput("list", "LIST_MISSING", "请选择名单", "Say which list")
        person_id = current_caller().person_id

        def work(tx: Transaction) -> pb.ListDueContactsResponse:
            page, more = cut_page(contacts.due_contacts(tx, person_id, due_list, before, size + 1), size)
            counts = contacts.counts(tx, person_id)
            return pb.ListDueContactsResponse(
                contacts=[_contact(each) for each in page],
                next_page_token=encode_cursor(page[-1].due_time, page[-1].id) if more else "",
                counts=[
                    pb.DueCount(list=number, count=counts.get(each, 0)) for number, each in _LISTS.items()
                ],
            )

        return self.read(work)

    def GetReminderPolicy(
        self, request: pb.GetReminderPolicyRequest, context: ServicerContext
    ) -> pb.GetReminderPolicyResponse:
        """Return the tenant's rules for reminders."""
        return self.read(lambda tx: pb.GetReminderPolicyResponse(policy=_policy(dealings.policy_of(tx))))

    def SaveReminderPolicy(
        self, request: pb.SaveReminderPolicyRequest, context: ServicerContext
    ) -> pb.SaveReminderPolicyResponse:
        """Change them; raises InvalidInput MINUTE_INVALID, DAYS_OUT_OF_RANGE."""
        asked = request.policy
        policy = ReminderPolicy(asked.daily_minute, asked.order_days, asked.silence_days)

        def work(tx: Transaction) -> pb.SaveReminderPolicyResponse:
            dealings.save_policy(tx, policy)
            deliveries.wake(tx)
            return pb.SaveReminderPolicyResponse(policy=_policy(policy))

        return self.write(request, pb.SaveReminderPolicyResponse, work)


def _channel(number: int) -> Channel:
    for channel, known in CHANNELS.items():
        if known == number:
            return channel
    raise InvalidInput("channel", "CHANNEL_INVALID", "通知方式无效", "No such channel")


def _preferences(preferences: Preferences) -> pb.Preferences:
    return pb.Preferences(
        channels=[
            pb.KindChannels(kind=kind, channels=[CHANNELS[way] for way in ways])
            for kind, ways in sorted(preferences.channels.items())
        ],
        digest=preferences.digest_minute is not None,
        digest_minute=preferences.digest_minute or 0,
        quiet_from_minute=preferences.quiet_from_minute,
        quiet_until_minute=preferences.quiet_until_minute,
        mail=preferences.mail,
        locale=preferences.locale,
    )


def _delivery(row: Delivery) -> pb.Delivery:
    return pb.Delivery(
        delivery_id=row.id,
        channel=CHANNELS[Channel(row.channel)],
        state=STATES[DeliveryState(row.state)],
        detail=row.detail,
        attempt_time=timestamp(row.attempt_time),
        done_time=timestamp(row.done_time),
    )


def _template(kind: str, own: Template | None) -> pb.MessageTemplate:
    return pb.MessageTemplate(
        kind=kind,
        variables=sorted(KINDS[kind]),
        own=own is not None,
        title_zh=own.title_zh if own else "",
        text_zh=own.text_zh if own else "",
        title_en=own.title_en if own else "",
        text_en=own.text_en if own else "",
    )


def _robot(row: Robot) -> pb.Robot:
    return pb.Robot(
        robot_id=row.id,
        channel=CHANNELS[Channel(row.channel)],
        name=row.name,
        kinds=row.kinds,
        has_secret=bool(row.secret),
    )


def _reminder(row: FollowUpReminder) -> pb.FollowUpReminder:
    return pb.FollowUpReminder(
        reminder_id=row.id,
        title=row.title,
        subject_type=row.subject_type,
        subject_id=row.subject_id or "",
        subject_name=row.subject_name,
        source=row.source,
        first_time=timestamp(row.first_time),
        next_time=timestamp(row.next_time),
        interval_minutes=row.interval_minutes,
        until_time=timestamp(row.until_time),
        fired_count=row.fired_count,
        done=row.state == follow_ups.DONE,
        create_time=timestamp(row.create_time),
    )


def _contact(contact: DueContact) -> pb.DueContact:
    return pb.DueContact(
        reason=pb.DueReason.Value(f"DUE_REASON_{contact.reason.value.upper()}"),
        subject_type=contact.subject_type,
        subject_id=contact.subject_id,
        name=contact.name,
        due_time=timestamp(contact.due_time),
        text=contact.text,
    )


def _policy(policy: ReminderPolicy) -> pb.ReminderPolicy:
    return pb.ReminderPolicy(
        daily_minute=policy.daily_minute, order_days=policy.order_days, silence_days=policy.silence_days
    )


def _announcement(row: Announcement) -> pb.Announcement:
    return pb.Announcement(
        announcement_id=row.id,
        title=row.title,
        text=row.text,
        author_id=row.author_id,
        create_time=timestamp(row.create_time),
    )


def _datetime(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(tzinfo=UTC)
