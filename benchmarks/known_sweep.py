"""How much a known-label sweep gains by encoding each image once: both ways in one run, as a ratio."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from tagformer import create_model
from tagformer.labels import label_mask_training

BATCH, LABELS, SIZE, SETTINGS, ROUNDS = 8, 80, 160, 12, 5


def best_time(work: Callable[[], None]) -> float:
    """The shortest of several rounds, in seconds."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def main() -> None:
    model = create_model("ctran", LABELS, "mobilenetv3_large_100", pretrained=False, width=128, layers=2).eval()
    images = torch.randn(BATCH, 3, SIZE, SIZE)
    knowns = [label_mask_training(torch.randint(0, 2, (BATCH, LABELS), dtype=torch.int8)) for _ in range(SETTINGS)]

    def once() -> None:
        features = model.encode(images)
        for known in knowns:
            model.decode(features, known)

    def each_time() -> None:
        for known in knowns:
            model(images, known)

    with torch.inference_mode():
        ratio = best_time(each_time) / best_time(once)
    print(f"{SETTINGS} sets of known labels, {BATCH} images: encoding once is {ratio:.1f} times as fast")


if __name__ == "__main__":
    main()
