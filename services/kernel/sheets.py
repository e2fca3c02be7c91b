"""Spreadsheets as people exchange them: CSV and XLSX, read and written row by row with little memory.

Read: CSV in UTF-8 (with or without a byte order mark), UTF-16 with one, or GB18030 (of which GBK is a part); XLSX, its
first sheet. Written: what a spreadsheet program would take for a formula or mangle as a number stays the text it is,
and is the same text again when it is read back.
"""

import codecs
import csv
import io
import re
import zipfile
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import IO, Any
from xml.sax.saxutils import escape

import openpyxl
from openpyxl.utils.exceptions import InvalidFileException

from services.chassis.errors import InvalidInput

# Bytes read at a time while the encoding is found out.
BLOCK_BYTES = 1024 * 1024
# The parts of a workbook, unpacked: beyond this a small file would fill the memory.
MOST_UNPACKED_BYTES = 1024 * 1024 * 1024
# Longest cell that is read: what a spreadsheet's cell holds at most.
LONGEST_CELL = 32_767
MOST_COLUMNS = 200

DELIMITERS = ",\t;"
OLD_EXCEL = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
ZIP = b"PK\x03\x04"

# What begins a formula, or makes a program skip to one. (OWASP, CSV injection)
FORMULA = ("=", "+", "-", "@", "\t", "\r")
# With one of these, or a digit, begins whatever is changed.
SUSPECT = frozenset("".join(FORMULA) + "'")
# Digits that a spreadsheet shows changed: a leading zero is dropped, more than 11 become 1.38E+12.
MANGLED = re.compile(r"0\d+|\d{12,}|\d+[eE]\d+")


def protect(text: str) -> str:
    """Return a text as a CSV cell that no spreadsheet computes or changes: an apostrophe in front where it must."""
    # Most cells are blank or begin with a word: an export looks at millions.
    if not text or not (text[0] in SUSPECT or text[0].isdecimal()):
        return text
    return f"'{text}" if _needs_protection(text) else text


def unprotect(text: str) -> str:
    """Return the text of a cell that `protect` made; any other one is itself."""
    return text[1:] if text.startswith("'") and _needs_protection(text[1:]) else text


def _needs_protection(text: str) -> bool:
    if text.startswith(FORMULA) or MANGLED.fullmatch(text):
        return True
    # Else an apostrophe of one's own would be lost with the next reading.
    return text.startswith("'") and _needs_protection(text[1:])


@dataclass(frozen=True)
class Sheet:
    """A spreadsheet at its first row. format: CSV or XLSX. encoding: of a CSV.

    rows: texts, cells of a row; to be closed before the file is.
    """

    format: str
    encoding: str
    rows: Generator[list[str], None, None]


def open_sheet(file: IO[bytes]) -> Sheet:
    """Return what is in a file; it is read while `rows` is.

    Raises InvalidInput naming `file`, also while it is read: SHEET_EMPTY, SHEET_OLD_EXCEL, SHEET_ENCODING,
    SHEET_BROKEN, SHEET_TOO_LARGE, SHEET_TOO_WIDE.
    """
    head = file.read(len(OLD_EXCEL))
    file.seek(0)
    if not head:
        raise _fault("SHEET_EMPTY", "文件是空的", "The file is empty")
    if head == OLD_EXCEL:
        raise _fault(
            "SHEET_OLD_EXCEL",
            "旧版 .xls 或加密的文件不能读取，请另存为 .xlsx 或 CSV",
            "An old .xls or an encrypted file cannot be read: save it as .xlsx or CSV",
        )
    if head.startswith(ZIP):
        return Sheet("XLSX", "", _xlsx_rows(file))
    label, codec = _encoding(file)
    return Sheet("CSV", label, _csv_rows(file, codec))


def _fault(reason: str, zh: str, en: str, **metadata: str | int) -> InvalidInput:
    return InvalidInput("file", reason, zh, en, **metadata)


def _encoding(file: IO[bytes]) -> tuple[str, str]:
    """Return the name of a text's encoding for people and for Python; leaves the file at its begin."""
    head = file.read(4)
    file.seek(0)
    if head.startswith(codecs.BOM_UTF8):
        candidates = [("UTF-8-BOM", "utf-8-sig")]
    elif head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        candidates = [("UTF-16", "utf-16")]
    else:
        # A GBK text is as good as never valid UTF-8, while nearly every UTF-8 text would pass as GB18030.
        candidates = [("UTF-8", "utf-8"), ("GB18030", "gb18030")]
    for label, codec in candidates:
        if _decodes(file, codec):
            return label, codec
    raise _fault(
        "SHEET_ENCODING",
        "无法识别文件编码，请另存为 UTF-8 或 GBK 编码的 CSV",
        "The file's encoding is not known: save it as CSV in UTF-8 or GBK",
    )


def _decodes(file: IO[bytes], codec: str) -> bool:
    decoder = codecs.getincrementaldecoder(codec)()
    try:
        while block := file.read(BLOCK_BYTES):
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeError:
        return False
    finally:
        file.seek(0)
    return True


def _csv_rows(file: IO[bytes], codec: str) -> Generator[list[str], None, None]:
    text = io.TextIOWrapper(file, encoding=codec, newline="")
    try:
        first = text.readline(LONGEST_CELL)
        text.seek(0)
        delimiter = max(DELIMITERS, key=first.count)
        for row in csv.reader(text, delimiter=delimiter):
            yield [unprotect(_clean(cell)) for cell in _checked(row)]
    except csv.Error as error:
        raise _fault(
            "SHEET_BROKEN", "文件格式有误：{detail}", "The file is malformed: {detail}", detail=str(error)
        ) from error
    finally:
        # The file is the caller's to close.
        text.detach()


def _xlsx_rows(file: IO[bytes]) -> Generator[list[str], None, None]:
    broken = _fault("SHEET_BROKEN", "这不是有效的 XLSX 文件", "This is not a valid XLSX file")
    try:
        with zipfile.ZipFile(file) as archive:
            if sum(part.file_size for part in archive.infolist()) > MOST_UNPACKED_BYTES:
                raise _fault("SHEET_TOO_LARGE", "文件解压后过大", "The file is too large when unpacked")
        file.seek(0)
        book = openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
    except (zipfile.BadZipFile, InvalidFileException, KeyError, ValueError, OSError, SyntaxError) as error:
        raise broken from error
    try:
        if not book.worksheets:
            raise broken
        sheet = book.worksheets[0]
        # Some programs write a wrong size of the sheet: count for ourselves.
        sheet.reset_dimensions()
        for row in sheet.iter_rows(values_only=True):
            yield [cell_text(value) for value in _checked(row)]
    except (zipfile.BadZipFile, KeyError, SyntaxError) as error:
        raise broken from error
    finally:
        book.close()


def _checked(row: Sequence[Any]) -> Sequence[Any]:
    """Return a row without empty cells at its end; raises InvalidInput SHEET_TOO_WIDE."""
    used = len(row)
    while used and row[used - 1] in (None, ""):
        used -= 1
    if used > MOST_COLUMNS:
        raise _fault(
            "SHEET_TOO_WIDE", "最多{most}列", "A sheet has at most {most} columns", most=MOST_COLUMNS
        )
    return row[:used]


def cell_text(value: Any) -> str:
    """Return the value of a workbook's cell, or of a database's column, as the text that a person sees."""
    return _clean(_text(value))


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        # A telephone number, most of the time.
        return str(int(value))
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(" ", "seconds")
    if isinstance(value, date):
        return value.isoformat()
    return str(value)


def _clean(text: str) -> str:
    """Return a cell that a database can hold."""
    return text.replace("\0", "").strip()[:LONGEST_CELL]


def csv_parts(rows: Iterable[Sequence[str]], *, rows_per_part: int = 1000) -> Iterator[bytes]:
    """Write rows as CSV, UTF-8 with a byte order mark (Excel takes it for GBK else), part by part."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    buffer.write("\ufeff")
    for number, row in enumerate(rows, start=1):
        writer.writerow([protect(cell) for cell in row])
        if number % rows_per_part == 0:
            yield buffer.getvalue().encode()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue().encode()


# The fixed parts of a workbook with one sheet; style 1 is text that is quoted: never a formula, never a number.
XLSX_PARTS = {
    "[Content_Types].xml": (
        '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Override PartName="/xl/workbook.xml" ContentType='
        '"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>'
        '<Override PartName="/xl/worksheets/sheet1.xml" ContentType='
        '"application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/>'
        '<Override PartName="/xl/styles.xml" ContentType='
        '"application/vnd.openxmlformats-officedocument.spreadsheetml.styles+xml"/></Types>'
    ),
    "_rels/.rels": (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" '
        'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" '
        'Target="xl/workbook.xml"/></Relationships>'
    ),
    "xl/workbook.xml": (
        '<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" '
        'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships">'
        '<sheets><sheet name="Sheet1" sheetId="1" r:id="r1"/></sheets></workbook>'
    ),
    "xl/_rels/workbook.xml.rels": (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" '
        'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet" '
        'Target="worksheets/sheet1.xml"/><Relationship Id="r2" '
        'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/styles" Target="styles.xml"/>'
        "</Relationships>"
    ),
    "xl/styles.xml": (
        '<styleSheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
        '<fonts count="1"><font><sz val="11"/><name val="Calibri"/></font></fonts>'
        '<fills count="2"><fill><patternFill patternType="none"/></fill>'
        '<fill><patternFill patternType="gray125"/></fill></fills>'
        '<borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders>'
        '<cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs>'
        '<cellXfs count="2"><xf numFmtId="0" fontId="0" fillId="0" borderId="0" xfId="0"/>'
        '<xf numFmtId="49" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1" quotePrefix="1"/>'
        '</cellXfs><cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>'
    ),
}
SHEET_BEGIN = '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
SHEET_END = "</sheetData></worksheet>"
XML_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
# Characters that XML 1.0 cannot hold.
NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def xlsx_parts(rows: Iterable[Sequence[str]], *, rows_per_part: int = 1000) -> Iterator[bytes]:
    """Write rows as a workbook with one sheet, part by part: the archive is written as it goes out."""
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as archive:
        for name, xml in XLSX_PARTS.items():
            archive.writestr(name, XML_HEAD + xml)
        with archive.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as sheet:
            sheet.write((XML_HEAD + SHEET_BEGIN).encode())
            lines: list[str] = []
            for number, row in enumerate(rows, start=1):
                lines.append(f"<row>{''.join(map(_xlsx_cell, row))}</row>")
                if number % rows_per_part == 0:
                    sheet.write("".join(lines).encode())
                    lines.clear()
                    yield pipe.take()
            sheet.write(("".join(lines) + SHEET_END).encode())
    yield pipe.take()


def _xlsx_cell(text: str) -> str:
    kept = escape(NO_XML.sub("", text))
    return f'<c s="1" t="inlineStr"><is><t xml:space="preserve">{kept}</t></is></c>' if kept else "<c/>"


class _Pipe(io.RawIOBase):
    """Where an archive is written to and taken from; it never looks back."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        """Say that it can be written to."""
        return True

    def write(self, data: Any) -> int:
        """Keep what was written."""
        self._parts.append(bytes(data))
        return len(self._parts[-1])

    def take(self) -> bytes:
        """Return what was written since the last time."""
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken
