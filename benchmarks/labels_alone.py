"""A model of labels alone beside co-occurrence counts, on the same known labels: mAP over what is unknown.

``python benchmarks/labels_alone.py RUN``: a run whose model looks at no image (recipe ``labels-ctran``). The baseline
is naive Bayes: the log-odds of a label are those of its frequency plus, for each known label, the log of how much more
often that answer is seen with it than without it; every count is smoothed by one image.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import torch
from torch import Tensor

from tagformer.data import load_dataset
from tagformer.evaluation.evaluate import evaluate_model
from tagformer.evaluation.options import EvaluationOptions
from tagformer.evaluation.run_evaluation import load_split
from tagformer.labels import ABSENT, PRESENT
from tagformer.labels.masking import draw_known, draw_order
from tagformer.metrics import average_precision
from tagformer.runs.run import Run

FRACTIONS = (0.0, 0.25, 0.5, 0.75)


def naive_bayes(train: Tensor, known: Tensor) -> Tensor:
    """Log-odds (N, L) from training labels (M, L) and known ones (N, L)."""
    present, absent = (train == PRESENT).float(), (train == ABSENT).float()
    odds = torch.logit((present.sum(0) + 1) / (present.sum(0) + absent.sum(0) + 2)).expand(len(known), -1)
    for state, seen in ((PRESENT, present), (ABSENT, absent)):
        with_it = (seen.T @ present + 1) / ((present + absent).T @ present + 2)  # [told, asked]
        without_it = (seen.T @ absent + 1) / ((present + absent).T @ absent + 2)
        odds = odds + (known == state).float() @ (with_it / without_it).log()
    return odds


def main() -> None:
    parser = argparse.ArgumentParser(description="A model of labels alone beside co-occurrence counts.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--draws", type=int, default=3)
    arguments = parser.parse_args()
    run = Run.load(arguments.run)
    split = load_split(run)
    train = load_dataset(split.spec, "train", on_bad_image="keep").align_to(run.label_space).labels
    model = run.model()
    options = EvaluationOptions(known_shares=FRACTIONS, draws=arguments.draws, scored="unknown", workers=0)
    found = evaluate_model(model, split.dataset, run.preprocessing(model.backbone), options)
    labels, ids = split.dataset.labels, split.dataset.ids
    for point in found.known:
        maps = []
        for draw in range(arguments.draws):
            order = draw_order(ids, run.label_space, draw)
            known, left = draw_known(labels, order, point.known_share, "unknown")
            maps.append(average_precision(naive_bayes(train, known), left).nanmean().item())
        print(
            f"{point.known_share:.0%} known: model {100 * point.mAP:.1f}, "
            f"co-occurrence {100 * statistics.fmean(maps):.1f}"
        )


if __name__ == "__main__":
    main()
