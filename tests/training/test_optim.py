"""Parameter groups, optimizers and schedules."""

from __future__ import annotations

import pytest
import torch

from tagformer.models import create_model
from tagformer.recipes.settings import OptimizerSettings, ScheduleSettings
from tagformer.training.optim import create_optimizer, create_schedule, lr_multiplier, parameter_groups


def test_every_parameter_is_in_one_group_and_only_matrices_are_decayed() -> None:
    model = create_model("ctran", 5, "tiny", width=16, heads=2)
    settings = OptimizerSettings(lr=1.0, backbone_lr_factor=0.1, weight_decay=0.3)
    groups = parameter_groups(model, settings)
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in model.parameters())
    place = {id(parameter): group for group in groups for parameter in group["params"]}
    rates = {name: place[id(p)]["lr"] for name, p in model.named_parameters()}
    decays = {name: place[id(p)]["weight_decay"] for name, p in model.named_parameters()}
    assert {rate for name, rate in rates.items() if name.startswith("backbone.")} == {0.1}
    assert {rate for name, rate in rates.items() if not name.startswith("backbone.")} == {1.0}
    assert decays["label_embedding.weight"] == decays["state_embedding.weight"] == decays["norm.weight"] == 0
    assert decays["encoder.0.linear1.bias"] == decays["backbone.stages.0.0.1.weight"] == 0
    assert decays["encoder.0.linear1.weight"] == decays["classifier_weight"] == 0.3


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_optimizers_by_name(name: str) -> None:
    model = create_model("linear", 2, "tiny")
    optimizer = create_optimizer(model, OptimizerSettings(name=name, momentum=0.7))  # type: ignore[arg-type]
    assert type(optimizer).__name__.lower() == name
    assert name != "sgd" or optimizer.defaults["momentum"] == 0.7


def test_schedules_follow_their_formulas() -> None:
    cosine = ScheduleSettings(name="cosine", warmup=0.1)
    assert lr_multiplier(cosine, 0, 100, 10) == pytest.approx(1 / 11)
    assert lr_multiplier(cosine, 9, 100, 10) == pytest.approx(10 / 11)
    assert lr_multiplier(cosine, 10, 100, 10) == 1
    assert lr_multiplier(cosine, 55, 100, 10) == pytest.approx(0.5)
    assert lr_multiplier(cosine, 100, 100, 10) == pytest.approx(0)
    assert lr_multiplier(ScheduleSettings(name="constant", warmup=0), 57, 100, 10) == 1
    step = ScheduleSettings(name="step", step_epochs=3, factor=0.1)
    assert [round(lr_multiplier(step, at, 100, 10), 6) for at in (0, 29, 30, 59, 60)] == [1, 1, 0.1, 0.1, 0.01]


@pytest.mark.parametrize(
    ("steps", "rates"), [(1, [0.0]), (2, [0.04, 0.0]), (3, [0.04, 1.0, 0.0]), (4, [0.04, 1.0, 0.5, 0.0])]
)
def test_one_cycle_of_a_few_steps(steps: int, rates: list[float]) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = create_schedule(optimizer, ScheduleSettings(name="onecycle", warmup=0.2), steps, 1)
    found = []
    for step in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < steps - 1:
            schedule.step()
    assert found == pytest.approx(rates, abs=1e-4)
