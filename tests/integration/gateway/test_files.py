"""Files in and out over a real server: taken and given in parts, within limits, only for whom they are."""

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import httpx
import pytest
from crm.customers.v1 import exports_pb2, imports_pb2

from services.chassis.errors import Forbidden, NotFound, Unavailable
from services.chassis.tokens import Caller
from services.gateway.files import FILE_LIMIT_BYTES, PART_BYTES
from tests.integration.gateway.conftest import Script

SignedIn = tuple[httpx.Client, Caller]
IMPORT_ID = "018f0000-0000-7000-8000-000000000009"
UPLOAD = "/api/v1/imports:upload?fileName=客户.csv"


def made(import_id: str = IMPORT_ID) -> dict[str, Any]:
    """Return what an answer with an import is made of."""
    return {"import": imports_pb2.Import(import_id=import_id, state=imports_pb2.IMPORT_STATE_STAGING)}


@pytest.fixture
def importer(signed_in: SignedIn, script: Script) -> httpx.Client:
    """A client that may import."""
    script.answers["customers.CreateImport"] = lambda _: imports_pb2.CreateImportResponse(**made())
    script.answers["customers.FinishImportFile"] = lambda _: imports_pb2.FinishImportFileResponse(**made())
    return signed_in[0]


def test_a_file_goes_on_in_parts_as_it_comes(importer: httpx.Client, script: Script) -> None:
    file = bytes(range(256)) * (PART_BYTES // 256) + b"the rest"
    answer = importer.post(UPLOAD, content=(file[at : at + 100_000] for at in range(0, len(file), 100_000)))
    assert answer.status_code == 200
    assert answer.json()["import"]["importId"] == IMPORT_ID
    (created,) = script.asked("customers.CreateImport")
    assert created.message.file_name == "客户.csv"
    parts = [request.message for request in script.asked("customers.AppendImportFile")]
    assert [(part.import_id, part.offset_bytes) for part in parts] == [
        (IMPORT_ID, 0),
        (IMPORT_ID, PART_BYTES),
    ]
    assert b"".join(part.chunk for part in parts) == file


def test_the_same_upload_again_asks_with_the_same_ids(importer: httpx.Client, script: Script) -> None:
    for _ in range(2):
        importer.post(UPLOAD, content=b"x", headers={"Idempotency-Key": IMPORT_ID})
    for rpc in ("customers.CreateImport", "customers.FinishImportFile"):
        first, second = script.asked(rpc)
        assert first.message.request_id == second.message.request_id


def test_a_file_beyond_the_limit_is_refused_before_it_is_taken(
    importer: httpx.Client, script: Script
) -> None:
    connection = HTTPConnection(importer.base_url.host, importer.base_url.port, timeout=5)
    connection.putrequest("POST", "/api/v1/imports:upload?fileName=a.csv")
    connection.putheader("Authorization", importer.headers["authorization"])
    connection.putheader("Content-Length", str(FILE_LIMIT_BYTES + 1))
    connection.endheaders()
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["error"]["reason"]) == (413, "BODY_TOO_LARGE")
    connection.close()
    assert not script.asked("customers.CreateImport")


def test_a_foreign_page_and_a_stranger_cannot_upload(signed_in: SignedIn, script: Script) -> None:
    client, _ = signed_in
    secret = client.headers.pop("authorization").removeprefix("Bearer ")
    assert client.post(UPLOAD, content=b"x").status_code == 401
    headers = {"Origin": "https://evil.example", "Cookie": f"gonghai_session={secret}"}
    answer = client.post(UPLOAD, content=b"x", headers=headers)
    assert answer.json()["error"]["reason"] == "CROSS_SITE"
    assert not script.asked("customers.CreateImport")


def test_an_export_is_passed_on_as_a_file_with_the_lists_filter(signed_in: SignedIn, script: Script) -> None:
    client, _ = signed_in

    def answer(_: Any) -> Iterator[exports_pb2.ExportCustomersResponse]:
        yield exports_pb2.ExportCustomersResponse(chunk=b"one,")
        yield exports_pb2.ExportCustomersResponse(chunk=b"two")

    script.answers["customers.ExportCustomers"] = answer
    given = client.get("/api/v1/customers:export?format=xlsx&view=CUSTOMER_VIEW_ALL&query=甲")
    assert (given.status_code, given.content) == (200, b"one,two")
    assert given.headers["content-disposition"] == 'attachment; filename="customers.xlsx"'
    assert client.get("/api/v1/customers:export?format=csv&locale=en").status_code == 200
    asked, linked = script.asked("customers.ExportCustomers")
    assert (asked.metadata["accept-language"], linked.metadata["accept-language"]) == ("zh-CN", "en")
    assert (asked.message.format, asked.message.list.query) == (exports_pb2.SHEET_FORMAT_XLSX, "甲")
    assert client.get("/api/v1/customers:export?format=pdf").json()["error"]["reason"] == "FORMAT_UNKNOWN"
    wrong = client.get("/api/v1/customers:export?nothing=1").json()["error"]
    assert wrong["fields"][0]["field"] == "nothing"


def test_a_file_that_is_refused_is_an_error_and_no_file(signed_in: SignedIn, script: Script) -> None:
    client, _ = signed_in
    script.refuse(
        "customers.DownloadImportErrors", NotFound("IMPORT_NOT_FOUND", "找不到该导入", "No such import")
    )
    script.refuse("customers.ExportCustomers", Forbidden("RIGHT_MISSING", "没有权限", "No right"))
    assert client.get(f"/api/v1/imports/{IMPORT_ID}/errors").status_code == 404
    assert client.get("/api/v1/customers:export").status_code == 403


def test_a_file_that_its_service_broke_off_is_no_whole_one(
    signed_in: SignedIn, script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    """A browser keeps no such file; it is no fault of the gateway's."""
    client, _ = signed_in

    def answer(_: Any) -> Iterator[exports_pb2.ExportCustomersResponse]:
        yield exports_pb2.ExportCustomersResponse(chunk=b"one,")
        raise Unavailable("DATABASE_UNAVAILABLE", "数据库暂不可用", "The database is unavailable")

    script.answers["customers.ExportCustomers"] = answer
    with pytest.raises(httpx.RemoteProtocolError):
        client.get("/api/v1/customers:export?format=csv")
    assert "Traceback" not in caplog.text
