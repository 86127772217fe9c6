"""Own models, backbones and losses are tried before anything is written; every fault of them is one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tagformer.errors import TagformerError
from tagformer.recipes import Recipe
from tagformer.training import fit
from tests.own_parts import settings

Recipes = Callable[..., Recipe]


@pytest.mark.usefixtures("own_parts")
@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"model": "Empty"}, "encode is not defined"),
        ({"model": "Width"}, "its constructor must take label_space and backbone, then options with defaults (missing"),
        ({"model": "WithoutSuper"}, "begin its constructor with super().__init__(label_space, backbone)"),
        ({"model": "Raises"}, "its constructor failed: ValueError: needs two maps (own.py, line "),
        ({"model": "GivesTensor"}, "decode must return a ModelOutput, not a tensor of shape (2, 14)"),
        (
            {"model": "GivesThree"},
            "decode must return float logits of shape (B, L), here (2, 14), not a tensor of shap",
        ),
        ({"model": "GivesNan"}, "decode returns logits that are not finite numbers"),
        ({"model": "OnlyKnown"}, "'NoneType' object has no attribute 'float' (own.py, line "),
        ({"model": "EncodesTuple"}, "encode must return one tensor (B, ...) with as many rows as images, not a tuple"),
        ({"model": "Frozen"}, "has no weights that can be trained"),
        ({"backbone": "WithoutChannels"}, "channels must be a tuple with one positive whole number per feature map"),
        ({"backbone": "OneStride"}, "has 2 channels and 1 strides: both must have one number per feature map"),
        ({"backbone": "WithoutMean"}, "mean must be three numbers, for red, green and blue, not None"),
        ({"backbone": "ZeroStd"}, "std must be three numbers, for red, green and blue, each above 0, not (1.0, 0.0, "),
        ({"backbone": "OtherChannels"}, "feature map 0 must be of shape (B, 3, h, w) as channels describes it, not (2"),
        ({"backbone": "OneMap"}, "forward must return a tuple of feature maps, not a tensor"),
        ({"backbone": "Dictionary"}, "forward must return a tuple of feature maps, not a dict"),
        ({"loss": "per_entry"}, "the loss of a step must be a tensor with one number, not a tensor of shape (2, 14)"),
        ({"loss": "nothing"}, "the loss of a step must be a tensor with one number, not None"),
        ({"loss": "number"}, "the loss of a step must be a tensor with one number, not a float"),
        ({"loss": "detached"}, "the loss of a step does not depend on any weight"),
        ({"loss": "two_arguments"}, "got an unexpected keyword argument 'reduction'"),
        ({"loss": "ALoss"}, "'ALoss' is not a function"),
    ],
)
def test_a_fault_is_one_sentence_and_nothing_is_written(
    small_recipe: Recipes, tmp_path: Path, parts: dict[str, str], message: str
) -> None:
    (kind, name), run = next(iter(parts.items())), tmp_path / "run"
    with pytest.raises(TagformerError) as caught:
        fit(small_recipe(*settings(**{kind: f"own:{name}"})), run)
    assert str(caught.value).startswith(f"{kind} 'own:{name}'")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not run.exists()
