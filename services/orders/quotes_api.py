"""Quotes over gRPC: requests to use cases and back."""

from collections.abc import Sequence

import grpc
from crm.orders.v1 import quotes_pb2, quotes_pb2_grpc

from services.chassis.db import Transaction
from services.chassis.errors import InvalidInput
from services.chassis.grpc_server import Api, current_caller
from services.chassis.paging import cut_page, decode_cursor, encode_cursor, page_size
from services.chassis.timestamps import timestamp
from services.chassis.tokens import Caller
from services.kernel.money import format_amount
from services.kernel.phones import texts_for
from services.orders.domain.quotes import QuoteMode
from services.orders.store.tables import Quote, QuoteLine
from services.orders.usecases.fields import numbers_shown
from services.orders.usecases.lines import LineInput
from services.orders.usecases.quotes import (
    QuoteInput,
    create_quote,
    find_quote,
    list_quotes,
    quote_amounts,
    quote_lines,
    update_quote,
)

RIGHT = "orders.handle"

MODES = {
    QuoteMode.FOB: quotes_pb2.QUOTE_MODE_FOB,
    QuoteMode.CFR: quotes_pb2.QUOTE_MODE_CFR,
    QuoteMode.CIF: quotes_pb2.QUOTE_MODE_CIF,
}


class QuotesApi(quotes_pb2_grpc.QuotesServiceServicer, Api):
    """The servicer."""

    def CreateQuote(
        self, request: quotes_pb2.CreateQuoteRequest, context: grpc.ServicerContext
    ) -> quotes_pb2.CreateQuoteResponse:
        caller, given = current_caller(), quote_input(request.quote)

        def work(tx: Transaction) -> quotes_pb2.CreateQuoteResponse:
            quote = create_quote(tx, caller, given)
            return quotes_pb2.CreateQuoteResponse(quote=whole_quote(tx, quote, caller))

        return self.write(request, quotes_pb2.CreateQuoteResponse, work)

    def UpdateQuote(
        self, request: quotes_pb2.UpdateQuoteRequest, context: grpc.ServicerContext
    ) -> quotes_pb2.UpdateQuoteResponse:
        caller, given = current_caller(), quote_input(request.quote)

        def work(tx: Transaction) -> quotes_pb2.UpdateQuoteResponse:
            quote = update_quote(tx, caller, request.quote_id, request.quote.version, given)
            return quotes_pb2.UpdateQuoteResponse(quote=whole_quote(tx, quote, caller))

        return self.write(request, quotes_pb2.UpdateQuoteResponse, work)

    def GetQuote(
        self, request: quotes_pb2.GetQuoteRequest, context: grpc.ServicerContext
    ) -> quotes_pb2.GetQuoteResponse:
        caller = current_caller()
        return self.read(
            lambda tx: quotes_pb2.GetQuoteResponse(
                quote=whole_quote(tx, find_quote(tx, caller, request.quote_id), caller)
            )
        )

    def ListQuotes(
        self, request: quotes_pb2.ListQuotesRequest, context: grpc.ServicerContext
    ) -> quotes_pb2.ListQuotesResponse:
        caller = current_caller()
        size, after = page_size(request.page_size), decode_cursor(request.page_token)

        def work(tx: Transaction) -> quotes_pb2.ListQuotesResponse:
            page, more = cut_page(list_quotes(tx, caller, request.customer_id, after, size + 1), size)
            return quotes_pb2.ListQuotesResponse(
                quotes=[quote_message(quote, caller) for quote in page],
                next_page_token=encode_cursor(page[-1].create_time, page[-1].id) if more else "",
            )

        return self.read(work)


def quote_input(quote: quotes_pb2.Quote) -> QuoteInput:
    """Return a quote as typed; raises InvalidInput QUOTE_MODE_MISSING."""
    mode = {number: mode for mode, number in MODES.items()}.get(quote.mode)
    if mode is None:
        raise InvalidInput(
            "quote.mode", "QUOTE_MODE_MISSING", "请选择报价方式", "Say which terms of delivery"
        )
    return QuoteInput(
        title=quote.title,
        customer_id=quote.customer_id,
        customer_name=quote.customer_name,
        mode=mode,
        currency=quote.currency,
        delivery={
            "port_of_loading": quote.port_of_loading,
            "port_of_destination": quote.port_of_destination,
            "freight": quote.freight,
            "insurance": quote.insurance,
        },
        valid_until=quote.valid_until,
        terms=quote.terms,
        lines=[LineInput(line.product_id, line.quantity, line.unit_price) for line in quote.lines],
    )


def quote_message(quote: Quote, caller: Caller, lines: Sequence[QuoteLine] = ()) -> quotes_pb2.Quote:
    """Return a quote as this caller may see it."""
    computed = {name: format_amount(amount) for name, amount in quote_amounts(quote).items()}
    owned = quote.owner_id == caller.person_id and RIGHT in caller.rights
    message = quotes_pb2.Quote(
        quote_id=quote.id,
        number=quote.number,
        title=quote.title,
        customer_id=quote.customer_id or "",
        customer_name=quote.customer_name,
        mode=MODES[QuoteMode(quote.mode)],
        currency=quote.currency,
        lines=map(line_message, lines),
        port_of_loading=quote.port_of_loading,
        port_of_destination=quote.port_of_destination,
        freight="" if quote.freight is None else format_amount(quote.freight),
        insurance="" if quote.insurance is None else format_amount(quote.insurance),
        fob_amount=computed.get("fob_amount", ""),
        cfr_amount=computed.get("cfr_amount", ""),
        cif_amount=computed.get("cif_amount", ""),
        amount=next(reversed(computed.values())),
        valid_until=quote.valid_until.isoformat(),
        terms=quote.terms,
        owner_id=quote.owner_id,
        version=quote.version,
        create_time=timestamp(quote.create_time),
        allowed_actions=["update"] if owned else [],
    )
    return texts_for(message, may_see=numbers_shown(quote, caller))


def whole_quote(tx: Transaction, quote: Quote, caller: Caller) -> quotes_pb2.Quote:
    """Return a quote with its lines."""
    return quote_message(quote, caller, quote_lines(tx, quote.id))


def line_message(line: QuoteLine) -> quotes_pb2.QuoteLine:
    """Return a line of a quote."""
    return quotes_pb2.QuoteLine(
        product_id=line.product_id,
        product_code=line.product_code,
        product_name=line.product_name,
        unit=line.unit,
        quantity=f"{line.quantity.normalize():f}",
        unit_price=format_amount(line.unit_price),
        amount=format_amount(line.amount),
    )
