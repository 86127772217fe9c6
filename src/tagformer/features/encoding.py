"""The features of a data set's images, one batch after the other, from remembered maps where that is possible."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor

from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.loader.loader import Batch, ImageLoader, evaluation_loader, raise_on_bad_images
from tagformer.data.loader.sampler import rows_in_order
from tagformer.errors import DoesNotFitError
from tagformer.features.batches import MapBatch, RememberedItems
from tagformer.features.remember import Bars, remember_features
from tagformer.features.store import FeatureStore
from tagformer.images.preprocessing import Preprocessing
from tagformer.models.base import MultiLabelModel

Progress = Callable[[int], None]


def encoded_batches(
    model: MultiLabelModel,
    dataset: MultiLabelDataset,
    preprocessing: Preprocessing,
    store: FeatureStore | None = None,
    *,
    embed: bool = False,
    batch_size: int = 32,
    workers: int = 2,
    on_bad_image: str = "error",
    progress: Progress | None = None,
) -> Iterator[tuple[Batch | MapBatch, Tensor | None]]:
    """The model's features of all images once, in order.

    Args:
        model: in evaluation mode, on the device to use.
        dataset: the images.
        preprocessing: how an image becomes the model's input.
        store: where the maps of the backbone are remembered; None: each image is read and encoded.
        embed: give `MultiLabelModel.embed` in the place of `MultiLabelModel.encode`.
        batch_size: images per batch.
        workers: loader processes.
        on_bad_image: ``error`` or ``skip``.
        progress: called with the number of images seen while maps are computed that will be remembered.

    Yields:
        Each batch, whose bad images are named in it, and the features (B, ...) of the others; None where there is no
        other.

    Raises:
        BadImageError: an image cannot be read, and `on_bad_image` is ``error``.
        CannotWriteError: the store cannot be written.

    >>> import tagformer
    >>> from tagformer.features import encoded_batches
    >>> dataset = tagformer.load_dataset("scenes?images=6")
    >>> model = tagformer.create_model("linear", dataset.label_space, "tiny").eval()
    >>> batches = encoded_batches(model, dataset, Preprocessing(size=32), batch_size=4, workers=0)
    >>> [(batch.indices, features.shape) for batch, features in batches]
    [([0, 1, 2, 3], torch.Size([4, 128])), ([4, 5], torch.Size([2, 128]))]
    """
    device = next(model.parameters()).device
    loader: ImageLoader | None = None
    if store is not None and model.encodes_maps and (not embed or _embeds_last_map(model)):
        try:
            remembered = remember_features(
                model.backbone,
                dataset,
                preprocessing,
                store=store,
                maps=model.maps_read,
                batch_size=batch_size,
                workers=workers,
                on_bad_image=on_bad_image,
                bars=_bars(progress),
            )
            rows = rows_in_order(len(dataset), batch_size)
            loader = ImageLoader(RememberedItems(dataset, remembered), rows, batch_size, workers=0)
        except DoesNotFitError as error:
            store.message(f"Nothing is remembered: {error}")
    if loader is None:
        transform = preprocessing.transform if model.uses_image else None
        loader = evaluation_loader(dataset, transform, batch_size, workers, device.type == "cuda")
    for batch in loader:
        raise_on_bad_images(batch.bad, on_bad_image)
        features: Tensor | None = None
        if isinstance(batch, MapBatch) and len(batch):
            maps = [array.to(device).float() for array in batch.maps]
            features = embedding(maps) if embed else model.encode_maps(maps)
        elif len(batch):
            images = preprocessing.normalise(batch.images.to(device))
            features = model.embed(images) if embed else model.encode(images)
        yield batch, features


def embedding(maps: Sequence[Tensor]) -> Tensor:
    """`MultiLabelModel.embed` from the feature maps: the mean of the last map, (B, C)."""
    return maps[-1].mean(dim=(2, 3))


def _embeds_last_map(model: MultiLabelModel) -> bool:
    cls, base = type(model), MultiLabelModel
    return cls.embed is base.embed and cls.last_map is base.last_map


def _bars(progress: Progress | None) -> Bars:
    """The caller's progress in the place of a bar: it counts images, not views, which here are the same."""

    @contextmanager
    def bar(title: str, total: int) -> Iterator[Progress]:
        yield progress or (lambda done: None)

    return bar
