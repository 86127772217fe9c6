"""The cost of a sweep over shares of known labels, relative to a plain evaluation of the same images in the same run.

``python benchmarks/known_sweep.py [SPEC]`` uses a C-Tran of width 128 on MobileNetV2 at 224 pixels. SPEC is a data set;
the default is the COCO images in ../shared/data/coco256 if they exist, otherwise drawn scenes.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path

import torch

from tagformer import create_model
from tagformer.backbones import create_backbone
from tagformer.data import load_dataset
from tagformer.evaluation.evaluate import evaluate_model
from tagformer.evaluation.options import EvaluationOptions
from tagformer.images.preprocessing import Preprocessing

FRACTIONS, ROUNDS = (0.0, 0.25, 0.5, 0.75), 5


def main() -> None:
    shared = Path(os.environ.get("TAGFORMER_SHARED", "../shared")) / "data" / "coco256"
    spec = sys.argv[1] if len(sys.argv) > 1 else f"coco:{shared}" if shared.is_dir() else "scenes?images=300"
    dataset = load_dataset(spec, "all")
    torch.manual_seed(0)
    backbone = create_backbone("mobilenetv2_100", pretrained=False).to(memory_format=torch.channels_last)
    model = create_model("ctran", dataset.label_space, backbone, width=128, layers=2).eval()

    def seconds(fractions: tuple[float, ...]) -> float:
        began = time.perf_counter()
        preprocessing = Preprocessing(224, mean=model.backbone.mean, std=model.backbone.std)
        evaluate_model(model, dataset, preprocessing, EvaluationOptions(known_shares=fractions, draws=1))
        return time.perf_counter() - began

    seconds(FRACTIONS)
    costs = sorted(seconds(FRACTIONS) / seconds(()) for _ in range(ROUNDS))
    print(
        f"{len(dataset)} images, {len(dataset.label_space)} labels: "
        f"a plain evaluation and {len(FRACTIONS)} shares of known labels cost "
        f"{statistics.median(costs):.2f} plain evaluations (rounds: {', '.join(f'{cost:.2f}' for cost in costs)})"
    )


if __name__ == "__main__":
    main()
