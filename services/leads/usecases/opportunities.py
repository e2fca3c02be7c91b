"""What becomes of an opportunity once its conversion is through."""

from sqlalchemy import update

from services.chassis.db import Transaction
from services.chassis.errors import Forbidden
from services.chassis.tokens import Caller
from services.kernel.money import format_amount
from services.leads.domain.states import OpportunityAction, OpportunityState, next_opportunity_state
from services.leads.store.queries import lock_opportunity
from services.leads.store.tables import Opportunity


def win_opportunity(tx: Transaction, caller: Caller, opportunity_id: str) -> Opportunity:
    """Close an own open opportunity as won; one order follows.

    Raises NotFound OPPORTUNITY_NOT_FOUND, Forbidden OPPORTUNITY_NOT_OWNED, RuleViolation OPPORTUNITY_STATE.
    """
    opportunity = lock_opportunity(tx, caller, opportunity_id)
    if opportunity.owner_id != caller.person_id:
        raise Forbidden(
            "OPPORTUNITY_NOT_OWNED", "只有商机负责人可以操作", "Only the opportunity's owner may do this"
        )
    opportunity.state = next_opportunity_state(OpportunityState(opportunity.state), OpportunityAction.WIN)
    opportunity.version += 1
    tx.emit(
        "opportunity_won",
        opportunity.id,
        opportunity.version,
        {
            "opportunityId": opportunity.id,
            "name": opportunity.name,
            "customerId": opportunity.customer_id,
            "customerName": opportunity.customer_name,
            "ownerId": opportunity.owner_id,
            "ownerDepartmentPath": opportunity.owner_department_path,
            "amount": format_amount(opportunity.amount),
        },
    )
    return opportunity


def hear_of_order(tx: Transaction, opportunity_id: str, order_id: str, state: str, version: int) -> None:
    """Keep the state of the order that came of an opportunity, unless it is older than what is known.

    state: as orders names it. An order without an opportunity of ours is none of our business.
    """
    tx.session.execute(
        update(Opportunity)
        .where(
            Opportunity.tenant_id == tx.tenant.id,
            Opportunity.id == opportunity_id,
            Opportunity.order_version < version,
        )
        .values(order_id=order_id, order_state=state, order_version=version)
    )
