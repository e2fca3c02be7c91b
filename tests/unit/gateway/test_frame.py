"""Which language a request is answered in."""

import pytest

from services.gateway.frame import locale_of


@pytest.mark.parametrize(
    ("accepted", "locale"),
    [
        ("", "zh-CN"),
        ("*", "zh-CN"),
        ("fr-FR,fr;q=0.9", "zh-CN"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"),
        ("en-US,en;q=0.9,zh;q=0.8", "en"),
        ("en;q=0.3, zh;q=0.2", "en"),
        ("en;q=0.5,zh;q=0.5", "zh-CN"),
        ("EN", "en"),
        ("en;q=0", "zh-CN"),
        ("en;q=1.2.3,;;,=", "zh-CN"),
    ],
)
def test_english_only_where_it_is_preferred(accepted: str, locale: str) -> None:
    assert locale_of(accepted) == locale
