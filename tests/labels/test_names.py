"""Spellings of names: what looks the same is one name, and names that look alike are listed."""

from __future__ import annotations

import unicodedata

import pytest

from tagformer.errors import TagformerError
from tagformer.labels import LabelSpace, plain_name, similar_names
from tagformer.labels.names import similarity_warnings


@pytest.mark.parametrize(
    "spelling",
    [
        "traffic light",
        " traffic light ",
        "traffic  light",
        "traffic\u00a0light",
        "traffic\u2009light",
        "traffic\tlight",
        "traffic\u200b light",
        "\ufefftraffic light",
        "traf\u00adfic light",
        "traffic light\u200d",
        "traf\u200cfic light",
        "\u200etraffic light",
    ],
)
def test_characters_that_do_not_show_do_not_make_another_name(spelling: str) -> None:
    assert plain_name(spelling) == "traffic light"


@pytest.mark.parametrize("name", ["café", "Öl", "ñandú", "한국어", "Ångström"])
def test_composed_and_decomposed_letters_are_one_name(name: str) -> None:
    assert unicodedata.normalize("NFD", name) != name
    assert plain_name(unicodedata.normalize("NFD", name)) == name == plain_name(name)


@pytest.mark.parametrize("name", ["می\u200cخواهم", "👩\u200d🚀", "a-b_c", "Box.", "x²", "ﬁn"])
def test_characters_that_show_are_kept(name: str) -> None:
    assert plain_name(name) == name


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (["Box", "disc", "box", "box."], [["Box", "box", "box."]]),
        (["No Finding", "no_finding", "no-finding"], [["No Finding", "no_finding", "no-finding"]]),
        (["STRASSE", "straße"], [["STRASSE", "straße"]]),
        (["it's", "it\u2019s"], [["it's", "it\u2019s"]]),
        (["cat", "cats", "c", "c++", ".", ".."], []),
    ],
)
def test_names_that_look_alike_are_grouped(names: list[str], groups: list[list[str]]) -> None:
    assert similar_names(names) == groups


def test_one_sentence_names_the_labels_that_look_alike() -> None:
    assert similarity_warnings(["a", "b"]) == ()
    names = [name for letter in "abcdefg" for name in (letter, letter.upper())]
    (sentence,) = similarity_warnings(names)
    assert "'a' and 'A', 'b' and 'B'" in sentence
    assert sentence.endswith("'e' and 'E', ...")


def test_a_label_space_matches_names_in_every_spelling() -> None:
    space = LabelSpace(("cafe\u0301", "traffic\u00a0light"), {"places": ("caf\u00e9",)}, extra=("traffic  light",))
    assert space.names == ("caf\u00e9", "traffic light")
    assert space.groups == {"places": ("caf\u00e9",)}
    assert space.extra == ("traffic light",)
    assert space.index("traffic\u200b light") == 1
    assert space == LabelSpace.from_dict(space.to_dict())
    assert space.known({"cafe\u0301": True}).tolist() == [1, -1]
    with pytest.raises(TagformerError, match="duplicate label 'Box'"):
        LabelSpace(("Box", "Box "))
