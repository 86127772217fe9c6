"""Key presses of an annotator on the page until 95 % of an image's labels are right, with and without the model's help.

    python benchmarks/annotator.py RUN [--images 200] [--right 0.95] [--data FORMAT:PATH]

The annotator knows the truth. A label is right where its answer, or without one the model's prediction at the
threshold, is the truth. Every answer is one key (Y or N), and Enter at the end is one more. Three ways:

- fixed: the model is asked once; labels are answered from the least certain one on, and an answer changes nothing else;
- known: in the same way, but answers are known to the model, so that the other labels move;
- known and suggested: the next label is the one whose answer is expected to help most.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import Tensor

from tagformer.data.loader.loader import evaluation_loader
from tagformer.evaluation.run_evaluation import load_split
from tagformer.labels.space import UNKNOWN
from tagformer.runs.run import Run
from tagformer.tagging.questions import expected_information_gain
from tagformer.tagging.tagger import Tagger

BATCH = 50  # images
SHORTLIST = 64  # labels whose gain is computed, as on the page


def presses(
    tagger: Tagger, features: Tensor, truth: Tensor, right: float, use_known: bool, next_label: Callable[..., Tensor]
) -> Tensor:
    """Key presses for each image (B,).

    Args:
        features: (B, ...).
        truth: int8 (B, L); unknown labels do not count.
        right: the share of the labels that has to be right.
        use_known: whether the answers are known to the model.
        next_label: from logits (B, L) and the answers (B, L) to the label that is asked, (B,).
    """
    answers = torch.full_like(truth, UNKNOWN)
    nothing = answers.clone()
    limits = torch.logit(tagger.thresholds)
    counted = truth != UNKNOWN
    keys = torch.ones(len(truth), dtype=torch.long)  # Enter
    open_images = torch.ones(len(truth), dtype=torch.bool)
    while True:
        logits = tagger.logits(features, answers if use_known else nothing).cpu()
        states = torch.where(answers == UNKNOWN, (logits >= limits).to(truth.dtype), answers)
        share = ((states == truth) & counted).sum(1) / counted.sum(1)
        open_images &= share < right
        if not open_images.any():
            return keys
        rows = open_images.nonzero().flatten()
        asked = next_label(features[rows], logits[rows] - limits, answers[rows], counted[rows])
        answers[rows, asked] = truth[rows, asked]
        keys[rows] += 1


def least_certain(features: Tensor, margins: Tensor, answers: Tensor, counted: Tensor) -> Tensor:
    """The label without an answer whose logit is nearest to its threshold."""
    return margins.abs().masked_fill((answers != UNKNOWN) | ~counted, torch.inf).argmin(1)


def main() -> None:
    """Print the mean and the median of the key presses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--right", type=float, default=0.95)
    parser.add_argument("--data")
    arguments = parser.parse_args()
    run, tagger = Run.load(arguments.run), Tagger.load(arguments.run)
    data = load_split(run, arguments.data).dataset.sample_evenly(arguments.images)

    def most_helpful(features: Tensor, margins: Tensor, answers: Tensor, counted: Tensor) -> Tensor:
        gain = expected_information_gain(
            tagger.model, features, answers, counted, SHORTLIST, tagger.temperature, tagger.label_weights
        )
        return gain.masked_fill((answers != UNKNOWN) | ~counted, -torch.inf).argmax(1)

    ways = {
        "fixed": (False, least_certain),
        "known": (True, least_certain),
        "known and suggested": (True, most_helpful),
    }
    keys: dict[str, list[Tensor]] = {way: [] for way in ways}
    with torch.inference_mode():
        for batch in evaluation_loader(data, tagger.preprocessing.transform, BATCH, workers=0):
            features = tagger.encode(batch.images)
            for way, (use_known, next_label) in ways.items():
                keys[way].append(presses(tagger, features, batch.labels, arguments.right, use_known, next_label))
    print(f"{len(data)} images, {len(data.label_space)} labels, until {100 * arguments.right:g} % are right")
    for way, found in keys.items():
        counts = torch.cat(found).float()
        mean, median, total = counts.mean(), counts.median(), counts.sum()
        print(f"{way:20s} {mean:6.1f} keys per image, median {median:.0f}, {total:.0f} in all")


if __name__ == "__main__":
    main()
