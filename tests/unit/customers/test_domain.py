"""What a customer is and what somebody may do with it."""

from dataclasses import replace

import pytest

from services.chassis.errors import AppError, InvalidInput
from services.customers.domain.actions import Facts, allowed_actions, may_follow, sees_numbers
from services.customers.domain.customers import (
    CustomerDraft,
    CustomerState,
    check_claimable,
    check_name,
    needs_approval,
)

ALL = frozenset({"customers.claim", "customers.return", "customers.lock", "customers.follow"})
OWN = Facts(
    CustomerState.ACTIVE, owned=True, own=True, in_scope=False, locked=False, member=False, rights=ALL
)
POOLED = replace(OWN, owned=False, own=False, member=True)


@pytest.mark.parametrize(
    ("facts", "actions"),
    [
        (OWN, ["return", "lock", "follow"]),
        (replace(OWN, locked=True), ["return", "unlock", "follow"]),
        (replace(OWN, rights=frozenset({"customers.lock"})), ["lock"]),
        (replace(OWN, own=False), []),
        (replace(OWN, own=False, in_scope=True), ["follow"]),
        (POOLED, ["claim"]),
        (replace(POOLED, in_scope=True), ["claim"]),
        (replace(POOLED, member=False), []),
        (replace(OWN, state=CustomerState.PENDING), []),
    ],
)
def test_a_card_offers_what_is_allowed(facts: Facts, actions: list[str]) -> None:
    """F24, F71, F170."""
    assert allowed_actions(facts) == actions


def test_a_pool_customer_is_read_only_for_everybody() -> None:
    """F24."""
    assert not may_follow(replace(POOLED, in_scope=True))


@pytest.mark.parametrize(
    ("state", "owner", "submitter", "sees_all", "shown"),
    [
        ("active", "me", "you", False, True),
        ("active", "you", "me", False, False),
        ("active", "you", "me", True, True),
        ("active", None, "me", False, False),
        # Not even with the right to all numbers.
        ("active", None, "me", True, False),
        ("pending", None, "me", False, True),
        ("pending", None, "you", False, False),
    ],
)
def test_numbers_are_shown_to_the_owner_only(
    state: str, owner: str | None, submitter: str, *, sees_all: bool, shown: bool
) -> None:
    """F24, F59."""
    assert sees_numbers(state, owner, submitter, "me", sees_all) is shown


def test_a_registration_needs_an_approver_other_than_its_submitter() -> None:
    """F169."""
    draft = CustomerDraft(id="", name="新公司")
    assert not needs_approval(False, draft, "me")
    assert needs_approval(True, replace(draft, approver_id="boss"), "me")
    assert not needs_approval(True, replace(draft, pool_id="pool"), "me")
    for approver, reason in (("", "APPROVER_MISSING"), ("me", "APPROVER_IS_SUBMITTER")):
        with pytest.raises(InvalidInput) as refused:
            needs_approval(True, replace(draft, approver_id=approver), "me")
        assert (refused.value.field, refused.value.reason) == ("approver_id", reason)


@pytest.mark.parametrize("name", ["（）", "···", "-_-"])
def test_a_name_of_punctuation_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="NAME_MEANINGLESS"):
        check_name(name)


@pytest.mark.parametrize(
    ("owner", "pool", "member", "reason"),
    [
        ("you", "p", True, "CUSTOMER_OWNED"),
        (None, "p", False, "POOL_FORBIDDEN"),
        (None, None, True, "POOL_FORBIDDEN"),
    ],
)
def test_what_cannot_be_claimed_says_why(
    owner: str | None, pool: str | None, member: bool, reason: str
) -> None:
    """F12, F13."""
    with pytest.raises(AppError) as refused:
        check_claimable(owner, pool, member)
    assert refused.value.reason == reason
