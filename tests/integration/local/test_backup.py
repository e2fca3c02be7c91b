"""A backup is a whole stack in one file: rows, messages, workflows and secrets that belong together."""

import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from kombu import Connection, Queue
from temporalio.client import Client

from deploy.local.backup import backup, backup_running, restore, verify
from deploy.local.errors import LocalError
from deploy.local.state import State
from deploy.local.stores import PrivateStores
from deploy.local.table import ROOT
from tests.support.until import until

PIPES: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}


def put(stores: PrivateStores) -> None:
    """Leave a row in each database and a message in a queue."""
    for url in stores.database_urls.values():
        with psycopg.connect(url, autocommit=True) as database:
            database.execute("CREATE TABLE kept AS SELECT 'a row' AS text")
    with Connection(stores.amqp_url) as broker:
        queue = Queue("kept", durable=True)
        broker.Producer().publish({"text": "a message"}, routing_key="kept", declare=[queue], delivery_mode=2)


def found(stores: PrivateStores) -> tuple[list[str], str]:
    """Return what a stack holds of it."""
    rows = []
    for url in stores.database_urls.values():
        with psycopg.connect(url) as database:
            row = database.execute("SELECT text FROM kept").fetchone()
            assert row
            rows.append(str(row[0]))
    with Connection(stores.amqp_url) as broker:
        message = Queue("kept", durable=True).bind(broker.default_channel).get(no_ack=True)
        assert message
        return rows, str(message.payload["text"])


async def test_a_restored_stack_holds_what_the_stopped_one_held(state_directory: Path) -> None:
    file = state_directory / "backups/one.tar.gz"
    first = State(state_directory / "first")
    secret = first.secret("signing")
    with PrivateStores(first, ("main", "south")) as stores:
        put(stores)
        client = await Client.connect(stores.temporal_address)
        await client.start_workflow("Waits", id="kept", task_queue="nobody")
    size = backup(first.path, file)
    assert size == file.stat().st_size
    assert file.stat().st_mode & 0o777 == 0o600
    restore(file, state_directory / "second")
    second = State(state_directory / "second")
    assert second.secret("signing") == secret
    with PrivateStores(second, ("main", "south")) as stores:
        assert found(stores) == (["a row", "a row"], "a message")
        client = await Client.connect(stores.temporal_address)
        description = await client.get_workflow_handle("kept").describe()
        assert description.status is not None
        assert description.status.name == "RUNNING"
    with pytest.raises(LocalError, match="not empty"):
        restore(file, state_directory / "second")
    with pytest.raises(LocalError, match="exists already"):
        backup(first.path, file)


def test_a_stack_is_put_away_while_it_is_written(state_directory: Path) -> None:
    """What was acknowledged before the backup began is in it; what came meanwhile is there up to an instant, or not."""
    first, file = State(state_directory / "running"), state_directory / "backups/running.tar.gz"
    stop, written = threading.Event(), [0]
    with PrivateStores(first, ("main",)) as stores:
        url = stores.database_urls["main"]
        with Connection(stores.amqp_url, transport_options={"confirm_publish": True}) as broker:
            queue = Queue("kept", durable=True)
            broker.Producer().publish({}, routing_key="kept", declare=[queue], delivery_mode=2)

        def write() -> None:
            with psycopg.connect(url, autocommit=True) as database:
                database.execute("CREATE TABLE kept (number int)")
                while not stop.is_set():
                    database.execute("INSERT INTO kept VALUES (%s)", [written[0] + 1])
                    written[0] += 1

        writer = threading.Thread(target=write)
        writer.start()
        try:
            until(lambda: written[0] > 20)
            before = written[0]
            pids = {name: process.pid or 0 for name, process in stores.processes.items()}
            backup_running(first.path, file, pids)
            after = written[0]
            # It goes on.
            until(lambda: written[0] > after + 20)
        finally:
            stop.set()
            writer.join()
    restore(file, state_directory / "again")
    with PrivateStores(State(state_directory / "again"), ("main",)) as stores:
        with psycopg.connect(stores.database_urls["main"]) as database:
            numbers = [row[0] for row in database.execute("SELECT number FROM kept ORDER BY number")]
        with Connection(stores.amqp_url) as broker:
            assert Queue("kept", durable=True).bind(broker.default_channel).get(no_ack=True)
    assert numbers == list(range(1, len(numbers) + 1))
    assert before <= len(numbers) <= after
    assert not list(state_directory.glob(".*copying"))


FREEZE = """
import os, signal, sys
from deploy.local.freezer import standing_still
with standing_still([int(sys.argv[1])]):
    print("stands", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_who_stands_still_goes_on_when_the_backup_is_killed() -> None:
    with subprocess.Popen(["sh", "-c", "while read line; do echo $line; done"], **PIPES) as echo:
        assert echo.stdin
        assert echo.stdout
        killed = subprocess.run(
            [sys.executable, "-c", FREEZE, str(echo.pid)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (killed.returncode, killed.stdout) == (-signal.SIGKILL, "stands\n")
        echo.stdin.write("on\n")
        echo.stdin.flush()
        assert echo.stdout.readline() == "on\n"
        echo.stdin.close()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A folder that looks like a stopped stack."""
    folder = tmp_path / "stack"
    (folder / "postgresql/data/base").mkdir(parents=True)
    (folder / "postgresql/data/PG_VERSION").write_text("15\n")
    (folder / "postgresql/data/base/1").write_bytes(bytes(range(256)) * 8192)
    (folder / "log").mkdir()
    (folder / "log/customers.log").write_text("of the moment")
    return folder


def test_what_is_of_the_moment_stays_behind(state: Path, tmp_path: Path) -> None:
    backup(state, tmp_path / "one.tar.gz")
    assert sorted(verify(tmp_path / "one.tar.gz")["files"]) == [
        "postgresql/data/PG_VERSION",
        "postgresql/data/base/1",
    ]


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def lie(file: Path) -> None:
    """Change a file behind the list's back."""
    with tarfile.open(file) as archive:
        members = [(member, archive.extractfile(member)) for member in archive]
        contents = [(member, stream.read() if stream else b"") for member, stream in members]
    with tarfile.open(file, "w:gz") as archive:
        for member, content in contents:
            part = file.with_name("part")
            part.write_bytes(content[::-1] if member.name.endswith("base/1") else content)
            with part.open("rb") as stream:
                archive.addfile(member, stream)


@pytest.mark.parametrize("spoil", [cut, lie])
def test_a_spoilt_backup_is_refused_and_makes_nothing(
    state: Path, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    file = tmp_path / "one.tar.gz"
    backup(state, file)
    spoil(file)
    with pytest.raises(LocalError, match="no whole backup"):
        restore(file, tmp_path / "second")
    assert not (tmp_path / "second").exists()


def test_a_backup_killed_in_the_middle_leaves_no_file_of_its_name(state: Path, tmp_path: Path) -> None:
    """kill -9: what has the name is whole; the next run takes the rest away."""
    with (state / "postgresql/data/base/2").open("wb") as sparse:
        sparse.truncate(2 << 30)
    folder = tmp_path / "backups"
    file = folder / "one.tar.gz"
    code = (
        "import sys; from pathlib import Path; from deploy.local.backup import backup;"
        " backup(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(state), str(file)], cwd=ROOT) as child:
        until(lambda: folder.is_dir() and any(folder.iterdir()), timeout_s=20)
        child.kill()
    assert not file.exists()
    (state / "postgresql/data/base/2").unlink()
    backup(state, file)
    assert [each.name for each in folder.iterdir()] == ["one.tar.gz"]
