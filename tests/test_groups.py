from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import accuracy_score

from tagformer.metrics import group_accuracy


def test_accuracy_is_that_of_the_highest_label_of_each_group() -> None:
    generator = torch.Generator().manual_seed(0)
    classes, wings = torch.randint(5, (40,), generator=generator), torch.randint(2, (40,), generator=generator)
    labels = torch.zeros(40, 8, dtype=torch.int8)
    labels[torch.arange(40), classes] = 1
    labels[torch.arange(40), 5 + wings] = 1
    logits = torch.randn(40, 8, generator=generator) + 2 * labels
    found = group_accuracy(logits, labels, {"class": range(5), "wing": (5, 6), "alone": (7,)})
    assert set(found) == {"class", "wing"}
    assert found["class"] == accuracy_score(classes, logits[:, :5].argmax(1))
    assert found["wing"] == accuracy_score(wings, logits[:, 5:7].argmax(1))


def test_only_groups_of_which_each_image_has_one_label_count() -> None:
    labels = torch.tensor([[1, 0, 1, 1], [0, 1, -1, -1], [-1, 1, 0, 1]], dtype=torch.int8)
    logits = torch.tensor([[0.0, 1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [9.0, 0.0, 0.0, 0.0]])
    # The third image is not fully annotated for "one"; the first has both labels of "two".
    assert group_accuracy(logits, labels, {"one": (0, 1), "two": (2, 3)}) == {"one": 0.5}
    assert group_accuracy(logits[:0], labels[:0], {"one": (0, 1)}) == {}
    with pytest.raises(ValueError, match="must both be"):
        group_accuracy(logits, labels[:, :2], {})
    assert not math.isnan(sum(group_accuracy(logits, labels, {"one": (1, 0)}).values()))
