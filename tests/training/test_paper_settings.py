"""Settings that the papers' recipes need: no validation, the loss of extra labels, the figure that is monitored."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F  # noqa: N812

from tagformer.errors import TagformerError
from tagformer.evaluation.run_evaluation import load_split
from tagformer.labels import UNKNOWN, LabelSpace
from tagformer.models import ModelOutput, create_model
from tagformer.recipes import Recipe, load_recipe
from tagformer.recipes.settings import ScheduleSettings
from tagformer.runs import Run
from tagformer.training import fit
from tagformer.training.callbacks import BestCheckpoint
from tagformer.training.module import TrainingModule
from tagformer.training.optim import create_schedule
from tests.data_files.cub import write_birds
from tests.helpers import assert_same_weights, write_folder

Recipes = Callable[..., Recipe]


def with_splits(folder: Path, count: int) -> Path:
    """A CSV of pictures, of which every fourth is in the test split and the others in train."""
    table = write_folder(folder, count, header="path,tags,split")
    first, *rows = table.read_text().splitlines()
    lines = [f"{row},{'test' if number % 4 == 0 else 'train'}" for number, row in enumerate(rows)]
    table.write_text("\n".join([first, *lines]) + "\n")
    return table


def test_without_validation_all_images_are_trained_on(tmp_path: Path, small_recipe: Recipes) -> None:
    table = with_splits(tmp_path / "photos", 16)
    recipe = small_recipe("data.val_fraction=0", "training.keep=last", "training.epochs=2", f"data.spec=csv:{table}")
    fitted = fit(recipe, tmp_path / "run")
    assert (len(fitted.train), len(fitted.val)) == (12, 0)
    with (tmp_path / "run" / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["val_mAP"] for row in rows] == ["", ""]
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=False)["state_dict"]
    kept = load_file(tmp_path / "run" / "model.safetensors")
    assert_same_weights(kept, {name.removeprefix("model."): value for name, value in last.items()})
    run = Run.load(tmp_path / "run")
    assert len(load_split(run).dataset) == 4
    with pytest.raises(TagformerError, match=r"data\.val_fraction=0.*no val split"):
        load_split(run, split="val")


@pytest.mark.parametrize(
    ("settings", "cure"),
    [
        ([], r"training\.keep=last"),
        (["training.keep=last", "training.patience=3"], r"training\.patience=null"),
        (["training.keep=last", "schedule.name=plateau"], r"another schedule\.name than plateau"),
    ],
)
def test_settings_that_need_validation_are_rejected_without_it(settings: list[str], cure: str) -> None:
    with pytest.raises(TagformerError, match=f"leaves no images for validation: set {cure}"):
        Recipe().overridden(["data.val_fraction=0", *settings])


def test_the_plateau_steps_on_the_loss_or_on_the_map() -> None:
    rates = {}
    for monitor in ("loss", "mAP"):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        settings = ScheduleSettings(name="plateau", monitor=monitor, patience=0)  # type: ignore[arg-type]
        schedule = create_schedule(optimizer, settings, 1, 1)
        for value in (3.0, 2.0, 1.0):
            schedule.step(value)
        rates[monitor] = optimizer.param_groups[0]["lr"]
    assert rates["loss"] == 1.0  # it only fell
    assert rates["mAP"] < 0.1


SPACE = LabelSpace(("a", "b", "x", "y"), {"class": ("a", "b")}, extra=("x", "y"))


def module(*settings: str) -> TrainingModule:
    return TrainingModule(create_model("ctran", SPACE, "tiny", width=16), Recipe().overridden(settings), 1)


def test_the_loss_of_extra_labels_is_the_mean_over_all_that_are_not_known() -> None:
    labels = torch.tensor([[1, 0, 1, 0], [0, 1, 0, -1]], dtype=torch.int8)
    known = torch.tensor([[-1, -1, 1, -1], [-1, -1, -1, -1]], dtype=torch.int8)
    logits = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    entries = F.binary_cross_entropy_with_logits(logits, labels.clamp(min=0).float(), reduction="none")
    predicted = (labels != UNKNOWN) & (known == UNKNOWN)
    output = ModelOutput(logits)
    with_extra = module("loss.extra_labels=true").output_loss(output, labels, known)
    assert with_extra.item() == pytest.approx(entries[predicted].mean().item())
    without = module().output_loss(output, labels, known)
    assert without.item() == pytest.approx(entries[:, :2].mean().item())


def test_the_best_epoch_may_be_that_of_the_accuracy(tmp_path: Path) -> None:
    trained = module("training.monitor=accuracy")
    logits = torch.tensor([[2.0, 1.0, 0.0, 0.0], [2.0, 1.0, 0.0, 0.0]])
    targets = torch.tensor([[1, 0, -1, -1], [0, 1, -1, -1]], dtype=torch.int8)
    assert trained._accuracy(logits, targets) == 0.5
    assert BestCheckpoint(tmp_path / "a", dict.clear, monitor="accuracy").monitor == "val_accuracy"
    with pytest.raises(TagformerError, match=r"training\.monitor=accuracy needs labels"):
        trained._accuracy(logits, torch.ones_like(targets))


def test_the_cub_recipe_trains_on_a_small_tree(tmp_path: Path, small_recipe: Recipes) -> None:
    paper = load_recipe("ctran-cub")
    recipe = small_recipe(
        f"data.spec=cub:{write_birds(tmp_path / 'birds', 24)}?concepts=312&not_visible=unknown",
        f"image.crop_scale={list(paper.image.crop_scale or ())}",
        f"image.brightness={paper.image.brightness}",
        f"image.saturation={paper.image.saturation}",
        *("image.resize=centre", "loss.extra_labels=true", "known.masking=[extra_labels]", "training.monitor=accuracy"),
        *("training.epochs=1", "training.loggers=csv"),
    )
    fitted = fit(recipe, tmp_path / "run")
    assert 0 <= fitted.rows[0]["val_accuracy"] <= 1
    assert Run.load(tmp_path / "run").recipe.training.loggers == ("csv",)
