"""Exports: a list as a file, with numbers as its reader may see them, nothing that a spreadsheet computes, audited."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import grpc
import openpyxl
import pytest
from crm.customers.v1 import customers_pb2, imports_pb2
from crm.customers.v1 import exports_pb2 as pb
from crm.customers.v1.exports_pb2_grpc import ExportsServiceStub
from sqlalchemy import select

from services.chassis.clock import utc_now
from services.chassis.errors import Forbidden
from services.chassis.ids import new_id
from services.chassis.tenancy import Tenant
from services.customers.store.import_tables import ExportRun
from services.customers.usecases import exports
from services.customers.usecases.fields import FieldObject, create_field
from services.customers.usecases.views import View
from services.kernel.fields import FieldDefinition, FieldType
from tests.integration.customers.office import MANAGER, Office, Person
from tests.integration.customers.test_imports import Importer, customers, importing, steps  # noqa: F401 - fixtures
from tests.support.callers import Caller

EXPORTER = MANAGER | {"customers.export", "customers.import"}
FIELDS = [
    FieldDefinition("grade", "信用等级", FieldType.CHOICE, choices=("甲", "乙")),
    FieldDefinition("tags2", "渠道", FieldType.CHOICES, choices=("电话", "展会", "官网")),
    FieldDefinition("capital", "注册资本", FieldType.AMOUNT),
    FieldDefinition("staff", "人数", FieldType.NUMBER),
    FieldDefinition("founded", "成立日期", FieldType.DATE),
    FieldDefinition("visited", "拜访时间", FieldType.DATETIME),
    FieldDefinition("listed2", "是否上市", FieldType.BOOLEAN),
    FieldDefinition("fax", "传真", FieldType.PHONE),
    FieldDefinition("mail", "邮箱", FieldType.EMAIL),
    FieldDefinition("site", "网址", FieldType.LINK),
    FieldDefinition("place", "产地", FieldType.REGION),
    FieldDefinition("remark", "说明", FieldType.LONG_TEXT, max_length=500),
    FieldDefinition("code", "编码", FieldType.TEXT, unique=True),
]
VALUES = [
    "乙",
    "电话、官网",
    "1200000.50",
    "-3.5",
    "2016-03-18",
    "2026-01-31 09:30:00",
    "是",
    "021-58881234转9",
]
VALUES += ["a@b.com", "https://example.com/x", "上海市浦东新区", "=1+1", "000123"]


@pytest.fixture
def export(addresses: Mapping[str, str]) -> Iterator[Callable[..., bytes]]:
    """Export a list as somebody."""
    channel = grpc.insecure_channel(addresses["customers"])
    stub = ExportsServiceStub(channel)

    def take(office: Office, person: Person, sheet_format: Any = pb.SHEET_FORMAT_CSV, **wanted: Any) -> bytes:
        call = Caller(lambda: office.signer.person_token(person.caller, utc_now())[0])
        wanted.setdefault("view", customers_pb2.CUSTOMER_VIEW_ALL)
        request = pb.ExportCustomersRequest(
            list=customers_pb2.ListCustomersRequest(**wanted), format=sheet_format
        )
        parts = call(lambda message, **more: list(stub.ExportCustomers(message, **more)), request)
        return b"".join(part.chunk for part in parts)

    yield take
    channel.close()


def table(data: bytes) -> list[dict[str, str]]:
    """Return a CSV's rows by header."""
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))


def test_numbers_leave_as_their_reader_may_see_them(office: Office, export: Callable[..., bytes]) -> None:
    """F59: masked for others' customers, in a pool for everybody; a number never in an event."""
    manager, rep = office.hire(EXPORTER, scope="all", name="张经理"), office.hire(name="王小明")
    seeing = office.hire(EXPORTER | {"numbers.view_all"}, scope="all")
    contact = customers_pb2.ContactInput(name="李四", phones=[customers_pb2.PhoneInput(number="13900139000")])
    rep.create("甲公司", "13800138000", contacts=[contact])
    pool = office.pool(manager)
    manager.create("乙公司", "13800138001", pool_id=pool.pool_id)
    manager.create("丙公司", "021-58881234-801")
    shown = {row["客户名称"]: row for row in table(export(office, manager))}
    columns = ("客户电话", "联系人电话", "负责人")
    assert [shown["甲公司"][column] for column in columns] == ["138****8000", "139****9000", "王小明"]
    assert "13800138001" not in str(shown["乙公司"])
    assert shown["乙公司"]["公海"] == pool.name
    assert shown["丙公司"]["客户电话"] == "02158881234转801"
    assert {row["客户名称"]: row["客户电话"] for row in table(export(office, seeing))}[
        "甲公司"
    ] == "13800138000"
    assert [row["客户名称"] for row in table(export(office, manager, query="甲公司"))] == ["甲公司"]
    runs = office.run(
        lambda tx: tx.session.scalars(select(ExportRun).where(ExportRun.tenant_id == tx.tenant.id)).all()
    )
    assert sorted((run.state, run.row_count) for run in runs) == [
        ("complete", 1),
        ("complete", 3),
        ("complete", 3),
    ]
    audited = [event for event in office.events("audited") if event["action"].startswith("customers_export")]
    assert len(audited) == 6
    assert "1380013" not in str(audited)


def test_only_what_the_list_shows_leaves(office: Office, export: Callable[..., bytes]) -> None:
    """Own rows for a rep, page behind page, and nothing without the right."""
    rep, other = office.hire(MANAGER | {"customers.export"}), office.hire()
    names = [rep.create().name for _ in range(5)]
    other.create("别人的")
    assert {row["客户名称"] for row in table(export(office, rep))} == set(names)
    with pytest.raises(Forbidden, match="RIGHT_MISSING"):
        export(office, other)
    wanted, after, found = exports.Wanted(View.ALL, "", "", ""), None, []
    export_id = new_id()
    office.run(lambda tx: exports.begin_export(tx, rep.caller, export_id, wanted, "CSV"))
    while True:
        page = office.run(
            lambda tx, after=after: exports.export_page(tx, rep.caller, export_id, wanted, after, limit=2)  # type: ignore[misc]  # mypy infers no lambda's default
        )
        found += [row[0] for row in page.rows]
        after = page.last
        if after is None:
            break
    assert found == list(reversed(names))


def test_a_formula_stays_a_text_in_every_format(office: Office, export: Callable[..., bytes]) -> None:
    rep = office.hire(EXPORTER)
    rep.create("=HYPERLINK(1)", address="@SUM(A1)")
    (row,) = table(export(office, rep))
    assert (row["客户名称"], row["地址"]) == ("'=HYPERLINK(1)", "'@SUM(A1)")
    sheet = openpyxl.load_workbook(io.BytesIO(export(office, rep, pb.SHEET_FORMAT_XLSX))).active
    assert sheet
    assert (sheet["A2"].value, sheet["A2"].data_type, sheet["A2"].quotePrefix) == ("=HYPERLINK(1)", "s", True)


@pytest.mark.parametrize("sheet_format", [pb.SHEET_FORMAT_CSV, pb.SHEET_FORMAT_XLSX])
def test_what_was_exported_can_be_imported(
    office: Office,
    open_office: Callable[[Tenant], Office],
    addresses: Mapping[str, str],
    steps: Any,  # noqa: F811  # pytest's fixture
    export: Callable[..., bytes],
    sheet_format: Any,
) -> None:
    """Round trip of every field type through a file, its import, the list and an export."""
    elsewhere = open_office(Tenant(new_id(), "main"))
    files: list[bytes] = []
    for place in (office, elsewhere):
        for definition in FIELDS:
            place.run(lambda tx, definition=definition: create_field(tx, FieldObject.CUSTOMER, definition))  # type: ignore[misc]  # mypy infers no lambda's default
        importer = Importer(place.hire(EXPORTER, name="张经理"), place, addresses["customers"], steps)
        head = ["客户名称", "客户电话", "联系人", "联系人电话", "地址", *(field.name for field in FIELDS)]
        row = ["甲公司", "13800138000", "李四", "021-58881234转801", "-浦东", *VALUES]
        text = io.StringIO()
        csv.writer(text).writerows([head, row, ["乙公司", *[""] * 16, "000123"]])
        data = files[0] if files else text.getvalue().encode()
        staged = importer.upload(data)
        checked = importer.check(staged.import_id)
        assert (checked.bad_count, checked.ready_count) == (0, 1 if files else 2)
        done = importer.commit(staged.import_id)
        # The second row wants a unique value that the first one has.
        assert (done.done_count, done.duplicate_count) == (1, 0 if files else 1)
        if not files:
            (faulty,) = importer.rows(staged.import_id, imports_pb2.IMPORT_ROW_STATE_DUPLICATE)
            assert faulty.faults[0].reason == "FIELD_VALUE_TAKEN"
        files.append(export(place, importer.person, sheet_format))
        importer.close()
    before, after = (found["甲公司"].custom for found in (customers(office), customers(elsewhere)))
    assert before == after
    assert len(before) == len(FIELDS)
    if sheet_format == pb.SHEET_FORMAT_CSV:
        first, second = (table(data)[0] for data in files)
        assert {**first, "创建时间": ""} == {**second, "创建时间": ""}
