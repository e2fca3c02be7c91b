"""Ids: written here by hand, as the standard library writes them."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from services.chassis.ids import derive_id, new_id


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=4))
def test_a_derived_id_is_the_librarys_uuid_5(parts: list[str]) -> None:
    """What was derived by a release before is derived again: a repeat meets its rows."""
    assert derive_id(*parts) == str(uuid.uuid5(uuid.NAMESPACE_OID, "\x1f".join(parts)))


def test_a_new_id_is_a_uuid_7_and_sorts_behind_an_older_one() -> None:
    ids = [new_id() for _ in range(100)]
    assert {uuid.UUID(one).version for one in ids} == {7}
    assert {str(uuid.UUID(one)) for one in ids} == set(ids)
    assert [one[:13] for one in ids] == sorted(one[:13] for one in ids)
