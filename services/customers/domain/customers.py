"""What a customer is: its states, why its owner changes, and what somebody may do with it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from services.chassis.errors import Forbidden, InvalidInput, RuleViolation
from services.kernel.phones import PhoneNumber


class CustomerState(StrEnum):
    """PENDING waits for its approver and is not usable; REJECTED stays in the registration history only (O3).

    TRASHED was thrown out of its pool and may be restored (F23). MERGED lives on in another one (F36).
    """

    PENDING = "pending"
    ACTIVE = "active"
    REJECTED = "rejected"
    TRASHED = "trashed"
    MERGED = "merged"


class Cause(StrEnum):
    """Why an owner came or went."""

    CREATE = "create"
    CLAIM = "claim"
    RETURN = "return"
    RECLAIM = "reclaim"
    CONVERT = "convert"
    REGISTER = "register"
    ASSIGN = "assign"
    TRANSFER = "transfer"
    HAND_OVER = "hand_over"
    ALLOCATE = "allocate"
    TRASH = "trash"
    RESTORE = "restore"
    REVERSE = "reverse"
    MERGE = "merge"
    UNMERGE = "unmerge"


@dataclass(frozen=True)
class Owner:
    """Somebody who gains a customer. department_path: ids from the root, "/" behind each."""

    person_id: str
    department_path: str


@dataclass(frozen=True)
class ContactDraft:
    """A person at the customer, to be stored."""

    id: str
    name: str
    title: str = ""
    phones: tuple[PhoneNumber, ...] = ()


@dataclass(frozen=True)
class CustomerDraft:
    """A customer to be stored, with its contacts. approver_id, pool_id: "" for none."""

    id: str
    name: str
    level: str = ""
    region: str = ""
    address: str = ""
    business_type: str = ""
    phones: tuple[PhoneNumber, ...] = ()
    contacts: tuple[ContactDraft, ...] = ()
    approver_id: str = ""
    pool_id: str = ""
    # Of the tenant's own fields, by key, as typed.
    values: Mapping[str, object] = field(default_factory=dict)
    category_id: str = ""
    tags: tuple[str, ...] = ()
    # Unified social credit code, checked; "" for none.
    credit_code: str = ""


def check_name(name: str) -> str:
    """Return a name that says something; raises InvalidInput NAME_MEANINGLESS for punctuation only."""
    if not any(char.isalnum() for char in name):
        raise InvalidInput(
            "name", "NAME_MEANINGLESS", "客户名称须含有文字或数字", "The name needs letters or digits"
        )
    return name


def needs_approval(registration_required: bool, draft: CustomerDraft, submitter_id: str) -> bool:
    """Tell whether a new customer waits for an approver; one made into a pool never does (F22).

    Raises InvalidInput naming approver_id: APPROVER_MISSING (F169), APPROVER_IS_SUBMITTER.
    """
    if not registration_required or draft.pool_id:
        return False
    if not draft.approver_id:
        raise InvalidInput(
            "approver_id", "APPROVER_MISSING", "请选择报备审核人", "Choose who shall approve the registration"
        )
    if draft.approver_id == submitter_id:
        raise InvalidInput(
            "approver_id",
            "APPROVER_IS_SUBMITTER",
            "报备审核人不能是本人",
            "You cannot approve your own registration",
        )
    return True


def check_active(state: str) -> None:
    """Raise RuleViolation CUSTOMER_NOT_ACTIVE for a registration that waits or was rejected (F170).

    CUSTOMER_TRASHED for what was thrown out, CUSTOMER_MERGED for what lives on in another one.
    """
    if state == CustomerState.TRASHED:
        raise RuleViolation("CUSTOMER_TRASHED", "该客户已废弃", "The customer is in the trash")
    if state == CustomerState.MERGED:
        raise RuleViolation(
            "CUSTOMER_MERGED", "该客户已合并到其他客户", "The customer was merged into another one"
        )
    if state != CustomerState.ACTIVE:
        raise RuleViolation(
            "CUSTOMER_NOT_ACTIVE",
            "该客户报备未通过，不可使用",
            "This customer's registration has not passed; it cannot be used",
        )


def check_own(owner_id: str | None, person_id: str) -> None:
    """Raise Forbidden NOT_OWNER unless the customer is the person's own."""
    if owner_id != person_id:
        raise Forbidden("NOT_OWNER", "只有客户负责人可以执行该操作", "Only the customer's owner may do this")


def check_claimable(owner_id: str | None, pool_id: str | None, is_member: bool) -> None:
    """Raise when a customer cannot be claimed: RuleViolation CUSTOMER_OWNED, Forbidden POOL_FORBIDDEN (F12, F13)."""
    if owner_id is not None:
        raise RuleViolation("CUSTOMER_OWNED", "该客户已有负责人", "Somebody owns this customer already")
    if pool_id is None or not is_member:
        raise pool_forbidden()


def pool_forbidden() -> Forbidden:
    """Return the refusal for somebody outside a pool's members."""
    return Forbidden("POOL_FORBIDDEN", "您不在该公海的成员范围内", "You are not a member of this pool")
