"""The ablation of MlTr (Table 5) in miniature: its six rows on one data set, with the same budget for every row.

``python benchmarks/mltr_table5.py SPEC --out FOLDER [--labels A,B] [--weights FILE]``

A further row has a block of pixel attention in the place of each cross-window block, to separate the effect of
cross-window attention from that of depth. Without --weights the network is trained on pixels. A few thousand
photographs are not enough for that; with --weights, ImageNet weights of MobileNetV2, the last three maps of that
network, frozen, are brought to one grid, whose positions take the place of patches. The figures of a row are written to
FOLDER as soon as they are measured; if the script is started again, it continues with the missing rows.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import compress
from typing import Any

import torch
from ablation import draw_views, parser_of, print_table, remember, trained
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from tagformer import create_model
from tagformer.backbones import Backbone, create_backbone
from tagformer.data import load_dataset
from tagformer.data.loader.loader import evaluation_loader
from tagformer.images.transforms import evaluation_transform, normalise
from tagformer.labels import LabelSpace
from tagformer.losses import asymmetric_loss, count_loss
from tagformer.metrics import average_precision
from tagformer.models import MultiLabelModel
from tagformer.recipes.settings import OptimizerSettings, ScheduleSettings
from tagformer.training.optim import create_optimizer, create_schedule

SIDE = 16  # positions along the side of the first map
LINEAR: dict[str, Any] = {"arc_sigmoid": None, "object_aware_token": False}
ROWS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "fixed window": ({"positions": False, "shift": False, "cross_window": "none"}, LINEAR),
    "+ position embedding": ({"shift": False, "cross_window": "none"}, LINEAR),
    "+ shift window": ({"cross_window": "none"}, LINEAR),
    "(a third window block)": ({"cross_window": "window"}, LINEAR),
    "+ cross-window attention": ({}, LINEAR),
    "+ arc sigmoid": ({}, {"object_aware_token": False}),
    "+ object-aware token": ({}, {}),
}


class Pixels:
    """Images, a random half of them mirrored, decoded once and kept in memory."""

    def __init__(self, settings: argparse.Namespace) -> None:
        self.images, self.labels = self._read(settings.spec, "train")
        self.test, self.test_labels = self._read(settings.spec, "test")

    def _read(self, spec: str, split: str) -> tuple[Tensor, Tensor]:
        dataset = load_dataset(spec, split)
        batches = list(evaluation_loader(dataset, evaluation_transform(4 * SIDE), 64, 1))
        return torch.cat([batch.images for batch in batches]), torch.cat([batch.labels for batch in batches])

    def backbone(self, options: dict[str, Any]) -> Backbone:
        return create_backbone("mltr_tiny", False, image_size=4 * SIDE, **options)

    def batch(self, indices: Tensor) -> Tensor:
        mirrored = torch.rand(len(indices), 1, 1, 1) < 0.5
        images = self.images[indices]
        return normalise(torch.where(mirrored, images.flip(3), images), Backbone.mean, Backbone.std)

    def tests(self) -> Iterator[Tensor]:
        return (normalise(images, Backbone.mean, Backbone.std) for images in self.test.split(64))


class Maps:
    """Maps of MobileNetV2 on one grid, standardised, in the place of patches."""

    def __init__(self, settings: argparse.Namespace) -> None:
        data = remember(settings.spec, settings.weights, settings.out)
        (self.views, self.labels), ((self.test, *_), self.test_labels) = data["train"], data["test"]
        sample = self._grid([level[:300] for level in self.views[0]])
        self.std, self.mean = torch.std_mean(sample, dim=(0, 2, 3), keepdim=True)

    def _grid(self, maps: list[Tensor]) -> Tensor:
        """S3, S4 and S5 (B, C, h, w) as one map, (B, C3 + C4 + C5, SIDE, SIDE)."""
        sized = [F.interpolate(level.float(), (SIDE, SIDE), mode="bilinear") for level in maps]
        return torch.cat(sized, dim=1)

    def backbone(self, options: dict[str, Any]) -> Backbone:
        backbone = create_backbone("mltr_tiny", False, image_size=SIDE, patch=1, **options)
        backbone.embedding = nn.Conv2d(self.mean.shape[1], backbone.channels[0], 1)
        return backbone

    def batch(self, indices: Tensor) -> Tensor:
        return (self._grid(draw_views(self.views, indices)) - self.mean) / self.std

    def tests(self) -> Iterator[Tensor]:
        for first in range(0, len(self.test_labels), 64):
            yield (self._grid([level[first : first + 64] for level in self.test]) - self.mean) / self.std


def train(model: MultiLabelModel, data: Pixels | Maps, labels: Tensor, settings: argparse.Namespace) -> Any:
    """The model after training with the asymmetric loss, AdamW and one cycle."""
    steps = len(labels) // settings.batch

    def losses() -> Iterator[Tensor]:
        for _ in range(settings.epochs):
            for indices in torch.randperm(len(labels)).split(settings.batch)[:steps]:
                output = model(data.batch(indices))
                loss = asymmetric_loss(output.logits, labels[indices], reduction="batchmean")
                if output.count_logits is not None:
                    loss = loss + count_loss(output.count_logits, labels[indices], reduction="batchmean")
                yield loss

    optimizer = create_optimizer(model.train(), OptimizerSettings(lr=settings.lr, weight_decay=0.05))
    schedule = create_schedule(optimizer, ScheduleSettings(name="onecycle", warmup=0.2), steps, settings.epochs)
    return trained(model, losses(), optimizer, schedule)


def main() -> None:
    parser = parser_of(ROWS)
    parser.add_argument("--weights", help="of MobileNetV2, whose maps then replace the patches")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=5e-4)
    settings = parser.parse_args()
    settings.out.mkdir(parents=True, exist_ok=True)
    space = load_dataset(settings.spec, "train").label_space
    target = space.is_target
    names = list(compress(space.names, target.tolist()))
    data = Maps(settings) if settings.weights else Pixels(settings)
    labels, test_labels = data.labels[:, target], data.test_labels[:, target]

    def measure(row: str) -> Tensor:
        backbone_options, model_options = ROWS[row]
        model = create_model("mltr", LabelSpace(names), data.backbone(backbone_options), **model_options)
        model = train(model, data, labels, settings)
        with torch.inference_mode():
            return average_precision(torch.cat([model(inputs).logits for inputs in data.tests()]), test_labels)

    print_table(settings, names, test_labels, measure)


if __name__ == "__main__":
    main()
