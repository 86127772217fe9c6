from __future__ import annotations

import pytest
import torch

from tagformer.errors import TagformerError
from tagformer.labels import ABSENT, UNKNOWN, LabelSpace, without_extra

ANIMALS = LabelSpace(("cat", "dog", "cow"))


def test_columns_follow_the_order_of_the_names() -> None:
    assert len(ANIMALS) == 3
    assert [ANIMALS.index(name) for name in ("cow", "cat", "dog")] == [2, 0, 1]


def test_encode_marks_the_named_labels_and_gives_the_rest_one_state() -> None:
    assert ANIMALS.encode(["cow", "cat"]).tolist() == [1, 0, 1]
    assert ANIMALS.encode(["dog"], others=UNKNOWN).tolist() == [-1, 1, -1]
    assert ANIMALS.encode([]).dtype == torch.int8


def test_known_tells_only_what_is_named() -> None:
    assert ANIMALS.known({"dog": True, "cat": False}).tolist() == [0, 1, -1]
    assert ANIMALS.known({"dog": 1, "cat": 0, "cow": -1}).tolist() == [0, 1, -1]
    assert ANIMALS.known({"dog": None}).tolist() == [-1, -1, -1]
    assert ANIMALS.known({}).dtype == torch.int8


def test_names_of_reads_what_encode_wrote() -> None:
    labels = ANIMALS.known({"dog": True, "cat": False})
    assert ANIMALS.names_of(labels) == ["dog"]
    assert ANIMALS.names_of(labels, ABSENT) == ["cat"]
    assert ANIMALS.names_of(labels, UNKNOWN) == ["cow"]


def test_an_unknown_name_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(TagformerError, match=r"unknown label 'dgo' .did you mean 'dog'"):
        ANIMALS.index("dgo")
    with pytest.raises(TagformerError, match="zebra"):
        ANIMALS.encode(["zebra"])
    with pytest.raises(TagformerError, match="zebra"):
        ANIMALS.known({"zebra": True})


def test_a_state_other_than_the_three_is_refused() -> None:
    with pytest.raises(TagformerError, match=r"'dog' has the state 2"):
        ANIMALS.known({"dog": 2})


@pytest.mark.parametrize(
    ("names", "groups", "extra", "message"),
    [
        ((), {}, (), "at least one name"),
        (("cat", ""), {}, (), "label 2 has an empty name"),
        (("cat", "  "), {}, (), "label 2 has an empty name"),
        (("cat", "dog", "cat"), {}, (), "duplicate label 'cat'"),
        (("cat", "dog"), {"pets": ("hamster",)}, (), "unknown label 'hamster'"),
        (("cat", "dog"), {"pets": ("cat",), "small": ("cat",)}, (), "'cat' is in two groups"),
        (("cat", "dog"), {}, ("night",), "unknown label 'night'"),
        (("cat", "dog"), {}, ("cat", "dog"), "every label is an extra label"),
    ],
)
def test_a_label_space_that_makes_no_sense_is_refused(
    names: tuple[str, ...], groups: dict[str, tuple[str, ...]], extra: tuple[str, ...], message: str
) -> None:
    with pytest.raises(TagformerError, match=message):
        LabelSpace(names, groups, extra)


def test_a_label_space_survives_its_dictionary() -> None:
    space = LabelSpace(("cat", "dog", "night"), {"pets": ("cat", "dog")}, ("night",))
    assert LabelSpace.from_dict(space.to_dict()) == space
    assert LabelSpace.from_dict({"names": ["cat"]}) == LabelSpace(("cat",))


def test_label_spaces_with_another_order_or_other_extra_labels_are_not_equal() -> None:
    assert LabelSpace(("cat", "dog")) != LabelSpace(("dog", "cat"))
    assert LabelSpace(("cat", "dog")) != LabelSpace(("cat", "dog"), extra=("dog",))


def test_of_takes_a_count_names_or_a_label_space() -> None:
    assert LabelSpace.of(3).names == ("label_0", "label_1", "label_2")
    assert LabelSpace.of(["cat", "dog"]) == LabelSpace(("cat", "dog"))
    assert LabelSpace.of(ANIMALS) is ANIMALS


def test_extra_labels_are_not_targets() -> None:
    space = LabelSpace(("night", "cat", "dog"), extra=("night",))
    assert space.is_target.tolist() == [False, True, True]
    labels = torch.tensor([[1, 1, 0], [0, -1, 1]], dtype=torch.int8)
    assert without_extra(labels, space).tolist() == [[-1, 1, 0], [-1, -1, 1]]
