"""Starting from another run: everything but the heads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tagformer.errors import TagformerError
from tagformer.initial import start_from_run
from tagformer.labels import LabelSpace
from tagformer.recipes import Recipe
from tagformer.run import model_from_recipe, write_labels, write_weights


def run_of(folder: Path, model: str, labels: tuple[str, ...], seed: int = 0, **values: object) -> Path:
    """A run folder with random weights."""
    torch.manual_seed(seed)
    recipe = recipe_of(model, **values)
    folder.mkdir()
    recipe.save(folder / "recipe.yaml")
    space = LabelSpace(labels)
    write_labels(folder, space)
    write_weights(folder, model_from_recipe(recipe, space).state_dict())
    return folder


def recipe_of(model: str, backbone: str = "tiny", size: int = 64, **options: object) -> Recipe:
    network = {"name": backbone, "pretrained": False}
    return Recipe.checked(
        {"image": {"size": size}, "model": {"name": model, "backbone": network, "options": options}}, "a test"
    )


def test_everything_moves_but_what_belongs_to_the_labels(tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run", "ctran", ("a", "b", "c"), width=32, layers=1)
    torch.manual_seed(1)
    model = model_from_recipe(recipe_of("ctran", width=32, layers=1), LabelSpace(("x", "y", "z")))
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    count = start_from_run(model, folder)
    state = load_file(folder / "model.safetensors")
    own = {name for name in before if name.startswith(("label_embedding", "state_embedding", "classifier_"))}
    assert len(own) == 4
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name] if name in own else state[name]), name
    assert count == sum(weight.numel() for name, weight in state.items() if name not in own)


def test_the_backbone_moves_between_models(tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run", "linear", ("a", "b"))
    torch.manual_seed(1)
    model = model_from_recipe(recipe_of("ctran", width=32), LabelSpace(("x", "y", "z")))
    start_from_run(model, folder)
    state = load_file(folder / "model.safetensors")
    for name, weight in model.backbone.state_dict().items():
        assert torch.equal(weight, state[f"backbone.{name}"])


def test_an_mltr_moves_to_another_image_size(tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run", "mltr", ("a", "b"), backbone="mltr_tiny")
    model = model_from_recipe(recipe_of("mltr", backbone="mltr_tiny", size=96), LabelSpace(("x", "y", "z")))
    start_from_run(model, folder)
    state, own = load_file(folder / "model.safetensors"), model.state_dict()
    assert torch.equal(own["token"], state["token"])
    table = "backbone.stages.0.0.attention.table"
    assert own[table].shape != state[table].shape
    torch.testing.assert_close(own[table].mean(), state[table].mean(), atol=5e-3, rtol=0)


def test_another_backbone_is_refused(tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run", "linear", ("a", "b"))
    model = model_from_recipe(recipe_of("linear", backbone="mltr_tiny"), LabelSpace(("a", "b")))
    with pytest.raises(TagformerError, match="has another backbone, tiny"):
        start_from_run(model, folder)
