"""gRPC of the agents' desks: proto to use case and back."""

from datetime import UTC
from typing import Final

import grpc
from crm.dedupe.v1 import dedupe_pb2
from crm.telephony.v1 import desk_pb2 as pb
from crm.telephony.v1 import desk_pb2_grpc

from services.chassis.db import Store, Transaction
from services.chassis.grpc_server import Api, current_caller, current_tenant, current_token
from services.chassis.ids import parse_id
from services.chassis.paging import cut_page, decode_cursor, encode_cursor, page_size
from services.chassis.timestamps import timestamp
from services.kernel.phones import match_number, texts_for
from services.telephony import clients
from services.telephony.domain.agents import Agent, AgentState, DeskSettings
from services.telephony.domain.pops import PopMoment, PopRules, PopSettings
from services.telephony.messages import numbers_shown, shown_number
from services.telephony.store.rows import Row
from services.telephony.usecases import agents, desk, missed, orders
from services.telephony.usecases.calls import call_id_of
from services.telephony.usecases.desk import CallView

_STATES: Final = {state: pb.AgentState.Value(f"AGENT_STATE_{state.value.upper()}") for state in AgentState}
_CHOSEN: Final = {number: state.value for state, number in _STATES.items()}


class AgentDeskApi(Api, desk_pb2_grpc.AgentDeskServiceServicer):
    """The contract of AgentDeskService."""

    def __init__(self, store: Store, customers: clients.Customers, dedupe: clients.Dedupe) -> None:
        super().__init__(store)
        self._customers = customers
        self._dedupe = dedupe

    def RecordCallInquiry(
        self, request: pb.RecordCallInquiryRequest, context: grpc.ServicerContext
    ) -> pb.RecordCallInquiryResponse:
        """Record what a caller asks a price for, under the call's own name and number."""
        call_id, viewer = parse_id(request.call_id, "call_id"), current_caller()
        with self.store.transaction(current_tenant()) as tx:
            view = desk.get_call(tx, viewer, call_id)
        inquiry = inquiry_of(view, request)
        # A repeat of the same request gets dedupe's first answer: what fails between the two is whole after it.
        stored = self._dedupe.record_inquiry(inquiry, current_token())
        products = [item.product for item in inquiry.items]

        def work(tx: Transaction) -> pb.RecordCallInquiryResponse:
            desk.keep_inquiry(tx, viewer, call_id, stored.inquiry.inquiry_id, products)
            return pb.RecordCallInquiryResponse(
                inquiry_id=stored.inquiry.inquiry_id, suspect_ids=stored.suspect_ids
            )

        return self.write(request, pb.RecordCallInquiryResponse, work)

    def Dial(self, request: pb.DialRequest, context: grpc.ServicerContext) -> pb.DialResponse:
        """Call a customer by record."""
        order_id = parse_id(request.request_id, "request_id")
        number = self._number(request.customer_id, request.phone_id, for_dialling=True)
        person_id = current_caller().person_id
        return self.write(
            request,
            pb.DialResponse,
            lambda tx: pb.DialResponse(
                order=order_message(orders.queue_dial(tx, person_id, order_id, number))
            ),
        )

    def GetPbxOrder(
        self, request: pb.GetPbxOrderRequest, context: grpc.ServicerContext
    ) -> pb.GetPbxOrderResponse:
        """Return how far an own order has come."""
        order_id, person_id = parse_id(request.pbx_order_id, "pbx_order_id"), current_caller().person_id
        return self.read(
            lambda tx: pb.GetPbxOrderResponse(order=order_message(orders.own_order(tx, person_id, order_id)))
        )

    def SetDoNotCall(
        self, request: pb.SetDoNotCallRequest, context: grpc.ServicerContext
    ) -> pb.SetDoNotCallResponse:
        """Keep a number from being dialled, or let it be."""
        number, person_id = self._number(request.customer_id, request.phone_id), current_caller().person_id

        def work(tx: Transaction) -> pb.SetDoNotCallResponse:
            orders.set_do_not_call(tx, person_id, number, request.do_not_call)
            return pb.SetDoNotCallResponse()

        return self.write(request, pb.SetDoNotCallResponse, work)

    def PauseRecording(
        self, request: pb.PauseRecordingRequest, context: grpc.ServicerContext
    ) -> pb.PauseRecordingResponse:
        """Silence a recording, or end the silence."""
        order_id, viewer = parse_id(request.request_id, "request_id"), current_caller()
        call_id = parse_id(request.call_id, "call_id")
        return self.write(
            request,
            pb.PauseRecordingResponse,
            lambda tx: pb.PauseRecordingResponse(
                order=order_message(orders.queue_pause(tx, viewer, order_id, call_id, request.paused))
            ),
        )

    def _number(self, customer_id: str, phone_id: str, *, for_dialling: bool = False) -> str:
        """Return the number behind a record that the person may see, and dial if that is what it is for."""
        customer_id, phone_id = parse_id(customer_id, "customer_id"), parse_id(phone_id, "phone_id")
        self._check_customer(customer_id, for_dialling=for_dialling)
        return self._customers.number(current_tenant(), current_caller().person_id, customer_id, phone_id)

    def _check_customer(self, customer_id: str, *, for_dialling: bool) -> None:
        """Let nobody reach a customer that is out of sight, nor dial one that another locked."""
        # Asked in the person's own name.
        customer = self._customers.customer(customer_id, current_token())
        if for_dialling and customer.HasField("lock_expire_time"):
            until = customer.lock_expire_time.ToDatetime(UTC)
            orders.check_lock(until, customer.owner_id, current_caller().person_id, self.store.clock())

    def GetAgentState(
        self, request: pb.GetAgentStateRequest, context: grpc.ServicerContext
    ) -> pb.GetAgentStateResponse:
        """Return the caller's state."""
        person_id = current_caller().person_id
        return self.read(
            lambda tx: pb.GetAgentStateResponse(agent=agent_message(agents.agent_now(tx, person_id)))
        )

    def SetAgentState(
        self, request: pb.SetAgentStateRequest, context: grpc.ServicerContext
    ) -> pb.SetAgentStateResponse:
        """Be idle, busy or away."""
        person_id, wanted = current_caller().person_id, _CHOSEN.get(request.state, "")
        return self.write(
            request,
            pb.SetAgentStateResponse,
            lambda tx: pb.SetAgentStateResponse(
                agent=agent_message(agents.choose_state(tx, person_id, wanted, request.reason))
            ),
        )

    def DisposeCall(
        self, request: pb.DisposeCallRequest, context: grpc.ServicerContext
    ) -> pb.DisposeCallResponse:
        """Say what came of a call."""
        call_id, viewer = parse_id(request.call_id, "call_id"), current_caller()
        return self.write(
            request,
            pb.DisposeCallResponse,
            lambda tx: pb.DisposeCallResponse(
                agent=agent_message(agents.dispose_call(tx, viewer, call_id, request.disposition))
            ),
        )

    def HandOverCall(
        self, request: pb.HandOverCallRequest, context: grpc.ServicerContext
    ) -> pb.HandOverCallResponse:
        """Give a call to a colleague."""
        call_id, viewer = parse_id(request.call_id, "call_id"), current_caller()
        person_id = parse_id(request.person_id, "person_id")

        def work(tx: Transaction) -> pb.HandOverCallResponse:
            agents.hand_over_call(tx, viewer, call_id, person_id)
            return pb.HandOverCallResponse()

        return self.write(request, pb.HandOverCallResponse, work)

    def ListMissedCallers(
        self, request: pb.ListMissedCallersRequest, context: grpc.ServicerContext
    ) -> pb.ListMissedCallersResponse:
        """Return who is to be called back."""
        size, viewer = page_size(request.page_size), current_caller()
        before = decode_cursor(request.page_token)

        def work(tx: Transaction) -> pb.ListMissedCallersResponse:
            page, more = cut_page(missed.list_missed(tx, viewer, before, size + 1), size)
            return pb.ListMissedCallersResponse(
                missed_callers=[missed_message(item, call) for item, call in page],
                next_page_token=encode_cursor(page[-1][0]["last_time"], page[-1][0]["id"]) if more else "",
            )

        return self.read(work)

    def HandleMissedCaller(
        self, request: pb.HandleMissedCallerRequest, context: grpc.ServicerContext
    ) -> pb.HandleMissedCallerResponse:
        """Take a caller off the list."""
        item_id, viewer = parse_id(request.missed_caller_id, "missed_caller_id"), current_caller()

        def work(tx: Transaction) -> pb.HandleMissedCallerResponse:
            missed.handle_missed(tx, viewer, item_id)
            return pb.HandleMissedCallerResponse()

        return self.write(request, pb.HandleMissedCallerResponse, work)

    def CallBackMissedCaller(
        self, request: pb.CallBackMissedCallerRequest, context: grpc.ServicerContext
    ) -> pb.CallBackMissedCallerResponse:
        """Call a caller back."""
        order_id, viewer = parse_id(request.request_id, "request_id"), current_caller()
        item_id = parse_id(request.missed_caller_id, "missed_caller_id")
        with self.store.transaction(current_tenant()) as tx:
            call = missed.open_call(tx, viewer, item_id)
        if call and call["customer_id"]:
            self._check_customer(call["customer_id"], for_dialling=True)

        def work(tx: Transaction) -> pb.CallBackMissedCallerResponse:
            number = missed.number_to_call(tx, viewer, item_id)
            order = orders.queue_dial(tx, viewer.person_id, order_id, number)
            return pb.CallBackMissedCallerResponse(order=order_message(order))

        return self.write(request, pb.CallBackMissedCallerResponse, work)

    def GetDeskSettings(
        self, request: pb.GetDeskSettingsRequest, context: grpc.ServicerContext
    ) -> pb.GetDeskSettingsResponse:
        """Return how desks work."""
        return self.read(
            lambda tx: pb.GetDeskSettingsResponse(settings=settings_message(agents.desk_settings(tx)))
        )

    def UpdateDeskSettings(
        self, request: pb.UpdateDeskSettingsRequest, context: grpc.ServicerContext
    ) -> pb.UpdateDeskSettingsResponse:
        """Change how desks work."""
        given = request.settings
        wanted = DeskSettings(
            given.wrap_up_seconds,
            tuple(given.dispositions),
            tuple(given.break_reasons),
            given.version,
            PopSettings(_pop_rules(given.direct_pops), _pop_rules(given.queue_pops)),
        )
        return self.write(
            request,
            pb.UpdateDeskSettingsResponse,
            lambda tx: pb.UpdateDeskSettingsResponse(
                settings=settings_message(agents.save_desk_settings(tx, wanted))
            ),
        )


def agent_message(agent: Agent) -> pb.Agent:
    """Return where an agent stands as the contract has it."""
    return pb.Agent(
        state=_STATES[agent.state],
        reason=agent.reason,
        since_time=timestamp(agent.since_time),
        wrap_up_end_time=timestamp(agent.wrap_up_end_time),
        call_id=agent.call_id,
    )


def missed_message(item: Row, call: Row) -> pb.MissedCaller:
    """Return an item as the contract has it, with what its last call tells."""
    message = pb.MissedCaller(
        missed_caller_id=item["id"],
        number=shown_number(call),
        call_count=item["call_count"],
        first_time=timestamp(item["first_time"]),
        last_time=timestamp(item["last_time"]),
        call_id=call["id"],
        queue=call["queue"],
        did=call["did"],
        customer_id=call["customer_id"] or "",
        customer_name=call["customer_name"],
        owner_id=call["owner_id"] or "",
    )
    return texts_for(message, may_see=numbers_shown(call))


def order_message(order: Row) -> pb.PbxOrder:
    """Return an order to the PBX as the contract has it."""
    return pb.PbxOrder(
        pbx_order_id=order["id"],
        state=pb.PbxOrderState.Value(f"PBX_ORDER_STATE_{order['state'].upper()}"),
        reason=order["reason"],
        # While any PBX may take it, nobody knows whose call it becomes.
        call_id=call_id_of(order["pbx"], order["linked_id"]) if order["pbx"] else "",
    )


def settings_message(settings: DeskSettings) -> pb.DeskSettings:
    """Return settings as the contract has them."""
    return pb.DeskSettings(
        wrap_up_seconds=settings.wrap_up_s,
        dispositions=settings.dispositions,
        break_reasons=settings.break_reasons,
        version=settings.version,
        direct_pops=_pop_rules_message(settings.pops.direct),
        queue_pops=_pop_rules_message(settings.pops.queue),
    )


def inquiry_of(view: CallView, request: pb.RecordCallInquiryRequest) -> dedupe_pb2.RecordInquiryRequest:
    """Return a call's inquiry as dedupe takes it: who asks is whom the call is linked to, else the best candidate."""
    call = view.call
    holder = call["customer_id"] or call["lead_id"]
    callers = [each for each in view.callers if holder in (None, each["customerId"], each.get("leadId"))]
    contact = callers[0]["contactName"] if callers else ""
    company = call["customer_name"] or call["lead_name"]
    return dedupe_pb2.RecordInquiryRequest(
        request_id=request.request_id,
        inquirer_name=request.inquirer_name or contact or company,
        company_name=company,
        phone=match_number(call["number"]),
        items=[
            dedupe_pb2.InquiryItem(
                product=item.product, quantity=item.quantity, specification=item.specification
            )
            for item in request.items
        ],
        site_address=request.site_address,
        scheme=request.scheme,
    )


def _pop_rules(given: pb.PopRules) -> PopRules:
    answered = given.moment == pb.POP_MOMENT_ANSWERED
    return PopRules(
        PopMoment.ANSWERED if answered else PopMoment.RINGING,
        given.hide_unknown,
        given.hide_one,
        given.hide_several,
    )


def _pop_rules_message(rules: PopRules) -> pb.PopRules:
    return pb.PopRules(
        moment=pb.PopMoment.Value(f"POP_MOMENT_{rules.moment.value.upper()}"),
        hide_unknown=rules.hide_unknown,
        hide_one=rules.hide_one,
        hide_several=rules.hide_several,
    )
