"""C-Tran's published checkpoints, against the encoder written out by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from tagformer.cli import app
from tagformer.data.formats._common.lists import read_label_space
from tagformer.errors import TagformerError
from tagformer.labels import LabelSpace
from tagformer.models import CTran, convert_checkpoint, create_model
from tagformer.runs.run import Run

State = dict[str, Tensor]
WIDTH, LAYERS, HEADS, LABELS = 2048, 3, 4, 5
NAMES = ["cat", "dog", "bird", "fish", "cow"]


def random_state(count: int = LABELS, layers: int = LAYERS) -> State:
    """A state dict with the keys and shapes of https://github.com/QData/C-Tran (its `CTranModel` on ResNet-101)."""
    generator = torch.Generator().manual_seed(0)

    def weights(*shape: int, size: float = 0.02) -> Tensor:
        return size * torch.randn(*shape, generator=generator)

    import timm

    state: State = {}
    for key, value in timm.create_model("resnet101", pretrained=False, num_classes=0).state_dict().items():
        state[f"backbone.base_network.{key}"] = value  # timm and torchvision use the same names
    state["backbone.base_network.fc.weight"], state["backbone.base_network.fc.bias"] = (
        weights(1000, WIDTH),
        weights(1000),
    )
    state["label_lt.weight"] = weights(count, WIDTH)
    state["known_label_lt.weight"] = weights(3, WIDTH, size=0.3)  # the unknown row is not zero in that code
    state["LayerNorm.weight"], state["LayerNorm.bias"] = 1 + weights(WIDTH), weights(WIDTH)
    for layer in range(layers):
        prefix = f"self_attn_layers.{layer}.transformer_layer"
        state |= {
            f"{prefix}.self_attn.in_proj_weight": weights(3 * WIDTH, WIDTH),
            f"{prefix}.self_attn.in_proj_bias": weights(3 * WIDTH),
            f"{prefix}.self_attn.out_proj.weight": weights(WIDTH, WIDTH),
            f"{prefix}.self_attn.out_proj.bias": weights(WIDTH),
            f"{prefix}.linear1.weight": weights(WIDTH, WIDTH),
            f"{prefix}.linear1.bias": weights(WIDTH),
            f"{prefix}.linear2.weight": weights(WIDTH, WIDTH),
            f"{prefix}.linear2.bias": weights(WIDTH),
        }
        for norm in ("norm1", "norm2"):
            state |= {f"{prefix}.{norm}.weight": 1 + weights(WIDTH), f"{prefix}.{norm}.bias": weights(WIDTH)}
    state["output_linear.weight"], state["output_linear.bias"] = weights(count, WIDTH), weights(count)
    return state


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight + bias


def written_out(state: State, features: Tensor, known: Tensor) -> Tensor:
    """C-Tran's logits from the slides' equations, with the residuals and norms of the code, as matrix products.

    Args:
        features: (B, h * w, d). known: (B, L).
    """
    labels = state["label_lt.weight"] + state["known_label_lt.weight"][known.long() + 1]
    tokens = layer_norm(torch.cat([features, labels], 1), state["LayerNorm.weight"], state["LayerNorm.bias"])
    for layer in range(LAYERS):
        weights_ = {
            k.split("transformer_layer.")[1]: v for k, v in state.items() if k.startswith(f"self_attn_layers.{layer}.")
        }
        size, mixed = WIDTH // HEADS, []
        for head in range(HEADS):
            query, key, value = (
                tokens @ weights_["self_attn.in_proj_weight"][rows].T + weights_["self_attn.in_proj_bias"][rows]
                for rows in (slice(part * WIDTH + head * size, part * WIDTH + (head + 1) * size) for part in range(3))
            )
            weights = torch.softmax(query @ key.transpose(1, 2) / size**0.5, dim=-1)
            mixed.append(weights @ value)
        attended = torch.cat(mixed, -1) @ weights_["self_attn.out_proj.weight"].T + weights_["self_attn.out_proj.bias"]
        tokens = layer_norm(tokens + attended, weights_["norm1.weight"], weights_["norm1.bias"])
        hidden = torch.relu(tokens @ weights_["linear1.weight"].T + weights_["linear1.bias"])
        tokens = tokens + hidden @ weights_["linear2.weight"].T + weights_["linear2.bias"]
        tokens = layer_norm(tokens, weights_["norm2.weight"], weights_["norm2.bias"])
    every = tokens[:, -len(labels[0]) :] @ state["output_linear.weight"].T + state["output_linear.bias"]
    return every.diagonal(dim1=1, dim2=2)  # each label's logit for its own token


@pytest.fixture(scope="module")
def state() -> State:
    return random_state()


@pytest.fixture(scope="module")
def checkpoint(state: State, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("official") / "best_model.pt"
    weights = {f"module.{key}": value for key, value in state.items()}
    figures = {"valid_mAP": np.float64(0.8), "test_loss": np.float32(1.5)}  # that code saves them as NumPy's numbers
    torch.save({"epoch": 7, "state_dict": weights, **figures}, file)
    return file


def test_the_full_size_model_has_as_many_weights_as_in_the_paper() -> None:
    model = create_model("ctran", 80, "resnet101", pretrained=False)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert round(count / 1e6, 1) == 118.4
    dead = nn.Linear(2048, 1000)
    assert round((count + sum(p.numel() for p in dead.parameters())) / 1e6, 1) == 120.4  # the official file


def test_a_converted_checkpoint_computes_the_equations(checkpoint: Path, state: State) -> None:
    model = convert_checkpoint("ctran", checkpoint, NAMES)
    assert isinstance(model, CTran)
    assert model.label_space == LabelSpace(tuple(NAMES))
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(2, 9, WIDTH, generator=generator)
    known = torch.tensor([[1, 0, -1, -1, 1], [-1, -1, -1, 0, -1]], dtype=torch.int8)
    with torch.inference_mode():
        torch.testing.assert_close(
            model.decode(features, known).logits, written_out(state, features, known), atol=1e-4, rtol=0
        )
        unknown = torch.full_like(known, -1)
        expected = written_out(state, features, unknown)
        torch.testing.assert_close(model.decode(features).logits, expected, atol=1e-4, rtol=0)
        images = torch.randn(1, 3, 64, 64, generator=generator)
        maps = model.backbone(images)[-1]
        assert torch.equal(model.encode(images), maps.flatten(2).transpose(1, 2))


def test_the_labels_of_an_imported_run_are_matched_by_name(checkpoint: Path, tmp_path: Path) -> None:
    labels = tmp_path / "names.txt"
    labels.write_text("\n".join(NAMES) + "\n")
    arguments = ["import", "ctran", str(checkpoint), "--labels", str(labels), "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    run = Run.load(tmp_path / "run")
    assert run.label_space.names == tuple(NAMES)
    assert (run.recipe.image.size, run.recipe.image.resize) == (576, "ctran")
    known = torch.tensor([[1, -1, -1, -1, -1]], dtype=torch.int8)
    features = torch.randn(1, 4, WIDTH, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        direct = convert_checkpoint("ctran", checkpoint, NAMES).decode(features, known).logits
        assert torch.equal(run.model().decode(features, known).logits, direct)


def test_the_weights_of_a_checkpoint_override_a_recipe(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    options = "{state_embedding: per_label, image_share: 0.5, dropout: 0.2}"
    recipe = f"base: ctran-coco80\nname: mine\nmodel: {{options: {options}}}\n"
    (tmp_path / "mine.yaml").write_text(recipe)
    arguments = ["import", "ctran", checkpoint, "--labels", tmp_path / "names.txt", "--out", tmp_path / "run"]
    arguments += ["--recipe", tmp_path / "mine.yaml"]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    run = Run.load(tmp_path / "run")
    shape = {"width": WIDTH, "layers": LAYERS, "heads": HEADS, "feedforward": WIDTH}
    assert run.recipe.model.options == {"dropout": 0.2, **shape}
    run.model()


def without(key: str) -> Callable[[State], State]:
    return lambda state: {name: value for name, value in state.items() if name != key}


@pytest.mark.parametrize(
    ("change", "names", "message"),
    [
        (without("label_lt.weight"), NAMES, r"is not a checkpoint of C-Tran: it has no weights for 'label_embedding"),
        (without("LayerNorm.weight"), NAMES, r"does not fit C-Tran on resnet101: Missing key.*norm\.weight"),
        (
            lambda state: {**state, "position_encoder.pe": torch.zeros(1)},
            NAMES,
            r"key 'position_encoder\.pe' is unknown",
        ),
        (lambda state: state, NAMES[:4], r"has 5 labels, but 4 names are given"),
        (lambda state: {"state_dict": [1, 2]}, NAMES, r"contains no state dict"),
        (lambda state: {1: torch.zeros(2)}, NAMES, r"contains no state dict"),
        (lambda state: {"label_lt.weight": torch.zeros(2)}, NAMES, r"no weights for 'label_embedding"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_rejected(
    state: State, tmp_path: Path, change: Callable[[State], State], names: list[str], message: str
) -> None:
    small = {key: value for key, value in state.items() if "layer3" not in key and "layer4" not in key}
    full = change(state if "fit" in message and "resnet" in message else small)
    torch.save(full, tmp_path / "file.pt")
    with pytest.raises(TagformerError, match=message):
        convert_checkpoint("ctran", tmp_path / "file.pt", names)


def test_a_duplicate_name_in_the_list_is_rejected_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("dog\ncat\ndog\n")
    with pytest.raises(TagformerError, match=r"names\.txt, line 3: 'dog' is a duplicate of .*names\.txt, line 1"):
        read_label_space(tmp_path / "names.txt")


def test_files_without_a_state_dict_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(TagformerError, match=r"gone\.pt does not exist"):
        convert_checkpoint("ctran", tmp_path / "gone.pt", NAMES)
    (tmp_path / "empty.pt").touch()
    with pytest.raises(TagformerError, match=r"empty\.pt cannot be read \(EOFError\)"):
        convert_checkpoint("ctran", tmp_path / "empty.pt", NAMES)
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(TagformerError, match=r"text\.pt cannot be read \(it contains no weights, or also other"):
        convert_checkpoint("ctran", tmp_path / "text.pt", NAMES)
    with pytest.raises(TagformerError, match=r"cannot import 'ctan' .did you mean 'ctran'"):
        convert_checkpoint("ctan", tmp_path / "text.pt", NAMES)
