from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import accuracy_score

from tagformer.data import load_dataset
from tagformer.evaluation import EvaluationOptions, evaluate_model
from tagformer.images import Preprocessing
from tagformer.labels import UNKNOWN, LabelSpace
from tagformer.metrics import group_accuracy
from tagformer.models import create_model
from tagformer.recipes import Recipe
from tagformer.training.module import TrainingModule


def test_accuracy_is_that_of_the_highest_label_of_each_group() -> None:
    generator = torch.Generator().manual_seed(0)
    classes, wings = torch.randint(5, (40,), generator=generator), torch.randint(2, (40,), generator=generator)
    labels = torch.zeros(40, 8, dtype=torch.int8)
    labels[torch.arange(40), classes] = 1
    labels[torch.arange(40), 5 + wings] = 1
    logits = torch.randn(40, 8, generator=generator) + 2 * labels
    accuracies = group_accuracy(logits, labels, {"class": range(5), "wing": (5, 6), "alone": (7,)})
    assert set(accuracies) == {"class", "wing"}
    assert accuracies["class"] == accuracy_score(classes, logits[:, :5].argmax(1))
    assert accuracies["wing"] == accuracy_score(wings, logits[:, 5:7].argmax(1))


def test_only_groups_of_which_each_image_has_one_label_count() -> None:
    labels = torch.tensor([[1, 0, 1, 1], [0, 1, -1, -1], [-1, 1, 0, 1]], dtype=torch.int8)
    logits = torch.tensor([[0.0, 1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [9.0, 0.0, 0.0, 0.0]])
    # The third image is not fully annotated for "one"; the first has both labels of "two".
    assert group_accuracy(logits, labels, {"one": (0, 1), "two": (2, 3)}) == {"one": 0.5}
    assert group_accuracy(logits[:0], labels[:0], {"one": (0, 1)}) == {}
    with pytest.raises(ValueError, match="must both be"):
        group_accuracy(logits, labels[:, :2], {})
    assert not math.isnan(sum(group_accuracy(logits, labels, {"one": (1, 0)}).values()))


SPACE = LabelSpace(
    ("robin", "crow", "red", "black", "big", "small", "loud"),
    groups={"class": ("robin", "crow"), "colour": ("black", "red"), "size": ("big", "small"), "noise": ("loud",)},
    extra=("red", "black", "big", "small", "loud"),
)
GROUPS = ((0, 1), (2, 3), (4, 5))


def test_evaluation_tells_groups_and_scores_the_targets() -> None:
    scenes = load_dataset("scenes?images=24", "test")
    names = scenes.label_space.names
    groups = {"shape": ("ring", "disc"), "light": ("night",), "crowd": ("busy",)}
    dataset = scenes.replace(label_space=LabelSpace(names, groups=groups, extra=scenes.label_space.extra))
    torch.manual_seed(0)
    model = create_model("ctran", dataset.label_space, "tiny", width=16, layers=1)
    options = EvaluationOptions(known_groups=(0, 1, 2), draws=2, workers=0)
    plain = evaluate_model(model, dataset, Preprocessing(size=32), options)
    extra_known = evaluate_model(model, dataset, Preprocessing(size=32), EvaluationOptions(extra_known=True, workers=0))
    assert [point.count for point in plain.by_groups] == [0, 1, 2]
    assert plain.by_groups[0].mAPs == (plain.regular.mAP,) * 2
    assert plain.by_groups[2].mAPs == (extra_known.regular.mAP,) * 2
    assert plain.regular.mAP != extra_known.regular.mAP
    assert plain.groups == {"shape": tuple(plain.names.index(name) for name in groups["shape"])}
    written = plain.to_dict()["known_groups"]
    assert [point["count"] for point in written] == [0, 1, 2]
    assert written[0]["mAP"] == pytest.approx(plain.regular.mAP)


def test_training_tells_labels_groups_and_extra_groups_as_the_recipe_says() -> None:
    model = create_model("ctran", SPACE, "tiny", width=16, layers=1)
    labels = torch.randint(0, 2, (40, 7), dtype=torch.int8, generator=torch.Generator().manual_seed(0))

    def kinds(masking: object) -> set[str]:
        """Which kinds of known labels 60 steps draw."""
        torch.manual_seed(0)
        settings = {"known": {"masking": masking, "min_unknown": 0}, "model": {"backbone": {"name": "tiny"}}}
        module = TrainingModule(model, Recipe.model_validate(settings), 1)
        found = set()
        for _ in range(60):
            is_known = module.draw_training_known(labels) != UNKNOWN
            whole = all((is_known[:, list(c)].all(1) == is_known[:, list(c)].any(1)).all() for c in GROUPS)
            found.add("labels" if not whole else "groups" if is_known[:, :2].any() else "extra_groups")
        return found

    assert kinds("labels") == {"labels"}
    assert kinds("groups") == {"groups"}
    assert kinds(["extra_groups"]) == {"extra_groups"}
    assert kinds(["labels", "extra_groups"]) == {"labels", "extra_groups"}
    for wrong in ("both", []):
        with pytest.raises(ValueError, match="masking"):
            kinds(wrong)
