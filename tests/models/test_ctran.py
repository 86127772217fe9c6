"""C-Tran: known labels, positions, dropout and its options."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from tagformer.backbones import Backbone
from tagformer.errors import TagformerError
from tagformer.labels import LabelSpace
from tagformer.models import CTran, create_model
from tagformer.recipes.settings import OptimizerSettings
from tagformer.training.optim import create_optimizer
from tests.models.contract import ModelContract
from tests.small_models import images, nothing_known, small, some_known

LABELS = 6


class TestCTran(ModelContract):
    name = "ctran"


class TestCTranBeyondThePaper(ModelContract):
    name = "ctran"
    options: ClassVar[dict[str, Any]] = {"state_embedding": "per_label", "position": "sine", "image_share": 0.5}


class TestCTranWithoutImages(ModelContract):
    name = "ctran"
    options: ClassVar[dict[str, Any]] = {"image": False}


def ctran(**options: Any) -> CTran:
    """A small C-Tran, in training mode."""
    model = small("ctran", LABELS, **{"layers": 2, **options})
    assert isinstance(model, CTran)
    return model.train()


@torch.no_grad()
def test_positional_encodings_distinguish_image_tokens() -> None:
    """A mirrored feature map has the same logits without a positional encoding, and other logits with one."""

    class Given(Backbone):
        channels, strides = (8,), (32,)

        def forward(self, images: Tensor) -> tuple[Tensor, ...]:
            return (images,)

    for position, same in (("none", True), ("sine", False), ("learned", False)):
        torch.manual_seed(0)
        model = CTran(LabelSpace.of(3), Given(), width=16, layers=1, heads=2, position=position).eval()
        features = torch.randn(2, 8, 3, 4, generator=torch.Generator().manual_seed(0))
        plain, mirrored = model(features).logits, model(features.flip(3)).logits
        assert torch.allclose(plain, mirrored, atol=1e-5) == same, position


def test_a_wrong_choice_is_rejected_with_the_nearest_one() -> None:
    with pytest.raises(TagformerError, match=r"state_embedding per_lable .did you mean 'per_label'"):
        ctran(state_embedding="per_lable")
    with pytest.raises(TagformerError, match="position sine needs a width"):
        ctran(position="sine", width=18, heads=2)


def test_the_attention_gain_scales_the_output_projections_only() -> None:
    plain, scaled = ctran().state_dict(), ctran(attention_gain=3.0).state_dict()
    for name, weight in plain.items():
        factor = 3 if name.endswith("self_attn.out_proj.weight") else 1
        torch.testing.assert_close(scaled[name], factor * weight)


@torch.no_grad()
def test_each_state_of_each_label_changes_the_logits() -> None:
    model = ctran().eval()
    features = model.encode(images(1))
    plain = model.decode(features).logits
    earlier = [plain]
    for label in range(LABELS):
        for state in (0, 1):
            known = nothing_known(1, LABELS)
            known[0, label] = state
            logits = model.decode(features, known).logits
            assert all((logits - other).abs().max() > 1e-5 for other in earlier), (label, state)
            earlier.append(logits)


@torch.no_grad()
@pytest.mark.parametrize("state_embedding", ["additive", "per_label"])
def test_permuting_the_labels_permutes_the_logits(state_embedding: str) -> None:
    torch.manual_seed(0)
    options = {"width": 16, "layers": 2, "state_embedding": state_embedding, "image_share": 0.5}
    model, other = (create_model("ctran", list(names), "tiny", **options).eval() for names in ("abcd", "cadb"))
    order = [other.label_space.index(name) for name in model.label_space.names]
    state = {key: value.clone() for key, value in model.state_dict().items()}
    new = {key: value.clone() for key, value in state.items()}
    for column, place in enumerate(order):
        for key in ("label_embedding.weight", "classifier_weight", "classifier_bias"):
            new[key][place] = state[key][column]
        if state_embedding == "per_label":
            for row in (1, 2):
                new["state_embedding.weight"][2 * place + row] = state["state_embedding.weight"][2 * column + row]
    other.load_state_dict(new)
    images = torch.randn(3, 3, 32, 32)
    known = torch.tensor([[1, 0, -1, -1], [-1, -1, 1, 0], [-1, 1, 1, -1]], dtype=torch.int8)
    permuted = torch.empty_like(known)
    permuted[:, order] = known
    torch.testing.assert_close(other(images, permuted).logits[:, order], model(images, known).logits)


def test_without_positional_encoding_image_tokens_have_no_order() -> None:
    model = ctran().eval()
    features = model.encode(images(3))
    shuffled = features[:, torch.randperm(features.shape[1], generator=torch.Generator().manual_seed(0))]
    assert not torch.equal(shuffled, features)
    for known in (None, some_known(3, LABELS)):
        torch.testing.assert_close(model.decode(shuffled, known).logits, model.decode(features, known).logits)


def test_the_unknown_state_stays_zero_in_training() -> None:
    model = ctran()
    weight = model.state_embedding.weight
    before = weight.detach().clone()
    assert not before[0].any()
    assert before[1:].all()
    plain = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)
    momentum = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.5)
    ours = create_optimizer(model, OptimizerSettings(lr=0.1, weight_decay=0.5))
    for optimizer in (plain, momentum, ours):
        for _ in range(2):
            optimizer.zero_grad()
            model(images(3), some_known(3, LABELS)).logits.square().mean().backward()
            optimizer.step()
    assert not weight[0].any()
    assert (weight[1:] != before[1:]).all()


@torch.no_grad()
def test_image_dropout_removes_whole_images_in_training_only() -> None:
    model = ctran(dropout=0.0, image_dropout=0.5)
    features = model.encode(images(1)).expand(400, -1, -1)
    known = some_known(1, LABELS).expand(400, -1)
    model.eval()
    with_image = model.decode(features[:1], known[:1]).logits
    without_image = model.decode(torch.zeros_like(features[:1]), known[:1]).logits
    torch.testing.assert_close(model.decode(features, known).logits, with_image.expand(400, -1))
    model.train()
    logits = model.decode(features, known).logits
    kept = torch.isclose(logits, with_image, atol=1e-5).all(1)
    hidden = torch.isclose(logits, without_image, atol=1e-5).all(1)
    assert (kept ^ hidden).all()
    assert 150 < hidden.sum().item() < 250


@torch.no_grad()
def test_without_image_dropout_and_dropout_training_and_evaluation_agree() -> None:
    model = ctran(dropout=0.0)
    features = model.encode(images(3))
    trained = model.train().decode(features, some_known(3, LABELS)).logits
    torch.testing.assert_close(
        trained, model.eval().decode(features, some_known(3, LABELS)).logits, rtol=1e-5, atol=1e-5
    )


@torch.no_grad()
def test_dropout_acts_in_training() -> None:
    model = ctran(dropout=0.5).train()
    features = model.encode(images(3))
    assert not torch.equal(model.decode(features).logits, model.decode(features).logits)


def test_ctran_on_resnet101_has_the_papers_size() -> None:
    with torch.device("meta"):
        model = create_model("ctran", 80, "resnet101", pretrained=False)
    count = sum(weight.numel() for weight in model.parameters())
    assert count == pytest.approx(118.4e6, abs=0.1e6)
