"""The cost of C-Tran at full size (ResNet-101, width 2048, 80 labels), as ratios that are measured in one run.

Speeds are relative to a forward pass of the plain fp32 ResNet-101 of torchvision. The authors' code reaches 0.52 of its
images per second at 224 pixels in batches of 8, and 0.67 at 576 pixels in batches of 2. Such ratios depend on how fast
the matrix products of a machine are compared with its convolutions. Therefore, a plain C-Tran with the layout of the
authors' code (the encoder of torch over all tokens) is also measured.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from torchvision.models import resnet101

from tagformer import create_model
from tagformer.backbones.folding import fold_batch_norms
from tagformer.labels.masking import label_mask_training, without_known
from tagformer.losses import binary_cross_entropy
from tagformer.models import MultiLabelModel

LABELS, ROUNDS = 80, 5


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def ratios(baseline: Callable[[], object], *works: Callable[[], object], rounds: int = ROUNDS) -> list[float]:
    """The speed of each work divided by that of the baseline: medians over rounds in which all take turns."""
    for work in (baseline, *works):
        work()
    rows = []
    for _ in range(rounds):
        baseline_seconds = seconds(baseline)
        rows.append([baseline_seconds / seconds(work) for work in works])
    return [statistics.median(column) for column in zip(*rows, strict=True)]


class Plain(nn.Module):
    """The layout of the authors' code: torchvision's network, then torch's encoder layers over all tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(*list(resnet101().children())[:-2])
        self.labels = nn.Parameter(torch.randn(LABELS, 2048))
        self.norm = nn.LayerNorm(2048)
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(2048, 4, 2048, batch_first=True) for _ in range(3))
        self.weights = nn.Parameter(torch.randn(LABELS, 2048))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.backbone(images).flatten(2).transpose(1, 2)
        tokens = self.norm(torch.cat([tokens, self.labels.expand(len(images), -1, -1)], dim=1))
        for layer in self.layers:
            tokens = layer(tokens)
        return (tokens[:, -LABELS:] * self.weights).sum(dim=2)


def training_step(model: MultiLabelModel, optimizer: torch.optim.Optimizer, images: torch.Tensor) -> None:
    labels = torch.randint(0, 2, (len(images), LABELS), dtype=torch.int8)
    known = label_mask_training(labels, 0.25)
    loss = binary_cross_entropy(model(images, known).logits, without_known(labels, known), reduction="sum")
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def full_size() -> MultiLabelModel:
    return create_model("ctran", LABELS, "resnet101", pretrained=False).eval().to(memory_format=torch.channels_last)


def inference() -> None:
    torch.backends.mha.set_fastpath_enabled(False)  # the authors' code is older than this path
    resnet = resnet101().eval().to(memory_format=torch.channels_last)
    plain = Plain().eval().to(memory_format=torch.channels_last)
    model = full_size()
    fold_batch_norms(model.backbone, 224)  # as in the model of a run
    for size, batch in ((224, 8), (576, 2)):
        images = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)

        @torch.inference_mode()
        def baseline(images: torch.Tensor = images) -> None:
            resnet(images)

        @torch.inference_mode()
        def official(images: torch.Tensor = images) -> None:
            plain(images)

        @torch.inference_mode()
        def ours(images: torch.Tensor = images) -> None:
            model(images)

        @torch.inference_mode()
        def half(images: torch.Tensor = images) -> None:
            with torch.autocast("cpu", torch.bfloat16):
                model(images)

        name = f"{size} pixels, batches of {batch}, relative to the images per second of ResNet-101"
        plain_speed, speed = ratios(baseline, official, ours)
        times = speed / plain_speed
        print(f"{name}: C-Tran {speed:.2f}, authors' layout {plain_speed:.2f} ({times:.2f} times)", flush=True)
        if torch.ops.mkldnn._is_mkldnn_bf16_supported():
            print(f"{name}: C-Tran in bf16 {ratios(baseline, half)[0]:.2f}", flush=True)
        else:
            print(f"{name}: this processor has no instructions for bf16")


def training() -> None:
    resnet = resnet101().eval().to(memory_format=torch.channels_last)
    model = full_size().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5)
    images = torch.randn(2, 3, 224, 224).contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def baseline() -> None:
        resnet(images)

    (ratio,) = ratios(baseline, lambda: training_step(model, optimizer, images), rounds=3)
    print(f"a training step (224 pixels, 2 images) takes as long as {1 / ratio:.1f} forward passes of ResNet-101")


if __name__ == "__main__":
    torch.manual_seed(0)
    inference()
    training()
