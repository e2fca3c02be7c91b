"""The commands that make tenants, their administrators and departments."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from sqlalchemy import func, select

from services.chassis.ids import new_id
from services.chassis.service import Runtime
from services.identity import commands
from services.identity.store.tables import Role, Tenant
from tests.support.staff import ADMIN_PASSWORD, Company


def words(slug: str, database: str = "south") -> list[str]:
    return [
        "--slug",
        slug,
        "--name",
        "上海某某",
        "--database",
        database,
        "--admin",
        "boss",
        "--admin-name",
        "老板",
    ]


def with_environment(runtime: Runtime, **changes: str) -> Runtime:
    kept: Mapping[str, str] = {k: v for k, v in runtime.environ.items() if k != commands.PASSWORD_VARIABLE}
    return replace(runtime, environ={**kept, **changes}, _made={"store": runtime.store})


def tenants(runtime: Runtime, slug: str) -> int:
    with runtime.store.across("main") as home:
        return home.scalar(select(func.count()).select_from(Tenant).where(Tenant.slug == slug)) or 0


def test_an_existing_slug_is_refused_and_changes_nothing(
    company: Company, capsys: pytest.CaptureFixture[str]
) -> None:
    roles = select(func.count()).select_from(Role)
    with company.runtime.store.across("south") as session:
        before = session.scalar(roles)
    assert commands.create_tenant(company.runtime, words(company.slug)) == 1
    assert "TENANT_EXISTS" in capsys.readouterr().err
    with company.runtime.store.across("south") as session:
        assert session.scalar(roles) == before


def test_there_is_no_default_password(runtime: Runtime, capsys: pytest.CaptureFixture[str]) -> None:
    slug = f"t-{new_id()[-12:]}"
    assert commands.create_tenant(with_environment(runtime), words(slug)) == 1
    assert "PASSWORD_MISSING" in capsys.readouterr().err
    assert commands.create_tenant(with_environment(runtime, ADMIN_PASSWORD="short"), words(slug)) == 1
    assert "PASSWORD_LENGTH" in capsys.readouterr().err
    assert tenants(runtime, slug) == 0


def test_an_unknown_database_and_a_bad_slug_are_named(
    runtime: Runtime, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime = with_environment(runtime, ADMIN_PASSWORD=ADMIN_PASSWORD)
    assert commands.create_tenant(runtime, words("west", database="west")) == 1
    assert "DATABASE_UNKNOWN" in capsys.readouterr().err
    assert commands.create_tenant(runtime, words("上海")) == 1
    assert "SLUG_INVALID" in capsys.readouterr().err


def test_a_department_stands_once_below_its_parent(
    company: Company, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--tenant", company.slug, "--name", "上海", "--parent", "华东"]
    assert commands.create_department(company.runtime, given) == 0
    assert commands.create_department(company.runtime, given) == 1
    assert "DEPARTMENT_EXISTS" in capsys.readouterr().err
    assert (
        commands.create_department(
            company.runtime, ["--tenant", company.slug, "--name", "x", "--parent", "西"]
        )
        == 1
    )
    assert "DEPARTMENT_NOT_FOUND" in capsys.readouterr().err
    assert commands.create_department(company.runtime, ["--tenant", "nobody", "--name", "x"]) == 1
    assert "TENANT_NOT_FOUND" in capsys.readouterr().err
