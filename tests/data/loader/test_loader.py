from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from tagformer.data import MultiLabelDataset, load_dataset
from tagformer.data.loader.loader import Batch, ImageItems, TrainingLoader, evaluation_loader, raise_on_bad_images
from tagformer.data.loader.sampler import EpochBatches
from tagformer.errors import BadImageError
from tagformer.images.reading import open_picture
from tagformer.images.transforms import evaluation_transform, training_transform
from tagformer.labels import LabelSpace

AUGMENTED: dict[str, Any] = {"crop_scale": (0.5, 1.0), "flip": 0.5, "rand_augment": 9, "cutout": 0.25}


@pytest.fixture(scope="module")
def scenes() -> MultiLabelDataset:
    return load_dataset("scenes?images=22")


def with_bad_ones(folder: Path) -> MultiLabelDataset:
    """Five images: 1 is missing, 3 is text."""
    for number in range(5):
        Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(folder / f"{number}.png")
    (folder / "1.png").unlink()
    (folder / "3.png").write_text("no picture")
    return MultiLabelDataset(
        name="mine",
        label_space=LabelSpace(("a", "b")),
        images=[folder / f"{number}.png" for number in range(5)],
        labels=torch.tensor([[i % 2, i // 2 % 2] for i in range(5)], dtype=torch.int8),
        ids=[f"id-{number}" for number in range(5)],
    )


# Batches


def loaded(dataset: MultiLabelDataset, workers: int, number: int, start: int = 0) -> list[Batch]:
    items = ImageItems(dataset, training_transform(32, **AUGMENTED), seed=4)
    loader = TrainingLoader(items, EpochBatches(len(dataset), 5, seed=4), workers)
    loader.load_state_dict({"epoch": number, "batches": start})
    return list(loader)


def assert_same(first: list[Batch], second: list[Batch]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one.ids == other.ids
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)


def test_batches_are_the_same_with_and_without_workers(scenes: MultiLabelDataset) -> None:
    assert_same(loaded(scenes, 0, 1), loaded(scenes, 2, 1))


def test_batches_that_are_kept_stay_as_they_were(scenes: MultiLabelDataset) -> None:
    """The loader processes write to the same shared memory again and again, also over several epochs."""
    loader = TrainingLoader(ImageItems(scenes, training_transform(32)), EpochBatches(len(scenes), 2, seed=4), 2)
    kept = [batch for _ in range(2) for batch in loader]
    assert len(kept) == 22
    assert_same(kept[:11], list(TrainingLoader(ImageItems(scenes, training_transform(32)), loader.batches, 0)))
    assert kept[0].images.is_contiguous(memory_format=torch.channels_last)


def test_two_passes_at_once_do_not_disturb_each_other(scenes: MultiLabelDataset) -> None:
    loader = evaluation_loader(scenes, evaluation_transform(32), 4, workers=2)
    for one, other in zip(loader, loader, strict=True):
        assert_same([one], [other])


def test_a_restarted_loader_goes_on_where_it_was(scenes: MultiLabelDataset) -> None:
    torch.manual_seed(1)
    whole = loaded(scenes, 0, 1)
    torch.manual_seed(2)
    assert_same(loaded(scenes, 0, 1, start=2), whole[2:])


def test_augmentation_differs_between_epochs_and_leaves_the_random_state_alone(scenes: MultiLabelDataset) -> None:
    items = ImageItems(scenes, training_transform(32, **AUGMENTED))
    before = torch.random.get_rng_state()
    images = [items[number, 3][1] for number in (0, 0, 1)]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(isinstance(image, Tensor) for image in images)
    assert torch.equal(images[0], images[1])  # type: ignore[arg-type]
    assert not torch.equal(images[0], images[2])  # type: ignore[arg-type]


def test_a_batch_has_the_labels_and_ids_of_its_images(scenes: MultiLabelDataset) -> None:
    for batch in loaded(scenes, 0, 0):
        assert len(batch) == 5
        assert batch.images.shape == (5, 3, 32, 32)
        assert batch.images.dtype == torch.uint8
        assert batch.ids == [scenes.ids[index] for index in batch.indices]
        assert torch.equal(batch.labels, scenes.labels[batch.indices])
        assert batch.bad == []


def test_a_batch_moves_to_a_device_whole(scenes: MultiLabelDataset) -> None:
    batch = loaded(scenes, 0, 0)[0]
    moved = batch.to("meta")
    assert (moved.images.device.type, moved.labels.device.type) == ("meta", "meta")
    assert moved.ids == batch.ids


def test_evaluation_reads_all_images_once_and_in_order(scenes: MultiLabelDataset) -> None:
    batches = list(evaluation_loader(scenes, evaluation_transform(64), 8, 0))
    assert [len(batch) for batch in batches] == [8, 8, 6]
    assert [image_id for batch in batches for image_id in batch.ids] == list(scenes.ids)
    expected = evaluation_transform(64)(open_picture(scenes.images[9]))  # type: ignore[union-attr]
    assert torch.equal(batches[1].images[1], expected)


# Where training is


def training_loader(count: int = 22) -> TrainingLoader:
    dataset = load_dataset(f"scenes?images={count}")
    return TrainingLoader(ImageItems(dataset, evaluation_transform(8)), EpochBatches(count, 5, seed=0), 0)


def test_a_loader_says_which_batches_are_done() -> None:
    loader = training_loader()
    assert loader.state_dict() == {"epoch": 0, "batches": 0}
    loader.position = (2, 3)
    assert loader.state_dict() == {"epoch": 2, "batches": 3}
    loader.position = (2, 4)  # the last of four
    assert loader.state_dict() == {"epoch": 3, "batches": 0}


def test_a_loader_takes_up_the_state_of_another() -> None:
    loader = training_loader()
    loader.load_state_dict({"epoch": 1, "batches": 2})
    assert loader.state_dict() == {"epoch": 1, "batches": 2}
    batches = EpochBatches(22, 5, seed=0)
    batches.set_epoch(1)
    whole = list(batches)
    assert [batch.indices for batch in loader] == [[index for _, index in batch] for batch in whole[2:]]


# Bad images


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_images_are_left_out_of_their_batch_and_named(tmp_path: Path, workers: int) -> None:
    dataset = with_bad_ones(tmp_path)
    (batch,) = evaluation_loader(dataset, evaluation_transform(8), 5, workers)
    assert batch.ids == ["id-0", "id-2", "id-4"]
    assert batch.indices == [0, 2, 4]
    assert batch.images[:, 0, 0, 0].tolist() == [0, 80, 160]
    assert torch.equal(batch.labels, dataset.labels[[0, 2, 4]])
    assert batch.bad == [
        f"image {tmp_path / '1.png'} does not exist.",
        f"image {tmp_path / '3.png'} is not an image.",
    ]


def test_a_batch_of_nothing_but_bad_images_is_empty(tmp_path: Path) -> None:
    dataset = with_bad_ones(tmp_path).subset([1, 3])
    (batch,) = evaluation_loader(dataset, evaluation_transform(8), 5, 0)
    assert len(batch) == 0
    assert batch.labels.shape == (0, 2)
    assert len(batch.images) == 0
    assert len(batch.bad) == 2


def test_bad_images_are_an_error_unless_skipped() -> None:
    problems = ["image a.jpg is broken (cut off).", "image b.jpg does not exist."]
    with pytest.raises(BadImageError, match=r"^image a\.jpg is broken \(cut off\); fix it, or .*--on-bad-image skip"):
        raise_on_bad_images(problems, "error")
    assert raise_on_bad_images(problems, "skip") == 2
    assert raise_on_bad_images([], "error") == 0
