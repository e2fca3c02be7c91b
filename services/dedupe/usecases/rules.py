"""Look at the rules and switch them."""

from collections.abc import Sequence

from sqlalchemy import select

from services.chassis.db import Transaction
from services.chassis.errors import not_found
from services.dedupe.store import queries
from services.dedupe.store.tables import Rule


def list_rules(tx: Transaction) -> Sequence[Rule]:
    """Return the tenant's rules by kind and field."""
    return queries.rules(tx)


def update_rule(tx: Transaction, rule_id: str, active: bool) -> Rule:
    """Switch a rule; it holds from the next reservation.

    Keys are noted while their rule is off too, where nobody holds them yet, so a rule that comes on again knows
    them. Raises NotFound RULE_NOT_FOUND.
    """
    queries.rules(tx)
    rule = tx.session.scalar(
        select(Rule).where(Rule.tenant_id == tx.tenant.id, Rule.rule_id == rule_id).with_for_update()
    )
    if rule is None:
        raise not_found("rule", "查重规则", rule_id)
    if rule.active != active:
        rule.active = active
        rule.version += 1
    return rule
