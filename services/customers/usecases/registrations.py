"""What an approval makes of a registration: a customer, or nothing but a row in the history."""

from sqlalchemy import select

from services.chassis.db import Transaction
from services.chassis.errors import AppError, RuleViolation, not_found
from services.chassis.logging import get_logger
from services.customers.domain.customers import Cause, CustomerState, Owner
from services.customers.store.ledger import Change, change_owner, lock_customers
from services.customers.store.rules import tenant_settings
from services.customers.store.tables import Customer
from services.customers.usecases.reservations import take_back

log = get_logger(__name__)


def pass_registration(tx: Transaction, customer_id: str) -> None:
    """Make a registration a customer, once (F172).

    It becomes the submitter's; where the cap was lowered meanwhile and leaves no room, it goes to the default pool
    with that as the reason. Raises NotFound CUSTOMER_NOT_FOUND, RuleViolation REGISTRATION_REJECTED.
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
