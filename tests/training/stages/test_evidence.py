"""Training of the encoder on out-of-fold evidence."""

from __future__ import annotations

import torch
from sklearn.metrics import average_precision_score
from torch import Tensor

from tagformer.models.evidence import Evidence
from tagformer.training.stages.evidence import EvidenceTraining, aligned, fit_evidence
from tests.helpers import assert_same_weights
from tests.models.evidence_models import trained
from tests.small_models import small
from tests.training.stages.features_in_memory import noise, random_labels

SHORT = EvidenceTraining(epochs=1, batch_size=16, min_steps=8, seed=3)


def evidence(labels: int, **options: object) -> Evidence:
    model = small("evidence", labels, **options)
    assert isinstance(model, Evidence)
    return model


def weights(model: Evidence) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_only_the_encoder_changes() -> None:
    model = evidence(3)
    before = weights(model)
    fit_evidence(model, noise(2, 40, 3), random_labels(40, 3), SHORT)
    trained = {name for name, _ in model.encoder_parameters()} | {"evidence_mean", "evidence_deviation"}
    assert trained < before.keys()
    for name, value in weights(model).items():
        assert torch.equal(value, before[name]) != (name in trained), name
    assert not model.training


def test_the_evidence_is_standardised_over_images_and_views() -> None:
    model, z = evidence(2), 3 * noise(2, 30, 2) + 1
    fit_evidence(model, z, random_labels(30, 2), SHORT)
    torch.testing.assert_close(model.evidence_mean, z.mean((0, 1)))
    torch.testing.assert_close(model.evidence_deviation, z.std((0, 1), correction=0) + 1e-3)


def test_a_label_is_predicted_from_another_that_is_known() -> None:
    """B is present where A is; the evidence of B is noise, that of A is weak."""
    labels = random_labels(400, 1).expand(-1, 2).clone()
    z = torch.stack([noise(1, 400, seed=1) + labels[:, 0] - 0.5, noise(1, 400, seed=2)], dim=2)
    model = evidence(2)
    fit_evidence(model, z, labels, EvidenceTraining(batch_size=32, min_steps=200, min_unknown=0.5))
    truth = random_labels(200, 1, seed=7).expand(-1, 2).clone()
    new = torch.stack([noise(200, seed=8) + truth[:, 0] - 0.5, noise(200, seed=9)], dim=1)
    known = torch.stack([truth[:, 0], torch.full((200,), -1, dtype=torch.int8)], dim=1)

    def of_b(logits: Tensor) -> float:
        return float(average_precision_score(truth[:, 1].numpy(), logits[:, 1].detach().numpy()))

    assert of_b(new) < 0.65  # chance is 0.5
    assert of_b(model.decode(new).logits) > of_b(new) + 0.1  # by the evidence of A
    assert of_b(model.decode(new, known).logits) > 0.98
    signs = torch.where(truth[:, 1] == 1, 1, -1)
    assert (signs * model.decode(new, known).logits[:, 1] > 0).float().mean() > 0.95


def test_unknown_labels_are_not_in_the_loss() -> None:
    """The third label is never annotated: nothing that acts on it alone has a gradient."""
    labels = random_labels(40, 3)
    labels[:, 2] = -1
    model = evidence(3)
    fit_evidence(model, noise(1, 40, 3), labels, SHORT)
    assert torch.equal(model.correction_weight[2], torch.zeros(16))
    assert model.correction_bias[2] == 0
    assert model.gain[2] == 1
    assert model.present_effect is not None
    assert torch.equal(model.present_effect[:, 2], torch.zeros(3))
    assert model.correction_weight[:2].abs().min() > 0


def test_nothing_annotated_changes_no_logit() -> None:
    model, z = evidence(2), noise(1, 20, 2)
    fit_evidence(model, z, torch.full((20, 2), -1, dtype=torch.int8), SHORT)
    torch.testing.assert_close(model.decode(z[0]).logits, z[0])


def test_the_loss_is_taken_over_unknown_labels_alone() -> None:
    """A single label is known or predicted, so that its state has no influence on the loss and does not change."""
    model, before = evidence(1), evidence(1)
    fit_evidence(model, noise(1, 40, 1), random_labels(40, 1), EvidenceTraining(epochs=1, min_steps=20, min_unknown=0))
    assert torch.equal(model.state_embedding, before.state_embedding)
    assert not torch.equal(model.evidence_embedding, before.evidence_embedding)


def test_the_seed_decides_and_the_global_generator_stays_as_it_was() -> None:
    z, labels = noise(2, 40, 3), random_labels(40, 3)
    models = [evidence(3) for _ in range(3)]
    torch.manual_seed(1)
    state = torch.get_rng_state()
    fit_evidence(models[0], z, labels, SHORT)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    fit_evidence(models[1], z, labels, SHORT)
    fit_evidence(models[2], z, labels, EvidenceTraining(epochs=1, batch_size=16, min_steps=8, seed=4))
    assert_same_weights(models[0].state_dict(), models[1].state_dict())
    assert not torch.equal(models[0].correction_weight, models[2].correction_weight)


def test_both_views_are_trained_on() -> None:
    """A view whose evidence is wrong must count as much as the right one."""
    labels = random_labels(200, 1)
    right = 4 * labels.float() - 2
    gains = []
    for second in (right, -right):
        model = evidence(1, evidence_dropout=0.0)
        fit_evidence(model, torch.stack([right, second]), labels, EvidenceTraining(min_steps=150))
        spread = model.decode(torch.tensor([[-2.0], [2.0]])).logits.flatten()
        gains.append((spread[1] - spread[0]).item())
    assert gains[0] > 4
    assert abs(gains[1]) < 2


def test_the_number_of_steps_and_the_progress() -> None:
    assert EvidenceTraining(epochs=20, batch_size=32).steps(1_001) == 20 * 32
    assert EvidenceTraining(epochs=20, batch_size=32).steps(2_500) == 1000
    assert EvidenceTraining(epochs=20, batch_size=32).steps(10) == 300
    done: list[int] = []
    fit_evidence(evidence(2), noise(1, 5, 2), random_labels(5, 2), SHORT, done.append)
    assert done == list(range(1, 9))


def test_the_co_occurrence_begins_where_it_is() -> None:
    """With a learning rate of nearly zero it stays there."""
    labels, model = random_labels(60, 3), evidence(3)
    model.start_from_cooccurrence(labels, 0.3)
    assert model.present_effect is not None
    before = model.present_effect.detach().clone()
    assert before.abs().max() > 0.01
    fit_evidence(model, noise(1, 60, 3), labels, EvidenceTraining(min_steps=2, epochs=1, lr=1e-12))
    torch.testing.assert_close(model.present_effect, before, rtol=0, atol=1e-6)
    without = evidence(3, cooccurrence=False)
    fit_evidence(without, noise(1, 60, 3), labels, SHORT)
    assert without.present_effect is None


def test_aligned_evidence_says_nothing_about_the_fold() -> None:
    """A rare label: the head that has not seen its three positives gives their fold lower logits."""
    z, folds = noise(2, 40, 3), torch.arange(40) % 4
    z[:, folds == 1, 2] -= 5
    even = aligned(z, folds)
    for fold in range(4):
        torch.testing.assert_close(even[:, folds == fold].mean(1), z.mean(1))
    within = [each[:, folds == 1] - each[:, folds == 1].mean(1, keepdim=True) for each in (even, z)]
    torch.testing.assert_close(*within)


@torch.no_grad()
def test_the_correction_is_weakened() -> None:
    """Logits are between the evidence with co-occurrence and those of the whole correction, in proportion."""
    model = trained(evidence(3))
    z, known = noise(5, 3), torch.tensor([[1, -1, -1]], dtype=torch.int8)
    whole, none = model.decode(z, known).logits, z + model.cooccurrence(known)
    assert (whole - none).abs().max() > 0.1
    for share, left in ((0.5, 0.5), (0.5, 0.25), (4.0, 1.0), (0.0, 0.0)):
        model.weaken_correction(share)
        torch.testing.assert_close(model.decode(z, known).logits, none + left * (whole - none))
