"""Whoever waits for the database in the process of the event handlers lets the others work."""

import subprocess
import sys
import textwrap
from pathlib import Path

from deploy.local.stores import PrivateStores

ROOT = Path(__file__).parents[3]
SCRIPT = textwrap.dedent(
    """
    from services.chassis.service import patch_for_nameko
    patch_for_nameko()
    import sys
    import eventlet
    import psycopg
    from services.chassis import greenlets

    assert psycopg.waiting.wait is greenlets.wait
    url, done = sys.argv[1], []
    holder, waiter = (psycopg.connect(url, autocommit=True) for _ in range(2))
    holder.execute("SELECT pg_advisory_lock(4711)")

    def wait_for_the_lock():
        waiter.execute("SELECT pg_advisory_lock(4711)")
        done.append("waited")

    waiting = eventlet.spawn(wait_for_the_lock)
    eventlet.sleep(0)
    # More than a socket takes at once, there and back.
    large = "x" * 20_000_000
    assert holder.execute("SELECT %s || ''", [large]).fetchone() == (large,)
    done.append("worked")
    holder.execute("SELECT pg_advisory_unlock(4711)")
    waiting.wait()
    assert done == ["worked", "waited"], done
    """
)


def test_a_greenlet_that_waits_for_the_database_lets_others_work(stores: PrivateStores) -> None:
    """With something else than psycopg's own way, which would stop all of them."""
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, stores.database_urls["main"]],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert ran.returncode == 0, ran.stderr
