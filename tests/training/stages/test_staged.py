"""Training in stages: the run after each, what is kept, and that a seed repeats it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tagformer.data import load_dataset
from tagformer.data.loader.loader import evaluation_loader
from tagformer.images.reading import open_picture
from tagformer.models.csra import CSRA
from tagformer.models.evidence import Evidence
from tagformer.recipes import Recipe, load_recipe
from tagformer.runs import Run
from tagformer.training import Reporter, fit
from tagformer.training.stages import staged
from tagformer.training.stages.heldout import HeldOut
from tagformer.training.stages.record import Record, Stage
from tests.helpers import CommandLine, assert_same_weights

Recipes = Callable[..., Recipe]
HEAD_ALONE = ("stages.evidence_epochs=0", "stages.deviations=[]", "stages.finetune=false")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def score_as(monkeypatch: pytest.MonkeyPatch, scores: dict[str, float]) -> None:
    """Give the stages these figures, whatever they reach."""
    of_logits, of_model = HeldOut.of_logits, HeldOut.of_model

    def scored(stage: Stage) -> Stage:
        score = scores.get(stage.name, stage.mAP)
        return Stage(stage.name, score, (score,) * 4, stage.seconds, stage.kept)

    monkeypatch.setattr(HeldOut, "of_logits", lambda *args, **options: scored(of_logits(*args, **options)))
    monkeypatch.setattr(HeldOut, "of_model", lambda *args: scored(of_model(*args)))


def test_the_head_alone_is_the_mean_of_the_heads(staged_recipe: Recipes, tmp_path: Path) -> None:
    fit(staged_recipe(*HEAD_ALONE), tmp_path / "run")
    run = Run.load(tmp_path / "run")
    model, saved = run.model(), load_file(tmp_path / "run" / "stages" / "heads.safetensors")
    assert saved["weight"].shape == (6, 14, 128), "a head for each fold, and one more without the held-out fold"
    dataset = load_dataset("scenes?images=60&faint=0", "test")
    transform = run.recipe.image.preprocessing(model.backbone)
    (batch,) = evaluation_loader(dataset, transform.transform, 64, 0, False)
    images = transform.normalise(batch.images)
    with torch.no_grad():
        logits = model(images).logits
        features = model.backbone(images)[-1].flatten(2)  # (B, C, P)
        features = (features - saved["mean"][:, None]) / saved["deviation"][:, None]
        single = []
        for weight in saved["weight"]:
            positions = weight @ features  # (B, L, P)
            single.append((positions.mean(2) + 0.5 * positions.amax(2)) / 1.5)
        expected = torch.stack(single).mean(0) + saved["bias"].mean(0)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    assert [stage.name for stage in Record.load(tmp_path / "run").stages] == ["head"]
    assert not (run.thresholds == 0.5).all(), "thresholds are chosen on out-of-fold logits"


@pytest.mark.parametrize("stages", [(), HEAD_ALONE])
def test_commands_use_a_run_in_stages(
    staged_recipe: Recipes, tmp_path: Path, tagformer: CommandLine, monkeypatch: pytest.MonkeyPatch, stages: tuple[str]
) -> None:
    score_as(monkeypatch, {"linear": 0.1, "head": 0.2, "co-occurrence": 0.2, "evidence": 0.3, "network": 0.4})
    out = tmp_path / "run"
    fit(staged_recipe(*stages), out)
    kept = [stage.name for stage in Record.load(out).stages if stage.kept]
    assert [name for name in kept if name != "co-occurrence"] == (
        ["head"] if stages else ["head", "evidence", "network"]
    )
    picture = tmp_path / "picture.png"
    pixels = open_picture(load_dataset("scenes?images=60", "test").images[0]).pixels()
    Image.fromarray(pixels.permute(1, 2, 0).numpy().copy()).save(picture)
    for command in (
        ("evaluate", out, "--workers", 0, "--known-share", "0,50", "--tuned"),
        ("predict", out, picture, "--known", "disc=yes"),
        ("explain", out, picture, "--labels", "disc", "--out", tmp_path / "why"),
        ("similar", out, picture, "--out", tmp_path / "similar", "--workers", 0),
        ("simulate", out, "--out", tmp_path / "simulated", "--workers", 0),
        ("tune", out, "--data", "scenes?images=400&faint=0", "--workers", 0),
    ):
        code, printed, error = tagformer(*command)
        assert code == 0, (command, printed, error)


def test_the_same_seed_gives_the_same_weights(staged_recipe: Recipes, tmp_path: Path) -> None:
    for name in ("one", "two"):
        fit(staged_recipe(), tmp_path / name)
    fit(staged_recipe("training.seed=1"), tmp_path / "other")
    assert_same_weights(weights(tmp_path / "one"), weights(tmp_path / "two"))
    assert not torch.equal(
        weights(tmp_path / "one")["classifier_weight"], weights(tmp_path / "other")["classifier_weight"]
    )


def test_a_run_s_recipe_repeats_it(staged_recipe: Recipes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    score_as(monkeypatch, {"head": 0.2, "co-occurrence": 0.2, "evidence": 0.3, "network": 0.4})
    fit(staged_recipe("stages.minutes=0.5"), tmp_path / "one")
    recipe = load_recipe(tmp_path / "one" / "recipe.yaml")
    assert recipe.stages is not None
    assert recipe.stages.minutes is None, "what was planned is in the recipe, and is not planned again"
    fit(recipe, tmp_path / "two")
    assert_same_weights(weights(tmp_path / "one"), weights(tmp_path / "two"))


def choose_prior(monkeypatch: pytest.MonkeyPatch, deviation: float | None) -> None:
    """Let this deviation be the best one of the co-occurrence's prior."""
    monkeypatch.setattr(staged, "choose_deviation", lambda *args: deviation)


def test_a_stage_that_is_not_better_leaves_the_model_as_it_was(
    staged_recipe: Recipes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose_prior(monkeypatch, None)
    fit(staged_recipe(*HEAD_ALONE), tmp_path / "head")
    score_as(monkeypatch, {"head": 0.5, "evidence": 0.5, "network": 0.5, "network alone": 0.9})
    fit(staged_recipe(), tmp_path / "run")
    record = Record.load(tmp_path / "run")
    assert {stage.name: stage.kept for stage in record.stages} == {
        "head": True,
        "co-occurrence": False,
        "evidence": False,
        "network alone": False,
        "network": False,
    }
    head, run = (weights(tmp_path / name) for name in ("head", "run"))
    assert_same_weights(head, run)
    assert not run["present_effect"].any()
    runs = [Run.load(tmp_path / name) for name in ("head", "run")]
    assert torch.equal(runs[0].thresholds, runs[1].thresholds)
    assert runs[0].temperature == runs[1].temperature
    assert runs[0].recipe.model == runs[1].recipe.model
    for run in runs:
        assert not run.model().encoder, "an encoder that does nothing costs time"


@pytest.mark.parametrize("few", [(), ("stages.encoder_images=61",)])
def test_cooccurrence_stays_where_an_encoder_is_not_better(
    staged_recipe: Recipes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: tuple[str, ...]
) -> None:
    choose_prior(monkeypatch, 2.0)
    score_as(monkeypatch, {"head": 0.3, "co-occurrence": 0.2, "evidence": 0.2})
    fit(staged_recipe("stages.finetune=false", *few), tmp_path / "run")
    assert ("evidence" in Record.load(tmp_path / "run")) == (not few), "with few images it is not tried"
    model, evidence_logits = Run.load(tmp_path / "run").model(), torch.zeros(1, 14)
    known = torch.full((1, 14), -1, dtype=torch.int8)
    known[0, 3] = 1
    assert isinstance(model, Evidence)
    assert not model.encoder
    assert model.present_effect is not None
    with torch.no_grad():
        assert torch.equal(model.decode(evidence_logits).logits, evidence_logits)
        change = model.decode(evidence_logits, known).logits
    torch.testing.assert_close(change[0], model.present_effect[3].detach())
    assert change.abs().max() > 0.03
    fit(load_recipe(tmp_path / "run" / "recipe.yaml"), tmp_path / "again")
    assert_same_weights(weights(tmp_path / "run"), weights(tmp_path / "again"))


def test_the_network_with_co_occurrence_alone(
    staged_recipe: Recipes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is scored with the co-occurrence that has not seen the held-out images, and kept with that of all."""
    choose_prior(monkeypatch, 2.0)
    score_as(monkeypatch, {"evidence": 0.1, "co-occurrence": 0.3, "network": 0.4})
    fit(staged_recipe(), tmp_path / "run")
    saved = load_file(tmp_path / "run" / "stages" / "cooccurrence.safetensors")
    run, unseen = weights(tmp_path / "run"), load_file(tmp_path / "run" / "stages" / "encoder.safetensors")
    assert torch.equal(run["present_effect"], saved["present_effect"])
    assert torch.equal(unseen["present_effect"], saved["unseen.present_effect"])
    assert not torch.equal(run["present_effect"], unseen["present_effect"])


def test_the_network_of_the_last_stage_with_the_encoder_before_it(
    staged_recipe: Recipes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score_as(monkeypatch, {"head": 0.2, "co-occurrence": 0.2, "evidence": 0.3})
    fit(staged_recipe("stages.finetune=false"), tmp_path / "before")
    score_as(monkeypatch, {"network": 0.4})
    fit(staged_recipe(), tmp_path / "run")
    before, after = weights(tmp_path / "before"), weights(tmp_path / "run")
    start, network = (weights(tmp_path / "run" / "stages" / name) for name in ("head", "finetune"))
    assert len(start["classifier_weight"]) == 3, "heads that have not seen the held-out images"
    assert len(after["classifier_weight"]) == 6, "all heads"
    change = 0.75 * (network["classifier_weight"] - start["classifier_weight"]).mean(0)
    assert (change != 0).any()
    heads = load_file(tmp_path / "before" / "stages" / "heads.safetensors")["weight"]
    torch.testing.assert_close(after["classifier_weight"], heads + change)
    bias = before["classifier_bias"] + 0.75 * (network["classifier_bias"] - start["classifier_bias"])
    torch.testing.assert_close(after["classifier_bias"], bias)
    for name, value in after.items():
        if name.startswith(("backbone.", "standardised.")):
            expected = (
                start[name] + 0.75 * (network[name] - start[name]) if value.is_floating_point() else network[name]
            )
            torch.testing.assert_close(value, expected, msg=name)
        elif not name.startswith("classifier_"):
            assert torch.equal(value, before[name]), name
    trained = [name for name, value in network.items() if name in before and not torch.equal(value, before[name])]
    assert any(name.startswith("backbone.") for name in trained)


def test_another_model_is_rejected_with_a_way_out(staged_recipe: Recipes, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="needs the model evidence, not csra: train it at once"):
        fit(staged_recipe("model.name=csra", "model.options={}"), tmp_path / "run")


def test_messages_of_a_run(staged_recipe: Recipes, tmp_path: Path) -> None:
    lines: list[str] = []
    fit(staged_recipe("stages.minutes=0.5"), tmp_path / "run", reporter=Reporter(lines.append))
    assert any(line.startswith("Plan for 0.5 minutes: features of 2 views") for line in lines)
    assert any(line.startswith("Head: mAP ") and "over 5 folds" in line for line in lines)


def test_no_time_for_the_network(staged_recipe: Recipes, tmp_path: Path) -> None:
    lines: list[str] = []
    fit(staged_recipe("stages.minutes=0.0001"), tmp_path / "run", reporter=Reporter(lines.append))
    assert any("no time to train the whole network" in line for line in lines), "the plan says so"
    assert any(line.startswith("No time is left to train the whole network") for line in lines)
    record, run = Record.load(tmp_path / "run"), Run.load(tmp_path / "run")
    assert "network" not in record
    assert not (tmp_path / "run" / "stages" / "finetune").exists()
    assert isinstance(run.model(), CSRA)


@pytest.mark.parametrize("setting", ["stages.deviations=[]", "known.label_mask_training=false"])
def test_without_co_occurrence_an_encoder_has_none_either(
    staged_recipe: Recipes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    score_as(monkeypatch, {"head": 0.2, "evidence": 0.3})
    fit(staged_recipe(setting, "stages.finetune=false"), tmp_path / "run")
    record = Record.load(tmp_path / "run")
    assert [stage.name for stage in record.stages if stage.kept] == ["head", "evidence"]
    run, model = weights(tmp_path / "run"), Run.load(tmp_path / "run").model()
    assert run["correction_weight"].any()
    assert not run["present_effect"].any()
    assert not run["absent_effect"].any()
    known = torch.full((2, 14), -1, dtype=torch.int8)
    known[1, 3] = 1
    nothing, something = model.decode(torch.zeros(2, 14), known).logits
    assert not torch.equal(nothing, something), "labels that are known act through the encoder"


def test_without_encoder_layers_each_label_has_a_gain_and_an_offset(
    staged_recipe: Recipes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score_as(monkeypatch, {"head": 0.2, "co-occurrence": 0.2, "evidence": 0.3})
    fit(staged_recipe("model.options.layers=0", "stages.finetune=false"), tmp_path / "run")
    run = weights(tmp_path / "run")
    assert not any(name.startswith("encoder.") for name in run)
    assert (run["gain"] != 1).any()
    assert run["correction_bias"].any()
