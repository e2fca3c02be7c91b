"""Show a masked number to somebody who needs it: so many a day, each with a reason, each accounted for."""

from sqlalchemy import func, select

from services.chassis.db import Transaction
from services.chassis.errors import Quota, RuleViolation, not_found
from services.chassis.ids import new_id
from services.chassis.tokens import Caller
from services.customers.store.reveal_tables import Reveal
from services.customers.store.tables import Phone
from services.customers.usecases.views import seen_customer
from services.kernel.china_time import day_start
from services.kernel.texts import parse_text

# Different numbers that a person may reveal in a day in China.
DAILY_REVEALS = 30
# Of a reason, in characters.
LONGEST_REASON = 200
DAY_S = 24 * 3600


def reveal_number(
    tx: Transaction, caller: Caller, customer_id: str, phone_id: str, reason: str
) -> tuple[Phone, int]:
    """Return a number of a customer, and how many more the caller may reveal today.

    A number that was revealed today costs nothing again. Raises InvalidInput for the reason, NotFound for a customer
    that the caller does not see or a number that is not its own, RuleViolation NUMBER_IN_POOL while nobody owns the
    customer (O7), Quota REVEALS_USED_UP.
    """
    why = parse_text(reason, "reason", LONGEST_REASON)
    customer = seen_customer(tx, caller, customer_id)
    customer_id = customer.customer_id
    if customer.owner_id is None:
        raise RuleViolation(
            "NUMBER_IN_POOL",
            "公海客户领取后才能查看号码",
            "A pool customer's number is shown to whoever claims it",
        )
    phone = tx.session.scalar(
        select(Phone).where(
            Phone.tenant_id == tx.tenant.id, Phone.customer_id == customer_id, Phone.phone_id == phone_id
        )
    )
    if phone is None:
        raise not_found("phone", "号码", phone_id)
    # Two at once count one after the other.
    tx.session.execute(select(func.pg_advisory_xact_lock(func.hashtext(f"reveal.{caller.person_id}"))))
    begin = day_start(tx.now)
    today = set(
        tx.session.scalars(
            select(Reveal.phone_id).where(
                Reveal.tenant_id == tx.tenant.id,
                Reveal.person_id == caller.person_id,
                Reveal.create_time >= begin,
            )
        )
    )
    if phone_id not in today and len(today) >= DAILY_REVEALS:
        raise Quota(
            "REVEALS_USED_UP",
            "今天查看号码已达上限（{most}个），请明天再试",
            "You have revealed {most} numbers today; come back tomorrow",
            retry_after_s=DAY_S - int((tx.now - begin).total_seconds()),
            most=DAILY_REVEALS,
        )
    tx.session.add(
        Reveal(
            tenant_id=tx.tenant.id,
            reveal_id=new_id(),
            person_id=caller.person_id,
            phone_id=phone_id,
            create_time=tx.now,
        )
    )
    tx.audit("number_revealed", customer_id, {"reason": why, "phone": phone_id})
    return phone, DAILY_REVEALS - len(today | {phone_id})
