"""Commands for whoever runs the machine: tenants with their first administrator, where they are, departments."""

import argparse
import getpass
import sys
from collections.abc import Callable, Mapping, Sequence

import psycopg

from services.chassis import places
from services.chassis.db import Store
from services.chassis.errors import AppError, InvalidInput, not_found
from services.chassis.ids import new_id
from services.chassis.relocation import MoveError, Relocation
from services.chassis.service import Runtime
from services.chassis.settings import HOME_DATABASE
from services.chassis.tenancy import Tenant
from services.identity.domain.people import check_password
from services.identity.store import queries
from services.identity.usecases import tenants
from services.identity.usecases.credentials import hash_password

# Variable that holds the first administrator's password where nobody sits at a terminal.
PASSWORD_VARIABLE = "ADMIN_PASSWORD"  # noqa: S105 - a name, not a password


def create_tenant(runtime: Runtime, words: Sequence[str]) -> int:
    """Create a tenant and its first administrator; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m services.identity create-tenant")
    parser.add_argument("--slug", required=True, help="short name, typed on the sign-in page")
    parser.add_argument("--name", required=True, help="display name")
    parser.add_argument(
        "--database", default=HOME_DATABASE, help="database that holds its rows (default: main)"
    )
    parser.add_argument("--admin", required=True, help="the administrator's login")
    parser.add_argument("--admin-name", required=True, help="the administrator's display name")
    given = parser.parse_args(words)

    def work() -> None:
        _check_database(runtime, given.database)
        with runtime.store.across(HOME_DATABASE) as home:
            if queries.tenant_by_slug(home, given.slug):
                raise tenants.tenant_exists(given.slug)
        password = _password(runtime.environ)
        check_password(password, PASSWORD_VARIABLE, login=given.admin)
        new = tenants.NewTenant(
            given.slug, given.name, given.admin, given.admin_name, hash_password(password)
        )
        with (
            runtime.store.nobodys(HOME_DATABASE) as home,
            runtime.store.transaction(Tenant(new_id(), given.database)) as tx,
        ):
            tenants.create_tenant(home, tx, new)

    return _report(work, f"租户 {given.slug} 已创建 / tenant {given.slug} created")


def create_department(runtime: Runtime, words: Sequence[str]) -> int:
    """Add a department to a tenant; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m services.identity create-department")
    parser.add_argument("--tenant", required=True, help="the tenant's short name")
    parser.add_argument("--name", required=True, help="display name")
    parser.add_argument("--parent", default="", help="name of the department above (default: the root)")
    given = parser.parse_args(words)

    def work() -> None:
        with runtime.store.transaction(_tenant(runtime.store, given.tenant)) as tx:
            tenants.create_department(tx, given.name, given.parent)

    return _report(work, f"部门 {given.name} 已创建 / department {given.name} created")


def list_tenants(runtime: Runtime, words: Sequence[str]) -> int:
    """Print each tenant's short name, database and id, as other services' commands want them; return 0."""
    with runtime.store.across(HOME_DATABASE) as home:
        for tenant in queries.all_tenants(home):
            print(f"{tenant.slug}\t{tenant.database}\t{tenant.id}\t{tenant.name}")  # noqa: T201 - its answer
    return 0


def move_tenant(runtime: Runtime, words: Sequence[str]) -> int:
    """Move a tenant to another database while it is at work; return the exit status. Run again it goes on."""
    parser = argparse.ArgumentParser(prog="python -m services.identity move-tenant")
    parser.add_argument("--slug", required=True, help="the tenant's short name")
    parser.add_argument("--to", required=True, help="name of the database that shall hold its rows")
    parser.add_argument(
        "--patience",
        type=float,
        default=60.0,
        help="seconds that writing may be refused at most before it gives up",
    )
    given = parser.parse_args(words)

    def work() -> None:
        _check_database(runtime, given.to)
        tenant = _tenant(runtime.store, given.slug)
        sources = [tenant.database] if tenant.database != given.to else _left_behind(runtime, tenant)
        for source in sources:
            move = Relocation(
                tenant.id, source, given.to, runtime.settings.database_urls, given.patience, _say
            )
            moved = move.run(lambda: tenants.register(runtime.store, tenant.id, given.to))
            _say(
                f"写入 {moved.rows} 行，暂停写入 {moved.frozen_s:.1f} 秒，清理 {moved.deleted} 行 / "
                f"{moved.rows} rows written, {moved.frozen_s:.1f} s without writing, {moved.deleted} rows cleaned"
            )

    try:
        return _report(work, f"租户 {given.slug} 在 {given.to} / tenant {given.slug} is in {given.to}")
    except (MoveError, psycopg.Error) as error:
        print(f"{error}\n再次运行即可继续 / run it again to go on", file=sys.stderr)  # noqa: T201 - for a person
        return 1


def _left_behind(runtime: Runtime, tenant: Tenant) -> list[str]:
    """Return the databases from which a tenant moved to where it is: rows may be left there."""
    found = []
    for database in runtime.settings.database_urls:
        with runtime.store.engine(database).begin() as connection:
            if places.place_of(connection, tenant.id) == places.Place(tenant.database):
                found.append(database)
    return found


def _check_database(runtime: Runtime, name: str) -> None:
    if name not in runtime.settings.database_urls:
        raise InvalidInput(
            "database",
            "DATABASE_UNKNOWN",
            "没有名为 {database} 的数据库",
            "No database is called {database}",
            database=name,
        )


def _tenant(store: Store, slug: str) -> Tenant:
    with store.across(HOME_DATABASE) as home:
        found = queries.tenant_by_slug(home, slug)
    if found is None:
        raise not_found("tenant", "租户", slug)
    return Tenant(found.id, found.database)


def _password(environ: Mapping[str, str]) -> str:
    if PASSWORD_VARIABLE in environ:
        return environ[PASSWORD_VARIABLE]
    if not sys.stdin.isatty():
        raise InvalidInput(
            PASSWORD_VARIABLE,
            "PASSWORD_MISSING",
            "请设置 ADMIN_PASSWORD，或在终端中运行以便输入密码",
            "Set ADMIN_PASSWORD, or run this at a terminal that can ask for the password",
        )
    password = getpass.getpass("管理员密码 / administrator's password: ")
    if getpass.getpass("再次输入 / again: ") != password:
        raise InvalidInput(
            PASSWORD_VARIABLE, "PASSWORDS_DIFFER", "两次输入不一致", "The two passwords differ"
        )
    return password


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - for a person


def _report(work: Callable[[], None], done: str) -> int:
    try:
        work()
    except AppError as error:
        print(f"{error.reason}: {error.zh} / {error.en}", file=sys.stderr)  # noqa: T201 - for a person
        return 1
    print(done)  # noqa: T201 - for a person
    return 0
