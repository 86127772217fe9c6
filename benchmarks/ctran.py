"""What C-Tran costs at full size (ResNet-101, width 2048, 80 labels), as ratios, both sides in one run.

Speeds are against a forward pass of torchvision's plain fp32 ResNet-101: the official code reaches 0.52 of its images
a second at 224 pixels in batches of 8, and 0.67 at 576 in batches of 2.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torchvision.models import resnet101

from tagformer import create_model
from tagformer.labels import label_mask_training, without_known
from tagformer.losses import binary_cross_entropy
from tagformer.models import MultiLabelModel

LABELS, ROUNDS = 80, 5


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def ratio(baseline: Callable[[], object], work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """How many times as fast the work is as the baseline: the median of rounds in which both take turns."""
    baseline()
    work()
    return statistics.median(seconds(baseline) / seconds(work) for _ in range(rounds))


def training_step(model: MultiLabelModel, optimizer: torch.optim.Optimizer, images: torch.Tensor) -> None:
    labels = torch.randint(0, 2, (len(images), LABELS), dtype=torch.int8)
    known = label_mask_training(labels, 0.25)
    loss = binary_cross_entropy(model(images, known).logits, without_known(labels, known), reduction="sum")
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def main() -> None:
    torch.manual_seed(0)
    plain = resnet101().eval().to(memory_format=torch.channels_last)
    model = create_model("ctran", LABELS, "resnet101", pretrained=False).eval().to(memory_format=torch.channels_last)
    for size, batch in ((224, 8), (576, 2)):
        images = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
        unknown = torch.full((batch, LABELS), -1, dtype=torch.int8)

        def forward(images: torch.Tensor = images, unknown: torch.Tensor = unknown) -> None:
            model(images, unknown)

        def half(images: torch.Tensor = images, unknown: torch.Tensor = unknown) -> None:
            with torch.autocast("cpu", torch.bfloat16):
                model(images, unknown)

        with torch.inference_mode():

            def baseline(images: torch.Tensor = images) -> None:
                plain(images)

            name = f"{size} pixels, batches of {batch}"
            print(f"{name}: C-Tran in fp32 {ratio(baseline, forward):.2f} of ResNet-101's images a second", flush=True)
            if torch.ops.mkldnn._is_mkldnn_bf16_supported():
                print(f"{name}: C-Tran in bf16 {ratio(baseline, half):.2f} of ResNet-101's in fp32", flush=True)
            else:
                print(f"{name}: this processor has no instructions for bf16")
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5)
    images = torch.randn(2, 3, 224, 224).contiguous(memory_format=torch.channels_last)

    def reference() -> None:
        with torch.inference_mode():
            plain(images)

    cost = 1 / ratio(reference, lambda: training_step(model, optimizer, images), 3)
    print(f"a training step (224 pixels, 2 images) takes as long as {cost:.1f} of ResNet-101's forward passes")


if __name__ == "__main__":
    main()
