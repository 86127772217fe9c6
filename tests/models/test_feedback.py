"""Known labels for models that were trained without them, by gradient steps on their features."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from tagformer.labels import UNKNOWN
from tagformer.models import create_model
from tagformer.models.feedback import FeedbackPropagation
from tagformer.recipes import Recipe
from tagformer.training.fitting import fit
from tests.helpers import CommandLine

KNOWN = torch.tensor([[1, -1, 0], [-1, -1, -1], [-1, 0, -1]], dtype=torch.int8)


def test_one_step_on_a_linear_model_is_the_gradient_step_worked_by_hand() -> None:
    torch.manual_seed(0)
    linear = create_model("linear", ["a", "b", "c"], "tiny").eval()
    features = torch.randn(3, 128)
    weight, bias = linear.classifier.weight, linear.classifier.bias
    logits = features @ weight.T + bias
    gradient = (torch.sigmoid(logits) - KNOWN) * (KNOWN != UNKNOWN)  # of the loss, by the logits
    variance = features.var(1, correction=0, keepdim=True)
    expected = (features - 0.2 * variance * (gradient @ weight)) @ weight.T + bias
    with torch.inference_mode():
        moved = FeedbackPropagation(linear, steps=1, rate=0.2).decode(features, KNOWN).logits
    torch.testing.assert_close(moved, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(moved[1], logits[1])  # has no known labels


@pytest.mark.parametrize("name", ["linear", "ctran"])
def test_known_labels_are_predicted_better_and_weights_do_not_change(name: str) -> None:
    torch.manual_seed(0)
    model = create_model(name, ["a", "b", "c"], "tiny").eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    feedback = FeedbackPropagation(model, steps=20, rate=5.0).eval()
    assert feedback.uses_known
    with torch.inference_mode():
        features = feedback.encode(torch.randn(3, 3, 32, 32))
        plain, moved = model.decode(features).logits, feedback.decode(features, KNOWN).logits
        assert torch.equal(feedback.decode(features).logits, plain)
        alone = feedback.decode(features[:1], KNOWN[:1]).logits
    assert moved[0, 0] > plain[0, 0]
    assert moved[0, 2] < plain[0, 2]
    assert moved[2, 1] < plain[2, 1]
    assert moved[0, 1] != plain[0, 1]  # unknown labels change too
    torch.testing.assert_close(alone[0], moved[0], atol=1e-5, rtol=1e-5)  # independent of the rest of the batch
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])
    assert all(parameter.grad is None for parameter in model.parameters())


def test_any_run_can_use_known_labels_on_the_command_line(
    tagformer: CommandLine, small_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    fit(small_recipe("model.name=linear", "model.options={}"), run)
    code, output, _ = tagformer("evaluate", run, "--known", "0,50", "--workers", 0, "--draws", 1)
    assert code == 0
    assert "does not use known labels, so the curve is flat; try --feedback" in output
    flat = json.loads((run / "metrics.json").read_text())["known"]
    code, output, _ = tagformer("evaluate", run, "--known", "0,50", "--workers", 0, "--draws", 1, "--feedback")
    assert code == 0
    assert "flat" not in output
    moved_run = json.loads((run / "metrics.json").read_text())["known"]
    assert moved_run["scored"] == flat["scored"]
    (flat_none, flat_half), (none, half) = ([point["mAP"] for point in curve["curve"]] for curve in (flat, moved_run))
    assert flat_none == flat_half == none
    assert half != none

    Image.new("RGB", (40, 40), (200, 30, 30)).save(tmp_path / "a.png")
    code, _, error = tagformer("predict", run, tmp_path / "a.png", "--known", "ring=yes")
    assert code == 2
    assert "use --feedback" in error
    code, output, error = tagformer("predict", run, tmp_path / "a.png", "--known", "ring=yes", "--feedback")
    assert code == 0, error
    assert "ring" in output
