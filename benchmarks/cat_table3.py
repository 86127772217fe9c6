"""The ablation of CAT (Table 3) in miniature: six rows on one data set, with the same budget for every row.

``python benchmarks/cat_table3.py SPEC --weights FILE --out FOLDER [--labels A,B]``

The backbone is a frozen MobileNetV2 with ImageNet weights. Its maps are computed once for four views of each training
image (the image, its mirror image, two random crops) and stored in FOLDER, so that a row trains in minutes on two CPU
cores. All rows use the same views, the same number of steps and the same optimizer. The figures of a row are written to
FOLDER as soon as they are measured; if the script is started again, it continues with the missing rows.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from ablation import draw_views, parser_of, print_table, remember, trained
from torch import Tensor

from tagformer import create_model
from tagformer.backbones import Backbone
from tagformer.data import load_dataset
from tagformer.labels import PRESENT, LabelSpace
from tagformer.losses import binary_cross_entropy
from tagformer.metrics import average_precision
from tagformer.models import MultiLabelModel
from tagformer.recipes.settings import OptimizerSettings, ScheduleSettings
from tagformer.training.optim import create_optimizer, create_schedule

BATCH = 16
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "CAT": ("cat", {}),
    "CAT w/o LRD": ("cat", {"lrd": False}),
    "CAT w/o PMA": ("cat", {"attention": "full"}),
    "CAT w/o CLF": ("cat", {"clf": False}),
    "Backbone": ("linear", {}),
    "Backbone+FPN": ("fpn", {}),
}
SMALL: dict[str, dict[str, Any]] = {
    "cat": {"width": 64, "dropout": 0.0, "norm_first": True, "standardise": True},
    "fpn": {"width": 64, "standardise": True},
    "linear": {},
}


class Remembered(Backbone):
    """A backbone whose input is the maps that were computed before, in the place of images."""

    def __init__(self, maps: list[Tensor]) -> None:
        super().__init__()
        self.channels = tuple(level.shape[1] for level in maps)
        self.strides = (8, 16, 32)

    def forward(self, images: Any) -> tuple[Tensor, ...]:
        return tuple(images)


def train(model: MultiLabelModel, views: list[list[Tensor]], labels: Tensor, settings: argparse.Namespace) -> Any:
    """The model after training with mixup, AdamW and a cosine schedule."""
    present = (labels == PRESENT).float().sum(dim=0)
    model.train().start_from_frequencies((present + 1) / (len(labels) + 2))
    steps = len(labels) // BATCH
    mixing = torch.distributions.Beta(settings.mixup, settings.mixup)

    def losses() -> Iterator[Tensor]:
        for _ in range(settings.epochs):
            for indices in torch.randperm(len(labels)).split(BATCH)[:steps]:
                maps, targets = draw_views(views, indices), labels[indices]
                weight, partner = mixing.sample(), torch.randperm(BATCH)
                logits = model([weight * level + (1 - weight) * level[partner] for level in maps]).logits
                loss = weight * binary_cross_entropy(logits, targets, reduction="mean")
                yield loss + (1 - weight) * binary_cross_entropy(logits, targets[partner], reduction="mean")

    optimizer = create_optimizer(model, OptimizerSettings(lr=settings.lr, weight_decay=0.05))
    schedule = create_schedule(optimizer, ScheduleSettings(), steps, settings.epochs)
    return trained(model, losses(), optimizer, schedule)


@torch.inference_mode()
def score(model: MultiLabelModel, maps: list[Tensor], labels: Tensor) -> Tensor:
    """Average precision per label, (L,)."""
    parts = [model([level[i : i + 64].float() for level in maps]).logits for i in range(0, len(labels), 64)]
    return average_precision(torch.cat(parts), labels)


def main() -> None:
    parser = parser_of(ROWS)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--mixup", type=float, default=0.4)
    parser.add_argument("--options", type=json.loads, default={}, help="of cat and fpn, as JSON")
    settings = parser.parse_args()
    settings.out.mkdir(parents=True, exist_ok=True)
    space = load_dataset(settings.spec, "train").label_space
    data = remember(settings.spec, settings.weights, settings.out)
    (views, labels), ((test, *_), test_labels) = data["train"], data["test"]

    def measure(row: str) -> Tensor:
        kind, options = ROWS[row]
        options = {**SMALL[kind], **{k: v for k, v in settings.options.items() if k in SMALL[kind]}, **options}
        model = create_model(kind, LabelSpace(space.names), Remembered(views[0]), **options)
        return score(train(model, views, labels, settings), test, test_labels)

    print_table(settings, space.names, test_labels, measure)


if __name__ == "__main__":
    main()
