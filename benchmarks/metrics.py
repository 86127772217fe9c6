"""Time of mAP, bootstrap and calibration against scikit-learn, torchmetrics, scipy and a plain loop.

All figures are ratios of time, measured in one run; each comparison checks that both sides give the same figures.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.stats import bootstrap
from sklearn.metrics import average_precision_score
from torch import Tensor
from torchmetrics.functional.classification import binary_calibration_error, multilabel_average_precision

from tagformer.metrics import average_precision, bootstrap_mAP, evaluate, reliability

ROUNDS = 3
SIZES = {"40,504 x 80 (COCO val)": (40_504, 80), "20,000 x 2,000": (20_000, 2_000)}
LOOPED = 4  # labels on which the plain loop is timed; the time is scaled to all labels


def case(images: int, labels: int) -> tuple[Tensor, Tensor]:
    """Logits of a moderately good tagger, and labels that are present on 3 % of the images."""
    generator = torch.Generator().manual_seed(0)
    states = (torch.rand(images, labels, generator=generator) < 0.03).to(torch.int8)
    logits = torch.randn(images, labels, generator=generator).add_(states, alpha=2)
    return logits, states


def plain_loop(scores: Tensor, labels: Tensor) -> float:
    """AP of one label by its definition: down the ranking, image by image."""
    order = torch.sort(scores, descending=True).indices
    hits, total, precisions = 0.0, 0.0, 0.0
    for index in order:
        total += 1
        if labels[index] == 1:
            hits += 1
            precisions += hits / total
    return precisions / hits


def best_time(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """The shortest time of several calls, in seconds."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def peak_memory(work: Callable[[], object]) -> int:
    """The memory that `work` needs at most beyond what the process already has, in bytes (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")  # resets the earlier peak
    before = _memory("VmRSS")
    work()
    return _memory("VmHWM") - before


def _memory(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def measure(name: str, images: int, labels: int) -> None:
    """Print the time of mAP for one size, and the times of the others as ratios to it."""
    logits, states = case(images, labels)
    matrix = logits.numel() * logits.element_size()
    ours = average_precision(logits, states).nanmean().item()
    evaluate(logits[:1000], states[:1000])  # the memory of modules that the first call loads is not counted
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


def measure_bootstrap(images: int, labels: int, resamples: int = 1000) -> None:
    """Print the time of the bootstrap, against `scipy.stats.bootstrap` on the numbers of the images."""
    logits, states = case(images, labels)

    def mean_precision(rows: np.ndarray) -> float:
        chosen = torch.from_numpy(np.ascontiguousarray(rows))
        return average_precision(logits[chosen], states[chosen]).nanmean().item()

    def by_scipy() -> np.ndarray:
        options = {"vectorized": False, "method": "percentile", "batch": 50}
        generator = np.random.default_rng(0)
        result = bootstrap((np.arange(images),), mean_precision, n_resamples=resamples, rng=generator, **options)
        return result.bootstrap_distribution

    assert np.allclose(by_scipy(), bootstrap_mAP([logits], states, resamples)[0], atol=1e-12)
    fastest = best_time(lambda: bootstrap_mAP([logits], states, resamples))
    scipys = best_time(by_scipy)
    memory = peak_memory(lambda: bootstrap_mAP([logits], states, resamples)) / 1e6
    print(f"\nbootstrap, {images} x {labels}, {resamples} resamples: ours {fastest:.2f} s, {memory:.0f} MB")
    print(f"  scipy: {scipys / fastest:.1f} times the time, {peak_memory(by_scipy) / 1e6:.0f} MB")


def measure_calibration(images: int, labels: int) -> None:
    """Print the time of the reliability curve, against torchmetrics' calibration error, which has no curve."""
    logits, states = case(images, labels)
    probabilities, integers = torch.sigmoid(logits), states.long().flatten()

    def by_torchmetrics() -> float:
        return binary_calibration_error(probabilities.flatten().double(), integers, n_bins=15).item()

    assert abs(by_torchmetrics() - reliability(probabilities, states).expected_calibration_error) < 1e-9
    fastest = best_time(lambda: reliability(probabilities, states))
    print(f"\ncalibration, {images} x {labels}: ours {fastest:.3f} s")
    print(f"  torchmetrics: {best_time(by_torchmetrics) / fastest:.1f} times the time")


def main() -> None:
    for name, (images, labels) in SIZES.items():
        measure(name, images, labels)
    measure_bootstrap(300, 20)
    measure_bootstrap(5_000, 80)
    measure_calibration(40_504, 80)


if __name__ == "__main__":
    main()
