"""Class-specific residual attention, against the paper's equations worked with plain loops."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import pytest
import torch

from tagformer.errors import TagformerError
from tagformer.models import CSRA, MultiLabelModel
from tagformer.models.csra import residual_attention
from tests.models.contract import ModelContract
from tests.small_models import LABELS, images, small

PAPER: dict[str, Any] = {"weight": 0.1, "normalise": True, "average": False, "standardise": False, "bias": False}
PUBLISHED = {  # temperatures; 99 stands for the maximum
    1: [1],
    2: [1, 99],
    4: [1, 2, 4, 99],
    6: [1, 2, 3, 4, 5, 99],
    8: [1, 2, 3, 4, 5, 6, 7, 99],
}


class TestCSRA(ModelContract):
    name = "csra"

    @torch.no_grad()
    def model(self, seed: int = 0) -> MultiLabelModel:
        model = super().model(seed)
        last = model.backbone(images(8))[-1]
        model.standardised.fit(last.mean((0, 2, 3)), last.std((0, 2, 3)))  # type: ignore[operator,union-attr]
        return model


class TestCSRAOfThePaper(ModelContract):
    name = "csra"
    options: ClassVar[dict[str, Any]] = {"heads": 4, **PAPER}
    has_output_bias = False


def csra(**options: object) -> CSRA:
    model = small("csra", **options)
    assert isinstance(model, CSRA)
    return model


@pytest.mark.parametrize("heads", PUBLISHED)
@torch.no_grad()
def test_the_paper_s_heads(heads: int) -> None:
    model = csra(heads=heads, **PAPER)
    last = model.backbone(images())[-1].double()
    logits = model(images()).logits
    for image in range(2):
        positions = last[image].flatten(1).T.tolist()
        for label in range(LABELS):
            expected = 0.0
            for head, temperature in enumerate(PUBLISHED[heads]):
                weight = model.classifier_weight[head, label].tolist()
                length = math.sqrt(sum(w * w for w in weight))
                s = [sum(w * x for w, x in zip(weight, position, strict=True)) / length for position in positions]
                if temperature == 99:
                    attended = max(s)
                else:
                    total = sum(math.exp(temperature * value) for value in s)
                    attended = sum(math.exp(temperature * value) / total * value for value in s)
                expected += sum(s) / len(s) + 0.1 * attended
            assert logits[image, label].item() == pytest.approx(expected, abs=1e-4)


@torch.no_grad()
def test_the_default_is_a_weighted_mean_of_mean_and_maximum_over_standardised_positions() -> None:
    model = csra(weight=0.4)
    last = model.backbone(images(3))[-1].double()
    mean, deviation = last.mean((0, 2, 3)), last.std((0, 2, 3))
    model.standardised.fit(mean, deviation)  # type: ignore[operator]
    model.classifier_bias.copy_(torch.randn(LABELS))  # type: ignore[union-attr]
    standardised = (last - mean[:, None, None]) / (deviation[:, None, None] + 1e-3)
    scores = torch.einsum("lc,bcp->blp", model.classifier_weight[0].double(), standardised.flatten(2))
    expected = (scores.mean(2) + 0.4 * scores.amax(2)) / 1.4 + model.output_bias
    torch.testing.assert_close(model(images(3)).logits, expected.float(), rtol=1e-4, atol=1e-5)


def test_the_attention_of_a_high_temperature_is_nearly_the_maximum() -> None:
    s = torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(0))
    nearly, exact = residual_attention(s, 1e4, 0.5), residual_attention(s, math.inf, 0.5)
    torch.testing.assert_close(nearly, exact, rtol=0, atol=1e-3)
    torch.testing.assert_close(residual_attention(s, 0.0, 0.5), 1.5 * s.mean(1))


@torch.no_grad()
def test_the_logit_is_pooled_from_the_heat_map() -> None:
    model = csra()
    maps = model.heat_maps(images(), range(LABELS)).flatten(2)
    torch.testing.assert_close((maps.mean(2) + 0.9 * maps.amax(2)) / 1.9 + model.output_bias, model(images()).logits)


@torch.no_grad()
def test_normalised_weights_count_by_their_direction() -> None:
    model = csra(normalise=True)
    before = model(images()).logits
    model.classifier_weight.mul_(7)
    torch.testing.assert_close(model(images()).logits, before)


def test_it_starts_at_the_frequencies() -> None:
    """The maximum of random logits would raise the first probabilities, were they not small."""
    model = csra()
    model.start_from_frequencies(torch.full((LABELS,), 0.02))
    assert (model.position_logits(torch.randn(20, 49, model.backbone.channels[-1])).abs() < 0.4).all()
    with pytest.raises(TagformerError, match=r"csra: with bias=false .* model\.options\.bias=true"):
        csra(bias=False).start_from_frequencies(torch.full((LABELS,), 0.02))


@torch.no_grad()
def test_the_logits_of_an_ensemble_are_the_mean_of_those_of_its_heads() -> None:
    together = csra(ensemble=3, weight=0.4)
    last = together.backbone(images(8))[-1]
    together.standardised.fit(last.mean((0, 2, 3)), last.std((0, 2, 3)))  # type: ignore[operator]
    assert len(together.classifier_weight) == 3
    assert (together(images(3)).logits.std(0) > 1e-3).all()
    logits = []
    for head in range(3):
        alone = csra(weight=0.4)
        alone.load_state_dict(
            {**together.state_dict(), "classifier_weight": together.classifier_weight[head : head + 1]}
        )
        logits.append(alone(images(3)).logits)
    torch.testing.assert_close(together(images(3)).logits, torch.stack(logits).mean(0), rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_an_ensemble_of_several_temperatures_has_each_of_them_so_often() -> None:
    together, alone = csra(heads=2, ensemble=2, weight=0.4), csra(heads=2, weight=0.4)
    last = together.backbone(images(8))[-1]
    together.standardised.fit(last.mean((0, 2, 3)), last.std((0, 2, 3)))  # type: ignore[operator]
    assert together.temperatures == (1, math.inf, 1, math.inf)
    logits = []
    for part in (slice(0, 2), slice(2, 4)):
        alone.load_state_dict({**together.state_dict(), "classifier_weight": together.classifier_weight[part]})
        logits.append(alone(images(3)).logits)
    torch.testing.assert_close(together(images(3)).logits, torch.stack(logits).mean(0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [{"heads": 3}, {"heads": "mean"}, {"weight": -0.1}, {"weight": math.inf}])
def test_impossible_options(options: dict[str, Any]) -> None:
    with pytest.raises(TagformerError, match=f"model 'csra', option {next(iter(options))}="):
        small("csra", **options)
