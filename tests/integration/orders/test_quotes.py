"""Quotes over a real channel: written by their owner, fields by mode, printed for whoever sees them."""

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import openpyxl
import pytest
from crm.orders.v1 import orders_pb2 as pb
from crm.orders.v1 import printing_pb2 as printing
from crm.orders.v1 import quotes_pb2 as quotes
from crm.orders.v1.printing_pb2_grpc import PrintingServiceStub
from crm.orders.v1.quotes_pb2_grpc import QuotesServiceStub

from services.chassis.ids import new_id
from services.chassis.settings import Settings
from services.orders.__main__ import SERVICE
from services.orders.events import handlers
from tests.integration.orders.conftest import Owner, Shop
from tests.support.running import event_of, take
from tests.support.served import served


@pytest.fixture(scope="module")
def channel(settings: Settings) -> Iterator[grpc.Channel]:
    """Orders, served."""
    with served(SERVICE, settings) as address, grpc.insecure_channel(address) as channel:
        yield channel


@pytest.fixture
def api(channel: grpc.Channel) -> QuotesServiceStub:
    """Quotes."""
    return QuotesServiceStub(channel)


@pytest.fixture
def printer(channel: grpc.Channel) -> PrintingServiceStub:
    """Printing."""
    return PrintingServiceStub(channel)


@pytest.fixture
def boss(shop: Shop) -> Owner:
    """Somebody who sees everything, and keeps products and settings."""
    return shop.person("orders.view", "products.manage", "settings.manage", scope="all")


@pytest.fixture
def product(shop: Shop, boss: Owner) -> pb.Product:
    """Something to sell."""
    wanted = pb.Product(code="KT-35", name="空调", unit="台", price="2500", active=True)
    request = pb.CreateProductRequest(request_id=new_id(), product=wanted)
    answer: pb.CreateProductResponse = boss.call(shop.stub.CreateProduct, request)
    return answer.product


def draft(product: pb.Product, **fields: object) -> quotes.Quote:
    """Return a quote as typed."""
    given = {
        "title": "空调报价",
        "customer_name": "云海科技",
        "mode": quotes.QUOTE_MODE_FOB,
        "port_of_loading": "上海",
        "valid_until": "2099-12-31",
        "lines": [quotes.QuoteLine(product_id=product.product_id, quantity="2")],
        **fields,
    }
    return quotes.Quote(**given)  # type: ignore[arg-type]  # keywords of several types


def create(api: QuotesServiceStub, owner: Owner, quote: quotes.Quote) -> quotes.Quote:
    """Write a quote."""
    request = quotes.CreateQuoteRequest(request_id=new_id(), quote=quote)
    answer: quotes.CreateQuoteResponse = owner.call(api.CreateQuote, request)
    return answer.quote


def sheet_with(*texts: str) -> bytes:
    """Return a workbook with these texts in its first row."""
    book = openpyxl.Workbook()
    assert book.active is not None
    for column, text in enumerate(texts, start=1):
        book.active.cell(1, column, text)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def test_a_quote_has_the_fields_of_its_mode_and_adds_up(
    shop: Shop, api: QuotesServiceStub, product: pb.Product
) -> None:
    """F94, F95: lines are picked from products; freight and insurance come on top."""
    rep = shop.person()
    quote = create(api, rep, draft(product))
    assert quote.number.startswith("QT")
    assert quote.number.endswith("-0001")
    assert (quote.currency, quote.fob_amount, quote.cfr_amount, quote.amount) == (
        "CNY",
        "5000.00",
        "",
        "5000.00",
    )
    assert [(line.product_code, line.unit_price, line.amount) for line in quote.lines] == [
        ("KT-35", "2500.00", "5000.00")
    ]
    wanted = draft(
        product,
        mode=quotes.QUOTE_MODE_CIF,
        currency="USD",
        port_of_destination="Hamburg",
        freight="300",
        insurance="12.34",
        version=quote.version,
        lines=[quotes.QuoteLine(product_id=product.product_id, quantity="2", unit_price="350.05")],
    )
    request = quotes.UpdateQuoteRequest(request_id=new_id(), quote_id=quote.quote_id, quote=wanted)
    changed = rep.call(api.UpdateQuote, request).quote
    assert (changed.fob_amount, changed.cfr_amount, changed.cif_amount, changed.amount) == (
        "700.10",
        "1000.10",
        "1012.44",
        "1012.44",
    )
    assert changed.version == quote.version + 1
    # Twice the same is once; another one on the old version is refused.
    assert rep.call(api.UpdateQuote, request).quote == changed
    request.request_id = new_id()
    assert rep.call.refused(api.UpdateQuote, request).reason == "QUOTE_CHANGED"
    seen = rep.call(api.GetQuote, quotes.GetQuoteRequest(quote_id=quote.quote_id)).quote
    assert seen == changed


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({"mode": quotes.QUOTE_MODE_UNSPECIFIED}, "quote.mode", "QUOTE_MODE_MISSING"),
        ({"freight": "1"}, "quote.freight", "FIELD_NOT_OF_MODE"),
        ({"port_of_loading": " "}, "quote.port_of_loading", "TEXT_EMPTY"),
        ({"valid_until": "2020-01-01"}, "quote.valid_until", "DAY_OVER"),
        ({"valid_until": "morgen"}, "quote.valid_until", "DAY_INVALID"),
        ({"currency": "USD"}, "quote.lines[0].unit_price", "PRICE_MISSING"),
        ({"lines": []}, "quote.lines", "LINES_OUT_OF_RANGE"),
        ({"customer_id": "1"}, "quote.customer_id", "NOT_A_UUID"),
        ({"title": ""}, "quote.title", "TEXT_EMPTY"),
    ],
)
def test_a_wrong_field_of_a_quote_is_named(
    shop: Shop,
    api: QuotesServiceStub,
    product: pb.Product,
    fields: dict[str, object],
    field: str,
    reason: str,
) -> None:
    request = quotes.CreateQuoteRequest(request_id=new_id(), quote=draft(product, **fields))
    refused = shop.person().call.refused(api.CreateQuote, request)
    assert (refused.metadata["field"], refused.reason) == (field, reason)


def test_quotes_written_at_once_have_numbers_of_their_own(
    shop: Shop, api: QuotesServiceStub, product: pb.Product
) -> None:
    rep = shop.person()
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: create(api, rep, draft(product)), range(16)))
    assert sorted(quote.number[-4:] for quote in made) == [f"{number:04}" for number in range(1, 17)]


def test_a_quote_is_its_owners_and_follows_into_another_department(
    shop: Shop, api: QuotesServiceStub, product: pb.Product
) -> None:
    rep, stranger = shop.person(department_path="1/2/"), shop.person()
    here = shop.person("orders.view", "orders.handle", scope="department", department_path="1/2/")
    quote = create(api, rep, draft(product))
    asked = quotes.GetQuoteRequest(quote_id=quote.quote_id)
    assert stranger.call.refused(api.GetQuote, asked).reason == "QUOTE_NOT_FOUND"
    assert list(here.call(api.GetQuote, asked).quote.allowed_actions) == []
    request = quotes.UpdateQuoteRequest(request_id=new_id(), quote_id=quote.quote_id, quote=quote)
    assert here.call.refused(api.UpdateQuote, request).reason == "QUOTE_NOT_OWNED"
    saved = {"personId": rep.person_id, "departmentPath": "1/3/"}
    take(shop.store, handlers, event_of(shop.tenant, "identity", "person_saved", saved))
    assert here.call.refused(api.GetQuote, asked).reason == "QUOTE_NOT_FOUND"
    assert [found.quote_id for found in rep.call(api.ListQuotes, quotes.ListQuotesRequest()).quotes] == [
        quote.quote_id
    ]


def test_what_somebody_sees_is_printed_as_pdf_or_into_the_tenants_workbook(
    shop: Shop, api: QuotesServiceStub, printer: PrintingServiceStub, product: pb.Product, boss: Owner
) -> None:
    """F95, F96."""
    rep = shop.person()
    quote = create(api, rep, draft(product))
    paper = printing.PrintDocumentRequest(document_id=quote.quote_id, kind=printing.DOCUMENT_KIND_QUOTE)
    answer = rep.call(printer.PrintDocument, paper)
    assert (answer.name, answer.content_type) == (f"{quote.number}.pdf", "application/pdf")
    assert answer.content.startswith(b"%PDF-")
    assert shop.person().call.refused(printer.PrintDocument, paper).reason == "QUOTE_NOT_FOUND"

    add = printing.CreatePrintTemplateRequest(
        request_id=new_id(),
        kind=printing.DOCUMENT_KIND_QUOTE,
        name="外贸报价",
        content=sheet_with("{{number}}", "{{客户}}", "{{行.名称}}", "{{FOB金额}}"),
    )
    template = boss.call(printer.CreatePrintTemplate, add).template
    assert boss.call(printer.CreatePrintTemplate, add).template == template
    add.request_id = new_id()
    assert boss.call.refused(printer.CreatePrintTemplate, add).reason == "TEMPLATE_EXISTS"
    add.name, add.content = "错误", sheet_with("{{price}}")
    refused = boss.call.refused(printer.CreatePrintTemplate, add)
    assert (refused.reason, refused.metadata["cell"]) == ("TEMPLATE_NAME_UNKNOWN", "Sheet!A1")

    paper.template_id = template.template_id
    book = openpyxl.load_workbook(io.BytesIO(rep.call(printer.PrintDocument, paper).content))
    assert book.active is not None
    assert [cell.value for cell in book.active[1]] == [quote.number, "云海科技", "空调", 5000]
    paper.kind = printing.DOCUMENT_KIND_ORDER
    assert rep.call.refused(printer.PrintDocument, paper).reason == "ORDER_NOT_FOUND"
    listed = rep.call(printer.ListPrintTemplates, printing.ListPrintTemplatesRequest())
    assert list(listed.templates) == [template]
    assert {"amount", "line.name"} <= {field.key for field in listed.fields}
    gone = printing.DeletePrintTemplateRequest(request_id=new_id(), template_id=template.template_id)
    boss.call(printer.DeletePrintTemplate, gone)
    paper.kind = printing.DOCUMENT_KIND_QUOTE
    assert rep.call.refused(printer.PrintDocument, paper).reason == "TEMPLATE_NOT_FOUND"


def test_an_order_is_printed_too(shop: Shop, printer: PrintingServiceStub) -> None:
    rep = shop.person()
    order = shop.generate(rep)
    paper = printing.PrintDocumentRequest(document_id=order.order_id, kind=printing.DOCUMENT_KIND_ORDER)
    assert rep.call(printer.PrintDocument, paper).name == f"{order.number}.pdf"
