"""The lists of a day: whom a person is to contact, whom too late, who ordered nothing and who is silent (F202, F203).

Everybody gets them once a day as messages whose ids follow from the day: a sweep that died in the middle is repeated.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Subquery,
    and_,
    case,
    func,
    literal,
    null,
    select,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.chassis.ids import derive_id
from services.notify.domain import texts
from services.notify.domain.contacts import NAMES_SHOWN, DueList, DueReason, day_of
from services.notify.domain.notices import next_minute
from services.notify.store.moves import MOVED
from services.notify.store.tables import Cadence, Dealing, FollowUpReminder, Plan, Tenant
from services.notify.usecases.dealings import policy_of
from services.notify.usecases.messages import Subject, write_message

DAY_S: Final = 86_400
# What a person planned is seen to there; the time without an order is told of by itself.
TO_CONTACT: Final = (DueList.OVERDUE, DueList.TODAY, DueList.TOMORROW)


@dataclass(frozen=True)
class DueContact:
    """Somebody to contact. id: of the plan, reminder or customer that says so."""

    id: str
    reason: DueReason
    subject_type: str
    subject_id: str
    name: str
    due_time: datetime
    text: str


def due_contacts(
    tx: Transaction, person_id: str, due_list: DueList, before: tuple[datetime, str] | None, limit: int
) -> list[DueContact]:
    """Return who is on a person's list, the longest due first. before: due time and id of the last one before."""
    found = _found(tx, person_id)
    query = select(found).where(found.c.list == due_list.value)
    if before:
        query = query.where(tuple_(found.c.due_time, found.c.id) > before)
    rows = tx.session.execute(query.order_by(found.c.due_time, found.c.id).limit(limit)).mappings()
    return [
        DueContact(
            row["id"],
            DueReason(row["reason"]),
            row["subject_type"],
            row["subject_id"],
            row["name"],
            row["due_time"],
            row["text"],
        )
        for row in rows
    ]


def counts(tx: Transaction, person_id: str) -> Mapping[DueList, int]:
    """Return how many are on each of a person's lists."""
    found = _found(tx, person_id)
    query = select(found.c.list, func.count().label("contacts")).group_by(found.c.list)
    return {DueList(row.list): row.contacts for row in tx.session.execute(query)}


def people_to_tell(tx: Transaction) -> Sequence[str]:
    """Return who is to get the lists of the day now; nobody before its time, and nobody with empty ones."""
    tenant = tx.session.get(Tenant, tx.tenant.id)
    if tenant is None or tenant.daily_time > tx.now:
        return ()
    found = _found(tx, None)
    return tx.session.scalars(select(found.c.person_id).distinct().order_by(found.c.person_id)).all()


def tell(tx: Transaction, person_id: str) -> None:
    """Write a person's messages of the day: whom to contact, and who newly has no order or is silent."""
    day = day_of(tx.now)[0].date().isoformat()
    subject = Subject("contacts", derive_id("contacts", tx.tenant.id, person_id, day))
    count = counts(tx, person_id)
    if any(count.get(each) for each in TO_CONTACT):
        names = _names(tx, person_id, (DueList.OVERDUE, DueList.TODAY))
        words = texts.contacts_due(
            count.get(DueList.TODAY, 0), count.get(DueList.TOMORROW, 0), count.get(DueList.OVERDUE, 0), names
        )
        write_message(tx, day, person_id, "contacts_due", subject, words)
    for due_list, base, told, to_words in (
        (DueList.NO_ORDER, _order_due(tx), Dealing.order_told, texts.orders_missing),
        (DueList.SILENT, _silence_due(tx), Dealing.silence_told, texts.customers_silent),
    ):
        # Each customer is told of once, until it orders or is heard of and the time begins anew.
        changed = tx.session.execute(
            update(Dealing)
            .where(Dealing.tenant_id == tx.tenant.id, Dealing.owner_id == person_id, ~told, base <= tx.now)
            .values({told: True})
            .returning(Dealing.name, Dealing.customer_id)
            .execution_options(synchronize_session=False)
        ).all()
        if changed:
            names = sorted(row.name for row in changed)
            words = to_words(len(names), names[:NAMES_SHOWN])
            # Of these customers, not of the day: under a new policy there can be more of them on the same one.
            cause = " ".join([day, *sorted(row.customer_id for row in changed)])
            write_message(tx, cause, person_id, _KINDS[due_list], subject, words)


def done_for_today(tx: Transaction) -> None:
    """Note that everybody has the lists of the day."""
    tenant = tx.session.get(Tenant, tx.tenant.id, with_for_update=True)
    if tenant is not None and tenant.daily_time <= tx.now:
        tenant.daily_time = next_minute(tx.now, tenant.daily_minute)


def next_time(tx: Transaction) -> datetime | None:
    """Return when the lists are made next; None while nothing is known of the tenant."""
    tenant = tx.session.get(Tenant, tx.tenant.id)
    return tenant.daily_time if tenant else None


def note_plan(tx: Transaction, facts: Mapping[str, str], *, done: bool) -> None:
    """Put a planned follow-up on its person's list, or take it off; heard of in either order, it is off.

    facts: of customers' events `plan_made` and `plan_completed`.
    """
    added = insert(Plan).values(
        tenant_id=tx.tenant.id,
        plan_id=facts["planId"],
        customer_id=MOVED.current(tx, facts["customerId"]),
        name=facts["name"],
        person_id=facts["personId"],
        text=facts["text"],
        due_time=datetime.fromisoformat(facts["dueTime"]),
        done=done,
    )
    same = ["tenant_id", "plan_id"]
    tx.session.execute(
        added.on_conflict_do_update(index_elements=same, set_={"done": True})
        if done
        else added.on_conflict_do_nothing(index_elements=same)
    )


_KINDS: Final = {DueList.NO_ORDER: "orders_missing", DueList.SILENT: "customers_silent"}


def _names(tx: Transaction, person_id: str, lists: Collection[DueList]) -> list[str]:
    """Return the names of the first on some lists, each once."""
    found = _found(tx, person_id)
    query = (
        select(found.c.name)
        .where(found.c.list.in_([each.value for each in lists]))
        .group_by(found.c.name)
        .order_by(func.min(found.c.due_time), found.c.name)
    )
    return list(tx.session.scalars(query.limit(NAMES_SHOWN)))


def _found(tx: Transaction, person_id: str | None) -> Subquery:
    """Return everybody on a person's lists, None: on anybody's, each with the list."""
    today, tomorrow, after = day_of(tx.now)
    customer, nothing = literal("customer"), literal("")

    def whose(table: Any, person: Any) -> ColumnElement[bool]:
        return and_(
            table.tenant_id == tx.tenant.id, person == person_id if person_id else person.is_not(None)
        )

    def of_dealing(reason: DueReason, due: ColumnElement[Any]) -> Any:
        return select(
            literal(reason.value),
            Dealing.owner_id,
            Dealing.customer_id,
            customer,
            Dealing.customer_id,
            Dealing.name,
            due,
            nothing,
        ).where(whose(Dealing, Dealing.owner_id), due <= tx.now)

    everybody = union_all(
        select(
            literal(DueReason.PLAN.value).label("reason"),
            Plan.person_id.label("person_id"),
            Plan.plan_id.label("id"),
            customer.label("subject_type"),
            Plan.customer_id.label("subject_id"),
            Plan.name.label("name"),
            Plan.due_time.label("due_time"),
            Plan.text.label("text"),
        ).where(whose(Plan, Plan.person_id), ~Plan.done, Plan.due_time < after),
        select(
            literal(DueReason.REMINDER.value),
            FollowUpReminder.person_id,
            FollowUpReminder.id,
            FollowUpReminder.subject_type,
            FollowUpReminder.subject_id,
            FollowUpReminder.subject_name,
            FollowUpReminder.next_time,
            FollowUpReminder.title,
        ).where(
            whose(FollowUpReminder, FollowUpReminder.person_id),
            FollowUpReminder.subject_type.in_(["customer", "lead"]),
            FollowUpReminder.next_time < after,
        ),
        select(
            literal(DueReason.CADENCE.value),
            Cadence.owner_id,
            Cadence.customer_id,
            customer,
            Cadence.customer_id,
            Cadence.name,
            Cadence.overdue_time,
            Cadence.last_text,
        ).where(whose(Cadence, Cadence.owner_id), Cadence.overdue_time < after),
        of_dealing(DueReason.ORDER, _order_due(tx)),
        of_dealing(DueReason.SILENCE, _silence_due(tx)),
    ).subquery("everybody")
    on_list = case(
        (everybody.c.reason == DueReason.ORDER.value, DueList.NO_ORDER.value),
        (everybody.c.reason == DueReason.SILENCE.value, DueList.SILENT.value),
        (everybody.c.due_time < today, DueList.OVERDUE.value),
        (everybody.c.due_time < tomorrow, DueList.TODAY.value),
        else_=DueList.TOMORROW.value,
    )
    return select(everybody, on_list.label("list")).subquery("found")


def _order_due(tx: Transaction) -> ColumnElement[Any]:
    """Return when a customer should have ordered again: by its own usual gap, else by the policy; null: never."""
    days = policy_of(tx).order_days
    if not days:
        return null()
    seconds = func.coalesce(Dealing.order_overdue_s, days * DAY_S)
    return Dealing.order_base_time + func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def _silence_due(tx: Transaction) -> ColumnElement[Any]:
    """Return when a customer is silent too long by the policy; null: never."""
    days = policy_of(tx).silence_days
    if not days:
        return null()
    return Dealing.silence_base_time + timedelta(days=days)
