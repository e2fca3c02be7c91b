"""Messages of the contract: what a form says, checked field by field, and rows as messages."""

from collections.abc import Sequence
from datetime import datetime

from crm.customers.v1 import customers_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp

from services.chassis.errors import InvalidInput
from services.chassis.ids import derive_id, parse_id
from services.customers.domain.customers import (
    Cause,
    ContactDraft,
    CustomerDraft,
    CustomerState,
    check_name,
)
from services.customers.store.tables import FollowUp, OwnershipChange, Phone, Pool, Settings
from services.customers.usecases.settings import PoolDraft, SettingsDraft
from services.customers.usecases.views import SeenCustomer
from services.kernel.ownership import ReclaimRule, check_rule
from services.kernel.phones import PhoneNumber, mask_number, parse_phone
from services.kernel.texts import parse_text

STATES = {
    CustomerState.PENDING: pb.CUSTOMER_STATE_PENDING,
    CustomerState.ACTIVE: pb.CUSTOMER_STATE_ACTIVE,
    CustomerState.REJECTED: pb.CUSTOMER_STATE_REJECTED,
}
CAUSES = {
    Cause.CREATE: pb.OWNERSHIP_CAUSE_CREATE,
    Cause.CLAIM: pb.OWNERSHIP_CAUSE_CLAIM,
    Cause.RETURN: pb.OWNERSHIP_CAUSE_RETURN,
    Cause.RECLAIM: pb.OWNERSHIP_CAUSE_RECLAIM,
    Cause.CONVERT: pb.OWNERSHIP_CAUSE_CONVERT,
    Cause.REGISTER: pb.OWNERSHIP_CAUSE_REGISTER,
}

# Numbers of a customer or contact, and contacts in one form.
MOST_PHONES = 20
MOST_CONTACTS = 50


def draft_of(request: pb.CreateCustomerRequest, seed: str) -> CustomerDraft:
    """Return the customer of a form; its ids follow from `seed`. Raises InvalidInput naming the field."""
    _check_count(len(request.contacts), MOST_CONTACTS, "contacts")
    return CustomerDraft(
        id=derive_id(seed, "customer"),
        name=check_name(parse_text(request.name, "name", 200)),
        level=parse_text(request.level, "level", 50, required=False),
        region=parse_text(request.region, "region", 100, required=False),
        address=parse_text(request.address, "address", 500, required=False),
        business_type=parse_text(request.business_type, "business_type", 100, required=False),
        phones=_phones(request.phones, "phones"),
        contacts=tuple(
            ContactDraft(
                id=derive_id(seed, "contact", str(index)),
                name=parse_text(contact.name, f"contacts[{index}].name", 100),
                title=parse_text(contact.title, f"contacts[{index}].title", 100, required=False),
                phones=_phones(contact.phones, f"contacts[{index}].phones"),
            )
            for index, contact in enumerate(request.contacts)
        ),
        approver_id=parse_id(request.approver_id, "approver_id") if request.approver_id else "",
        pool_id=parse_id(request.pool_id, "pool_id") if request.pool_id else "",
    )


def _phones(phones: Sequence[pb.PhoneInput], field: str) -> tuple[PhoneNumber, ...]:
    _check_count(len(phones), MOST_PHONES, field)
    parsed = [parse_phone(phone.number, f"{field}[{index}].number") for index, phone in enumerate(phones)]
    # The same number twice is one number.
    return tuple(dict.fromkeys(parsed))


def _check_count(count: int, most: int, field: str) -> None:
    if count > most:
        raise InvalidInput(
            field, "TOO_MANY", "{field} 最多{most}项", "{field} has at most {most} items", most=most
        )


def pool_draft(pool: pb.Pool) -> PoolDraft:
    """Return the pool of a form; raises InvalidInput naming the field."""
    if pool.daily_claims < 0:
        raise InvalidInput(
            "pool.daily_claims",
            "DAILY_CLAIMS_OUT_OF_RANGE",
            "每日领取上限不能小于 0",
            "daily_claims is 0 or more",
        )
    return PoolDraft(
        name=parse_text(pool.name, "pool.name", 50),
        rule=check_rule(ReclaimRule(pool.rule.idle_days, pool.rule.warn_days), "pool.rule"),
        department_ids=tuple(
            parse_id(value, f"pool.department_ids[{index}]")
            for index, value in enumerate(pool.department_ids)
        ),
        daily_claims=pool.daily_claims,
    )


def settings_draft(settings: pb.Settings) -> SettingsDraft:
    """Return the settings of a form; without a rule or a pool the ones that stand are kept."""
    rule = ReclaimRule(settings.default_rule.idle_days, settings.default_rule.warn_days)
    pool_id = settings.default_pool_id
    return SettingsDraft(
        registration_required=settings.registration_required,
        owner_cap=settings.owner_cap,
        rule=check_rule(rule, "settings.default_rule") if settings.HasField("default_rule") else None,
        default_pool_id=parse_id(pool_id, "settings.default_pool_id") if pool_id else "",
    )


def customer_message(seen: SeenCustomer, now: datetime) -> pb.Customer:
    """Return a customer as the caller may see it."""
    row = seen.customer
    locked = row.lock_expire_time is not None and row.lock_expire_time > now
    own_phones = [phone for phone in seen.phones if phone.contact_id is None]
    return pb.Customer(
        customer_id=row.customer_id,
        name=row.name,
        state=STATES[CustomerState(row.state)],
        owner_id=row.owner_id or "",
        pool_id=row.pool_id or "",
        level=row.level,
        region=row.region,
        address=row.address,
        business_type=row.business_type,
        phones=[_phone_message(phone, seen.numbers_shown) for phone in own_phones],
        contacts=[
            pb.Contact(
                contact_id=contact.contact_id,
                name=contact.name,
                title=contact.title,
                phones=[
                    _phone_message(phone, seen.numbers_shown)
                    for phone in seen.phones
                    if phone.contact_id == contact.contact_id
                ],
            )
            for contact in seen.contacts
        ],
        lock_expire_time=_timestamp(row.lock_expire_time) if locked else None,
        last_evidence_time=_timestamp(row.last_evidence_time),
        reclaim_due_time=_timestamp(row.reclaim_due_at),
        own_time=_timestamp(row.own_time),
        create_time=_timestamp(row.create_time),
        version=row.version,
        approver_id=row.approver_id or "",
        allowed_actions=seen.actions,
    )


def _phone_message(phone: Phone, shown: bool) -> pb.Phone:
    return pb.Phone(
        phone_id=phone.phone_id,
        number=phone.e164 if shown else mask_number(phone.e164),
        extension=phone.extension if shown else "",
        masked=not shown,
    )


def follow_up_message(row: FollowUp) -> pb.FollowUp:
    """Return a follow-up."""
    return pb.FollowUp(
        follow_up_id=row.follow_up_id,
        author_id=row.author_id,
        text=row.text,
        create_time=_timestamp(row.create_time),
    )


def ownership_change_message(row: OwnershipChange) -> pb.OwnershipChange:
    """Return a row of the ledger."""
    return pb.OwnershipChange(
        change_id=row.change_id,
        from_owner_id=row.from_owner_id or "",
        to_owner_id=row.to_owner_id or "",
        pool_id=row.pool_id or "",
        cause=CAUSES[Cause(row.cause)],
        actor_id=row.actor_id or "",
        reason=row.reason,
        rule_version=row.rule_version,
        create_time=_timestamp(row.create_time),
    )


def pool_message(row: Pool) -> pb.Pool:
    """Return a pool."""
    return pb.Pool(
        pool_id=row.pool_id,
        name=row.name,
        rule=pb.ReclaimRule(idle_days=row.idle_days, warn_days=row.warn_days),
        department_ids=row.department_ids,
        daily_claims=row.daily_claims,
        version=row.version,
    )


def settings_message(row: Settings) -> pb.Settings:
    """Return the settings."""
    return pb.Settings(
        registration_required=row.registration_required,
        owner_cap=row.owner_cap,
        default_rule=pb.ReclaimRule(idle_days=row.idle_days, warn_days=row.warn_days),
        default_pool_id=row.default_pool_id,
    )


def _timestamp(time: datetime | None) -> Timestamp | None:
    if time is None:
        return None
    result = Timestamp()
    result.FromDatetime(time)
    return result
