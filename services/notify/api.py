"""NotifyService: proto to use case and back."""

from crm.notify.v1 import notify_pb2 as pb
from crm.notify.v1 import notify_pb2_grpc as pb_grpc
from grpc import ServicerContext

from services.chassis.db import Store, Transaction
from services.chassis.grpc_server import Api, current_caller, current_token
from services.chassis.ids import parse_id
from services.chassis.paging import cut_page, decode_cursor, encode_cursor, page_size
from services.chassis.timestamps import timestamp
from services.kernel.phones import texts_for
from services.notify.clients import Orders
from services.notify.domain.reminders import ReminderState
from services.notify.store import queries
from services.notify.store.tables import Message, Reminder
from services.notify.usecases.messages import ANNOUNCEMENT, mark_read

REMINDER_STATES = {
    ReminderState.PENDING: pb.REMINDER_STATE_PENDING,
    ReminderState.CANCELLED: pb.REMINDER_STATE_CANCELLED,
    # An SMS goes out: to whoever looks it is as good as handed over.
    ReminderState.SENDING: pb.REMINDER_STATE_QUEUED,
    ReminderState.QUEUED: pb.REMINDER_STATE_QUEUED,
    ReminderState.SENT: pb.REMINDER_STATE_SENT,
    ReminderState.DELIVERED: pb.REMINDER_STATE_DELIVERED,
    ReminderState.FAILED: pb.REMINDER_STATE_FAILED,
    ReminderState.UNCERTAIN: pb.REMINDER_STATE_UNCERTAIN,
    ReminderState.IN_APP_ONLY: pb.REMINDER_STATE_IN_APP_ONLY,
}
# States in which there is no SMS.
WITHOUT_SMS = (ReminderState.PENDING, ReminderState.CANCELLED, ReminderState.IN_APP_ONLY)


class NotifyApi(pb_grpc.NotifyServiceServicer, Api):
    """The servicer. orders: who may see an order may see its reminders."""

    def __init__(self, store: Store, orders: Orders) -> None:
        Api.__init__(self, store)
        self._orders = orders

    def ListMessages(
        self, request: pb.ListMessagesRequest, context: ServicerContext
    ) -> pb.ListMessagesResponse:
        """Return the caller's messages in the caller's language, newest first."""
        size = page_size(request.page_size)
        before = decode_cursor(request.page_token)
        caller = current_caller()

        def work(tx: Transaction) -> pb.ListMessagesResponse:
            found = queries.messages(tx, caller.person_id, before, size + 1, unread_only=request.unread_only)
            page, more = cut_page(found, size)
            return pb.ListMessagesResponse(
                messages=[_message(row, caller.locale) for row in page],
                next_page_token=encode_cursor(page[-1].create_time, page[-1].id) if more else "",
                unread_count=queries.unread_count(tx, caller.person_id),
            )

        return self.read(work)

    def MarkMessagesRead(
        self, request: pb.MarkMessagesReadRequest, context: ServicerContext
    ) -> pb.MarkMessagesReadResponse:
        """Mark own messages as read; raises InvalidInput TOO_MANY_MESSAGES."""
        message_ids = [parse_id(message_id, "message_ids") for message_id in request.message_ids]

        def work(tx: Transaction) -> pb.MarkMessagesReadResponse:
            mark_read(tx, current_caller().person_id, message_ids)
            return pb.MarkMessagesReadResponse()

        return self.write(request, pb.MarkMessagesReadResponse, work)

    def ListReminders(
        self, request: pb.ListRemindersRequest, context: ServicerContext
    ) -> pb.ListRemindersResponse:
        """Return the reminders about an order that the caller may see; raises what orders says of it."""
        subject_id = parse_id(request.subject_id, "subject_id")
        self._orders.check_visible(subject_id, current_token())
        return self.read(
            lambda tx: pb.ListRemindersResponse(
                reminders=[_reminder(row) for row in queries.reminders_of(tx, subject_id)]
            )
        )


def _message(row: Message, locale: str) -> pb.Message:
    english = locale.lower().startswith("en")
    message = pb.Message(
        message_id=row.id,
        kind=row.kind,
        title=row.title_en if english else row.title_zh,
        text=row.text_en if english else row.text_zh,
        subject_type=row.subject_type,
        subject_id=row.subject_id,
        read=row.read_time is not None,
        create_time=timestamp(row.create_time),
    )
    return texts_for(message, may_see=row.subject_type == ANNOUNCEMENT)


def _reminder(row: Reminder) -> pb.Reminder:
    state = ReminderState(row.state)
    return pb.Reminder(
        reminder_id=row.id,
        subject_id=row.subject_id,
        person_id=row.person_id,
        due_time=timestamp(row.due_time),
        state=REMINDER_STATES[state],
        sms_id="" if state in WITHOUT_SMS else row.id,
        detail=row.detail,
    )
