"""What somebody may do with a customer, as its card offers it; the use cases check it anew."""

from dataclasses import dataclass

from services.customers.domain.customers import CustomerState


@dataclass(frozen=True)
class Facts:
    """What decides it. in_scope: the caller's scope covers the customer's owner. member: of its pool."""

    state: str
    owned: bool
    own: bool
    in_scope: bool
    locked: bool
    member: bool
    rights: frozenset[str]


def allowed_actions(facts: Facts) -> list[str]:
    """Return the actions in the order in which a card shows them."""
    if facts.state != CustomerState.ACTIVE:
        return []
    offered = {
        "claim": not facts.owned and facts.member,
        "return": facts.own,
        "lock": facts.own and not facts.locked,
        "unlock": facts.own and facts.locked,
        "follow": may_follow(facts),
    }
    return [
        action
        for action, offer in offered.items()
        if offer and f"customers.{'lock' if action == 'unlock' else action}" in facts.rights
    ]


def may_follow(facts: Facts) -> bool:
    """Tell whether somebody may record a follow-up: the owner, or whoever's scope covers it (F71).

    A pool's customers are read-only for everybody (F24).
    """
    return facts.owned and (facts.own or facts.in_scope)


def sees_numbers(
    state: str, owner_id: str | None, submitter_id: str | None, person_id: str, sees_all: bool
) -> bool:
    """Tell whether numbers are shown in full: own customers, or all owned ones by right; never a pool's (F24, F59)."""
    if state in (CustomerState.ACTIVE, CustomerState.TRASHED):
        return owner_id is not None and (owner_id == person_id or sees_all)
    return submitter_id == person_id or sees_all
