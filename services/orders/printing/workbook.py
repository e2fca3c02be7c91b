"""A document in a workbook of the user's own: {{number}} in a cell gives way to the number (F96).

A cell may hold several names and text around them; a cell that is one name alone gets a number or a day, not a text, so
that its format and formulas hold. The row with {{line.…}} is repeated for each line: what stands below moves down, with
its heights and merged cells, and formulas that speak of it follow: SUM over the row becomes SUM over all of them.
"""

import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from copy import copy

import openpyxl
from openpyxl.cell.cell import Cell, MergedCell
from openpyxl.formula.tokenizer import Token, Tokenizer
from openpyxl.formula.translate import Translator
from openpyxl.styles import Font
from openpyxl.utils.exceptions import InvalidFileException
from openpyxl.workbook.workbook import Workbook
from openpyxl.worksheet.cell_range import CellRange
from openpyxl.worksheet.worksheet import Worksheet

from services.chassis.errors import InvalidInput
from services.orders.domain.documents import (
    FIELDS,
    LINE_FIELDS,
    LINE_PREFIXES,
    LINED,
    SUMS,
    TITLES,
    Document,
    DocumentKind,
    Value,
    field_names,
    plain,
)

# The parts of a workbook, unpacked: beyond this a small file would fill the memory.
MOST_UNPACKED_BYTES = 32 * 1024 * 1024
# Cells of a workbook that are looked at.
MOST_CELLS = 200_000
# What a cell's look is made of.
STYLE = ("font", "border", "fill", "number_format", "protection", "alignment")

NAME = re.compile(r"{{\s*([^{}]+?)\s*}}")
# A cell or a part of a range in a formula, behind the sheet's name: $A$10, or A10:B12.
REFERENCE = re.compile(r"(\$?[A-Z]{1,3}\$?)(\d{1,7})")


def check_template(kind: DocumentKind, content: bytes) -> None:
    """Refuse a workbook that documents of this kind cannot be printed into.

    Raises InvalidInput naming `content`: TEMPLATE_BROKEN, TEMPLATE_TOO_LARGE, TEMPLATE_NAME_UNKNOWN naming the cell,
    TEMPLATE_WITHOUT_NAMES, TEMPLATE_LINES_TWICE for a sheet with more than one row of lines.
    """
    known = field_names(kind)
    names = 0
    for sheet in _load(content).worksheets:
        line_rows = set()
        for cell in _cells(sheet):
            for name in _names_in(cell):
                if name not in known:
                    raise _fault(
                        "TEMPLATE_NAME_UNKNOWN",
                        "单元格 {cell} 中的 {name} 不是可用的字段",
                        "{name} in cell {cell} is no field that can be printed",
                        cell=f"{sheet.title}!{cell.coordinate}",
                        name=name,
                    )
                names += 1
                if known[name].startswith("line."):
                    line_rows.add(cell.row)
        if len(line_rows) > 1:
            raise _fault(
                "TEMPLATE_LINES_TWICE",
                "工作表“{sheet}”中只能有一行明细",
                "The sheet “{sheet}” may have one row of lines only",
                sheet=sheet.title,
            )
    if not names:
        raise _fault(
            "TEMPLATE_WITHOUT_NAMES",
            "模板中没有字段，例如 {{{{编号}}}}",
            "The workbook names no field such as {{{{number}}}}",
        )


def sample(kind: DocumentKind) -> bytes:
    """Return a workbook to start from: every field of a kind, its lines and its sums, each with its name."""
    book = openpyxl.Workbook()
    (sheet,) = book.worksheets
    sheet.title = TITLES[kind][0]
    sheet.append([" ".join(TITLES[kind])])
    sheet["A1"].font = Font(size=18, bold=True)
    facts = [field for field in FIELDS[kind] if field.key not in SUMS]
    for field in facts:
        sheet.append([f"{field.zh} {field.en}", f"{{{{{field.zh}}}}}"])
    if kind in LINED:
        sheet.append([])
        sheet.append([f"{field.zh} {field.en}" for field in LINE_FIELDS])
        for cell in sheet[sheet.max_row]:
            cell.font = Font(bold=True)
        sheet.append([f"{{{{{LINE_PREFIXES[1]}{field.zh}}}}}" for field in LINE_FIELDS])
    sheet.append([])
    for field in FIELDS[kind]:
        if field.key in SUMS:
            sheet.append([f"{field.zh} {field.en}", f"{{{{{field.zh}}}}}"])
            sheet.cell(sheet.max_row, 2).number_format = "#,##0.00"
    for column in "ABCDEFG":
        sheet.column_dimensions[column].width = 24
    return _saved(book)


def render(document: Document, template: bytes) -> bytes:
    """Return a template that was checked with a document's data in its cells."""
    known = field_names(document.kind)
    book = _load(template)
    for sheet in book.worksheets:
        line_row = next(
            (
                cell.row
                for cell in _cells(sheet)
                if any(known.get(name, "").startswith("line.") for name in _names_in(cell))
            ),
            0,
        )
        if line_row:
            _repeat(book, sheet, line_row, len(document.lines))
        for cell in list(_cells(sheet)):
            index = cell.row - line_row
            inside = line_row and 0 <= index < len(document.lines)
            line = document.lines[index] if inside else {}
            _fill(cell, known, document.values, line)
    return _saved(book)


def _saved(book: Workbook) -> bytes:
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def _fault(reason: str, zh: str, en: str, **metadata: str) -> InvalidInput:
    return InvalidInput("content", reason, zh, en, **metadata)


def _load(content: bytes) -> Workbook:
    broken = _fault("TEMPLATE_BROKEN", "这不是有效的 XLSX 文件", "This is not a valid XLSX file")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(part.file_size for part in archive.infolist()) > MOST_UNPACKED_BYTES:
                raise _fault(
                    "TEMPLATE_TOO_LARGE", "模板解压后过大", "The workbook is too large when unpacked"
                )
        book = openpyxl.load_workbook(io.BytesIO(content), keep_links=False)
    except (zipfile.BadZipFile, InvalidFileException, KeyError, ValueError, OSError, SyntaxError) as error:
        raise broken from error
    if not book.worksheets:
        raise broken
    if sum(sheet.max_row * sheet.max_column for sheet in book.worksheets) > MOST_CELLS:
        raise _fault("TEMPLATE_TOO_LARGE", "模板的单元格过多", "The workbook has too many cells")
    return book


def _cells(sheet: Worksheet) -> Iterator[Cell]:
    for row in sheet.iter_rows():
        for cell in row:
            if isinstance(cell, Cell):
                yield cell


def _names_in(cell: Cell) -> list[str]:
    return NAME.findall(cell.value) if isinstance(cell.value, str) else []


def _fill(
    cell: Cell, known: Mapping[str, str], values: Mapping[str, Value], line: Mapping[str, Value]
) -> None:
    """Put data in the place of the names in a cell; what the document does not have is empty."""
    names = _names_in(cell)
    if not names:
        return

    def value_of(name: str) -> Value:
        key = known[name]
        return line.get(key.removeprefix("line."), "") if key.startswith("line.") else values.get(key, "")

    if NAME.fullmatch(str(cell.value).strip()):
        cell.value = value_of(names[0])
    else:
        cell.value = NAME.sub(lambda match: plain(value_of(match[1])), str(cell.value))
    if isinstance(cell.value, str):
        # Never a formula, whatever a customer's name begins with.
        cell.data_type = "s"


def _repeat(book: Workbook, sheet: Worksheet, row: int, count: int) -> None:
    """Make room for `count` lines where the row of lines is; none leaves it empty."""
    extra = count - 1
    if extra < 1:
        return
    widest, last = sheet.max_column, sheet.max_row
    merged = [CellRange(area.coord) for area in sheet.merged_cells.ranges]
    for area in merged:
        sheet.unmerge_cells(area.coord)
    heights = {number: sheet.row_dimensions[number].height for number in range(row, last + 1)}
    sheet.insert_rows(row + 1, extra)
    for number, height in heights.items():
        sheet.row_dimensions[number + extra if number > row else row].height = height
    # Before the row is repeated: its own references to what stands below have to follow as well.
    _move_references(book, sheet, row, extra)
    for new in range(row + 1, row + 1 + extra):
        sheet.row_dimensions[new].height = heights[row]
        for column in range(1, widest + 1):
            _copy(sheet.cell(row, column), sheet.cell(new, column))
    for area in merged:
        _merge_again(sheet, area, row, extra)
    if sheet.print_area:
        printed = sheet.print_area.rpartition("!")[2].replace("$", "")
        sheet.print_area = _shifted(printed, row, extra)


def _move_references(book: Workbook, sheet: Worksheet, row: int, extra: int) -> None:
    for other in book.worksheets:
        for cell in _cells(other):
            if cell.data_type == "f" and isinstance(cell.value, str):
                cell.value = _moved(cell.value, sheet.title, other is sheet, row, extra)


def _merge_again(sheet: Worksheet, area: CellRange, row: int, extra: int) -> None:
    """Merge cells as they were merged before: below the row, across it, or in it, there for every line."""
    if area.min_row > row:
        area.shift(row_shift=extra)
    elif area.max_row > row:
        area.expand(down=extra)
    sheet.merge_cells(area.coord)
    if area.min_row == area.max_row == row:
        for new in range(1, extra + 1):
            again = CellRange(area.coord)
            again.shift(row_shift=new)
            sheet.merge_cells(again.coord)


def _copy(source: Cell | MergedCell, target: Cell | MergedCell) -> None:
    if not isinstance(source, Cell) or not isinstance(target, Cell):
        return
    value = source.value
    if source.data_type == "f" and isinstance(value, str):
        value = Translator(value, origin=source.coordinate).translate_formula(target.coordinate)
    target.value = value
    if source.has_style:
        for part in STYLE:
            setattr(target, part, copy(getattr(source, part)))


def _moved(formula: str, title: str, own: bool, row: int, extra: int) -> str:
    """Return a formula whose references to what stands below a row of a sheet follow it down.

    title: of that sheet. own: whether the formula stands there, so that references without a sheet's name mean it.
    """
    parts = []
    for token in Tokenizer(formula).items:
        text: str = token.value
        if token.type == Token.OPERAND and token.subtype == Token.RANGE:
            place, mark, reference = text.rpartition("!")
            here = own if not mark else place.strip("'").replace("''", "'") == title
            text = f"{place}{mark}{_shifted(reference, row, extra)}" if here else text
        parts.append(text)
    return "=" + "".join(parts)


def _shifted(reference: str, row: int, extra: int) -> str:
    """Return a reference with the rows behind `row` moved down; a range that ends in it grows over the new ones."""
    ends_here = ":" in reference

    def move(match: re.Match[str]) -> str:
        number = int(match[2])
        is_end = ends_here and match.start() > reference.index(":")
        moves = number > row or (is_end and number == row)
        return f"{match[1]}{number + extra if moves else number}"

    return REFERENCE.sub(move, reference)
