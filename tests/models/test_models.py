from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tagformer.backbones import Backbone, create_backbone
from tagformer.data.dataset import MultiLabelDataset
from tagformer.errors import TagformerError
from tagformer.labels import UNKNOWN, LabelSpace
from tagformer.labels.masking import label_mask_training, without_known
from tagformer.losses import asymmetric_loss, binary_cross_entropy
from tagformer.models import MODELS, MultiLabelModel, create_model, list_models
from tagformer.models.ctran import CTran
from tagformer.models.feedback import FeedbackPropagation
from tagformer.models.linear import Linear
from tagformer.recipes.settings import OptimizerSettings
from tagformer.training.optim import create_optimizer

LABELS = 6
SMALL: dict[str, dict[str, Any]] = {
    "cat": {"width": 16, "layers": 1, "heads": 2},
    "ctran": {"width": 16, "layers": 2},
    "fpn": {"width": 16},
}


def small(name: str, seed: int = 0) -> MultiLabelModel:
    torch.manual_seed(seed)
    backbone = create_backbone("mltr_tiny", False, image_size=32, patch=2) if name == "mltr" else "tiny"
    return create_model(name, LABELS, backbone, **SMALL.get(name, {})).eval()


def ctran(seed: int = 0, **options: Any) -> CTran:
    torch.manual_seed(seed)
    model = create_model("ctran", LABELS, "tiny", **{"width": 16, "layers": 2, "heads": 4, **options})
    assert isinstance(model, CTran)
    return model


def linear(**options: Any) -> Linear:
    torch.manual_seed(0)
    model = create_model("linear", LABELS, "tiny", **options)
    assert isinstance(model, Linear)
    return model


def images(count: int = 3, size: int = 32) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def some_known(count: int = 3) -> Tensor:
    return torch.randint(-1, 2, (count, LABELS), generator=torch.Generator().manual_seed(2)).to(torch.int8)


def nothing_known(count: int = 3) -> Tensor:
    return torch.full((count, LABELS), UNKNOWN, dtype=torch.int8)


@pytest.fixture(params=sorted(MODELS))
def model(request: pytest.FixtureRequest) -> MultiLabelModel:
    """Every model, small, in evaluation mode."""
    return small(request.param)


# What every model promises


@torch.no_grad()
def test_encode_then_decode_is_forward(model: MultiLabelModel) -> None:
    for known in (None, some_known()):
        features = model.encode(images())
        logits = model.decode(features, known).logits
        assert len(features) == 3
        assert logits.shape == (3, LABELS)
        assert torch.equal(model(images(), known).logits, logits)


@torch.no_grad()
def test_nothing_known_is_the_same_as_no_known_labels(model: MultiLabelModel) -> None:
    assert torch.equal(model(images()).logits, model(images(), nothing_known()).logits)


@torch.no_grad()
def test_a_model_listens_to_known_labels_as_it_says(model: MultiLabelModel) -> None:
    plain, told = model(images()).logits, model(images(), some_known()).logits
    assert torch.equal(plain, told) is not model.uses_known


@torch.no_grad()
def test_images_of_a_batch_do_not_see_one_another(model: MultiLabelModel) -> None:
    together = model(images(), some_known()).logits
    for row in range(3):
        alone = model(images()[row : row + 1], some_known()[row : row + 1]).logits
        torch.testing.assert_close(alone[0], together[row], rtol=1e-5, atol=1e-5)


def test_every_weight_gets_a_gradient(model: MultiLabelModel) -> None:
    model.train()
    output = model(images(), some_known())
    loss = output.logits.square().sum()
    if output.count_logits is not None:
        loss = loss + output.count_logits.square().sum()
    loss.backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
    largest = max(weight.grad.abs().max().item() for weight in model.backbone.parameters() if weight.grad is not None)
    assert largest > 0


@torch.no_grad()
def test_a_state_dict_carries_the_whole_model(model: MultiLabelModel) -> None:
    other = small(next(name for name, kind in MODELS.items() if type(model) is kind), seed=9)
    assert not torch.equal(other(images()).logits, model(images()).logits)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(images()).logits, model(images()).logits)


# Creating


def test_models_are_created_by_name_with_any_form_of_labels() -> None:
    assert list_models() == sorted(MODELS)
    space = LabelSpace(("cat", "dog", "night"), extra=("night",))
    assert create_model("linear", space, "tiny").label_space is space
    assert create_model("linear", ["cat", "dog"], "tiny").label_space.names == ("cat", "dog")
    assert len(create_model("linear", 4, "tiny").label_space) == 4


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ctrans", {}, r"unknown model 'ctrans' \(did you mean 'ctran'\?\) \(models: .*ctran.*linear"),
        ("ctran", {"widht": 3}, r"model 'ctran' has no option 'widht' \(did you mean 'width'\?\)"),
        ("linear", {"heads": 3}, "model 'linear' has no option 'heads'"),
        ("ctran", {"width": 10, "heads": 4}, "4 heads do not divide the width 10"),
        ("ctran", {"image_share": 1.0}, "image_share must lie between 0 and 1, not 1.0"),
    ],
)
def test_a_model_that_cannot_be_is_refused(name: str, options: dict[str, Any], message: str) -> None:
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
    }


# The linear baseline


@torch.no_grad()
def test_linear_is_the_mean_over_positions_and_one_matrix() -> None:
    model = linear().eval()
    last = model.backbone(images())[-1]
    for row in range(3):
        pooled = [last[row, channel].mean().item() for channel in range(last.shape[1])]
        for label in range(LABELS):
            weights = model.classifier.weight[label].tolist()
            expected = sum(w * x for w, x in zip(weights, pooled, strict=True)) + model.classifier.bias[label].item()
            assert model(images()).logits[row, label].item() == pytest.approx(expected, abs=1e-5)


# C-Tran


def written_out(model: CTran, images_: Tensor, known: Tensor) -> Tensor:
    """C-Tran from its equations: tokens, post-norm encoder layers with residuals, a weight vector a label."""
    state = {name: value.double() for name, value in model.state_dict().items()}
    features = model.backbone(images_)[-1].double()
    batch, count = known.shape

    def normed(x: Tensor, name: str) -> Tensor:
        mean = x.mean(-1, keepdim=True)
        variance = (x - mean).square().mean(-1, keepdim=True)
        return (x - mean) / (variance + 1e-5).sqrt() * state[f"{name}.weight"] + state[f"{name}.bias"]

    def linear_map(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.einsum("...i,oi->...o", x, weight) + bias

    z = torch.einsum("bchw->bhwc", features).reshape(batch, -1, features.shape[1])
    if "projection.weight" in state:
        z = linear_map(z, state["projection.weight"], state["projection.bias"])
    width = state["label_embedding.weight"].shape[1]
    if model.position == "sine":  # row r, column c: sin and cos of r / 10000^(2 i / (d / 2)), then those of c
        rates = [10_000 ** (-2 * i / (width // 2)) for i in range(width // 4)]
        for place in range(z.shape[1]):
            row, column = divmod(place, features.shape[3])
            code = [f(at * rate) for at in (row, column) for rate in rates for f in (math.sin, math.cos)]
            z[:, place] += torch.tensor(code, dtype=torch.float64)
    if not model.uses_image:
        z = z.new_zeros(batch, 0, width)
    rows = []
    for sample in range(batch):
        tokens = []
        for label in range(count):
            vector = state["label_embedding.weight"][label].clone()
            own = 2 * label if len(state["state_embedding.weight"]) > 3 else 0
            if known[sample, label] == 0:
                vector += state["state_embedding.weight"][own + 1]
            if known[sample, label] == 1:
                vector += state["state_embedding.weight"][own + 2]
            tokens.append(vector)
        rows.append(torch.stack(tokens))
    h = normed(torch.cat([z, torch.stack(rows)], dim=1), "norm")
    for number, layer in enumerate(model.encoder):
        prefix = f"encoder.{number}"
        heads = layer.self_attn.num_heads
        size = width // heads
        weights = state[f"{prefix}.self_attn.in_proj_weight"].unflatten(0, (3, heads, size))
        biases = state[f"{prefix}.self_attn.in_proj_bias"].unflatten(0, (3, heads, size))
        q, k, v = (torch.einsum("bid,hed->bhie", h, weights[i]) + biases[i][:, None] for i in range(3))
        attention = torch.exp(torch.einsum("bhie,bhje->bhij", q, k) / math.sqrt(size))
        if model.image_share is not None:  # keys that all match alike then give the image this share
            attention[..., :-count] *= model.image_share / z.shape[1]
            attention[..., -count:] *= (1 - model.image_share) / count
        attention = attention / attention.sum(-1, keepdim=True)
        mixed = torch.einsum("bhij,bhje->bihe", attention, v).flatten(2)
        mixed = linear_map(
            mixed, state[f"{prefix}.self_attn.out_proj.weight"], state[f"{prefix}.self_attn.out_proj.bias"]
        )
        h = normed(h + mixed, f"{prefix}.norm1")
        inner = linear_map(h, state[f"{prefix}.linear1.weight"], state[f"{prefix}.linear1.bias"]).clamp(min=0)
        inner = linear_map(inner, state[f"{prefix}.linear2.weight"], state[f"{prefix}.linear2.bias"])
        h = normed(h + inner, f"{prefix}.norm2")
    labels = h[:, -count:]
    return torch.einsum("bld,ld->bl", labels, state["classifier_weight"]) + state["classifier_bias"]


@pytest.mark.parametrize("gradients", [True, False])  # torch takes another path through the layers without them
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"width": None},
        {"heads": 1, "layers": 1},
        {"feedforward": 40, "layers": 3},
        {"image_share": 0.8},
        {"state_embedding": "per_label"},
        {"position": "sine"},
        {"image": False},
    ],
    ids=str,
)
def test_ctran_is_its_equations(options: dict[str, Any], gradients: bool) -> None:
    model = ctran(**options).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():  # so that no norm or bias is the identity
            if not name.startswith(("backbone", "state_embedding")):
                weight += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(len(name)))
        expected = written_out(model, images(), some_known())
    with torch.set_grad_enabled(gradients):
        logits = model(images(), some_known()).logits
    torch.testing.assert_close(logits.detach().double(), expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, {"image_share": 0.7}, {"image": False}], ids=str)
def test_attention_weights_are_those_that_the_layers_use(options: dict[str, Any]) -> None:
    """Weights times values, through the rest of the first layer, give the layer's own output."""
    model = ctran(layers=2, **options).eval()
    features = model.encode(images(2))
    attention = model.attention(features, some_known()[:2])
    tokens = features.shape[1] + LABELS
    assert attention.shape == (2, 2, model.encoder[0].self_attn.num_heads, tokens, tokens)
    torch.testing.assert_close(attention.sum(-1), torch.ones(attention.shape[:-1]))
    before = model._tokens(features, model._label_tokens(some_known()[:2]))
    layer = model.encoder[0]
    weight, bias = (part.chunk(3)[2] for part in (layer.self_attn.in_proj_weight, layer.self_attn.in_proj_bias))
    value = (before @ weight.T + bias).unflatten(2, (layer.self_attn.num_heads, -1)).transpose(1, 2)
    mixed = layer.self_attn.out_proj((attention[0] @ value).transpose(1, 2).flatten(2))
    first = layer.norm1(before + mixed)
    expected = layer.norm2(first + layer.linear2(layer.linear1(first).relu()))
    share = model._attention_bias(features)
    torch.testing.assert_close(layer(before, share), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(layer(before, share, last=LABELS), expected[:, -LABELS:], rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, {"layers": 1}, {"state_embedding": "per_label"}, {"image": False}], ids=str)
def test_what_is_known_of_all_images_alike_may_be_told_once(options: dict[str, Any]) -> None:
    """One row of known labels is projected once for the batch; a row an image is the way that the references check."""
    model = ctran(**options).eval()
    features, row = model.encode(images(3)), some_known()[:1]
    assert (row >= 0).any()
    for once, each in ((row, row.expand(3, -1)), (None, torch.full((3, LABELS), -1, dtype=torch.int8))):
        expected = model.decode(features, each).logits
        torch.testing.assert_close(model.decode(features, once).logits, expected, rtol=1e-5, atol=1e-6)
    told = FeedbackPropagation(model)
    expected = told.decode(features, row.expand(3, -1)).logits
    torch.testing.assert_close(told.decode(features, row).logits, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_positions_tell_image_tokens_apart() -> None:
    """A mirrored feature map gives the same logits without positions, others with them."""

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


def test_unknown_options_offer_the_nearest() -> None:
    with pytest.raises(TagformerError, match=r"state_embedding per_lable .did you mean 'per_label'"):
        ctran(state_embedding="per_lable")
    with pytest.raises(TagformerError, match="position sine needs a width"):
        ctran(position="sine", width=18, heads=2)


def test_the_attention_gain_scales_what_the_tokens_hear_at_first_and_nothing_else() -> None:
    plain, loud = ctran().state_dict(), ctran(attention_gain=3.0).state_dict()
    for name, weight in plain.items():
        factor = 3 if name.endswith("self_attn.out_proj.weight") else 1
        torch.testing.assert_close(loud[name], factor * weight)


@torch.no_grad()
def test_each_state_of_each_label_changes_the_logits() -> None:
    model = ctran().eval()
    features = model.encode(images(1))
    plain = model.decode(features).logits
    seen = [plain]
    for label in range(LABELS):
        for state in (0, 1):
            known = nothing_known(1)
            known[0, label] = state
            logits = model.decode(features, known).logits
            assert all((logits - other).abs().max() > 1e-5 for other in seen), (label, state)
            seen.append(logits)


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


def test_what_is_known_is_in_no_loss() -> None:
    torch.manual_seed(0)
    labels = torch.randint(0, 2, (6, 20), dtype=torch.int8)
    known = label_mask_training(labels, 0.25)
    logits = torch.randn(6, 20, requires_grad=True)
    for loss in (binary_cross_entropy, asymmetric_loss):
        logits.grad = None
        loss(logits, without_known(labels, known), reduction="sum").backward()
        assert logits.grad is not None
        assert (logits.grad[known != UNKNOWN] == 0).all()
        assert (logits.grad[known == UNKNOWN] != 0).all()
        assert (known != UNKNOWN).any()


def test_image_positions_have_no_order() -> None:
    model = ctran().eval()
    features = model.encode(images())
    shuffled = features[:, torch.randperm(features.shape[1], generator=torch.Generator().manual_seed(0))]
    assert not torch.equal(shuffled, features)
    for known in (None, some_known()):
        torch.testing.assert_close(model.decode(shuffled, known).logits, model.decode(features, known).logits)


@torch.no_grad()
def test_the_image_matters() -> None:
    model = ctran().eval()
    logits = model(images()).logits
    assert (logits[0] - logits[1]).abs().max() > 1e-4


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
            model(images(), some_known()).logits.square().mean().backward()
            optimizer.step()
    assert not weight[0].any()
    assert (weight[1:] != before[1:]).all()


@torch.no_grad()
def test_image_dropout_hides_whole_images_in_training_only() -> None:
    model = ctran(dropout=0.0, image_dropout=0.5)
    features = model.encode(images(1)).expand(400, -1, -1)
    known = some_known(1).expand(400, -1)
    model.eval()
    seen = model.decode(features[:1], known[:1]).logits
    blind = model.decode(torch.zeros_like(features[:1]), known[:1]).logits
    torch.testing.assert_close(model.decode(features, known).logits, seen.expand(400, -1))
    model.train()
    logits = model.decode(features, known).logits
    kept = torch.isclose(logits, seen, atol=1e-5).all(1)
    hidden = torch.isclose(logits, blind, atol=1e-5).all(1)
    assert (kept ^ hidden).all()
    assert 150 < hidden.sum().item() < 250


@torch.no_grad()
def test_without_image_dropout_and_dropout_training_and_evaluation_agree() -> None:
    model = ctran(dropout=0.0)
    features = model.encode(images())
    trained = model.train().decode(features, some_known()).logits
    torch.testing.assert_close(trained, model.eval().decode(features, some_known()).logits, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_dropout_acts_in_training() -> None:
    model = ctran(dropout=0.5).train()
    features = model.encode(images())
    assert not torch.equal(model.decode(features).logits, model.decode(features).logits)


@torch.no_grad()
def test_bf16_features_give_nearly_the_same_logits_in_float32() -> None:
    model = ctran().eval()
    exact = model(images(), some_known()).logits
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(images(), some_known()).logits
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, exact, rtol=0.05, atol=0.05)


def test_ctran_on_resnet101_has_the_papers_size() -> None:
    with torch.device("meta"):
        model = create_model("ctran", 80, "resnet101", pretrained=False)
    count = sum(weight.numel() for weight in model.parameters())
    assert count == pytest.approx(118.4e6, abs=0.1e6)


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
