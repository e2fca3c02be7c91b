"""Record inquiries, suspect that several are one customer's, let a person decide, hold a second quote."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from hashlib import blake2b

from sqlalchemy import func, select, tuple_
from sqlalchemy.dialects.postgresql import insert

from services.chassis.db import Transaction
from services.chassis.errors import not_found
from services.chassis.ids import new_id
from services.dedupe.domain.keys import digest_of
from services.dedupe.domain.suspects import (
    Dimension,
    SuspectState,
    Suspicion,
    check_open,
    check_suspicion,
    quote_held,
)
from services.dedupe.matching.normalise import fold
from services.dedupe.matching.places import compare_addresses, compare_schemes
from services.dedupe.matching.products import SAME_SET, Item, compare_sets, item_of
from services.dedupe.matching.weights import Verdict
from services.dedupe.store.tables import Inquiry, Suspect, ToldApart
from services.dedupe.store.tables import Suspicion as SuspicionRow

# Inquiries of the window that a new one is compared with, the newest first.
MOST_COMPARED = 5000


@dataclass(frozen=True)
class Line:
    """A line as it is stored."""

    product: str
    quantity: str
    specification: str


@dataclass(frozen=True)
class InquiryDraft:
    """What somebody asks a price for. phone: E.164 with extension, "" for none; masked_phone: as it is shown."""

    inquirer_name: str
    company_name: str
    phone: str
    masked_phone: str
    lines: tuple[Line, ...]
    site_address: str
    scheme: str


@dataclass(frozen=True)
class _Alike:
    """Two inquiries that are perhaps one customer's."""

    dimension: Dimension
    other: Inquiry
    verdict: Verdict
    likeness: float
    surprise: float
    shared: tuple[str, ...]
    bits: tuple[float, ...] = ()


def suspicion_of(tx: Transaction) -> Suspicion:
    """Return the tenant's windows and thresholds."""
    stored = tx.session.get(SuspicionRow, tx.tenant.id)
    return Suspicion(**stored.settings) if stored else Suspicion()


def update_suspicion(tx: Transaction, settings: Suspicion) -> Suspicion:
    """Change them, from the next inquiry on; raises InvalidInput SETTING_OUT_OF_RANGE."""
    tx.session.merge(SuspicionRow(tenant_id=tx.tenant.id, settings=asdict(check_suspicion(settings))))
    return settings


def record_inquiry(tx: Transaction, draft: InquiryDraft) -> tuple[Inquiry, list[Suspect]]:
    """Store an inquiry; return it with the open suspects that it belongs to (F155, F156, F158).

    One after the other in a tenant: of two at the same instant the second sees the first.
    """
    _one_at_a_time(tx)
    inquiry = Inquiry(
        tenant_id=tx.tenant.id,
        inquiry_id=new_id(),
        inquirer=digest_of(draft.phone or f"{fold(draft.inquirer_name)}/{fold(draft.company_name)}"),
        inquirer_name=draft.inquirer_name,
        company_name=draft.company_name,
        phone=draft.masked_phone,
        items=[asdict(line) for line in draft.lines],
        products=sorted({fold(line.product) for line in draft.lines}),
        site_address=draft.site_address,
        scheme=draft.scheme,
        recorder_id=tx.actor_id,
        create_time=tx.now,
        quote_time=None,
    )
    settings = suspicion_of(tx)
    others = _of_window(tx, tx.now - timedelta(days=settings.window_days))
    tx.session.add(inquiry)
    tx.session.flush()
    apart = _told_apart(tx, inquiry, others)
    askers = _askers(others, inquiry)
    alike = [
        found
        for other in others
        if other.inquirer != inquiry.inquirer and other.inquirer not in apart
        for found in _compare(inquiry, other, askers, settings)
    ]
    suspects = []
    for dimension in Dimension:
        if pairs := [pair for pair in alike if pair.dimension == dimension]:
            suspects.append(_raise(tx, inquiry, pairs))
    return inquiry, suspects


def request_quote(tx: Transaction, inquiry_id: str) -> str:
    """Note a quote for an inquiry; return the suspect in which another one has a quote already, "" for none (F160).

    Raises NotFound INQUIRY_NOT_FOUND, RuleViolation QUOTE_HELD.
    """
    _one_at_a_time(tx)
    inquiry = tx.session.get(Inquiry, (tx.tenant.id, inquiry_id))
    if inquiry is None:
        raise not_found("inquiry", "询价", inquiry_id)
    if inquiry.quote_time is not None:
        return ""
    for suspect in _suspects_with(tx, [inquiry_id], (SuspectState.OPEN, SuspectState.CONFIRMED)):
        if any(other.quote_time for other in inquiries_of(tx, [suspect])[suspect.suspect_id]):
            if suspicion_of(tx).hold_quotes:
                raise quote_held(suspect.suspect_id)
            inquiry.quote_time = tx.now
            return suspect.suspect_id
    inquiry.quote_time = tx.now
    return ""


def decide_suspect(tx: Transaction, suspect_id: str, same: bool) -> Suspect:
    """Confirm or dismiss a suspect, once; those of a dismissed one are never suspected again (F159).

    Raises NotFound SUSPECT_NOT_FOUND, RuleViolation SUSPECT_DECIDED.
    """
    _one_at_a_time(tx)
    suspect = tx.session.get(Suspect, (tx.tenant.id, suspect_id), with_for_update=True)
    if suspect is None:
        raise not_found("suspect", "疑似项", suspect_id)
    check_open(suspect.state)
    suspect.state = SuspectState.CONFIRMED if same else SuspectState.DISMISSED
    suspect.decider_id = tx.actor_id or None
    suspect.version += 1
    if not same:
        inquirers = sorted({inquiry.inquirer for inquiry in inquiries_of(tx, [suspect])[suspect_id]})
        pairs = [
            {"tenant_id": tx.tenant.id, "low": low, "high": high}
            for place, low in enumerate(inquirers)
            for high in inquirers[place + 1 :]
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


def inquiries_of(tx: Transaction, suspects: Sequence[Suspect]) -> dict[str, list[Inquiry]]:
    """Return the inquiries of each suspect by its id, the oldest first."""
    ids = {inquiry_id for suspect in suspects for inquiry_id in suspect.inquiry_ids}
    rows = tx.session.scalars(
        select(Inquiry)
        .where(Inquiry.tenant_id == tx.tenant.id, Inquiry.inquiry_id.in_(ids))
        .order_by(Inquiry.create_time, Inquiry.inquiry_id)
    ).all()
    return {
        suspect.suspect_id: [row for row in rows if row.inquiry_id in suspect.inquiry_ids]
        for suspect in suspects
    }


def _one_at_a_time(tx: Transaction) -> None:
    lock = blake2b(f"inquiries {tx.tenant.id}".encode(), digest_size=8).digest()
    tx.session.execute(select(func.pg_advisory_xact_lock(int.from_bytes(lock, signed=True))))


def _of_window(tx: Transaction, since: datetime) -> Sequence[Inquiry]:
    return tx.session.scalars(
        select(Inquiry)
        .where(Inquiry.tenant_id == tx.tenant.id, Inquiry.create_time >= since)
        .order_by(Inquiry.create_time.desc())
        .limit(MOST_COMPARED)
    ).all()


def _askers(others: Sequence[Inquiry], inquiry: Inquiry) -> dict[str, int]:
    """Return by product how many inquirers asked for it, and under "" how many there are."""
    askers: defaultdict[str, set[bytes]] = defaultdict(set)
    for row in (*others, inquiry):
        askers[""].add(row.inquirer)
        for product in row.products:
            askers[product].add(row.inquirer)
    return {product: len(inquirers) for product, inquirers in askers.items()}


def _told_apart(tx: Transaction, inquiry: Inquiry, others: Sequence[Inquiry]) -> set[bytes]:
    pairs = {
        (min(inquiry.inquirer, other.inquirer), max(inquiry.inquirer, other.inquirer)) for other in others
    }
    rows = tx.session.execute(
        select(ToldApart.low, ToldApart.high).where(
            ToldApart.tenant_id == tx.tenant.id, tuple_(ToldApart.low, ToldApart.high).in_(pairs)
        )
    )
    return {inquirer for row in rows for inquirer in (row.low, row.high)} - {inquiry.inquirer}


def _items(inquiry: Inquiry) -> list[Item]:
    return [item_of(line["product"], line["specification"]) for line in inquiry.items]


def _compare(inquiry: Inquiry, other: Inquiry, askers: dict[str, int], settings: Suspicion) -> list[_Alike]:
    found = []
    match = compare_sets(
        _items(inquiry),
        _items(other),
        askers,
        askers[""],
        settings.product_likeness,
        settings.product_surprise,
    )
    if match.verdict is not Verdict.DIFFERENT:
        found.append(
            _Alike(
                Dimension.PRODUCT,
                other,
                match.verdict,
                match.likeness,
                match.surprise,
                match.shared,
                match.bits,
            )
        )
    if inquiry.site_address and other.site_address and inquiry.scheme and other.scheme:
        address = compare_addresses(inquiry.site_address, other.site_address)
        scheme = compare_schemes(inquiry.scheme, other.scheme)
        if address >= settings.address_likeness and scheme >= settings.scheme_likeness:
            likeness = round(min(address, scheme), 3)
            verdict = Verdict.SAME if likeness >= SAME_SET else Verdict.NEAR
            found.append(_Alike(Dimension.PROJECT, other, verdict, likeness, 0.0, (other.site_address,)))
    return found


def _suspects_with(
    tx: Transaction, inquiry_ids: Sequence[str], states: Sequence[SuspectState]
) -> Sequence[Suspect]:
    return tx.session.scalars(
        select(Suspect)
        .where(
            Suspect.tenant_id == tx.tenant.id,
            Suspect.state.in_(states),
            Suspect.inquiry_ids.overlap(list(inquiry_ids)),
        )
        .order_by(Suspect.create_time)
    ).all()


def _raise(tx: Transaction, inquiry: Inquiry, pairs: Sequence[_Alike]) -> Suspect:
    """Add an inquiry to the open suspect of those that it is like, or make one; tell who recorded them (F201)."""
    best = max(pairs, key=lambda pair: (pair.likeness, pair.surprise))
    ids = [pair.other.inquiry_id for pair in pairs]
    open_ones = [
        suspect
        for suspect in _suspects_with(tx, ids, (SuspectState.OPEN,))
        if suspect.dimension == best.dimension
    ]
    suspect = open_ones[0] if open_ones else None
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
            decider_id=None,
            create_time=tx.now,
            version=0,
        )
        tx.session.add(suspect)
    suspect.inquiry_ids = sorted({*suspect.inquiry_ids, *ids, inquiry.inquiry_id})
    suspect.version += 1
    tx.session.flush()
    recorders = {inquiry.recorder_id, *(pair.other.recorder_id for pair in pairs)}
    tx.emit(
        "suspect_raised",
        suspect.suspect_id,
        suspect.version,
        {
            "suspectId": suspect.suspect_id,
            "dimension": suspect.dimension,
            "personIds": sorted(recorders),
            "shared": "、".join(suspect.shared[:5]),
        },
    )
    return suspect
