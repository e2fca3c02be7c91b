"""Recordings kept in an S3-compatible store: a real one that others wrote, on loopback."""

import hashlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from s3fs import S3FileSystem
from sqlalchemy import update

from services.chassis.settings import SettingsError
from services.telephony.pbx.vault import Vault
from services.telephony.settings import read_vault
from services.telephony.store import tables
from services.telephony.usecases.recordings import MOST_ATTEMPTS
from tests.integration.telephony.conftest import Shop
from tests.integration.telephony.pbx.ami_server import ami_server
from tests.integration.telephony.test_pbx_edge import Customers, blocks, following, lists_nothing, tone
from tests.support.object_store import BUCKET, ObjectStore
from tests.support.until import soon, until


@pytest.fixture(scope="module")
def objects() -> Iterator[ObjectStore]:
    with ObjectStore() as store, pytest.MonkeyPatch.context() as environment:
        for name, value in store.environment.items():
            environment.setenv(name, value)
        files = S3FileSystem()

        def made() -> bool:
            # It listens before all of it works.
            try:
                files.makedirs(BUCKET, exist_ok=True)
            except OSError:
                return False
            return bool(files.exists(BUCKET))

        until(made, timeout_s=30)
        yield store


@pytest.fixture
def spool(shop: Shop, tmp_path: Path) -> Path:
    shop.line("did", "4000")
    (tmp_path / "pbx1-1795291960.3.wav").write_bytes(tone())
    return tmp_path


async def test_a_recording_is_in_the_bucket_whole_and_is_read_from_any_place(
    shop: Shop, spool: Path, objects: ObjectStore
) -> None:
    """F219, F222."""
    async with ami_server() as server:
        lists_nothing(server)
        async with following(shop, server, Customers(), spool, objects.url):
            server.send(b"".join(blocks("queue-call")))
            await soon(lambda: shop.rows("recording") and shop.row("recording")["state"] == "kept")
    row = shop.row("recording")
    assert row["sha256"] == hashlib.sha256(tone()).hexdigest()
    vault = Vault(objects.url)
    assert b"".join(vault.read(row["key"], 0, row["size_bytes"])) == tone()
    assert b"".join(vault.read(row["key"], 44, 100)) == tone()[44:144]
    with pytest.raises(FileNotFoundError):
        list(vault.read("nobody/else.wav", 0, 1))


def look_now(shop: Shop, **values: object) -> None:
    """Let it be time to look at the recordings again."""
    recording = tables.recording
    due = {"next_try_time": shop.store.clock() - timedelta(seconds=1), **values}
    with shop.store.transaction(shop.tenant) as tx:
        tx.session.execute(update(recording).where(recording.c.tenant_id == shop.tenant.id).values(**due))


async def test_a_store_that_is_down_costs_no_recording(
    main_shop: Shop, tmp_path: Path, objects: ObjectStore
) -> None:
    """However often it was tried: the recording is not given up, and is kept when the store is back."""
    main_shop.line("did", "4000")
    (tmp_path / "pbx1-1795291960.3.wav").write_bytes(tone())
    (store,) = objects.processes.values()

    def kept() -> bool:
        if main_shop.row("recording")["detail"]:
            look_now(main_shop, detail="")
        return bool(main_shop.row("recording")["state"] == "kept")

    async with ami_server() as server:
        lists_nothing(server)
        async with following(main_shop, server, Customers(), tmp_path, objects.url):
            store.kill()
            server.send(b"".join(blocks("queue-call")))
            await soon(lambda: main_shop.rows("recording") and main_shop.row("recording")["detail"])
            look_now(main_shop, detail="", attempts=MOST_ATTEMPTS - 1)
            await soon(lambda: main_shop.row("recording")["detail"])
            assert main_shop.row("recording")["state"] == "pending"
            store.start()
            await soon(kept, timeout_s=40)


@pytest.mark.parametrize("url", ["ftp://somewhere/recordings", "https://bucket.example/recordings"])
def test_a_place_that_can_keep_none_is_refused_by_its_variable(url: str) -> None:
    with pytest.raises(SettingsError, match="RECORDINGS_URL"):
        read_vault({"RECORDINGS_URL": url})
