"""Temporal's own test server, whose clock jumps to the next timer while a test sleeps."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from temporalio.testing import WorkflowEnvironment

from tests.support.until import until

TEST_SERVER = Path(sys.executable).parent / "temporal-test-server"


@asynccontextmanager
async def time_skipping() -> AsyncIterator[WorkflowEnvironment]:
    """Run a server with time to skip."""
    async with await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=str(TEST_SERVER)
    ) as environment:
        yield environment


async def soon(condition: Callable[[], object]) -> None:
    """Wait in real time for what an activity is about to do, without holding up the worker in this loop."""
    await asyncio.to_thread(until, condition)
