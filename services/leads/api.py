"""Leads over gRPC: requests to use cases and back."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, TypeVar

import grpc
from crm.leads.v1 import leads_pb2, leads_pb2_grpc
from crm.orders.v1 import orders_pb2

from services.chassis.db import Transaction
from services.chassis.declarations import show_number
from services.chassis.errors import InvalidInput
from services.chassis.grpc_server import Api, Mutation, current_caller, current_tenant
from services.chassis.ids import parse_id
from services.chassis.paging import cut_page, decode_cursor, encode_cursor, page_size
from services.chassis.service import Runtime
from services.chassis.temporal import TemporalLink, rebuild
from services.chassis.timestamps import timestamp
from services.chassis.tokens import Caller
from services.kernel.fields import display_value
from services.kernel.money import format_amount
from services.kernel.ownership import LONGEST_IDLE_DAYS, ReclaimRule
from services.kernel.phones import mask_number, match_number, text_for
from services.leads.clients import Identity
from services.leads.domain.conversion import ConversionState
from services.leads.domain.pool import Cause, PoolRules
from services.leads.domain.push import LeftOut, PushRule
from services.leads.domain.stages import Stage, stays, weighted
from services.leads.domain.states import LeadState, OpportunityState, lead_actions, opportunity_actions
from services.leads.store.ledger import pool_rules
from services.leads.store.pools import shown_pool_id
from services.leads.store.queries import (
    ENTRIES,
    LeadFilter,
    OpenGroup,
    OpportunityFilter,
    average_stays,
    conversion_row,
    find_lead,
    find_opportunity,
    lead_changes,
    leads_of_number,
    list_leads,
    list_opportunities,
    open_groups,
    opportunities_of,
    opportunity_changes,
    ownership_changes,
)
from services.leads.store.tables import (
    CaptureSource,
    Conversion,
    Lead,
    LeadChange,
    LeadPush,
    Opportunity,
    OpportunityChange,
    OwnershipChange,
)
from services.leads.usecases.conversions import (
    OpportunityInput,
    conversion_id,
    request_conversion,
    right_missing,
)
from services.leads.usecases.fields import FIELDS, FieldObject
from services.leads.usecases.leads import (
    LeadInput,
    assign_lead,
    capture_lead,
    claim_lead,
    create_lead,
    follow_lead,
    lock_lead,
    mark_invalid,
    restore_lead,
    resume_lead,
    return_lead,
    set_fields,
    unlock_lead,
    void_lead,
)
from services.leads.usecases.opportunities import (
    OpportunityFacts,
    lose_opportunity,
    move_opportunity,
    stages_of,
    transfer_opportunity,
    update_opportunity,
    update_stages,
    win_opportunity,
)
from services.leads.usecases.pool import admit_capture, create_source, sources, update_pool_rules
from services.leads.usecases.push import push_rule, pushes, update_push_rule
from services.leads.workflows.contracts import (
    ENDED,
    QUEUE,
    TASK_TIMEOUT,
    WORKFLOW,
    ConversionRef,
    conversion_workflow_id,
)

if TYPE_CHECKING:
    pass

# What every verb of a lead answers with: a message that holds the lead.
Moved = TypeVar(
    "Moved",
    leads_pb2.ClaimLeadResponse,
    leads_pb2.ReturnLeadResponse,
    leads_pb2.MarkLeadInvalidResponse,
    leads_pb2.ResumeLeadResponse,
    leads_pb2.VoidLeadResponse,
    leads_pb2.RestoreLeadResponse,
    leads_pb2.LockLeadResponse,
    leads_pb2.UnlockLeadResponse,
)

# The same of an opportunity.
Sold = TypeVar(
    "Sold",
    leads_pb2.WinOpportunityResponse,
    leads_pb2.LoseOpportunityResponse,
    leads_pb2.MoveOpportunityResponse,
    leads_pb2.UpdateOpportunityResponse,
    leads_pb2.TransferOpportunityResponse,
)

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
PROGRESS = {leads_pb2.LEAD_PROGRESS_NOT_FOLLOWED: False, leads_pb2.LEAD_PROGRESS_FOLLOWED: True}
CAUSES = {
    Cause.CREATE: leads_pb2.LEAD_OWNERSHIP_CAUSE_CREATE,
    Cause.ASSIGN: leads_pb2.LEAD_OWNERSHIP_CAUSE_ASSIGN,
    Cause.CLAIM: leads_pb2.LEAD_OWNERSHIP_CAUSE_CLAIM,
    Cause.RETURN: leads_pb2.LEAD_OWNERSHIP_CAUSE_RETURN,
    Cause.RECLAIM: leads_pb2.LEAD_OWNERSHIP_CAUSE_RECLAIM,
    Cause.RESTORE: leads_pb2.LEAD_OWNERSHIP_CAUSE_RESTORE,
    Cause.PUSH: leads_pb2.LEAD_OWNERSHIP_CAUSE_PUSH,
}
EXCLUSIONS = {
    LeftOut.DISABLED: leads_pb2.LEAD_PUSH_EXCLUSION_DISABLED,
    LeftOut.NO_RIGHT: leads_pb2.LEAD_PUSH_EXCLUSION_NO_RIGHT,
    LeftOut.ABSENT: leads_pb2.LEAD_PUSH_EXCLUSION_ABSENT,
    LeftOut.WAITING_FULL: leads_pb2.LEAD_PUSH_EXCLUSION_WAITING_FULL,
    LeftOut.CAP_REACHED: leads_pb2.LEAD_PUSH_EXCLUSION_CAP_REACHED,
    LeftOut.SHARE_TAKEN: leads_pb2.LEAD_PUSH_EXCLUSION_SHARE_TAKEN,
}
# Pushes in one answer.
MOST_PUSHES = 50
STATE_FILTERS = {message: state for state, message in LEAD_STATES.items()}
OPPORTUNITY_STATES = {
    OpportunityState.OPEN: leads_pb2.OPPORTUNITY_STATE_OPEN,
    OpportunityState.WON: leads_pb2.OPPORTUNITY_STATE_WON,
    OpportunityState.LOST: leads_pb2.OPPORTUNITY_STATE_LOST,
}
OPPORTUNITY_FILTERS = {message: state for state, message in OPPORTUNITY_STATES.items()}
# How orders' contract and orders' events name the same state.
ORDER_STATE_PREFIX = "ORDER_STATE_"


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
        caller = current_caller()
        # As sent: what is signed is what is parsed.
        signed = (
            request.source,
            request.source_key,
            request.name,
            request.company,
            request.phone,
            request.note,
        )

        def work(tx: Transaction) -> leads_pb2.CaptureLeadResponse:
            pool_id = admit_capture(tx, caller, request.source, signed, request.sign_time, request.signature)
            lead = capture_lead(tx, request.source, request.source_key, given, pool_id)
            return leads_pb2.CaptureLeadResponse(lead=lead_message(tx, lead, caller))

        return self.write(request, leads_pb2.CaptureLeadResponse, work)

    def CreateLead(
        self, request: leads_pb2.CreateLeadRequest, context: grpc.ServicerContext
    ) -> leads_pb2.CreateLeadResponse:
        caller = current_caller()
        given = LeadInput(
            request.name,
            request.company,
            request.phone,
            request.note,
            {field.key: field.value for field in request.fields},
            request.pool_id,
        )
        return self.write(
            request,
            leads_pb2.CreateLeadResponse,
            lambda tx: leads_pb2.CreateLeadResponse(
                lead=lead_message(tx, create_lead(tx, caller, given), caller)
            ),
        )

    def GetLead(
        self, request: leads_pb2.GetLeadRequest, context: grpc.ServicerContext
    ) -> leads_pb2.GetLeadResponse:
        caller = current_caller()

        def work(tx: Transaction) -> leads_pb2.GetLeadResponse:
            lead = find_lead(tx, caller, request.lead_id)
            return leads_pb2.GetLeadResponse(
                lead=lead_messages(tx, [lead], caller)[0],
                changes=[
                    change_message(change, number_shown(lead, caller)) for change in lead_changes(tx, lead.id)
                ],
            )

        return self.read(work)

    def ListLeads(
        self, request: leads_pb2.ListLeadsRequest, context: grpc.ServicerContext
    ) -> leads_pb2.ListLeadsResponse:
        caller = current_caller()
        size = page_size(request.page_size)
        wanted = LeadFilter(
            state=STATE_FILTERS.get(request.state),
            owner_id=parse_id(request.owner_id, "owner_id") if request.owner_id else "",
            followed=PROGRESS.get(request.progress),
            idle_days=parse_idle_days(request.idle_days),
            opportunity_state=OPPORTUNITY_FILTERS.get(request.opportunity_state),
            order_state=order_state_text(request.order_state),
            filter=request.filter,
            order_by=request.order_by,
            pool_id=request.pool_id,
        )

        def work(tx: Transaction) -> leads_pb2.ListLeadsResponse:
            fields = FIELDS.definitions(tx, FieldObject.LEAD)
            page, next_page_token = list_leads(tx, caller, wanted, fields, request.page_token, size)
            return leads_pb2.ListLeadsResponse(
                leads=lead_messages(tx, page, caller), next_page_token=next_page_token
            )

        return self.read(work)

    def SetLeadFields(
        self, request: leads_pb2.SetLeadFieldsRequest, context: grpc.ServicerContext
    ) -> leads_pb2.SetLeadFieldsResponse:
        caller = current_caller()
        fields = {field.key: field.value for field in request.fields}

        def work(tx: Transaction) -> leads_pb2.SetLeadFieldsResponse:
            lead = set_fields(tx, caller, request.lead_id, request.version, fields)
            return leads_pb2.SetLeadFieldsResponse(lead=lead_message(tx, lead, caller))

        return self.write(request, leads_pb2.SetLeadFieldsResponse, work)

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
                lead=lead_message(tx, assign_lead(tx, caller, request.lead_id, owner), caller)
            ),
        )

    def ClaimLead(
        self, request: leads_pb2.ClaimLeadRequest, context: grpc.ServicerContext
    ) -> leads_pb2.ClaimLeadResponse:
        return self._move(
            request,
            leads_pb2.ClaimLeadResponse,
            lambda tx, caller: claim_lead(tx, caller, request.lead_id),
        )

    def ReturnLead(
        self, request: leads_pb2.ReturnLeadRequest, context: grpc.ServicerContext
    ) -> leads_pb2.ReturnLeadResponse:
        return self._move(
            request,
            leads_pb2.ReturnLeadResponse,
            lambda tx, caller: return_lead(tx, caller, request.lead_id, request.reason),
        )

    def MarkLeadInvalid(
        self, request: leads_pb2.MarkLeadInvalidRequest, context: grpc.ServicerContext
    ) -> leads_pb2.MarkLeadInvalidResponse:
        return self._move(
            request,
            leads_pb2.MarkLeadInvalidResponse,
            lambda tx, caller: mark_invalid(tx, caller, request.lead_id, request.reason),
        )

    def ResumeLead(
        self, request: leads_pb2.ResumeLeadRequest, context: grpc.ServicerContext
    ) -> leads_pb2.ResumeLeadResponse:
        return self._move(
            request,
            leads_pb2.ResumeLeadResponse,
            lambda tx, caller: resume_lead(tx, caller, request.lead_id),
        )

    def VoidLead(
        self, request: leads_pb2.VoidLeadRequest, context: grpc.ServicerContext
    ) -> leads_pb2.VoidLeadResponse:
        return self._move(
            request,
            leads_pb2.VoidLeadResponse,
            lambda tx, caller: void_lead(tx, caller, request.lead_id, request.reason),
        )

    def RestoreLead(
        self, request: leads_pb2.RestoreLeadRequest, context: grpc.ServicerContext
    ) -> leads_pb2.RestoreLeadResponse:
        return self._move(
            request,
            leads_pb2.RestoreLeadResponse,
            lambda tx, caller: restore_lead(tx, caller, request.lead_id),
        )

    def LockLead(
        self, request: leads_pb2.LockLeadRequest, context: grpc.ServicerContext
    ) -> leads_pb2.LockLeadResponse:
        return self._move(
            request,
            leads_pb2.LockLeadResponse,
            lambda tx, caller: lock_lead(tx, caller, request.lead_id, request.days),
        )

    def UnlockLead(
        self, request: leads_pb2.UnlockLeadRequest, context: grpc.ServicerContext
    ) -> leads_pb2.UnlockLeadResponse:
        return self._move(
            request,
            leads_pb2.UnlockLeadResponse,
            lambda tx, caller: unlock_lead(tx, caller, request.lead_id),
        )

    def ListLeadOwnershipChanges(
        self, request: leads_pb2.ListLeadOwnershipChangesRequest, context: grpc.ServicerContext
    ) -> leads_pb2.ListLeadOwnershipChangesResponse:
        caller = current_caller()

        def work(tx: Transaction) -> leads_pb2.ListLeadOwnershipChangesResponse:
            lead = find_lead(tx, caller, request.lead_id)
            return leads_pb2.ListLeadOwnershipChangesResponse(
                changes=map(ownership_message, ownership_changes(tx, lead.id))
            )

        return self.read(work)

    def GetLeadSettings(
        self, request: leads_pb2.GetLeadSettingsRequest, context: grpc.ServicerContext
    ) -> leads_pb2.GetLeadSettingsResponse:
        return self.read(
            lambda tx: leads_pb2.GetLeadSettingsResponse(settings=settings_message(pool_rules(tx)))
        )

    def UpdateLeadSettings(
        self, request: leads_pb2.UpdateLeadSettingsRequest, context: grpc.ServicerContext
    ) -> leads_pb2.UpdateLeadSettingsResponse:
        given = request.settings
        rules = PoolRules(
            given.owner_cap,
            given.daily_claims,
            ReclaimRule(given.idle_days, given.warn_days),
            given.captures_per_minute,
        )
        return self.write(
            request,
            leads_pb2.UpdateLeadSettingsResponse,
            lambda tx: leads_pb2.UpdateLeadSettingsResponse(
                settings=settings_message(update_pool_rules(tx, rules))
            ),
        )

    def GetLeadPushRule(
        self, request: leads_pb2.GetLeadPushRuleRequest, context: grpc.ServicerContext
    ) -> leads_pb2.GetLeadPushRuleResponse:
        return self.read(lambda tx: leads_pb2.GetLeadPushRuleResponse(rule=push_rule_message(push_rule(tx))))

    def UpdateLeadPushRule(
        self, request: leads_pb2.UpdateLeadPushRuleRequest, context: grpc.ServicerContext
    ) -> leads_pb2.UpdateLeadPushRuleResponse:
        given = request.rule
        rule = PushRule(tuple(given.times), tuple(given.person_ids), given.per_push, given.most_waiting)
        return self.write(
            request,
            leads_pb2.UpdateLeadPushRuleResponse,
            lambda tx: leads_pb2.UpdateLeadPushRuleResponse(
                rule=push_rule_message(update_push_rule(tx, rule))
            ),
        )

    def ListLeadPushes(
        self, request: leads_pb2.ListLeadPushesRequest, context: grpc.ServicerContext
    ) -> leads_pb2.ListLeadPushesResponse:
        return self.read(
            lambda tx: leads_pb2.ListLeadPushesResponse(pushes=map(push_message, pushes(tx, MOST_PUSHES)))
        )

    def CreateCaptureSource(
        self, request: leads_pb2.CreateCaptureSourceRequest, context: grpc.ServicerContext
    ) -> leads_pb2.CreateCaptureSourceResponse:
        def work(tx: Transaction) -> leads_pb2.CreateCaptureSourceResponse:
            source, secret = create_source(tx, request.name, request.pool_id)
            return leads_pb2.CreateCaptureSourceResponse(source=source_message(source), secret=secret.hex())

        return self.write(request, leads_pb2.CreateCaptureSourceResponse, work)

    def ListCaptureSources(
        self, request: leads_pb2.ListCaptureSourcesRequest, context: grpc.ServicerContext
    ) -> leads_pb2.ListCaptureSourcesResponse:
        return self.read(
            lambda tx: leads_pb2.ListCaptureSourcesResponse(sources=map(source_message, sources(tx)))
        )

    def AddLeadFollowUp(
        self, request: leads_pb2.AddLeadFollowUpRequest, context: grpc.ServicerContext
    ) -> leads_pb2.AddLeadFollowUpResponse:
        caller = current_caller()

        def work(tx: Transaction) -> leads_pb2.AddLeadFollowUpResponse:
            # The new lead first: it locks its owner's row, which comes before any lead's.
            fresh = None
            if request.HasField("new_lead"):
                new = request.new_lead
                fresh = create_lead(
                    tx,
                    require_right(caller, "leads.create"),
                    LeadInput(new.name, new.company, new.phone, new.note),
                    field="new_lead.",
                    # That form is short: what is required is asked for by the lead's own.
                    whole=False,
                )
            lead = follow_lead(tx, caller, request.lead_id, request.text)
            return leads_pb2.AddLeadFollowUpResponse(
                lead=lead_message(tx, lead, caller),
                new_lead=lead_message(tx, fresh, caller) if fresh else None,
            )

        return self.write(request, leads_pb2.AddLeadFollowUpResponse, work)

    def ConvertLead(
        self, request: leads_pb2.ConvertLeadRequest, context: grpc.ServicerContext
    ) -> leads_pb2.ConvertLeadResponse:
        caller, tenant = current_caller(), current_tenant()
        opportunity = (
            OpportunityInput(request.opportunity.name, request.opportunity.amount)
            if request.HasField("opportunity")
            else None
        )

        noted: list[Conversion] = []

        def note(tx: Transaction) -> leads_pb2.ConvertLeadResponse:
            noted.append(
                request_conversion(
                    tx,
                    caller,
                    parse_id(request.lead_id, "lead_id"),
                    parse_id(request.request_id, "request_id"),
                    customer_name=request.customer_name,
                    create_contact=request.create_contact,
                    opportunity=opportunity,
                    chosen_customer_id=request.customer_id,
                )
            )
            # The answer is the workflow's: it is kept with the conversion.
            return leads_pb2.ConvertLeadResponse()

        self.write(request, leads_pb2.ConvertLeadResponse, note)
        lead_id = parse_id(request.lead_id, "lead_id")
        request_id = parse_id(request.request_id, "request_id")
        ref = ConversionRef(tenant, conversion_id(lead_id, request_id), caller.actor_id)
        # A repeat may find that it has come to its end.
        conversion = noted[0] if noted else self._conversion(ref)
        if conversion.finish_time is None:
            self._temporal.ask(
                WORKFLOW,
                ref,
                tenant_id=tenant.id,
                workflow_id=conversion_workflow_id(lead_id, request_id),
                queue=QUEUE,
                update=ENDED,
                result=type(None),
                timeout_s=CONVERSION_TIMEOUT_S,
                task_timeout=TASK_TIMEOUT,
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
        wanted = OpportunityFilter(
            request.customer_id, OPPORTUNITY_FILTERS.get(request.state), request.overdue
        )

        def work(tx: Transaction) -> leads_pb2.ListOpportunitiesResponse:
            page, more = cut_page(list_opportunities(tx, caller, wanted, after, size + 1), size)
            first = stages_of(tx)[0].id
            return leads_pb2.ListOpportunitiesResponse(
                opportunities=[opportunity_message(item, caller, first) for item in page],
                next_page_token=encode_cursor(page[-1].create_time, page[-1].id) if more else "",
            )

        return self.read(work)

    def WinOpportunity(
        self, request: leads_pb2.WinOpportunityRequest, context: grpc.ServicerContext
    ) -> leads_pb2.WinOpportunityResponse:
        return self._sell(
            request,
            leads_pb2.WinOpportunityResponse,
            lambda tx, caller: win_opportunity(tx, caller, request.opportunity_id),
        )

    def LoseOpportunity(
        self, request: leads_pb2.LoseOpportunityRequest, context: grpc.ServicerContext
    ) -> leads_pb2.LoseOpportunityResponse:
        return self._sell(
            request,
            leads_pb2.LoseOpportunityResponse,
            lambda tx, caller: lose_opportunity(tx, caller, request.opportunity_id, request.reason),
        )

    def MatchLeadPhone(
        self, request: leads_pb2.MatchLeadPhoneRequest, context: grpc.ServicerContext
    ) -> leads_pb2.MatchLeadPhoneResponse:
        """Return who among the leads may be calling."""
        e164 = match_number(request.number)
        if not e164:
            return leads_pb2.MatchLeadPhoneResponse()
        with self.store.transaction(current_tenant()) as tx:
            return leads_pb2.MatchLeadPhoneResponse(
                candidates=[
                    leads_pb2.LeadCandidate(
                        lead_id=lead.id, name=lead.name, company=lead.company, owner_id=lead.owner_id or ""
                    )
                    for lead in leads_of_number(tx, e164)
                ]
            )

    def MoveOpportunity(
        self, request: leads_pb2.MoveOpportunityRequest, context: grpc.ServicerContext
    ) -> leads_pb2.MoveOpportunityResponse:
        return self._sell(
            request,
            leads_pb2.MoveOpportunityResponse,
            lambda tx, caller: move_opportunity(tx, caller, request.opportunity_id, request.stage_id),
        )

    def UpdateOpportunity(
        self, request: leads_pb2.UpdateOpportunityRequest, context: grpc.ServicerContext
    ) -> leads_pb2.UpdateOpportunityResponse:
        given = OpportunityFacts(
            request.amount, request.expected_close_date, request.needs, request.competitors
        )
        return self._sell(
            request,
            leads_pb2.UpdateOpportunityResponse,
            lambda tx, caller: update_opportunity(tx, caller, request.opportunity_id, request.version, given),
        )

    def TransferOpportunity(
        self, request: leads_pb2.TransferOpportunityRequest, context: grpc.ServicerContext
    ) -> leads_pb2.TransferOpportunityResponse:
        owner_id = parse_id(request.owner_id, "owner_id")
        owner = self._identity.person(current_tenant(), current_caller().actor_id, owner_id)
        return self._sell(
            request,
            leads_pb2.TransferOpportunityResponse,
            lambda tx, caller: transfer_opportunity(tx, caller, request.opportunity_id, owner),
        )

    def GetOpportunity(
        self, request: leads_pb2.GetOpportunityRequest, context: grpc.ServicerContext
    ) -> leads_pb2.GetOpportunityResponse:
        caller = current_caller()

        def work(tx: Transaction) -> leads_pb2.GetOpportunityResponse:
            opportunity = find_opportunity(tx, caller, request.opportunity_id)
            changes = opportunity_changes(tx, opportunity.id)
            entries = [
                (change.to_stage_id, change.create_time) for change in changes if change.action in ENTRIES
            ]
            stayed = stays(entries, opportunity.close_time or tx.now) if entries else {}
            return leads_pb2.GetOpportunityResponse(
                opportunity=opportunity_message(opportunity, caller, stages_of(tx)[0].id),
                changes=map(opportunity_change_message, reversed(changes)),
                stays=[
                    leads_pb2.StageStay(stage_id=stage_id, seconds=seconds)
                    for stage_id, seconds in stayed.items()
                ],
            )

        return self.read(work)

    def ListOpportunityStages(
        self, request: leads_pb2.ListOpportunityStagesRequest, context: grpc.ServicerContext
    ) -> leads_pb2.ListOpportunityStagesResponse:
        return self.read(
            lambda tx: leads_pb2.ListOpportunityStagesResponse(stages=map(stage_message, stages_of(tx)))
        )

    def UpdateOpportunityStages(
        self, request: leads_pb2.UpdateOpportunityStagesRequest, context: grpc.ServicerContext
    ) -> leads_pb2.UpdateOpportunityStagesResponse:
        given = [Stage(stage.stage_id, stage.name, stage.probability) for stage in request.stages]
        return self.write(
            request,
            leads_pb2.UpdateOpportunityStagesResponse,
            lambda tx: leads_pb2.UpdateOpportunityStagesResponse(
                stages=map(stage_message, update_stages(tx, given))
            ),
        )

    def ReportOpportunities(
        self, request: leads_pb2.ReportOpportunitiesRequest, context: grpc.ServicerContext
    ) -> leads_pb2.ReportOpportunitiesResponse:
        caller = current_caller()
        return self.read(
            lambda tx: report_message(stages_of(tx), open_groups(tx, caller), average_stays(tx, caller))
        )

    def _move(
        self, request: Mutation, answer: type[Moved], verb: Callable[[Transaction, Caller], Lead]
    ) -> Moved:
        caller = current_caller()
        return self.write(request, answer, lambda tx: answer(lead=lead_message(tx, verb(tx, caller), caller)))

    def _sell(
        self, request: Mutation, answer: type[Sold], verb: Callable[[Transaction, Caller], Opportunity]
    ) -> Sold:
        caller = current_caller()

        def work(tx: Transaction) -> Sold:
            opportunity = verb(tx, caller)
            return answer(opportunity=opportunity_message(opportunity, caller, stages_of(tx)[0].id))

        return self.write(request, answer, work)

    def _conversion(self, ref: ConversionRef) -> Conversion:
        with self.store.transaction(ref.tenant, ref.actor_id) as tx:
            return conversion_row(tx, ref.conversion_id)


def lead_messages(tx: Transaction, leads: Sequence[Lead], caller: Caller) -> list[leads_pb2.Lead]:
    """Return leads with what became of them."""
    made = opportunities_of(tx, leads)
    return [lead_message(tx, lead, caller, made.get(lead.opportunity_id or "")) for lead in leads]


def number_shown(lead: Lead, caller: Caller) -> bool:
    """Tell whether the caller may see a lead's number, in its field or in what people typed (F59)."""
    return lead.owner_id == caller.person_id or "numbers.view_all" in caller.rights


def lead_message(
    tx: Transaction, lead: Lead, caller: Caller, opportunity: Opportunity | None = None
) -> leads_pb2.Lead:
    """Return a lead as this caller may see it: the number only to its owner and to who may see all numbers."""
    owned = lead.owner_id is not None and lead.owner_id == caller.person_id
    plain = number_shown(lead, caller)
    locked = lead.lock_expire_time is not None and lead.lock_expire_time > tx.now
    state = LeadState(lead.state)
    fields = {
        definition.key: display_value(definition, lead.fields.get(definition.key), numbers_shown=plain)
        for definition in FIELDS.definitions(tx, FieldObject.LEAD)
    }
    return leads_pb2.Lead(
        lead_id=lead.id,
        name=lead.name,
        company=lead.company,
        phone=show_number(lead.phone_key) if plain else mask_number(lead.phone),
        source=lead.source,
        note=text_for(lead.note, may_see=plain),
        state=LEAD_STATES[state],
        owner_id=lead.owner_id or "",
        create_time=timestamp(lead.create_time),
        version=lead.version,
        customer_id=lead.customer_id or "",
        allowed_actions=lead_actions(
            state,
            rights=caller.rights,
            owned=owned,
            converting=lead.conversion_id is not None,
            locked=locked,
        ),
        last_follow_time=timestamp(lead.last_follow_time) if lead.last_follow_time else None,
        lock_expire_time=timestamp(lead.lock_expire_time) if locked and lead.lock_expire_time else None,
        opportunity_id=opportunity.id if opportunity else "",
        opportunity_state=OPPORTUNITY_STATES[OpportunityState(opportunity.state)]
        if opportunity
        else leads_pb2.OPPORTUNITY_STATE_UNSPECIFIED,
        order_state=order_state_number(opportunity.order_state if opportunity else ""),
        fields=[leads_pb2.FieldValue(key=key, value=text) for key, text in fields.items() if text],
        pool_id=shown_pool_id(lead.tenant_id, lead.pool_id),
    )


def ownership_message(change: OwnershipChange) -> leads_pb2.LeadOwnershipChange:
    """Return a row of the ledger."""
    return leads_pb2.LeadOwnershipChange(
        from_owner_id=change.from_owner_id or "",
        to_owner_id=change.to_owner_id or "",
        cause=CAUSES[Cause(change.cause)],
        actor_id=change.actor_id or "",
        reason=change.reason,
        create_time=timestamp(change.create_time),
    )


def settings_message(rules: PoolRules) -> leads_pb2.LeadSettings:
    """Return the rules of the lead pool."""
    return leads_pb2.LeadSettings(
        owner_cap=rules.owner_cap,
        daily_claims=rules.daily_claims,
        idle_days=rules.reclaim.idle_days,
        warn_days=rules.reclaim.warn_days,
        captures_per_minute=rules.captures_per_minute,
    )


def push_rule_message(rule: PushRule) -> leads_pb2.LeadPushRule:
    """Return the rule of pushes."""
    return leads_pb2.LeadPushRule(
        times=rule.times,
        person_ids=rule.person_ids,
        per_push=rule.per_push,
        most_waiting=rule.most_waiting,
    )


def push_message(made: LeadPush) -> leads_pb2.LeadPush:
    """Return what a push did."""
    people = sorted({*made.given, *made.left_out}, key=lambda person: (-made.given.get(person, 0), person))
    return leads_pb2.LeadPush(
        set_time=timestamp(made.set_time),
        finish_time=timestamp(made.finish_time) if made.finish_time else None,
        shares=[
            leads_pb2.LeadPushShare(
                person_id=person,
                count=made.given.get(person, 0),
                exclusion=EXCLUSIONS[LeftOut(made.left_out[person])]
                if person in made.left_out
                else leads_pb2.LEAD_PUSH_EXCLUSION_UNSPECIFIED,
            )
            for person in people
        ],
        remaining=made.remaining,
    )


def source_message(source: CaptureSource) -> leads_pb2.CaptureSource:
    """Return a registered source, without its secret."""
    return leads_pb2.CaptureSource(
        name=source.name,
        create_time=timestamp(source.create_time),
        pool_id=shown_pool_id(source.tenant_id, source.pool_id),
        end_time=timestamp(source.end_time),
    )


def order_state_number(text: str) -> orders_pb2.OrderState.ValueType:
    """Return an order's state as the contract has it; one that is not known here is none."""
    return dict(orders_pb2.OrderState.items()).get(
        ORDER_STATE_PREFIX + text.upper(), orders_pb2.ORDER_STATE_UNSPECIFIED
    )


def order_state_text(number: orders_pb2.OrderState.ValueType) -> str:
    """Return an order's state as orders' events name it; "" for none."""
    if number not in orders_pb2.OrderState.values() or not number:
        return ""
    return orders_pb2.OrderState.Name(number).removeprefix(ORDER_STATE_PREFIX).lower()


def parse_idle_days(days: int) -> int:
    """Return the days of a filter; raises InvalidInput IDLE_DAYS_OUT_OF_RANGE."""
    if not 0 <= days <= LONGEST_IDLE_DAYS:
        raise InvalidInput(
            "idle_days",
            "IDLE_DAYS_OUT_OF_RANGE",
            "未跟进天数应在 0 到 {most} 之间",
            "idle_days is 0 to {most}",
            most=LONGEST_IDLE_DAYS,
        )
    return days


def require_right(caller: Caller, right: str) -> Caller:
    """Return the caller; raises Forbidden RIGHT_MISSING where a request asks for more than its method does."""
    if right not in caller.rights:
        raise right_missing(right)
    return caller


def change_message(change: LeadChange, shown: bool) -> leads_pb2.LeadChange:
    """Return a row of a lead's log. shown: whether the reader may see the lead's number."""
    return leads_pb2.LeadChange(
        from_state=LEAD_STATES[LeadState(change.from_state)]
        if change.from_state
        else leads_pb2.LEAD_STATE_UNSPECIFIED,
        to_state=LEAD_STATES[LeadState(change.to_state)],
        actor_id=change.actor_id or "",
        text=text_for(change.text, may_see=shown),
        create_time=timestamp(change.create_time),
    )


def opportunity_message(
    opportunity: Opportunity, caller: Caller, first_stage_id: str
) -> leads_pb2.Opportunity:
    """Return an opportunity as this caller may see it.

    first_stage_id: where one is that was made before there were stages.
    """
    state = OpportunityState(opportunity.state)
    owned = opportunity.owner_id == caller.person_id
    return leads_pb2.Opportunity(
        opportunity_id=opportunity.id,
        name=opportunity.name,
        customer_id=opportunity.customer_id,
        owner_id=opportunity.owner_id,
        amount=format_amount(opportunity.amount),
        state=OPPORTUNITY_STATES[state],
        create_time=timestamp(opportunity.create_time),
        version=opportunity.version,
        customer_name=opportunity.customer_name,
        order_id=opportunity.order_id or "",
        order_state=order_state_number(opportunity.order_state),
        stage_id=opportunity.stage_id or first_stage_id,
        stage_time=timestamp(opportunity.stage_time or opportunity.create_time),
        needs=opportunity.needs,
        competitors=opportunity.competitors,
        expected_close_date=opportunity.expected_close_date.isoformat()
        if opportunity.expected_close_date
        else "",
        lose_reason=opportunity.lose_reason,
        allowed_actions=opportunity_actions(state, rights=caller.rights, owned=owned),
    )


def opportunity_change_message(change: OpportunityChange) -> leads_pb2.OpportunityChange:
    """Return a row of an opportunity's log."""
    return leads_pb2.OpportunityChange(
        action=change.action,
        from_stage_id=change.from_stage_id or "",
        to_stage_id=change.to_stage_id,
        actor_id=change.actor_id or "",
        text=change.text,
        create_time=timestamp(change.create_time),
    )


def stage_message(stage: Stage) -> leads_pb2.OpportunityStage:
    """Return a stage."""
    return leads_pb2.OpportunityStage(stage_id=stage.id, name=stage.name, probability=stage.probability)


def report_message(
    stages: Sequence[Stage], groups: Sequence[OpenGroup], average: Mapping[str, int]
) -> leads_pb2.ReportOpportunitiesResponse:
    """Return forecast and stages of what is open (F79, F80)."""
    probabilities = {stage.id: stage.probability for stage in stages}
    zero = Decimal("0.00")
    answer = leads_pb2.ReportOpportunitiesResponse()
    # Without a month last.
    for month in sorted({group.month for group in groups}, key=lambda month: month or "~"):
        chosen = [group for group in groups if group.month == month]
        forecast = (
            weighted(group.amount, probabilities.get(group.stage_id or stages[0].id, 0)) for group in chosen
        )
        answer.forecast.add(
            month=month,
            count=sum(group.count for group in chosen),
            amount=format_amount(sum((group.amount for group in chosen), zero)),
            weighted=format_amount(sum(forecast, zero)),
        )
    for stage in stages:
        chosen = [group for group in groups if (group.stage_id or stages[0].id) == stage.id]
        answer.stages.add(
            stage=stage_message(stage),
            count=sum(group.count for group in chosen),
            amount=format_amount(sum((group.amount for group in chosen), zero)),
            average_seconds=average.get(stage.id, 0),
        )
    return answer
