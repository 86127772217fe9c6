"""Training in stages on small, skewed and damaged data."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tagformer.errors import BadImageError, DoesNotFitError, TagformerError
from tagformer.features.store import FeatureStore
from tagformer.recipes import Recipe
from tagformer.runs import Run
from tagformer.training import Fitted, Reporter, fit
from tagformer.training.stages import room, staged, staged_heads
from tagformer.training.stages.record import Record
from tests.helpers import CommandLine

Recipes = Callable[..., Recipe]


def write_table(
    folder: Path, labels: np.ndarray, space: dict[str, object] | None = None, val: np.ndarray | None = None
) -> str:
    """Write a picture for each row of labels (N, L) in {1, 0, -1}, and a table for each split; the data's address."""
    folder.mkdir()
    names = [f"label {number}" for number in range(labels.shape[1])]
    draw = np.random.default_rng(0)
    for split, states in {"train": labels, "test": labels[:20], "val": val}.items():
        lines = [",".join(["path", *names])]
        for number, row in enumerate([] if states is None else states):
            name = f"{split}-{number}.png"
            Image.fromarray(draw.integers(0, 256, (32, 40, 3), dtype=np.uint8)).save(folder / name)
            lines.append(",".join([name, *("" if state < 0 else str(state) for state in row)]))
        if states is not None:
            (folder / f"{split}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "labels.json").write_text(json.dumps({"names": names, **(space or {})}), encoding="utf-8")
    return f"csv:{folder}"


def random_labels(images: int, frequencies: Sequence[float], seed: int = 0) -> np.ndarray:
    """int8 (N, L)."""
    draw = np.random.default_rng(seed)
    return (draw.random((images, len(frequencies))) < np.array(frequencies)).astype(np.int8)


def train(recipe: Recipe, out: Path, **options: float) -> tuple[Fitted, list[str]]:
    lines: list[str] = []
    return fit(recipe, out, reporter=Reporter(lines.append), **options), lines  # type: ignore[arg-type]


def assert_finite(out: Path) -> None:
    """The weights, the thresholds and the probabilities are numbers, and so are the figures of the stages."""
    run = Run.load(out)
    assert all(value.isfinite().all() for value in run.state().values() if value.is_floating_point())
    assert run.thresholds.isfinite().all()
    assert math.isfinite(run.temperature)
    for stage in Record.load(out).stages:
        assert math.isfinite(stage.mAP), stage


@pytest.fixture
def skewed() -> np.ndarray:
    """70 images with 80 labels: one always and one never present, most of them rare, one with three positives."""
    labels = random_labels(70, [0.3] * 10 + [0.04] * 70)
    labels[:, 0], labels[:, 1] = 1, 0
    labels[:, 2] = 0
    labels[[3, 30, 60], 2] = 1
    return labels


def test_seventy_images_with_eighty_labels(
    staged_recipe: Recipes, tmp_path: Path, skewed: np.ndarray, tagformer: CommandLine
) -> None:
    spec = write_table(tmp_path / "data", skewed)
    grid = ("stages.weights=[0.0, 0.5]", "stages.decays=[0.05, 5.0]")
    train(staged_recipe(f"data.spec={spec}", "stages.folds=8", *grid), tmp_path / "run")
    assert_finite(tmp_path / "run")
    assert [stage.name for stage in Record.load(tmp_path / "run").stages][:2] == ["linear", "head"]
    thresholds = Run.load(tmp_path / "run").thresholds
    rare = torch.from_numpy((skewed == 1).sum(0)) < 10
    common = thresholds[rare].unique()
    assert len(common) == 1, "labels with fewer than 10 positives have one threshold"
    assert common.item() != 0.5
    assert len(thresholds[~rare].unique()) > 3
    code, _, error = tagformer("evaluate", tmp_path / "run", "--workers", 0, "--tuned")
    assert code == 0, error


def test_a_single_rare_label_may_have_no_held_out_figure(staged_recipe: Recipes, tmp_path: Path) -> None:
    labels = np.zeros((40, 1), dtype=np.int8)
    labels[:3] = 1
    recipe = staged_recipe(f"data.spec={write_table(tmp_path / 'data', labels)}", "stages.folds=8")
    for seed in range(4):
        out = tmp_path / f"run {seed}"
        _, lines = train(recipe.overridden([f"training.seed={seed}"]), out)
        record = Record.load(out)
        if math.isnan(record["head"].mAP):
            assert "evidence" not in record
            assert "network" not in record
            assert any("None of the held-out images has a label" in line for line in lines)
        else:
            assert "network" in record
        assert torch.isfinite(Run.load(out).thresholds).all()


def test_one_frequent_label(staged_recipe: Recipes, tmp_path: Path) -> None:
    spec = write_table(tmp_path / "data", random_labels(40, [0.5]))
    train(staged_recipe(f"data.spec={spec}"), tmp_path / "run")
    assert_finite(tmp_path / "run")


def test_unknown_and_extra_labels_and_groups(
    staged_recipe: Recipes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = random_labels(60, [0.4] * 6)
    labels[np.random.default_rng(1).random(labels.shape) < 0.3] = -1
    space = {"extra": ["label 0"], "groups": {"some": ["label 1", "label 2"]}}
    spec = write_table(tmp_path / "data", labels, space)
    seen: list[torch.Tensor] = []
    choose = staged.choose_thresholds
    monkeypatch.setattr(staged, "choose_thresholds", lambda x, y: seen.append(y) or choose(x, y))
    train(staged_recipe(f"data.spec={spec}"), tmp_path / "run")
    assert_finite(tmp_path / "run")
    assert all((y[:, 0] == -1).all() for y in seen), "extra labels are not scored"


def test_bad_images_and_copies(staged_recipe: Recipes, tmp_path: Path, tagformer: CommandLine) -> None:
    spec = write_table(tmp_path / "data", random_labels(60, [0.4] * 6))
    for number in (1, 7, 30):
        (tmp_path / "data" / f"train-{number}.png").write_bytes(b"no image")
    for number in (41, 42, 43):
        (tmp_path / "data" / f"train-{number}.png").write_bytes((tmp_path / "data" / "train-40.png").read_bytes())
    recipe = staged_recipe(f"data.spec={spec}")
    with pytest.raises(BadImageError, match=r"train-1\.png"):
        train(recipe, tmp_path / "none")
    fitted, _ = train(recipe.overridden(["data.on_bad_image=skip"]), tmp_path / "run")
    assert len(fitted.bad_images) == 3
    assert_finite(tmp_path / "run")
    code, printed, error = tagformer("train", "--resume", "--out", tmp_path / "run")
    assert code == 0, error
    assert "3 bad images were left out" in printed


def test_fewer_images_than_folds(staged_recipe: Recipes, tmp_path: Path) -> None:
    labels = np.array([[1, 0], [0, 1], [1, 1], [1, 0], [0, 1]], dtype=np.int8)
    recipe = staged_recipe(f"data.spec={write_table(tmp_path / 'data', labels)}", "stages.folds=8", "data.batch_size=2")
    _, lines = train(recipe, tmp_path / "run")
    assert "There are only 5 different images: they are 5 folds." in lines
    assert Run.load(tmp_path / "run").recipe.stages.folds == 5  # type: ignore[union-attr]
    one = write_table(tmp_path / "one", labels[:1])
    with pytest.raises(TagformerError, match="needs at least two different images"):
        train(recipe.overridden([f"data.spec={one}"]), tmp_path / "none")


def test_images_for_validation_are_not_trained_on(staged_recipe: Recipes, tmp_path: Path) -> None:
    labels = random_labels(40, [0.4] * 4)
    values = {"same": labels[:10], "opposite": 1 - labels[:10]}
    specs = [write_table(tmp_path / name, labels, val=states) for name, states in values.items()]
    states = []
    for spec in specs:
        out = tmp_path / f"run of {Path(spec).name}"
        _, lines = train(staged_recipe(f"data.spec={spec}"), out)
        assert any("10 images of the validation split are not used" in line for line in lines)
        states.append(Run.load(out).state())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


@pytest.mark.parametrize("cache_gb", [0.0, 1e-6])
def test_features_without_room_lie_in_the_run_until_the_head_is_trained(
    staged_recipe: Recipes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache_gb: float
) -> None:
    own = tmp_path / "run" / "stages" / "features"
    sizes: list[int] = []
    fit_heads = staged_heads.fit_heads

    def looking(*arguments: object, **options: object) -> object:
        sizes.append(sum(file.stat().st_size for file in own.rglob("*") if file.is_file()))
        return fit_heads(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(staged_heads, "fit_heads", looking)
    _, lines = train(staged_recipe("stages.sizes=[32, 48]"), tmp_path / "run", cache_gb=cache_gb)
    assert sizes[0] > 100_000
    assert not own.exists()
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.is_file() and file.stat().st_size]
    assert any("until the head is trained" in line for line in lines) == bool(cache_gb)
    train(staged_recipe("stages.sizes=[32, 48]"), tmp_path / "remembered")
    left, right = (Run.load(tmp_path / name).state() for name in ("run", "remembered"))
    assert all(torch.equal(value, right[name]) for name, value in left.items())


def test_features_without_room_are_removed_when_training_stops(
    staged_recipe: Recipes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: object, **options: object) -> None:
        assert (tmp_path / "run" / "stages" / "features").is_dir()
        raise KeyboardInterrupt

    for place in ("fit_heads", "draw_folds"):
        with monkeypatch.context() as stopping:
            stopping.setattr(staged_heads, place, stop)
            with pytest.raises(TagformerError, match="stopped"):
                fit(staged_recipe(), tmp_path / "run", resume=place == "draw_folds", cache_gb=0)
        assert not (tmp_path / "run" / "stages" / "features").exists()


def test_features_that_fit_nowhere_are_one_sentence(
    staged_recipe: Recipes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 1000})())
    with pytest.raises(DoesNotFitError, match="half of the free disk space"):
        fit(staged_recipe(), tmp_path / "run", cache_gb=0)
    assert not (tmp_path / "run" / "stages" / "features").exists()


def test_the_room_goes_on_in_the_run_folder(tmp_path: Path) -> None:
    stores: list[FeatureStore] = []

    def work(store: FeatureStore) -> int:
        stores.append(store)
        if store.limit_gb < math.inf:
            raise DoesNotFitError("no room")
        return 7

    left = tmp_path / "stages" / "features" / "of a killed process"
    left.mkdir(parents=True)
    lines: list[str] = []
    of_run = room.FeatureRoom(tmp_path, 1.0, lines.append)
    assert not left.exists()
    assert of_run.use(work) == 7
    assert of_run.use(work) == 7
    assert [store.limit_gb for store in stores] == [1.0, math.inf, math.inf]
    assert len(lines) == 1
