"""CAT's ablation (Table 3) in miniature: six rows on one data set, with the same budget for each.

``python benchmarks/cat_table3.py SPEC --weights FILE --out FOLDER [--labels A,B]``

The backbone is MobileNetV2 with ImageNet weights, frozen: its maps are worked out once for four views of each training
image (the image, its mirror image, two random crops) and kept in FOLDER, so that a row trains in minutes on two cores.
Every row sees the same views and steps and has the same optimizer. FOLDER gets each row's figures as they are measured;
started again, the script goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Iterator
from itertools import compress
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
SMALL: dict[str, dict[str, Any]] = {
    "cat": {"width": 64, "dropout": 0.0, "norm_first": True, "standardise": True},
    "fpn": {"width": 64, "standardise": True},
    "linear": {},
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


def batches(views: list[list[Tensor]], labels: Tensor) -> Iterator[tuple[list[Tensor], Tensor]]:
    """An epoch: every image once, in a view of its own."""
    levels = range(len(views[0]))
    for some in torch.randperm(len(labels)).split(BATCH):
        if len(some) == BATCH:
            drawn = torch.randint(len(views), (BATCH,)).tolist()
            pairs = list(zip(drawn, some.tolist(), strict=True))
            yield [torch.stack([views[v][level][i] for v, i in pairs]).float() for level in levels], labels[some]


def train(model: MultiLabelModel, views: list[list[Tensor]], labels: Tensor, settings: argparse.Namespace) -> Any:
    """The moving average of the model's weights after training with mixup, AdamW and a cosine schedule."""
    present = (labels == PRESENT).float().sum(dim=0)
    model.train().start_from_frequencies((present + 1) / (len(labels) + 2))
    optimizer = create_optimizer(model, OptimizerSettings(lr=settings.lr, weight_decay=0.05))
    schedule = create_schedule(optimizer, ScheduleSettings(), len(labels) // BATCH, settings.epochs)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.99))
    share = torch.distributions.Beta(settings.mixup, settings.mixup)
    for _ in range(settings.epochs):
        for maps, own in batches(views, labels):
            weight, partner = share.sample(), torch.randperm(BATCH)
            logits = model([weight * each + (1 - weight) * each[partner] for each in maps]).logits
            loss = weight * binary_cross_entropy(logits, own, reduction="mean")
            loss = loss + (1 - weight) * binary_cross_entropy(logits, own[partner], reduction="mean")
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            average.update_parameters(model)
    return average.module.eval()


@torch.inference_mode()
def score(model: MultiLabelModel, maps: list[Tensor], labels: Tensor) -> Tensor:
    """Average precision of each label, (L,)."""
    parts = [model([each[i : i + 64].float() for each in maps]).logits for i in range(0, len(labels), 64)]
    return average_precision(torch.cat(parts), labels)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("spec")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--labels", default="", help="for the mean; otherwise those that vary in the test split")
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--mixup", type=float, default=0.4)
    parser.add_argument("--options", type=json.loads, default={}, help="of cat and fpn, as JSON")
    settings = parser.parse_args()
    settings.out.mkdir(parents=True, exist_ok=True)
    space = load_dataset(settings.spec, "train").label_space
    data = remember(settings.spec, settings.weights, settings.out)
    (views, labels), ((test, *_), test_labels) = data["train"], data["test"]
    varies = [len(column.unique()) > 1 for column in test_labels.unbind(dim=1)]
    named = settings.labels.split(",") if settings.labels else list(compress(space.names, varies))
    print(f"{'':13}  mAP over {len(named)} labels, each seed; mean and deviation")
    for row in settings.rows.split(","):
        kind, options = ROWS[row]
        options = {**SMALL[kind], **{k: v for k, v in settings.options.items() if k in SMALL[kind]}, **options}
        found = []
        for seed in settings.seeds.split(","):
            file = settings.out / f"{row.replace(' ', '_').replace('/', '')}-{seed}.json"
            if not file.is_file():
                torch.manual_seed(int(seed))
                model = create_model(kind, LabelSpace(space.names), Remembered(views[0]), **options)
                precision = score(train(model, views, labels, settings), test, test_labels)
                write_json(file, dict(zip(space.names, precision.tolist(), strict=True)))
            read = json.loads(file.read_text())
            found.append(100 * statistics.fmean(read[name] for name in named))
        mean, deviation = statistics.fmean(found), statistics.stdev(found) if len(found) > 1 else math.nan
        print(f"{row:13}  {' '.join(f'{value:.1f}' for value in found)}   {mean:.1f} ± {deviation:.1f}", flush=True)


if __name__ == "__main__":
    main()
