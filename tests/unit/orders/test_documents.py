"""Quotes' terms of delivery, and documents on paper: fields by mode, a PDF, a workbook of the user's own."""

import base64
import io
import re
import zlib
from datetime import date
from decimal import Decimal

import openpyxl
import pytest
from openpyxl.styles import Font
from openpyxl.worksheet.worksheet import Worksheet

from services.chassis.errors import InvalidInput
from services.orders.domain.documents import FIELDS, LINE_FIELDS, LINED, Document, DocumentKind, Value
from services.orders.domain.quotes import (
    Delivery,
    QuoteMode,
    amounts,
    parse_currency,
    parse_delivery,
    parse_valid_until,
)
from services.orders.printing import pdf, workbook

TYPED = {"port_of_loading": "上海", "port_of_destination": "汉堡", "freight": "800", "insurance": "55.5"}


def given(*names: str) -> dict[str, str]:
    """Return what somebody typed into these fields and into no other."""
    return {name: text if name in names else "" for name, text in TYPED.items()}


def line(position: int, name: str = "空调") -> dict[str, Value]:
    """Return a line as documents have it."""
    return {
        "position": str(position),
        "code": f"KT-{position}",
        "name": name,
        "unit": "台",
        "quantity": Decimal("2"),
        "unit_price": Decimal("1250.50"),
        "amount": Decimal("2501.00"),
    }


def quote(*lines: dict[str, Value], **values: Value) -> Document:
    """Return a quote to print."""
    fields: dict[str, Value] = {
        "number": "QT20261130-0001",
        "date": date(2026, 11, 30),
        "customer": "云海科技",
        "mode": "FOB",
        "currency": "USD",
        "fob_amount": Decimal("2501.00"),
        "amount": Decimal("2501.00"),
        **values,
    }
    return Document(DocumentKind.QUOTE, "QT20261130-0001", fields, lines)


@pytest.mark.parametrize(
    ("mode", "fields", "computed"),
    [
        (QuoteMode.FOB, ("port_of_loading",), {"fob_amount": "100.00"}),
        (
            QuoteMode.CFR,
            ("port_of_loading", "port_of_destination", "freight"),
            {"fob_amount": "100.00", "cfr_amount": "900.00"},
        ),
        (
            QuoteMode.CIF,
            tuple(TYPED),
            {"fob_amount": "100.00", "cfr_amount": "900.00", "cif_amount": "955.50"},
        ),
    ],
)
def test_the_mode_decides_which_fields_a_quote_has(
    mode: QuoteMode, fields: tuple[str, ...], computed: dict[str, str]
) -> None:
    """F94: FOB shows FOB only, CFR adds CFR, CIF shows all."""
    delivery = parse_delivery(mode, given(*fields))
    assert {name: str(value) for name, value in amounts(delivery, Decimal("100.00")).items()} == computed
    for name in TYPED:
        # One more than the mode has is refused, and so is one fewer.
        wrong = given(*fields, name) if name not in fields else given(*(set(fields) - {name}))
        with pytest.raises(InvalidInput) as refused:
            parse_delivery(mode, wrong)
        assert refused.value.field == f"quote.{name}"
        assert (refused.value.reason == "FIELD_NOT_OF_MODE") is (name not in fields)


def test_costs_that_are_zero_are_costs() -> None:
    delivery = parse_delivery(QuoteMode.CFR, {**given(*TYPED), "freight": "0", "insurance": ""})
    assert delivery == Delivery(QuoteMode.CFR, "上海", "汉堡", Decimal("0.00"), None)


def test_currency_and_last_day_are_checked() -> None:
    assert (parse_currency(""), parse_currency("USD")) == ("CNY", "USD")
    with pytest.raises(InvalidInput, match="CURRENCY_INVALID"):
        parse_currency("usd")
    assert parse_valid_until("2026-11-30", date(2026, 11, 30)) == date(2026, 11, 30)
    with pytest.raises(InvalidInput, match="DAY_OVER"):
        parse_valid_until("2026-11-29", date(2026, 11, 30))


def text_of(content: bytes) -> list[str]:
    """Return the texts that a PDF of ours shows, in order."""
    shown = []
    for packed in re.findall(rb"(?<!end)stream\r?\n(.*?)~>", content, re.DOTALL):
        page = zlib.decompress(base64.a85decode(packed.strip()))
        for text in re.findall(rb"\(((?:[^\\)]|\\.)*)\) Tj", page, re.DOTALL):
            plain = re.sub(
                rb"\\([0-7]{3}|.)",
                lambda found: bytes([int(found[1], 8)]) if len(found[1]) == 3 else found[1],
                text,
                flags=re.DOTALL,
            )
            shown.append(plain.decode("utf-16-be"))
    return shown


def test_a_quote_is_printed_with_its_fields_lines_and_sums() -> None:
    """F95: in Chinese and English, the same bytes each time, markup and rare characters as they are."""
    document = quote(line(1, "空调 <b>&"), line(2, "𠮷"), terms="T/T 30 天\n余款见提单")
    content = pdf.render(document)
    assert content.startswith(b"%PDF-")
    assert content == pdf.render(document)
    shown = text_of(content)
    for text in (
        "报价单 QUOTATION",
        "QT20261130-0001",
        "云海科技",
        "空调 <b>&",
        "□",
        "2,501.00",
        "余款见提单",
    ):
        assert any(text in part for part in shown), text
    assert not any("CIF" in part for part in shown)


def test_a_long_quote_takes_several_pages() -> None:
    content = pdf.render(quote(*(line(number) for number in range(1, 121))))
    assert text_of(content).count("序号") == content.count(b"/Type /Page\n") > 2


def template(*rows: tuple[str | None, ...]) -> tuple[openpyxl.Workbook, Worksheet]:
    """Return a workbook with these rows."""
    book = openpyxl.Workbook()
    sheet = book.active
    assert isinstance(sheet, Worksheet)
    for row in rows:
        sheet.append(row)
    return book, sheet


def saved(book: openpyxl.Workbook) -> bytes:
    """Return a workbook as a file."""
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def printed(document: Document, book: openpyxl.Workbook) -> Worksheet:
    """Return the first sheet of a document in a workbook."""
    content = saved(book)
    workbook.check_template(document.kind, content)
    sheet = openpyxl.load_workbook(io.BytesIO(workbook.render(document, content))).active
    assert isinstance(sheet, Worksheet)
    return sheet


def test_a_workbook_gets_the_data_in_its_cells() -> None:
    """F96: by English or Chinese name, numbers as numbers and days as days, the row of lines for each line."""
    book, sheet = template(
        ("{{number}}", "致：{{客户}}", "{{date}}", "{{ CIF金额 }}"),
        ("{{line.position}}", "{{行.名称}}", "{{line.quantity}}", "{{line.unit_price}}", "=C2*D2"),
        ("合计", None, None, None, "=SUM(E2:E2)"),
        ("{{terms}}", None, "=E3*$E$3"),
    )
    sheet["D2"].number_format = "#,##0.00"
    sheet["B2"].font = Font(bold=True)
    sheet.merge_cells("A4:B4")
    sheet.row_dimensions[3].height = 40
    sheet.row_dimensions[2].height = 22
    result = printed(quote(line(1), line(2), line(3), terms="=HYPERLINK(1)"), book)
    assert [cell.value for cell in result[1]][:2] == ["QT20261130-0001", "致：云海科技"]
    assert result["C1"].value.date() == date(2026, 11, 30)
    # FOB: there is no such amount.
    assert result["D1"].value is None
    for row in (2, 3, 4):
        assert [result.cell(row, column).value for column in (1, 2, 3, 4, 5)] == [
            str(row - 1),
            "空调",
            2,
            1250.5,
            f"=C{row}*D{row}",
        ]
        assert (result.cell(row, 4).number_format, result.cell(row, 2).font.b) == ("#,##0.00", True)
        assert result.row_dimensions[row].height == 22
    assert (result["A5"].value, result["E5"].value) == ("合计", "=SUM(E2:E4)")
    assert result.row_dimensions[5].height == 40
    assert (result["C6"].value, str(result.merged_cells)) == ("=E5*$E$5", "A6:B6")
    # What a person wrote never computes.
    assert (result["A6"].value, result["A6"].data_type) == ("=HYPERLINK(1)", "s")


@pytest.mark.parametrize("kind", DocumentKind)
def test_a_sample_to_start_from_takes_every_field(kind: DocumentKind) -> None:
    """F96: it is a template as it is, and names all that documents of its kind have."""
    content = workbook.sample(kind)
    workbook.check_template(kind, content)
    values = {each.key: each.en for each in FIELDS[kind]}
    lines = [{each.key: each.en for each in LINE_FIELDS}] * 2 if kind in LINED else []
    filled = openpyxl.load_workbook(io.BytesIO(workbook.render(Document(kind, "1", values, lines), content)))
    shown = [cell.value for row in filled.worksheets[0].iter_rows() for cell in row if cell.value]
    assert not any("{{" in str(text) for text in shown)
    for value in (*values.values(), *(text for line in lines for text in line.values())):
        assert value in shown


def test_one_line_or_none_leaves_a_workbook_as_it_is() -> None:
    rows = (("{{number}}",), ("{{line.name}}", "=A1"), ("=SUM(A2:A2)",))
    book, _ = template(*rows)
    assert [cell.value for cell in printed(quote(line(1)), book)["A"]] == [
        "QT20261130-0001",
        "空调",
        "=SUM(A2:A2)",
    ]
    book, _ = template(*rows)
    assert printed(quote(), book)["A2"].value is None


def test_formulas_of_other_sheets_follow() -> None:
    book, sheet = template(("{{line.amount}}",), ("=SUM(A1:A1)",))
    sheet.title = "报价 1"
    other = book.create_sheet("汇总")
    other["A1"], other["A2"], other["A3"] = "='报价 1'!A2", "=A2+1", "=SUM('报价 1'!$A$1:$A$1)"
    content = saved(book)
    workbook.check_template(DocumentKind.QUOTE, content)
    done = openpyxl.load_workbook(io.BytesIO(workbook.render(quote(line(1), line(2)), content)))
    assert [cell.value for cell in done["汇总"]["A"]] == ["='报价 1'!A3", "=A2+1", "=SUM('报价 1'!$A$1:$A$2)"]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ((("{{nubmer}}",),), "TEMPLATE_NAME_UNKNOWN"),
        ((("编号",),), "TEMPLATE_WITHOUT_NAMES"),
        ((("{{line.name}}",), ("{{line.name}}",)), "TEMPLATE_LINES_TWICE"),
    ],
)
def test_a_workbook_that_cannot_be_filled_in_is_refused(rows: tuple[tuple[str]], reason: str) -> None:
    book, _ = template(*rows)
    with pytest.raises(InvalidInput) as refused:
        workbook.check_template(DocumentKind.QUOTE, saved(book))
    assert (refused.value.field, refused.value.reason) == ("content", reason)
    if reason == "TEMPLATE_NAME_UNKNOWN":
        assert refused.value.metadata["cell"] == "Sheet!A1"


def test_what_is_no_workbook_is_refused() -> None:
    for content in (b"%PDF-1.7", b"PK\x03\x04", saved(openpyxl.Workbook())[:200]):
        with pytest.raises(InvalidInput, match="TEMPLATE_BROKEN"):
            workbook.check_template(DocumentKind.QUOTE, content)
    with pytest.raises(InvalidInput, match="TEMPLATE_NAME_UNKNOWN"):
        # A contract has no lines.
        workbook.check_template(DocumentKind.CONTRACT, saved(template(("{{line.name}}",))[0]))
