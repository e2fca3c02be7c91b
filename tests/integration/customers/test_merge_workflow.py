"""The workflow of a merge, by one worker after another; its history is kept, to be replayed by later versions."""

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from crm.customers.v1 import merges_pb2
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from services.chassis.db import Store
from services.customers.workflows.activities import Activities
from services.customers.workflows.contracts import (
    FOLLOW_MERGE,
    FOLLOWED,
    QUEUE,
    FollowedMerge,
    merge_workflow_id,
)
from services.customers.workflows.workflow import FollowMerge
from tests.integration.customers.office import Office, Person
from tests.integration.customers.test_merges import (  # noqa: F401 - fixtures
    System,
    all_stores,
    manager,
    merge,
    state_of,
    system,
    two_customers,
)
from tests.support.histories import record
from tests.support.time_skipping import time_skipping


@asynccontextmanager
async def worker(environment: WorkflowEnvironment, store: Store) -> AsyncIterator[None]:
    """Run the worker of merges."""
    with ThreadPoolExecutor(2) as threads:
        async with Worker(
            environment.client,
            task_queue=QUEUE,
            workflows=[FollowMerge],
            activities=[Activities(store).ask_followers_again],
            activity_executor=threads,
        ):
            yield


async def test_a_merge_is_waited_for_by_whoever_works_until_all_have_followed(
    system: System,  # noqa: F811  # the fixture of that name
    office: Office,
    manager: Person,  # noqa: F811  # the fixture of that name
) -> None:
    """F36: another worker goes on where the first one was; recorded, to be replayed by later versions."""
    one, other = two_customers(system, office.hire())
    merged = merge(manager, one, other)
    payload = FollowedMerge(office.tenant, merged.merge_id, False)
    async with time_skipping() as environment:
        async with worker(environment, office.store):
            handle = await environment.client.start_workflow(
                FOLLOW_MERGE, payload, id=merge_workflow_id(payload), task_queue=QUEUE
            )
        system.settle()
        async with worker(environment, office.store):
            await handle.signal(FOLLOWED)
            await handle.result()
        await record("customers", "followed", handle)
    assert state_of(manager, merged.merge_id) == merges_pb2.MERGE_STATE_MERGED
