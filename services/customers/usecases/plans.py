"""Follow-ups that somebody intends: planned, seen where they are due, completed by the follow-up itself (F53)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, select, tuple_

from services.chassis.db import Transaction
from services.chassis.declarations import note_scope_asked
from services.chassis.errors import Forbidden, RuleViolation, not_found
from services.chassis.ids import new_id
from services.chassis.numbers import hide_numbers
from services.chassis.tokens import Caller
from services.customers.domain.actions import may_follow
from services.customers.domain.customers import check_active
from services.customers.store.record_tables import Plan
from services.customers.store.tables import Customer, FollowUp
from services.customers.usecases.care import FOLLOW_UP_SHOWN, add_follow_up
from services.customers.usecases.views import facts_of, numbers_shown, seen_customer


def create_plan(tx: Transaction, caller: Caller, customer_id: str, text: str, due_time: datetime) -> Plan:
    """Plan a follow-up for oneself; raises NotFound CUSTOMER_NOT_FOUND, Forbidden FOLLOW_UP_FORBIDDEN (F71)."""
    customer = seen_customer(tx, caller, customer_id)
    check_active(customer.state)
    if not may_follow(facts_of(tx, caller, customer)):
        raise Forbidden(
            "FOLLOW_UP_FORBIDDEN",
            "只有客户负责人及其上级可以添加跟进计划",
            "Only the customer's owner and superiors may plan a follow-up",
        )
    plan = Plan(
        tenant_id=tx.tenant.id,
        plan_id=new_id(),
        customer_id=customer.customer_id,
        person_id=caller.person_id,
        text=text,
        due_time=due_time,
        create_time=tx.now,
        version=1,
    )
    tx.session.add(plan)
    tx.session.flush()
    tx.emit("plan_made", plan.plan_id, plan.version, _facts(plan, customer.name))
    return plan


def complete_plan(tx: Transaction, caller: Caller, plan_id: str, text: str) -> tuple[Plan, FollowUp]:
    """Record the follow-up that a plan was for, which completes it.

    Raises NotFound PLAN_NOT_FOUND for one of somebody else, RuleViolation PLAN_COMPLETED, and as `add_follow_up`.
    """
    plan = tx.session.get(Plan, (tx.tenant.id, plan_id), with_for_update=True)
    if plan is None or plan.person_id != caller.person_id:
        raise not_found("plan", "跟进计划", plan_id)
    if plan.complete_time is not None:
        raise RuleViolation("PLAN_COMPLETED", "该计划已完成", "The plan is completed already")
    follow_up = add_follow_up(tx, caller, plan.customer_id, text)
    plan.complete_time, plan.follow_up_id = tx.now, follow_up.follow_up_id
    plan.version += 1
    name = name_of_customers(tx, [plan.customer_id]).get(plan.customer_id, "")
    tx.emit("plan_completed", plan.plan_id, plan.version, _facts(plan, name))
    return plan, follow_up


@dataclass(frozen=True)
class OpenPlan:
    """A plan that waits. numbers_shown: whether the reader may see those of its customer."""

    plan: Plan
    customer_name: str
    numbers_shown: bool


def list_plans(
    tx: Transaction,
    caller: Caller,
    customer_id: str,
    *,
    after: tuple[datetime, str] | None,
    limit: int,
) -> list[OpenPlan]:
    """Return up to `limit` open plans: of a customer that is seen, or the caller's own."""
    if customer_id:
        customer_id = seen_customer(tx, caller, customer_id).customer_id
        return open_plans(tx, caller, Plan.customer_id == customer_id, after=after, limit=limit)
    # The own ones, whatever the scope.
    note_scope_asked()
    return open_plans(tx, caller, Plan.person_id == caller.person_id, after=after, limit=limit)


def open_plans(
    tx: Transaction,
    caller: Caller,
    whose: ColumnElement[bool],
    *,
    after: tuple[datetime, str] | None,
    limit: int,
) -> list[OpenPlan]:
    """Return as `list_plans`, of whom the caller was found to see."""
    conditions = [Plan.tenant_id == tx.tenant.id, Plan.complete_time.is_(None), whose]
    if after:
        conditions.append(tuple_(Plan.due_time, Plan.plan_id) > after)
    found = tx.session.execute(
        select(Plan, Customer)
        .join(Customer, and_(Customer.tenant_id == Plan.tenant_id, Customer.customer_id == Plan.customer_id))
        .where(*conditions)
        .order_by(Plan.due_time, Plan.plan_id)
        .limit(limit)
    )
    return [OpenPlan(plan, customer.name, numbers_shown(caller, customer)) for plan, customer in found]


def name_of_customers(tx: Transaction, customer_ids: Sequence[str]) -> dict[str, str]:
    """Return names by id."""
    rows = tx.session.execute(
        select(Customer.customer_id, Customer.name).where(
            Customer.tenant_id == tx.tenant.id, Customer.customer_id.in_(customer_ids)
        )
    )
    return {row.customer_id: row.name for row in rows}


def _facts(plan: Plan, name: str) -> dict[str, str]:
    """Return what others learn of a plan."""
    return {
        "planId": plan.plan_id,
        "customerId": plan.customer_id,
        "name": name,
        "personId": plan.person_id,
        "text": hide_numbers(plan.text)[:FOLLOW_UP_SHOWN],
        "dueTime": plan.due_time.isoformat(),
    }
