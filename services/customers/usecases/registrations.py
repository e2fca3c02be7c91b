"""What an approval makes of a registration: a customer, or nothing but a row in the history."""

from sqlalchemy import select

from services.chassis.db import Transaction
from services.chassis.errors import AppError, Forbidden, RuleViolation, not_found
from services.chassis.logging import get_logger
from services.customers.domain.customers import Cause, CustomerState, Owner, check_active
from services.customers.store.ledger import Change, change_one, change_owner, lock_customers
from services.customers.store.rules import get_pool, tenant_settings
from services.customers.store.tables import Customer, OwnershipChange
from services.customers.usecases.reservations import take_back

log = get_logger(__name__)


def pass_registration(tx: Transaction, customer_id: str, decider_id: str = "") -> None:
    """Make a registration a customer, once (F172).

    It becomes the submitter's; where the cap was lowered meanwhile and leaves no room, it goes to the default pool
    with that as the reason. decider_id: who passed it, and may place it; "" for the approver who was chosen.

    Raises NotFound CUSTOMER_NOT_FOUND, RuleViolation REGISTRATION_REJECTED.
    """
    registration = _get(tx, customer_id)
    if registration.state == CustomerState.ACTIVE:
        return
    submitter = Owner(registration.submitter_id or "", registration.owner_department_path)
    result = change_owner(tx, [customer_id], Change(Cause.REGISTER, submitter), _check_pending)[customer_id]
    if isinstance(result, AppError) and result.reason == "OWNER_CAP_REACHED":
        to_pool = Change(
            Cause.REGISTER, None, pool_id=tenant_settings(tx).default_pool_id, reason=result.message("zh-CN")
        )
        result = change_owner(tx, [customer_id], to_pool, _check_pending)[customer_id]
    if isinstance(result, AppError):
        raise result
    if decider_id:
        result.approver_id = decider_id
    tx.emit(
        "registration_passed",
        customer_id,
        result.version,
        {
            "customerId": customer_id,
            "reservationId": result.reservation_id or "",
            "ownerId": result.owner_id or "",
        },
    )


def place_registration(
    tx: Transaction, approver_id: str, customer_id: str, *, to: Owner | None, pool_id: str, reason: str
) -> Customer:
    """Give the customer of a registration that one passed to another person or into a pool (F173).

    Once, and only while nobody else has moved it: it is its owner's business from then on. to: None for a pool.

    Raises NotFound CUSTOMER_NOT_FOUND or POOL_NOT_FOUND, Forbidden NOT_REGISTRATION_APPROVER, RuleViolation
    CUSTOMER_NOT_ACTIVE, CUSTOMER_TRASHED, REGISTRATION_PLACED, ALREADY_OWNER or OWNER_CAP_REACHED.
    """
    if pool_id:
        get_pool(tx, pool_id)

    def check(customer: Customer) -> None:
        if customer.approver_id != approver_id:
            raise Forbidden(
                "NOT_REGISTRATION_APPROVER",
                "只有该报备的审核人可以操作",
                "Only whoever passed the registration may do this",
            )
        check_active(customer.state)
        if _last_cause(tx, customer_id) != Cause.REGISTER:
            raise RuleViolation(
                "REGISTRATION_PLACED",
                "该客户审核后已变更过归属",
                "The customer was moved since its registration passed",
            )
        if to and customer.owner_id == to.person_id:
            raise RuleViolation("ALREADY_OWNER", "该客户已由其负责", "That person owns it already")

    cause = Cause.TRANSFER if to else Cause.RETURN
    return change_one(tx, customer_id, Change(cause, to, pool_id=pool_id, reason=reason), check)


def _last_cause(tx: Transaction, customer_id: str) -> str | None:
    """Return why a locked customer's owner changed the last time."""
    return tx.session.scalar(
        select(OwnershipChange.cause)
        .where(OwnershipChange.tenant_id == tx.tenant.id, OwnershipChange.customer_id == customer_id)
        .order_by(OwnershipChange.create_time.desc(), OwnershipChange.change_id.desc())
        .limit(1)
    )


def reject_registration(tx: Transaction, customer_id: str) -> None:
    """End a registration: it never becomes a customer, and its keys are free again (F174, O3).

    Raises NotFound CUSTOMER_NOT_FOUND, RuleViolation REGISTRATION_PASSED.
    """
    found = lock_customers(tx, [customer_id])
    if not found:
        raise not_found("customer", "客户", customer_id)
    (registration,) = found
    if registration.state == CustomerState.REJECTED:
        return
    if registration.state == CustomerState.ACTIVE:
        raise RuleViolation("REGISTRATION_PASSED", "该报备已通过审核", "This registration has passed already")
    registration.state = CustomerState.REJECTED
    registration.version += 1
    if registration.reservation_id:
        take_back(tx, registration.reservation_id)
    tx.emit(
        "registration_rejected",
        customer_id,
        registration.version,
        {
            "customerId": customer_id,
            "reservationId": registration.reservation_id or "",
            "submitterId": registration.submitter_id or "",
        },
    )


def _get(tx: Transaction, customer_id: str) -> Customer:
    """Return a registration without locking it: who gains is locked first."""
    registration = tx.session.scalar(
        select(Customer).where(Customer.tenant_id == tx.tenant.id, Customer.customer_id == customer_id)
    )
    if registration is None:
        raise not_found("customer", "客户", customer_id)
    return registration


def _check_pending(customer: Customer) -> None:
    if customer.state != CustomerState.PENDING:
        raise RuleViolation(
            "REGISTRATION_REJECTED", "该报备已被驳回", "This registration was rejected already"
        )
