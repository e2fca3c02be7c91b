"""Messages of the contract: what a form says, checked field by field, and rows as messages."""

from collections.abc import Sequence
from datetime import datetime

from crm.customers.v1 import customers_pb2 as pb

from services.chassis.errors import InvalidInput
from services.chassis.ids import derive_id, parse_id
from services.chassis.timestamps import timestamp
from services.customers.domain.customers import (
    ContactDraft,
    CustomerDraft,
    CustomerState,
    check_name,
)
from services.customers.store.tables import FollowUp, Phone
from services.customers.usecases.views import SeenCustomer
from services.kernel.credit_codes import parse_credit_code
from services.kernel.fields import CHOICE_SEPARATOR, Stored
from services.kernel.phones import PhoneNumber, number_for, parse_phone, texts_for
from services.kernel.texts import parse_text

STATES = {
    CustomerState.PENDING: pb.CUSTOMER_STATE_PENDING,
    CustomerState.ACTIVE: pb.CUSTOMER_STATE_ACTIVE,
    CustomerState.REJECTED: pb.CUSTOMER_STATE_REJECTED,
    CustomerState.TRASHED: pb.CUSTOMER_STATE_TRASHED,
    CustomerState.MERGED: pb.CUSTOMER_STATE_MERGED,
}

# Numbers of a customer or contact, and contacts in one form.
MOST_PHONES = 20
MOST_CONTACTS = 50
# Tags of a customer.
MOST_TAGS = 30


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
        values=given_values(request.values),
        category_id=parse_id(request.category_id, "category_id") if request.category_id else "",
        tags=parse_tags(request.tags),
        credit_code=parse_credit_code(request.credit_code, "credit_code") if request.credit_code else "",
    )


def given_values(values: Sequence[pb.FieldValue]) -> dict[str, str]:
    """Return values of the tenant's own fields by key, as they were typed."""
    return {value.key: value.value for value in values}


def parse_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """Return tags, each once; raises InvalidInput TOO_MANY or below `tags`."""
    _check_count(len(tags), MOST_TAGS, "tags")
    return tuple(dict.fromkeys(parse_text(tag, f"tags[{index}]", 30) for index, tag in enumerate(tags)))


def stored_text(value: Stored) -> str:
    """Return a stored value as the contract has it, and as it may be given again."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return CHOICE_SEPARATOR.join(value) if isinstance(value, list) else value


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


def customer_message(seen: SeenCustomer, now: datetime) -> pb.Customer:
    """Return a customer as the caller may see it."""
    row = seen.customer
    locked = row.lock_expire_time is not None and row.lock_expire_time > now
    own_phones = [phone for phone in seen.phones if phone.contact_id is None]
    message = pb.Customer(
        customer_id=row.customer_id,
        name=row.name,
        state=STATES[CustomerState(row.state)],
        owner_id=row.owner_id or "",
        pool_id=row.pool_id or "",
        level="" if "level" in seen.hidden else row.level,
        region="" if "region" in seen.hidden else row.region,
        address="" if "address" in seen.hidden else row.address,
        business_type="" if "business_type" in seen.hidden else row.business_type,
        phones=[_phone_message(phone, seen.numbers_shown) for phone in own_phones],
        contacts=[
            pb.Contact(
                contact_id=contact.contact_id,
                name=contact.name,
                title=contact.title,
                address=contact.address,
                account=contact.account,
                birthday=contact.birthday.isoformat() if contact.birthday else "",
                hobbies=contact.hobbies or "",
                phones=[
                    _phone_message(phone, seen.numbers_shown)
                    for phone in seen.phones
                    if phone.contact_id == contact.contact_id
                ],
            )
            for contact in seen.contacts
        ],
        lock_expire_time=timestamp(row.lock_expire_time) if locked else None,
        last_evidence_time=timestamp(row.last_evidence_time),
        reclaim_due_time=timestamp(row.reclaim_due_at),
        own_time=timestamp(row.own_time),
        create_time=timestamp(row.create_time),
        version=row.version,
        approver_id=row.approver_id or "",
        allowed_actions=seen.actions,
        values=[
            pb.FieldValue(key=key, value=stored_text(value))
            for key, value in seen.custom.items()
            if key not in seen.hidden
        ],
        category_id=row.category_id or "",
        tags=row.tags,
        hot=row.hot,
        dealer=row.dealer,
        dealer_id=row.dealer_id or "",
        parent_id=row.parent_id or "",
    )
    return texts_for(message, may_see=seen.numbers_shown)


def _phone_message(phone: Phone, shown: bool) -> pb.Phone:
    return pb.Phone(
        phone_id=phone.phone_id,
        number=number_for(phone.e164, may_see=shown),
        extension=phone.extension if shown else "",
        masked=not shown,
    )


def follow_up_message(row: FollowUp, numbers_shown: bool) -> pb.FollowUp:
    """Return a follow-up. numbers_shown: of its customer."""
    message = pb.FollowUp(
        follow_up_id=row.follow_up_id,
        author_id=row.author_id,
        text=row.text,
        create_time=timestamp(row.create_time),
    )
    return texts_for(message, may_see=numbers_shown)
