"""Claim customers from a pool, and give one back."""

from collections.abc import Sequence

from services.chassis.db import Transaction
from services.chassis.errors import AppError, InvalidInput
from services.chassis.tokens import Caller
from services.customers.domain.customers import (
    Cause,
    Owner,
    check_active,
    check_claimable,
    check_own,
    is_member,
)
from services.customers.store.ledger import Change, change_one, change_owner
from services.customers.store.rules import get_pool, pools
from services.customers.store.tables import Customer
from services.kernel.ownership import MOST_CLAIMS


def claim_customers(
    tx: Transaction, caller: Caller, customer_ids: Sequence[str]
) -> dict[str, Customer | AppError]:
    """Claim customers for the caller; each has its own result (F12, F13, F21).

    Raises InvalidInput CLAIM_SIZE_OUT_OF_RANGE. Refusals by item: CUSTOMER_NOT_FOUND, CUSTOMER_NOT_ACTIVE,
    CUSTOMER_OWNED, POOL_FORBIDDEN, OWNER_CAP_REACHED, DAILY_CLAIMS_USED_UP.
    """
    if not 1 <= len(customer_ids) <= MOST_CLAIMS:
        raise InvalidInput(
            "customer_ids",
            "CLAIM_SIZE_OUT_OF_RANGE",
            "每次可领取 1 到 {most} 个客户",
            "You may claim 1 to {most} customers at a time",
            most=MOST_CLAIMS,
        )
    own_pools = {pool.pool_id for pool in pools(tx) if is_member(pool.department_ids, caller.department_path)}

    def check(customer: Customer) -> None:
        check_active(customer.state)
        check_claimable(customer.owner_id, customer.pool_id, customer.pool_id in own_pools)

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
