"""CAT: the rows of Table 3, its classifiers, its size, and its options."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch

from tagformer.backbones import create_backbone
from tagformer.errors import TagformerError
from tagformer.models import create_model
from tagformer.models.cat import CAT
from tagformer.models.fpn import FPN
from tests.models.contract import ModelContract

LABELS = 5
ROWS: dict[str, tuple[str, dict[str, Any]]] = {  # Table 3: the model and the options of each row
    "CAT": ("cat", {}),
    "CAT w/o LRD": ("cat", {"lrd": False}),
    "CAT w/o PMA": ("cat", {"attention": "full"}),
    "CAT w/o CLF": ("cat", {"clf": False}),
    "Backbone": ("linear", {}),
    "Backbone+FPN": ("fpn", {}),
}


class TestCAT(ModelContract):
    name = "cat"
    heat_map_side = 16


class TestCATWithFullAttention(ModelContract):
    name = "cat"
    options: ClassVar[dict[str, Any]] = {"attention": "full", "norm_first": False, "standardise": False}
    heat_map_side = 16


def cat(seed: int = 0, **options: Any) -> CAT:
    torch.manual_seed(seed)
    model = create_model("cat", LABELS, "tiny", **{"width": 16, "heads": 4, **options})
    assert isinstance(model, CAT)
    return model.eval()


def test_the_classifiers_read_standardised_maxima() -> None:
    """Mean 0 and variance 1 over the batches in training; then part of the linear layer, also in the heat maps."""
    model, images = cat(), torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    pooled = model.encode(images)
    for standard in model.standards:
        standard.momentum = 1.0
    model.train().decode(pooled)
    model.eval()
    means, variances = pooled.mean(dim=0), pooled.var(dim=0)
    expected = model.output_bias.expand(6, LABELS)
    for level, classifier in enumerate(model.classifiers):
        standard = (pooled[:, level] - means[level]) / (variances[level] + 1e-5).sqrt()
        expected = expected + standard @ classifier.weight.T
    torch.testing.assert_close(model.decode(pooled).logits, expected, rtol=1e-4, atol=1e-4)
    total = torch.zeros(6, 16, 16)
    for number, level in enumerate(model.pyramid_levels(model.backbone(images))):
        weight = model.classifiers[number].weight[2] / (variances[number] + 1e-5).sqrt()
        heat = torch.einsum("c,bchw->bhw", weight, level).unsqueeze(1)
        total += torch.nn.functional.interpolate(heat, size=(16, 16), mode="bilinear")[:, 0]
    torch.testing.assert_close(model.heat_maps(images, [2])[:, 0], total, rtol=1e-4, atol=1e-4)
    single = model.train().decode(pooled[:1]).logits  # a batch of one is standardised with the running statistics
    torch.testing.assert_close(single, model.eval().decode(pooled[:1]).logits)


@torch.no_grad()
@pytest.mark.parametrize("row", ROWS)
def test_every_row_of_table_3_is_an_option(row: str) -> None:
    name, options = ROWS[row]
    torch.manual_seed(0)
    small = {} if name == "linear" else {"width": 16}
    model = create_model(name, LABELS, "tiny", **small, **options).eval()
    images = torch.randn(2, 3, 32, 32)
    assert model(images).logits.shape == (2, LABELS)
    if isinstance(model, FPN):
        sizes = [tuple(level.shape) for level in model.pyramid_levels(model.backbone(images))]
        assert sizes == [(2, 16, 16, 16), (2, 16, 8, 8), (2, 16, 4, 4)][-model.levels :]
        assert model.levels == (1 if row == "CAT w/o CLF" else 3)
    if isinstance(model, CAT):
        assert len(model.long_range_dependencies) == (0 if row == "CAT w/o LRD" else 2)
        assert len(model.cross_layer_fusion) == model.levels - 1


@torch.no_grad()
def test_without_clf_only_the_coarsest_level_is_classified() -> None:
    """P_r5 is the same with and without CLF."""
    model, alone, images = cat(), cat(clf=False), torch.randn(2, 3, 32, 32)
    alone.load_state_dict(
        {
            name.replace("inner_blocks.2", "inner_blocks.0").replace("layer_blocks.2", "layer_blocks.0"): value
            for name, value in model.state_dict().items()
            if not name.startswith(("cross_layer_fusion", "classifiers.1", "classifiers.2", "pyramid.inner_blocks.0"))
            and not name.startswith(("standards.1", "standards.2"))
            and not name.startswith(("pyramid.inner_blocks.1", "pyramid.layer_blocks.0", "pyramid.layer_blocks.1"))
        }
    )
    assert torch.allclose(
        alone.pyramid_levels(alone.backbone(images))[0], model.pyramid_levels(model.backbone(images))[-1], atol=1e-6
    )


def test_the_full_size_model_has_the_layers_of_the_paper() -> None:
    """ResNeXt-50, 1024 channels, two encoder layers, two fusions, three classifiers of 80 labels; counted by hand."""
    backbone = create_backbone("resnext50_32x4d", pretrained=False)
    with torch.device("meta"):
        model = CAT(create_model("linear", 80, "tiny").label_space, backbone)
    channels, width = (512, 1024, 2048), 1024
    lateral = sum(c * width + width for c in channels)
    output = 3 * (9 * width * width + width)
    layer = 4 * (width * width + width) + 2 * (2 * width * width) + 3 * width + 4 * width
    classifiers = 3 * 80 * width + 80
    parameters = sum(p.numel() for name, p in model.named_parameters() if not name.startswith("backbone"))
    assert parameters == lateral + output + 4 * layer + classifiers


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"heads": 3}, "cat: 3 heads do not divide the width 16"),
        ({"heads": 0}, "model 'cat', option heads=0: input should be greater than or equal to 1"),
        ({"width": 0}, "option width=0"),
        ({"dropout": 1.0}, "option dropout=1.0: input should be less than 1"),
        ({"lrd": "perhaps"}, "option lrd=perhaps: input should be a valid boolean"),
        ({"attention": None}, "option attention=None: input should be a valid string"),
        ({"attention": "pre-max"}, "cat: attention pre-max (did you mean 'pre_max'?)"),
    ],
)
def test_options_out_of_range_are_rejected(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(TagformerError) as error:
        cat(**options)
    assert sentence in str(error.value)


def test_a_backbone_with_too_few_maps_is_rejected() -> None:
    backbone = create_backbone("tiny")
    backbone.channels = backbone.channels[-2:]
    with pytest.raises(TagformerError, match="the backbone has only 2 feature maps"):
        create_model("cat", LABELS, backbone)
