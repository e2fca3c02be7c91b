"""Conversion over a real Temporal: customer, contact and opportunity at once, or nothing anywhere."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from crm.leads.v1 import leads_pb2 as pb

from services.chassis.db import Store
from services.chassis.errors import (
    AlreadyExists,
    AppError,
    Forbidden,
    InvalidInput,
    NotFound,
    Quota,
    RuleViolation,
    Unavailable,
)
from services.chassis.ids import new_id
from services.chassis.service import Runtime
from services.chassis.settings import Settings
from services.chassis.temporal import TemporalLink
from services.leads.__main__ import worker as bundle
from services.leads.events import handlers
from services.leads.store.tables import Base
from services.leads.workflows.contracts import conversion_workflow_id
from tests.integration.leads.conftest import RIGHTS, Events, Member, Team
from tests.integration.leads.scripted import CONTACT_PHONE, CUSTOMER_NAME, Held
from tests.support.histories import record
from tests.support.running import event_of, take, working
from tests.support.until import until

PHONE = "+8613800138000"


@pytest.fixture(scope="module", autouse=True)
def worker(around: Settings) -> Iterator[None]:
    """Leads' worker."""
    runtime = Runtime("leads", around, Base.metadata, {})
    with working(runtime, bundle(runtime)):
        yield
    runtime.store.close()


@pytest.fixture(scope="module")
def temporal(settings: Settings) -> Iterator[TemporalLink]:
    """Temporal, to look at."""
    link = TemporalLink(settings.temporal_address, settings.temporal_namespace)
    yield link
    link.close()


@pytest.fixture
def rep(team: Team) -> Member:
    """A rep with all of a rep's rights."""
    return team.person()


def request_for(
    lead: pb.Lead, opportunity: str = "年度采购", amount: str = "12000", **given: object
) -> pb.ConvertLeadRequest:
    """Return a request for everything a conversion can make."""
    request = pb.ConvertLeadRequest(request_id=new_id(), lead_id=lead.lead_id, create_contact=True)
    if opportunity:
        request.opportunity.name, request.opportunity.amount = opportunity, amount
    for name, value in given.items():
        setattr(request, name, value)
    return request


def assert_untouched(
    team: Team, rep: Member, lead: pb.Lead, *, customers: int = 0, contacts: int = 0
) -> None:
    """Nothing of a conversion is left in any service."""
    assert rep.get(lead.lead_id).lead == lead
    assert rep.opportunities() == []
    assert (len(team.world.customers), len(team.world.contacts)) == (customers, contacts)
    assert {held.reservation_id for held in team.world.keys.values()} <= {"old"}
    assert team.world.written == {}


def keep_history(temporal: TemporalLink, name: str, request: pb.ConvertLeadRequest) -> None:
    """Keep the history of the request's workflow for the replay test, when asked to."""
    workflow_id = conversion_workflow_id(request.lead_id, request.request_id)
    temporal.run(lambda client: record("leads", name, client.get_workflow_handle(workflow_id)))


def test_a_lead_becomes_customer_contact_and_opportunity(
    team: Team, rep: Member, events: Events, temporal: TemporalLink
) -> None:
    """F120, F125, F126, F129."""
    lead = rep.lead(name="韩梅梅", company="云海科技", phone="13800138000")
    rep.follow(lead.lead_id)
    request = request_for(lead)
    # Answered in the same call.
    answer = rep.call(team.stub.ConvertLead, request)
    assert not answer.linked
    assert team.world.customers == {answer.customer_id: "云海科技"}
    assert team.world.contacts == {answer.contact_id: (answer.customer_id, "韩梅梅", PHONE)}
    assert {held.subject_id for held in team.world.keys.values()} == {answer.customer_id, answer.contact_id}
    (opportunity,) = rep.opportunities(answer.customer_id)
    assert (opportunity.opportunity_id, opportunity.name) == (answer.opportunity_id, "年度采购")
    assert (opportunity.amount, opportunity.state) == ("12000.00", pb.OPPORTUNITY_STATE_OPEN)
    converted = rep.get(lead.lead_id)
    assert (converted.lead.state, converted.lead.customer_id) == (
        pb.LEAD_STATE_CONVERTED,
        answer.customer_id,
    )
    assert list(converted.lead.allowed_actions) == []
    assert converted.changes[0].from_state == pb.LEAD_STATE_FOLLOWING
    assert converted.changes[0].actor_id == rep.person_id
    (told,) = events.of(team.tenant, "lead_converted")
    assert told["data"] == {
        "leadId": lead.lead_id,
        "customerId": answer.customer_id,
        "contactId": answer.contact_id,
        "opportunityId": answer.opportunity_id,
    }
    assert rep.convert(request) == answer
    assert len(team.world.written) == 1
    keep_history(temporal, "asked", request)


def test_contact_and_opportunity_are_made_only_when_chosen(team: Team, rep: Member) -> None:
    """F125, F129; without company the customer has the lead's name."""
    lead = rep.lead(name="韩梅梅")
    answer = rep.convert(pb.ConvertLeadRequest(request_id=new_id(), lead_id=lead.lead_id))
    assert (answer.contact_id, answer.opportunity_id) == ("", "")
    assert team.world.customers == {answer.customer_id: "韩梅梅"}
    assert team.world.contacts == {}
    assert rep.opportunities() == []


def test_an_extension_goes_along_and_makes_it_another_contact(team: Team, rep: Member) -> None:
    team.world.add_contact(new_id(), new_id(), "+861062345678")
    lead = rep.lead(phone="010-62345678转801")
    assert lead.phone == "+861062345678;ext=801"
    answer = rep.convert(request_for(lead))
    assert team.world.contacts[answer.contact_id] == (answer.customer_id, "韩梅梅", lead.phone)


def test_a_same_name_customer_is_linked(team: Team, rep: Member, temporal: TemporalLink) -> None:
    """F123."""
    team.world.add_customer(existing := new_id(), "云海科技")
    lead = rep.lead(company="云海科技", phone="13800138000")
    request = request_for(lead)
    answer = rep.convert(request)
    assert (answer.linked, answer.customer_id) == (True, existing)
    assert list(team.world.customers) == [existing]
    assert team.world.contacts == {answer.contact_id: (existing, "韩梅梅", PHONE)}
    assert rep.convert(request) == answer
    keep_history(temporal, "linked", request)


def test_of_several_same_name_customers_the_caller_chooses(team: Team, rep: Member) -> None:
    """O5: they are offered, nothing is left behind, and the chosen one is linked."""
    team.world.add_customer(first := new_id(), "云海科技")
    team.world.customers[second := new_id()] = "云海科技"
    team.world.namesakes["云海科技"].append(second)
    lead = rep.lead(company="云海科技", phone="13800138000")
    refused = rep.refusal(request_for(lead))
    assert refused.reason == "CUSTOMER_AMBIGUOUS"
    assert set(refused.metadata["candidates"].split(",")) == {first, second}
    assert_untouched(team, rep, lead, customers=2)
    stranger = rep.refusal(request_for(lead, customer_id=new_id()))
    assert stranger.reason == "CUSTOMER_NO_CANDIDATE"
    assert_untouched(team, rep, lead, customers=2)
    answer = rep.convert(request_for(lead, customer_id=second))
    assert (answer.linked, answer.customer_id) == (True, second)
    assert team.world.contacts[answer.contact_id][0] == second


def test_with_the_customer_rule_off_the_customer_is_always_new(team: Team, rep: Member) -> None:
    """F124."""
    team.world.add_customer(existing := new_id(), "云海科技")
    team.world.rules.remove(CUSTOMER_NAME)
    answer = rep.convert(request_for(rep.lead(company="云海科技")))
    assert not answer.linked
    assert set(team.world.customers) == {existing, answer.customer_id}


def test_a_contact_that_exists_fails_the_whole_and_a_repeat_hears_the_same(
    team: Team, rep: Member, temporal: TemporalLink
) -> None:
    """F127."""
    team.world.add_contact(new_id(), new_id(), PHONE)
    lead = rep.lead(company="云海科技", phone="13800138000")
    request = request_for(lead)
    refused = rep.refusal(request)
    assert isinstance(refused, AlreadyExists)
    assert (refused.reason, refused.metadata) == ("CONTACT_EXISTS", {"holder": "李*"})
    assert_untouched(team, rep, lead, contacts=1)
    # Even when the contact is gone by now: it is the same request.
    team.world.keys.clear()
    again = rep.refusal(request)
    assert (again.reason, again.zh, again.metadata) == (refused.reason, refused.zh, refused.metadata)
    keep_history(temporal, "refused", request)
    assert rep.convert(request_for(lead)).contact_id


def test_with_the_contact_rule_off_the_contact_is_made(team: Team, rep: Member) -> None:
    """F128."""
    team.world.add_contact(new_id(), new_id(), PHONE)
    team.world.rules.remove(CONTACT_PHONE)
    answer = rep.convert(request_for(rep.lead(phone="13800138000")))
    assert team.world.contacts[answer.contact_id] == (answer.customer_id, "韩梅梅", PHONE)


@pytest.mark.parametrize(
    ("given", "field", "reason"),
    [
        ({"opportunity": " "}, "opportunity.name", "TEXT_EMPTY"),
        ({"amount": ""}, "opportunity.amount", "AMOUNT_INVALID"),
        ({"amount": "-1"}, "opportunity.amount", "AMOUNT_INVALID"),
        ({"amount": "1.005"}, "opportunity.amount", "AMOUNT_INVALID"),
        ({"customer_name": "a" * 201}, "customer_name", "TEXT_TOO_LONG"),
        ({"request_id": "again"}, "request_id", "NOT_A_UUID"),
        ({"request_id": ""}, "request_id", "REQUEST_ID_MISSING"),
    ],
)
def test_a_missing_or_malformed_field_refuses_the_conversion(
    team: Team, rep: Member, given: dict[str, str], field: str, reason: str
) -> None:
    """F130."""
    lead = rep.lead()
    refused = rep.refusal(request_for(lead, **given))
    assert isinstance(refused, InvalidInput)
    assert (refused.field, refused.reason) == (field, reason)
    assert_untouched(team, rep, lead)


def test_an_opportunity_of_that_name_under_the_linked_customer_fails_the_whole(
    team: Team, rep: Member
) -> None:
    """F131."""
    first = rep.convert(request_for(rep.lead(company="云海科技", phone="13800138000")))
    lead = rep.lead(company="云海科技", phone="13900139000")
    before = dict(team.world.keys)
    refused = rep.refusal(request_for(lead))
    assert isinstance(refused, AlreadyExists)
    assert refused.reason == "OPPORTUNITY_EXISTS"
    assert rep.get(lead.lead_id).lead == lead
    assert len(rep.opportunities()) == 1
    assert team.world.keys == before
    second = rep.convert(request_for(lead, opportunity="备件"))
    assert (second.linked, second.customer_id) == (True, first.customer_id)


@pytest.mark.parametrize(
    "refusal",
    [
        RuleViolation("CUSTOMER_CAP", "客户数已达上限", "No more customers"),
        Quota("DAILY_QUOTA", "今日名额已用完", "No more today"),
    ],
)
def test_a_refusal_of_customers_leaves_nothing_behind(team: Team, rep: Member, refusal: AppError) -> None:
    team.world.before["CreateForConversion"].append(refusal)
    lead = rep.lead(company="云海科技", phone="13800138000")
    request = request_for(lead)
    assert rep.refusal(request).reason == refusal.reason
    assert_untouched(team, rep, lead)
    assert rep.refusal(request).reason == refusal.reason
    assert not rep.convert(request_for(lead)).linked


def test_a_linked_customer_that_is_not_there_yet_refuses(team: Team, rep: Member) -> None:
    """Its name is reserved, but it was never written."""
    team.world.keys[*CUSTOMER_NAME, "云海科技"] = Held(new_id(), "old", "王**")
    lead = rep.lead(company="云海科技")
    refused = rep.refusal(request_for(lead))
    assert isinstance(refused, NotFound)
    assert_untouched(team, rep, lead)


def test_a_write_that_happened_in_spite_of_its_refusal_is_carried_forward(team: Team, rep: Member) -> None:
    """A slow twin of the call wrote after all: customers, asked before giving up, says so."""
    team.world.after["CreateForConversion"].append(
        RuleViolation("CUSTOMER_CAP", "客户数已达上限", "No more customers")
    )
    lead = rep.lead(company="云海科技", phone="13800138000")
    answer = rep.convert(request_for(lead))
    assert team.world.customers == {answer.customer_id: "云海科技"}
    assert rep.get(lead.lead_id).lead.state == pb.LEAD_STATE_CONVERTED
    assert len(rep.opportunities()) == 1


def test_who_loses_the_race_for_the_name_links_to_the_winner(
    team: Team, rep: Member, temporal: TemporalLink
) -> None:
    """F123: the customer appears between the look and the reservation."""
    winner = new_id()
    team.world.hooks["ReserveKeys"].append(lambda: team.world.add_customer(winner, "云海科技"))
    request = request_for(rep.lead(company="云海科技", phone="13800138000"))
    answer = rep.convert(request)
    assert (answer.linked, answer.customer_id) == (True, winner)
    assert list(team.world.customers) == [winner]
    (opportunity,) = rep.opportunities(winner)
    assert opportunity.opportunity_id == answer.opportunity_id
    keep_history(temporal, "race", request)


def test_who_loses_the_race_for_the_contact_converts_nothing(team: Team, rep: Member) -> None:
    """F127."""
    team.world.hooks["ReserveKeys"].append(lambda: team.world.add_contact(new_id(), new_id(), PHONE))
    lead = rep.lead(company="云海科技", phone="13800138000")
    refused = rep.refusal(request_for(lead))
    assert refused.reason == "CONTACT_EXISTS"
    assert_untouched(team, rep, lead, contacts=1)


@pytest.mark.parametrize("method", ["GetPerson", "FindHolders", "ReserveKeys", "CreateForConversion"])
@pytest.mark.parametrize("effect", ["without", "with"])
def test_a_part_that_is_down_or_whose_answer_is_lost_only_delays_it(
    team: Team, rep: Member, method: str, effect: str
) -> None:
    """Whatever was done before the answer got lost is not done twice."""
    lead = rep.lead(company="云海科技", phone="13800138000")
    script = team.world.after if effect == "with" else team.world.before
    # More than the channel retries by itself.
    script[method] += [Unavailable("DOWN", "不可用", "Down")] * 5
    request = request_for(lead)
    answer = rep.convert(request)
    assert script[method] == []
    assert team.world.customers == {answer.customer_id: "云海科技"}
    assert len(team.world.written) == len(rep.opportunities()) == 1


def test_settling_and_releasing_are_tried_until_they_work(team: Team, rep: Member) -> None:
    down = Unavailable("DOWN", "不可用", "Down")
    team.world.before["SettleReservation"] += [down] * 5
    team.world.after["ReleaseReservation"] += [down] * 5
    team.world.before["CreateForConversion"].append(RuleViolation("CUSTOMER_CAP", "满", "Full"))
    lead = rep.lead(company="云海科技", phone="13800138000")
    request = request_for(lead)

    assert rep.refusal(request).reason == "CUSTOMER_CAP"
    assert_untouched(team, rep, lead)


def test_while_a_conversion_waits_its_lead_is_held_and_a_repeat_finds_the_answer(
    team: Team, rep: Member
) -> None:
    team.world.before["CreateForConversion"] += [Unavailable("DOWN", "不可用", "Down")] * 16
    lead = rep.lead(company="云海科技", phone="13800138000")
    request = request_for(lead)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(rep.call.refused, team.stub.ConvertLead, request)
        until(lambda: team.world.keys)
        assert rep.opportunities() == []
        held = rep.get(lead.lead_id).lead
        assert (held.state, list(held.allowed_actions)) == (pb.LEAD_STATE_ASSIGNED, [])
        assert rep.refusal(request_for(lead)).reason == "LEAD_CONVERTING"
        follow = pb.AddLeadFollowUpRequest(request_id=new_id(), lead_id=lead.lead_id, text="x")
        assert rep.call.refused(team.stub.AddLeadFollowUp, follow).reason == "LEAD_CONVERTING"
        assert isinstance(waiting.result(), Unavailable)
    assert team.world.customers == {rep.convert(request).customer_id: "云海科技"}


def test_of_many_conversions_of_one_lead_one_wins(team: Team, rep: Member) -> None:
    lead = rep.lead(company="云海科技", phone="13800138000")
    requests = [request_for(lead) for _ in range(4)]

    def attempt(request: pb.ConvertLeadRequest) -> str:
        outcome = rep.outcome(request)
        return outcome.reason if isinstance(outcome, AppError) else outcome.customer_id

    with ThreadPoolExecutor(8) as threads:
        # Each request twice at once: the winner's twins both hear of it.
        answers = list(threads.map(attempt, [*requests, *requests]))
    won = [answer for answer in answers if answer in team.world.customers]
    assert len(won) == 2
    assert set(answers) - set(won) <= {"LEAD_CONVERTING", "LEAD_STATE"}
    assert len(team.world.customers) == len(team.world.contacts) == len(rep.opportunities()) == 1


def test_a_request_id_used_for_other_content_is_refused(team: Team, rep: Member) -> None:
    lead = rep.lead()
    request = request_for(lead)
    rep.convert(request)
    request.create_contact = False
    assert rep.refusal(request).reason == "REQUEST_ID_REUSED"


def test_only_the_owner_converts_and_only_a_lead_that_is_worked_on(team: Team, rep: Member) -> None:
    """F120."""
    lead = rep.lead()
    director = team.person("leads.view", "leads.convert", scope="all")
    refused = director.call.refused(team.stub.ConvertLead, request_for(lead))
    assert isinstance(refused, Forbidden)
    assert refused.reason == "LEAD_NOT_OWNED"
    rep.convert(request_for(lead))
    assert rep.refusal(request_for(lead)).reason == "LEAD_STATE"


def test_rights_are_checked_again_when_the_conversion_acts(team: Team, rep: Member) -> None:
    lead = rep.lead()
    team.world.add_person(rep.person_id, "李雷", *RIGHTS, active=False)
    refused = rep.refusal(request_for(lead))
    assert isinstance(refused, Forbidden)
    assert_untouched(team, rep, lead)


def test_an_own_open_opportunity_is_won_once(team: Team, rep: Member, events: Events) -> None:
    answer = rep.convert(request_for(rep.lead(company="云海科技"), amount="9999.9"))
    request = pb.WinOpportunityRequest(request_id=new_id(), opportunity_id=answer.opportunity_id)
    director = team.person("leads.view", "opportunities.close", scope="all")
    assert director.call.refused(team.stub.WinOpportunity, request).reason == "OPPORTUNITY_NOT_OWNED"
    stranger = team.person()
    assert stranger.call.refused(team.stub.WinOpportunity, request).reason == "OPPORTUNITY_NOT_FOUND"
    won = rep.call(team.stub.WinOpportunity, request).opportunity
    assert won.state == pb.OPPORTUNITY_STATE_WON
    assert rep.call(team.stub.WinOpportunity, request).opportunity == won
    again = pb.WinOpportunityRequest(request_id=new_id(), opportunity_id=answer.opportunity_id)
    assert rep.call.refused(team.stub.WinOpportunity, again).reason == "OPPORTUNITY_STATE"
    (told,) = events.of(team.tenant, "opportunity_won")
    assert told["data"] == {
        "opportunityId": answer.opportunity_id,
        "name": "年度采购",
        "customerId": answer.customer_id,
        "customerName": "云海科技",
        "ownerId": rep.person_id,
        "ownerDepartmentPath": "1/",
        "amount": "9999.90",
    }


def test_leads_and_opportunities_follow_their_owner_into_another_department(team: Team, store: Store) -> None:
    """F249: the manager there sees them at once; the one before no more."""
    rep, colleague = team.person(department_path="1/2/"), team.person(department_path="1/2/")
    lead, other = rep.lead(), colleague.lead("李雷")
    rep.follow(lead.lead_id)
    opportunity_id = rep.convert(request_for(lead)).opportunity_id
    here, there = (team.person(scope="department", department_path=path) for path in ("1/2/", "1/3/"))

    def seen(manager: Member) -> tuple[list[str], list[str]]:
        leads = manager.call(team.stub.ListLeads, pb.ListLeadsRequest()).leads
        opportunities = [item.opportunity_id for item in manager.opportunities()]
        return [item.lead_id for item in leads], opportunities

    saved = {"personId": rep.person_id, "departmentPath": "1/3/"}
    take(store, handlers, event_of(team.tenant, "identity", "person_saved", saved))
    assert seen(here) == ([other.lead_id], [])
    assert seen(there) == ([lead.lead_id], [opportunity_id])
