"""Run PostgreSQL, RabbitMQ and Temporal as private instances in one folder, on free loopback ports.

    with PrivateStores(databases=("main", "south")) as stores:
        stores.database_urls["main"], stores.amqp_url, stores.temporal_address
        stores.processes["rabbitmq"].kill()    # kill -9
        stores.processes["rabbitmq"].start()   # again, same data and port

All three run as an ordinary user even for root, share nothing with the machine's own instances, and end with
us.
"""

from __future__ import annotations

import functools
import glob
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psycopg
from psycopg import sql

from deploy.local.account import Account, runnable
from deploy.local.errors import LocalError
from deploy.local.health import answers
from deploy.local.process import BARE_ENVIRONMENT, Program, Report, say_nothing
from deploy.local.state import Group, State, write_private

# Debian's own PostgreSQL, newest first: another build may stand before it in PATH.
POSTGRESQL_BIN_DIRECTORIES = Path("/usr/lib/postgresql")
# The script below Debian's wrapper, which insists on root or on the system's own rabbitmq user.
RABBITMQ_SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
RABBITMQ_PLUGINS = "/usr/lib/rabbitmq/lib/rabbitmq_server-*/plugins/*"

# Of the machine's memory, what PostgreSQL keeps pages in, and the least and most of that in megabytes. All else lives
# on the machine too; pages that are nobody's yet take no memory.
BUFFERS_SHARE, LEAST_BUFFERS_MB, MOST_BUFFERS_MB = 1 / 8, 256, 4096

# Where everything listens that nobody asked to listen elsewhere.
LOOPBACK = "127.0.0.1"

# The private PostgreSQL's superuser, who makes databases, and whom the services connect as: row-level security, the
# second wall between tenants, binds no superuser.
DATABASE_ADMIN, DATABASE_USER = "gonghai", "gonghai_services"

# What a search does inside an index before the wall has looked at a row. None of these says anything of what it
# compares, but only a superuser may promise that; without the promise an index on them is not used.
LEAKPROOF = (
    ("pg_catalog", ("textlike", "texticlike", "textregexeq", "texticregexeq", "starts_with")),
    ("pg_catalog", ("arrayoverlap", "arraycontains", "arraycontained", "jsonb_contains", "ts_match_vq")),
    ("public", ("similarity_op", "word_similarity_op", "word_similarity_commutator_op")),
    ("public", ("strict_word_similarity_op", "strict_word_similarity_commutator_op")),
)

# What an older release made belonged to the superuser.
TAKE_OVER = r"""
DO $$
DECLARE command text;
BEGIN
    FOR command IN
        SELECT format('ALTER SCHEMA %1$I OWNER TO {user}', n.nspname) FROM pg_namespace n
        WHERE n.nspowner = '{admin}'::regrole AND n.nspname NOT LIKE 'pg\_%'
            AND n.nspname NOT IN ('information_schema', 'public')
        UNION ALL
        SELECT format('ALTER TABLE %1$I.%2$I OWNER TO {user}', n.nspname, c.relname)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relowner = '{admin}'::regrole AND c.relkind IN ('r', 'p', 'v', 'm')
            AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
        UNION ALL
        SELECT format('ALTER ROUTINE %1$s OWNER TO {user}', p.oid::regprocedure)
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE p.proowner = '{admin}'::regrole AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'public')
    LOOP
        EXECUTE command;
    END LOOP;
END $$
"""


class PrivateStores(Group):
    """The three stores of one stack, as a context manager; nothing starts before `start` or `with`.

    `where` is the folder that holds their data between runs; without it they get a temporary one that goes
    with them, and forgo waiting for the disk. `given` may hold DATABASE_URL (and DATABASE_URL_<NAME>),
    AMQP_URL or TEMPORAL_ADDRESS: such a store is used as it is and none is started in its place. `host` is the
    address of this machine that they listen on; whoever shares its network may knock then.
    """

    def __init__(
        self,
        where: Path | State | None = None,
        databases: Sequence[str] = ("main",),
        *,
        given: Mapping[str, str] | None = None,
        host: str = LOOPBACK,
    ) -> None:
        super().__init__(where)
        self._host = host
        self._given = given or {}
        self._databases = tuple(databases)
        self.database_urls = self._plan_postgresql()
        self.amqp_url = self._plan_rabbitmq()
        self.temporal_address = self._plan_temporal()

    def start(self, report: Report = say_nothing) -> None:
        """Start what is not given, all at once, and wait until each answers.

        Raises LocalError when a program is missing, one does not start, or a given store does not answer.
        """
        super().start(report)
        for variable, url in (
            ("DATABASE_URL", self.database_urls["main"]),
            ("AMQP_URL", self.amqp_url),
            ("TEMPORAL_ADDRESS", temporal_health(self.temporal_address)),
        ):
            if variable in self._given and not answers(url):
                raise LocalError(
                    f"{variable} 所指的服务没有应答 / nothing answers at the address in {variable}"
                )
        if "DATABASE_URL" not in self._given:
            for name in self._databases:
                self.create_database(name)

    def create_database(self, name: str) -> str:
        """Create a database in the private PostgreSQL unless it is there, and return its URL."""
        user, database = sql.Identifier(DATABASE_USER), sql.Identifier(name)
        with psycopg.connect(self._admin_url("postgres"), autocommit=True) as connection:
            if not connection.execute(
                "SELECT 1 FROM pg_roles WHERE rolname = %s", [DATABASE_USER]
            ).fetchone():
                password = sql.Literal(self.state.secret("postgresql-services"))
                connection.execute(
                    sql.SQL("CREATE ROLE {} LOGIN CREATEDB PASSWORD {}").format(user, password)
                )
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, user))
            connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(database, user))
            # For `move-tenant`: what arrives was judged by the triggers where it was made.
            connection.execute(sql.SQL("GRANT SET ON PARAMETER session_replication_role TO {}").format(user))
        with psycopg.connect(self._admin_url(name), autocommit=True) as connection:
            connection.execute(TAKE_OVER.format(admin=DATABASE_ADMIN, user=DATABASE_USER))
            connection.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
            for schema, functions in LEAKPROOF:
                for (signature,) in connection.execute(
                    "SELECT oid::regprocedure::text FROM pg_proc"
                    " WHERE pronamespace = %s::regnamespace AND proname = ANY(%s) AND NOT proleakproof",
                    [schema, list(functions)],
                ).fetchall():
                    connection.execute(f"ALTER FUNCTION {signature} LEAKPROOF")
        self.database_urls[name] = self._services_url(name)
        return self.database_urls[name]

    def _plan_postgresql(self) -> dict[str, str]:
        if "DATABASE_URL" in self._given:
            prefix = "DATABASE_URL_"
            more = {
                key.removeprefix(prefix).lower(): url
                for key, url in self._given.items()
                if key.startswith(prefix)
            }
            return {"main": self._given["DATABASE_URL"], **more}
        port = self.state.ports.take("postgresql")
        password = self.state.secret("postgresql")
        self._admin_url = functools.partial(_postgresql_url, DATABASE_ADMIN, password, f"{self._host}:{port}")
        self._services_url = functools.partial(
            _postgresql_url,
            DATABASE_USER,
            self.state.secret("postgresql-services"),
            f"{self._host}:{port}",
        )
        home = self.state.home("postgresql")
        binaries = _postgresql_binaries()
        settings = {
            "listen_addresses": self._host,
            "port": str(port),
            # No socket file: its path would be too long below a deep checkout.
            "unix_socket_directories": "",
            "max_connections": "400",
            "shared_buffers": f"{_shared_buffers_mb()}MB",
            # Safe against kill -9, not against a power cut.
            **({"fsync": "off"} if self.state.temporary else {}),
        }
        self.add(
            Program(
                name="postgresql",
                argv=[
                    str(binaries / "postgres"),
                    *("-D", str(home / "data")),
                    *(f"--{key}={value}" for key, value in settings.items()),
                ],
                env=BARE_ENVIRONMENT,
                health=self._admin_url("postgres"),
                prepare=functools.partial(
                    _initdb, binaries, home, password, self.state.account, shared=self._host != LOOPBACK
                ),
                account=self.state.account,
                cwd=home,
                ports={"tcp": port},
                # Fast shutdown: end the sessions, write a checkpoint. When we die: end at once, recover next
                # time.
                stop_signal=signal.SIGINT,
                death_signal=signal.SIGQUIT,
            )
        )
        return {name: self._services_url(name) for name in self._databases}

    def _plan_rabbitmq(self) -> str:
        if "AMQP_URL" in self._given:
            return self._given["AMQP_URL"]
        if not RABBITMQ_SERVER.exists():
            raise LocalError("缺少 RabbitMQ，请先安装 / RabbitMQ is missing: apt-get install rabbitmq-server")
        home = self.state.home("rabbitmq")
        port, epmd_port = self.state.ports.take("rabbitmq"), self.state.ports.take("epmd")
        password = self.state.secret("rabbitmq")
        erlang = BARE_ENVIRONMENT | {
            "HOME": str(home),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(epmd_port),
            # For the node too that RabbitMQ starts before its own, only to have a port mapper.
            "ERL_ZFLAGS": "-start_epmd false",
        }
        # Erlang's port mapper, which a node would else start by itself as a daemon that outlives everything.
        self.add(
            Program(
                name="epmd",
                argv=["epmd"],
                env=erlang,
                health=f"tcp://127.0.0.1:{epmd_port}",
                account=self.state.account,
                cwd=home,
                ports={"tcp": epmd_port},
            )
        )
        url = f"amqp://gonghai:{password}@{self._host}:{port}/"
        self.add(
            Program(
                name="rabbitmq",
                argv=[str(RABBITMQ_SERVER)],
                env=erlang
                | {
                    "RABBITMQ_NODENAME": "crm@localhost",
                    "RABBITMQ_CONF_ENV_FILE": str(home / "env.conf"),
                    "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
                    "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
                    "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
                    "RABBITMQ_LOG_BASE": str(home),
                    "RABBITMQ_PID_FILE": str(home / "pid"),
                    "RABBITMQ_PLUGINS_DIR": str(home / "plugins"),
                    "RABBITMQ_DIST_PORT": str(self.state.ports.take("erlang")),
                    "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                        "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +S 2:2"
                    ),
                    # Together: the script becomes the broker instead of a shell that waits for it.
                    "RABBITMQ_ALLOW_INPUT": "true",
                    "RABBITMQ_SERVER_START_ARGS": "-noinput",
                },
                health=url,
                prepare=functools.partial(
                    _configure_rabbitmq, home, f"{self._host}:{port}", password, self.state.account
                ),
                account=self.state.account,
                cwd=home,
                ports={"amqp": port},
                # In the middle of its own start it does not listen; what it confirmed is on the disk anyway.
                stop_timeout_s=8.0,
            )
        )
        return url

    def _plan_temporal(self) -> str:
        if "TEMPORAL_ADDRESS" in self._given:
            return self._given["TEMPORAL_ADDRESS"]
        home = self.state.home("temporal")
        binary = Path(sys.executable).parent / "temporal"
        if not binary.exists():
            raise LocalError(
                "缺少 Temporal，请先运行 make / Temporal is missing: install requirements-local.lock"
            )
        port = self.state.ports.take("temporal")
        address = f"{self._host}:{port}"
        # Its parts find each other on loopback, so beside another address it has to listen on that as well.
        listen = LOOPBACK if self._host == LOOPBACK else "0.0.0.0"  # noqa: S104 - `host` says that others may knock
        self.add(
            Program(
                name="temporal",
                argv=[
                    str(runnable(binary, self.state.account, home)),
                    *("server", "start-dev", "--headless", "--ip", listen, "--port", str(port)),
                    *("--http-port", str(self.state.ports.take("temporal-http"))),
                    *("--metrics-port", str(self.state.ports.take("temporal-metrics"))),
                    *("--db-filename", str(home / "temporal.db"), "--log-level", "warn"),
                    *("--search-attribute", "CustomerId=Keyword"),
                    # Tenants in turn, where more waits than the workers take.
                    *("--dynamic-config-value", "matching.enableFairness=true"),
                    # Without these two: 12 trivial workflows a second instead of 30 to 58.
                    *("--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=NORMAL"),
                ],
                env=BARE_ENVIRONMENT | {"HOME": str(home)},
                health=temporal_health(address),
                account=self.state.account,
                cwd=home,
                ports={"grpc": port},
            )
        )
        return address


def temporal_health(address: str) -> str:
    """Return how to ask a Temporal frontend (host:port) whether it serves."""
    return f"grpc://{address}/temporal.api.workflowservice.v1.WorkflowService"


def _postgresql_url(user: str, password: str, address: str, database: str) -> str:
    return f"postgresql://{user}:{password}@{address}/{database}"


def _shared_buffers_mb() -> int:
    memory_mb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**20
    return round(min(max(memory_mb * BUFFERS_SHARE, LEAST_BUFFERS_MB), MOST_BUFFERS_MB))


def _postgresql_binaries() -> Path:
    versions = sorted(
        (path for path in POSTGRESQL_BIN_DIRECTORIES.glob("*/bin") if (path / "initdb").exists()),
        key=lambda path: int(path.parent.name),
    )
    if not versions:
        raise LocalError("缺少 PostgreSQL，请先安装 / PostgreSQL is missing: apt-get install postgresql")
    return versions[-1]


def _initdb(binaries: Path, home: Path, password: str, account: Account | None, *, shared: bool) -> None:
    if (home / "data").exists():
        return
    # Made under another name: what a kill leaves half done must not pass for a database.
    draft, password_file = home / "data.new", home / "password"
    shutil.rmtree(draft, ignore_errors=True)
    write_private(password_file, password, account)
    command = [
        *(["setpriv", *account.command()] if account else []),
        *(str(binaries / "initdb"), "-D", str(draft), "-U", DATABASE_ADMIN, f"--pwfile={password_file}"),
        *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions"),
    ]
    done = subprocess.run(
        command, env=BARE_ENVIRONMENT, cwd=home, capture_output=True, text=True, check=False
    )
    password_file.unlink()
    if done.returncode:
        raise LocalError(f"数据库初始化失败 / initdb failed: {done.stderr.strip()}")
    if shared:
        # What initdb writes lets in whoever comes over loopback.
        with (draft / "pg_hba.conf").open("a") as rules:
            rules.write("host all all samenet scram-sha-256\n")
    draft.rename(home / "data")


def _configure_rabbitmq(home: Path, address: str, password: str, account: Account | None) -> None:
    files = {
        "env.conf": "",
        "enabled_plugins": "[].\n",
        "rabbitmq.conf": (
            f"listeners.tcp.1 = {address}\n"
            "default_user = gonghai\n"
            f"default_pass = {password}\n"
            "log.file = false\n"
            "log.console = true\n"
            "log.console.level = warning\n"
            "log.console.use_colors = off\n"
        ),
    }
    for name, text in files.items():
        write_private(home / name, text, account)
    # The broker looks for each of its modules in each plugin's folder. With only the libraries and without
    # the forty plugins that we do not use, it starts in 4.6 s instead of 7.6 s.
    plugins = home / "plugins"
    shutil.rmtree(plugins, ignore_errors=True)
    plugins.mkdir()
    for folder in map(Path, glob.glob(RABBITMQ_PLUGINS)):
        if not folder.name.startswith("rabbitmq_") or folder.name.startswith("rabbitmq_prelaunch"):
            (plugins / folder.name).symlink_to(folder)
