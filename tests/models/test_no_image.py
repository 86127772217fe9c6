"""Models of labels alone: no image is read, and no image file needs to exist."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tagformer.errors import BadImageError
from tagformer.evaluation import EvaluationOptions, evaluate_model
from tagformer.evaluation.run_evaluation import evaluate_run, load_split
from tagformer.images import Preprocessing
from tagformer.labels import UNKNOWN
from tagformer.labels.masking import draw_known, draw_order
from tagformer.metrics import average_precision
from tagformer.models import create_model
from tagformer.recipes import load_recipe
from tagformer.runs.run import Run
from tagformer.training.fitting import fit


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """120 images that do not exist; 'b' is always equal to 'a', 'c' is independent."""
    lines = ["path,split,a,b,c"]
    for number in range(120):
        a, c = number % 2, number // 2 % 2
        lines.append(f"gone-{number}.jpg,{'train' if number < 60 else 'val' if number < 90 else 'test'},{a},{a},{c}")
    file = tmp_path / "labels.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def test_labels_alone_are_trained_on_and_scored_without_any_image(table: Path, tmp_path: Path) -> None:
    recipe = load_recipe("labels-ctran").overridden(
        [
            "training.epochs=3",
            "data.batch_size=8",
            "model.options.width=16",
            "model.options.dropout=0",
            "optimizer.lr=1e-2",
            f"data.spec={table}",
        ]
    )
    fitted = fit(recipe, tmp_path / "run")
    run = Run.load(fitted.folder)
    assert not run.uses_image
    data = load_split(run)
    assert len(data.dataset) == 30
    assert not any(Path(str(image)).exists() for image in data.dataset.images)
    evaluation = evaluate_run(run, data)
    assert (evaluation.logits == evaluation.logits[0]).all()  # without known labels all images have the same logits
    assert evaluation.bad == ()
    model = run.model()
    known = data.dataset.labels.clone()
    known[:, 1:] = UNKNOWN
    precisions = average_precision(model(torch.zeros(30, 3, 1, 1), known).logits, data.dataset.labels)
    assert precisions[1] == 1  # 'b' follows from 'a'
    assert precisions[2] < 0.8  # 'c' does not


def test_half_of_the_labels_are_known_in_validation_without_images(table: Path, tmp_path: Path) -> None:
    recipe = load_recipe("labels-ctran").overridden(["training.epochs=2", f"data.spec={table}"])
    assert recipe.known_share_in_validation == 0.5
    assert load_recipe("scenes-ctran").known_share_in_validation == 0.0
    assert recipe.overridden(["known.validation=0.25"]).known_share_in_validation == 0.25
    fitted = fit(recipe.overridden(["model.options.width=16"]), tmp_path / "run")
    val = fitted.val
    known, targets = draw_known(val.labels, draw_order(val.ids, val.label_space), 0.5, "unknown")
    best = max(fitted.rows, key=lambda row: row["val_mAP"])
    model = Run.load(fitted.folder).model()
    with torch.inference_mode():
        precisions = average_precision(model(torch.zeros(len(val), 3, 1, 1), known).logits, targets)
    assert best["val_mAP"] == pytest.approx(precisions.nanmean().item(), abs=1e-6)


def test_a_model_that_uses_images_still_rejects_missing_ones(table: Path, tmp_path: Path) -> None:
    recipe = load_recipe("labels-ctran").overridden([f"data.spec={table}", "model.options.image=true"])
    with pytest.raises(BadImageError, match=r"none of the 60 image files exists: 'gone-0\.jpg'"):
        fit(recipe, tmp_path / "run")


def test_there_is_no_attention_bias_without_an_image() -> None:
    torch.manual_seed(0)
    model = create_model("ctran", ["a", "b"], "tiny", width=16, layers=1, image=False, image_share=0.8).eval()
    assert not model.uses_image
    assert model.encode(torch.zeros(3, 3, 1, 1)).shape == (3, 0, 16)
    assert model(torch.zeros(3, 3, 1, 1)).logits.shape == (3, 2)


def test_known_labels_curve_without_images(table: Path) -> None:
    from tagformer.data import load_dataset

    torch.manual_seed(0)
    dataset = load_dataset(f"csv:{table}", "test", on_bad_image="keep")
    model = create_model("ctran", dataset.label_space, "tiny", width=16, layers=1, image=False)
    options = EvaluationOptions(known_shares=(0.0, 0.34), draws=1, scored="unknown", workers=0)
    curve = evaluate_model(model, dataset, Preprocessing(size=224), options)
    assert curve.known[0].mAP != curve.known[1].mAP
