"""gRPC of bulk SMS: proto to use case and back."""

from collections import Counter
from datetime import UTC, datetime
from typing import Final

import grpc
from crm.telephony.v1 import bulk_pb2 as pb
from crm.telephony.v1 import bulk_pb2_grpc

from services.chassis.db import Store, Transaction
from services.chassis.errors import InvalidInput, not_found
from services.chassis.grpc_server import Api, current_caller, current_tenant, current_token
from services.chassis.ids import derive_id, parse_id
from services.chassis.paging import cut_page, decode_cursor, decode_key, encode_cursor, encode_key, page_size
from services.chassis.timestamps import timestamp
from services.kernel.phones import mask_number
from services.telephony import clients
from services.telephony.domain.bulk import BulkKind, BulkState, RecipientState, Wording
from services.telephony.domain.sms import SmsState
from services.telephony.store.rows import Row
from services.telephony.usecases import bulk

_STATES: Final = {
    state: pb.BulkSmsState.Value(f"BULK_SMS_STATE_{state.value.upper()}") for state in BulkState
}
_KINDS: Final = {pb.BULK_SMS_KIND_NOTICE: BulkKind.NOTICE, pb.BULK_SMS_KIND_PROMOTION: BulkKind.PROMOTION}
_KIND_VALUES: Final = {kind: value for value, kind in _KINDS.items()}
# What became of a recipient: its own state, or that of its SMS.
_FATES: Final = {
    RecipientState.WAITING.value: pb.BULK_RECIPIENT_STATE_WAITING,
    RecipientState.SKIPPED.value: pb.BULK_RECIPIENT_STATE_SKIPPED,
    SmsState.QUEUED.value: pb.BULK_RECIPIENT_STATE_SENDING,
    SmsState.SENDING.value: pb.BULK_RECIPIENT_STATE_SENDING,
    SmsState.SENT.value: pb.BULK_RECIPIENT_STATE_SENT,
    SmsState.DELIVERED.value: pb.BULK_RECIPIENT_STATE_DELIVERED,
    SmsState.FAILED.value: pb.BULK_RECIPIENT_STATE_FAILED,
    SmsState.UNCERTAIN.value: pb.BULK_RECIPIENT_STATE_UNCERTAIN,
}
_CONSENTS: Final = {
    pb.SMS_CONSENT_UNSPECIFIED: None,
    pb.SMS_CONSENT_GIVEN: True,
    pb.SMS_CONSENT_REFUSED: False,
}
# Lists that can be written to; registrations are nobody's customers yet.
_VIEWS: Final = ("CUSTOMER_VIEW_MINE", "CUSTOMER_VIEW_POOL", "CUSTOMER_VIEW_ALL")


class BulkSmsApi(Api, bulk_pb2_grpc.BulkSmsServiceServicer):
    """The contract crm.telephony.v1.BulkSmsService."""

    def __init__(self, store: Store, customers: clients.Customers) -> None:
        super().__init__(store)
        self._customers = customers

    def CreateBulkSms(
        self, request: pb.CreateBulkSmsRequest, context: grpc.ServicerContext
    ) -> pb.CreateBulkSmsResponse:
        """Write one; raises InvalidInput KIND_MISSING, VIEW_INVALID and as `Wording.check`."""
        kind = _KINDS.get(request.kind)
        if kind is None:
            raise InvalidInput("kind", "KIND_MISSING", "请选择短信类型", "Say what kind of SMS it is")
        if request.selection.view not in _VIEWS:
            raise InvalidInput(
                "selection.view", "VIEW_INVALID", "请选择客户范围", "Choose a list of customers"
            )
        wording = Wording(request.name, kind, request.signature, request.text, request.consent_basis)
        selection = {
            "view": request.selection.view,
            "poolId": request.selection.pool_id,
            "query": request.selection.query,
            "filter": request.selection.filter,
        }
        caller = current_caller()
        bulk_id = derive_id("bulk_sms", caller.person_id, request.request_id)

        def work(tx: Transaction) -> pb.CreateBulkSmsResponse:
            row = bulk.create_bulk(
                tx, caller.person_id, bulk_id, wording, selection, every_mobile=request.every_mobile
            )
            return pb.CreateBulkSmsResponse(bulk_sms=_message(tx, row))

        return self.write(request, pb.CreateBulkSmsResponse, work)

    def StageBulkSms(
        self, request: pb.StageBulkSmsRequest, context: grpc.ServicerContext
    ) -> pb.StageBulkSmsResponse:
        """Take the next page of its customers in; raises what customers says of the list, and as `bulk.stage`."""
        bulk_id, caller, tenant = (
            parse_id(request.bulk_sms_id, "bulk_sms_id"),
            current_caller(),
            current_tenant(),
        )
        with self.store.transaction(tenant) as tx:
            row = bulk.find_bulk(tx, caller, bulk_id)
        if row["person_id"] != caller.person_id:
            # The list is the writer's: another sees other customers in it.
            raise not_found("bulk_sms", "群发短信", bulk_id)
        page_token = row["page_token"]
        portion = (
            self._customers.portion(tenant, caller.person_id, current_token(), row["selection"], page_token)
            if row["state"] == BulkState.STAGING
            else bulk.Portion((), (), "")
        )
        return self.write(
            request,
            pb.StageBulkSmsResponse,
            lambda tx: pb.StageBulkSmsResponse(
                bulk_sms=_message(tx, bulk.stage(tx, caller, bulk_id, page_token, portion))
            ),
        )

    def StartBulkSms(
        self, request: pb.StartBulkSmsRequest, context: grpc.ServicerContext
    ) -> pb.StartBulkSmsResponse:
        """Send it; raises as `bulk.take_step`."""
        start = request.start_time.ToDatetime(UTC) if request.HasField("start_time") else None
        bulk_id, caller = parse_id(request.bulk_sms_id, "bulk_sms_id"), current_caller()
        return self.write(
            request,
            pb.StartBulkSmsResponse,
            lambda tx: pb.StartBulkSmsResponse(
                bulk_sms=_message(tx, bulk.take_step(tx, caller, bulk_id, "start", start))
            ),
        )

    def PauseBulkSms(
        self, request: pb.PauseBulkSmsRequest, context: grpc.ServicerContext
    ) -> pb.PauseBulkSmsResponse:
        """Hold it; raises as `bulk.take_step`."""
        bulk_id, caller = parse_id(request.bulk_sms_id, "bulk_sms_id"), current_caller()
        return self.write(
            request,
            pb.PauseBulkSmsResponse,
            lambda tx: pb.PauseBulkSmsResponse(
                bulk_sms=_message(tx, bulk.take_step(tx, caller, bulk_id, "pause"))
            ),
        )

    def ResumeBulkSms(
        self, request: pb.ResumeBulkSmsRequest, context: grpc.ServicerContext
    ) -> pb.ResumeBulkSmsResponse:
        """Go on; raises as `bulk.take_step`."""
        bulk_id, caller = parse_id(request.bulk_sms_id, "bulk_sms_id"), current_caller()
        return self.write(
            request,
            pb.ResumeBulkSmsResponse,
            lambda tx: pb.ResumeBulkSmsResponse(
                bulk_sms=_message(tx, bulk.take_step(tx, caller, bulk_id, "resume"))
            ),
        )

    def CancelBulkSms(
        self, request: pb.CancelBulkSmsRequest, context: grpc.ServicerContext
    ) -> pb.CancelBulkSmsResponse:
        """End it; raises as `bulk.take_step`."""
        bulk_id, caller = parse_id(request.bulk_sms_id, "bulk_sms_id"), current_caller()
        return self.write(
            request,
            pb.CancelBulkSmsResponse,
            lambda tx: pb.CancelBulkSmsResponse(
                bulk_sms=_message(tx, bulk.take_step(tx, caller, bulk_id, "cancel"))
            ),
        )

    def GetBulkSms(
        self, request: pb.GetBulkSmsRequest, context: grpc.ServicerContext
    ) -> pb.GetBulkSmsResponse:
        """Return one with its progress."""
        bulk_id = parse_id(request.bulk_sms_id, "bulk_sms_id")
        return self.read(
            lambda tx: pb.GetBulkSmsResponse(
                bulk_sms=_message(tx, bulk.find_bulk(tx, current_caller(), bulk_id))
            )
        )

    def ListBulkSms(
        self, request: pb.ListBulkSmsRequest, context: grpc.ServicerContext
    ) -> pb.ListBulkSmsResponse:
        """Return those that the caller sees, newest first."""
        size = page_size(request.page_size)
        before = decode_cursor(request.page_token)

        def work(tx: Transaction) -> pb.ListBulkSmsResponse:
            found = bulk.list_bulk(tx, current_caller(), before, size + 1)
            page, more = cut_page(found, size)
            counts = bulk.progress(tx, [row["id"] for row in page])
            return pb.ListBulkSmsResponse(
                bulk_sms=[_bulk_message(row, counts.get(row["id"], Counter()), tx.now) for row in page],
                next_page_token=encode_cursor(page[-1]["create_time"], page[-1]["id"]) if more else "",
            )

        return self.read(work)

    def ListBulkSmsRecipients(
        self, request: pb.ListBulkSmsRecipientsRequest, context: grpc.ServicerContext
    ) -> pb.ListBulkSmsRecipientsResponse:
        """Return who gets one; raises NotFound BULK_SMS_NOT_FOUND, InvalidInput PAGE_TOKEN_INVALID."""
        bulk_id, size = parse_id(request.bulk_sms_id, "bulk_sms_id"), page_size(request.page_size)
        states = [name for name, state in _FATES.items() if state == request.state]
        after = decode_key(request.page_token, "position", int)

        def work(tx: Transaction) -> pb.ListBulkSmsRecipientsResponse:
            bulk.find_bulk(tx, current_caller(), bulk_id)
            found = bulk.list_recipients(tx, bulk_id, states, after[0] if after else -1, size + 1)
            page, more = cut_page(found, size)
            return pb.ListBulkSmsRecipientsResponse(
                recipients=[_recipient_message(row) for row in page],
                next_page_token=encode_key("position", page[-1]["position"], bulk_id) if more else "",
            )

        return self.read(work)

    def ListSmsConsents(
        self, request: pb.ListSmsConsentsRequest, context: grpc.ServicerContext
    ) -> pb.ListSmsConsentsResponse:
        """Return what is noted of a customer's mobiles; raises what customers says of the customer."""
        mobiles = self._mobiles(request.customer_id)

        def work(tx: Transaction) -> pb.ListSmsConsentsResponse:
            noted = bulk.consents(tx, [mobile.number for mobile in mobiles.values()])
            return pb.ListSmsConsentsResponse(
                consents=[
                    _consent_message(phone_id, *noted.get(mobile.number, (None, None)))
                    for phone_id, mobile in mobiles.items()
                ]
            )

        return self.read(work)

    def SetSmsConsent(
        self, request: pb.SetSmsConsentRequest, context: grpc.ServicerContext
    ) -> pb.SetSmsConsentResponse:
        """Note what somebody said; raises NotFound PHONE_NOT_FOUND and what customers says of the customer."""
        phone_id = parse_id(request.phone_id, "phone_id")
        mobile = self._mobiles(request.customer_id).get(phone_id)
        if mobile is None:
            raise not_found("phone", "手机号", phone_id)
        agreed, person_id = _CONSENTS.get(request.consent), current_caller().person_id

        def work(tx: Transaction) -> pb.SetSmsConsentResponse:
            bulk.set_consent(tx, person_id, mobile.number, agreed)
            tx.audit("sms_consent_noted", mobile.customer_id, {"phoneId": phone_id, "agreed": str(agreed)})
            return pb.SetSmsConsentResponse()

        return self.write(request, pb.SetSmsConsentResponse, work)

    def _mobiles(self, customer_id: str) -> dict[str, bulk.Mobile]:
        """Return the mobiles of a customer that the caller may see, by phone id."""
        parse_id(customer_id, "customer_id")
        self._customers.customer(customer_id, current_token())
        return self._customers.mobiles(current_tenant(), current_caller().person_id, [customer_id])


def _message(tx: Transaction, row: Row) -> pb.BulkSms:
    return _bulk_message(row, bulk.progress(tx, [row["id"]]).get(row["id"], Counter()), tx.now)


def _bulk_message(row: Row, counts: Counter[str], now: datetime) -> pb.BulkSms:
    state = _STATES[BulkState(row["state"])]
    if row["state"] == BulkState.RUNNING and row["start_time"] > now:
        state = pb.BULK_SMS_STATE_SCHEDULED
    by_state: Counter[pb.BulkRecipientState.ValueType] = Counter()
    for fate, count in counts.items():
        by_state[_FATES[fate]] += count
    selection = row["selection"]
    return pb.BulkSms(
        bulk_sms_id=row["id"],
        name=row["name"],
        kind=_KIND_VALUES[BulkKind(row["kind"])],
        signature=row["signature"],
        text=row["text"],
        consent_basis=row["consent_basis"],
        selection=pb.CustomerSelection(
            view=selection["view"],
            pool_id=selection["poolId"],
            query=selection["query"],
            filter=selection["filter"],
        ),
        every_mobile=row["every_mobile"],
        state=state,
        customer_count=row["customer_count"],
        duplicate_count=row["duplicate_count"],
        without_mobile_count=row["without_mobile_count"],
        recipients=[pb.BulkRecipientCount(state=each, count=by_state[each]) for each in sorted(by_state)],
        segment_count=row["segment_count"],
        start_time=timestamp(row["start_time"]),
        create_time=timestamp(row["create_time"]),
        end_time=timestamp(row["end_time"]),
        person_id=row["person_id"],
    )


def _recipient_message(row: Row) -> pb.BulkRecipient:
    return pb.BulkRecipient(
        customer_id=row["customer_id"],
        customer_name=row["customer_name"],
        contact_name=row["contact_name"],
        number=mask_number(row["number"]),
        state=_FATES[row["fate"]],
        reason=row["reason"],
        send_time=timestamp(row["send_time"]),
        sms_id=row["sms_id"] or "",
        detail=row["detail"],
    )


def _consent_message(phone_id: str, agreed: bool | None, time: datetime | None) -> pb.NumberConsent:
    consent = next(value for value, noted in _CONSENTS.items() if noted is agreed)
    return pb.NumberConsent(phone_id=phone_id, consent=consent, time=timestamp(time))
