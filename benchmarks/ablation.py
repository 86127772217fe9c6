"""Shared parts of the ablation tables in miniature: maps of a frozen network, training with an average, the table."""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from itertools import compress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchvision.transforms import v2

from tagformer.backbones import create_backbone
from tagformer.backbones.folding import fold_batch_norms
from tagformer.data import load_dataset
from tagformer.data.loader.loader import evaluation_loader
from tagformer.files import write_json
from tagformer.images.transforms import evaluation_transform, normalise

NETWORK, SIZE, LARGER, VIEWS = "mobilenetv2_100", 176, 202, 4


def parser_of(rows: Iterable[str]) -> argparse.ArgumentParser:
    """The options that the tables have in common."""
    parser = argparse.ArgumentParser()
    parser.add_argument("spec")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--labels", default="", help="for the mean; default: those that vary in the test split")
    parser.add_argument("--rows", default=",".join(rows))
    parser.add_argument("--seeds", default="0,1,2")
    return parser


@torch.inference_mode()
def remember(spec: str, weights: Path, folder: Path) -> dict[str, tuple[list[list[Tensor]], Tensor]]:
    """The maps S3, S4, S5 of every view, and the labels, per split; computed once and stored in the folder.

    The network is MobileNetV2 with ImageNet weights. The four views of a training image are the image, its mirror
    image and two random crops.
    """
    file = folder / "maps.pt"
    if file.is_file():
        return torch.load(file)
    backbone = create_backbone(NETWORK, weights=weights, pad_type="same").eval().to(memory_format=torch.channels_last)
    fold_batch_norms(backbone, SIZE)
    crop = v2.RandomResizedCrop(SIZE, scale=(0.5, 1.0), ratio=(3 / 4, 4 / 3), antialias=True)
    torch.manual_seed(0)
    splits = {}
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
                for level, features in enumerate(backbone(images)[-3:]):
                    maps[view][level].append(features.half().contiguous(memory_format=torch.channels_last))
            print(f"{split}: {len(order)} of {len(dataset)} images", end="\r", flush=True)
        splits[split] = ([[torch.cat(level) for level in view] for view in maps], dataset.labels[order])
    torch.save(splits, file)
    return splits


def draw_views(views: list[list[Tensor]], indices: Tensor) -> list[Tensor]:
    """The maps of the images at these indices, with a random view per image."""
    pairs = list(zip(torch.randint(len(views), indices.shape).tolist(), indices.tolist(), strict=True))
    return [torch.stack([views[v][level][i] for v, i in pairs]).float() for level in range(len(views[0]))]


def trained(
    model: nn.Module,
    losses: Iterable[Tensor],
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> Any:
    """Take a step per loss, which is computed just before its step; return the moving average of the model."""
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.99))
    for loss in losses:
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average.update_parameters(model)
    return average.module.eval()


def print_table(
    settings: argparse.Namespace, names: Sequence[str], labels: Tensor, measure: Callable[[str], Tensor]
) -> None:
    """Print the mean and the standard deviation of every row over the seeds.

    Args:
        names: of the labels.
        labels: of the test split (N, L).
        measure: a row to the average precision per label (L,). Figures that were measured before are read from the
            folder.
    """
    varies = [len(column.unique()) > 1 for column in labels.unbind(dim=1)]
    chosen = settings.labels.split(",") if settings.labels else list(compress(names, varies))
    rows = settings.rows.split(",")
    width = max(map(len, rows))
    print(f"{'':{width}}  mAP over {len(chosen)} labels, per seed; mean and deviation")
    for row in rows:
        scores = []
        for seed in settings.seeds.split(","):
            file = settings.out / f"{''.join(c if c.isalnum() else '_' for c in row)}-{seed}.json"
            if not file.is_file():
                torch.manual_seed(int(seed))
                write_json(file, dict(zip(names, measure(row).tolist(), strict=True)))
            precisions = json.loads(file.read_text())
            scores.append(100 * statistics.fmean(precisions[name] for name in chosen))
        mean, deviation = statistics.fmean(scores), statistics.stdev(scores) if len(scores) > 1 else math.nan
        print(
            f"{row:{width}}  {' '.join(f'{score:.1f}' for score in scores)}   {mean:.1f} ± {deviation:.1f}", flush=True
        )
