"""What the quick search finds a name by."""

from hypothesis import given
from hypothesis import strategies as st

from services.customers.domain.search import NAME_ENDS, name_pieces, parse_search
from services.kernel.pinyin import initials


def found(name: str, query: str) -> bool:
    """Tell whether the index would offer a name for what somebody types."""
    search = parse_search(query)
    return bool(search.pieces) and set(search.pieces) <= set(name_pieces(name))


@given(st.text("重庆长城科技上海ABab12（）", min_size=2, max_size=12), st.data())
def test_every_part_of_a_name_is_offered(name: str, data: st.DataObject) -> None:
    """F70: the index leaves out no name that holds what is looked for."""
    start = data.draw(st.integers(0, len(name) - 2))
    part = name[start : data.draw(st.integers(start + 2, len(name)))]
    if any("\u4e00" <= char <= "\u9fff" for char in part):
        assert found(name, part)


def test_words_decide_a_reading() -> None:
    """F70: initials as people type them."""
    assert initials("重庆长安银行ABC（3）") == "cqcayhabc3"
    assert found("重庆长安汽车", "cqca")
    assert not found("重庆长安汽车", "zqca")
    assert parse_search("138 0013 8000").number == "+8613800138000"
    assert parse_search("8000").digits == "8000"


def test_what_nearly_every_name_ends_with_is_looked_up_only_where_nothing_else_is_asked() -> None:
    """F70: 科技有限公司 goes through the names with 科技, not through every company's."""
    assert set(parse_search("科技有限公司").pieces) == {"科技", "技有"}
    assert set(parse_search("kjyxgs").pieces) == {"~kjy", "~jyx"}
    assert len(parse_search("有限公司").pieces) == 1
    assert all(initials(end) == letters for end, letters in NAME_ENDS)
    assert found("重庆长城科技有限公司", "长城科技有限公司")
    assert found("重庆长城科技有限公司", "有限公司")
    assert not found("重庆长城贸易中心", "有限公司")
