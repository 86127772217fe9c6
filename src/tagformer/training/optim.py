"""Optimizers and learning-rate schedules from a recipe."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import lr_scheduler

from tagformer.models.base import MultiLabelModel
from tagformer.recipes.settings import OptimizerSettings, ScheduleSettings


def parameter_groups(model: MultiLabelModel, settings: OptimizerSettings) -> list[dict[str, Any]]:
    """The trainable parameters in up to four groups: backbone or not, with weight decay or without.

    Biases, norms (all parameters with one dimension) and embeddings have no weight decay. With ``backbone_lr_factor`` 0
    the backbone is frozen, so its parameters are in no group.
    """
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    backbone = {id(parameter) for parameter in model.backbone.parameters()}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            decayed = parameter.ndim > 1 and id(parameter) not in embeddings
            groups.setdefault((id(parameter) in backbone, decayed), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": settings.lr * (settings.backbone_lr_factor if in_backbone else 1.0),
            "weight_decay": settings.weight_decay if decayed else 0.0,
        }
        for (in_backbone, decayed), parameters in groups.items()
    ]


def create_optimizer(model: MultiLabelModel, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """The optimizer of a recipe, over `parameter_groups`."""
    groups = parameter_groups(model, settings)
    if settings.name == "sgd":
        return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum)
    optimizers = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    return optimizers[settings.name](groups, lr=settings.lr)


def create_schedule(
    optimizer: torch.optim.Optimizer, settings: ScheduleSettings, steps_per_epoch: int, epochs: int
) -> lr_scheduler.LRScheduler:
    """The learning-rate schedule of a recipe.

    It is stepped after every optimizer step, except ``plateau``, which is stepped after every epoch.
    """
    total = max(1, steps_per_epoch * epochs)
    if settings.name == "plateau":
        mode: Literal["min", "max"] = "min" if settings.monitor == "loss" else "max"
        return lr_scheduler.ReduceLROnPlateau(optimizer, mode, settings.factor, settings.patience)
    if settings.name == "onecycle":
        rates = [group["lr"] for group in optimizer.param_groups]
        rising = (
            settings.warmup if settings.warmup * total > 1 else min(0.75, 2 / total)
        )  # torch needs more than one step
        return lr_scheduler.OneCycleLR(optimizer, rates, total, pct_start=rising)
    return lr_scheduler.LambdaLR(optimizer, lambda step: lr_multiplier(settings, step, total, steps_per_epoch))


def lr_multiplier(settings: ScheduleSettings, step: int, total: int, steps_per_epoch: int) -> float:
    """The learning rate of ``constant``, ``cosine`` or ``step`` at a step, as a share of its largest value.

    >>> settings = ScheduleSettings(name="cosine", warmup=0.0)
    >>> [lr_multiplier(settings, step, total=10, steps_per_epoch=5) for step in (0, 5, 10)]
    [1.0, 0.5, 0.0]
    """
    if settings.name == "step":
        return settings.factor ** (step // (settings.step_epochs * steps_per_epoch))
    rising = round(settings.warmup * total)
    if step < rising:
        return (step + 1) / (rising + 1)
    if settings.name == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rising) / max(1, total - rising))))
