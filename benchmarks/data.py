"""Images per second from disk to a normalised batch, and the memory and time of loading a large table.

``python benchmarks/data.py [FOLDER]``: a folder of photographs (default: COCO's in ../shared/data/coco256, or drawn
pictures where it is absent). The images per second are compared with Pillow and torchvision's first transforms, as in
the papers' published code, from files and from shards of 256 pixels; and with the same loader without its own shared
memory. Both sides crop at random, flip and normalise, in as many processes as there are cores, in turns. The start of
the processes is not counted.
"""

from __future__ import annotations

import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as v1

from tagformer.data import MultiLabelDataset, convert, load_dataset
from tagformer.data.formats.scenes import Scene
from tagformer.data.loader.loader import ImageItems, ImageLoader
from tagformer.images.reading import EXTENSIONS
from tagformer.images.transforms import normalise, training_transform

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
AREA, BATCH, ROUNDS = (0.6, 1.0), 32, 5
WARM, TIMED = 12, 60  # the batches of a round: first some that are not counted


class PublishedImages(Dataset[Tensor]):
    """The pipeline of the papers' published code: every step on a PIL image."""

    def __init__(self, paths: list[Path], size: int) -> None:
        self.paths = paths
        steps = [v1.RandomResizedCrop(size, AREA), v1.RandomHorizontalFlip(), v1.ToTensor(), v1.Normalize(MEAN, STD)]
        self.transform = v1.Compose(steps)

    def __len__(self) -> int:
        return BATCH * (WARM + TIMED)

    def __getitem__(self, index: int) -> Tensor:
        image: Tensor = self.transform(Image.open(self.paths[index % len(self.paths)]).convert("RGB"))
        return image


def published(paths: list[Path], size: int, workers: int) -> Iterator[Tensor]:
    """Normalised batches by the papers' published code."""
    yield from DataLoader(PublishedImages(paths, size), BATCH, num_workers=workers)


def ours(dataset: MultiLabelDataset, size: int, workers: int, own_memory: bool = True) -> Iterator[Tensor]:
    """Normalised batches by Tagformer.

    Args:
        own_memory: False: pass images between processes by PyTorch's shared memory instead of the loader's own.
    """
    items = ImageItems(dataset, training_transform(size, crop_scale=AREA))
    keys = [divmod(i, len(dataset)) for i in range(BATCH * (WARM + TIMED))]
    batches = [keys[i : i + BATCH] for i in range(0, len(keys), BATCH)]
    loader: DataLoader[Any] = ImageLoader(items, batches, BATCH, workers)
    if not own_memory:
        options: dict[str, Any] = {"collate_fn": items.collate}
        loader = DataLoader(items, batch_sampler=batches, num_workers=workers, **options)
    out = None
    for batch in loader:
        out = normalise(batch.images, MEAN, STD, out)
        yield out


def rate(batches: Iterable[Tensor]) -> float:
    """Images per second once the processes are running."""
    images, began = 0, 0.0
    for number, batch in enumerate(batches):
        if number == WARM:
            images, began = 0, time.perf_counter()
        images += len(batch)
    return (images - BATCH) / (time.perf_counter() - began)


def compare(name: str, left: Callable[[], Iterable[Tensor]], right: Callable[[], Iterable[Tensor]]) -> None:
    """Print the rates of both sides, measured in turns, and their ratio."""
    rates = [(rate(left()), rate(right())) for _ in range(ROUNDS)]
    ratios = [a / b for a, b in rates]
    first, second = (statistics.median(side) for side in zip(*rates, strict=True))
    print(
        f"{name}: {first:.0f} against {second:.0f} images/s: {statistics.median(ratios):.2f} times "
        f"(rounds: {', '.join(f'{ratio:.2f}' for ratio in sorted(ratios))})"
    )


def compare_loaders(dataset: MultiLabelDataset, paths: list[Path], workers: int) -> None:
    """Tagformer's loader against the published pipeline, and against itself without its own shared memory."""
    for size in (224, 448):
        compare(
            f"  {size} pixels, against the published code",
            partial(ours, dataset, size, workers),
            partial(published, paths, size, workers),
        )
    for size in (224, 448):
        compare(
            f"  {size} pixels, against PyTorch's shared memory",
            partial(ours, dataset, size, workers),
            partial(ours, dataset, size, workers, own_memory=False),
        )


def photographs(folder: Path, temporary: Path) -> Path:
    """A CSV of the images in a folder, or of drawn pictures where it has none."""
    paths = sorted(path.resolve() for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS)
    for number in range(0 if paths else 256):
        picture = Scene.drawn((0, 0, number), 0.2).render().resize((640, 480), Image.Resampling.BICUBIC)
        picture.save(temporary / f"{number}.jpg", quality=90)
    paths = paths or sorted(temporary.glob("*.jpg"))
    table = temporary / "images.csv"
    table.write_text("path,tags\n" + "".join(f"{path},any\n" for path in paths))
    return table


DESCRIBE = ["-m", "tagformer", "data", "--no-read-images"]
LOAD = """
import sys
from pathlib import Path
from tagformer.data import load_dataset

def memory():
    lines = Path("/proc/self/status").read_text().splitlines()
    return {key: int(value.split()[0]) / 1024 for key, value in (line.split(":") for line in lines) if key[:2] == "Vm"}

Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the imports
before = memory()["VmRSS"]
dataset = load_dataset(sys.argv[1], "all", on_bad_image="keep")
after = memory()
print(
    f"  {len(dataset)} images x {len(dataset.label_space)} labels: {after['VmHWM'] - before:.0f} MB at most "
    f"while it is loaded, {after['VmRSS'] - before:.0f} MB kept"
)
"""


def write_table(file: Path, images: int, labels: int) -> Path:
    """A CSV with three tags per image; the images themselves do not exist."""
    draws = np.random.default_rng(0).integers(labels, size=(images, 3))
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("path", "tags"))
        writer.writerows(
            (f"images/{i:07d}.jpg", ";".join(f"label{n:03d}" for n in set(row))) for i, row in enumerate(draws)
        )
    return file


def main() -> None:
    workers = os.cpu_count() or 1
    shared = Path(os.environ.get("TAGFORMER_SHARED", "../shared")) / "data" / "coco256"
    torch.set_num_threads(1)  # the loader processes have the cores
    with tempfile.TemporaryDirectory() as name:
        temporary = Path(name)
        table = photographs(Path(sys.argv[1]) if len(sys.argv) > 1 else shared, temporary)
        dataset = load_dataset(f"csv:{table}", "all")
        paths = [path for path in dataset.images if isinstance(path, Path)]
        print(f"{len(dataset)} photographs, {workers} loader processes")
        compare_loaders(dataset, paths, workers)
        convert(f"csv:{table}", f"shards:{temporary / 'shards'}", size=256)
        shards = load_dataset(f"shards:{temporary / 'shards'}", "all")
        compare(
            "  224 pixels, from shards of 256 pixels, against the published code from files",
            partial(ours, shards, 224, workers),
            partial(published, paths, 224, workers),
        )

        for images in (1_000, 100_000):
            large = write_table(temporary / f"{images}.csv", images, 500)
            began = time.perf_counter()
            subprocess.run([sys.executable, *DESCRIBE, f"csv:{large}"], check=True, stdout=subprocess.DEVNULL)
            print(f"  tagformer data on {images} rows x 500 labels: {time.perf_counter() - began:.1f} s")
        large = write_table(temporary / "million.csv", 1_000_000, 500)
        subprocess.run([sys.executable, "-c", LOAD, f"csv:{large}"], check=True)


if __name__ == "__main__":
    main()
