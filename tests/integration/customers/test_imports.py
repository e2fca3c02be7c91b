"""Imports: staged, mapped, corrected, checked, deduplicated, committed; nothing twice."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import grpc
import pytest
from crm.customers.v1 import customers_pb2
from crm.customers.v1 import imports_pb2 as pb
from crm.customers.v1.imports_pb2_grpc import ImportsServiceStub
from crm.dedupe.v1.dedupe_pb2_grpc import DedupeServiceStub
from sqlalchemy import func, select

from services.chassis.clock import utc_now
from services.chassis.db import Store
from services.chassis.grpc_client import Client
from services.chassis.ids import new_id
from services.chassis.settings import Settings
from services.chassis.tokens import Signer
from services.customers.clients import Dedupe
from services.customers.store.import_tables import ImportJob
from services.customers.store.tables import Contact, Customer
from services.customers.usecases.fields import FieldObject, create_field
from services.customers.workflows.import_activities import ImportSteps
from services.customers.workflows.import_contracts import ImportKind
from services.dedupe.store.tables import Reservation
from services.kernel.fields import FieldDefinition, FieldType
from services.kernel.sheets import xlsx_parts
from tests.integration.customers.office import MANAGER, Office, Person
from tests.support.callers import Caller

IMPORTER = MANAGER | {"customers.import"}
HEADER = ["公司名称", "电话", "联系人", "手机", "等级", "备注"]


class Importer:
    """Somebody who imports; the workflow's steps are taken when they are asked for."""

    def __init__(self, person: Person, office: Office, address: str, steps: ImportSteps) -> None:
        self.person, self.office = person, office
        self._channel = grpc.insecure_channel(address)
        self._stub = ImportsServiceStub(self._channel)
        self._steps = steps
        self.call = Caller(lambda: office.signer.person_token(person.caller, utc_now())[0])

    def __call__(self, request: Any) -> Any:
        """Call the method that takes this request."""
        return self.call(self.method(request), request)

    def refused(self, request: Any) -> Any:
        """Return the error of a call that must be refused."""
        return self.call.refused(self.method(request), request)

    def method(self, request: Any) -> Any:
        """Return the method that takes a request."""
        return getattr(self._stub, type(request).__name__.removesuffix("Request"))

    def get(self, import_id: str) -> pb.Import:
        """Return an import."""
        found: pb.Import = getattr(self(pb.GetImportRequest(import_id=import_id)), "import")
        return found

    def upload(self, data: bytes, name: str = "客户.csv") -> pb.Import:
        """Upload a file and let it be read."""
        made = getattr(self(pb.CreateImportRequest(request_id=new_id(), file_name=name)), "import")
        half = len(data) // 2 or 1
        for offset, chunk in ((0, data[:half]), (0, data[:half]), (half, data[half:])):
            if chunk:
                self(pb.AppendImportFileRequest(import_id=made.import_id, offset_bytes=offset, chunk=chunk))
        self(pb.FinishImportFileRequest(request_id=new_id(), import_id=made.import_id))
        self.work(made.import_id)
        return self.get(made.import_id)

    def check(self, import_id: str) -> pb.Import:
        """Have every row checked."""
        self(pb.CheckImportRequest(request_id=new_id(), import_id=import_id))
        self.work(import_id)
        return self.get(import_id)

    def commit(self, import_id: str) -> pb.Import:
        """Have the ready rows committed."""
        self(pb.CommitImportRequest(request_id=new_id(), import_id=import_id))
        self.work(import_id)
        return self.get(import_id)

    def work(self, import_id: str) -> None:
        """Do what the workflow that was asked for does."""
        job = self.office.run(lambda tx: tx.session.get_one(ImportJob, (tx.tenant.id, import_id)))
        assert f"import-{import_id}-{job.step}" in self.office.workflows()
        kind = {"staging": ImportKind.STAGE, "checking": ImportKind.CHECK, "committing": ImportKind.COMMIT}[
            job.state
        ]
        if kind == ImportKind.STAGE:
            self._steps.stage(self.office.tenant, import_id)
            return
        step = self._steps.check if kind == ImportKind.CHECK else self._steps.commit
        while step(self.office.tenant, import_id):
            pass

    def rows(self, import_id: str, state: Any = pb.IMPORT_ROW_STATE_UNSPECIFIED) -> list[pb.ImportRow]:
        """Return the first page of rows."""
        return list(self(pb.ListImportRowsRequest(import_id=import_id, state=state)).rows)

    def errors(self, import_id: str) -> list[list[str]]:
        """Return the error file."""
        parts = self.call(
            lambda request, **more: list(self._stub.DownloadImportErrors(request, **more)),
            pb.DownloadImportErrorsRequest(import_id=import_id),
        )
        return list(csv.reader(io.StringIO(b"".join(part.chunk for part in parts).decode("utf-8-sig"))))

    def close(self) -> None:
        """Hang up."""
        self._channel.close()


def sheet(*rows: list[str], codec: str = "utf-8") -> bytes:
    """Return a CSV with the usual header."""
    text = io.StringIO()
    csv.writer(text).writerows([HEADER, *rows])
    return text.getvalue().encode(codec)


@pytest.fixture
def steps(settings: Settings, addresses: Mapping[str, str], store: Store) -> ImportSteps:
    """What the workflow does, with the real dedupe."""
    signer = Signer("customers", settings.signing_keys["customers"])
    return ImportSteps(store, Dedupe(Client(DedupeServiceStub, addresses["dedupe"], signer)))


@pytest.fixture
def importing(
    office: Office, addresses: Mapping[str, str], steps: ImportSteps
) -> Iterator[Callable[..., Importer]]:
    """Make somebody who imports."""
    made: list[Importer] = []

    def make(**about: Any) -> Importer:
        person = office.hire(**({"rights": IMPORTER, "name": "张经理"} | about))
        made.append(Importer(person, office, addresses["customers"], steps))
        return made[-1]

    yield make
    for importer in made:
        importer.close()


def customers(office: Office) -> dict[str, Customer]:
    """Return the tenant's customers by name."""
    found = office.run(
        lambda tx: tx.session.scalars(select(Customer).where(Customer.tenant_id == tx.tenant.id)).all()
    )
    return {customer.name: customer for customer in found}


def test_a_gbk_file_becomes_customers_and_each_bad_row_is_named(
    office: Office, importing: Callable[..., Importer], dedupe_store: Store
) -> None:
    """F5, F7, O4: row, column and reason of what is wrong; the same file again makes nothing."""
    importer = importing()
    office.settings(importer.person, registration_required=True)
    importer.person.create("早已存在公司", approver_id=office.hire(rights=MANAGER).id)
    data = sheet(
        ["甲公司", "021-58881234转8001", "王小明", "13800138000", "A", "x"],
        ["乙公司", "", "", "138001380", "B", "手机错"],
        ["", "", "李四", "13800138002", "", "无名"],
        ["早已存在公司", "", "", "", "", ""],
        ["甲公司", "", "", "", "", "同名"],
        ["丙公司", "13900139000;13900139001", "", "", "", "=HYPERLINK()"],
        codec="gbk",
    )
    staged = importer.upload(data)
    assert (staged.state, staged.format, staged.encoding) == (pb.IMPORT_STATE_STAGED, "CSV", "GB18030")
    assert list(staged.mapping) == ["name", "phones", "contact_name", "contact_phones", "level", ""]
    checked = importer.check(staged.import_id)
    counts = (checked.ready_count, checked.bad_count, checked.duplicate_count)
    assert (checked.state, *counts) == (pb.IMPORT_STATE_CHECKED, 2, 2, 2)
    done = importer.commit(staged.import_id)
    assert (done.state, done.done_count, done.duplicate_count) == (pb.IMPORT_STATE_DONE, 2, 2)
    found = customers(office)
    assert set(found) == {"早已存在公司", "甲公司", "丙公司"}
    assert found["甲公司"].owner_id == importer.person.id
    # O4: an import is not gated by registration.
    assert found["甲公司"].state == "active"
    seen = importer.person.get(found["甲公司"].customer_id)
    assert [(phone.number, phone.extension) for phone in seen.phones] == [("+862158881234", "8001")]
    assert [(contact.name, contact.phones[0].number) for contact in seen.contacts] == [
        ("王小明", "+8613800138000")
    ]
    assert importer.person.ledger(seen.customer_id)[0].cause == customers_pb2.OWNERSHIP_CAUSE_CREATE
    header, *problems = importer.errors(staged.import_id)
    assert header == ["行号", "问题", *HEADER]
    assert [(row[0], row[1].split(":")[0]) for row in problems[:2]] == [("3", "手机"), ("4", "公司名称")]
    assert "张**" in problems[3][1]
    with dedupe_store.transaction(office.tenant) as tx:
        states = tx.session.scalars(
            select(Reservation.state).where(
                Reservation.tenant_id == tx.tenant.id, Reservation.holder_id == importer.person.id
            )
        ).all()
    # The create's own one waits for its event.
    assert sorted(states) == ["confirmed", "confirmed", "reserved"]

    again = importer.check(importer.upload(data, "又一次.csv").import_id)
    assert (again.ready_count, again.duplicate_count) == (0, 4)
    assert importer.rows(again.import_id)[0].faults[0].reason == "IMPORTED_BEFORE"
    request = pb.CommitImportRequest(request_id=new_id(), import_id=again.import_id)
    assert importer.refused(request).reason == "NOTHING_READY"


def test_a_corrected_row_is_imported_behind_the_others(
    office: Office, importing: Callable[..., Importer]
) -> None:
    """F7: rows are edited and columns mapped before and after a commit."""
    importer = importing()
    data = b"".join(xlsx_parts([["名", *HEADER[1:]], ["甲公司", "1380013"], ["乙公司", "13900139000"]]))
    staged = importer.upload(data, "客户.xlsx")
    assert staged.format == "XLSX"
    check = pb.CheckImportRequest(request_id=new_id(), import_id=staged.import_id)
    assert importer.refused(check).reason == "NAME_NOT_MAPPED"
    mapping = ["name", "phones", "", "", "", ""]
    importer(pb.UpdateImportRequest(request_id=new_id(), import_id=staged.import_id, mapping=mapping))
    importer.check(staged.import_id)
    importer.commit(staged.import_id)
    edit = pb.UpdateImportRowRequest(
        request_id=new_id(), import_id=staged.import_id, line=2, cells=["甲公司", "138"]
    )
    assert importer(edit).row.faults[0].reason == "PHONE_LENGTH"
    edit = pb.UpdateImportRowRequest(
        request_id=new_id(), import_id=staged.import_id, line=2, cells=["甲公司", "13800138000"]
    )
    row = importer(edit).row
    assert (row.state, row.edited) == (pb.IMPORT_ROW_STATE_READY, True)
    assert importer.commit(staged.import_id).done_count == 2
    assert set(customers(office)) == {"甲公司", "乙公司"}
    edit = pb.UpdateImportRowRequest(
        request_id=new_id(), import_id=staged.import_id, line=2, cells=["丁公司"]
    )
    assert importer.refused(edit).reason == "ROW_DONE"


def test_rows_go_straight_into_pools_without_an_owner(
    office: Office, importing: Callable[..., Importer]
) -> None:
    """F22: all rows into the import's pool, and a row into the pool that it names."""
    importer, rep = importing(), importing(rights=IMPORTER - {"pools.manage"})
    south, north = office.pool(importer.person, "南方公海"), office.pool(importer.person, "北方公海")
    data = "客户名称,公海\n甲公司,\n乙公司,北方公海\n丙公司,没有的公海\n".encode()
    staged = importer.upload(data)
    target: dict[str, Any] = {"mapping": ["name", "pool"], "pool_id": south.pool_id}
    importer(pb.UpdateImportRequest(request_id=new_id(), import_id=staged.import_id, **target))
    importer.check(staged.import_id)
    assert importer.commit(staged.import_id).bad_count == 1
    found = customers(office)
    assert {name: (row.owner_id, row.pool_id) for name, row in found.items()} == {
        "甲公司": (None, south.pool_id),
        "乙公司": (None, north.pool_id),
    }
    own = rep.upload(data)
    update = pb.UpdateImportRequest(request_id=new_id(), import_id=own.import_id, **target)
    assert rep.refused(update).reason == "RIGHT_MISSING"
    check = pb.CheckImportRequest(request_id=new_id(), import_id=own.import_id)
    assert rep.refused(check).reason == "RIGHT_MISSING"
    # What somebody else imports is nobody's business.
    assert rep.refused(pb.GetImportRequest(import_id=staged.import_id)).reason == "IMPORT_NOT_FOUND"


def test_the_owners_cap_holds_in_the_middle_of_a_batch(
    office: Office, importing: Callable[..., Importer]
) -> None:
    """F28: rows beyond the cap are named and leave nothing behind, no unique value either; with room they come in."""
    importer = importing()
    unique = FieldDefinition("code", "编码", FieldType.TEXT, unique=True)
    office.run(lambda tx: create_field(tx, FieldObject.CUSTOMER, unique))
    office.settings(importer.person, owner_cap=3)
    rows = [f"公司{number},K{number}" for number in range(5)]
    staged = importer.upload("\n".join(["客户名称,编码", *rows]).encode())
    importer.check(staged.import_id)
    done = importer.commit(staged.import_id)
    assert (done.done_count, done.bad_count) == (3, 2)
    bad = importer.rows(staged.import_id, pb.IMPORT_ROW_STATE_BAD)
    assert {fault.reason for row in bad for fault in row.faults} == {"OWNER_CAP_REACHED"}
    assert len(customers(office)) == 3
    orphans = select(func.count()).select_from(Contact).where(Contact.tenant_id == office.tenant.id)
    assert office.run(lambda tx: tx.session.scalar(orphans)) == 0
    office.settings(importer.person, owner_cap=0)
    assert importer.check(staged.import_id).ready_count == 2
    assert importer.commit(staged.import_id).done_count == 5


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "IMPORT"), ("客户名称\n".encode(), "SHEET_EMPTY"), (b"PK\x03\x04x", "SHEET_BROKEN")],
)
def test_a_file_that_cannot_be_read_says_why(
    importing: Callable[..., Importer], data: bytes, reason: str
) -> None:
    importer = importing()
    failed = importer.upload(data)
    assert failed.state == pb.IMPORT_STATE_FAILED
    assert failed.error_reason == ("SHEET_EMPTY" if reason == "IMPORT" else reason)
    check = pb.CheckImportRequest(request_id=new_id(), import_id=failed.import_id)
    refused = importer.refused(check)
    assert (refused.reason, refused.zh) == ("IMPORT_STATE", "导入已失败，不能执行该操作")
