"""mAP of ours beside torchmetrics, scikit-learn and a plain loop, in one run: ratios of time, and our peak memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor
from torchmetrics.functional.classification import multilabel_average_precision

from tagformer.metrics import average_precision, evaluate

ROUNDS = 3
SIZES = {"40,504 x 80 (COCO val)": (40_504, 80), "20,000 x 2,000": (20_000, 2_000)}
LOOPED = 4  # labels that the plain loop is timed on; the rest is multiplied


def case(images: int, labels: int) -> tuple[Tensor, Tensor]:
    """Logits of a fair tagger, and labels that 3 % of the images have."""
    generator = torch.Generator().manual_seed(0)
    states = (torch.rand(images, labels, generator=generator) < 0.03).to(torch.int8)
    logits = torch.randn(images, labels, generator=generator).add_(states, alpha=2)
    return logits, states


def plain_loop(scores: Tensor, labels: Tensor) -> float:
    """AP of one label as a textbook writes it: down the ranking, image by image."""
    order = torch.sort(scores, descending=True).indices
    hits, total, precisions = 0.0, 0.0, 0.0
    for index in order:
        total += 1
        if labels[index] == 1:
            hits += 1
            precisions += hits / total
    return precisions / hits


def best_time(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def peak_memory(work: Callable[[], object]) -> int:
    """The most memory that `work` needs beyond what the process already has, in bytes (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")  # forget the earlier peak
    before = _memory("VmRSS")
    work()
    return _memory("VmHWM") - before


def _memory(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def measure(name: str, images: int, labels: int) -> None:
    """Print what one size costs, ours and the others' in ratios."""
    logits, states = case(images, labels)
    matrix = logits.numel() * logits.element_size()
    ours = average_precision(logits, states).nanmean().item()
    evaluate(logits[:1000], states[:1000])  # what the first call loads is not the matrix's
    ranking = peak_memory(lambda: average_precision(logits, states)) / matrix
    everything = peak_memory(lambda: evaluate(logits, states)) / matrix
    fastest = best_time(lambda: average_precision(logits, states))
    print(f"\n{name}, {torch.get_num_threads()} threads: ours {fastest:.3f} s, mAP {ours:.4f}")
    print(f"  memory beyond the arguments, in score matrices: {ranking:.2f}, of evaluate {everything:.2f}")
    print(f"  all of evaluate's figures: {best_time(lambda: evaluate(logits, states), 1) / fastest:.1f} times the time")

    integers = states.long()
    exact = best_time(lambda: multilabel_average_precision(logits, integers, labels, thresholds=None))
    theirs = multilabel_average_precision(torch.sigmoid(logits.double()), integers, labels, thresholds=None).item()
    assert abs(theirs - ours) < 1e-6
    print(f"  torchmetrics: {exact / fastest:.1f} times the time")

    columns = [(states[:, i].numpy(), logits[:, i].numpy()) for i in range(labels)]
    began = time.perf_counter()
    sklearns = np.mean([average_precision_score(*column) for column in columns])
    assert abs(sklearns - ours) < 1e-9
    print(f"  scikit-learn: {(time.perf_counter() - began) / fastest:.1f} times the time")
    if images * labels < 5_000_000:
        looped = best_time(lambda: [plain_loop(logits[:, i], states[:, i]) for i in range(LOOPED)], 1)
        print(f"  a plain loop: {looped * labels / LOOPED / fastest:.0f} times the time (timed on {LOOPED} labels)")


def main() -> None:
    for name, (images, labels) in SIZES.items():
        measure(name, images, labels)


if __name__ == "__main__":
    main()
