"""Leads of the pool pushed to reps at set times, only to those able to take them (F135)."""

from collections.abc import Sequence
from datetime import datetime, time, timedelta

import pytest
from crm.identity.v1 import schedules_pb2
from crm.leads.v1 import leads_pb2 as pb

from services.chassis.clock import utc_now
from services.chassis.db import Store
from services.chassis.ids import new_id
from services.chassis.settings import Settings
from services.kernel.china_time import CHINA
from services.leads.__main__ import SERVICE, worker
from services.leads.domain.push import PushRule
from services.leads.usecases.leads import Person
from services.leads.usecases.push import push, push_due, update_push_rule
from services.leads.workflows.contracts import push_workflow_id
from tests.integration.leads.conftest import RIGHTS, Events, Member, Team
from tests.integration.leads.test_pool import act, captured, causes, set_rules
from tests.support.histories import record
from tests.support.running import relaying, working
from tests.support.until import until

# As many as the activity gives in one transaction would do too; the smaller, the more there are to die between.
BATCH = 2


def people_of(team: Team, members: Sequence[Member]) -> list[Person]:
    """Return people as identity describes them."""
    found = [
        team.world.people[member.person_id] for member in members if member.person_id in team.world.people
    ]
    return [
        Person(
            item.person.person_id,
            item.person.name,
            item.person.active,
            frozenset(item.person.rights),
            item.department_path,
            tuple(item.person.roles),
            tuple(item.person.region_department_ids),
        )
        for item in found
    ]


def push_all(
    store: Store, team: Team, moment: datetime, members: Sequence[Member], *absent: Member, batches: int = 100
) -> None:
    """Push what is due at a time, as the activity does; batches: transactions before the worker dies."""
    with store.transaction(team.tenant, now=moment) as tx:
        due = push_due(tx)
    assert due
    away = frozenset(member.person_id for member in absent)
    for _ in range(batches):
        with store.transaction(team.tenant, now=moment) as tx:
            if not push(tx, due.set_time, people_of(team, members), away, BATCH):
                return


def set_push(store: Store, team: Team, members: Sequence[Member], **limits: int) -> datetime:
    """Let leads be pushed at nine to these people; return tomorrow's nine o'clock."""
    with store.transaction(team.tenant) as tx:
        update_push_rule(tx, PushRule(("09:00",), tuple(member.person_id for member in members), **limits))
    tomorrow = utc_now().astimezone(CHINA).date() + timedelta(days=1)
    return datetime.combine(tomorrow, time(9), CHINA)


def owned(member: Member) -> int:
    """Return how many leads somebody has."""
    request = pb.ListLeadsRequest(owner_id=member.person_id)
    return len(member.call(member.stub.ListLeads, request).leads)


def pushes(team: Team) -> Sequence[pb.LeadPush]:
    """Return what pushes did."""
    manager = team.person("pools.manage")
    answer: pb.ListLeadPushesResponse = manager.call(team.stub.ListLeadPushes, pb.ListLeadPushesRequest())
    return answer.pushes


def test_leads_go_to_whoever_can_take_them_and_the_rest_stays(
    team: Team, store: Store, events: Events
) -> None:
    """F135: not to who is away, disabled, has no right, has enough waiting, or owns as many as one may."""
    busy, full, away, gone, idle, rep = (team.person(name=name) for name in "忙满假离闲新")
    watcher = team.person("leads.view")
    set_rules(team, owner_cap=3)
    for _ in range(2):
        busy.lead()
    for _ in range(3):
        full.follow(full.lead().lead_id)
    team.world.add_person(gone.person_id, "离", *RIGHTS, active=False)
    leads = [captured(team) for _ in range(7)]
    everybody = [busy, full, away, gone, idle, watcher, rep]
    nine = set_push(store, team, everybody, per_push=2, most_waiting=2)
    push_all(store, team, nine, everybody, away)
    assert [owned(member) for member in (busy, full, away, idle, rep)] == [2, 3, 0, 2, 2]
    mine = idle.call(idle.stub.ListLeads, pb.ListLeadsRequest(owner_id=idle.person_id)).leads
    assert [causes(idle, lead.lead_id) for lead in mine] == [["push"], ["push"]]
    (made,) = pushes(team)
    assert (made.set_time.ToDatetime(CHINA), made.remaining) == (nine, 3)
    assert made.HasField("finish_time")
    shares = {share.person_id: (share.count, share.exclusion) for share in made.shares}
    assert shares == {
        busy.person_id: (0, pb.LEAD_PUSH_EXCLUSION_WAITING_FULL),
        full.person_id: (0, pb.LEAD_PUSH_EXCLUSION_CAP_REACHED),
        away.person_id: (0, pb.LEAD_PUSH_EXCLUSION_ABSENT),
        gone.person_id: (0, pb.LEAD_PUSH_EXCLUSION_DISABLED),
        watcher.person_id: (0, pb.LEAD_PUSH_EXCLUSION_NO_RIGHT),
        idle.person_id: (2, pb.LEAD_PUSH_EXCLUSION_WAITING_FULL),
        rep.person_id: (2, pb.LEAD_PUSH_EXCLUSION_WAITING_FULL),
    }
    told = events.of(team.tenant, "lead_assigned")
    # The oldest ones, each told to its owner.
    assert [each["data"]["leadId"] for each in told] == [lead.lead_id for lead in leads[:4]]


def test_a_push_is_made_once_and_goes_on_where_a_worker_died(team: Team, store: Store) -> None:
    """F135: killed between two batches, the next worker gives what is left, and nobody gets more than a share."""
    one, other = team.person(), team.person()
    for _ in range(9):
        captured(team)
    nine = set_push(store, team, [one, other], per_push=3)
    push_all(store, team, nine, [one, other], batches=1)
    assert owned(one) + owned(other) == BATCH
    assert not pushes(team)[0].HasField("finish_time")
    push_all(store, team, nine, [one, other])
    assert (owned(one), owned(other)) == (3, 3)
    with store.transaction(team.tenant, now=nine + timedelta(minutes=5)) as tx:
        assert push_due(tx) is None
    assert pushes(team)[0].remaining == 3
    # The next day's is another one.
    push_all(store, team, nine + timedelta(days=1), [one, other])
    assert owned(one) + owned(other) == 9


def test_who_just_gave_a_lead_up_does_not_get_it_pushed_back(team: Team, store: Store) -> None:
    rep = team.person()
    lead = captured(team)
    act(rep, "claim", lead.lead_id)
    act(rep, "return", lead.lead_id)
    nine = set_push(store, team, [rep])
    push_all(store, team, nine, [rep])
    assert owned(rep) == 0
    colleague = team.person()
    nine = set_push(store, team, [rep, colleague])
    push_all(store, team, nine + timedelta(days=1), [rep, colleague])
    assert owned(colleague) == 1


def test_another_rule_holds_from_its_next_time_on(team: Team, store: Store) -> None:
    rep = team.person()
    captured(team)
    nine = set_push(store, team, [rep])
    with store.transaction(team.tenant, now=nine + timedelta(minutes=1)) as tx:
        update_push_rule(tx, PushRule(("09:00",), (rep.person_id,)))
    with store.transaction(team.tenant, now=nine + timedelta(minutes=2)) as tx:
        assert push_due(tx) is None
        # One that was under way ends.
        assert not push(tx, nine, people_of(team, [rep]), frozenset(), BATCH)
    assert owned(rep) == 0


def test_the_rule_is_set_over_the_api_and_its_fields_are_checked(team: Team) -> None:
    manager, rep = team.person("pools.manage"), team.person()
    rule = pb.LeadPushRule(times=["14:30", "09:00"], person_ids=[rep.person_id], per_push=5, most_waiting=0)
    request = pb.UpdateLeadPushRuleRequest(request_id=new_id(), rule=rule)
    stored = manager.call(team.stub.UpdateLeadPushRule, request).rule
    assert list(stored.times) == ["09:00", "14:30"]
    assert manager.call(team.stub.GetLeadPushRule, pb.GetLeadPushRuleRequest()).rule == stored
    wrong = pb.UpdateLeadPushRuleRequest(request_id=new_id(), rule=pb.LeadPushRule(times=["9"]))
    refused = manager.call.refused(team.stub.UpdateLeadPushRule, wrong)
    assert (refused.metadata["field"], refused.reason) == ("rule.times[0]", "TIME_INVALID")
    assert rep.call.refused(team.stub.UpdateLeadPushRule, request).reason == "RIGHT_MISSING"


@pytest.mark.timeout(180)
def test_the_workflow_pushes_at_the_set_time(team: Team, around: Settings, store: Store) -> None:
    """F135: over the real Temporal, with identity asked about who takes part and who is there."""
    rep, resting, gone = team.person(), team.person(), new_id()
    team.world.away[resting.person_id] = schedules_pb2.PRESENCE_OFF_SHIFT
    captured(team)
    runtime = SERVICE.runtime(around, {})
    # As if the rule had been set before a time that has just come.
    before = utc_now() - timedelta(minutes=10)
    due = (before + timedelta(minutes=9)).astimezone(CHINA)
    with store.transaction(team.tenant, now=before) as tx:
        update_push_rule(tx, PushRule((f"{due:%H:%M}",), (resting.person_id, rep.person_id, gone)))
    with working(runtime, worker(runtime)), relaying(runtime):
        until(lambda: owned(rep) == 1, timeout_s=120)
        until(lambda: pushes(team)[0].HasField("finish_time"), timeout_s=120)
        runtime.temporal.run(
            lambda client: record(
                "leads", "push", client.get_workflow_handle(push_workflow_id(team.tenant.id))
            )
        )
    runtime.temporal.close()
    runtime.store.close()
    exclusions = {share.person_id: share.exclusion for share in pushes(team)[0].shares}
    assert exclusions[gone] == pb.LEAD_PUSH_EXCLUSION_DISABLED
    assert exclusions[resting.person_id] == pb.LEAD_PUSH_EXCLUSION_ABSENT
