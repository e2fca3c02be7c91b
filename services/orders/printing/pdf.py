"""A document as PDF: fields, lines, sums; in Chinese and English side by side, as quotes go abroad.

The font is STSong-Light, one of the Asian fonts that every PDF reader brings along (Adobe-GB1, ISO 32000-1 9.7.5.2), so
that no font file has to be installed or shipped. The same document gives the same bytes.
"""

import io
from xml.sax.saxutils import escape

from reportlab.lib import colors
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from services.orders.domain.documents import FIELDS, LINE_FIELDS, SUMS, TITLES, Document, Value, plain

FONT = "STSong-Light"
pdfmetrics.registerFont(UnicodeCIDFont(FONT))

MARGIN = 18 * mm
# Of what stands between the margins: a frame pads its content by 6 points on each side.
WIDTH = A4[0] - 2 * MARGIN - 12
# Shares of the width: position, code, name, unit, quantity, unit price, amount.
COLUMNS = (0.07, 0.15, 0.30, 0.08, 0.12, 0.13, 0.15)
# Fields of a line that are numbers.
NUMBERS = ("quantity", "unit_price", "amount")
# A field that takes the whole width below everything else.
LONG = "terms"
# The highest character of the font's encoding, UniGB-UCS2.
LAST_CHARACTER = "\uffff"

TEXT = ParagraphStyle("text", fontName=FONT, fontSize=9.5, leading=13, wordWrap="CJK")
FIGURE = ParagraphStyle("figure", TEXT, alignment=TA_RIGHT)
SMALL = ParagraphStyle("small", TEXT, fontSize=7.5, leading=10, textColor=colors.HexColor("#666666"))
HEAD = ParagraphStyle("head", TEXT, fontSize=18, leading=24)
LINE = colors.HexColor("#bbbbbb")


def render(document: Document, seller: str = "") -> bytes:
    """Return a document as PDF. seller: who offers it, for the head; "" leaves it out."""
    title, english = TITLES[document.kind]
    story: list[Flowable] = [_paragraph(f"{title} {english}", HEAD)]
    if seller:
        story.append(_paragraph(seller, TEXT))
    story += [Spacer(0, 5 * mm), _facts(document), Spacer(0, 5 * mm)]
    if document.lines:
        story += [_lines(document), Spacer(0, 3 * mm)]
    story.append(_sums(document))
    if LONG in document.values:
        (field,) = (field for field in FIELDS[document.kind] if field.key == LONG)
        story += [Spacer(0, 4 * mm), _paragraph(f"{field.zh} {field.en}", SMALL)]
        story += [_paragraph(line or " ", TEXT) for line in plain(document.values[LONG]).splitlines()]
    file = io.BytesIO()
    template = SimpleDocTemplate(
        file,
        pagesize=A4,
        leftMargin=MARGIN,
        rightMargin=MARGIN,
        topMargin=MARGIN,
        bottomMargin=MARGIN,
        title=f"{title} {document.number}",
        author=seller,
        invariant=1,
    )

    def foot(canvas: Canvas, _template: object) -> None:
        canvas.setFont(FONT, 8)
        canvas.drawRightString(
            A4[0] - MARGIN, MARGIN / 2, f"{_printable(document.number)} · {canvas.getPageNumber()}"
        )

    template.build(story, onFirstPage=foot, onLaterPages=foot)
    return file.getvalue()


def _facts(document: Document) -> Table:
    shown = [
        field
        for field in FIELDS[document.kind]
        if field.key in document.values and field.key not in (*SUMS, LONG)
    ]
    cells = [
        [_paragraph(f"{field.zh} {field.en}", SMALL), _value(document.values[field.key], TEXT)]
        for field in shown
    ]
    pairs = [
        [*cells[index], *(cells[index + 1] if index + 1 < len(cells) else ["", ""])]
        for index in range(0, len(cells), 2)
    ]
    table = Table(pairs, colWidths=[WIDTH * share for share in (0.17, 0.33, 0.17, 0.33)])
    table.setStyle(TableStyle([("VALIGN", (0, 0), (-1, -1), "TOP"), ("LEFTPADDING", (0, 0), (-1, -1), 0)]))
    return table


def _lines(document: Document) -> Table:
    heads = [[_paragraph(field.zh, SMALL), _paragraph(field.en, SMALL)] for field in LINE_FIELDS]
    rows = [
        [_value(line.get(field.key, ""), FIGURE if field.key in NUMBERS else TEXT) for field in LINE_FIELDS]
        for line in document.lines
    ]
    # The head stands on every page.
    table = Table([heads, *rows], colWidths=[WIDTH * share for share in COLUMNS], repeatRows=1)
    table.setStyle(
        TableStyle(
            [
                ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
                ("BACKGROUND", (0, 0), (-1, 0), colors.HexColor("#f2f3f5")),
                ("GRID", (0, 0), (-1, -1), 0.4, LINE),
            ]
        )
    )
    return table


def _sums(document: Document) -> Table:
    shown = [field for field in FIELDS[document.kind] if field.key in document.values and field.key in SUMS]
    # As they add up, the sum last.
    shown.sort(key=lambda field: SUMS.index(field.key))
    currency = f" ({plain(document.values['currency'])})" if "currency" in document.values else ""
    rows = [
        [
            "",
            _paragraph(f"{field.zh} {field.en}{currency}", SMALL),
            _value(document.values[field.key], FIGURE),
        ]
        for field in shown
    ]
    table = Table(rows, colWidths=[WIDTH * share for share in (0.5, 0.25, 0.25)])
    table.setStyle(
        TableStyle(
            [("LINEABOVE", (1, -1), (-1, -1), 0.8, colors.black), ("VALIGN", (0, 0), (-1, -1), "MIDDLE")]
        )
    )
    return table


def _value(value: Value, style: ParagraphStyle) -> Paragraph:
    return _paragraph(plain(value), style)


def _paragraph(text: str, style: ParagraphStyle) -> Paragraph:
    return Paragraph(escape(_printable(text)), style)


def _printable(text: str) -> str:
    """Return a text without what the font's encoding cannot name: rare characters become a box."""
    return "".join(char if char <= LAST_CHARACTER else "□" for char in text)
