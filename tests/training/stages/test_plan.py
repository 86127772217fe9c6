"""What is planned for a time, at hand-made speeds."""

from __future__ import annotations

import pytest
import torch

from tagformer.data import load_dataset
from tagformer.models import create_model
from tagformer.models.evidence import Evidence
from tagformer.recipes import Recipe
from tagformer.training.stages.plan import Plan, Speed, measure_speed
from tests.helpers import assert_same_weights

SPEED = Speed(look=0.02, step=0.1, evidence=0.0005)


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
    plan = Plan.of(10, SPEED, 1000, recipe())
    assert plan.features == pytest.approx(2 * 1000 * 0.02)
    assert plan.evidence_epochs == 20
    assert plan.evidence == pytest.approx(2 * 20 * 32 * 32 * 0.0005)  # 20.48 s
    assert plan.epoch == pytest.approx(800 * 0.1 + 200 * 0.02)  # a fifth is only scored: 84 s
    assert plan.network_epochs == 6  # 515.5 s are left: 6.1 epochs
    assert str(plan) == (
        "Plan for 10 minutes: features of 2 views, 40 seconds; evidence 20 epochs, 20 seconds; "
        "6 epochs of the whole network, 8 minutes."
    )
    assert Plan.of(10, SPEED, 1000, recipe(views=1)).features == pytest.approx(20)


@pytest.mark.parametrize(("minutes", "epochs"), [(60, 20), (30, 12), (10, 4), (1, 4)])
def test_the_encoder_gets_at_most_three_tenths_of_the_time_but_four_epochs(minutes: float, epochs: int) -> None:
    """An epoch of it takes 2 * 32 steps of 32 images, 41 s; it has at least 300 steps and at most 1,000."""
    plan = Plan.of(minutes, Speed(look=0.01, step=0.1, evidence=0.02), 1000, recipe())
    assert plan.evidence_epochs == epochs
    assert plan.evidence == pytest.approx(2 * 32 * 0.02 * max(300, 32 * epochs))
    assert epochs in (4, 20) or plan.evidence <= 0.3 * 60 * 0.96 * minutes < plan.evidence + 41
    many = Plan.of(600, SPEED, 100_000, recipe())
    assert many.evidence == pytest.approx(2 * 32 * 0.0005 * 1000)


def test_what_the_recipe_has_is_the_most() -> None:
    assert Plan.of(600, SPEED, 1000, recipe(evidence_epochs=2)).evidence_epochs == 2
    without = Plan.of(10, SPEED, 1000, recipe(evidence_epochs=0))
    assert without.evidence == 0
    assert "evidence" not in str(without)


def test_no_time_is_left() -> None:
    plan = Plan.of(1.5, SPEED, 1000, recipe(views=1))
    assert plan.network_epochs == 0  # 46 s are left
    assert str(plan).startswith("Plan for 1.5 minutes: features of 1 view, 20 seconds; evidence 20 epochs, 20 seconds;")
    assert str(plan).endswith("; no time to train the whole network.")
    assert Plan.of(0.1, SPEED, 1000, recipe()).network_epochs == 0  # not even the features


@pytest.mark.parametrize(("minutes", "views"), [(3, 3), (2, 2), (1, 1), (0.1, 1)])
def test_the_views_take_at_most_two_fifths_of_the_time_but_one_is_needed(minutes: float, views: int) -> None:
    """A view takes 20 s; two fifths of 96 % of the minutes are 69, 46, 23 and 2 s."""
    plan = Plan.of(minutes, SPEED, 1000, recipe(views=3))
    assert plan.views == views
    assert plan.features == pytest.approx(20 * views)


def test_the_recipe_s_epochs_are_the_most() -> None:
    plan = Plan.of(10_000, SPEED, 1000, recipe())
    assert plan.network_epochs == 12
    assert plan.epochs_in(2.5 * plan.epoch) == 2
    assert plan.epochs_in(-1) == 0


def test_a_network_that_is_not_to_be_trained_is_not_planned() -> None:
    plan = Plan.of(10, SPEED, 1000, recipe(finetune=False))
    assert plan.network_epochs == plan.epochs_in(1e6) == 0
    assert str(plan) == "Plan for 10 minutes: features of 2 views, 40 seconds; evidence 20 epochs, 20 seconds."


def test_the_planned_time_is_within_the_given_time() -> None:
    for minutes in (2, 5, 10, 25, 60):
        plan = Plan.of(minutes, SPEED, 3000, recipe())
        total = plan.features + plan.evidence + plan.network_epochs * plan.epoch
        assert not plan.network_epochs or total <= 60 * minutes


def test_the_measured_speed_leaves_the_model_and_the_draws_as_they_were() -> None:
    settings, dataset = recipe(), load_dataset("scenes?images=40")
    model = create_model("evidence", dataset.label_space, "tiny", width=16).eval()
    assert isinstance(model, Evidence)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    speed = measure_speed(model, dataset, settings)
    assert min(speed.look, speed.step, speed.evidence) > 0
    assert_same_weights(model.state_dict(), before)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), state)
