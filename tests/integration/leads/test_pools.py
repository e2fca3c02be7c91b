"""Several lead pools: who sees and takes what, where a lead falls back to, and by which rule.

A change of a pool, a move and a claim are one transaction each: a process that dies in the middle of one leaves none of
it behind.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, time, timedelta

import grpc
import pytest
from crm.leads.v1 import leads_pb2 as pb
from crm.leads.v1 import pools_pb2
from crm.leads.v1.pools_pb2_grpc import LeadPoolsServiceStub

from services.chassis.clock import utc_now
from services.chassis.db import Store
from services.chassis.errors import AppError, Conflict, Forbidden, InvalidInput, NotFound, Quota
from services.chassis.ids import new_id
from services.chassis.measures import Measurer
from services.chassis.settings import Settings
from services.kernel.china_time import CHINA
from services.leads.__main__ import SERVICE
from services.leads.domain.pool import capture_signature
from services.leads.domain.push import PushRule
from services.leads.events import handlers
from services.leads.metrics import RECLAIM_BACKLOG, RECLAIM_BACKLOG_AGE
from services.leads.store.measures import MEASURES
from services.leads.store.tables import Lead
from services.leads.usecases.pool import sweep
from services.leads.usecases.push import update_push_rule
from tests.integration.leads.conftest import RIGHTS, Events, Member, Team
from tests.integration.leads.test_leads import assign, capture_request
from tests.integration.leads.test_pool import act, captured, set_rules
from tests.integration.leads.test_push import push_all
from tests.support.measured import measured
from tests.support.running import event_of, take
from tests.support.served import served

MANAGER = ("leads.view", "leads.assign", "leads.claim", "pools.manage", "integrations.manage")


@pytest.fixture(scope="module")
def door(around: Settings) -> Iterator[LeadPoolsServiceStub]:
    """Lead pools, served."""
    with served(SERVICE, around) as address, grpc.insecure_channel(address) as channel:
        yield LeadPoolsServiceStub(channel)


@pytest.fixture
def pools(team: Team, door: LeadPoolsServiceStub) -> "Pools":
    """The pools of a tenant nobody used before, and who manages them."""
    return Pools(team, door, team.person(*MANAGER, name="经理", scope="all"))


class Pools:
    """Lead pools as their manager sees them."""

    def __init__(self, team: Team, stub: LeadPoolsServiceStub, manager: Member) -> None:
        self.team = team
        self.stub = stub
        self.manager = manager

    def make(
        self,
        name: str,
        *members: Member,
        departments: Sequence[str] = (),
        roles: Sequence[str] = (),
        regions: Sequence[str] = (),
        **rules: int,
    ) -> str:
        """Make a pool and return its id."""
        values = {"idle_days": 90, "warn_days": 1, **rules}
        pool = pools_pb2.LeadPool(
            name=name,
            person_ids=[member.person_id for member in members],
            department_ids=departments,
            roles=roles,
            region_department_ids=regions,
            **values,  # type: ignore[arg-type]  # numbers only
        )
        request = pools_pb2.CreateLeadPoolRequest(request_id=new_id(), pool=pool)
        made: pools_pb2.LeadPool = self.manager.call(self.stub.CreateLeadPool, request).pool
        return made.pool_id

    def of(self, member: Member) -> dict[str, pools_pb2.LeadPool]:
        """Return the pools that somebody may take leads of, by name."""
        request = pools_pb2.ListLeadPoolsRequest()
        return {pool.name: pool for pool in member.call(self.stub.ListLeadPools, request).pools}

    def move(self, lead_id: str, pool_id: str) -> pb.Lead:
        """Put a lead into a pool."""
        request = pools_pb2.MoveLeadRequest(request_id=new_id(), lead_id=lead_id, pool_id=pool_id)
        lead: pb.Lead = self.manager.call(self.stub.MoveLead, request).lead
        return lead

    def lead(self, pool_id: str) -> str:
        """Return the id of a fresh lead that waits in a pool."""
        return self.move(captured(self.team).lead_id, pool_id).lead_id


def seen(member: Member, pool_id: str = "") -> set[str]:
    """Return the ids of the leads that somebody sees."""
    request = pb.ListLeadsRequest(pool_id=pool_id)
    return {lead.lead_id for lead in member.call(member.stub.ListLeads, request).leads}


def refusal(member: Member, lead_id: str) -> AppError:
    """Return why somebody may not claim a lead."""
    return member.call.refused(
        member.stub.ClaimLead, pb.ClaimLeadRequest(request_id=new_id(), lead_id=lead_id)
    )


def test_a_pools_leads_are_its_members_to_see_and_to_take(team: Team, pools: Pools) -> None:
    """F26 for leads: by department or by name; others find nothing, who manages pools all of it."""
    department_id = new_id()
    east = team.person(department_path=f"{new_id()}/{department_id}/")
    named, outside = team.person(), team.person()
    boss = team.person(*RIGHTS, scope="all")
    pool_id = pools.make("华东线索", named, departments=[department_id])
    lead_id, common = pools.lead(pool_id), captured(team).lead_id
    for member in (east, named, pools.manager):
        assert seen(member) == {lead_id, common}
        assert seen(member, pool_id) == {lead_id}
        assert list(pools.of(member)) == ["", "华东线索"]
    assert seen(outside) == {common}
    assert list(pools.of(outside)) == [""]
    assert isinstance(refusal(outside, lead_id), NotFound)
    # Who sees all of the tenant's leads takes no more of them for that.
    assert seen(boss) == {lead_id, common}
    assert isinstance(refusal(boss, lead_id), Forbidden)
    assert act(east, "claim", lead_id).owner_id == east.person_id
    assert pools.of(pools.manager)[""].waiting == 1


def test_members_by_role_and_by_region_come_and_go_with_them(team: Team, pools: Pools, store: Store) -> None:
    """F26 for leads: as identity told last; an older word that comes late changes nothing."""
    hunter, southern, outside = team.person(), team.person(), team.person()
    south = new_id()
    by_role, by_region = pools.make("猎手", roles=["hunter"]), pools.make("华南", regions=[south])
    first, second = pools.lead(by_role), pools.lead(by_region)

    def told(member: Member, version: int, roles: Sequence[str] = (), regions: Sequence[str] = ()) -> None:
        data = {
            "personId": member.person_id,
            "departmentPath": "1/",
            "roles": roles,
            "regionDepartmentIds": regions,
        }
        take(store, handlers, event_of(team.tenant, "identity", "person_saved", data, version=version))

    assert seen(hunter) == seen(southern) == set()
    told(hunter, 2, roles=["sales_rep", "hunter"])
    told(southern, 2, regions=[south])
    assert (seen(hunter), seen(southern), seen(outside)) == ({first}, {second}, set())
    assert list(pools.of(hunter)) == ["", "猎手"]
    assert isinstance(refusal(hunter, second), NotFound)
    told(hunter, 1)
    assert act(hunter, "claim", first).owner_id == hunter.person_id
    told(hunter, 3, roles=["sales_rep"])
    act(hunter, "return", first)
    assert seen(hunter) == set()
    listed = pools.of(pools.manager)
    assert list(listed["猎手"].roles) == ["hunter"]
    assert list(listed["华南"].region_department_ids) == [south]


def test_a_lead_falls_back_into_its_own_pool(team: Team, pools: Pools) -> None:
    """F115."""
    rep, other = team.person(), team.person()
    pool_id = pools.make("展会", rep)
    lead_id = pools.lead(pool_id)
    act(rep, "claim", lead_id)
    returned = act(rep, "return", lead_id, reason="不对口")
    assert (returned.pool_id, seen(other)) == (pool_id, set())
    # Moved while it is owned, it falls back into where it was moved to.
    act(rep, "claim", lead_id)
    moved = pools.move(lead_id, pools.of(rep)[""].pool_id)
    assert moved.owner_id == rep.person_id
    act(rep, "return", lead_id)
    assert seen(other) == {lead_id}
    texts = [change.text for change in rep.get(lead_id).changes]
    assert [text for text in texts if text.startswith("移入")] == ["移入公共线索池", "移入线索池“展会”"]
    # A rep's own find falls back where the rep says, if that is a pool of the rep's.
    own = pb.CreateLeadRequest(request_id=new_id(), name="朋友", pool_id=pool_id)
    assert rep.call(team.stub.CreateLead, own).lead.pool_id == pool_id
    own.request_id = new_id()
    assert other.call.refused(team.stub.CreateLead, own).reason == "POOL_FORBIDDEN"


def test_a_lead_that_is_done_with_is_moved_no_more(team: Team, pools: Pools) -> None:
    rep = team.person()
    pool_id, lead = pools.make("展会"), rep.lead()
    act(rep, "void", lead.lead_id)
    request = pools_pb2.MoveLeadRequest(request_id=new_id(), lead_id=lead.lead_id, pool_id=pool_id)
    assert pools.manager.call.refused(pools.stub.MoveLead, request).reason == "LEAD_STATE"
    request = pools_pb2.MoveLeadRequest(request_id=new_id(), lead_id=rep.lead().lead_id, pool_id=new_id())
    assert pools.manager.call.refused(pools.stub.MoveLead, request).reason == "POOL_NOT_FOUND"


def test_each_pool_counts_its_own_claims_of_the_day_under_one_cap(team: Team, pools: Pools) -> None:
    """F21, F28 for leads."""
    rep = team.person()
    set_rules(team, owner_cap=3)
    limited = pools.make("限领", daily_claims=1)
    first, second = pools.lead(limited), pools.lead(limited)
    act(rep, "claim", first)
    assert isinstance(refusal(rep, second), Quota)
    for _ in range(2):
        act(rep, "claim", captured(team).lead_id)
    assert refusal(rep, captured(team).lead_id).reason == "OWNER_CAP_REACHED"


def test_each_pool_takes_back_by_its_own_rule(team: Team, pools: Pools, store: Store, events: Events) -> None:
    """F17, F18 for leads: in the same sweep."""
    rep = team.person()
    set_rules(team, idle_days=90, warn_days=1)
    quick, never = pools.make("快", idle_days=7), pools.make("不收", idle_days=0, warn_days=0)
    leads = {pool_id: pools.lead(pool_id) for pool_id in (quick, never)} | {"": captured(team).lead_id}
    for lead_id in leads.values():
        act(rep, "claim", lead_id)
    start = utc_now()
    for days, lost in ((6.1, set()), (7.2, {quick}), (89.1, {quick}), (90.2, {quick, ""})):
        with store.transaction(team.tenant, now=start + timedelta(days=days)) as tx:
            assert not sweep(tx, 100)
        told = {told["data"]["leadId"] for told in events.of(team.tenant, "lead_reclaimed")}
        assert told == {leads[pool_id] for pool_id in lost}


def test_operators_see_the_backlog_of_every_pool(team: Team, pools: Pools, store: Store) -> None:
    """By each pool's own rule: what one would have taken back long ago another one keeps for good."""
    gauges = (RECLAIM_BACKLOG, RECLAIM_BACKLOG_AGE)
    measurer = Measurer(store, MEASURES)
    before = measured(measurer, gauges, team.tenant.database)
    rep = team.person()
    for pool_id in (pools.make("快", idle_days=7), pools.make("不收", idle_days=0, warn_days=0)):
        lead_id = pools.lead(pool_id)
        act(rep, "claim", lead_id)
        with store.transaction(team.tenant) as tx:
            row = tx.session.get_one(Lead, lead_id)
            row.evidence_time = row.warned_time = tx.now - timedelta(days=30)
    assert measured(measurer, gauges, team.tenant.database)[0] - before[0] == 1


def test_a_push_gives_a_pools_leads_to_its_members_only(team: Team, pools: Pools, store: Store) -> None:
    """F135: a pool nobody of the rule belongs to keeps nothing of another one waiting."""
    member, other = team.person(), team.person()
    shut, open_ = pools.make("无人", team.person()), pools.make("有人", member)
    # More of them, and older, than a batch takes.
    waiting = {pools.lead(shut) for _ in range(3)}
    given = {pools.lead(open_) for _ in range(3)}
    hunter = team.person()
    team.world.people[hunter.person_id].person.roles.append("hunter")
    hunted = {pools.lead(pools.make("猎手", roles=["hunter"]))}
    common = {captured(team).lead_id for _ in range(2)}
    pushed = (other, member, hunter)
    with store.transaction(team.tenant) as tx:
        update_push_rule(tx, PushRule(("09:00",), tuple(one.person_id for one in pushed), per_push=3))
    tomorrow = utc_now().astimezone(CHINA).date() + timedelta(days=1)
    push_all(store, team, datetime.combine(tomorrow, time(9), CHINA), pushed)
    listed = pools.manager.call(team.stub.ListLeads, pb.ListLeadsRequest()).leads
    owners = {lead.lead_id: lead.owner_id for lead in listed}
    assert {owners[lead_id] for lead_id in waiting} == {""}
    assert {owners[lead_id] for lead_id in given} == {member.person_id}
    assert {owners[lead_id] for lead_id in hunted} == {hunter.person_id}
    assert {owners[lead_id] for lead_id in common} <= {other.person_id, hunter.person_id}


def test_a_sources_leads_come_into_its_pool(team: Team, pools: Pools) -> None:
    """F136: said by whoever registers the source, so that nobody outside chooses."""
    rep = team.person()
    pool_id = pools.make("官网", rep)
    request = pb.CreateCaptureSourceRequest(request_id=new_id(), name="website", pool_id=pool_id)
    secret = bytes.fromhex(pools.manager.call(team.stub.CreateCaptureSource, request).secret)
    site = team.person("leads.capture")

    def capture(key: str) -> str:
        lead = capture_request(key)
        lead.sign_time = int(utc_now().timestamp())
        fields = (lead.source, lead.source_key, lead.name, lead.company, lead.phone, lead.note)
        lead.signature = capture_signature(secret, lead.sign_time, fields)
        made: pb.Lead = site.call(team.stub.CaptureLead, lead).lead
        return made.pool_id

    assert capture("1") == pool_id
    own = pools.of(rep)[""].pool_id
    change = pools_pb2.UpdateCaptureSourceRequest(request_id=new_id(), name="website", pool_id=own)
    assert pools.manager.call(pools.stub.UpdateCaptureSource, change).source.pool_id == own
    assert capture("2") == own
    change = pools_pb2.UpdateCaptureSourceRequest(request_id=new_id(), name="fair", pool_id=own)
    assert pools.manager.call.refused(pools.stub.UpdateCaptureSource, change).reason == "SOURCE_NOT_FOUND"


def test_a_source_that_has_ended_gets_no_lead_in_until_it_is_registered_again(
    team: Team, pools: Pools, events: Events
) -> None:
    """F136: signed or not; what came by it stays."""
    admin, site = pools.manager, team.person("leads.capture")
    register = pb.CreateCaptureSourceRequest(request_id=new_id(), name="website")

    def signed(key: str, secret: bytes) -> pb.CaptureLeadRequest:
        lead = capture_request(key)
        lead.sign_time = int(utc_now().timestamp())
        fields = (lead.source, lead.source_key, lead.name, lead.company, lead.phone, lead.note)
        lead.signature = capture_signature(secret, lead.sign_time, fields)
        return lead

    old = bytes.fromhex(admin.call(team.stub.CreateCaptureSource, register).secret)
    came = site.call(team.stub.CaptureLead, signed("1", old)).lead.lead_id
    end = pools_pb2.EndCaptureSourceRequest(request_id=new_id(), name="website")
    assert admin.call(pools.stub.EndCaptureSource, end).source.HasField("end_time")
    for late in (signed("2", old), capture_request("2")):
        assert site.call.refused(team.stub.CaptureLead, late).reason == "SOURCE_ENDED"
    seen = admin.call(team.stub.ListLeads, pb.ListLeadsRequest()).leads
    assert [(lead.lead_id, lead.source) for lead in seen] == [(came, "website")]
    # Ended again, it stays ended since then, and is accounted for once.
    end.request_id = new_id()
    admin.call(pools.stub.EndCaptureSource, end)
    register.request_id = new_id()
    fresh = bytes.fromhex(admin.call(team.stub.CreateCaptureSource, register).secret)
    assert site.call.refused(team.stub.CaptureLead, signed("2", old)).reason == "SIGNATURE_INVALID"
    assert site.call(team.stub.CaptureLead, signed("2", fresh)).lead.lead_id != came
    actions = [event["data"]["action"] for event in events.of(team.tenant, "audited")]
    assert actions == ["capture_source_registered", "capture_source_ended", "capture_source_registered"]


def test_a_pool_is_changed_by_whoever_read_it_last(team: Team, pools: Pools) -> None:
    pool_id = pools.make("展会")
    pools.make("官网")
    pool = pools.of(pools.manager)["展会"]
    pool.name, pool.daily_claims = "车展", 5
    request = pools_pb2.UpdateLeadPoolRequest(
        request_id=new_id(), pool_id=pool_id, version=pool.version, pool=pool
    )
    changed = pools.manager.call(pools.stub.UpdateLeadPool, request).pool
    assert (changed.name, changed.daily_claims, changed.version) == ("车展", 5, pool.version + 1)
    request.request_id = new_id()
    assert isinstance(pools.manager.call.refused(pools.stub.UpdateLeadPool, request), Conflict)
    request.request_id, request.version, request.pool.name = new_id(), changed.version, "官网"
    assert pools.manager.call.refused(pools.stub.UpdateLeadPool, request).reason == "POOL_NAME_TAKEN"
    # The tenant's own is changed by the lead settings.
    request.request_id, request.pool_id = new_id(), pools.of(pools.manager)[""].pool_id
    assert pools.manager.call.refused(pools.stub.UpdateLeadPool, request).reason == "POOL_NOT_FOUND"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"name": " "}, "pool.name"),
        ({"name": "展会", "person_ids": ["x"]}, "pool.person_ids"),
        ({"name": "展会", "region_department_ids": ["x"]}, "pool.region_department_ids"),
        ({"name": "展会", "roles": [" "]}, "pool.roles"),
        ({"name": "展会", "daily_claims": -1}, "pool.daily_claims"),
        ({"name": "展会", "idle_days": 1}, "pool.idle_days"),
        ({"name": "展会", "idle_days": 9, "warn_days": 9}, "pool.warn_days"),
    ],
)
def test_a_pool_that_cannot_be_names_its_field(pools: Pools, given: dict[str, object], field: str) -> None:
    pool = pools_pb2.LeadPool(**given)  # type: ignore[arg-type]  # of several types
    request = pools_pb2.CreateLeadPoolRequest(request_id=new_id(), pool=pool)
    refused = pools.manager.call.refused(pools.stub.CreateLeadPool, request)
    assert isinstance(refused, InvalidInput)
    assert refused.metadata["field"] == field


def test_who_assigns_takes_from_the_own_pools_only(team: Team, pools: Pools) -> None:
    """F116: a lead of a pool that one does not belong to is not there."""
    head = team.person("leads.view", "leads.assign", scope="department")
    rep = team.person()
    lead_id = pools.lead(pools.make("展会", rep))
    request = pb.AssignLeadRequest(request_id=new_id(), lead_id=lead_id, owner_id=rep.person_id)
    assert head.call.refused(team.stub.AssignLead, request).reason == "LEAD_NOT_FOUND"
    assert assign(pools.manager, lead_id, rep.person_id).owner_id == rep.person_id
