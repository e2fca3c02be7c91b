"""The lead pool: who gains and loses a lead and why, what falls back, what comes in from outside."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from crm.leads.v1 import leads_pb2 as pb
from crm.orders.v1 import orders_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, update
from sqlalchemy.exc import SQLAlchemyError
from temporalio import activity
from temporalio.client import WorkflowHandle
from temporalio.worker import Worker

from services.chassis.clock import utc_now
from services.chassis.db import Store
from services.chassis.errors import AppError, Forbidden, Quota, Unauthenticated
from services.chassis.ids import new_id
from services.chassis.measures import Measurer
from services.leads.domain.pool import capture_signature
from services.leads.domain.states import LEAD_TRANSITIONS, LeadAction, LeadState
from services.leads.events import handlers
from services.leads.metrics import RECLAIM_BACKLOG, RECLAIM_BACKLOG_AGE
from services.leads.store.measures import MEASURES
from services.leads.store.tables import Lead, Opportunity, OwnershipChange
from services.leads.usecases.pool import sweep
from services.leads.workflows.activities import PoolActivities
from services.leads.workflows.contracts import (
    POOL_WORKFLOW,
    QUEUE,
    SWEEP,
    PoolSweep,
    SweepAt,
    pool_workflow_id,
)
from services.leads.workflows.pool import SweepLeadPool
from tests.integration.leads.conftest import Events, Member, Team
from tests.integration.leads.test_leads import assign, capture_request
from tests.support.histories import record
from tests.support.measured import measured
from tests.support.running import event_of, take
from tests.support.time_skipping import soon, time_skipping

STATES = {f"LEAD_STATE_{state.name}": state for state in LeadState}


def act(member: Member, action: str, lead_id: str, **given_values: object) -> pb.Lead:
    """Let somebody do something with a lead."""
    name = {"mark_invalid": "MarkLeadInvalid"}.get(action, f"{action.title()}Lead")
    request = getattr(pb, f"{name}Request")(request_id=new_id(), lead_id=lead_id, **given_values)
    lead: pb.Lead = member.call(getattr(member.stub, name), request).lead
    return lead


def set_rules(team: Team, **rules: int) -> None:
    """Set the rules of the pool."""
    admin = team.person("pools.manage")
    values = {"idle_days": 90, "warn_days": 1, "captures_per_minute": 600, **rules}
    request = pb.UpdateLeadSettingsRequest(request_id=new_id(), settings=pb.LeadSettings(**values))
    assert admin.call(team.stub.UpdateLeadSettings, request).settings == request.settings


def captured(team: Team, key: str = "") -> pb.Lead:
    """Return a fresh lead of the pool."""
    site = team.person("leads.capture")
    lead: pb.Lead = site.call(team.stub.CaptureLead, capture_request(key or new_id())).lead
    return lead


def causes(member: Member, lead_id: str) -> list[str]:
    """Return why a lead's owner changed, oldest first."""
    request = pb.ListLeadOwnershipChangesRequest(lead_id=lead_id)
    changes = member.call(member.stub.ListLeadOwnershipChanges, request).changes
    prefix = "LEAD_OWNERSHIP_CAUSE_"
    return [
        pb.LeadOwnershipCause.Name(change.cause).removeprefix(prefix).lower() for change in reversed(changes)
    ]


VERBS = ("assign", "claim", "return", "follow", "mark_invalid", "resume", "void", "restore")


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    actions=st.lists(
        st.tuples(st.sampled_from(VERBS), st.sampled_from(["ada", "bob", "boss", "admin"])),
        min_size=3,
        max_size=14,
    )
)
def test_any_sequence_of_verbs_goes_the_tables_ways_and_is_logged(
    team: Team, actions: list[tuple[str, str]]
) -> None:
    """F113, F115, F116, F118, F119, F121, F122, O9: over the served API, by owner, other rep, manager and admin."""
    people = {
        "ada": team.person(),
        "bob": team.person(),
        "boss": team.person("leads.view", "leads.assign", "leads.follow", scope="all"),
        "admin": team.person("leads.view", "leads.restore", "leads.assign", "leads.follow", scope="all"),
    }
    lead = captured(team)
    reasons: list[tuple[str, bool]] = []
    state, owner, steps = LeadState.UNASSIGNED, "", [LeadState.UNASSIGNED]
    for verb, name in actions:
        member, action = people[name], LeadAction(verb)
        try:
            match verb:
                case "assign":
                    after = assign(member, lead.lead_id, people["ada"].person_id)
                case "follow":
                    after = member.follow(lead.lead_id)
                case _:
                    after = act(member, verb, lead.lead_id)
        except AppError as refused:
            reasons.append((refused.reason, state in LEAD_TRANSITIONS[action]))
            continue
        assert verb != "restore" or name == "admin"
        if verb in ("return", "follow", "mark_invalid", "resume"):
            assert owner == member.person_id
        state = LEAD_TRANSITIONS[action][state]
        steps.append(state)
        owner = {
            "assign": people["ada"].person_id,
            "claim": member.person_id,
            "return": "",
            "restore": "",
        }.get(verb, owner)
        assert (STATES[pb.LeadState.Name(after.state)], after.owner_id) == (state, owner)
    seen = people["boss"].get(lead.lead_id)
    assert (STATES[pb.LeadState.Name(seen.lead.state)], seen.lead.owner_id) == (state, owner)
    logged = [STATES[pb.LeadState.Name(change.to_state)] for change in reversed(seen.changes)]
    assert logged == steps
    assert {reason for reason, _ in reasons} <= {
        "LEAD_STATE",
        "LEAD_NOT_FOUND",
        "LEAD_NOT_OWNED",
        "RIGHT_MISSING",
    }
    assert ("LEAD_STATE", True) not in reasons


def test_restoring_is_an_administrators_alone(team: Team) -> None:
    """F121, F122."""
    rep = team.person()
    lead = rep.lead()
    assert act(rep, "void", lead.lead_id, reason="空号").state == pb.LEAD_STATE_VOIDED
    request = pb.RestoreLeadRequest(request_id=new_id(), lead_id=lead.lead_id)
    assert isinstance(rep.call.refused(team.stub.RestoreLead, request), Forbidden)
    admin = team.person("leads.view", "leads.restore", scope="all")
    restored = act(admin, "restore", lead.lead_id)
    assert (restored.state, restored.owner_id) == (pb.LEAD_STATE_UNASSIGNED, "")
    assert causes(admin, lead.lead_id) == ["create", "restore"]
    assert [change.text for change in admin.get(lead.lead_id).changes] == ["", "空号", ""]


def test_a_returned_lead_loses_its_owner_and_may_be_claimed(team: Team) -> None:
    """F115; the number shows to whoever claimed it and to nobody before."""
    rep, other = team.person(), team.person()
    lead = captured(team)
    assert act(rep, "claim", lead.lead_id).phone == "+8613800138000"
    returned = act(rep, "return", lead.lead_id, reason="不对口")
    assert (returned.state, returned.owner_id, returned.phone) == (
        pb.LEAD_STATE_UNASSIGNED,
        "",
        "+86138****8000",
    )
    assert act(other, "claim", lead.lead_id).owner_id == other.person_id
    assert causes(other, lead.lead_id) == ["claim", "return", "claim"]


def test_of_many_who_claim_at_once_one_has_it(team: Team) -> None:
    lead = captured(team)
    reps = [team.person() for _ in range(8)]

    def claim(rep: Member) -> str:
        try:
            return act(rep, "claim", lead.lead_id).owner_id
        except AppError as refused:
            return refused.reason

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(claim, reps))
    won = [outcome for outcome in outcomes if outcome in {rep.person_id for rep in reps}]
    assert len(won) == 1
    assert set(outcomes) - set(won) <= {"LEAD_NOT_FOUND", "LEAD_STATE"}


def test_cap_and_daily_claims_hold_when_one_person_claims_in_many_threads(team: Team) -> None:
    """As customers' F21 and F28: claim, return, claim refunds nothing of the day."""
    rep = team.person()
    set_rules(team, owner_cap=3, daily_claims=4)
    leads = [captured(team).lead_id for _ in range(8)]

    def claim(lead_id: str) -> str:
        try:
            return act(rep, "claim", lead_id).lead_id
        except AppError as refused:
            return refused.reason

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(claim, leads))
    mine = [outcome for outcome in outcomes if outcome in leads]
    assert (len(mine), outcomes.count("OWNER_CAP_REACHED")) == (3, 5)
    for lead_id in mine[:2]:
        act(rep, "return", lead_id)
    rest = [lead_id for lead_id in leads if lead_id not in mine]
    act(rep, "claim", rest[0])
    request = pb.ClaimLeadRequest(request_id=new_id(), lead_id=rest[1])
    assert isinstance(rep.call.refused(team.stub.ClaimLead, request), Quota)
    rep.lead()
    full = pb.CreateLeadRequest(request_id=new_id(), name="满")
    assert rep.call.refused(team.stub.CreateLead, full).reason == "OWNER_CAP_REACHED"


def test_the_database_refuses_an_owner_without_the_ledger(team: Team, store: Store) -> None:
    lead = captured(team)
    for statement in (
        update(Lead).where(Lead.id == lead.lead_id).values(owner_id=new_id()),
        delete(OwnershipChange),
    ):
        with (
            pytest.raises(SQLAlchemyError, match="ledger"),
            store.transaction(team.tenant) as tx,
        ):
            tx.session.execute(statement)


def test_a_neglected_lead_is_warned_of_and_falls_back_a_day_later_unless_locked(
    team: Team, store: Store, events: Events
) -> None:
    rep = team.person()
    set_rules(team, idle_days=30, warn_days=2)
    lost, locked, worked = rep.lead("甲"), rep.lead("乙"), rep.lead("丙")
    assert act(rep, "lock", locked.lead_id, days=60).HasField("lock_expire_time")
    start = utc_now()

    def swept(days: float) -> None:
        with store.transaction(team.tenant, now=start + timedelta(days=days)) as tx:
            assert not sweep(tx, 100)

    def look(lead: pb.Lead) -> pb.Lead:
        return rep.get(lead.lead_id).lead

    swept(27.9)
    assert events.of(team.tenant, "lead_reclaim_warned") == []
    swept(28.1)
    swept(28.2)
    assert {told["data"]["name"] for told in events.of(team.tenant, "lead_reclaim_warned")} == {"甲", "丙"}
    with store.transaction(team.tenant) as tx:
        row = tx.session.get_one(Lead, worked.lead_id)
        row.evidence_time, row.warned_time = start + timedelta(days=29), None
    swept(30.1)
    (told,) = events.of(team.tenant, "lead_reclaimed")
    assert told["data"] == {"leadId": lost.lead_id, "name": "甲", "fromOwnerId": rep.person_id}
    assert (look(lost).state, look(worked).state) == (pb.LEAD_STATE_UNASSIGNED, pb.LEAD_STATE_ASSIGNED)
    assert (look(locked).state, list(look(locked).allowed_actions)[-1]) == (pb.LEAD_STATE_ASSIGNED, "unlock")
    assert not act(rep, "unlock", locked.lead_id).HasField("lock_expire_time")
    assert causes(rep, lost.lead_id) == ["create", "reclaim"]
    # Warned late, whatever was down: a day always lies between.
    swept(70)
    assert look(locked).state == pb.LEAD_STATE_ASSIGNED
    swept(71.1)
    assert look(locked).state == pb.LEAD_STATE_UNASSIGNED


def test_operators_see_how_many_leads_should_have_fallen_back(team: Team, store: Store) -> None:
    """Warned and idle for long enough; not who is locked, not who was not warned yet."""
    gauges = (RECLAIM_BACKLOG, RECLAIM_BACKLOG_AGE)
    measurer = Measurer(store, MEASURES)
    before = measured(measurer, gauges, team.tenant.database)
    rep = team.person()
    set_rules(team, idle_days=30, warn_days=2)
    late, locked, _unwarned = rep.lead("甲"), rep.lead("乙"), rep.lead("丙")
    assert act(rep, "lock", locked.lead_id, days=60).HasField("lock_expire_time")
    long_ago = utc_now() - timedelta(days=4000)
    with store.transaction(team.tenant) as tx:
        for lead in (late, locked):
            row = tx.session.get_one(Lead, lead.lead_id)
            row.evidence_time, row.warned_time = long_ago, long_ago
    after = measured(measurer, gauges, team.tenant.database)
    assert after[0] - before[0] == 1
    assert after[1] >= timedelta(days=3969).total_seconds()


async def test_the_sweep_takes_a_lead_back_once_through_a_worker_that_dies(
    team: Team, store: Store, events: Events
) -> None:
    """F115: killed before its first look, and again when the lead has fallen back and nobody was told of it yet."""
    rep = team.person()
    set_rules(team, idle_days=2, warn_days=1)
    lead = rep.lead()
    work = PoolActivities(store).sweep
    places = ["before", "after"]

    def fallen() -> bool:
        return rep.get(lead.lead_id).lead.state == pb.LEAD_STATE_UNASSIGNED

    @activity.defn(name=SWEEP)
    def mortal(at: SweepAt) -> bool:
        if places[0] == "before":
            places.pop(0)
            raise RuntimeError("died before it")
        more = work(at)
        if places == ["after"] and fallen():
            places[0] = "done"
            raise RuntimeError("died after it")
        return more

    async with time_skipping() as environment:
        with ThreadPoolExecutor(2) as threads:
            async with Worker(
                environment.client,
                task_queue=QUEUE,
                workflows=[SweepLeadPool],
                activities=[mortal],
                activity_executor=threads,
            ):
                handle: WorkflowHandle[object, object] = await environment.client.start_workflow(
                    POOL_WORKFLOW,
                    PoolSweep(team.tenant),
                    id=pool_workflow_id(team.tenant.id),
                    task_queue=QUEUE,
                )
                await environment.sleep(timedelta(hours=3))
                await record("leads", "sweep", handle)
                await environment.sleep(timedelta(days=2))
                await soon(fallen)
                await environment.sleep(timedelta(hours=2))
    assert places == ["done"]
    assert causes(rep, lead.lead_id) == ["create", "reclaim"]
    assert len(events.of(team.tenant, "lead_reclaim_warned")) == 1


def test_a_registered_source_must_sign(team: Team) -> None:
    """F136."""
    admin, site = team.person("integrations.manage"), team.person("leads.capture")
    request = pb.CreateCaptureSourceRequest(request_id=new_id(), name="website")
    secret = bytes.fromhex(admin.call(team.stub.CreateCaptureSource, request).secret)
    again = pb.CreateCaptureSourceRequest(request_id=new_id(), name="website")
    assert admin.call.refused(team.stub.CreateCaptureSource, again).reason == "SOURCE_EXISTS"
    listed = admin.call(team.stub.ListCaptureSources, pb.ListCaptureSourcesRequest()).sources
    assert [source.name for source in listed] == ["website"]

    lead = capture_request("1")
    refused = site.call.refused(team.stub.CaptureLead, lead)
    assert isinstance(refused, Unauthenticated)
    assert refused.reason == "SIGNATURE_MISSING"
    lead.sign_time = int(utc_now().timestamp())
    fields = (lead.source, lead.source_key, lead.name, lead.company, lead.phone, lead.note)
    lead.signature = capture_signature(secret, lead.sign_time, fields)
    assert site.call(team.stub.CaptureLead, lead).lead.name == "韩梅梅"
    lead.request_id, lead.name = new_id(), "别人"
    assert site.call.refused(team.stub.CaptureLead, lead).reason == "SIGNATURE_INVALID"


def test_captures_have_a_rate_by_caller(team: Team) -> None:
    """F136: a refused one leaves nothing behind."""
    set_rules(team, captures_per_minute=3)
    site, other = team.person("leads.capture"), team.person("leads.capture")
    outcomes: list[str] = []
    for number in range(8):
        try:
            outcomes.append(site.call(team.stub.CaptureLead, capture_request(str(number))).lead.lead_id)
        except Quota as refused:
            outcomes.append(refused.reason)
    # The minute may turn in between.
    assert outcomes.count("CAPTURES_USED_UP") >= 2
    assert other.call(team.stub.CaptureLead, capture_request("9")).lead.lead_id


def test_a_follow_up_can_bring_a_new_lead_in_the_same_step(team: Team) -> None:
    """F132: both or none."""
    rep = team.person()
    lead = rep.lead()
    request = pb.AddLeadFollowUpRequest(request_id=new_id(), lead_id=lead.lead_id, text="介绍了朋友")
    request.new_lead.name = "朋友"
    answer = rep.call(team.stub.AddLeadFollowUp, request)
    assert (answer.lead.state, answer.new_lead.owner_id) == (pb.LEAD_STATE_FOLLOWING, rep.person_id)
    assert rep.call(team.stub.AddLeadFollowUp, request) == answer
    bad = pb.AddLeadFollowUpRequest(request_id=new_id(), lead_id=lead.lead_id, text="x")
    bad.new_lead.name = " "
    assert rep.call.refused(team.stub.AddLeadFollowUp, bad).metadata["field"] == "new_lead.name"
    missing = pb.AddLeadFollowUpRequest(request_id=new_id(), lead_id=new_id(), text="x")
    missing.new_lead.name = "无"
    assert rep.call.refused(team.stub.AddLeadFollowUp, missing).reason == "LEAD_NOT_FOUND"
    names = {found.name for found in rep.call(team.stub.ListLeads, pb.ListLeadsRequest()).leads}
    assert names == {"韩梅梅", "朋友"}


def test_leads_are_filtered_by_progress_opportunity_and_order(team: Team, store: Store) -> None:
    """F133."""
    rep, manager = team.person(), team.person("leads.view", scope="all")
    fresh, followed, sold = rep.lead("新"), rep.lead("旧"), rep.lead("成")
    rep.follow(followed.lead_id)
    opportunity_id, order_id = new_id(), new_id()
    with store.transaction(team.tenant) as tx:
        tx.session.add(
            Opportunity(
                id=opportunity_id,
                tenant_id=team.tenant.id,
                customer_id=new_id(),
                customer_name="云海科技",
                name="年度采购",
                owner_id=rep.person_id,
                owner_department_path="1/",
                amount=1,
                state="won",
                create_time=tx.now,
                version=1,
            )
        )
        tx.session.get_one(Lead, sold.lead_id).opportunity_id = opportunity_id
        tx.session.get_one(Lead, fresh.lead_id).create_time = tx.now - timedelta(days=8)
    for version, state in ((2, "submitted"), (1, "generated")):
        data = {"orderId": order_id, "opportunityId": opportunity_id, "state": state}
        take(store, handlers, event_of(team.tenant, "orders", "order_changed", data, version=version))

    def listed(**wanted: Any) -> set[str]:
        answer = manager.call(team.stub.ListLeads, pb.ListLeadsRequest(**wanted))
        return {lead.name for lead in answer.leads}

    assert listed(progress=pb.LEAD_PROGRESS_FOLLOWED) == {"旧"}
    assert listed(progress=pb.LEAD_PROGRESS_NOT_FOLLOWED) == {"新", "成"}
    assert listed(idle_days=7) == {"新"}
    assert listed(owner_id=rep.person_id) == {"新", "旧", "成"}
    assert listed(opportunity_state=pb.OPPORTUNITY_STATE_WON) == {"成"}
    assert listed(opportunity_state=pb.OPPORTUNITY_STATE_OPEN) == set()
    assert listed(order_state=orders_pb2.ORDER_STATE_SUBMITTED) == {"成"}
    assert listed(order_state=orders_pb2.ORDER_STATE_GENERATED) == set()
    seen = manager.get(sold.lead_id).lead
    assert (seen.opportunity_id, seen.order_state) == (opportunity_id, orders_pb2.ORDER_STATE_SUBMITTED)
    refused = manager.call.refused(team.stub.ListLeads, pb.ListLeadsRequest(idle_days=-1))
    assert refused.metadata["field"] == "idle_days"
