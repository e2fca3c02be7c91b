"""A merge on its way through the services, killed with SIGKILL behind each commit on that way."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from crm.customers.v1 import merges_pb2
from sqlalchemy import select

from services.chassis.ids import new_id
from services.customers.domain.merges import FOLLOWERS
from services.customers.store.merge_tables import Merge
from tests.integration.customers.office import Office, Person
from tests.integration.customers.test_merges import (  # noqa: F401 - fixtures
    System,
    all_stores,
    manager,
    state_of,
    system,
    two_customers,
)

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.timeout(300)
def test_a_merge_and_its_undo_survive_kill_9_between_any_two_steps(
    system: System,  # noqa: F811  # the fixture of that name
    office: Office,
    manager: Person,  # noqa: F811  # the fixture of that name
    environment: Mapping[str, str],
) -> None:
    """F36: who asks and who carries it dies behind every commit; in the end all is whole, and done once."""
    owner = office.hire()
    one, other = two_customers(system, owner)
    before = [system.parents(customer.customer_id) for customer in (one, other)]

    def through(command: str, *arguments: str) -> merges_pb2.Merge:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tests.integration.customers.dying_follower"),
                *(office.tenant.id, office.tenant.database, manager.id, new_id(), command, *arguments),
            ],
            env={**os.environ, **environment},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            check=True,
            timeout=240,
        )
        # Asked, moved by each follower, and heard of from each; every event taken off its outbox.
        assert int(done.stdout) >= 1 + 2 * len(FOLLOWERS) + 1 + len(FOLLOWERS)
        with office.store.transaction(office.tenant) as tx:
            (merge_id,) = tx.session.scalars(
                select(Merge.merge_id).where(Merge.tenant_id == office.tenant.id)
            ).all()
        found: merges_pb2.Merge = manager(merges_pb2.GetMergeRequest(merge_id=merge_id)).merge
        return found

    merge = through("merge", one.customer_id, other.customer_id)
    assert merge.state == merges_pb2.MERGE_STATE_MERGED
    after = system.parents(one.customer_id)
    # The time lines have an entry for the merge itself.
    tables = sorted({*before[0], *before[1]} - {"timeline_entry"})
    assert {table: after[table] for table in tables} == {
        table: before[0].get(table, 0) + before[1].get(table, 0) for table in tables
    }
    assert system.parents(other.customer_id) == {}

    undone = through("undo", merge.merge_id)
    assert undone.state == merges_pb2.MERGE_STATE_UNDONE
    for customer, had in zip((one, other), before, strict=True):
        has = system.parents(customer.customer_id)
        assert {table: has.get(table, 0) for table in tables} == {
            table: had.get(table, 0) for table in tables
        }
