"""The cost of the cross-window blocks of MlTr: its three sizes against Swin transformers of the same input and widths.

The table has operations (multiply-adds of one image, with an explicit softmax) and times, both as ratios to the Swin
transformer in the same run; "over" is the ratio of the times divided by the ratio of the operations. Both networks run
without classifier and without stochastic depth.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import timm
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tagformer.backbones import create_backbone
from tagformer.backbones.mltr.variants import VARIANTS

PAIRS = {
    "mltr_s": "swin_tiny_patch4_window7_224",
    "mltr_m": "swin_small_patch4_window7_224",
    "mltr_l": "swin_base_patch4_window7_224",
}
ROUNDS = 5


def operations(model: nn.Module, images: torch.Tensor) -> float:
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        model(images)
    return counter.get_total_flops() / 2


def inference(model: nn.Module, images: torch.Tensor) -> Callable[[], None]:
    def work() -> None:
        with torch.inference_mode():
            model(images)

    return work


def training(model: nn.Module, images: torch.Tensor) -> Callable[[], None]:
    def work() -> None:
        output = model(images)
        (output if isinstance(output, torch.Tensor) else output[-1]).square().mean().backward()
        model.zero_grad()

    return work


def ratio(work: Callable[[], None], baseline: Callable[[], None]) -> float:
    """The time of the work divided by that of the baseline: the median over rounds in which both take turns."""
    work()
    baseline()
    return statistics.median(seconds(work) / seconds(baseline) for _ in range(ROUNDS))


def seconds(work: Callable[[], None]) -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def main() -> None:
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    columns = ("G multiply-adds", "Swin", "ratio", "inference", "over", "training", "over")
    print(" " * 8, "".join(f"{column:>{len(column) + 2}}" for column in columns))
    for name, network in PAIRS.items():
        size = VARIANTS[name]["image_size"]
        mltr = create_backbone(name, pretrained=False).to(device)
        options = {"img_size": size, "window_size": size // 32, "num_classes": 0, "drop_path_rate": 0.0}
        swin = timm.create_model(network, pretrained=False, **options).to(device)
        one = torch.randn(1, 3, size, size, device=device)
        images = torch.randn(4 if size == 224 else 1, 3, size, size, device=device)
        count, swin_count = operations(mltr.eval(), one), operations(swin.eval(), one)
        slower = ratio(inference(mltr, images), inference(swin, images))
        step = ratio(training(mltr.train(), images), training(swin.train(), images))
        more = count / swin_count
        values = (count / 1e9, swin_count / 1e9, more, slower, slower / more, step, step / more)
        row = (f"{value:>{len(column) + 2}.2f}" for column, value in zip(columns, values, strict=True))
        print(f"{name:8}", "".join(row), flush=True)


if __name__ == "__main__":
    main()
