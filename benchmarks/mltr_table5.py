"""MlTr's ablation (Table 5) in miniature: its six rows on one data set, from scratch, with the same budget for each.

``python benchmarks/mltr_table5.py SPEC --out FOLDER [--labels A,B]``

Beside the row without a cross-window block stands one with a block of window attention in its place, so that depth is
not what makes the difference. Images are decoded once and kept in memory. FOLDER gets each row's figures as they are
measured; started again, the script goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from itertools import compress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchvision.transforms import v2

from tagformer import create_model
from tagformer.backbones import create_backbone
from tagformer.data import load_dataset
from tagformer.data.loading import evaluation_loader
from tagformer.data.transforms import evaluation_transform, normalise
from tagformer.files import write_json
from tagformer.labels import LabelSpace
from tagformer.losses import asymmetric_loss, count_loss
from tagformer.metrics import average_precision
from tagformer.models import MultiLabelModel
from tagformer.recipes.settings import OptimizerSettings, ScheduleSettings
from tagformer.training.optim import create_optimizer, create_schedule

LINEAR: dict[str, Any] = {"arc_sigmoid": None, "object_token": False}
ROWS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "fixed window": ({"positions": False, "shift": False, "cross_window": "none"}, LINEAR),
    "+ position embedding": ({"shift": False, "cross_window": "none"}, LINEAR),
    "+ shift window": ({"cross_window": "none"}, LINEAR),
    "  a third window block": ({"cross_window": "window"}, LINEAR),
    "+ cross-window attention": ({}, LINEAR),
    "+ arc sigmoid": ({}, {"object_token": False}),
    "+ object-aware token": ({}, {}),
}


def pictures(spec: str, split: str, size: int) -> tuple[Tensor, Tensor]:
    """All images of a split (N, 3, size, size), uint8, and their labels but the extra ones."""
    dataset = load_dataset(spec, split)
    images, order = [], []
    for batch in evaluation_loader(dataset, evaluation_transform(size), 64, 1):
        images.append(batch.images)
        order += batch.indices
        print(f"{split}: {len(order)} of {len(dataset)} images", end="\r", flush=True)
    return torch.cat(images), dataset.labels[order][:, dataset.label_space.is_target]


def train(model: MultiLabelModel, images: Tensor, labels: Tensor, settings: argparse.Namespace) -> Any:
    """The moving average of the model's weights after training with crops, mirroring, AdamW and one cycle."""
    crop = v2.RandomResizedCrop(settings.size, scale=(settings.crop, 1.0), ratio=(3 / 4, 4 / 3), antialias=True)
    steps = len(labels) // settings.batch
    optimizer = create_optimizer(model.train(), OptimizerSettings(lr=settings.lr, weight_decay=0.05))
    schedule = create_schedule(optimizer, ScheduleSettings(name="onecycle", warmup=0.2), steps, settings.epochs)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.99))
    for _ in range(settings.epochs):
        for some in torch.randperm(len(labels)).split(settings.batch)[:steps]:
            batch = torch.stack([crop(image) for image in images[some]]) if settings.crop < 1 else images[some]
            mirrored = torch.rand(len(some)) < 0.5
            batch = torch.where(mirrored[:, None, None, None], batch.flip(3), batch)
            output = model(normalise(batch, model.backbone.mean, model.backbone.std))
            loss = asymmetric_loss(output.logits, labels[some], reduction="batchmean")
            if output.count_logits is not None:
                loss = loss + count_loss(output.count_logits, labels[some], reduction="batchmean")
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            average.update_parameters(model)
    return average.module.eval()


@torch.inference_mode()
def score(model: MultiLabelModel, images: Tensor, labels: Tensor) -> Tensor:
    """Average precision of each label, (L,)."""
    mean, std = model.backbone.mean, model.backbone.std
    parts = [model(normalise(each, mean, std)).logits for each in images.split(64)]
    return average_precision(torch.cat(parts), labels)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("spec")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--labels", default="", help="for the mean; otherwise those that vary in the test split")
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--size", type=int, default=96, help="pixels a side")
    parser.add_argument("--crop", type=float, default=1.0, help="least share of an image that a crop keeps")
    settings = parser.parse_args()
    settings.out.mkdir(parents=True, exist_ok=True)
    space = load_dataset(settings.spec, "train").label_space
    names = list(compress(space.names, space.is_target.tolist()))
    images, labels = pictures(settings.spec, "train", settings.size)
    test, test_labels = pictures(settings.spec, "test", settings.size)
    varies = [len(column.unique()) > 1 for column in test_labels.unbind(dim=1)]
    named = settings.labels.split(",") if settings.labels else list(compress(names, varies))
    print(f"{'':24}  mAP over {len(named)} labels, each seed; mean and deviation")
    for row in settings.rows.split(","):
        of_backbone, of_model = ROWS[row]
        found = []
        for seed in settings.seeds.split(","):
            file = settings.out / f"{'_'.join(row.replace('+', '').split())}-{seed}.json"
            if not file.is_file():
                torch.manual_seed(int(seed))
                backbone = create_backbone("mltr_tiny", False, image_size=settings.size, **of_backbone)
                model = create_model("mltr", LabelSpace(names), backbone, **of_model)
                precision = score(train(model, images, labels, settings), test, test_labels)
                write_json(file, dict(zip(names, precision.tolist(), strict=True)))
            read = json.loads(file.read_text())
            found.append(100 * statistics.fmean(read[name] for name in named))
        mean, deviation = statistics.fmean(found), statistics.stdev(found) if len(found) > 1 else math.nan
        print(f"{row:24}  {' '.join(f'{value:.1f}' for value in found)}   {mean:.1f} ± {deviation:.1f}", flush=True)


if __name__ == "__main__":
    main()
