"""A conversion whose customer is merged meanwhile: lead, opportunity and choice follow, and so they do back (F36)."""

import pytest
from sqlalchemy import select

from services.chassis.db import Store
from services.chassis.ids import new_id
from services.chassis.tokens import Caller
from services.leads.store.tables import Conversion, Lead, Opportunity
from services.leads.usecases.conversions import (
    OpportunityInput,
    begin_conversion,
    finish_conversion,
    plan_conversion,
    request_conversion,
)
from services.leads.usecases.leads import Person
from services.leads.usecases.merges import follow_merge
from tests.integration.leads.conftest import Team

STEPS = ("requested", "planned", "finished")


@pytest.mark.parametrize("merged_before", STEPS)
def test_a_conversion_follows_a_merge_at_any_step(team: Team, store: Store, merged_before: str) -> None:
    """F36: the customer was found and chosen before it was merged into another one."""
    survivor, merged, merge, rep = new_id(), new_id(), new_id(), team.person()
    lead = rep.lead(company="云海科技", phone="13800138000")
    rep.follow(lead.lead_id)
    caller = Caller(
        tenant=team.tenant, person_id=rep.person_id, rights=frozenset({"leads.convert", "leads.view"})
    )

    def merge_before(step: str) -> None:
        if step == merged_before:
            with store.transaction(team.tenant) as tx:
                follow_merge(tx, merge, survivor, merged, undo=False)

    merge_before("requested")
    with store.transaction(team.tenant, rep.person_id) as tx:
        conversion = request_conversion(
            tx,
            caller,
            lead.lead_id,
            new_id(),
            customer_name="",
            create_contact=False,
            opportunity=OpportunityInput("年度采购", "1000"),
            chosen_customer_id=merged,
        ).id
    with store.transaction(team.tenant, rep.person_id) as tx:
        begin_conversion(
            tx, conversion, Person(rep.person_id, "李雷", True, frozenset({"leads.convert"}), "1/")
        )
    merge_before("planned")
    with store.transaction(team.tenant, rep.person_id) as tx:
        plan_conversion(tx, conversion, 1, merged)
    merge_before("finished")
    with store.transaction(team.tenant, rep.person_id) as tx:
        finish_conversion(tx, conversion)

    def named() -> tuple[str | None, str | None, str | None]:
        with store.transaction(team.tenant) as tx:
            row = tx.session.get_one(Conversion, conversion)
            customer_id = tx.session.scalar(select(Lead.customer_id).where(Lead.id == lead.lead_id))
            opportunity = tx.session.get_one(Opportunity, row.opportunity_id)
            return row.chosen_customer_id, customer_id, opportunity.customer_id

    assert named() == (survivor, survivor, survivor)
    with store.transaction(team.tenant) as tx:
        follow_merge(tx, merge, survivor, merged, undo=True)
    back = named()
    assert back[0] == merged
    # What was planned under the survivor is the survivor's.
    assert back[1:] == ((merged, merged) if merged_before == "finished" else (survivor, survivor))
