"""Spreadsheets: every encoding is told apart, texts stay texts, and what was written is read back."""

import io
import zipfile
from datetime import date, datetime

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chassis.errors import InvalidInput
from services.kernel.sheets import FORMULA, csv_parts, open_sheet, protect, unprotect, xlsx_parts

TEXT = "客户名称,电话\r\n上海甲公司,13800138000\r\n".encode

# What people could type, without what a cell loses at its ends.
cells = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=20).map(str.strip)


def rows_of(data: bytes) -> list[list[str]]:
    """Read a file's rows."""
    return list(open_sheet(io.BytesIO(data)).rows)


@pytest.mark.parametrize(
    ("codec", "label"),
    [
        ("utf-8", "UTF-8"),
        ("utf-8-sig", "UTF-8-BOM"),
        ("gbk", "GB18030"),
        ("gb18030", "GB18030"),
        ("utf-16", "UTF-16"),
    ],
)
def test_the_encoding_is_found_out(codec: str, label: str) -> None:
    """F5."""
    sheet = open_sheet(io.BytesIO(TEXT(codec)))
    assert (sheet.format, sheet.encoding) == ("CSV", label)
    assert list(sheet.rows) == [["客户名称", "电话"], ["上海甲公司", "13800138000"]]


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_the_delimiter_is_found_out(delimiter: str) -> None:
    assert rows_of(f'a{delimiter}b\n"1\n2"{delimiter}3\n'.encode()) == [["a", "b"], ["1\n2", "3"]]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "SHEET_EMPTY"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1rest", "SHEET_OLD_EXCEL"),
        (b"name\n\xff\xff\xff", "SHEET_ENCODING"),
        (b"PK\x03\x04rest", "SHEET_BROKEN"),
        (b'a\n"' + b"x" * 200_000, "SHEET_BROKEN"),
        (b"," * 300 + b"x", "SHEET_TOO_WIDE"),
    ],
)
def test_what_cannot_be_read_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        rows_of(data)


def test_a_workbook_of_another_program_is_read_as_people_see_it() -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet
    sheet.append(["名称", "电话", "日期", "时间", "数"])
    sheet.append(["甲", 13800138000.0, date(2026, 1, 31), datetime(2026, 1, 31, 8, 5), 1.5])  # noqa: DTZ001 - as a cell
    sheet.append([None, None])
    file = io.BytesIO()
    book.save(file)
    assert rows_of(file.getvalue())[1:] == [
        ["甲", "13800138000", "2026-01-31", "2026-01-31 08:05:00", "1.5"],
        [],
    ]


@pytest.mark.parametrize(
    "text", ["=1+1", "+86", "-1", "@SUM(A1)", "\tx", "\r=1", "'=1", "021", "913501000001000143", "12E5"]
)
def test_a_spreadsheet_computes_and_changes_nothing(text: str) -> None:
    assert protect(text) == f"'{text}"
    assert unprotect(protect(text)) == text


@settings(max_examples=200)
@given(st.text(max_size=8) | st.text(alphabet="'=+-@\t\r0e1", max_size=6))
def test_protection_comes_off_again(text: str) -> None:
    assert unprotect(protect(text)) == text
    assert not protect(text).startswith(FORMULA)


@settings(max_examples=40)
@given(st.lists(st.lists(cells, min_size=1, max_size=4), min_size=1, max_size=6))
def test_what_is_written_is_read_back(rows: list[list[str]]) -> None:
    """F7: an export can be imported."""
    rows = [["表头", *row] for row in rows]
    expected = [row[: max(index for index, cell in enumerate(row) if cell) + 1] for row in rows]
    for parts in (csv_parts, xlsx_parts):
        assert rows_of(b"".join(parts(rows, rows_per_part=2))) == expected


def test_a_workbook_holds_texts_only_and_is_written_as_it_goes() -> None:
    parts = list(xlsx_parts((["=1+1", "021"] for _ in range(50)), rows_per_part=10))
    assert len(parts) > 3
    data = b"".join(parts)
    xml = zipfile.ZipFile(io.BytesIO(data)).read("xl/worksheets/sheet1.xml").decode()
    assert "<f>" not in xml
    assert xml.count('t="inlineStr"') == 100
    sheet = openpyxl.load_workbook(io.BytesIO(data)).active
    assert sheet
    assert [cell.data_type for cell in sheet[1]] == ["s", "s"]
    assert sheet["A1"].quotePrefix
