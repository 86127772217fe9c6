"""A data set of small pictures, a backbone whose calls are counted, and what other processes of the tests run."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from tagformer.backbones.tiny import TinyBackbone
from tagformer.data import MultiLabelDataset
from tagformer.features import FeatureStore, RememberedFeatures, remember_features
from tagformer.images import Preprocessing
from tagformer.labels import LabelSpace

PREPROCESSING = Preprocessing(size=32)


class CountingBackbone(TinyBackbone):
    """Counts the images that it sees, over all copies; fold and probe batches of one image are not counted.

    `seconds` slows it down.
    """

    seen = 0
    seconds = 0.0

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        if len(images) > 1:
            CountingBackbone.seen += len(images)
            time.sleep(CountingBackbone.seconds)
        return super().forward(images)


def backbone(seed: int = 0) -> CountingBackbone:
    """A backbone with weights drawn from a seed; the batch norms have statistics of their own."""
    torch.manual_seed(seed)
    network = CountingBackbone()
    network.train()(torch.randn(1, 3, 32, 32))
    return network


def draw(folder: Path, count: int, first: int = 0) -> list[Path]:
    """Write PNGs of random pixels that depend on the number alone."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number in range(first, first + count):
        pixels = torch.randint(0, 256, (40, 50, 3), generator=torch.Generator().manual_seed(number), dtype=torch.uint8)
        files.append(folder / f"{number:04d}.png")
        Image.fromarray(pixels.numpy()).save(files[-1])
    return files


def dataset(files: list[Path]) -> MultiLabelDataset:
    """Unlabelled pictures."""
    labels = torch.full((len(files), 1), -1, dtype=torch.int8)
    return MultiLabelDataset("pictures", LabelSpace(("a",)), files, labels, [file.name for file in files])


def remember(
    files: list[Path], store: FeatureStore, network: TinyBackbone | None = None, **options: object
) -> tuple[RememberedFeatures, int]:
    """The features, and how many images the network saw for them. Batches of 8, so none has one image in tests."""
    before = CountingBackbone.seen
    arguments = {"batch_size": 8, "workers": 0, **options}
    features = remember_features(network or backbone(), dataset(files), PREPROCESSING, store=store, **arguments)  # type: ignore[arg-type]
    return features, CountingBackbone.seen - before


def main() -> None:
    """With the arguments FOLDER STORE SECONDS: remember, and print how many images were seen."""
    torch.set_num_threads(1)
    folder, store, seconds = sys.argv[1:]
    CountingBackbone.seconds = float(seconds)
    messages = FeatureStore(Path(store), message=lambda line: print(line, flush=True))
    features, seen = remember(sorted(Path(folder).iterdir()), messages)
    print(f"seen {seen} of {len(features)}", flush=True)
