"""Leads over a real channel and a real database: capture, assignment, follow-up, who sees what."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from crm.leads.v1 import leads_pb2 as pb
from crm.leads.v1.leads_pb2_grpc import LeadsServiceStub
from google.protobuf.message import Message

from services.chassis.errors import AppError, Forbidden, InvalidInput, NotFound
from services.chassis.ids import new_id
from services.chassis.tenancy import Tenant
from services.chassis.tokens import Signer
from tests.integration.leads.conftest import Events, Member, Team
from tests.integration.leads.scripted import Worlds


def capture_request(key: str, **given: str) -> pb.CaptureLeadRequest:
    """Return a lead from the website."""
    values = {"name": "韩梅梅", "company": "云海科技", "phone": "138-0013-8000", **given}
    request = pb.CaptureLeadRequest(request_id=new_id(), source="website", source_key=key)
    for name, value in values.items():
        setattr(request, name, value)
    return request


def assign(member: Member, lead_id: str, owner_id: str) -> pb.Lead:
    """Assign a lead."""
    request = pb.AssignLeadRequest(request_id=new_id(), lead_id=lead_id, owner_id=owner_id)
    answer: pb.AssignLeadResponse = member.call(member.stub.AssignLead, request)
    return answer.lead


def test_a_captured_lead_waits_unassigned_with_its_number_masked(
    tenant: Tenant, worlds: Worlds, stub: LeadsServiceStub, signer: Signer
) -> None:
    """F114, F136; the same in each database."""
    team = Team(tenant, worlds.by_tenant[tenant.id], stub, signer)
    site = team.person("leads.capture")
    lead = site.call(stub.CaptureLead, capture_request("42")).lead
    assert lead.state == pb.LEAD_STATE_UNASSIGNED
    assert (lead.owner_id, lead.phone, lead.version) == ("", "+86138****8000", 1)
    assert list(lead.allowed_actions) == []


def test_a_lead_captured_again_is_the_one_that_is_there(team: Team) -> None:
    """F136: by the source's key, by the request id, and by many at once."""
    site = team.person("leads.capture")
    first = capture_request("43")
    lead = site.call(team.stub.CaptureLead, first).lead
    assert site.call(team.stub.CaptureLead, first).lead == lead
    assert site.call(team.stub.CaptureLead, capture_request("43", name="另一个名字")).lead == lead
    with ThreadPoolExecutor(8) as threads:
        calls = [threads.submit(site.call, team.stub.CaptureLead, capture_request("44")) for _ in range(8)]
        assert len({call.result().lead.lead_id for call in calls}) == 1
    manager = team.person("leads.view", "leads.assign")
    listed = manager.call(team.stub.ListLeads, pb.ListLeadsRequest()).leads
    assert len(listed) == 2
    assert len(manager.get(lead.lead_id).changes) == 1


def test_the_same_key_of_another_source_or_tenant_is_another_lead(team: Team, worlds: Worlds) -> None:
    site = team.person("leads.capture")
    other = Team(Tenant(new_id(), "main"), worlds.by_tenant[new_id()], team.stub, team.signer)
    ids = {
        site.call(team.stub.CaptureLead, capture_request("1")).lead.lead_id,
        other.person("leads.capture").call(team.stub.CaptureLead, capture_request("1")).lead.lead_id,
    }
    request = capture_request("1")
    request.source = "fair"
    ids.add(site.call(team.stub.CaptureLead, request).lead.lead_id)
    assert len(ids) == 3


@pytest.mark.parametrize(
    ("given", "field", "reason"),
    [
        ({"name": " "}, "name", "TEXT_EMPTY"),
        ({"name": "a" * 101}, "name", "TEXT_TOO_LONG"),
        ({"company": "a\x00b"}, "company", "TEXT_INVALID"),
        ({"phone": "1380013800"}, "phone", "PHONE_LENGTH"),
        ({"phone": "12345678901"}, "phone", "PHONE_PREFIX"),
        ({"note": "a" * 4001}, "note", "TEXT_TOO_LONG"),
    ],
)
def test_malformed_input_is_refused_with_the_field(
    team: Team, given: dict[str, str], field: str, reason: str
) -> None:
    """F239, F240."""
    refused = team.person("leads.capture").call.refused(team.stub.CaptureLead, capture_request("45", **given))
    assert isinstance(refused, InvalidInput)
    assert (refused.field, refused.reason) == (field, reason)


def test_a_reps_own_find_is_owned_and_waits_to_be_handled(team: Team) -> None:
    """F117."""
    rep = team.person()
    lead = rep.lead(phone="138 0013 8000")
    assert (lead.state, lead.owner_id, lead.phone) == (
        pb.LEAD_STATE_ASSIGNED,
        rep.person_id,
        "+8613800138000",
    )
    assert list(lead.allowed_actions) == ["follow", "return", "convert", "void", "lock"]


def test_an_assigned_lead_is_followed_up_and_each_step_is_logged(team: Team, events: Events) -> None:
    """F113, F116, F118."""
    manager, rep = team.person("leads.view", "leads.assign"), team.person(department_path="1/2/")
    lead = team.person("leads.capture").call(team.stub.CaptureLead, capture_request("46")).lead
    assigned = assign(manager, lead.lead_id, rep.person_id)
    assert (assigned.state, assigned.owner_id) == (pb.LEAD_STATE_ASSIGNED, rep.person_id)
    (told,) = events.of(team.tenant, "lead_assigned")
    assert told["data"] == {"leadId": lead.lead_id, "ownerId": rep.person_id, "name": "韩梅梅"}
    assert told["version"] == assigned.version
    assert rep.follow(lead.lead_id).state == pb.LEAD_STATE_FOLLOWING
    rep.follow(lead.lead_id, "约定下周拜访")
    changes = rep.get(lead.lead_id).changes
    assert [(change.from_state, change.to_state, change.text) for change in reversed(changes)] == [
        (pb.LEAD_STATE_UNSPECIFIED, pb.LEAD_STATE_UNASSIGNED, ""),
        (pb.LEAD_STATE_UNASSIGNED, pb.LEAD_STATE_ASSIGNED, ""),
        (pb.LEAD_STATE_ASSIGNED, pb.LEAD_STATE_FOLLOWING, "已电话联系"),
        (pb.LEAD_STATE_FOLLOWING, pb.LEAD_STATE_FOLLOWING, "约定下周拜访"),
    ]
    assert changes[1].actor_id == rep.person_id


def test_a_lead_is_assigned_once_and_only_to_somebody_active(team: Team) -> None:
    """F116."""
    manager, rep = team.person("leads.view", "leads.assign"), team.person()
    lead = team.person("leads.capture").call(team.stub.CaptureLead, capture_request("47")).lead
    team.world.add_person(gone := new_id(), "赵四", active=False)

    def refusal(owner_id: str) -> AppError:
        request = pb.AssignLeadRequest(request_id=new_id(), lead_id=lead.lead_id, owner_id=owner_id)
        return manager.call.refused(team.stub.AssignLead, request)

    assert refusal(gone).reason == "OWNER_INACTIVE"
    assert refusal(new_id()).reason == "PERSON_NOT_FOUND"
    assert refusal("nobody").reason == "NOT_A_UUID"
    assign(manager, lead.lead_id, rep.person_id)
    taken = refusal(rep.person_id)
    # 待处理 is not the manager's to see any more: the scope is one's own.
    assert taken.reason == "LEAD_NOT_FOUND"
    director = team.person("leads.view", "leads.assign", scope="all")
    request = pb.AssignLeadRequest(request_id=new_id(), lead_id=lead.lead_id, owner_id=rep.person_id)
    assert director.call.refused(team.stub.AssignLead, request).reason == "LEAD_STATE"


def test_only_the_owner_follows_up(team: Team) -> None:
    """F118."""
    rep, director = team.person(), team.person("leads.view", "leads.follow", scope="all")
    lead = rep.lead()
    request = pb.AddLeadFollowUpRequest(request_id=new_id(), lead_id=lead.lead_id, text="x")
    refused = director.call.refused(team.stub.AddLeadFollowUp, request)
    assert isinstance(refused, Forbidden)
    assert refused.reason == "LEAD_NOT_OWNED"
    request.text = " \n"
    assert rep.call.refused(team.stub.AddLeadFollowUp, request).reason == "TEXT_EMPTY"


def test_a_person_sees_what_the_scope_gives_and_numbers_only_as_owner_or_by_right(team: Team) -> None:
    """F134."""
    rep = team.person(department_path="1/2/3/")
    lead = rep.lead(phone="13800138000")
    pooled = team.person("leads.capture").call(team.stub.CaptureLead, capture_request("48")).lead
    above = team.person("leads.view", scope="department", department_path="1/2/")
    beside = team.person("leads.view", scope="department", department_path="1/20/")
    nowhere = team.person("leads.view", scope="department", department_path="")
    director = team.person("leads.view", "leads.assign", "numbers.view_all", scope="all")

    def seen(member: Member) -> dict[str, str]:
        listed = member.call(team.stub.ListLeads, pb.ListLeadsRequest()).leads
        return {item.lead_id: item.phone for item in listed}

    assert seen(above) == {lead.lead_id: "+86138****8000"}
    assert seen(beside) == seen(nowhere) == {}
    assert seen(director) == {lead.lead_id: "+8613800138000", pooled.lead_id: "+8613800138000"}
    refused = beside.call.refused(team.stub.GetLead, pb.GetLeadRequest(lead_id=lead.lead_id))
    assert isinstance(refused, NotFound)


def test_leads_come_in_pages_newest_first_and_by_state(team: Team) -> None:
    rep = team.person()
    ids = [rep.lead(name=f"第{number}条").lead_id for number in range(5)]
    rep.follow(ids[0])
    listed, token = [], ""
    while True:
        page = rep.call(team.stub.ListLeads, pb.ListLeadsRequest(page_size=2, page_token=token))
        listed += [lead.lead_id for lead in page.leads]
        token = page.next_page_token
        if not token:
            break
    assert listed == ids[::-1]
    following = pb.ListLeadsRequest(state=pb.LEAD_STATE_FOLLOWING)
    assert [lead.lead_id for lead in rep.call(team.stub.ListLeads, following).leads] == ids[:1]


REQUESTS: list[tuple[str, Callable[[str], Message]]] = [
    ("GetLead", lambda lead_id: pb.GetLeadRequest(lead_id=lead_id)),
    (
        "AssignLead",
        lambda lead_id: pb.AssignLeadRequest(request_id=new_id(), lead_id=lead_id, owner_id=new_id()),
    ),
    (
        "AddLeadFollowUp",
        lambda lead_id: pb.AddLeadFollowUpRequest(request_id=new_id(), lead_id=lead_id, text="x"),
    ),
    ("ConvertLead", lambda lead_id: pb.ConvertLeadRequest(request_id=new_id(), lead_id=lead_id)),
]


@pytest.mark.parametrize(("method", "request_for"), REQUESTS)
def test_without_the_right_or_in_another_tenant_nothing_is_told(
    team: Team, worlds: Worlds, method: str, request_for: Callable[[str], Message]
) -> None:
    lead = team.person().lead()
    call = getattr(team.stub, method)
    assert team.person("calls.view").call.refused(call, request_for(lead.lead_id)).reason == "RIGHT_MISSING"
    foreign = Team(Tenant(new_id(), "main"), worlds.by_tenant[new_id()], team.stub, team.signer)
    everything = ("leads.view", "leads.assign", "leads.follow", "leads.convert")
    refused = foreign.person(*everything, scope="all").call.refused(call, request_for(lead.lead_id))
    assert isinstance(refused, NotFound)
