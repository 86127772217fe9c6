"""A model without images against co-occurrence counts, with the same known labels: mAP over the unknown labels.

``python benchmarks/labels_alone.py RUN``, where the model of the run does not use images (recipe ``labels-ctran``). The
baseline is naive Bayes: the log-odds of a label are those of its frequency plus, for each known label, the logarithm of
P(state of the known label | label present) / P(state of the known label | label absent). Every count is smoothed by one
image.
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
    """Log-odds (N, L) from training labels (M, L) and known labels (N, L)."""
    present, absent = (train == PRESENT).float(), (train == ABSENT).float()
    odds = torch.logit((present.sum(0) + 1) / (present.sum(0) + absent.sum(0) + 2)).expand(len(known), -1)
    for state, has_state in ((PRESENT, present), (ABSENT, absent)):
        if_present = (has_state.T @ present + 1) / ((present + absent).T @ present + 2)  # [known, predicted]
        if_absent = (has_state.T @ absent + 1) / ((present + absent).T @ absent + 2)
        odds = odds + (known == state).float() @ (if_present / if_absent).log()
    return odds


def main() -> None:
    parser = argparse.ArgumentParser(description="A model without images against co-occurrence counts.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--draws", type=int, default=3)
    arguments = parser.parse_args()
    run = Run.load(arguments.run)
    split = load_split(run)
    train = load_dataset(split.spec, "train", on_bad_image="keep").align_to(run.label_space).labels
    model = run.model()
    options = EvaluationOptions(known_shares=FRACTIONS, draws=arguments.draws, scored="unknown", workers=0)
    evaluation = evaluate_model(model, split.dataset, run.preprocessing(model.backbone), options)
    labels, ids = split.dataset.labels, split.dataset.ids
    for point in evaluation.known:
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
