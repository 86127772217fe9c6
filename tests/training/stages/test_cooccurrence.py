"""Training of the co-occurrence, against scikit-learn's logistic regression."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from tagformer.labels import LabelSpace
from tagformer.models import create_model
from tagformer.models.evidence import Evidence
from tagformer.training.stages.cooccurrence import CooccurrenceTraining, choose_deviation, fit_cooccurrence
from tests.helpers import assert_same_weights
from tests.small_models import small
from tests.training.stages.features_in_memory import noise, random_labels

SHORT = CooccurrenceTraining(steps=8, seed=3)


def evidence(labels: int, **options: object) -> Evidence:
    model = small("evidence", labels, **options)
    assert isinstance(model, Evidence)
    return model


def effects(model: Evidence) -> tuple[Tensor, Tensor]:
    assert model.present_effect is not None
    assert model.absent_effect is not None
    return model.present_effect.detach(), model.absent_effect.detach()


def similar_labels(count: int, seed: int = 0) -> Tensor:
    """Two labels that are equal on seven of ten images."""
    labels = random_labels(count, 1, seed=seed).expand(-1, 2).clone()
    other = torch.rand(count, generator=torch.Generator().manual_seed(seed)) < 0.3
    labels[other, 1] = 1 - labels[other, 1]
    return labels


@pytest.mark.parametrize("deviation", [0.3, 1.0, 4.0])
def test_it_is_a_logistic_regression_with_a_gaussian_prior(deviation: float) -> None:
    """Two labels, without evidence: each is predicted from the state of the other, one of them known in half the draws.

    Of 3 unknown labels in two draws one has a known partner: the sum of the losses over the N images counts a third, as
    with C = deviation^2 / 3.
    """
    labels = similar_labels(200)
    model = evidence(2)
    fit_cooccurrence(model, torch.zeros(1, 200, 2), labels, deviation, CooccurrenceTraining(steps=1500, batch_size=200))
    present, absent = effects(model)
    for known, label in ((0, 1), (1, 0)):
        states = labels[:, known].numpy()
        features = np.stack([states == 1, states == 0], axis=1).astype(float)
        regression = LogisticRegression(C=deviation**2 / 3, fit_intercept=False).fit(features, labels[:, label].numpy())
        fitted = [present[known, label].item(), absent[known, label].item()]
        assert fitted == pytest.approx(regression.coef_[0].tolist(), rel=0.08, abs=0.01)
    assert present.diagonal().tolist() == absent.diagonal().tolist() == [0, 0]


def test_with_nothing_known_the_logits_are_the_evidence() -> None:
    model, z = evidence(3), noise(2, 40, 3)
    fit_cooccurrence(model, z, random_labels(40, 3), 1.0, SHORT)
    assert max(effect.abs().max() for effect in effects(model)) > 0.01
    assert torch.equal(model.decode(z[0]).logits, z[0])


def test_only_the_co_occurrence_changes() -> None:
    model = evidence(3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fit_cooccurrence(model, noise(1, 40, 3), random_labels(40, 3), 1.0, SHORT)
    changed = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
    assert changed == ["present_effect", "absent_effect"]


def test_what_the_image_shows_is_not_counted_again() -> None:
    """Both labels are drawn with the probability that the image gives them: the evidence says all about them."""
    z = 2 * noise(1000, 1).expand(-1, 2)
    draws = torch.rand(1000, 2, generator=torch.Generator().manual_seed(2))
    labels = (draws < torch.sigmoid(z)).to(torch.int8)
    learned = []
    for evidence_logits in (z, torch.zeros(1000, 2)):
        model = evidence(2)
        fit_cooccurrence(model, evidence_logits.unsqueeze(0), labels, 4.0, CooccurrenceTraining(batch_size=200))
        learned.append(effects(model)[0][0, 1].item())
    assert abs(learned[0]) < 0.2
    assert learned[1] > 0.6


def test_unknown_labels_are_not_in_the_loss() -> None:
    labels = similar_labels(100)
    labels[:, 1] = -1
    model = evidence(2)
    fit_cooccurrence(model, noise(1, 100, 2), labels, 1.0, SHORT)
    for effect in effects(model):
        assert torch.equal(effect, torch.zeros(2, 2))


def test_a_group_is_known_as_a_whole() -> None:
    """Labels of one group are never known while the other is predicted, so they do not move each other."""
    space = LabelSpace(("a", "b", "c"), groups={"ab": ("a", "b")})
    model = create_model("evidence", space, "tiny", width=8)
    assert isinstance(model, Evidence)
    labels = similar_labels(200)[:, [0, 1, 1]]
    groups = replace(CooccurrenceTraining(steps=300, strength=0.0), masking=("groups",))
    fit_cooccurrence(model, torch.zeros(1, 200, 3), labels, 1.0, groups)
    present, _ = effects(model)
    assert present[0, 1] == present[1, 0] == 0
    assert present[1, 2] > 0.3


def test_the_seed_decides_and_the_global_generator_stays_as_it_was() -> None:
    z, labels, models = noise(2, 40, 3), random_labels(40, 3), [evidence(3) for _ in range(3)]
    torch.manual_seed(1)
    state = torch.get_rng_state()
    fit_cooccurrence(models[0], z, labels, 1.0, SHORT)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    fit_cooccurrence(models[1], z, labels, 1.0, SHORT)
    fit_cooccurrence(models[2], z, labels, 1.0, CooccurrenceTraining(steps=8, seed=4))
    assert_same_weights(models[0].state_dict(), models[1].state_dict())
    assert not torch.equal(effects(models[0])[0], effects(models[2])[0])


def test_independent_labels_have_a_narrow_prior_or_none() -> None:
    """120 images with 30 independent labels: whatever depends on each other there is chance."""
    generator = torch.Generator().manual_seed(5)
    labels = (torch.rand(120, 30, generator=generator) < 0.1).to(torch.int8)
    z = 2.5 * labels.float() - 3 + torch.randn(120, 30, generator=generator)
    chosen = choose_deviation(
        evidence(30), z.unsqueeze(0), labels, torch.arange(120) % 4 == 0, (0.3, 1.0, 4.0), CooccurrenceTraining()
    )
    assert chosen in (None, 0.3)


def test_dependent_labels_have_a_wide_prior() -> None:
    labels = random_labels(200, 3).repeat_interleave(4, dim=1)  # three groups of four labels that are equal
    z = labels.float().unsqueeze(0) - 0.5 + noise(1, 200, 12)
    model, done = evidence(12), list[int]()
    training = CooccurrenceTraining(steps=200)
    chosen = choose_deviation(model, z, labels, torch.arange(200) % 4 == 0, (0.1, 4.0), training, done.append)
    assert chosen == 4.0
    assert done == list(range(1, 401))
    assert [effect.abs().max().item() for effect in effects(model)] == [0, 0], "the model is as before"


def test_no_candidate_is_better_than_none() -> None:
    """The second label is the opposite of the first one on the images kept apart."""
    labels = random_labels(200, 1).expand(-1, 2).clone()
    apart = torch.arange(200) % 4 == 0
    labels[apart, 1] = 1 - labels[apart, 0]
    training = CooccurrenceTraining(steps=100)
    assert choose_deviation(evidence(2), torch.zeros(1, 200, 2), labels, apart, (1.0, 4.0), training) is None
