"""Leads over gRPC: requests to use cases and back."""

from collections.abc import Callable
from typing import TypeVar

import grpc
from crm.leads.v1 import leads_pb2, leads_pb2_grpc

from services.chassis.db import Transaction
from services.chassis.grpc_server import Api, Mutation, current_caller, current_tenant
from services.chassis.ids import parse_id
from services.chassis.paging import cut_page, decode_cursor, encode_cursor, page_size
from services.chassis.service import Runtime
from services.chassis.temporal import TemporalLink, rebuild
from services.chassis.tokens import Caller
from services.kernel.ownership import ReclaimRule
from services.kernel.phones import match_number
from services.leads.clients import Identity
from services.leads.domain.conversion import ConversionState
from services.leads.domain.pool import PoolRules
from services.leads.domain.push import PushRule
from services.leads.domain.stages import Stage, stays
from services.leads.messages import (
    OPPORTUNITY_FILTERS,
    STATE_FILTERS,
    change_message,
    lead_message,
    lead_messages,
    number_shown,
    opportunity_change_message,
    opportunity_message,
    order_state_text,
    ownership_message,
    parse_idle_days,
    push_message,
    push_rule_message,
    report_message,
    settings_message,
    source_message,
    stage_message,
)
from services.leads.store.ledger import pool_rules
from services.leads.store.queries import (
    ENTRIES,
    LeadFilter,
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
    opportunity_changes,
    ownership_changes,
)
from services.leads.store.tables import (
    Conversion,
    Lead,
    Opportunity,
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
PROGRESS = {leads_pb2.LEAD_PROGRESS_NOT_FOLLOWED: False, leads_pb2.LEAD_PROGRESS_FOLLOWED: True}
# Pushes in one answer.
MOST_PUSHES = 50


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
                changes=[
                    opportunity_change_message(change, number_shown(opportunity, caller))
                    for change in reversed(changes)
                ],
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


def require_right(caller: Caller, right: str) -> Caller:
    """Return the caller; raises Forbidden RIGHT_MISSING where a request asks for more than its method does."""
    if right not in caller.rights:
        raise right_missing(right)
    return caller
