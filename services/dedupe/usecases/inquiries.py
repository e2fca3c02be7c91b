"""Record inquiries, suspect that several are one customer's, hold a second quote."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from services.chassis.db import Transaction
from services.chassis.errors import not_found
from services.chassis.ids import new_id
from services.dedupe.domain.keys import digest_of
from services.dedupe.domain.suspects import Dimension, SuspectState, Suspicion, quote_held
from services.dedupe.matching.normalise import fold
from services.dedupe.matching.products import Item, compare_sets, item_of
from services.dedupe.matching.weights import Verdict
from services.dedupe.store.tables import Inquiry, Suspect
from services.dedupe.usecases import suspects
from services.dedupe.usecases.suspects import Alike


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


def record_inquiry(tx: Transaction, draft: InquiryDraft) -> tuple[Inquiry, list[Suspect]]:
    """Store an inquiry; return it with the open suspects that it belongs to (F155, F156, F158).

    One after the other in a tenant: of two at the same instant the second sees the first.
    """
    suspects.one_at_a_time(tx)
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
    settings = suspects.suspicion_of(tx)
    others = suspects.inquiries_of_window(tx, settings)
    projects = suspects.open_projects(tx)
    tx.session.add(inquiry)
    tx.session.flush()
    apart = suspects.told_apart(tx, inquiry, (*others, *projects))
    askers = _askers(others, inquiry)
    alike = [
        found
        for other in others
        if other.inquirer != inquiry.inquirer and suspects.mark_of(other) not in apart
        for found in (
            *_same_products(inquiry, other, askers, settings),
            *suspects.same_project(inquiry, other, settings),
        )
    ]
    alike += [
        found
        for project in projects
        if project.owner_id != inquiry.recorder_id and suspects.mark_of(project) not in apart
        for found in suspects.same_project(inquiry, project, settings)
    ]
    return inquiry, suspects.raise_suspects(tx, inquiry, alike, settings)


def request_quote(tx: Transaction, inquiry_id: str) -> str:
    """Note a quote for an inquiry; return the suspect in which another one has a quote already, "" for none (F160).

    Raises NotFound INQUIRY_NOT_FOUND, RuleViolation QUOTE_HELD.
    """
    suspects.one_at_a_time(tx)
    inquiry = tx.session.get(Inquiry, (tx.tenant.id, inquiry_id))
    if inquiry is None:
        raise not_found("inquiry", "询价", inquiry_id)
    if inquiry.quote_time is not None:
        return ""
    for suspect in suspects.suspects_with(tx, [inquiry], (SuspectState.OPEN, SuspectState.CONFIRMED)):
        content = suspects.contents_of(tx, [suspect])[suspect.suspect_id]
        if any(other.quote_time for other in content.inquiries):
            if suspects.suspicion_of(tx).hold_quotes:
                raise quote_held(suspect.suspect_id)
            inquiry.quote_time = tx.now
            return suspect.suspect_id
    inquiry.quote_time = tx.now
    return ""


def _askers(others: Sequence[Inquiry], inquiry: Inquiry) -> dict[str, int]:
    """Return by product how many inquirers asked for it, and under "" how many there are."""
    askers: defaultdict[str, set[bytes]] = defaultdict(set)
    for row in (*others, inquiry):
        askers[""].add(row.inquirer)
        for product in row.products:
            askers[product].add(row.inquirer)
    return {product: len(inquirers) for product, inquirers in askers.items()}


def _items(inquiry: Inquiry) -> list[Item]:
    return [item_of(line["product"], line["specification"]) for line in inquiry.items]


def _same_products(
    inquiry: Inquiry, other: Inquiry, askers: dict[str, int], settings: Suspicion
) -> list[Alike]:
    match = compare_sets(
        _items(inquiry),
        _items(other),
        askers,
        askers[""],
        settings.product_likeness,
        settings.product_surprise,
        settings.evidence.specification,
    )
    if match.verdict is Verdict.DIFFERENT:
        return []
    return [
        Alike(
            Dimension.PRODUCT, other, match.verdict, match.likeness, match.surprise, match.shared, match.bits
        )
    ]
