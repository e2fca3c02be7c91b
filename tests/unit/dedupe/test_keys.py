"""Keys: two spellings of one thing are one key, and a key gives nothing away."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.dedupe.domain.keys import Key, RuleField, Subject, SubjectKind, keys_of, normalise_name


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("华为技术有限公司", " 华为 技术\u3000有限公司 "),
        ("ＡＢＣ（上海）有限公司", "abc(上海)有限公司"),
        ("东方·明珠", "东方明珠"),
        ("Straße GmbH", "STRASSE gmbh"),
        ("张三、李四贸易行", "张三李四贸易行"),
        ("①号店", "1号店"),
    ],
)
def test_spellings_of_one_name_are_equal(one: str, other: str) -> None:
    """F146: exact, but not fooled by width, case, blanks and brackets."""
    assert normalise_name(one) == normalise_name(other)


@pytest.mark.parametrize(("one", "other"), [("上海康平实业", "上海康平实业二厂"), ("C++工坊", "C工坊")])
def test_different_names_stay_different(one: str, other: str) -> None:
    assert normalise_name(one) != normalise_name(other)


@given(st.text())
def test_normalising_twice_changes_nothing(name: str) -> None:
    assert normalise_name(normalise_name(name)) == normalise_name(name)


def test_a_customer_has_a_key_for_its_name_and_each_phone_in_one_order() -> None:
    """F151."""
    phones = ("+8613800138000", "+8613900139000")
    keys = keys_of(Subject(SubjectKind.CUSTOMER, "", "华为", phones))
    assert [key.field for key in keys] == [RuleField.NAME, RuleField.PHONE, RuleField.PHONE]
    assert keys == sorted(keys)
    assert keys == keys_of(Subject(SubjectKind.CUSTOMER, "", "华 为", tuple(reversed(phones)) + phones[:1]))


def test_a_contact_has_keys_for_its_phones_only() -> None:
    """F150: two people may have one name."""
    keys = keys_of(Subject(SubjectKind.CONTACT, "", "王小明", ("+8613800138000",)))
    assert [(key.kind, key.field) for key in keys] == [(SubjectKind.CONTACT, RuleField.PHONE)]


def test_a_name_of_which_nothing_is_left_has_no_key() -> None:
    assert keys_of(Subject(SubjectKind.CUSTOMER, "", "（）…", ())) == []


def test_a_key_holds_no_readable_value() -> None:
    (key,) = keys_of(Subject(SubjectKind.CUSTOMER, "", "华为", ()))
    assert isinstance(key, Key)
    assert len(key.digest) == 16
    assert "华为".encode() not in key.digest
