"""What is planned for a time, at hand-made speeds."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from tagformer.data import load_dataset
from tagformer.models import create_model
from tagformer.models.evidence import Evidence
from tagformer.recipes import Recipe
from tagformer.training.stages.planning.plan import Plan
from tagformer.training.stages.planning.speed import Speed, measure_speed
from tagformer.training.time_plan import Epochs
from tests.helpers import assert_same_weights

SPEED = Speed(look=0.02, step=0.1, evidence=0.0005, cooccurrence=0.00002, head=0.001, mean_head=0.0001)
LABELS = 20


def recipe(views: int = 2, **stages: object) -> Recipe:
    values = {
        "data": {"spec": "scenes?images=40", "remembered_views": views, "batch_size": 4, "workers": 0},
        "image": {"size": 32},
        "model": {"name": "evidence", "backbone": {"name": "tiny", "pretrained": False}, "options": {"width": 16}},
        "training": {"epochs": 12},
        "stages": {"folds": 5, "evidence_epochs": 20, **stages},
    }
    return Recipe.checked(values, "the test's recipe")


def test_the_epochs_that_fit() -> None:
    """96 % of 10 minutes are 576 s; 32 steps of 32 images are an epoch of the encoder, which is trained twice."""
    plan = Plan.of(10, SPEED, 1000, LABELS, recipe())
    assert plan.features == pytest.approx(2 * 1000 * 0.02)
    assert plan.evidence_epochs == 20
    assert plan.evidence == pytest.approx(2 * 20 * 32 * 32 * 0.0005)  # 20.48 s
    # Co-occurrence: 1,000 steps of 32 images for each of three candidates, and twice for the chosen one.
    assert plan.cooccurrence == pytest.approx(5 * 1000 * 32 * 0.00002)  # 3.2 s
    assert plan.deviations == recipe().stages.deviations
    # Heads: 300 steps of 32 images. Before, nine candidates for 150 steps, with two of the six heads: each has not seen
    # 400 of the images, and 600 are enough.
    assert plan.heads == pytest.approx(300 * 32 * 0.001 * (1 + 9 * 0.5 * 2 / 6))
    assert (plan.weights, plan.decays) == (recipe().stages.weights, recipe().stages.decays)
    assert (plan.training, plan.scoring) == pytest.approx((800 * 0.1, 200 * 0.02))  # a fifth is only scored: 84 s
    # 488 s are left: 5.8 epochs.
    assert str(plan) == (
        "Plan for 10 minutes: features of 2 views, 40 seconds; heads, 24 seconds; co-occurrence, 3 seconds; "
        "evidence 20 epochs, 20 seconds; whole network 6 epochs of 97 % of the images, 8 minutes."
    )
    assert Plan.of(10, SPEED, 1000, LABELS, recipe(views=1)).features == pytest.approx(20)


@pytest.mark.parametrize(("minutes", "epochs"), [(80, 20), (60, 20), (30, 12), (22.5, 9)])
def test_the_encoder_gets_at_most_three_tenths_of_the_time(minutes: float, epochs: int) -> None:
    """An epoch of it takes 2 * 32 steps of 32 images, 41 s; it has at least 300 steps and at most 1,000."""
    plan = Plan.of(minutes, replace(SPEED, look=0.01, evidence=0.02), 1000, LABELS, recipe())
    assert plan.evidence_epochs == epochs
    assert plan.evidence == pytest.approx(2 * 32 * 0.02 * max(300, 32 * epochs))
    assert epochs == 20 or plan.evidence <= 0.3 * 60 * 0.96 * minutes < plan.evidence + 41
    many = Plan.of(600, SPEED, 100_000, LABELS, recipe())
    assert many.evidence == pytest.approx(2 * 32 * 0.0005 * 1000)


def encoder_is_planned(minutes: float, speed: Speed, **stages: object) -> bool:
    plan = Plan.of(minutes, speed, 1000, LABELS, recipe(**stages))
    assert ("evidence" in str(plan)) == plan.encoder == (plan.evidence > 0)
    return plan.encoder


def test_no_time_for_the_encoder() -> None:
    """Its four epochs would take 384 s, which are three tenths of 96 % of 22.2 minutes."""
    slow = replace(SPEED, look=0.01, evidence=0.02)
    assert [encoder_is_planned(minutes, slow) for minutes in (1, 22.1, 22.3)] == [False, False, True]


def test_the_network_has_six_epochs_before_there_is_time_for_an_encoder() -> None:
    """Features, heads and co-occurrence take 67 s and six epochs of the network 480 s; the least encoder 115 s.

    662 s are 96 % of 11.5 minutes. An encoder may always have a twentieth of the time, 115 s of 40 minutes.
    """
    slow = replace(SPEED, evidence=0.006)
    assert [encoder_is_planned(minutes, slow) for minutes in (7, 11.4, 11.6)] == [False, False, True]
    network = replace(slow, step=10)
    assert [encoder_is_planned(minutes, network) for minutes in (39.9, 40.1)] == [False, True]
    assert encoder_is_planned(7, slow, finetune=False), "three tenths of 403 s"
    assert encoder_is_planned(7, replace(slow, step=2)), "the network has no time for a quarter of an epoch anyway"
    assert encoder_is_planned(7, replace(slow, step=math.inf)), "its step was not even measured"


def test_few_images_have_no_encoder() -> None:
    assert Plan.of(10, SPEED, 500, LABELS, recipe()).encoder
    plan = Plan.of(10, SPEED, 499, LABELS, recipe())
    assert (plan.encoder, plan.evidence) == (False, 0)
    assert Plan.of(10, SPEED, 499, LABELS, recipe(encoder_images=400)).encoder


@pytest.mark.parametrize(("minutes", "count"), [(18, 3), (17, 1), (4.2, 1), (4.1, 0)])
def test_many_labels_leave_less_time_for_the_co_occurrence(minutes: float, count: int) -> None:
    """1,000 steps take 20 s. Five times that is a tenth of 17.4 minutes, three times a quarter of 4.2."""
    plan = Plan.of(minutes, replace(SPEED, cooccurrence=0.02 / 32), 1000, LABELS, recipe())
    assert plan.deviations == {3: (0.3, 1.0, 4.0), 1: (1.0,), 0: ()}[count]
    assert plan.cooccurrence == pytest.approx({3: 100, 1: 60, 0: 0}[count])
    assert ("co-occurrence" in str(plan)) == bool(count)


@pytest.mark.parametrize(("given", "left"), [([2.0], (2.0,)), ([1.0, 3.0], (3.0,)), ([], ())])
def test_the_middle_candidate_of_the_co_occurrence_is_left(given: list[float], left: tuple[float, ...]) -> None:
    slow = replace(SPEED, cooccurrence=0.02 / 32)
    assert Plan.of(6, slow, 1000, LABELS, recipe(deviations=given)).deviations == left


def test_without_known_labels_in_training_no_co_occurrence_is_planned() -> None:
    plan = Plan.of(10, SPEED, 1000, LABELS, recipe().overridden(["known.label_mask_training=false"]))
    assert (plan.deviations, plan.cooccurrence) == ((), 0)


def test_what_the_recipe_has_is_the_most() -> None:
    assert Plan.of(600, SPEED, 1000, LABELS, recipe(evidence_epochs=2)).evidence_epochs == 2
    without = Plan.of(10, SPEED, 1000, LABELS, recipe(evidence_epochs=0))
    assert without.evidence == 0
    assert "evidence" not in str(without)


def test_no_time_is_left() -> None:
    """Of 46 s features, heads and co-occurrence take 25 s; the network needs 24 s, so the encoder may have 14 s."""
    plan = Plan.of(0.8, SPEED, 1000, LABELS, recipe(views=1))
    assert str(plan).startswith("Plan for 0.8 minutes: features of 1 view, 20 seconds; heads on the mean of the map, ")
    assert str(plan).endswith("; evidence 13 epochs, 13 seconds; no time to train the whole network.")
    assert plan.network(0.25 * plan.training + plan.scoring - 0.1) is None
    assert plan.network(0.25 * plan.training + plan.scoring + 0.1) == Epochs(1, pytest.approx(0.25, abs=0.01))
    assert plan.network(-1) is None


def test_many_labels_leave_no_time_for_the_maximum() -> None:
    """Twenty times as many labels: the heads would take 192 s and their trial, of 64 labels, 46 s."""
    slow = replace(SPEED, head=0.02, mean_head=0.0004)
    few, many = (Plan.of(minutes, slow, 1000, 400, recipe()) for minutes in (60, 10))
    assert few.weights == (0.0, 0.5, 1.0)
    assert few.heads == pytest.approx(300 * 32 * 0.02 * (1 + 9 * 0.5 * 2 / 6 * 64 / 400))
    assert many.weights == (0.0,)
    assert len(many.decays) == 3
    # The mean alone, with three candidates for the decay, on 64 of 400 labels.
    assert many.heads == pytest.approx(300 * 32 * 0.0004 * (1 + 3 * 0.5 * 2 / 6 * 64 / 400))
    assert Plan.of(10, slow, 1000, 400, recipe(weights=(0.5, 1.0))).weights == (0.5,), "nothing else is allowed"


def test_no_time_for_a_trial() -> None:
    """The heads on the mean alone take 3.84 s, and a fifth of 20 s is 3.84 s: they can have only one candidate."""
    plan = Plan.of(20 / 60, replace(SPEED, mean_head=0.0004), 1000, LABELS, recipe())
    assert (plan.weights, plan.decays) == ((0.0,), (0.05,))
    assert plan.heads == pytest.approx(300 * 32 * 0.0004)


def test_remembered_features_take_no_time() -> None:
    """20 s for all images of a view; all of the first one are remembered, and half of the second."""
    plan = Plan.of(3, SPEED, 1000, LABELS, recipe(views=3), missing=[0, 500, 1000])
    assert (plan.views, plan.features) == (3, pytest.approx(30))
    assert Plan.of(1, SPEED, 1000, LABELS, recipe(views=3), missing=[0, 500, 1000]).views == 2


@pytest.mark.parametrize(("minutes", "views"), [(3, 3), (2, 2), (1, 1), (0.1, 1)])
def test_the_views_take_at_most_two_fifths_of_the_time_but_one_is_needed(minutes: float, views: int) -> None:
    """A view takes 20 s; two fifths of 96 % of the minutes are 69, 46, 23 and 2 s."""
    plan = Plan.of(minutes, SPEED, 1000, LABELS, recipe(views=3))
    assert plan.views == views
    assert plan.features == pytest.approx(20 * views)


def test_the_recipe_s_epochs_are_the_most() -> None:
    plan = Plan.of(10_000, SPEED, 1000, LABELS, recipe())
    assert plan.network(1e6) == Epochs(12)


def test_a_network_that_is_not_to_be_trained_is_not_planned() -> None:
    plan = Plan.of(10, SPEED, 1000, LABELS, recipe(finetune=False))
    assert plan.network(1e6) is None
    assert "whole network" not in str(plan)


def test_the_planned_time_is_within_the_given_time() -> None:
    for minutes in (2, 5, 10, 25, 60):
        plan = Plan.of(minutes, SPEED, 3000, LABELS, recipe())
        left = 60 * minutes - plan.features - plan.heads - plan.cooccurrence - plan.evidence
        network = plan.network(left)
        assert network is None or network.seconds(plan.training, plan.scoring) <= left


def test_the_measured_speed_leaves_the_model_and_the_draws_as_they_were() -> None:
    settings, dataset = recipe(), load_dataset("scenes?images=40")
    model = create_model("evidence", dataset.label_space, "tiny", width=16).eval()
    assert isinstance(model, Evidence)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    speed = measure_speed(model, dataset, settings)
    assert min(speed.look, speed.step, speed.evidence, speed.cooccurrence, speed.head, speed.mean_head) > 0
    assert_same_weights(model.state_dict(), before)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), state)
