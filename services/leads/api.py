"""Leads over gRPC: requests to use cases and back."""

from typing import TYPE_CHECKING

import grpc
from crm.leads.v1 import leads_pb2, leads_pb2_grpc
from google.protobuf.timestamp_pb2 import Timestamp

from services.chassis.db import Transaction
from services.chassis.grpc_server import Api, current_caller, current_tenant
from services.chassis.ids import parse_id
from services.chassis.paging import cut_page, decode_cursor, encode_cursor, page_size
from services.chassis.service import Runtime
from services.chassis.temporal import TemporalLink, rebuild
from services.chassis.tokens import Caller
from services.kernel.money import format_amount
from services.kernel.phones import mask_number
from services.leads.clients import Identity
from services.leads.domain.conversion import ConversionState
from services.leads.domain.states import LeadState, OpportunityState, lead_actions
from services.leads.store.queries import (
    find_conversion,
    find_lead,
    lead_changes,
    list_leads,
    list_opportunities,
)
from services.leads.store.tables import Conversion, Lead, LeadChange, Opportunity
from services.leads.usecases.conversions import OpportunityInput, conversion_id, request_conversion
from services.leads.usecases.leads import LeadInput, assign_lead, capture_lead, create_lead, follow_lead
from services.leads.usecases.opportunities import win_opportunity
from services.leads.workflows.contracts import QUEUE, WORKFLOW, ConversionRef, conversion_workflow_id

if TYPE_CHECKING:
    from datetime import datetime

# Longest answer of another service that a caller waits for, in seconds.
RPC_TIMEOUT_S = 3.0
# How long a caller waits for a conversion, in seconds: less than callers' usual deadline of 5 s, so that they
# still hear that it goes on.
CONVERSION_TIMEOUT_S = 4.0

LEAD_STATES = {
    LeadState.UNASSIGNED: leads_pb2.LEAD_STATE_UNASSIGNED,
    LeadState.ASSIGNED: leads_pb2.LEAD_STATE_ASSIGNED,
    LeadState.FOLLOWING: leads_pb2.LEAD_STATE_FOLLOWING,
    LeadState.CONVERTED: leads_pb2.LEAD_STATE_CONVERTED,
    LeadState.INVALID: leads_pb2.LEAD_STATE_INVALID,
    LeadState.VOIDED: leads_pb2.LEAD_STATE_VOIDED,
}
STATE_FILTERS = {message: state for state, message in LEAD_STATES.items()}
OPPORTUNITY_STATES = {
    OpportunityState.OPEN: leads_pb2.OPPORTUNITY_STATE_OPEN,
    OpportunityState.WON: leads_pb2.OPPORTUNITY_STATE_WON,
    OpportunityState.LOST: leads_pb2.OPPORTUNITY_STATE_LOST,
}


class LeadsApi(leads_pb2_grpc.LeadsServiceServicer, Api):
    """The servicer."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime.store)
        self._identity = Identity(runtime, RPC_TIMEOUT_S)
        self._temporal: TemporalLink = runtime.temporal

    def CaptureLead(
        self, request: leads_pb2.CaptureLeadRequest, context: grpc.ServicerContext
    ) -> leads_pb2.CaptureLeadResponse:
        given = LeadInput(request.name, request.company, request.phone, request.note)
        return self.write(
            request,
            leads_pb2.CaptureLeadResponse,
            lambda tx: leads_pb2.CaptureLeadResponse(
                lead=lead_message(
                    capture_lead(tx, request.source, request.source_key, given), current_caller()
                )
            ),
        )

    def CreateLead(
        self, request: leads_pb2.CreateLeadRequest, context: grpc.ServicerContext
    ) -> leads_pb2.CreateLeadResponse:
        caller = current_caller()
        given = LeadInput(request.name, request.company, request.phone, request.note)
        return self.write(
            request,
            leads_pb2.CreateLeadResponse,
            lambda tx: leads_pb2.CreateLeadResponse(
                lead=lead_message(create_lead(tx, caller, given), caller)
            ),
        )

    def GetLead(
        self, request: leads_pb2.GetLeadRequest, context: grpc.ServicerContext
    ) -> leads_pb2.GetLeadResponse:
        caller = current_caller()

        def work(tx: Transaction) -> leads_pb2.GetLeadResponse:
            lead = find_lead(tx, caller, request.lead_id)
            return leads_pb2.GetLeadResponse(
                lead=lead_message(lead, caller), changes=map(change_message, lead_changes(tx, lead.id))
            )

        return self.read(work)

    def ListLeads(
        self, request: leads_pb2.ListLeadsRequest, context: grpc.ServicerContext
    ) -> leads_pb2.ListLeadsResponse:
        caller = current_caller()
        size, after = page_size(request.page_size), decode_cursor(request.page_token)
        state = STATE_FILTERS.get(request.state)

        def work(tx: Transaction) -> leads_pb2.ListLeadsResponse:
            page, more = cut_page(list_leads(tx, caller, state, after, size + 1), size)
            return leads_pb2.ListLeadsResponse(
                leads=[lead_message(lead, caller) for lead in page],
                next_page_token=encode_cursor(page[-1].create_time, page[-1].id) if more else "",
            )

        return self.read(work)

    def AssignLead(
        self, request: leads_pb2.AssignLeadRequest, context: grpc.ServicerContext
    ) -> leads_pb2.AssignLeadResponse:
        caller = current_caller()
        owner_id = parse_id(request.owner_id, "owner_id")
        owner = self._identity.person(current_tenant(), caller.actor_id, owner_id)
        return self.write(
            request,
            leads_pb2.AssignLeadResponse,
            lambda tx: leads_pb2.AssignLeadResponse(
                lead=lead_message(assign_lead(tx, caller, request.lead_id, owner), caller)
            ),
        )

    def AddLeadFollowUp(
        self, request: leads_pb2.AddLeadFollowUpRequest, context: grpc.ServicerContext
    ) -> leads_pb2.AddLeadFollowUpResponse:
        caller = current_caller()
        return self.write(
            request,
            leads_pb2.AddLeadFollowUpResponse,
            lambda tx: leads_pb2.AddLeadFollowUpResponse(
                lead=lead_message(follow_lead(tx, caller, request.lead_id, request.text), caller)
            ),
        )

    def ConvertLead(
        self, request: leads_pb2.ConvertLeadRequest, context: grpc.ServicerContext
    ) -> leads_pb2.ConvertLeadResponse:
        caller, tenant = current_caller(), current_tenant()
        opportunity = (
            OpportunityInput(request.opportunity.name, request.opportunity.amount)
            if request.HasField("opportunity")
            else None
        )

        def note(tx: Transaction) -> leads_pb2.ConvertLeadResponse:
            request_conversion(
                tx,
                caller,
                parse_id(request.lead_id, "lead_id"),
                parse_id(request.request_id, "request_id"),
                customer_name=request.customer_name,
                create_contact=request.create_contact,
                opportunity=opportunity,
            )
            # The answer is the workflow's: it is kept with the conversion.
            return leads_pb2.ConvertLeadResponse()

        self.write(request, leads_pb2.ConvertLeadResponse, note)
        lead_id = parse_id(request.lead_id, "lead_id")
        request_id = parse_id(request.request_id, "request_id")
        ref = ConversionRef(tenant, conversion_id(lead_id, request_id), caller.actor_id)
        conversion = self._conversion(ref)
        if conversion.finish_time is None:
            self._temporal.execute(
                WORKFLOW,
                ref,
                workflow_id=conversion_workflow_id(lead_id, request_id),
                queue=QUEUE,
                result=type(None),
                timeout_s=CONVERSION_TIMEOUT_S,
            )
            conversion = self._conversion(ref)
        if conversion.state == ConversionState.REFUSED and conversion.refusal:
            raise rebuild(conversion.refusal["reason"], conversion.refusal)
        return leads_pb2.ConvertLeadResponse(
            customer_id=conversion.customer_id,
            linked=conversion.linked,
            contact_id=conversion.contact_id or "",
            opportunity_id=conversion.opportunity_id or "",
        )

    def ListOpportunities(
        self, request: leads_pb2.ListOpportunitiesRequest, context: grpc.ServicerContext
    ) -> leads_pb2.ListOpportunitiesResponse:
        caller = current_caller()
        size, after = page_size(request.page_size), decode_cursor(request.page_token)

        def work(tx: Transaction) -> leads_pb2.ListOpportunitiesResponse:
            rows = list_opportunities(tx, caller, request.customer_id, after, size + 1)
            page, more = cut_page(rows, size)
            return leads_pb2.ListOpportunitiesResponse(
                opportunities=map(opportunity_message, page),
                next_page_token=encode_cursor(page[-1].create_time, page[-1].id) if more else "",
            )

        return self.read(work)

    def WinOpportunity(
        self, request: leads_pb2.WinOpportunityRequest, context: grpc.ServicerContext
    ) -> leads_pb2.WinOpportunityResponse:
        caller = current_caller()
        return self.write(
            request,
            leads_pb2.WinOpportunityResponse,
            lambda tx: leads_pb2.WinOpportunityResponse(
                opportunity=opportunity_message(win_opportunity(tx, caller, request.opportunity_id))
            ),
        )

    def _conversion(self, ref: ConversionRef) -> Conversion:
        with self.store.transaction(ref.tenant, ref.actor_id) as tx:
            return find_conversion(tx, ref.conversion_id)[1]


def lead_message(lead: Lead, caller: Caller) -> leads_pb2.Lead:
    """Return a lead as this caller may see it: the number only to its owner and to who may see all numbers."""
    owned = lead.owner_id is not None and lead.owner_id == caller.person_id
    plain = owned or "numbers.view_all" in caller.rights
    state = LeadState(lead.state)
    return leads_pb2.Lead(
        lead_id=lead.id,
        name=lead.name,
        company=lead.company,
        phone=lead.phone_key if plain else mask_number(lead.phone),
        source=lead.source,
        note=lead.note,
        state=LEAD_STATES[state],
        owner_id=lead.owner_id or "",
        create_time=timestamp(lead.create_time),
        version=lead.version,
        customer_id=lead.customer_id or "",
        allowed_actions=lead_actions(
            state, rights=caller.rights, owned=owned, converting=lead.conversion_id is not None
        ),
    )


def change_message(change: LeadChange) -> leads_pb2.LeadChange:
    """Return a row of a lead's log."""
    return leads_pb2.LeadChange(
        from_state=LEAD_STATES[LeadState(change.from_state)]
        if change.from_state
        else leads_pb2.LEAD_STATE_UNSPECIFIED,
        to_state=LEAD_STATES[LeadState(change.to_state)],
        actor_id=change.actor_id or "",
        text=change.text,
        create_time=timestamp(change.create_time),
    )


def opportunity_message(opportunity: Opportunity) -> leads_pb2.Opportunity:
    """Return an opportunity."""
    return leads_pb2.Opportunity(
        opportunity_id=opportunity.id,
        name=opportunity.name,
        customer_id=opportunity.customer_id,
        owner_id=opportunity.owner_id,
        amount=format_amount(opportunity.amount),
        state=OPPORTUNITY_STATES[OpportunityState(opportunity.state)],
        create_time=timestamp(opportunity.create_time),
        version=opportunity.version,
    )


def timestamp(time: "datetime") -> Timestamp:
    """Return a time as the contract has it."""
    message = Timestamp()
    message.FromDatetime(time)
    return message
