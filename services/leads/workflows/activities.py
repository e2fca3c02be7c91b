"""The activities: a call to another service, or a transaction in leads' store; each may be repeated.

What business refuses comes back as an answer. Anything else is raised, and Temporal tries again until it works.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from temporalio import activity

from services.chassis.db import Store
from services.chassis.errors import (
    AlreadyExists,
    AppError,
    Forbidden,
    InvalidInput,
    NotFound,
    Quota,
    RuleViolation,
)
from services.leads.clients import Customers, Dedupe, Identity, Subject
from services.leads.domain.conversion import RecordKind, customer_to_link
from services.leads.metrics import CONVERSIONS
from services.leads.store.queries import find_conversion
from services.leads.usecases.conversions import (
    abort_conversion,
    begin_conversion,
    finish_conversion,
    new_customer_id,
    plan_conversion,
    reservation_id,
)
from services.leads.usecases.pool import sweep
from services.leads.usecases.push import push, push_due, wait_s
from services.leads.workflows.contracts import (
    ABORT,
    BEGIN,
    FINISH,
    PLAN,
    PUSH,
    RESERVE,
    SWEEP,
    WRITE_CUSTOMER,
    Abort,
    ConversionRef,
    PushAt,
    Refusal,
    Round,
    StepAnswer,
    SweepAt,
)

# Leads of each kind in one transaction of a sweep.
BATCH = 200

# Errors that trying again will not mend.
REFUSALS = (InvalidInput, Forbidden, NotFound, AlreadyExists, RuleViolation, Quota)


@dataclass(frozen=True)
class Plan:
    """A conversion as the steps outside leads' store need it.

    customer: with the id it has or will have. linked: it is there already. contact: to be made, or None.
    chosen_customer_id: of several customers of that name, "" when the caller chose none.
    """

    reservation_id: str
    holder_name: str
    customer: Subject
    linked: bool
    contact: Subject | None
    chosen_customer_id: str = ""

    @property
    def new(self) -> list[Subject]:
        """The records to be made."""
        return [
            subject
            for subject in (None if self.linked else self.customer, self.contact)
            if subject is not None
        ]


class ConversionActivities:
    """The activities with what they work on."""

    def __init__(self, store: Store, identity: Identity, dedupe: Dedupe, customers: Customers) -> None:
        self._store = store
        self._identity = identity
        self._dedupe = dedupe
        self._customers = customers

    def all(self) -> Sequence[Callable[..., Any]]:
        """Return every activity, for the worker."""
        return [self.begin, self.plan, self.reserve, self.write_customer, self.finish, self.abort]

    @activity.defn(name=BEGIN)
    def begin(self, ref: ConversionRef) -> StepAnswer:
        """Check the actor's right as it is now and take the lead."""
        try:
            actor = self._identity.person(ref.tenant, ref.actor_id, ref.actor_id)
            with self._store.transaction(ref.tenant, ref.actor_id) as tx:
                goes_on = begin_conversion(tx, ref.conversion_id, actor)
        except REFUSALS as error:
            return StepAnswer(_refusal(error))
        return StepAnswer(ended=not goes_on)

    @activity.defn(name=PLAN)
    def plan(self, this: Round) -> StepAnswer:
        """Find out what is there already and fix what to link and what to make."""
        ref = this.conversion

        def work() -> None:
            plan = self._read(ref)
            # Whether last round linked or not: by its name the customer is looked for again.
            customer = Subject(RecordKind.CUSTOMER, new_customer_id(ref.conversion_id), plan.customer.name)
            wanted = [customer, plan.contact] if plan.contact else [customer]
            holders = self._dedupe.holders(ref.tenant, ref.actor_id, wanted)
            own = frozenset(subject.subject_id for subject in wanted)
            linked = customer_to_link(holders, own, plan.chosen_customer_id)
            with self._store.transaction(ref.tenant, ref.actor_id) as tx:
                plan_conversion(tx, ref.conversion_id, this.number, linked)

        return _answer(work)

    @activity.defn(name=RESERVE)
    def reserve(self, ref: ConversionRef) -> StepAnswer:
        """Reserve the keys of what will be made."""

        def work() -> None:
            plan = self._read(ref)
            if plan.new:
                self._dedupe.reserve(
                    ref.tenant, ref.actor_id, plan.reservation_id, plan.new, plan.holder_name
                )

        return _answer(work)

    @activity.defn(name=WRITE_CUSTOMER)
    def write_customer(self, ref: ConversionRef) -> StepAnswer:
        """Let customers write customer and contact, or check the customer that is linked to."""

        def work() -> None:
            plan = self._read(ref)
            self._customers.create(
                ref.tenant,
                ref.actor_id,
                request_id=ref.conversion_id,
                reservation_id=plan.reservation_id,
                customer=plan.customer,
                create_customer=not plan.linked,
                contact=plan.contact,
            )

        return _answer(work)

    @activity.defn(name=FINISH)
    def finish(self, ref: ConversionRef) -> StepAnswer:
        """Make it true in leads."""
        with self._store.transaction(ref.tenant, ref.actor_id) as tx:
            finish_conversion(tx, ref.conversion_id)
        CONVERSIONS.labels("converted").inc()
        return StepAnswer()

    @activity.defn(name=ABORT)
    def abort(self, this: Abort) -> bool:
        """Undo everything and return true; or return false because the write did happen.

        Customers is asked first: an answer that got lost, or a slow twin of the refused call, must neither be taken
        back nor come later. Only then the keys are given back.
        """
        ref = this.conversion
        plan = self._read(ref)
        if plan.reservation_id:
            if self._customers.settle(ref.tenant, ref.actor_id, plan.reservation_id):
                return False
            self._dedupe.release(ref.tenant, ref.actor_id, plan.reservation_id)
        with self._store.transaction(ref.tenant, ref.actor_id) as tx:
            abort_conversion(tx, ref.conversion_id, asdict(this.refusal))
        CONVERSIONS.labels("refused").inc()
        return True

    def _read(self, ref: ConversionRef) -> Plan:
        with self._store.transaction(ref.tenant, ref.actor_id) as tx:
            lead, row = find_conversion(tx, ref.conversion_id)
            phones = (lead.phone_key,) if lead.phone_key else ()
            return Plan(
                reservation_id=reservation_id(row) if row.round else "",
                holder_name=row.actor_name,
                customer=Subject(RecordKind.CUSTOMER, row.customer_id, row.customer_name),
                linked=row.linked,
                contact=Subject(RecordKind.CONTACT, row.contact_id, lead.name, phones)
                if row.contact_id
                else None,
                chosen_customer_id=row.chosen_customer_id or "",
            )


class PoolActivities:
    """The sweep of the lead pool."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @activity.defn(name=SWEEP)
    def sweep(self, at: SweepAt) -> bool:
        """Warn and take back a batch of what is due; return whether there may be more."""
        with self._store.transaction(at.tenant, now=at.now) as tx:
            return sweep(tx, BATCH)


class PushActivities:
    """The pushes of leads to reps."""

    def __init__(self, store: Store, identity: Identity) -> None:
        self._store = store
        self._identity = identity

    @activity.defn(name=PUSH)
    def push(self, at: PushAt) -> float:
        """Push what is due; return the seconds until the next set time, 0 for none."""
        with self._store.transaction(at.tenant, now=at.now) as tx:
            due = push_due(tx)
        if due:
            people = self._identity.people(at.tenant, due.person_ids)
            absent = self._identity.absent(at.tenant, due.person_ids, at.now)
            more = True
            while more:
                with self._store.transaction(at.tenant, now=at.now) as tx:
                    more = push(tx, due.set_time, people, absent, BATCH)
        with self._store.transaction(at.tenant, now=at.now) as tx:
            return wait_s(tx)


def _answer(work: Callable[[], None]) -> StepAnswer:
    try:
        work()
    except REFUSALS as error:
        return StepAnswer(_refusal(error))
    return StepAnswer()


def _refusal(error: AppError) -> Refusal:
    return Refusal(error.code, error.reason, error.zh, error.en, error.metadata)
