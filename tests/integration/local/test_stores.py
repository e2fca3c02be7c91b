"""The private stores start, survive kill -9 with their data, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import kombu
import psycopg
import pytest

from deploy.local.errors import LocalError
from deploy.local.health import answers
from deploy.local.ports import is_free
from deploy.local.process import descendants, has_ended
from deploy.local.stores import PrivateStores, temporal_health
from tests.support.until import until


@pytest.fixture(scope="module")
def stores() -> Iterator[PrivateStores]:
    with PrivateStores(databases=("main", "south")) as running:
        yield running


def test_each_database_is_there(stores: PrivateStores) -> None:
    for name in ("main", "south"):
        with psycopg.connect(stores.database_urls[name]) as connection:
            assert connection.execute("SELECT current_database()").fetchone() == (name,)
            connection.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")


def test_postgresql_keeps_pages_in_a_part_of_the_memory_that_leaves_room(stores: PrivateStores) -> None:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with psycopg.connect(stores.database_urls["main"]) as connection:
        row = connection.execute("SELECT pg_size_bytes(current_setting('shared_buffers'))").fetchone()
    assert row
    assert 256 * 2**20 <= row[0] <= max(memory / 8 + 2**20, 256 * 2**20)


def test_temporal_serves(stores: PrivateStores) -> None:
    assert answers(temporal_health(stores.temporal_address))


def test_postgresql_killed_comes_back_with_its_data(stores: PrivateStores) -> None:
    with psycopg.connect(stores.database_urls["main"]) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    stores.processes["postgresql"].kill()
    stores.processes["postgresql"].start()
    with psycopg.connect(stores.database_urls["main"]) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)


def test_rabbitmq_killed_comes_back_with_its_messages_on_the_same_port(stores: PrivateStores) -> None:
    with kombu.Connection(stores.amqp_url, transport_options={"confirm_publish": True}) as connection:
        queue = connection.SimpleQueue("kept")
        queue.put("a message", delivery_mode=2)
        queue.close()
    stores.processes["rabbitmq"].kill()
    assert not stores.processes["rabbitmq"].healthy()
    stores.processes["rabbitmq"].start()
    with kombu.Connection(stores.amqp_url) as connection:
        queue = connection.SimpleQueue("kept")
        assert queue.get(timeout=5).payload == "a message"
        queue.close()


def test_a_broker_without_its_port_mapper_ends_and_leaves_none_of_its_own(state_directory: Path) -> None:
    """A start that is cut off: the port mapper is gone while the broker begins."""
    stores = PrivateStores(state_directory, databases=("main",))
    broker, mapper = stores.processes["rabbitmq"], stores.processes["epmd"]
    broker.spawn()
    try:
        until(lambda: not broker.alive, timeout_s=60)
        assert is_free(mapper.program.ports["tcp"])
    finally:
        broker.kill()


def test_no_store_runs_as_root(stores: PrivateStores) -> None:
    for process in stores.processes.values():
        assert Path(f"/proc/{process.pid}").stat().st_uid != 0, process.name


def test_a_given_store_that_does_not_answer_is_named(state_directory: Path) -> None:
    given = {
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/main",
        "AMQP_URL": "amqp://127.0.0.1:1/",
        "TEMPORAL_ADDRESS": "127.0.0.1:1",
    }
    stores = PrivateStores(state_directory, given=given)
    assert not stores.processes
    with pytest.raises(LocalError, match="DATABASE_URL"):
        stores.start()


def test_given_databases_are_found_by_name(state_directory: Path) -> None:
    given = {
        "DATABASE_URL": "postgresql://db/main",
        "DATABASE_URL_SOUTH": "postgresql://db/south",
        "AMQP_URL": "amqp://broker/",
        "TEMPORAL_ADDRESS": "temporal:7233",
    }
    stores = PrivateStores(state_directory, given=given)
    assert stores.database_urls == {"main": "postgresql://db/main", "south": "postgresql://db/south"}
    assert (stores.amqp_url, stores.temporal_address) == ("amqp://broker/", "temporal:7233")


def test_killing_their_starter_leaves_no_store_running(state_directory: Path) -> None:
    script = f"""
from pathlib import Path
from deploy.local.stores import PrivateStores
stores = PrivateStores(Path({str(state_directory)!r}))
stores.start()
print("ready", flush=True)
input()
"""
    starter = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert starter.stdin
    assert starter.stdout
    assert starter.stdout.readline() == "ready\n"
    children = descendants(starter.pid)
    assert len(children) > 4
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    starter.stdin.close()
    starter.stdout.close()
    until(lambda: all(map(has_ended, children)))
