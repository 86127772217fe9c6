"""Trees of labels."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from tagformer.errors import TagformerError
from tagformer.labels import LabelSpace
from tagformer.labels.tree import LabelTree

SPACE = LabelSpace(("living", "animal", "pet", "dog", "stone"))
DIAMOND = [("animal", "living"), ("dog", "animal"), ("dog", "pet"), ("pet", "living")]


def test_a_diamond() -> None:
    tree = LabelTree(SPACE.names, DIAMOND)
    assert tree.implied({"dog": 1}) == {"living": 1, "animal": 1, "pet": 1}
    assert tree.implied({"pet": 0}) == {"dog": 0}
    assert tree.implied({"living": 0}) == {"animal": 0, "pet": 0, "dog": 0}
    assert tree.implied({"stone": 1, "living": 1, "dog": 0}) == {}
    assert tree.implied({"animal": 1, "pet": 0}) == {"living": 1, "dog": 0}


def test_states_that_contradict_each_other() -> None:
    tree = LabelTree(SPACE.names, DIAMOND)
    with pytest.raises(TagformerError, match="'dog' cannot be present where 'living', above it, is absent"):
        tree.implied({"dog": 1, "living": 0})


def test_tensors_are_closed_as_by_a_search() -> None:
    draws = random.Random(0)
    for _ in range(20):
        names = [str(number) for number in range(8)]
        pairs = [(names[child], names[draws.randrange(child)]) for child in range(1, 8) if draws.random() < 0.8]
        above: dict[str, set[str]] = {name: set() for name in names}
        for child in names:  # parents have smaller numbers
            for one, parent in pairs:
                if one == child:
                    above[child] |= {parent, *above[parent]}
        labels = torch.randint(-1, 2, (6, 8), generator=torch.Generator().manual_seed(draws.randrange(99)))
        expected = labels.tolist()
        for row in expected:
            given = list(row)
            for child in range(8):
                for parent in (int(name) for name in above[names[child]]):
                    if given[parent] == 0 and row[child] != 1:
                        row[child] = 0
            for child in range(8):
                for parent in (int(name) for name in above[names[child]]):
                    if given[child] == 1:
                        row[parent] = 1
        # Present counts before absent: a label below an absent one stays absent only where nothing makes it present.
        assert LabelTree(names, pairs).close(labels.to(torch.int8)).tolist() == expected


def test_a_file(tmp_path: Path) -> None:
    file = tmp_path / "tree.csv"
    file.write_text("child,parent\ndog,animal\nanimal,living\n", encoding="utf-8-sig")
    assert LabelTree.from_csv(file, SPACE).implied({"dog": 1}) == {"living": 1, "animal": 1}
    for text, sentence in (
        ("kid,parent\ndog,animal\n", "has no column 'child'"),
        ("child,parent\ndog,animal\ndgo,animal\n", r"line 3: 'dgo' is no label of the model \(did you mean 'dog'\?\)"),
        ("child,parent\ndog,animal\nanimal,dog\n", "a circle through 'animal', 'dog'"),
        ("child,parent\ndog\n", "line 2: '' is no label"),
    ):
        file.write_text(text)
        with pytest.raises(TagformerError, match=sentence):
            LabelTree.from_csv(file, SPACE)


def test_names_with_parents_that_are_no_labels() -> None:
    space = LabelSpace(("animal", "animal/pet/dog", "sea/fish"))
    tree = LabelTree.from_names(space)
    assert tree.implied({"animal/pet/dog": 1}) == {"animal": 1}
    assert not LabelTree.from_names(SPACE)
