"""Each service's migrations are one chain: two changes that were made at once are put one behind the other."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

from services.chassis.migrations.runner import SERVICES as FOLDER
from services.chassis.settings import SERVICES


def chain(service: str) -> dict[str, tuple[str, str | None]]:
    """Return revision and the one below by file name, read from the text: nothing of a migration runs."""
    found = {}
    for path in sorted((FOLDER / service / "store" / "migrations").glob("*.py")):
        found[path.name] = _revisions(path)
    return found


def _revisions(path: Path) -> tuple[str, str | None]:
    names = {
        target.id: ast.literal_eval(node.value)
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id in ("revision", "down_revision")
    }
    return names["revision"], names["down_revision"]


@pytest.mark.parametrize("service", SERVICES)
def test_a_services_migrations_have_exactly_one_head(service: str) -> None:
    """With two, `migrate` refuses to start after the second merge; the files that stand beside each other are named."""
    migrations = chain(service)
    below = {down for _, down in migrations.values()}
    heads = [name for name, (revision, _) in migrations.items() if revision not in below]
    assert len(heads) == 1, f"{service} has several heads; renumber one of {', '.join(heads)}"


@pytest.mark.parametrize("service", SERVICES)
def test_no_two_migrations_share_a_number_or_stand_on_the_same_one(service: str) -> None:
    """A copied revision hides one of two heads; and each stands on a migration that there is."""
    migrations = chain(service)
    same, on = defaultdict(list), defaultdict(list)
    for name, (revision, down) in migrations.items():
        same[revision].append(name)
        on[down].append(name)
        assert name.startswith(f"{revision}_"), f"{name} is named after another revision than {revision}"
    assert [names for names in (*same.values(), *on.values()) if len(names) > 1] == []
    assert on.keys() <= {None, *same}
