"""Heat maps of the models."""

from __future__ import annotations

import pytest
import torch

from tagformer.errors import TagformerError
from tagformer.models import MODELS
from tagformer.models.base import MultiLabelModel
from tagformer.models.feedback import FeedbackPropagation
from tests.small_models import images, small


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_model_has_a_map_for_each_requested_label(name: str) -> None:
    model = small(name)
    with torch.no_grad():
        maps, one = model.heat_maps(images(), [2, 0]), model.heat_maps(images()[1:], [0])
    side = {"cat": 16, "fpn": 16, "mltr": 2}.get(name, 4)  # P3 where the model has it
    assert maps.shape == (2, 2, side, side)
    assert not maps.requires_grad
    torch.testing.assert_close(maps[1:, 1:], one, rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_the_mean_of_a_class_activation_map_is_the_logit_of_the_linear_model() -> None:
    model = small("linear")
    maps = model.heat_maps(images(), range(4))
    torch.testing.assert_close(maps.mean(dim=(2, 3)) + model.output_bias, model(images()).logits)


def test_the_gradient_s_map_of_the_linear_model_is_its_class_activation_map() -> None:
    """Grad-CAM of a globally averaged map and a linear layer is the CAM over the number of positions, cut at zero."""
    model = small("linear")
    found = MultiLabelModel.heat_maps(model, images(), range(4))
    expected = model.heat_maps(images(), range(4)).clamp(min=0) / 16
    torch.testing.assert_close(found, expected.detach())
    with torch.no_grad():
        torch.testing.assert_close(MultiLabelModel.heat_maps(model, images(), range(4)), found)


@torch.no_grad()
def test_c_tran_s_map_is_its_attention_and_depends_on_known_labels() -> None:
    model = small("ctran")
    known = torch.tensor([[1, -1, -1, 0]] * 2, dtype=torch.int8)
    maps = model.heat_maps(images(), [3, 1], known)
    attention = model.attention(model.encode(images()), known)  # type: ignore[operator]
    expected = attention.mean(dim=(0, 2))[:, [16 + 3, 16 + 1], :16].reshape(2, 2, 4, 4)
    torch.testing.assert_close(maps, expected)
    assert not torch.allclose(maps, model.heat_maps(images(), [3, 1]))
    with pytest.raises(TagformerError, match="no heat maps"):
        small("ctran", image=False).heat_maps(images(), [0])


@torch.no_grad()
def test_feedback_propagation_shows_the_model_s_own_maps() -> None:
    model = small("linear")
    known = torch.tensor([[1, -1, -1, 0]] * 2, dtype=torch.int8)
    torch.testing.assert_close(
        FeedbackPropagation(model).heat_maps(images(), [1], known), model.heat_maps(images(), [1])
    )


@pytest.mark.parametrize(("name", "single"), [("cat", {"clf": False}), ("fpn", {"levels": 1})])
@torch.no_grad()
def test_the_map_of_a_single_level_is_its_classifier_at_every_position(name: str, single: dict[str, object]) -> None:
    model = small(name, **single, standardise=False)
    finest = model.pyramid_levels(model.backbone(images()))[0]  # type: ignore[operator]
    weight = model.classifiers[0].weight  # type: ignore[index,union-attr]
    found = model.heat_maps(images(), [3, 1])
    for row, column in ((0, 0), (1, 3)):
        for place, label in enumerate((3, 1)):
            torch.testing.assert_close(found[:, place, row, column], finest[:, :, row, column] @ weight[label])
