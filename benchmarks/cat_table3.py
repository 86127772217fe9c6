"""CAT's ablation (Table 3) in miniature: six rows on one data set, with the same budget for each.

``python benchmarks/cat_table3.py SPEC --weights FILE --out FOLDER [--seeds 3] [--epochs 8] [--lr 1.5e-3] [--labels a,b]``

The backbone is MobileNetV2 with ImageNet weights, frozen: its maps are worked out once for four views of each training
image (the image, its mirror image, two random crops) and kept in FOLDER, so that a row trains in minutes on two cores.
Every row sees the same views and steps and has the same optimizer. FOLDER/rows.json gets each figure as it is measured;
started again, the script goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchvision.transforms import v2

from tagformer import create_model
from tagformer.backbones import Backbone, create_backbone
from tagformer.backbones.folding import fold_batch_norms
from tagformer.data import load_dataset
from tagformer.data.loading import evaluation_loader
from tagformer.data.transforms import evaluation_transform, normalise
from tagformer.files import write_json
from tagformer.labels import PRESENT, LabelSpace
from tagformer.losses import binary_cross_entropy
from tagformer.metrics import average_precision
from tagformer.models import MultiLabelModel
from tagformer.recipes.settings import OptimizerSettings, ScheduleSettings
from tagformer.training.optim import create_optimizer, create_schedule

NETWORK, SIZE, LARGER, VIEWS, BATCH = "mobilenetv2_100", 176, 202, 4, 16
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "CAT": ("cat", {}),
    "CAT w/o LRD": ("cat", {"lrd": False}),
    "CAT w/o PMA": ("cat", {"attention": "full"}),
    "CAT w/o CLF": ("cat", {"clf": False}),
    "Backbone": ("linear", {}),
    "Backbone+FPN": ("fpn", {}),
}


class Remembered(Backbone):
    """Takes maps that were worked out before in the place of images."""

    def __init__(self, maps: list[Tensor]) -> None:
        super().__init__()
        self.channels = tuple(each.shape[1] for each in maps)
        self.strides = (8, 16, 32)

    def forward(self, images: Any) -> tuple[Tensor, ...]:
        return tuple(images)


@torch.inference_mode()
def remember(spec: str, weights: Path, folder: Path) -> dict[str, tuple[list[list[Tensor]], Tensor]]:
    """Of each split the maps S3, S4, S5 of every view, and the labels; worked out once and kept in the folder."""
    file = folder / "maps.pt"
    if file.is_file():
        return torch.load(file)
    backbone = create_backbone(NETWORK, weights=weights, pad_type="same").eval().to(memory_format=torch.channels_last)
    fold_batch_norms(backbone, SIZE)
    crop = v2.RandomResizedCrop(SIZE, scale=(0.5, 1.0), ratio=(3 / 4, 4 / 3), antialias=True)
    torch.manual_seed(0)
    found = {}
    for split, views in (("train", VIEWS), ("test", 1)):
        dataset = load_dataset(spec, split)
        maps: list[list[list[Tensor]]] = [[[] for _ in range(3)] for _ in range(views)]
        order: list[int] = []
        for batch in evaluation_loader(dataset, evaluation_transform(LARGER if views > 1 else SIZE), 32, 1):
            order += batch.indices
            for view in range(views):
                images = batch.images
                if view >= 2:
                    images = torch.stack([crop(image) for image in images])
                elif views > 1:
                    images = v2.functional.resize(images, [SIZE, SIZE], antialias=True)
                images = normalise(images.flip(3) if view % 2 else images, backbone.mean, backbone.std)
                for level, each in enumerate(backbone(images)[-3:]):
                    maps[view][level].append(each.half().contiguous(memory_format=torch.channels_last))
            print(f"{split}: {len(order)} of {len(dataset)} images", end="\r", flush=True)
        found[split] = ([[torch.cat(level) for level in view] for view in maps], dataset.labels[order])
    torch.save(found, file)
    return found


def batches(views: list[list[Tensor]], labels: Tensor, aware: float) -> Iterator[tuple[list[Tensor], Tensor]]:
    """An epoch: every image once on average, each in a view of its own.

    Args:
        aware: an image is as likely as the rarest of its labels, to the power of -`aware`; 0: all alike.
    """
    present = (labels == PRESENT).float()
    weight = (present / present.sum(dim=0).clamp(min=1) ** aware).amax(dim=1)
    rows = torch.multinomial(weight, len(labels), replacement=True) if aware else torch.randperm(len(labels))
    for some in rows.split(BATCH):
        if len(some) == BATCH:
            drawn = torch.randint(len(views), (BATCH,)).tolist()
            levels = range(len(views[0]))
            pairs = list(zip(drawn, some.tolist(), strict=True))
            yield [torch.stack([views[v][level][i] for v, i in pairs]).float() for level in levels], labels[some]


def train(model: MultiLabelModel, views: list[list[Tensor]], labels: Tensor, settings: argparse.Namespace) -> Any:
    """The moving average of the model's weights after training."""
    present = (labels == PRESENT).float().sum(dim=0)
    model.start_from_frequencies((present + 1) / (len(labels) + 2))
    optimizer = create_optimizer(model, OptimizerSettings(lr=settings.lr, weight_decay=0.05))
    schedule = create_schedule(optimizer, ScheduleSettings(), len(labels) // BATCH, settings.epochs)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.99))
    for _ in range(settings.epochs):
        for maps, own in batches(views, labels, settings.aware):
            loss = binary_cross_entropy(model(maps).logits, own, reduction="mean")
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            average.update_parameters(model)
    return average.module.eval()
