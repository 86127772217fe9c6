"""Cells of tags: lists that programs wrote as text, other separators, missing values."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagformer.data.formats._common.cells import is_missing, join_tags, read_list, split_tags

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("['dog', 'cat']", ["dog", "cat"]),
        ('["dog", "cat"]', ["dog", "cat"]),
        ("['dog' 'cat']", ["dog", "cat"]),
        ("['dog'\n 'cat']", ["dog", "cat"]),
        ("('dog',)", ["dog"]),
        ("{'dog', 'cat'}", ["dog", "cat"]),
        ("[u'dog', u'cat']", ["dog", "cat"]),
        ("[dog, cat]", ["dog", "cat"]),
        ("[dog]", ["dog"]),
        ('["it\'s", "a \\"b\\""]', ["it's", 'a "b"']),
        ("['it\\'s']", ["it's"]),
        ("['a, b', 'c;d']", ["a, b", "c;d"]),
        ("[]", []),
        ("set()", []),
        ("['dog', nan, None]", ["dog"]),
        ('["dog", null]', ["dog"]),
        ("['\\u00e9']", ["é"]),
    ],
)
def test_the_text_of_a_list_is_read(cell: str, names: list[str]) -> None:
    assert split_tags(cell) == names


@pytest.mark.parametrize(
    "cell",
    ["['dog', 'cat'", "(dog)", "{dog}", "[a][b]", '[["dog"]]', '{"dog": 1}', "['a' + 'b']", "[print('x'), 'a']", "["],
)
def test_what_is_not_the_text_of_a_list_stays_a_name(cell: str) -> None:
    assert read_list(cell) is None
    assert split_tags(cell) == [cell]


@settings(deadline=None, max_examples=200)
@given(names=st.lists(TEXT.filter(str.strip), min_size=1, max_size=4))
def test_the_text_of_any_python_list_is_read(names: list[str]) -> None:
    assert read_list(repr(names)) == names
    assert read_list(repr(tuple(names))) == names


@pytest.mark.parametrize("name", ["[dog]", "['a']", "(x)", "{}", "[]", "set()", "\\[a]"])
def test_names_in_brackets_read_back_as_they_were_written(name: str) -> None:
    assert split_tags(join_tags([name])) == [name]
    assert split_tags(join_tags([name, "b"])) == [name, "b"]


@pytest.mark.parametrize(
    ("cell", "separator", "names"),
    [
        ("dog|black, white", "|", ["dog", "black, white"]),
        ("dog cat  cow", " ", ["dog", "cat", "cow"]),
        ("dog, cat;x,", ",", ["dog", "cat;x"]),
        ("dog#cat", "#", ["dog", "cat"]),
        ("dog || cat", "||", ["dog", "cat"]),
        ("a\\|b|c", "|", ["a|b", "c"]),
    ],
)
def test_names_are_separated_by_what_the_option_says(cell: str, separator: str, names: list[str]) -> None:
    assert split_tags(cell, separator) == names


def test_spellings_of_missing_values_are_recognised() -> None:
    assert all(map(is_missing, ["nan", "NaN", "None", "NULL", "null", "NA", "N/A", "n/a", "<NA>", "#N/A", "NaT"]))
    assert not any(map(is_missing, ["nano", "Nana", "nullable", "no", "n", "", "-"]))
