"""Images a second from disk to a normalised batch, beside Pillow and torchvision's first transforms, in one run.

``python benchmarks/data.py [FOLDER]``: a folder of photographs (default: COCO's in ../shared/data/coco256; drawn ones
without it). Both sides crop at random, flip and normalise, in as many loader processes as there are cores.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as v1

from tagformer.data.images import EXTENSIONS
from tagformer.data.loading import Batch, ImageItems
from tagformer.data.record import MultiLabelDataset
from tagformer.data.scenes import Scene
from tagformer.data.transforms import normalise, training_transform
from tagformer.labels import LabelSpace

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
AREA, BATCH, ROUNDS, EPOCHS = (0.6, 1.0), 32, 3, 3


class PeersImages(Dataset[Tensor]):
    """The pipeline of the peers' code: everything on a PIL image, one image at a time."""

    def __init__(self, paths: list[Path], size: int) -> None:
        self.paths = paths
        steps = [v1.RandomResizedCrop(size, AREA), v1.RandomHorizontalFlip(), v1.ToTensor(), v1.Normalize(MEAN, STD)]
        self.transform = v1.Compose(steps)

    def __len__(self) -> int:
        return len(self.paths) * EPOCHS

    def __getitem__(self, index: int) -> Tensor:
        image: Tensor = self.transform(Image.open(self.paths[index % len(self.paths)]).convert("RGB"))
        return image


class Repeated(ImageItems):
    def __len__(self) -> int:
        return len(self.dataset) * EPOCHS

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[int, Tensor | str]:
        assert isinstance(key, int)
        return super().__getitem__(divmod(key, len(self.dataset)))


def our_batches(loader: Iterable[Batch]) -> None:
    out = None
    for batch in loader:
        out = normalise(batch.images, MEAN, STD, out)


def speed(paths: list[Path], loader: Callable[[], Iterable[object]], consume: Callable[..., None]) -> float:
    """Images a second, of the best of some rounds, the start of the loader processes left out."""
    rates = []
    for _ in range(ROUNDS):
        batches = iter(loader())
        first = next(batches)
        began = time.perf_counter()
        consume(batches)
        rates.append((len(paths) * EPOCHS - len(first)) / (time.perf_counter() - began))  # type: ignore[arg-type]
    return max(rates)


def photographs(folder: Path, temporary: Path) -> list[Path]:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS)
    if not paths:
        for number in range(256):
            picture = Scene.drawn((0, 0, number), 0.2).render().resize((640, 480), Image.Resampling.BICUBIC)
            picture.save(temporary / f"{number}.jpg", quality=90)
        paths = sorted(temporary.glob("*.jpg"))
    return paths


def main() -> None:
    shared = Path(os.environ.get("TAGFORMER_SHARED", "../shared")) / "data" / "coco256"
    workers = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as temporary:
        paths = photographs(Path(sys.argv[1]) if len(sys.argv) > 1 else shared, Path(temporary))
        labels = torch.zeros(len(paths), 1, dtype=torch.int8)
        dataset = MultiLabelDataset("bench", LabelSpace(("any",)), paths, labels, [str(path) for path in paths])
        print(f"{len(paths)} images, {workers} loader processes")
        for size in (224, 448):
            items = Repeated(dataset, training_transform(size, crop_scale=AREA))
            ours = speed(
                paths,
                lambda items=items: DataLoader(items, BATCH, num_workers=workers, collate_fn=items.collate),  # type: ignore[misc]
                our_batches,
            )
            peers = PeersImages(paths, size)
            theirs = speed(
                paths,
                lambda peers=peers: DataLoader(peers, BATCH, num_workers=workers),  # type: ignore[misc]
                lambda batches: [None for _ in batches],
            )
            print(f"  {size} pixels: ours {ours:.0f} images/s, the peers' {theirs:.0f}: {ours / theirs:.2f} times")


if __name__ == "__main__":
    main()
