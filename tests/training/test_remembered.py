"""Training a frozen backbone on remembered features: as without them, resumable, and switched off by one setting."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tagformer.backbones.tiny import TinyBackbone
from tagformer.evaluation import EvaluationOptions, evaluate_run, load_split
from tagformer.features import FeatureStore, MapBatch
from tagformer.images import Preprocessing
from tagformer.recipes import Recipe
from tagformer.runs import Run
from tagformer.tagging import embed, simulate
from tagformer.training import Reporter, fit
from tagformer.training.module import TrainingModule
from tests.helpers import CommandLine, assert_same_weights

Recipes = Callable[..., Recipe]
FROZEN = "optimizer.backbone_lr_factor=0"
# Without adaptive steps, which make the smallest gradients as large as the others.
AS_IN_EVALUATION = (
    FROZEN,
    "image.flip=0",
    "training.epochs=3",
    "training.keep=last",
    "optimizer.name=sgd",
    "optimizer.lr=0.05",
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAGFORMER_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all batches that a backbone sees, but those of one image that look for its norms and shapes."""
    sizes: list[int] = []
    original = TinyBackbone.forward

    def forward(self: TinyBackbone, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        sizes.extend([len(images)] if len(images) > 1 else [])
        return original(self, images)

    monkeypatch.setattr(TinyBackbone, "forward", forward)
    return sizes


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param((), id="ctran"),
        pytest.param(("model.name=linear", "model.options={}"), id="linear"),
        pytest.param(("model.name=fpn", "model.options={width: 16, standardise: false}"), id="three maps"),
        pytest.param(("data.sampling=class_aware", "training.ema=0.9"), id="class-aware, average"),
    ],
)
def test_training_equals_that_without_remembered_features(
    tmp_path: Path, small_recipe: Recipes, overrides: tuple[str, ...]
) -> None:
    recipe = small_recipe(*AS_IN_EVALUATION, "data.remembered_views=1", *overrides)
    remembered = fit(recipe, tmp_path / "remembered")
    plain = fit(recipe, tmp_path / "plain", cache_gb=0)
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("remembered", "plain"))
    for name, weight in other.items():
        torch.testing.assert_close(one[name], weight, rtol=5e-3, atol=5e-4)
    for row, wanted in zip(remembered.rows, plain.rows, strict=True):
        assert row["loss"] == pytest.approx(wanted["loss"], rel=2e-3)
        assert row["val_loss"] == pytest.approx(wanted["val_loss"], rel=2e-3)


def test_mixup_blends_the_maps(tmp_path: Path, small_recipe: Recipes, monkeypatch: pytest.MonkeyPatch) -> None:
    blended: list[tuple[torch.Tensor, list[torch.Tensor]]] = []
    original = TrainingModule.encoded

    def kept(self: TrainingModule, inputs: Any, batch: Any) -> torch.Tensor:
        if self.training:
            blended.append((batch.maps[0].float(), list(inputs)))
        return original(self, inputs, batch)

    monkeypatch.setattr(TrainingModule, "encoded", kept)
    fit(small_recipe(FROZEN, "training.mixup=0.4"), tmp_path / "run")
    for maps, (mixed,) in blended:
        assert mixed.shape == maps.shape
        torch.testing.assert_close(mixed.mean(0), maps.mean(0), rtol=1e-3, atol=1e-4)  # each is once a partner
    assert any(not torch.equal(mixed, maps) for maps, (mixed,) in blended)


def test_each_image_is_seen_once_per_view_and_by_no_later_run(
    tmp_path: Path, small_recipe: Recipes, seen: list[int]
) -> None:
    messages: list[str] = []
    recipe = small_recipe(FROZEN, "training.epochs=3", "data.remembered_views=3")
    first = fit(recipe, tmp_path / "first", reporter=Reporter(message=messages.append))
    assert sum(seen) == 3 * len(first.train) + len(first.val)
    assert any(line.startswith("96 images x 3 views: ") for line in messages)
    seen.clear()
    fit(small_recipe(FROZEN, "optimizer.lr=0.01", "training.epochs=2"), tmp_path / "second")
    assert seen == []


def test_the_views_of_an_image_alternate(
    tmp_path: Path, small_recipe: Recipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[dict[int, bytes]] = []
    original = TrainingModule.training_step

    def kept(self: TrainingModule, batch: Any, batch_idx: int) -> Any:
        assert isinstance(batch, MapBatch)
        steps.append({row: maps.numpy().tobytes() for row, maps in zip(batch.indices, batch.maps[0], strict=True)})
        return original(self, batch, batch_idx)

    monkeypatch.setattr(TrainingModule, "training_step", kept)
    fit(small_recipe(FROZEN, "training.epochs=8"), tmp_path / "run")
    looks = [{step[row] for step in steps if row in step} for row in range(96)]
    assert {len(views) for views in looks} <= {1, 2}
    assert sum(len(views) == 2 for views in looks) > 90  # all but 1 in 2^7


@pytest.mark.parametrize("overrides", [(), ("training.mixup=0.4", "training.ema=0.9", "data.sampling=class_aware")])
def test_a_resumed_run_equals_an_uninterrupted_one(
    tmp_path: Path, small_recipe: Recipes, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...]
) -> None:
    recipe = small_recipe(FROZEN, "training.epochs=3", "training.checkpoint_steps=2", *overrides)
    fit(recipe, tmp_path / "whole")
    original = TrainingModule.training_step

    def crashing(self: TrainingModule, batch: Any, batch_idx: int) -> Any:
        if self.current_epoch == 1 and batch_idx == 3:
            raise RuntimeError("crash")
        return original(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingModule, "training_step", crashing)
        with pytest.raises(RuntimeError, match="crash"):
            fit(recipe, tmp_path / "broken")
    messages: list[str] = []
    fit(recipe, tmp_path / "broken", resume=True, reporter=Reporter(message=messages.append))
    assert sum("all there already" in line for line in messages) == 2  # the checkpoint's backbone, not a new one
    whole, broken = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "broken"))
    assert_same_weights(whole, broken)
    checkpoints = [
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("whole", "broken")
    ]
    assert_same_weights(*checkpoints)


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param(("optimizer.backbone_lr_factor=0.1",), id="backbone trained"),
        pytest.param((FROZEN, "data.remembered_views=0"), id="switched off"),
        pytest.param((FROZEN, "model.options.image=false"), id="no images"),
    ],
)
def test_nothing_is_remembered(tmp_path: Path, small_recipe: Recipes, overrides: tuple[str, ...]) -> None:
    fit(small_recipe(*overrides), tmp_path / "run")
    assert not (tmp_path / "cache").exists()


def test_without_room_training_goes_on_from_the_images(tmp_path: Path, small_recipe: Recipes) -> None:
    messages: list[str] = []
    fit(small_recipe(FROZEN), tmp_path / "run", reporter=Reporter(message=messages.append), cache_gb=1e-6)
    (line,) = [line for line in messages if "Training goes on without remembered features: " in line]
    assert "but --cache-gb allows 1 kB" in line
    assert (tmp_path / "run" / "model.safetensors").is_file()


def test_bad_images_are_left_out_of_training(tmp_path: Path, small_recipe: Recipes) -> None:
    from tests.helpers import write_folder

    table = write_folder(tmp_path / "images", 24)
    broken = tmp_path / "images" / "image-03.png"
    broken.write_bytes(broken.read_bytes()[:60])
    recipe = small_recipe(
        FROZEN, f"data.spec=csv:{table}", "data.batch_size=4", "data.on_bad_image=skip", "training.keep=last"
    )
    fitted = fit(recipe, tmp_path / "run")
    assert len(fitted.bad_images) == 1
    assert "image-03.png is broken" in min(fitted.bad_images)


def test_evaluation_simulation_and_similarity_use_what_training_remembered(
    tmp_path: Path, small_recipe: Recipes, seen: list[int]
) -> None:
    fit(small_recipe(FROZEN), tmp_path / "run")
    run, store = Run.load(tmp_path / "run"), FeatureStore()
    split = load_split(run, split="val")
    model = run.model()
    assert model.backbone.stages[0][0][1].__class__.__name__ == "Identity"  # folded, unlike that of training

    def results(store: FeatureStore | None) -> list[torch.Tensor]:
        options = EvaluationOptions(known_shares=(0, 0.5), draws=1, workers=0, store=store)
        evaluation = evaluate_run(run, split, options, reuse=False)
        preprocessing: Preprocessing = run.preprocessing(model.backbone)
        simulation = simulate(model, split.dataset, preprocessing, questions=2, workers=0, store=store)
        vectors = embed(model, split.dataset, preprocessing, workers=0, store=store).features
        return [evaluation.logits, torch.tensor(simulation.mean("uncertain").mAP), vectors]

    seen.clear()
    remembered = results(store)
    assert seen == []
    for one, other in zip(remembered, results(None), strict=True):
        torch.testing.assert_close(one, other, rtol=5e-3, atol=5e-3)
    assert sum(seen) == 3 * len(split.dataset)


def test_the_command_line_remembers_and_can_be_kept_from_it(
    tmp_path: Path, small_recipe: Recipes, tagformer: CommandLine
) -> None:
    small_recipe(FROZEN).save(tmp_path / "recipe.yaml")
    train = ("train", "--recipe", tmp_path / "recipe.yaml", "--out")
    code, out, _ = tagformer(*train, tmp_path / "off", "--cache-gb", "0")
    assert code == 0
    assert "remembered features" not in out
    assert not (tmp_path / "cache").exists()
    code, out, _ = tagformer(*train, tmp_path / "on")
    assert code == 0
    assert out.count(" of remembered features, ") == 3  # training, validation, test
    arguments = {"evaluate": (), "simulate": ("--out", tmp_path / "s"), "similar": ("--out", tmp_path / "s")}
    for command, options in arguments.items():
        everywhere = (command, tmp_path / "on", "--workers", "0", "--split", "test", *options)
        code, out, error = tagformer(*everywhere)
        assert "all there already" in out, (command, out, error)
        code, out, _ = tagformer(*everywhere, "--cache-gb", "0")
        assert "remembered" not in out
