"""Opportunities on their way: stages, what is known of them, forecast, hand-over, won and lost."""

from datetime import timedelta
from typing import Any

import pytest
from crm.leads.v1 import leads_pb2 as pb
from sqlalchemy import update

from services.chassis.clock import utc_now
from services.chassis.db import Store
from services.chassis.errors import Conflict
from services.chassis.ids import new_id
from services.leads.store.tables import Opportunity, OpportunityChange
from services.leads.usecases.opportunities import enter_first_stage
from tests.integration.leads.conftest import Events, Member, Team


def opened(team: Team, store: Store, owner: Member, amount: str = "1000", *, staged: bool = True) -> str:
    """Make an open opportunity as a conversion does; staged: not one from before there were stages."""
    opportunity = Opportunity(
        id=new_id(),
        tenant_id=team.tenant.id,
        customer_id=new_id(),
        customer_name="云海科技",
        name="年度采购",
        owner_id=owner.person_id,
        owner_department_path="1/",
        amount=amount,
        state="open",
        create_time=utc_now(),
        version=1,
    )
    with store.transaction(team.tenant, owner.person_id) as tx:
        tx.session.add(opportunity)
        tx.session.flush()
        if staged:
            enter_first_stage(tx, opportunity)
    return opportunity.id


def stages(member: Member) -> list[pb.OpportunityStage]:
    """Return the tenant's stages."""
    return list(member.call(member.stub.ListOpportunityStages, pb.ListOpportunityStagesRequest()).stages)


def act(member: Member, name: str, opportunity_id: str, **given: Any) -> pb.Opportunity:
    """Do something with an opportunity."""
    request = getattr(pb, f"{name}OpportunityRequest")(
        request_id=new_id(), opportunity_id=opportunity_id, **given
    )
    opportunity: pb.Opportunity = member.call(getattr(member.stub, f"{name}Opportunity"), request).opportunity
    return opportunity


def look(member: Member, opportunity_id: str) -> pb.GetOpportunityResponse:
    """Return an opportunity with its log."""
    request = pb.GetOpportunityRequest(opportunity_id=opportunity_id)
    answer: pb.GetOpportunityResponse = member.call(member.stub.GetOpportunity, request)
    return answer


def test_an_opportunity_moves_through_the_stages_and_each_move_is_logged(team: Team, store: Store) -> None:
    """F78, F79."""
    rep = team.person()
    opportunity_id = opened(team, store, rep)
    first, second, *_ = stages(rep)
    assert [stage.probability for stage in stages(rep)] == [10, 30, 50, 80]
    moved = act(rep, "Move", opportunity_id, stage_id=second.stage_id)
    assert (moved.stage_id, list(moved.allowed_actions)) == (
        second.stage_id,
        ["update", "move", "win", "lose"],
    )
    with store.transaction(team.tenant) as tx:
        hour_ago = utc_now() - timedelta(hours=1)
        tx.session.execute(
            update(OpportunityChange)
            .where(OpportunityChange.opportunity_id == opportunity_id, OpportunityChange.action == "created")
            .values(create_time=hour_ago)
        )
    seen = look(rep, opportunity_id)
    assert [(change.action, change.to_stage_id) for change in seen.changes] == [
        ("move", second.stage_id),
        ("created", first.stage_id),
    ]
    assert [stay.stage_id for stay in seen.stays] == [first.stage_id, second.stage_id]
    assert 3590 < seen.stays[0].seconds < 3700
    report = rep.call(team.stub.ReportOpportunities, pb.ReportOpportunitiesRequest())
    assert 3590 < report.stages[0].average_seconds < 3700
    unknown = pb.MoveOpportunityRequest(request_id=new_id(), opportunity_id=opportunity_id, stage_id=new_id())
    assert rep.call.refused(team.stub.MoveOpportunity, unknown).reason == "STAGE_UNKNOWN"
    other = team.person("leads.view", "leads.follow", scope="all")
    assert other.call.refused(team.stub.MoveOpportunity, unknown).reason == "OPPORTUNITY_NOT_OWNED"


def test_needs_competitors_and_the_expected_day_are_kept(team: Team, store: Store) -> None:
    """F81, F82: what is overdue is listed."""
    rep = team.person()
    opportunity_id = opened(team, store, rep)
    given = {"amount": "2000", "needs": "静音", "competitors": "某牌", "expected_close_date": "2020-01-31"}
    seen = act(rep, "Update", opportunity_id, version=1, **given)
    assert (seen.amount, seen.needs, seen.competitors, seen.expected_close_date) == (
        "2000.00",
        "静音",
        "某牌",
        "2020-01-31",
    )
    with pytest.raises(Conflict, match="OPPORTUNITY_CHANGED"):
        act(rep, "Update", opportunity_id, version=1, **given)
    opened(team, store, rep)
    overdue = rep.call(team.stub.ListOpportunities, pb.ListOpportunitiesRequest(overdue=True)).opportunities
    assert [item.opportunity_id for item in overdue] == [opportunity_id]
    bad = pb.UpdateOpportunityRequest(
        request_id=new_id(),
        opportunity_id=opportunity_id,
        version=2,
        amount="1",
        expected_close_date="31.1.",
    )
    assert rep.call.refused(team.stub.UpdateOpportunity, bad).metadata["field"] == "expected_close_date"


def test_the_forecast_is_the_sum_of_amount_times_probability_by_month(team: Team, store: Store) -> None:
    """F80, F55."""
    rep = team.person()
    _, second, third, _ = stages(rep)
    for amount, stage, day in (("1000", second, "2027-01-05"), ("333.33", third, "2027-01-31")):
        opportunity_id = opened(team, store, rep, amount)
        act(rep, "Move", opportunity_id, stage_id=stage.stage_id)
        act(rep, "Update", opportunity_id, version=2, amount=amount, expected_close_date=day)
    # From before there were stages, and without a day.
    opened(team, store, rep, "50", staged=False)
    report = rep.call(team.stub.ReportOpportunities, pb.ReportOpportunitiesRequest())
    assert [(row.month, row.count, row.amount, row.weighted) for row in report.forecast] == [
        ("2027-01", 2, "1333.33", "466.67"),
        ("", 1, "50.00", "5.00"),
    ]
    assert [(row.count, row.amount) for row in report.stages] == [
        (1, "50.00"),
        (1, "1000.00"),
        (1, "333.33"),
        (0, "0.00"),
    ]


def test_a_lost_opportunity_says_why_and_makes_no_order(team: Team, store: Store, events: Events) -> None:
    rep = team.person()
    opportunity_id = opened(team, store, rep)
    empty = pb.LoseOpportunityRequest(request_id=new_id(), opportunity_id=opportunity_id, reason=" ")
    assert rep.call.refused(team.stub.LoseOpportunity, empty).metadata["field"] == "reason"
    lost = act(rep, "Lose", opportunity_id, reason="价格")
    assert (lost.state, lost.lose_reason, list(lost.allowed_actions)) == (
        pb.OPPORTUNITY_STATE_LOST,
        "价格",
        [],
    )
    win = pb.WinOpportunityRequest(request_id=new_id(), opportunity_id=opportunity_id)
    assert rep.call.refused(team.stub.WinOpportunity, win).reason == "OPPORTUNITY_STATE"
    assert events.of(team.tenant, "opportunity_won") == []


def test_a_manager_hands_an_opportunity_over(team: Team, store: Store) -> None:
    """F82."""
    rep, other = team.person(), team.person(name="韩雪")
    manager = team.person("leads.view", "leads.assign", scope="all")
    opportunity_id = opened(team, store, rep)
    assert act(manager, "Transfer", opportunity_id, owner_id=other.person_id).owner_id == other.person_id
    assert rep.opportunities() == []
    assert look(other, opportunity_id).changes[0].text == "韩雪"


def test_stages_are_the_tenants_and_one_in_use_stays(team: Team, store: Store) -> None:
    """F78."""
    rep, admin = team.person(), team.person("leads.view", "settings.manage")
    opened(team, store, rep, staged=False)
    first, second, *_ = stages(rep)
    new = pb.OpportunityStage(name="验收", probability=95)

    def request(*kept: pb.OpportunityStage) -> pb.UpdateOpportunityStagesRequest:
        return pb.UpdateOpportunityStagesRequest(request_id=new_id(), stages=kept)

    refused = admin.call.refused(team.stub.UpdateOpportunityStages, request(second, new))
    assert refused.reason == "STAGE_IN_USE"
    set_now = admin.call(team.stub.UpdateOpportunityStages, request(first, new)).stages
    assert [stage.name for stage in set_now] == ["初步接洽", "验收"]
    assert stages(rep) == list(set_now)
    gone = admin.call.refused(team.stub.UpdateOpportunityStages, request(first, second))
    assert gone.metadata["field"] == "stages[1].stage_id"
