"""BulkMailService: proto to use case and back."""

from collections import Counter
from datetime import UTC, datetime
from typing import Final

from crm.notify.v1 import mails_pb2 as pb
from crm.notify.v1 import mails_pb2_grpc as pb_grpc
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import ServicerContext

from services.chassis.db import Store, Transaction
from services.chassis.errors import InvalidInput
from services.chassis.grpc_server import Api, current_caller, current_tenant, current_token
from services.chassis.ids import derive_id, parse_id
from services.chassis.paging import cut_page, decode_cursor, decode_key, encode_cursor, encode_key, page_size
from services.notify.clients import Customers
from services.notify.domain.bulk_mail import BulkMailState, RecipientState, Wording
from services.notify.store.tables import BulkMail, MailRecipient
from services.notify.usecases import bulk_mails

# Lists that can be written to; registrations are nobody's customers yet.
_VIEWS: Final = ("CUSTOMER_VIEW_MINE", "CUSTOMER_VIEW_POOL", "CUSTOMER_VIEW_ALL")
_STATES: Final = {
    state.value: pb.BulkMailState.Value(f"BULK_MAIL_STATE_{state.value.upper()}") for state in BulkMailState
}
_RECIPIENT_STATES: Final = {
    state.value: pb.MailRecipientState.Value(f"MAIL_RECIPIENT_STATE_{state.value.upper()}")
    for state in RecipientState
}


class BulkMailApi(pb_grpc.BulkMailServiceServicer, Api):
    """The servicer. customers: whose list it goes to."""

    def __init__(self, store: Store, customers: Customers) -> None:
        Api.__init__(self, store)
        self._customers = customers

    def CreateBulkMail(
        self, request: pb.CreateBulkMailRequest, context: ServicerContext
    ) -> pb.CreateBulkMailResponse:
        """Write one; raises InvalidInput VIEW_INVALID and as `Wording.check`."""
        asked = request.selection
        if asked.view not in _VIEWS:
            raise InvalidInput(
                "selection.view", "VIEW_INVALID", "请选择客户范围", "Choose a list of customers"
            )
        wording, person_id = Wording(request.subject, request.text), current_caller().person_id
        selection = {
            "view": asked.view,
            "poolId": asked.pool_id,
            "query": asked.query,
            "filter": asked.filter,
        }
        bulk_id = derive_id("bulk_mail", person_id, request.request_id)
        return self.write(
            request,
            pb.CreateBulkMailResponse,
            lambda tx: pb.CreateBulkMailResponse(
                bulk_mail=_message(tx, bulk_mails.create(tx, person_id, bulk_id, wording, selection))
            ),
        )

    def StageBulkMail(
        self, request: pb.StageBulkMailRequest, context: ServicerContext
    ) -> pb.StageBulkMailResponse:
        """Take the next page of its customers in; raises what customers says of the list, and as `stage`."""
        bulk_id, person_id = parse_id(request.bulk_mail_id, "bulk_mail_id"), current_caller().person_id
        with self.store.transaction(current_tenant()) as tx:
            row = bulk_mails.find(tx, person_id, bulk_id)
            page_token, selection, staging = row.page_token, row.selection, row.state == BulkMailState.STAGING
        portion = (
            self._customers.portion(current_tenant(), person_id, current_token(), selection, page_token)
            if staging
            else bulk_mails.Portion((), (), "")
        )
        return self.write(
            request,
            pb.StageBulkMailResponse,
            lambda tx: pb.StageBulkMailResponse(
                bulk_mail=_message(tx, bulk_mails.stage(tx, person_id, bulk_id, page_token, portion))
            ),
        )

    def StartBulkMail(
        self, request: pb.StartBulkMailRequest, context: ServicerContext
    ) -> pb.StartBulkMailResponse:
        """Send it; raises as `bulk_mails.start`."""
        bulk_id, person_id = parse_id(request.bulk_mail_id, "bulk_mail_id"), current_caller().person_id
        start_time = request.start_time.ToDatetime(UTC) if request.HasField("start_time") else None
        return self.write(
            request,
            pb.StartBulkMailResponse,
            lambda tx: pb.StartBulkMailResponse(
                bulk_mail=_message(tx, bulk_mails.start(tx, person_id, bulk_id, start_time))
            ),
        )

    def CancelBulkMail(
        self, request: pb.CancelBulkMailRequest, context: ServicerContext
    ) -> pb.CancelBulkMailResponse:
        """End it; raises as `bulk_mails.cancel`."""
        bulk_id, person_id = parse_id(request.bulk_mail_id, "bulk_mail_id"), current_caller().person_id
        return self.write(
            request,
            pb.CancelBulkMailResponse,
            lambda tx: pb.CancelBulkMailResponse(
                bulk_mail=_message(tx, bulk_mails.cancel(tx, person_id, bulk_id))
            ),
        )

    def ListBulkMails(
        self, request: pb.ListBulkMailsRequest, context: ServicerContext
    ) -> pb.ListBulkMailsResponse:
        """Return the caller's own ones, newest first."""
        size, before = page_size(request.page_size), decode_cursor(request.page_token)
        person_id = current_caller().person_id

        def work(tx: Transaction) -> pb.ListBulkMailsResponse:
            page, more = cut_page(bulk_mails.of_person(tx, person_id, before, size + 1), size)
            counts = bulk_mails.progress(tx, [row.id for row in page])
            return pb.ListBulkMailsResponse(
                bulk_mails=[_bulk_message(row, counts.get(row.id, Counter())) for row in page],
                next_page_token=encode_cursor(page[-1].create_time, page[-1].id) if more else "",
            )

        return self.read(work)

    def ListBulkMailRecipients(
        self, request: pb.ListBulkMailRecipientsRequest, context: ServicerContext
    ) -> pb.ListBulkMailRecipientsResponse:
        """Return who gets one; raises NotFound BULK_MAIL_NOT_FOUND."""
        bulk_id, person_id = parse_id(request.bulk_mail_id, "bulk_mail_id"), current_caller().person_id
        size, after = page_size(request.page_size), decode_key(request.page_token, "position", int)

        def work(tx: Transaction) -> pb.ListBulkMailRecipientsResponse:
            bulk_mails.find(tx, person_id, bulk_id)
            page, more = cut_page(bulk_mails.recipients(tx, bulk_id, after, size + 1), size)
            last = page[-1][0] if more else None
            return pb.ListBulkMailRecipientsResponse(
                recipients=[_recipient(*each) for each in page],
                next_page_token=encode_key("position", last.position, last.id) if last else "",
            )

        return self.read(work)

    def RefuseBulkMail(
        self, request: pb.RefuseBulkMailRequest, context: ServicerContext
    ) -> pb.RefuseBulkMailResponse:
        """Note whether a receiver wants bulk mail; raises as `bulk_mails.refuse`."""
        bulk_id, person_id = parse_id(request.bulk_mail_id, "bulk_mail_id"), current_caller().person_id
        recipient_id = parse_id(request.recipient_id, "recipient_id")

        def work(tx: Transaction) -> pb.RefuseBulkMailResponse:
            bulk_mails.refuse(tx, person_id, bulk_id, recipient_id, refused=request.refused)
            return pb.RefuseBulkMailResponse()

        return self.write(request, pb.RefuseBulkMailResponse, work)


def _message(tx: Transaction, row: BulkMail) -> pb.BulkMail:
    return _bulk_message(row, bulk_mails.progress(tx, [row.id]).get(row.id, Counter()))


def _bulk_message(row: BulkMail, counts: Counter[str]) -> pb.BulkMail:
    return pb.BulkMail(
        bulk_mail_id=row.id,
        subject=row.subject,
        text=row.text,
        selection=pb.MailSelection(
            view=row.selection["view"],
            pool_id=row.selection["poolId"],
            query=row.selection["query"],
            filter=row.selection["filter"],
        ),
        state=_STATES[row.state],
        customer_count=row.customer_count,
        duplicate_count=row.duplicate_count,
        without_address_count=row.without_address_count,
        recipients=[
            pb.MailRecipientCount(state=number, count=counts[state])
            for state, number in _RECIPIENT_STATES.items()
            if counts[state]
        ],
        start_time=_time(row.start_time),
        create_time=_time(row.create_time),
        end_time=_time(row.end_time),
    )


def _recipient(row: MailRecipient, refused: bool) -> pb.MailRecipient:
    return pb.MailRecipient(
        recipient_id=row.id,
        customer_id=row.customer_id,
        customer_name=row.customer_name,
        address=row.address,
        state=_RECIPIENT_STATES[row.state],
        detail=row.detail,
        done_time=_time(row.done_time),
        refused=refused,
    )


def _time(time: datetime | None) -> Timestamp | None:
    if time is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp
