"""Import from another database: idempotent by the source's key, its address only in the operator's settings."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from services.chassis.service import Runtime
from services.chassis.settings import Settings, SettingsError
from services.customers.__main__ import SERVICE
from services.customers.commands import import_source
from services.customers.sources import read_source
from tests.integration.customers.office import MANAGER, Office
from tests.integration.customers.test_imports import customers


def test_a_source_is_copied_once_however_often_it_is_run(
    office: Office,
    settings: Settings,
    addresses: Mapping[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """F6: a row is told by its key; new rows come with the next run, changed ones are not made twice."""
    manager = office.hire(MANAGER, name="张经理")
    pool = office.pool(manager)
    shop = sqlite3.connect(tmp_path / "erp.db")
    shop.execute("CREATE TABLE clients (id INTEGER, title TEXT, tel TEXT, level REAL)")
    shop.executemany(
        "INSERT INTO clients VALUES (?, ?, ?, ?)",
        [
            (1, "甲公司", "13800138000", 1.0),
            (2, "乙公司", "1380", None),
            (3, "丙公司", None, 2.5),
            (3, "丙公司", "", 0),
        ],
    )
    shop.commit()
    about = {
        "tenant": office.tenant.id,
        "url": f"sqlite:///{tmp_path / 'erp.db'}",
        "query": "SELECT id, title, tel, level FROM clients ORDER BY id",
        "key": "id",
        "mapping": {"title": "name", "tel": "phones", "level": "level"},
        "creator": manager.id,
        "pool": pool.pool_id,
    }

    def run(**changes: object) -> int:
        environ = {"IMPORT_SOURCES": json.dumps({"erp": about | changes})}
        runtime = Runtime("customers", replace(settings, addresses=addresses), SERVICE.metadata(), environ)
        try:
            return import_source(runtime, ["erp"])
        finally:
            runtime.store.close()

    assert run() == 1
    assert "bad 1, duplicate 1, done 2" in capsys.readouterr().out
    first = customers(office)
    assert {name: (row.pool_id, row.owner_id, row.level) for name, row in first.items()} == {
        "甲公司": (pool.pool_id, None, "1"),
        "丙公司": (pool.pool_id, None, "2.5"),
    }
    shop.execute("UPDATE clients SET title = '甲公司（新）', tel = '13800138009' WHERE id = 1")
    shop.execute("UPDATE clients SET tel = '13800138001' WHERE id = 2")
    shop.commit()
    shop.close()
    assert run() == 0
    again = customers(office)
    assert set(again) == {"甲公司", "乙公司", "丙公司"}
    assert again["甲公司"].version == first["甲公司"].version
    with pytest.raises(SettingsError, match="no column nothing"):
        run(mapping={"nothing": "name"})
    with pytest.raises(SettingsError, match="cannot be read") as failed:
        run(url="postgresql://reader:secret@127.0.0.1:1/shop")
    assert "secret" not in str(failed.value)


@pytest.mark.parametrize("given", ["", "[]", "{", '{"erp": 1}', '{"erp": {"tenant": "x"}}'])
def test_settings_that_are_wrong_are_named(given: str) -> None:
    with pytest.raises(SettingsError, match="IMPORT_SOURCES"):
        read_source({"IMPORT_SOURCES": given}, "erp")
