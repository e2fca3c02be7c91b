"""What the Compose file's PostgreSQL runs at its first start, on a real one."""

import os
import subprocess
from pathlib import Path

import psycopg

from deploy.local.stores import DATABASE_ADMIN, DATABASE_USER, LEAKPROOF, PrivateStores

SCRIPT = Path(__file__).resolve().parents[3] / "deploy/compose/postgresql.sh"


def test_the_services_get_a_role_that_the_wall_binds_and_indexes_that_work_behind_it(
    state_directory: Path,
) -> None:
    """The same promises as the one-machine stack makes to PostgreSQL."""
    stores = PrivateStores(state_directory / "stack", databases=())
    postgresql = stores.processes["postgresql"]
    postgresql.start()
    try:
        port = postgresql.program.ports["tcp"]
        given = {
            "PATH": os.environ["PATH"],
            "PGHOST": "127.0.0.1",
            "PGPORT": str(port),
            "PGPASSWORD": stores.state.secret("postgresql"),
            "POSTGRES_USER": DATABASE_ADMIN,
            "SERVICES_PASSWORD": "it's one",
            "TEMPORAL_PASSWORD": "another",
        }
        done = subprocess.run(["sh", str(SCRIPT)], env=given, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        with psycopg.connect(
            host="127.0.0.1", port=port, user=DATABASE_USER, password="it's one", dbname="gonghai"
        ) as connection:
            bound = connection.execute(
                "SELECT NOT rolsuper AND NOT rolbypassrls FROM pg_roles WHERE rolname = current_user"
            ).fetchone()
            assert bound == (True,)
            promised = connection.execute(
                "SELECT DISTINCT proname FROM pg_proc WHERE proleakproof"
            ).fetchall()
            assert {name for _, names in LEAKPROOF for name in names} <= {row[0] for row in promised}
            connection.execute("CREATE SCHEMA orders")
    finally:
        postgresql.stop()
