"""gRPC: proto to use case and back."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Literal

import grpc
from crm.telephony.v1 import (
    bulk_pb2,
    bulk_pb2_grpc,
    desk_pb2,
    desk_pb2_grpc,
    sms_pb2,
    sms_pb2_grpc,
    telephony_pb2,
    telephony_pb2_grpc,
)
from google.protobuf.duration_pb2 import Duration

from services.chassis.db import Store, Transaction
from services.chassis.declarations import show_number
from services.chassis.errors import InvalidInput, NotFound, RuleViolation, Unavailable
from services.chassis.grpc_server import Api, current_caller, current_tenant, current_token
from services.chassis.ids import derive_id, parse_id
from services.chassis.paging import cut_page, decode_cursor, encode_cursor, page_size
from services.chassis.service import Runtime
from services.chassis.timestamps import timestamp
from services.kernel.phones import match_number, texts_for
from services.telephony import clients
from services.telephony.bulk_api import BulkSmsApi
from services.telephony.desk_api import AgentDeskApi
from services.telephony.domain.sms import Lane
from services.telephony.messages import numbers_shown, shown_number
from services.telephony.pbx.vault import Vault, VaultDownError
from services.telephony.settings import read_vault
from services.telephony.sms_api import LANES, SMS_STATES, SmsApi, sms_message
from services.telephony.store.rows import Row
from services.telephony.usecases import desk, recordings, sms, staff
from services.telephony.usecases.desk import CallFilter, CallView, Link

_DIRECTIONS: Final = {
    "inbound": telephony_pb2.CALL_DIRECTION_INBOUND,
    "outbound": telephony_pb2.CALL_DIRECTION_OUTBOUND,
    "internal": telephony_pb2.CALL_DIRECTION_INTERNAL,
}
_CALL_STATES: Final = {
    "ringing": telephony_pb2.CALL_STATE_RINGING,
    "answered": telephony_pb2.CALL_STATE_ANSWERED,
    "ended": telephony_pb2.CALL_STATE_ENDED,
    "missed": telephony_pb2.CALL_STATE_MISSED,
}
_POP_STATES: Final = {
    "ringing": telephony_pb2.POP_STATE_RINGING,
    "talking": telephony_pb2.POP_STATE_TALKING,
    "withdrawn": telephony_pb2.POP_STATE_WITHDRAWN,
    "wrap_up": telephony_pb2.POP_STATE_WRAP_UP,
    "closed": telephony_pb2.POP_STATE_CLOSED,
}


class TelephonyApi(Api, telephony_pb2_grpc.TelephonyServiceServicer):
    """The contract crm.telephony.v1."""

    def __init__(
        self,
        store: Store,
        customers: clients.Customers,
        identity: clients.Identity,
        leads: clients.Leads,
        vault: Vault | None,
    ) -> None:
        super().__init__(store)
        self._customers = customers
        self._identity = identity
        self._leads = leads
        self._vault = vault

    def SignOn(
        self, request: telephony_pb2.SignOnRequest, context: grpc.ServicerContext
    ) -> telephony_pb2.SignOnResponse:
        """Take an extension."""
        caller = current_caller()
        return self.write(
            request,
            telephony_pb2.SignOnResponse,
            lambda tx: telephony_pb2.SignOnResponse(
                extension=staff.sign_on(tx, caller.person_id, caller.name, request.extension)
            ),
        )

    def SignOff(
        self, request: telephony_pb2.SignOffRequest, context: grpc.ServicerContext
    ) -> telephony_pb2.SignOffResponse:
        """Leave it."""

        def work(tx: Transaction) -> telephony_pb2.SignOffResponse:
            staff.sign_off(tx, current_caller().person_id)
            return telephony_pb2.SignOffResponse()

        return self.write(request, telephony_pb2.SignOffResponse, work)

    def GetAgent(
        self, request: telephony_pb2.GetAgentRequest, context: grpc.ServicerContext
    ) -> telephony_pb2.GetAgentResponse:
        """Return the caller's extension."""
        person_id = current_caller().person_id
        return self.read(
            lambda tx: telephony_pb2.GetAgentResponse(
                extension=staff.seat(tx, person_id), own_extension=staff.own_extension(tx, person_id)
            )
        )

    def ListPops(
        self, request: telephony_pb2.ListPopsRequest, context: grpc.ServicerContext
    ) -> telephony_pb2.ListPopsResponse:
        """Return the caller's pops that are not closed."""
        person_id = current_caller().person_id
        return self.read(
            lambda tx: telephony_pb2.ListPopsResponse(
                pops=[pop_message(call, pop) for call, pop in desk.open_pops(tx, person_id)]
            )
        )

    def ClosePop(
        self, request: telephony_pb2.ClosePopRequest, context: grpc.ServicerContext
    ) -> telephony_pb2.ClosePopResponse:
        """Close an own pop."""
        pop_id = parse_id(request.pop_id, "pop_id")
        person_id = current_caller().person_id
        return self.write(
            request,
            telephony_pb2.ClosePopResponse,
            lambda tx: telephony_pb2.ClosePopResponse(
                pop=pop_message(*desk.close_pop(tx, person_id, pop_id))
            ),
        )

    def SaveCallNote(
        self, request: telephony_pb2.SaveCallNoteRequest, context: grpc.ServicerContext
    ) -> telephony_pb2.SaveCallNoteResponse:
        """Keep a note with a call."""
        call_id = parse_id(request.call_id, "call_id")
        known = request.known_note if request.HasField("known_note") else None
        return self.write(
            request,
            telephony_pb2.SaveCallNoteResponse,
            lambda tx: telephony_pb2.SaveCallNoteResponse(
                call=call_message(desk.save_note(tx, current_caller(), call_id, request.note, known))
            ),
        )

    def LinkCall(
        self, request: telephony_pb2.LinkCallRequest, context: grpc.ServicerContext
    ) -> telephony_pb2.LinkCallResponse:
        """Say which customer or lead a call belongs to."""
        call_id = parse_id(request.call_id, "call_id")
        # Asked in the person's own name: nobody links to a record that is out of sight.
        if request.lead_id and not request.customer_id:
            link = self._lead_link(call_id, parse_id(request.lead_id, "lead_id"))
        else:
            customer_id = parse_id(request.customer_id, "customer_id")
            found = self._customers.customer(customer_id, current_token())
            link = Link(found.name, found.owner_id, customer_id=customer_id)
        return self.write(
            request,
            telephony_pb2.LinkCallResponse,
            lambda tx: telephony_pb2.LinkCallResponse(
                call=call_message(desk.link_call(tx, current_caller(), call_id, link))
            ),
        )

    def _lead_link(self, call_id: str, lead_id: str) -> Link:
        """Return the link to a lead: one that the call's own card names is anybody's to pick who sees the call."""
        with self.store.transaction(current_tenant()) as tx:
            callers = desk.get_call(tx, current_caller(), call_id).callers
        for caller in callers:
            if caller.get("leadId") == lead_id:
                return Link(caller["customerName"], caller["ownerId"], lead_id=lead_id)
        lead = self._leads.lead(lead_id, current_token())
        return Link(lead.company or lead.name, lead.owner_id, lead_id=lead_id)

    def ListCalls(
        self, request: telephony_pb2.ListCallsRequest, context: grpc.ServicerContext
    ) -> telephony_pb2.ListCallsResponse:
        """Return calls that the caller may see, newest first."""
        size = page_size(request.page_size)
        before = decode_cursor(request.page_token)
        wanted = _filter(request)

        def work(tx: Transaction) -> telephony_pb2.ListCallsResponse:
            found = desk.list_calls(tx, current_caller(), wanted, before, size + 1)
            page, more = cut_page(found, size)
            return telephony_pb2.ListCallsResponse(
                calls=[call_message(view) for view in page],
                next_page_token=encode_cursor(page[-1].call["start_time"], page[-1].call["id"])
                if more
                else "",
            )

        return self.read(work)

    def GetCall(
        self, request: telephony_pb2.GetCallRequest, context: grpc.ServicerContext
    ) -> telephony_pb2.GetCallResponse:
        """Return one call with its legs."""
        call_id = parse_id(request.call_id, "call_id")
        return self.read(
            lambda tx: telephony_pb2.GetCallResponse(
                call=call_message(desk.get_call(tx, current_caller(), call_id))
            )
        )

    def GetRecording(
        self, request: telephony_pb2.GetRecordingRequest, context: grpc.ServicerContext
    ) -> Iterator[telephony_pb2.GetRecordingResponse]:
        """Stream a recording from an offset on; the first part says how long the whole is.

        Raises NotFound CALL_NOT_FOUND, RECORDING_NOT_FOUND; InvalidInput OFFSET_OUT_OF_RANGE.
        """
        call_id = parse_id(request.call_id, "call_id")
        with self.store.transaction(current_tenant(), current_caller().actor_id) as tx:
            kept = recordings.play_recording(tx, current_caller(), call_id)
        total, offset = kept["size_bytes"], request.offset_bytes
        if not 0 <= offset < total or request.length_bytes < 0:
            raise InvalidInput(
                "offset_bytes",
                "OFFSET_OUT_OF_RANGE",
                "录音只有 {total} 字节",
                "The recording has {total} bytes",
                total=total,
            )
        left = min(request.length_bytes or total, total - offset)
        try:
            if self._vault is None:
                raise FileNotFoundError
            for number, piece in enumerate(self._vault.read(kept["key"], offset, left)):
                yield telephony_pb2.GetRecordingResponse(total_bytes=0 if number else total, chunk=piece)
        except FileNotFoundError:
            raise NotFound(
                "RECORDING_NOT_FOUND", "录音文件已不存在", "The recording's file is gone", id=call_id
            ) from None
        except VaultDownError as error:
            raise Unavailable(
                "RECORDINGS_DOWN", "录音存储暂不可用", "The recordings' store is unavailable"
            ) from error

    def SendSms(
        self, request: telephony_pb2.SendSmsRequest, context: grpc.ServicerContext
    ) -> telephony_pb2.SendSmsResponse:
        """Queue an SMS to a member of staff.

        Raises RuleViolation NO_MOBILE; InvalidInput TEXT_LENGTH, TEXT_INVALID.
        """
        urgent = request.lane == LANES[Lane.URGENT]
        sms_id = parse_id(request.request_id, "request_id")
        person_id = parse_id(request.person_id, "person_id")
        with self.store.transaction(current_tenant()) as tx:
            known = sms.find_sms(tx, sms_id)
        # What is queued already stays so, whatever becomes of the person's mobile.
        number = known["number"] if known else self._identity.mobile(current_tenant(), person_id)
        if not number:
            raise RuleViolation(
                "NO_MOBILE", "该员工没有登记手机号", "This person has no mobile", id=person_id
            )
        return self.write(
            request,
            telephony_pb2.SendSmsResponse,
            lambda tx: telephony_pb2.SendSmsResponse(
                sms=sms_message(
                    sms.queue_sms(
                        tx,
                        sms_id,
                        person_id,
                        number,
                        request.text,
                        lane=Lane.URGENT if urgent else Lane.REMINDER,
                    )
                )
            ),
        )

    def ListSms(
        self, request: telephony_pb2.ListSmsRequest, context: grpc.ServicerContext
    ) -> telephony_pb2.ListSmsResponse:
        """Return SMS that the caller may see, newest first."""
        size = page_size(request.page_size)
        before = decode_cursor(request.page_token)
        states = [name for name, number in SMS_STATES.items() if number == request.state]

        def work(tx: Transaction) -> telephony_pb2.ListSmsResponse:
            found = sms.list_sms(tx, current_caller(), before, size + 1, states=states)
            page, more = cut_page(found, size)
            return telephony_pb2.ListSmsResponse(
                sms=[sms_message(row) for row in page],
                next_page_token=encode_cursor(page[-1]["create_time"], page[-1]["id"]) if more else "",
            )

        return self.read(work)


def register(runtime: Runtime, server: grpc.Server) -> Sequence[str]:
    """Put the servicer on a server; returns its full gRPC names."""
    customers = clients.customers(runtime)
    api = TelephonyApi(
        runtime.store,
        customers,
        clients.identity(runtime),
        clients.leads(runtime),
        read_vault(runtime.environ),
    )
    telephony_pb2_grpc.add_TelephonyServiceServicer_to_server(api, server)
    sms_pb2_grpc.add_SmsServiceServicer_to_server(SmsApi(runtime.store), server)
    agents_api = AgentDeskApi(runtime.store, customers, clients.dedupe(runtime))
    desk_pb2_grpc.add_AgentDeskServiceServicer_to_server(agents_api, server)
    bulk_pb2_grpc.add_BulkSmsServiceServicer_to_server(BulkSmsApi(runtime.store, customers), server)
    return [
        telephony_pb2.DESCRIPTOR.services_by_name["TelephonyService"].full_name,
        sms_pb2.DESCRIPTOR.services_by_name["SmsService"].full_name,
        desk_pb2.DESCRIPTOR.services_by_name["AgentDeskService"].full_name,
        bulk_pb2.DESCRIPTOR.services_by_name["BulkSmsService"].full_name,
    ]


def pop_message(call: Row, pop: Row) -> telephony_pb2.Pop:
    """Return a pop's row as the contract has it; `usecases.calls.pop_json` says the same in events."""
    return telephony_pb2.Pop(
        pop_id=pop["id"],
        call_id=pop["call_id"],
        person_id=pop["person_id"],
        extension=pop["extension"],
        state=_POP_STATES[pop["state"]],
        version=pop["version"],
        # As the rule of pops left it for this person, see `usecases.calls.as_seen_by`.
        number=show_number(pop["number"]),
        did=call["did"],
        queue=call["queue"],
        callers=map(_caller_message, pop["callers"]),
        answered_by_id=pop["answered_by_id"] or "",
        answered_by_name=pop["answered_by_name"],
        ring_time=timestamp(pop["ring_time"]),
        answer_time=timestamp(pop["answer_time"]),
        end_time=timestamp(pop["end_time"]),
        receive_time=timestamp(pop["ring_time"]),
        looked_up=call["callers"] is not None,
    )


def call_message(view: CallView) -> telephony_pb2.Call:
    """Return a call as the caller may see it."""
    call = view.call
    message = telephony_pb2.Call(
        call_id=call["id"],
        direction=_DIRECTIONS[call["direction"]],
        state=_CALL_STATES[call["state"]],
        number=shown_number(call),
        did=call["did"],
        queue=call["queue"],
        customer_id=call["customer_id"] or "",
        customer_name=call["customer_name"],
        answered_by_id=call["answered_by_id"] or "",
        start_time=timestamp(call["start_time"]),
        answer_time=timestamp(call["answer_time"]),
        end_time=timestamp(call["end_time"]),
        legs=[
            telephony_pb2.Leg(
                leg_id=derive_id("leg", leg["call_id"], leg["uniqueid"]),
                extension=leg["extension"],
                person_id=leg["person_id"] or "",
                ring_time=timestamp(leg["ring_time"]),
                answer_time=timestamp(leg["answer_time"]),
                end_time=timestamp(leg["end_time"]),
                result=leg["result"],
            )
            for leg in view.legs
        ],
        recording=_recording(view.recording),
        note=call["note"],
        disposition=call["disposition"],
        lead_id=call["lead_id"] or "",
        lead_name=call["lead_name"],
        origin_person_id=call["origin_person_id"] or "",
        handed_to_id=call["handed_to_id"] or "",
        callers=map(_caller_message, view.callers),
        inquiries=[
            telephony_pb2.CallInquiry(
                inquiry_id=inquiry["inquiry_id"],
                products=inquiry["products"],
                person_id=inquiry["person_id"],
                create_time=timestamp(inquiry["create_time"]),
            )
            for inquiry in view.inquiries
        ],
    )
    return texts_for(message, may_see=numbers_shown(call))


def _caller_message(caller: Row) -> telephony_pb2.Caller:
    message = telephony_pb2.Caller(
        customer_id=caller["customerId"],
        customer_name=caller["customerName"],
        contact_id=caller["contactId"],
        contact_name=caller["contactName"],
        owner_id=caller["ownerId"],
        reasons=caller["reasons"],
        # Calls of before have none.
        lead_id=caller.get("leadId", ""),
    )
    return texts_for(message, may_see=caller["ownerId"] == current_caller().person_id)


def _filter(request: telephony_pb2.ListCallsRequest) -> CallFilter:
    """Return which calls are asked for; raises InvalidInput NOT_A_UUID for an id that is none."""

    def time(name: Literal["from_time", "until_time"]) -> datetime | None:
        return getattr(request, name).ToDatetime(UTC) if request.HasField(name) else None

    def chosen(names: Mapping[str, int], number: int) -> str:
        return next((name for name, each in names.items() if each == number), "")

    return CallFilter(
        customer_id=parse_id(request.customer_id, "customer_id") if request.customer_id else "",
        state=chosen(_CALL_STATES, request.state),
        person_id=parse_id(request.person_id, "person_id") if request.person_id else "",
        direction=chosen(_DIRECTIONS, request.direction),
        from_time=time("from_time"),
        until_time=time("until_time"),
        disposition=request.disposition,
        number=match_number(request.number) or request.number,
    )


def _recording(row: Row | None) -> telephony_pb2.Recording | None:
    if row is None:
        return None
    duration = Duration()
    duration.FromMilliseconds(round(row["duration_s"] * 1000))
    return telephony_pb2.Recording(
        recording_id=row["id"], duration=duration, size_bytes=row["size_bytes"], sha256=row["sha256"]
    )
