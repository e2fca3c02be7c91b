"""gRPC of the agents' desks: proto to use case and back."""

from datetime import datetime
from typing import Final

import grpc
from crm.telephony.v1 import desk_pb2 as pb
from crm.telephony.v1 import desk_pb2_grpc
from google.protobuf.timestamp_pb2 import Timestamp

from services.chassis.db import Transaction
from services.chassis.grpc_server import Api, current_caller
from services.chassis.ids import parse_id
from services.chassis.paging import cut_page, decode_cursor, encode_cursor, page_size
from services.telephony.domain.agents import Agent, AgentState, DeskSettings
from services.telephony.messages import shown_number
from services.telephony.store.rows import Row
from services.telephony.usecases import agents, missed

_STATES: Final = {state: pb.AgentState.Value(f"AGENT_STATE_{state.value.upper()}") for state in AgentState}
_CHOSEN: Final = {number: state.value for state, number in _STATES.items()}


class AgentDeskApi(Api, desk_pb2_grpc.AgentDeskServiceServicer):
    """The contract of AgentDeskService."""

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
            given.wrap_up_seconds, tuple(given.dispositions), tuple(given.break_reasons), given.version
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
        since_time=_time(agent.since_time),
        wrap_up_end_time=_time(agent.wrap_up_end_time),
        call_id=agent.call_id,
    )


def missed_message(item: Row, call: Row) -> pb.MissedCaller:
    """Return an item as the contract has it, with what its last call tells."""
    return pb.MissedCaller(
        missed_caller_id=item["id"],
        number=shown_number(call),
        call_count=item["call_count"],
        first_time=_time(item["first_time"]),
        last_time=_time(item["last_time"]),
        call_id=call["id"],
        queue=call["queue"],
        did=call["did"],
        customer_id=call["customer_id"] or "",
        customer_name=call["customer_name"],
        owner_id=call["owner_id"] or "",
    )


def settings_message(settings: DeskSettings) -> pb.DeskSettings:
    """Return settings as the contract has them."""
    return pb.DeskSettings(
        wrap_up_seconds=settings.wrap_up_s,
        dispositions=settings.dispositions,
        break_reasons=settings.break_reasons,
        version=settings.version,
    )


def _time(time: datetime | None) -> Timestamp | None:
    if time is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp
