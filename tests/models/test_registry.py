"""Models by name, and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tagformer.backbones import Backbone
from tagformer.data.dataset import MultiLabelDataset
from tagformer.errors import TagformerError
from tagformer.labels import LabelSpace
from tagformer.models import MODELS, Linear, create_model, list_models, model_class


def test_models_are_created_by_name_with_any_form_of_labels() -> None:
    assert list_models() == sorted(MODELS)
    space = LabelSpace(("cat", "dog", "night"), extra=("night",))
    assert create_model("linear", space, "tiny").label_space is space
    assert create_model("linear", ["cat", "dog"], "tiny").label_space.names == ("cat", "dog")
    assert len(create_model("linear", 4, "tiny").label_space) == 4


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ctrans", {}, r"unknown model 'ctrans' \(did you mean 'ctran'\?\) \(models: .*ctran.*linear.*or your own"),
        ("ctran", {"widht": 3}, r"model 'ctran' has no option 'widht' \(did you mean 'width'\?\)"),
        ("linear", {"heads": 3}, "model 'linear' has no option 'heads'"),
        ("ctran", {"width": 10, "heads": 4}, "4 heads do not divide the width 10"),
        ("ctran", {"image_share": 1.0}, "image_share must lie between 0 and 1, not 1.0"),
    ],
)
def test_impossible_models_are_rejected(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(TagformerError, match=message):
        create_model(name, 3, "tiny", **options)


def test_options_are_those_of_the_constructor() -> None:
    assert MODELS["ctran"].options() == {
        "width": None,
        "layers": 3,
        "heads": 4,
        "feedforward": None,
        "state_embedding": "additive",
        "position": "none",
        "image": True,
        "dropout": 0.1,
        "attention_dropout": None,
        "image_dropout": 0.0,
        "image_share": None,
        "attention_gain": 1.0,
        "latents": 0,
    }


class WithoutHints(Linear):
    """A model of the user, one of whose options has no type hint."""

    def __init__(self, label_space: LabelSpace, backbone: Backbone, gain=2.0) -> None:  # type: ignore[no-untyped-def]
        super().__init__(label_space, backbone)
        self.gain = gain


def test_a_reference_is_a_model() -> None:
    name = f"{__name__}:WithoutHints"
    assert model_class(name) is WithoutHints
    model = create_model(name, ["cat"], "tiny", gain=3.0)
    assert type(model) is WithoutHints
    assert model.gain == 3.0
    assert model.label_space.names == ("cat",)
    with pytest.raises(TagformerError, match=r"has no option 'gian' .did you mean 'gain'.* .options: gain"):
        create_model(name, 3, "tiny", gian=3.0)


def test_a_reference_to_something_else_is_rejected() -> None:
    with pytest.raises(TagformerError, match=r"'LabelSpace' is not a subclass of tagformer\.models\.base\.MultiLabel"):
        create_model("tagformer.labels:LabelSpace", 3)
    with pytest.raises(TagformerError, match="there is no module 'nowhere'"):
        model_class("nowhere:Model")


@pytest.mark.parametrize("name", ["linear", "ctran"])
def test_a_model_can_start_from_the_labels_frequencies(name: str) -> None:
    model = create_model(name, 3, "tiny", **({"width": 16, "heads": 2} if name == "ctran" else {})).eval()
    labels = torch.tensor([[1, 0, -1], [1, 0, -1], [0, 0, 1], [1, -1, -1]], dtype=torch.int8)
    data = MultiLabelDataset("four images", model.label_space, [Path("unread.jpg")] * 4, labels, list("abcd"))
    before = model(torch.zeros(1, 3, 64, 64)).logits - model.output_bias
    model.start_from_frequencies(data.frequencies)
    # (3 + .5) / (4 + 1), (0 + .5) / (3 + 1), (1 + .5) / (1 + 1)
    torch.testing.assert_close(torch.sigmoid(model.output_bias), torch.tensor([0.7, 0.125, 0.75]))
    torch.testing.assert_close(model(torch.zeros(1, 3, 64, 64)).logits - model.output_bias, before)
