"""C-Tran on evidence, against loops and counts worked by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from tagformer.errors import TagformerError
from tagformer.labels import PRESENT, UNKNOWN
from tagformer.models import CSRA, MultiLabelModel
from tagformer.models.evidence import Evidence
from tagformer.models.layers.transformer import EncoderLayer
from tests.models import transformer_reference as reference
from tests.models.contract import ModelContract
from tests.models.evidence_models import evidence, standardised, trained
from tests.small_models import LABELS, images, nothing_known, small, some_known


class TestEvidence(ModelContract):
    name = "evidence"

    def model(self, seed: int = 0) -> MultiLabelModel:
        return trained(standardised(super().model(seed)), seed)

    @torch.no_grad()
    def test_the_output_bias_starts_from_frequencies(self) -> None:
        """That of the classifier; the trained encoder reads the evidence, so the rest of the logits follows it."""
        model, frequencies = evidence(), torch.tensor([0.1, 0.5, 0.9, 0.01])
        without_bias = model(images()).logits - model.output_bias
        model.start_from_frequencies(frequencies)
        torch.testing.assert_close(torch.sigmoid(model.output_bias), frequencies)
        torch.testing.assert_close(torch.sigmoid(model.prior_logits), frequencies)
        torch.testing.assert_close(model(images()).logits - model.output_bias, without_bias, rtol=1e-4, atol=1e-5)


class TestEvidenceOfAnEnsemble(TestEvidence):
    options: ClassVar[dict[str, Any]] = {"ensemble": 3, "cooccurrence": False, "layers": 1, "feedforward": 24}


def csra_of(model: Evidence, **options: object) -> CSRA:
    """A CSRA with the same classifier and backbone."""
    csra = small("csra", seed=5, **options)
    assert isinstance(csra, CSRA)
    names = csra.state_dict().keys()
    csra.load_state_dict({name: value for name, value in model.state_dict().items() if name in names})
    return csra


@pytest.mark.parametrize("options", [{}, {"weight": 0.4, "ensemble": 3}])
@torch.no_grad()
def test_an_untrained_model_is_csra_with_and_without_known_labels(options: dict[str, Any]) -> None:
    model = evidence(**options)
    expected = csra_of(model, **options)(images(3)).logits
    for known in (None, some_known(3)):
        torch.testing.assert_close(model(images(3), known).logits, expected, rtol=0, atol=1e-6)
    different = trained(model)(images(3), some_known(3)).logits
    assert (different - expected).abs().max() > 0.1


@torch.no_grad()
def test_heat_maps_are_those_of_csra() -> None:
    model = trained(evidence(ensemble=2))
    expected = csra_of(model, ensemble=2).heat_maps(images(), [2, 0])
    assert torch.equal(model.heat_maps(images(), [2, 0], some_known()), expected)


def hand_written_logits(model: Evidence, evidence_logits: Tensor, known: Sequence[int]) -> list[float]:
    """The class's definition for one image: tokens, pre-norm encoder, correction, co-occurrence."""
    mean, deviation = model.evidence_mean.tolist(), model.evidence_deviation.tolist()
    rows = []
    for i, z in enumerate(evidence_logits.tolist()):
        row = model.label_embedding.weight[i] + (z - mean[i]) / deviation[i] * model.evidence_embedding[i]
        if known[i] == 0:
            row = row + model.state_embedding[0, i]
        if known[i] == 1:
            row = row + model.state_embedding[1, i]
        rows.append(row)
    tokens = torch.stack(rows)
    for layer in model.encoder:
        assert isinstance(layer, EncoderLayer)
        normed = reference.layer_norm(layer.norm1, tokens)
        tokens = tokens + reference.attention(layer.self_attn, normed, normed, normed)[0]
        network = torch.nn.Sequential(layer.linear1, layer.linear2)
        tokens = tokens + reference.feed_forward(network, reference.layer_norm(layer.norm2, tokens))
    tokens = reference.layer_norm(model.norm, tokens)
    logits = []
    for i, z in enumerate(evidence_logits.tolist()):
        logit = model.gain[i].item() * z + model.correction_bias[i].item()
        logit += sum(w * x for w, x in zip(model.correction_weight[i].tolist(), tokens[i].tolist(), strict=True))
        for j, state in enumerate(known):
            effect = {1: model.present_effect, 0: model.absent_effect}.get(state)
            logit += 0.0 if effect is None else effect[j, i].item()
        logits.append(logit)
    return logits


@pytest.mark.parametrize("labels", [1, 2, 3])
@torch.no_grad()
def test_decode_is_the_hand_written_network(labels: int) -> None:
    model = trained(evidence(labels, heads=2, feedforward=24))
    generator = torch.Generator().manual_seed(3)
    for layer in model.encoder.parameters():
        layer.copy_(layer + 0.1 * torch.randn(layer.shape, generator=generator))  # biases are zero otherwise
    evidence_logits = 2 * torch.randn(5, labels, generator=generator)
    known = torch.randint(-1, 2, (5, labels), generator=generator).to(torch.int8)
    expected = torch.tensor([hand_written_logits(model, z, k.tolist()) for z, k in zip(evidence_logits, known)])  # noqa: B905
    torch.testing.assert_close(model.decode(evidence_logits, known).logits, expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_label_tokens() -> None:
    model = trained(evidence(labels=3, width=4))
    model.evidence_mean.copy_(torch.tensor([1.0, 0.0, -1.0]))
    model.evidence_deviation.copy_(torch.tensor([2.0, 1.0, 0.5]))
    tokens = model.label_tokens(torch.tensor([[5.0, 3.0, 0.0]]), torch.tensor([[1, 0, -1]], dtype=torch.int8))
    label, state, direction = model.label_embedding.weight, model.state_embedding, model.evidence_embedding
    expected = [
        label[0] + state[1, 0] + 2 * direction[0],
        label[1] + state[0, 1] + 3 * direction[1],
        label[2] + 2 * direction[2],
    ]
    torch.testing.assert_close(tokens, torch.stack(expected).unsqueeze(0))


@torch.no_grad()
def test_the_evidence_is_scaled() -> None:
    model = evidence()
    plain = model.encode(images())
    torch.testing.assert_close(plain, csra_of(model)(images()).logits)
    model.evidence_scale.fill_(0.5)
    torch.testing.assert_close(model.encode(images()), 0.5 * plain)


@torch.no_grad()
def test_cooccurrence_starts_from_counts() -> None:
    """Labels a, b, c of five images; -1: not annotated."""
    labels = torch.tensor([[1, 1, 0], [1, 1, -1], [1, 0, 0], [0, 0, 1], [0, 1, -1]], dtype=torch.int8)
    model = evidence(labels=3)
    model.start_from_cooccurrence(labels, strength=0.5)
    a, b, c = 3.5 / 6, 3.5 / 6, 1.5 / 4  # P(i): half an image is added to both states
    present = {  # (j, i): i is present in so many of the images in which j is present and i is annotated
        (0, 1): (2, 3, b),
        (0, 2): (0, 2, c),
        (1, 0): (2, 3, a),
        (1, 2): (0, 1, c),
        (2, 0): (0, 1, a),
        (2, 1): (0, 1, b),
    }
    absent = {
        (0, 1): (1, 2, b),
        (0, 2): (1, 1, c),
        (1, 0): (1, 2, a),
        (1, 2): (1, 2, c),
        (2, 0): (2, 2, a),
        (2, 1): (1, 2, b),
    }
    for effect, counts in ((model.present_effect, present), (model.absent_effect, absent)):
        assert effect is not None
        assert torch.equal(effect.diagonal(), torch.zeros(3))
        for (j, i), (both, annotated, frequency) in counts.items():
            ratio = (both + 3 * frequency) / (annotated + 3) / frequency
            assert effect[j, i].item() == pytest.approx(0.5 * math.log(ratio), abs=1e-6)


@torch.no_grad()
def test_known_present_and_absent_labels_act_by_their_cooccurrence() -> None:
    model = evidence(labels=3)
    model.start_from_cooccurrence(torch.tensor([[1, 1, 0]] * 9 + [[0, 0, 1]] * 9, dtype=torch.int8), strength=1.0)
    z = torch.zeros(1, 3)

    def logits(*known: int) -> Tensor:
        return model.decode(z, torch.tensor([known], dtype=torch.int8)).logits[0]

    assert torch.equal(logits(-1, -1, -1), torch.zeros(3))
    for known, sign in (((1, -1, -1), 1), ((0, -1, -1), -1)):
        assert sign * logits(*known)[1] > 0.3  # the label that it is always with
        assert sign * logits(*known)[2] < -0.3  # the label that it is never with
        assert logits(*known)[0] == 0  # known labels do not act on themselves
    torch.testing.assert_close(logits(1, -1, 0), logits(1, -1, -1) + logits(-1, -1, 0))


@torch.no_grad()
def test_without_cooccurrence_there_are_no_weights_per_pair_of_labels() -> None:
    model = evidence(labels=40, cooccurrence=False)
    assert all(list(weight.shape).count(40) < 2 for weight in model.state_dict().values())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.start_from_cooccurrence(torch.ones(3, 40, dtype=torch.int8), strength=1.0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    known = torch.full((1, 40), PRESENT, dtype=torch.int8)
    assert torch.equal(model.decode(torch.zeros(1, 40), known).logits, torch.zeros(1, 40))
    whole = evidence(labels=40)
    assert sum(p.numel() for p in whole.parameters()) - sum(p.numel() for p in model.parameters()) == 2 * 40**2


@torch.no_grad()
def test_in_training_some_samples_have_the_frequencies_in_the_place_of_evidence() -> None:
    model = trained(evidence(evidence_dropout=0.3, dropout=0.0))
    model.prior_logits.copy_(torch.tensor([-1.0, 2.0, 0.5, -3.0]))
    z = torch.randn(400, LABELS, generator=torch.Generator().manual_seed(4))
    known = some_known(1).expand(400, -1)
    shown = model.decode(z, known).logits
    torch.manual_seed(0)
    mixed = model.train().decode(z, known).logits
    is_shown = torch.isclose(mixed, shown, rtol=1e-4, atol=1e-4).all(1)
    assert 0.2 < 1 - is_shown.float().mean() < 0.4
    # Hidden: the tokens carry the mean evidence, which is standardised to 0, and the logit starts from the prior.
    hidden = model.eval().decode(model.evidence_mean.expand(1, -1), known[:1]).logits
    hidden = hidden + model.gain * (model.prior_logits - model.evidence_mean)
    torch.testing.assert_close(mixed[~is_shown], hidden.expand(int((~is_shown).sum()), -1), rtol=1e-4, atol=1e-4)
    assert torch.equal(model.decode(z, known).logits, shown)  # in evaluation nothing is hidden
    torch.testing.assert_close(evidence(evidence_dropout=0.0, dropout=0.0).train().decode(z).logits, z)


def test_encoder_parameters_are_all_but_the_classifier_and_the_backbone() -> None:
    model = evidence()
    names = [name for name, _ in model.encoder_parameters()]
    others = {name for name, _ in model.named_parameters()} - set(names)
    assert others == {"classifier_weight", "classifier_bias"} | {
        f"backbone.{name}" for name, _ in model.backbone.named_parameters()
    }
    named = dict(model.named_parameters())
    assert all(value is named[name] for name, value in model.encoder_parameters())


@torch.no_grad()
def test_standardised_evidence_has_mean_0_and_deviation_1() -> None:
    model = evidence()
    z = torch.randn(300, LABELS, generator=torch.Generator().manual_seed(5)) * torch.tensor([1.0, 3.0, 0.2, 9.0]) + 4
    z[:, 2] = 1.5  # the same for every image
    model.standardise_evidence(z)
    model.label_embedding.weight.zero_()
    model.evidence_embedding.fill_(1)
    standardised = model.label_tokens(z, None)[:, :, 0]
    torch.testing.assert_close(standardised.mean(0), torch.zeros(LABELS), rtol=0, atol=1e-4)
    expected = torch.tensor([1.0, 1.0, 0.0, 1.0])
    torch.testing.assert_close(standardised.std(0, correction=0), expected, rtol=0, atol=2e-3)


def test_impossible_options() -> None:
    with pytest.raises(TagformerError, match="evidence: 5 heads do not divide the width 16"):
        evidence(heads=5)
    for option, value in (("evidence_dropout", 1.0), ("ensemble", 0), ("layers", -1)):
        with pytest.raises(TagformerError, match=f"model 'evidence', option {option}="):
            evidence(**{option: value})


@torch.no_grad()
def test_the_known_labels_of_one_image_do_not_reach_another() -> None:
    model = trained(evidence())
    known = nothing_known(2)
    before = model(images(2), known).logits
    known[1] = torch.tensor([PRESENT, UNKNOWN, PRESENT, UNKNOWN])
    after = model(images(2), known).logits
    torch.testing.assert_close(after[0], before[0], rtol=1e-5, atol=1e-6)
    assert (after[1] - before[1]).abs().max() > 0.1


@torch.no_grad()
def test_without_layers_labels_depend_on_each_other_by_cooccurrence_alone() -> None:
    model = trained(evidence(layers=0))
    evidence_logits, known = torch.randn(2, LABELS), some_known(2)
    change = model.decode(evidence_logits, known).logits - model.decode(evidence_logits).logits
    assert model.present_effect is not None
    assert model.absent_effect is not None
    of_present, of_absent = (known == PRESENT).float(), (known == 0).float()
    expected = of_present @ model.present_effect + of_absent @ model.absent_effect
    assert (known == UNKNOWN).any(1).all()
    torch.testing.assert_close(change[known == UNKNOWN], expected[known == UNKNOWN])
