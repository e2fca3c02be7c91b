"""Customers out of a pool and back: claim, return, assign, transfer, trash and restore."""

from collections.abc import Callable, Sequence

from services.chassis.db import Transaction
from services.chassis.declarations import note_scope_asked
from services.chassis.errors import AppError, Forbidden, InvalidInput, RuleViolation
from services.chassis.tokens import Caller
from services.customers.domain.customers import (
    Cause,
    CustomerState,
    Owner,
    check_active,
    check_claimable,
    check_own,
    pool_forbidden,
)
from services.customers.store.ledger import Change, change_one, change_owner
from services.customers.store.rules import get_pool, manages, own_pools
from services.customers.store.tables import Customer
from services.kernel.ownership import MOST_CLAIMS
from services.kernel.visibility import covers

# Customers in one request of who may move many.
MOST_MOVES = 200

Results = dict[str, Customer | AppError]


def claim_customers(tx: Transaction, caller: Caller, customer_ids: Sequence[str]) -> Results:
    """Claim customers for the caller; each has its own result (F12, F13, F21).

    Raises InvalidInput CLAIM_SIZE_OUT_OF_RANGE. Refusals by item: CUSTOMER_NOT_FOUND, CUSTOMER_NOT_ACTIVE,
    CUSTOMER_TRASHED, CUSTOMER_OWNED, POOL_FORBIDDEN and those of the ledger.
    """
    if not 1 <= len(customer_ids) <= MOST_CLAIMS:
        raise InvalidInput(
            "customer_ids",
            "CLAIM_SIZE_OUT_OF_RANGE",
            "每次可领取 1 到 {most} 个客户",
            "You may claim 1 to {most} customers at a time",
            most=MOST_CLAIMS,
        )
    own = {pool.pool_id for pool in own_pools(tx, caller)}

    def check(customer: Customer) -> None:
        check_active(customer.state)
        check_claimable(customer.owner_id, customer.pool_id, customer.pool_id in own)

    claim = Change(Cause.CLAIM, Owner(caller.person_id, caller.department_path))
    return change_owner(tx, customer_ids, claim, check)


def return_customer(
    tx: Transaction, caller: Caller, customer_id: str, *, reason: str, pool_id: str
) -> Customer:
    """Give an own customer back (F8, F9): to its pool (F11), or to the named one where it has none (F10).

    Raises NotFound CUSTOMER_NOT_FOUND or POOL_NOT_FOUND, Forbidden NOT_OWNER, InvalidInput POOL_MISSING or
    POOL_FIXED naming pool_id.
    """
    if pool_id:
        get_pool(tx, pool_id)

    def check(customer: Customer) -> None:
        check_active(customer.state)
        check_own(customer.owner_id, caller.person_id)
        if not customer.pool_id and not pool_id:
            raise InvalidInput(
                "pool_id", "POOL_MISSING", "请先选择退回的公海", "Choose the pool that it goes back to"
            )
        if customer.pool_id and pool_id not in ("", customer.pool_id):
            raise InvalidInput(
                "pool_id",
                "POOL_FIXED",
                "公海客户只能退回所属公海",
                "A customer of a pool goes back to that pool",
            )

    return change_one(tx, customer_id, Change(Cause.RETURN, None, pool_id=pool_id, reason=reason), check)


def assign_customers(tx: Transaction, caller: Caller, customer_ids: Sequence[str], to: Owner) -> Results:
    """Give pool customers to a person; each has its own result (F20).

    Raises InvalidInput MOVE_SIZE_OUT_OF_RANGE. Refusals by item: CUSTOMER_NOT_FOUND, CUSTOMER_OWNED, POOL_FORBIDDEN,
    CUSTOMER_NOT_ACTIVE, CUSTOMER_TRASHED, OWNER_CAP_REACHED.
    """
    _check_size(customer_ids)
    in_pool = _pooled(tx, caller)

    def check(customer: Customer) -> None:
        check_active(customer.state)
        in_pool(customer)

    return change_owner(tx, customer_ids, Change(Cause.ASSIGN, to), check)


def transfer_customers(
    tx: Transaction, caller: Caller, customer_ids: Sequence[str], to: Owner, reason: str
) -> Results:
    """Give owned customers to another person: own ones, or those of the caller's scope (F33, F35).

    Raises InvalidInput MOVE_SIZE_OUT_OF_RANGE. Refusals by item: CUSTOMER_NOT_FOUND, NOT_OWNER, CUSTOMER_UNOWNED,
    ALREADY_OWNER, CUSTOMER_NOT_ACTIVE, CUSTOMER_TRASHED, OWNER_CAP_REACHED.
    """
    _check_size(customer_ids)
    # Of each that there is; of ids that nobody has, nothing is told.
    note_scope_asked()

    def check(customer: Customer) -> None:
        if customer.owner_id is None or not covers(caller, customer.owner_id, customer.owner_department_path):
            check_own(customer.owner_id, caller.person_id)
        check_active(customer.state)
        if customer.owner_id == to.person_id:
            raise RuleViolation("ALREADY_OWNER", "该客户已由其负责", "That person owns it already")

    return change_owner(tx, customer_ids, Change(Cause.TRANSFER, to, reason=reason), check)


def trash_customers(tx: Transaction, caller: Caller, customer_ids: Sequence[str], reason: str) -> Results:
    """Throw pool customers out; each has its own result (F23). Refusals as `assign_customers`."""
    _check_size(customer_ids)
    in_pool = _pooled(tx, caller)

    def check(customer: Customer) -> None:
        check_active(customer.state)
        in_pool(customer)

    return change_owner(tx, customer_ids, Change(Cause.TRASH, None, reason=reason), check)


def restore_customers(tx: Transaction, caller: Caller, customer_ids: Sequence[str]) -> Results:
    """Put customers out of the trash back into their pool, as they were (F23).

    Refusals by item: CUSTOMER_NOT_FOUND, CUSTOMER_NOT_TRASHED, POOL_FORBIDDEN.
    """
    _check_size(customer_ids)
    in_pool = _pooled(tx, caller)

    def check(customer: Customer) -> None:
        in_pool(customer)
        if customer.state != CustomerState.TRASHED:
            raise RuleViolation("CUSTOMER_NOT_TRASHED", "该客户未被废弃", "The customer is not in the trash")

    return change_owner(tx, customer_ids, Change(Cause.RESTORE, None), check)


def check_gainer(*, active: bool, rights: frozenset[str], field: str) -> None:
    """Raise InvalidInput GAINER_UNSUITABLE naming `field` for somebody who left, or who may not have customers."""
    if not active or "customers.view" not in rights:
        raise InvalidInput(
            field, "GAINER_UNSUITABLE", "所选人员不能负责客户", "The chosen person cannot own customers"
        )


def _check_size(customer_ids: Sequence[str]) -> None:
    if not 1 <= len(customer_ids) <= MOST_MOVES:
        raise InvalidInput(
            "customer_ids",
            "MOVE_SIZE_OUT_OF_RANGE",
            "每次可处理 1 到 {most} 个客户",
            "1 to {most} customers at a time",
            most=MOST_MOVES,
        )


def _pooled(tx: Transaction, caller: Caller) -> Callable[[Customer], None]:
    """Return the check that a customer is in a pool which the caller manages."""
    note_scope_asked()
    if "pools.manage" not in caller.rights and not any(
        caller.person_id in pool.admin_ids for pool in own_pools(tx, caller)
    ):
        raise Forbidden("POOL_FORBIDDEN", "您不能管理公海客户", "You may not manage customers of pools")

    def check(customer: Customer) -> None:
        if customer.owner_id is not None:
            raise RuleViolation("CUSTOMER_OWNED", "该客户已有负责人", "Somebody owns this customer already")
        if customer.pool_id is None or not manages(caller, get_pool(tx, customer.pool_id)):
            raise pool_forbidden()

    return check
