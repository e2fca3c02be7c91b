"""Inquiries and suspects: proto to use case and back."""

from dataclasses import replace

import grpc
from crm.dedupe.v1 import dedupe_pb2 as pb

from services.chassis.db import Transaction
from services.chassis.errors import InvalidInput
from services.chassis.grpc_server import Api, current_caller
from services.chassis.ids import parse_id
from services.chassis.paging import cut_page, decode_cursor, encode_cursor, page_size
from services.chassis.timestamps import timestamp
from services.dedupe.domain.evidence import EVIDENCE_LIMITS, Evidence
from services.dedupe.domain.suspects import Dimension, SuspectState, Suspicion
from services.dedupe.matching.weights import Verdict
from services.dedupe.projects_api import project_message
from services.dedupe.store import tables
from services.dedupe.usecases import inquiries, suspects
from services.dedupe.usecases.inquiries import InquiryDraft, Line
from services.dedupe.usecases.suspects import Content
from services.kernel.phones import mask_number, parse_phone, texts_for
from services.kernel.texts import parse_text

STATES = {
    pb.SUSPECT_STATE_OPEN: SuspectState.OPEN,
    pb.SUSPECT_STATE_CONFIRMED: SuspectState.CONFIRMED,
    pb.SUSPECT_STATE_DISMISSED: SuspectState.DISMISSED,
}
STATE_NUMBERS = {state: number for number, state in STATES.items()}
DIMENSION_NUMBERS = {
    Dimension.PRODUCT: pb.DIMENSION_PRODUCT,
    Dimension.PROJECT: pb.DIMENSION_PROJECT,
}
DIMENSIONS = {number: dimension for dimension, number in DIMENSION_NUMBERS.items()}
VERDICT_NUMBERS = {Verdict.SAME: pb.MATCH_VERDICT_SAME, Verdict.NEAR: pb.MATCH_VERDICT_NEAR}
# What a suspect says that raised it.
REASONS = {
    Dimension.PRODUCT: ("都询价：{shared}", "both asked for: {shared}"),
    Dimension.PROJECT: ("项目地址与方案相近：{shared}", "sites and schemes alike: {shared}"),
}
# Lines of an inquiry, characters of a name and of a longer text.
MOST_LINES, LONGEST_NAME, LONGEST_TEXT = 100, 200, 2000


class SuspectsApi(Api):
    """Answers for inquiries and suspects."""

    def RecordInquiry(
        self, request: pb.RecordInquiryRequest, context: grpc.ServicerContext
    ) -> pb.RecordInquiryResponse:
        """Store an inquiry and say whom it makes suspected."""
        draft = _draft(request)

        def work(tx: Transaction) -> pb.RecordInquiryResponse:
            inquiry, raised = inquiries.record_inquiry(tx, draft)
            return pb.RecordInquiryResponse(
                inquiry=_inquiry(inquiry), suspect_ids=[suspect.suspect_id for suspect in raised]
            )

        return self.write(request, pb.RecordInquiryResponse, work)

    def RequestQuote(
        self, request: pb.RequestQuoteRequest, context: grpc.ServicerContext
    ) -> pb.RequestQuoteResponse:
        """Note a quote, unless it is held."""
        inquiry_id = parse_id(request.inquiry_id, "inquiry_id")
        return self.write(
            request,
            pb.RequestQuoteResponse,
            lambda tx: pb.RequestQuoteResponse(flagged_suspect_id=inquiries.request_quote(tx, inquiry_id)),
        )

    def ListSuspects(
        self, request: pb.ListSuspectsRequest, context: grpc.ServicerContext
    ) -> pb.ListSuspectsResponse:
        """Return a page of suspects."""
        size, after = page_size(request.page_size), decode_cursor(request.page_token)

        def answer(tx: Transaction) -> pb.ListSuspectsResponse:
            found = suspects.list_suspects(tx, STATES.get(request.state), after, size + 1)
            page, more = cut_page(found, size)
            contents = suspects.contents_of(tx, page)
            last = page[-1] if more else None
            return pb.ListSuspectsResponse(
                suspects=[_suspect(suspect, contents[suspect.suspect_id]) for suspect in page],
                next_page_token=encode_cursor(last.create_time, last.suspect_id) if last else "",
            )

        return self.read(answer)

    def DecideSuspect(
        self, request: pb.DecideSuspectRequest, context: grpc.ServicerContext
    ) -> pb.DecideSuspectResponse:
        """Confirm or dismiss a suspect."""
        suspect_id = parse_id(request.suspect_id, "suspect_id")

        def work(tx: Transaction) -> pb.DecideSuspectResponse:
            suspect = suspects.decide_suspect(tx, suspect_id, request.same)
            return pb.DecideSuspectResponse(
                suspect=_suspect(suspect, suspects.contents_of(tx, [suspect])[suspect_id])
            )

        return self.write(request, pb.DecideSuspectResponse, work)

    def GetSuspicionSettings(
        self, request: pb.GetSuspicionSettingsRequest, context: grpc.ServicerContext
    ) -> pb.GetSuspicionSettingsResponse:
        """Return windows, thresholds and weights."""
        return self.read(
            lambda tx: pb.GetSuspicionSettingsResponse(settings=_settings(suspects.suspicion_of(tx)))
        )

    def UpdateSuspicionSettings(
        self, request: pb.UpdateSuspicionSettingsRequest, context: grpc.ServicerContext
    ) -> pb.UpdateSuspicionSettingsResponse:
        """Change windows, thresholds and weights."""
        given = request.settings
        settings = Suspicion(
            window_days=given.window_days,
            product_likeness=given.product_likeness,
            product_surprise=given.product_surprise,
            address_likeness=given.address_likeness,
            scheme_likeness=given.scheme_likeness,
            hold_quotes=given.hold_quotes,
            off=tuple(sorted({_dimension(number, place) for place, number in enumerate(given.off)})),
        )
        evidence = (
            Evidence(**{name: getattr(given.evidence, name) for name in EVIDENCE_LIMITS})
            if given.HasField("evidence")
            else None
        )

        def work(tx: Transaction) -> pb.UpdateSuspicionSettingsResponse:
            worth = evidence or suspects.suspicion_of(tx).evidence
            return pb.UpdateSuspicionSettingsResponse(
                settings=_settings(suspects.update_suspicion(tx, replace(settings, evidence=worth)))
            )

        return self.write(request, pb.UpdateSuspicionSettingsResponse, work)


def _draft(request: pb.RecordInquiryRequest) -> InquiryDraft:
    if not 1 <= len(request.items) <= MOST_LINES:
        raise InvalidInput(
            "items",
            "ITEMS_OUT_OF_RANGE",
            "须有 1 到 {most} 行产品",
            "There are 1 to {most} lines",
            most=MOST_LINES,
        )
    phone = parse_phone(request.phone, "phone") if request.phone else None
    return InquiryDraft(
        inquirer_name=parse_text(request.inquirer_name, "inquirer_name", LONGEST_NAME),
        company_name=parse_text(request.company_name, "company_name", LONGEST_NAME, required=False),
        phone=phone.key if phone else "",
        masked_phone=mask_number(phone.e164) if phone else "",
        lines=tuple(
            Line(
                parse_text(item.product, f"items[{place}].product", LONGEST_NAME),
                parse_text(item.quantity, f"items[{place}].quantity", LONGEST_NAME, required=False),
                parse_text(item.specification, f"items[{place}].specification", LONGEST_TEXT, required=False),
            )
            for place, item in enumerate(request.items)
        ),
        site_address=parse_text(request.site_address, "site_address", LONGEST_NAME, required=False),
        scheme=parse_text(request.scheme, "scheme", LONGEST_TEXT, required=False),
    )


def _inquiry(row: tables.Inquiry) -> pb.Inquiry:
    message = pb.Inquiry(
        inquiry_id=row.inquiry_id,
        inquirer_name=row.inquirer_name,
        company_name=row.company_name,
        phone=row.phone,
        items=[pb.InquiryItem(**line) for line in row.items],
        site_address=row.site_address,
        scheme=row.scheme,
        recorder_id=row.recorder_id,
        create_time=timestamp(row.create_time),
        quote_time=timestamp(row.quote_time),
    )
    return texts_for(message, may_see=row.recorder_id == current_caller().person_id)


def _suspect(row: tables.Suspect, content: Content) -> pb.Suspect:
    dimension = Dimension(row.dimension)
    zh, en = REASONS[dimension]
    text = en if current_caller().locale.lower().startswith("en") else zh
    return pb.Suspect(
        suspect_id=row.suspect_id,
        dimension=DIMENSION_NUMBERS[dimension],
        state=STATE_NUMBERS[SuspectState(row.state)],
        verdict=VERDICT_NUMBERS[Verdict(row.verdict)],
        likeness=row.likeness,
        surprise=row.surprise,
        reason=text.format(shared="、".join(row.shared)),
        inquiries=map(_inquiry, content.inquiries),
        projects=map(project_message, content.projects),
        create_time=timestamp(row.create_time),
        version=row.version,
        reasons=[
            pb.Reason(field="product", weight=bits, text=product)
            for product, bits in zip(row.shared, row.shared_bits, strict=False)
        ],
    )


def _settings(settings: Suspicion) -> pb.SuspicionSettings:
    return pb.SuspicionSettings(
        window_days=settings.window_days,
        product_likeness=settings.product_likeness,
        product_surprise=settings.product_surprise,
        address_likeness=settings.address_likeness,
        scheme_likeness=settings.scheme_likeness,
        hold_quotes=settings.hold_quotes,
        off=[DIMENSION_NUMBERS[dimension] for dimension in settings.off],
        evidence=pb.Evidence(**vars(settings.evidence)),
    )


def _dimension(number: pb.Dimension.ValueType, place: int) -> Dimension:
    if number not in DIMENSIONS:
        raise InvalidInput(f"settings.off[{place}]", "DIMENSION_MISSING", "请指明维度", "Say which dimension")
    return DIMENSIONS[number]
