"""Remembering features: what is missing is computed, view by view, and written segment by segment."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tagformer.backbones.base import Backbone
from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.loader.loader import ImageLoader, raise_on_bad_images
from tagformer.errors import TagformerError
from tagformer.features.contents import ContentItems, content_digests
from tagformer.features.network import FrozenBackbone, in_half_precision
from tagformer.features.remembered import RememberedFeatures
from tagformer.features.segment import DamagedSegmentError, Segment, Shape, read_segment, write_segment
from tagformer.features.store import Bank, FeatureStore, size_text
from tagformer.features.views import AUGMENTATION, MIRROR, PLAIN, is_crop, view_transform
from tagformer.images.preprocessing import Preprocessing

FORMAT = 1  # of the files and of what the key is made of
SEGMENT = 64  # images; this many are lost when the process is killed

Message = Callable[[str], None]
Bars = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


@contextmanager
def no_bar(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """In the place of a progress bar; the arguments are its title and the number at its end."""
    yield lambda done: None


def remember_features(
    backbone: Backbone,
    dataset: MultiLabelDataset,
    preprocessing: Preprocessing,
    views: Sequence[str] = (PLAIN,),
    store: FeatureStore | None = None,
    *,
    maps: int = 1,
    augmentation: Mapping[str, Any] | None = None,
    batch_size: int = 32,
    workers: int = 2,
    on_bad_image: str = "error",
    device: torch.device | None = None,
    bars: Bars = no_bar,
) -> RememberedFeatures:
    """The feature maps of every image in every view; only those are computed that are not in the store.

    What is remembered depends on the backbone's weights and layers, the preprocessing, the view and the content of the
    image, and on nothing else: neither on the file's name nor on the data set or the labels.

    Args:
        backbone: not changed. Its batch norms use their own statistics.
        dataset: the images.
        preprocessing: how an image becomes the network's input.
        views: names, see `view_names`.
        store: where the features are remembered; its `message` gets the size that will be written, before anything is
            computed. None: the default folder and bound.
        maps: how many feature maps, counted from the coarsest; see `MultiLabelModel.maps_read`.
        augmentation: options of `images.training_transform` for the random crops; None: `views.AUGMENTATION`.
        batch_size: images per batch.
        workers: loader processes.
        on_bad_image: ``error`` or ``skip``.
        device: where the network runs; None: where the backbone is.
        bars: shows a progress bar with a title and a total, as `cli.terminal.console.progress_bar` does.

    Raises:
        BadImageError: an image cannot be read, and `on_bad_image` is ``error``.
        DoesNotFitError: the store may not take so much room.
        CannotWriteError: the disk is full or read-only; what is complete stays.
        TagformerError: an unknown view, or a network whose features are not finite.

    >>> from pathlib import Path
    >>> import tagformer
    >>> from tagformer.backbones import create_backbone
    >>> from tagformer.features import FeatureStore, remember_features
    >>> dataset = tagformer.load_dataset("scenes?images=6")
    >>> arguments = create_backbone("tiny"), dataset, Preprocessing(size=32), ["plain", "mirror"]
    >>> features = remember_features(*arguments, FeatureStore(Path("cache")), workers=0)
    >>> [(array.shape, array.dtype) for array in features.maps([4, 0], view=1)]
    [(torch.Size([2, 128, 4, 4]), torch.float16)]
    """
    store = store or FeatureStore()
    digests, bad = content_digests(dataset)
    raise_on_bad_images(list(bad.values()), on_bad_image)
    network = FrozenBackbone(backbone, preprocessing.size, maps, device or next(backbone.parameters()).device)
    augmentation = AUGMENTATION if augmentation is None else augmentation
    keys = [_key(network, preprocessing, view, augmentation) for view in views]
    with store.open(keys) as banks:
        work = []
        for view, bank in zip(views, banks, strict=True):
            work.append(_View(view, bank, network.shapes))
            work[-1].look_up(digests, store.message)
        _announce(store, work, len(dataset) - len(bad), network.shapes)
        job = _Job(network, dataset, preprocessing, augmentation, digests, batch_size, workers, on_bad_image)
        missing = sum(len(of_view.missing) for of_view in work)
        if missing:
            with bars("Remembering features", missing) as bar:
                job.run(work, bad, bar)
        if job.clipped:
            store.message(f"{job.clipped:,} values are beyond half precision, and are clipped to 65,504.")
    return RememberedFeatures(views, digests, [v.segments for v in work], network.shapes, bad, banks)


def missing_features(
    backbone: Backbone,
    dataset: MultiLabelDataset,
    preprocessing: Preprocessing,
    views: Sequence[str] = (PLAIN,),
    store: FeatureStore | None = None,
) -> list[int]:
    """The number of different images whose features are not in the store, for each view; nothing is computed.

    For the arguments see `remember_features`. Images that cannot be read are not counted.

    >>> from pathlib import Path
    >>> import tagformer
    >>> from tagformer.backbones import create_backbone
    >>> from tagformer.features import FeatureStore, missing_features
    >>> dataset = tagformer.load_dataset("scenes?images=6")
    >>> arguments = create_backbone("tiny"), dataset, Preprocessing(size=32), ["plain", "mirror"]
    >>> missing_features(*arguments, FeatureStore(Path("cache")))
    [6, 6]
    """
    store = store or FeatureStore()
    digests, _ = content_digests(dataset)
    network = FrozenBackbone(backbone, preprocessing.size, 1, next(backbone.parameters()).device)
    wanted = {digest for digest in digests if digest is not None}
    missing = []
    for view in views:
        there: set[str] = set()
        for path in store.bank(_key(network, preprocessing, view, AUGMENTATION)).segment_files():
            with suppress(DamagedSegmentError):
                there.update(read_segment(path, network.shapes).digests)
        missing.append(len(wanted - there))
    return missing


def _key(network: FrozenBackbone, preprocessing: Preprocessing, view: str, augmentation: Mapping[str, Any]) -> str:
    """The key of a bank: a digest of all that its features depend on, except the images."""
    looks = [preprocessing.size, preprocessing.resize, preprocessing.mean, preprocessing.std, view]
    values = [FORMAT, network.digest, network.shapes, *looks]
    if is_crop(view):
        values.append(sorted(augmentation.items()))
    return hashlib.blake2b(json.dumps(values).encode(), digest_size=16).hexdigest()


def _announce(store: FeatureStore, work: Sequence[_View], images: int, shapes: Sequence[Shape]) -> None:
    """Make room for what is missing, and say how large it is."""
    size = sum(2 * channels * height * width for channels, height, width in shapes)
    missing = sum(len(of_view.missing) for of_view in work)
    if missing:
        removed = store.make_room(missing * size, [of_view.bank for of_view in work])
        if removed:
            sets = "set" if len(removed) == 1 else "sets"
            store.message(f"The oldest remembered features were removed to make room ({len(removed)} {sets}).")
    views = f"{images:,} images x {len(work)} view{'s' if len(work) > 1 else ''}"
    total = size_text(images * len(work) * size)
    state = f"{size_text(missing * size)} to compute" if missing else "all there already"
    store.message(f"{views}: {total} of remembered features, {state} (in {store.folder}).")


@dataclass
class _View:
    """What is remembered and what is missing of one view.

    Attributes:
        segments: those with features of the data set's images.
        missing: the rows to compute, one for each content.
        waiting: digests and maps that will be in the next segment.
    """

    name: str
    bank: Bank
    shapes: Sequence[Shape]
    segments: list[Segment] = field(default_factory=list)
    missing: dict[int, str] = field(default_factory=dict)
    waiting: list[tuple[str, tuple[Tensor, ...]]] = field(default_factory=list)

    def look_up(self, digests: Sequence[str | None], message: Message) -> None:
        """Find the segments that have features of these contents, and what is in none; remove damaged segments."""
        wanted = set(digests)
        for path in self.bank.segment_files():
            try:
                segment = read_segment(path, self.shapes)
                if not wanted.isdisjoint(segment.digests):  # others are not even read
                    segment.check()
                    self.segments.append(segment)
            except DamagedSegmentError as error:
                message(f"Warning: {path} is damaged ({error}); its features are computed again.")
                path.unlink(missing_ok=True)
        there = {digest for segment in self.segments for digest in segment.digests}
        for row, digest in enumerate(digests):
            if digest is not None and digest not in there:
                there.add(digest)
                self.missing[row] = digest

    def add(self, digests: Sequence[str], maps: Sequence[Tensor]) -> None:
        """Keep the maps (B, C, h, w) of some images, and write full segments."""
        self.waiting += [(digest, arrays) for digest, *arrays in zip(digests, *maps, strict=True)]  # type: ignore[misc]
        while len(self.waiting) >= SEGMENT:
            self.write()

    def write(self) -> None:
        """Write a segment of those that wait."""
        part, self.waiting = self.waiting[:SEGMENT], self.waiting[SEGMENT:]
        if part:
            arrays = [torch.stack(of_map) for of_map in zip(*(maps for _, maps in part), strict=True)]
            path = write_segment(self.bank.folder, [digest for digest, _ in part], arrays)
            self.segments.append(read_segment(path, self.shapes))


@dataclass
class _Job:
    """Computes what is missing; for the attributes see `remember_features`. `clipped` counts values out of range."""

    network: FrozenBackbone
    dataset: MultiLabelDataset
    preprocessing: Preprocessing
    augmentation: Mapping[str, Any]
    digests: Sequence[str | None]
    batch_size: int
    workers: int
    on_bad_image: str
    clipped: int = 0
    done: int = 0

    def run(self, work: Sequence[_View], bad: dict[int, str], bar: Callable[[int], None]) -> None:
        """Compute all views; rows whose image turns out to be broken are added to `bad`."""
        fixed = [of_view for of_view in work if not is_crop(of_view.name)]
        crops = [[of_view] for of_view in work if is_crop(of_view.name)]
        for together in ([fixed] if fixed else []) + crops:  # these views need each image to be read only once
            self._read_and_compute(together, bad, bar)

    def _read_and_compute(self, work: Sequence[_View], bad: dict[int, str], bar: Callable[[int], None]) -> None:
        rows = sorted({row for of_view in work for row in of_view.missing} - bad.keys())
        batches = [rows[start : start + self.batch_size] for start in range(0, len(rows), self.batch_size)]
        view = PLAIN if not is_crop(work[0].name) else work[0].name
        transform = view_transform(view, self.preprocessing, self.augmentation)
        items = ContentItems(self.dataset, transform, view, self.digests)
        memory: Tensor | None = None
        loader = ImageLoader(items, batches, self.batch_size, min(self.workers, len(batches)))
        for requested, batch in zip(batches, loader, strict=True):
            raise_on_bad_images(batch.bad, self.on_bad_image)
            unread = [row for row in requested if row not in set(batch.indices)]
            for row, problem in zip(unread, batch.bad, strict=True):
                for copy, digest in enumerate(self.digests):  # each has a sentence of its own
                    if digest == self.digests[row]:
                        bad[copy] = problem.replace(str(self.dataset.images[row]), str(self.dataset.images[copy]))
            if len(batch):
                device = self.network.device
                images = memory = self.preprocessing.normalise(batch.images.to(device), out=memory)
                for of_view in work:
                    self._compute(of_view, images, batch.indices)
            self.done += sum(row in of_view.missing for of_view in work for row in requested)
            bar(self.done)
        for of_view in work:
            of_view.write()

    def _compute(self, of_view: _View, images: Tensor, rows: Sequence[int]) -> None:
        """Add the maps of those images (B, 3, H, W) that are missing in a view."""
        wanted = [number for number, row in enumerate(rows) if row in of_view.missing]
        if not wanted:
            return
        shown = images[wanted].flip(3) if of_view.name == MIRROR else images[wanted]
        computed = self.network(shown.contiguous(memory_format=torch.channels_last))
        arrays = []
        for array in computed:
            try:
                half, clipped = in_half_precision(array)
            except ValueError as error:
                finite = array.flatten(1).isfinite().all(1).tolist()
                row = rows[wanted[finite.index(False)]]
                raise TagformerError(
                    f"the network's features of image {self.dataset.images[row]} are not finite numbers: "
                    "use other weights."
                ) from error
            arrays.append(half)
            self.clipped += clipped
        of_view.add([of_view.missing[rows[number]] for number in wanted], arrays)
