"""Whose rows a person sees: six scopes, one rule."""

import pytest

from services.chassis.tenancy import Tenant
from services.chassis.tokens import Caller
from services.kernel.visibility import covers, sees_only_own

ME, OTHER = "me", "other"


def caller(scope: str, path: str = "hq/east/", *paths: str) -> Caller:
    return Caller(tenant=Tenant("t", "main"), person_id=ME, scope=scope, department_path=path, paths=paths)


@pytest.mark.parametrize(
    ("who", "own", "beside", "below", "elsewhere"),
    [
        (caller("self"), True, False, False, False),
        (caller("department_only"), True, True, False, False),
        (caller("department"), True, True, True, False),
        (caller("subordinates"), True, False, False, False),
        (caller("subordinates", "hq/east/", "hq/south/"), True, False, False, True),
        (caller("regions", "hq/", "hq/east/"), True, True, True, False),
        (caller("department_only", "hq/east/", "hq/south/"), True, True, False, True),
        (caller("all"), True, True, True, True),
        # What is not known gives no more than the own rows.
        (caller("galaxy"), True, False, False, False),
        (caller("department", ""), True, False, False, False),
        (caller("department_only", ""), True, False, False, False),
    ],
)
def test_a_scope_gives_what_it_says(
    who: Caller, own: bool, beside: bool, below: bool, elsewhere: bool
) -> None:
    """F238."""
    assert covers(who, ME, "hq/south/") is own
    assert covers(who, OTHER, "hq/east/") is beside
    assert covers(who, OTHER, "hq/east/shanghai/") is below
    assert covers(who, OTHER, "hq/south/") is elsewhere


def test_a_row_without_an_owner_is_nobodys_own() -> None:
    assert not covers(caller("self"), None, "")
    assert covers(caller("all"), None, "")


def test_only_own_rows_need_no_look_at_departments() -> None:
    assert sees_only_own(caller("self"))
    assert sees_only_own(caller("subordinates"))
    assert not sees_only_own(caller("subordinates", "hq/", "hq/south/"))
    assert not sees_only_own(caller("department_only"))
