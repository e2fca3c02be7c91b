"""Suspects: raise one over what is perhaps one customer's, and let a person decide (F154-F162)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from hashlib import blake2b

from sqlalchemy import func, or_, select, tuple_
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.chassis.errors import not_found
from services.chassis.ids import new_id
from services.dedupe.domain.keys import digest_of
from services.dedupe.domain.projects import ProjectState
from services.dedupe.domain.suspects import (
    Dimension,
    SuspectState,
    Suspicion,
    check_open,
    check_suspicion,
)
from services.dedupe.matching.places import compare_addresses, compare_schemes
from services.dedupe.matching.products import SAME_SET
from services.dedupe.matching.weights import Verdict
from services.dedupe.store import queries
from services.dedupe.store.tables import Inquiry, Project, Suspect, ToldApart
from services.dedupe.store.tables import Suspicion as SuspicionRow

# Inquiries of the window, and projects, that a new one is compared with, the newest first.
MOST_COMPARED = 5000
# What a suspect is about.
Subject = Inquiry | Project


@dataclass(frozen=True)
class Alike:
    """Something that is perhaps the same customer's. shared: what both have in common, bits: what each is worth."""

    dimension: Dimension
    other: Subject
    verdict: Verdict
    likeness: float
    surprise: float
    shared: tuple[str, ...]
    bits: tuple[float, ...] = ()


@dataclass(frozen=True)
class Content:
    """What a suspect is about, the oldest first."""

    inquiries: Sequence[Inquiry]
    projects: Sequence[Project]


def suspicion_of(tx: Transaction) -> Suspicion:
    """Return the tenant's windows, thresholds and weights."""
    return queries.suspicion(tx)


def update_suspicion(tx: Transaction, settings: Suspicion) -> Suspicion:
    """Change them, from the next inquiry on; raises InvalidInput SETTING_OUT_OF_RANGE."""
    tx.session.merge(SuspicionRow(tenant_id=tx.tenant.id, settings=asdict(check_suspicion(settings))))
    return settings


def one_at_a_time(tx: Transaction) -> None:
    """Let a tenant's inquiries and projects come one after the other: of two at once the second sees the first."""
    lock = blake2b(f"inquiries {tx.tenant.id}".encode(), digest_size=8).digest()
    tx.session.execute(select(func.pg_advisory_xact_lock(int.from_bytes(lock, signed=True))))


def same_project(
    one: Subject, other: Subject, settings: Suspicion, *, equal_names: bool = False
) -> list[Alike]:
    """Return what `one` has in common with another site and scheme (F158); equal names are as good as equal schemes."""
    if not (one.site_address and other.site_address and one.scheme and other.scheme):
        return []
    address = compare_addresses(one.site_address, other.site_address)
    scheme = 1.0 if equal_names else compare_schemes(one.scheme, other.scheme)
    if address < settings.address_likeness or scheme < settings.scheme_likeness:
        return []
    share = settings.evidence.site_share
    likeness = round(share * address + (1 - share) * scheme, 3)
    verdict = Verdict.SAME if likeness >= SAME_SET else Verdict.NEAR
    return [Alike(Dimension.PROJECT, other, verdict, likeness, 0.0, (other.site_address,))]


def inquiries_of_window(tx: Transaction, settings: Suspicion) -> Sequence[Inquiry]:
    """Return the inquiries that a new inquiry or project is compared with, the newest first."""
    since = tx.now - timedelta(days=settings.window_days)
    return tx.session.scalars(
        select(Inquiry)
        .where(Inquiry.tenant_id == tx.tenant.id, Inquiry.create_time >= since)
        .order_by(Inquiry.create_time.desc())
        .limit(MOST_COMPARED)
    ).all()


def open_projects(tx: Transaction) -> Sequence[Project]:
    """Return the projects that a new inquiry or project is compared with, the newest first."""
    return tx.session.scalars(
        select(Project)
        .where(Project.tenant_id == tx.tenant.id, Project.state == ProjectState.OPEN)
        .order_by(Project.create_time.desc(), Project.project_id.desc())
        .limit(MOST_COMPARED)
    ).all()


def told_apart(tx: Transaction, subject: Subject, others: Sequence[Subject]) -> set[bytes]:
    """Return the marks of those that a person told apart from a subject."""
    mine = mark_of(subject)
    pairs = {(min(mine, mark), max(mine, mark)) for mark in map(mark_of, others)}
    rows = tx.session.execute(
        select(ToldApart.low, ToldApart.high).where(
            ToldApart.tenant_id == tx.tenant.id, tuple_(ToldApart.low, ToldApart.high).in_(pairs)
        )
    )
    return {mark for row in rows for mark in (row.low, row.high)} - {mine}


def mark_of(subject: Subject) -> bytes:
    """Return by what a subject is told apart from others: an inquiry by who asks, a project by itself."""
    return subject.inquirer if isinstance(subject, Inquiry) else digest_of(subject.project_id)


def raise_suspects(
    tx: Transaction, subject: Subject, alike: Sequence[Alike], settings: Suspicion
) -> list[Suspect]:
    """Add a subject to the open suspects of those that it is like, or make them, one for each dimension that is on."""
    dimensions = [dimension for dimension in Dimension if dimension not in settings.off]
    by_dimension = ([pair for pair in alike if pair.dimension == dimension] for dimension in dimensions)
    return [_raise(tx, subject, pairs) for pairs in by_dimension if pairs]


def _raise(tx: Transaction, subject: Subject, pairs: Sequence[Alike]) -> Suspect:
    """Add to the open suspect of those that a subject is like, or make one; tell whose they are (F201)."""
    best = max(pairs, key=lambda pair: (pair.likeness, pair.surprise))
    others = [pair.other for pair in pairs]
    suspect = next(
        (
            suspect
            for suspect in suspects_with(tx, others, (SuspectState.OPEN,))
            if suspect.dimension == best.dimension
        ),
        None,
    )
    if suspect is None:
        suspect = Suspect(
            tenant_id=tx.tenant.id,
            suspect_id=new_id(),
            dimension=best.dimension,
            state=SuspectState.OPEN,
            verdict=best.verdict,
            likeness=best.likeness,
            surprise=best.surprise,
            shared=list(best.shared),
            shared_bits=list(best.bits),
            inquiry_ids=[],
            project_ids=[],
            decider_id=None,
            create_time=tx.now,
            version=0,
        )
        tx.session.add(suspect)
    inquiry_ids, project_ids = _ids((*others, subject))
    suspect.inquiry_ids = sorted({*suspect.inquiry_ids, *inquiry_ids})
    suspect.project_ids = sorted({*suspect.project_ids, *project_ids})
    suspect.version += 1
    tx.session.flush()
    tx.emit(
        "suspect_raised",
        suspect.suspect_id,
        suspect.version,
        {
            "suspectId": suspect.suspect_id,
            "dimension": suspect.dimension,
            "personIds": sorted({_person_of(each) for each in (subject, *others)}),
            "shared": "、".join(suspect.shared[:5]),
        },
    )
    return suspect


def decide_suspect(tx: Transaction, suspect_id: str, same: bool) -> Suspect:
    """Confirm or dismiss a suspect, once; those of a dismissed one are never suspected again (F159).

    Raises NotFound SUSPECT_NOT_FOUND, RuleViolation SUSPECT_DECIDED.
    """
    one_at_a_time(tx)
    suspect = tx.session.get(Suspect, (tx.tenant.id, suspect_id), with_for_update=True)
    if suspect is None:
        raise not_found("suspect", "疑似项", suspect_id)
    check_open(suspect.state)
    suspect.state = SuspectState.CONFIRMED if same else SuspectState.DISMISSED
    suspect.decider_id = tx.actor_id or None
    suspect.version += 1
    if not same:
        content = contents_of(tx, [suspect])[suspect_id]
        subjects: list[Subject] = [*content.inquiries, *content.projects]
        marks = sorted({mark_of(each) for each in subjects})
        pairs = [
            {"tenant_id": tx.tenant.id, "low": low, "high": high}
            for place, low in enumerate(marks)
            for high in marks[place + 1 :]
        ]
        tx.session.execute(insert(ToldApart).values(pairs).on_conflict_do_nothing())
    tx.emit("suspect_decided", suspect_id, suspect.version, {"suspectId": suspect_id, "state": suspect.state})
    return suspect


def list_suspects(
    tx: Transaction, state: SuspectState | None, after: tuple[datetime, str] | None, limit: int
) -> Sequence[Suspect]:
    """Return suspects, the newest first."""
    query = select(Suspect).where(Suspect.tenant_id == tx.tenant.id)
    if state:
        query = query.where(Suspect.state == state)
    if after:
        query = query.where(tuple_(Suspect.create_time, Suspect.suspect_id) < after)
    return tx.session.scalars(
        query.order_by(Suspect.create_time.desc(), Suspect.suspect_id.desc()).limit(limit)
    ).all()


def contents_of(tx: Transaction, suspects: Sequence[Suspect]) -> dict[str, Content]:
    """Return what each suspect is about, by its id."""
    inquiries = tx.session.scalars(
        select(Inquiry)
        .where(
            Inquiry.tenant_id == tx.tenant.id,
            Inquiry.inquiry_id.in_({each for suspect in suspects for each in suspect.inquiry_ids}),
        )
        .order_by(Inquiry.create_time, Inquiry.inquiry_id)
    ).all()
    projects = tx.session.scalars(
        select(Project)
        .where(
            Project.tenant_id == tx.tenant.id,
            Project.project_id.in_({each for suspect in suspects for each in suspect.project_ids}),
        )
        .order_by(Project.create_time, Project.project_id)
    ).all()
    return {
        suspect.suspect_id: Content(
            [row for row in inquiries if row.inquiry_id in suspect.inquiry_ids],
            [row for row in projects if row.project_id in suspect.project_ids],
        )
        for suspect in suspects
    }


def suspects_with(
    tx: Transaction, subjects: Sequence[Subject], states: Sequence[SuspectState]
) -> Sequence[Suspect]:
    """Return the suspects in one of these states that are about one of the subjects, the oldest first."""
    inquiry_ids, project_ids = _ids(subjects)
    return tx.session.scalars(
        select(Suspect)
        .where(
            Suspect.tenant_id == tx.tenant.id,
            Suspect.state.in_(states),
            or_(Suspect.inquiry_ids.overlap(inquiry_ids), Suspect.project_ids.overlap(project_ids)),
        )
        .order_by(Suspect.create_time)
    ).all()


def _ids(subjects: Sequence[Subject]) -> tuple[list[str], list[str]]:
    inquiries = [each.inquiry_id for each in subjects if isinstance(each, Inquiry)]
    return inquiries, [each.project_id for each in subjects if isinstance(each, Project)]


def _person_of(subject: Subject) -> str:
    return subject.recorder_id if isinstance(subject, Inquiry) else subject.owner_id
