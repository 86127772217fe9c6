"""Small pictures of noise, and a check that the images of a data set are these pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from tagformer.data import MultiLabelDataset
from tagformer.data.loader.loader import evaluation_loader
from tagformer.images.reading import load_image
from tagformer.images.transforms import evaluation_transform

SIDE = 12


def picture(number: int) -> Image.Image:
    """Noise of 12 x 12 pixels, different for each number."""
    pixels = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def png(number: int) -> bytes:
    """The picture, encoded without loss."""
    buffer = io.BytesIO()
    picture(number).save(buffer, "PNG")
    return buffer.getvalue()


def assert_shows(dataset: MultiLabelDataset, numbers: Sequence[int]) -> None:
    """Check that the images of `dataset` are these pictures, read here (last one first) and in two loader processes."""
    expected = torch.stack([torch.from_numpy(np.array(picture(number))).permute(2, 0, 1) for number in numbers])
    assert len(dataset) == len(numbers)
    for row in reversed(range(len(numbers))):
        assert np.array_equal(np.array(load_image(dataset.images[row])), np.array(picture(numbers[row])))
    batches = list(evaluation_loader(dataset, evaluation_transform(SIDE), batch_size=2, workers=2))
    assert [problem for batch in batches for problem in batch.bad] == []
    assert [image_id for batch in batches for image_id in batch.ids] == list(dataset.ids)
    assert torch.equal(torch.cat([batch.images.clone() for batch in batches]), expected)
