"""gRPC of SMS beyond sending: modems, rules, what a person decides, what came in."""

from typing import Final

import grpc
from crm.telephony.v1 import sms_pb2, sms_pb2_grpc, telephony_pb2

from services.chassis.db import Transaction
from services.chassis.errors import InvalidInput
from services.chassis.grpc_server import Api, current_caller
from services.chassis.ids import parse_id
from services.chassis.paging import cut_page, decode_cursor, encode_cursor, page_size
from services.chassis.timestamps import timestamp
from services.kernel.phones import mask_number, texts_for
from services.kernel.visibility import sees_every_number
from services.telephony.domain.sms import Decision, Lane, Policy, SmsState
from services.telephony.modem.pdu import Encoding
from services.telephony.store.rows import Row
from services.telephony.usecases import modems, replies, sms
from services.telephony.usecases.modems import Limits, ModemView

# The longest text that is measured, in characters.
LONGEST_MEASURED: Final = 2000

SMS_STATES: Final = {
    SmsState.QUEUED: telephony_pb2.SMS_STATE_QUEUED,
    SmsState.SENDING: telephony_pb2.SMS_STATE_SENDING,
    SmsState.SENT: telephony_pb2.SMS_STATE_SENT,
    SmsState.DELIVERED: telephony_pb2.SMS_STATE_DELIVERED,
    SmsState.FAILED: telephony_pb2.SMS_STATE_FAILED,
    SmsState.UNCERTAIN: telephony_pb2.SMS_STATE_UNCERTAIN,
}
LANES: Final = {
    Lane.URGENT: telephony_pb2.SMS_LANE_URGENT,
    Lane.REMINDER: telephony_pb2.SMS_LANE_REMINDER,
    Lane.BULK: telephony_pb2.SMS_LANE_BULK,
}
_DECISIONS: Final = {
    sms_pb2.SMS_DECISION_WENT_OUT: Decision.WENT_OUT,
    sms_pb2.SMS_DECISION_DID_NOT: Decision.DID_NOT,
    sms_pb2.SMS_DECISION_SEND_AGAIN: Decision.SEND_AGAIN,
}
# The states of a link on its way up are one to whoever looks.
_MODEM_STATES: Final = {
    "down": sms_pb2.MODEM_STATE_DOWN,
    "ready": sms_pb2.MODEM_STATE_READY,
    "paused": sms_pb2.MODEM_STATE_PAUSED,
    "sim_stopped": sms_pb2.MODEM_STATE_SIM_STOPPED,
}


class SmsApi(Api, sms_pb2_grpc.SmsServiceServicer):
    """The contract crm.telephony.v1.SmsService."""

    def ListModems(
        self, request: sms_pb2.ListModemsRequest, context: grpc.ServicerContext
    ) -> sms_pb2.ListModemsResponse:
        """Return the tenant's modems."""
        return self.read(
            lambda tx: sms_pb2.ListModemsResponse(
                modems=[_modem_message(view) for view in modems.list_modems(tx)]
            )
        )

    def ConfigureModem(
        self, request: sms_pb2.ConfigureModemRequest, context: grpc.ServicerContext
    ) -> sms_pb2.ConfigureModemResponse:
        """Say how a modem may be used; raises NotFound MODEM_NOT_FOUND, InvalidInput LIMIT_OUT_OF_RANGE."""
        limits = Limits(request.enabled, request.hourly_limit, request.daily_limit)
        return self.write(
            request,
            sms_pb2.ConfigureModemResponse,
            lambda tx: sms_pb2.ConfigureModemResponse(
                modem=_modem_message(modems.configure_modem(tx, request.name, limits))
            ),
        )

    def GetSmsPolicy(
        self, request: sms_pb2.GetSmsPolicyRequest, context: grpc.ServicerContext
    ) -> sms_pb2.GetSmsPolicyResponse:
        """Return the tenant's rules."""
        return self.read(
            lambda tx: sms_pb2.GetSmsPolicyResponse(policy=_policy_message(modems.policy_of(tx)))
        )

    def SaveSmsPolicy(
        self, request: sms_pb2.SaveSmsPolicyRequest, context: grpc.ServicerContext
    ) -> sms_pb2.SaveSmsPolicyResponse:
        """Change the tenant's rules; raises InvalidInput HOURS_OUT_OF_ORDER, LIMIT_OUT_OF_RANGE."""
        policy = Policy(
            bulk_from_minute=request.policy.bulk_from_minute,
            bulk_until_minute=request.policy.bulk_until_minute,
            number_hourly_limit=request.policy.number_hourly_limit,
            number_daily_limit=request.policy.number_daily_limit,
            blocked_after_s=request.policy.blocked_after_seconds,
        )

        def work(tx: Transaction) -> sms_pb2.SaveSmsPolicyResponse:
            modems.save_policy(tx, policy)
            return sms_pb2.SaveSmsPolicyResponse(policy=_policy_message(policy))

        return self.write(request, sms_pb2.SaveSmsPolicyResponse, work)

    def DecideSms(
        self, request: sms_pb2.DecideSmsRequest, context: grpc.ServicerContext
    ) -> sms_pb2.DecideSmsResponse:
        """Settle an uncertain SMS.

        Raises NotFound SMS_NOT_FOUND, RuleViolation SMS_NOT_UNCERTAIN, InvalidInput DECISION_MISSING.
        """
        sms_id = parse_id(request.sms_id, "sms_id")
        decision = _DECISIONS.get(request.decision)
        if decision is None:
            raise InvalidInput("decision", "DECISION_MISSING", "请选择处理结果", "Say what became of it")
        caller = current_caller()
        return self.write(
            request,
            sms_pb2.DecideSmsResponse,
            lambda tx: sms_pb2.DecideSmsResponse(sms=sms_message(sms.decide(tx, caller, sms_id, decision))),
        )

    def ListReceivedSms(
        self, request: sms_pb2.ListReceivedSmsRequest, context: grpc.ServicerContext
    ) -> sms_pb2.ListReceivedSmsResponse:
        """Return received messages that the caller may see, newest first."""
        size = page_size(request.page_size)
        before = decode_cursor(request.page_token)
        customer_id = parse_id(request.customer_id, "customer_id") if request.customer_id else ""

        def work(tx: Transaction) -> sms_pb2.ListReceivedSmsResponse:
            found = replies.list_received(tx, current_caller(), customer_id, before, size + 1)
            page, more = cut_page(found, size)
            return sms_pb2.ListReceivedSmsResponse(
                received=[_received_message(row) for row in page],
                next_page_token=encode_cursor(page[-1]["receive_time"], page[-1]["id"]) if more else "",
            )

        return self.read(work)

    def MeasureSms(
        self, request: sms_pb2.MeasureSmsRequest, context: grpc.ServicerContext
    ) -> sms_pb2.MeasureSmsResponse:
        """Return how a text would be sent; raises InvalidInput TEXT_LENGTH, TEXT_INVALID."""
        cut = sms.cut_text(request.text, LONGEST_MEASURED)
        return sms_pb2.MeasureSmsResponse(
            segment_count=len(cut.parts), unicode=cut.encoding is Encoding.UCS2, length=len(request.text)
        )


def sms_message(row: Row) -> telephony_pb2.Sms:
    """Return a message; the number is masked for everybody, those in the text but for who had it sent."""
    message = telephony_pb2.Sms(
        sms_id=row["id"],
        number=mask_number(row["number"]),
        text=row["text"],
        state=SMS_STATES[SmsState(row["state"])],
        segment_count=row["segment_count"],
        modem=row["modem"],
        detail=row["detail"],
        create_time=timestamp(row["create_time"]),
        send_time=timestamp(row["send_time"]),
        deliver_time=timestamp(row["deliver_time"]),
        lane=LANES[Lane(row["lane"])],
        reason=row["reason"],
        decided_by_id=row["decided_by_id"] or "",
    )
    caller = current_caller()
    return texts_for(message, may_see=row["person_id"] == caller.person_id or sees_every_number(caller))


def _modem_message(view: ModemView) -> sms_pb2.Modem:
    row = view.row
    state = _MODEM_STATES.get(row["state"], sms_pb2.MODEM_STATE_STARTING)
    detail = row["detail"]
    if not view.alive:
        state, detail = sms_pb2.MODEM_STATE_DOWN, "no process owns it"
    if not row["enabled"]:
        state, detail = sms_pb2.MODEM_STATE_DISABLED, ""
    return sms_pb2.Modem(
        name=row["name"],
        state=state,
        detail=detail,
        state_time=timestamp(row["state_time"]),
        signal=-1 if row["signal"] is None else row["signal"],
        enabled=row["enabled"],
        hourly_limit=row["hourly_limit"],
        hourly_used=view.sent_hour,
        daily_limit=row["daily_limit"],
        daily_used=view.sent_day,
    )


def _policy_message(policy: Policy) -> sms_pb2.SmsPolicy:
    return sms_pb2.SmsPolicy(
        bulk_from_minute=policy.bulk_from_minute,
        bulk_until_minute=policy.bulk_until_minute,
        number_hourly_limit=policy.number_hourly_limit,
        number_daily_limit=policy.number_daily_limit,
        blocked_after_seconds=policy.blocked_after_s,
    )


def _received_message(row: Row) -> sms_pb2.ReceivedSms:
    message = sms_pb2.ReceivedSms(
        received_id=row["id"],
        number=mask_number(row["number"]),
        text=row["text"],
        parts=row["parts"],
        missing_parts=row["missing_parts"],
        opt_out=row["opt_out"],
        receive_time=timestamp(row["receive_time"]),
        customer_id=row["customer_id"] or "",
        customer_name=row["customer_name"],
        contact_id=row["contact_id"] or "",
        contact_name=row["contact_name"],
        modem=row["modem"],
    )
    caller = current_caller()
    return texts_for(message, may_see=row["owner_id"] == caller.person_id or sees_every_number(caller))
