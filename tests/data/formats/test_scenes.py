from __future__ import annotations

import numpy as np
import pytest
import torch

from tagformer.data import MultiLabelDataset, load_dataset
from tagformer.data.formats.scenes import LABELS, PIXELS, RADII, SHAPES, THEMES, Scene
from tagformer.errors import TagformerError


def pixels(dataset: MultiLabelDataset, index: int) -> np.ndarray:
    image = dataset.images[index]
    assert isinstance(image, Scene)
    return np.asarray(image.render())


def test_every_picture_is_repeated_by_its_seed() -> None:
    first, second = (load_dataset("scenes?images=12&seed=3") for _ in range(2))
    assert torch.equal(first.labels, second.labels)
    for index in range(12):
        assert np.array_equal(pixels(first, index), pixels(second, index))


def test_another_seed_and_another_split_give_other_pictures() -> None:
    train, test = load_dataset("scenes?images=12"), load_dataset("scenes?images=72", "test")
    other = load_dataset("scenes?images=12&seed=1")
    assert len(test) == 12
    for index in range(12):
        assert not np.array_equal(pixels(train, index), pixels(test, index))
        assert not np.array_equal(pixels(train, index), pixels(other, index))


def test_asking_for_more_pictures_keeps_the_first_ones() -> None:
    few, many = load_dataset("scenes?images=10"), load_dataset("scenes?images=20")
    assert list(few.ids) == list(many.ids)[:10]
    assert torch.equal(few.labels, many.labels[:10])
    assert np.array_equal(pixels(few, 9), pixels(many, 9))


def test_val_and_test_have_a_sixth_of_the_pictures_each() -> None:
    assert [len(load_dataset("scenes?images=36", split)) for split in ("train", "val", "test", "all")] == [36, 6, 6, 48]
    assert len(set(load_dataset("scenes?images=36", "all").ids)) == 48


def test_pictures_are_64_pixels_square_in_colour() -> None:
    picture = pixels(load_dataset("scenes?images=6"), 0)
    assert picture.shape == (64, 64, 3)
    assert picture.dtype == np.uint8


def test_labels_sizes_and_boxes_tell_of_the_same_objects() -> None:
    dataset = load_dataset("scenes?images=60")
    assert dataset.sizes is not None
    assert dataset.boxes is not None
    for index, scene in enumerate(dataset.images):
        assert isinstance(scene, Scene)
        shown = {item.shape for item in scene.objects}
        assert 1 <= len(shown) == len(scene.objects)
        states = {name for name, state in (("night", scene.night), ("busy", scene.busy)) if state}
        assert set(LABELS.names_of(dataset.labels[index])) == shown | states
        assert {box.label for box in dataset.boxes[index]} == shown
        for item in scene.objects:
            assert dataset.sizes[index, LABELS.index(item.shape)] == item.size
            assert item.radius == RADII[item.size - 1]
        assert ((dataset.sizes[index] > 0).sum() == len(shown)).item()
    assert torch.equal(dataset.labels.unique(), torch.tensor([0, 1], dtype=torch.int8))


def test_boxes_are_within_the_picture_and_objects_apart() -> None:
    for scene in load_dataset("scenes?images=60").images:
        assert isinstance(scene, Scene)
        for box in scene.boxes:
            left, top, right, bottom = box.corners
            assert 0 < left < right < 1
            assert 0 < top < bottom < 1
        for number, item in enumerate(scene.objects):
            for other in scene.objects[:number]:
                distance = np.hypot(item.x - other.x, item.y - other.y)
                assert distance > item.radius + other.radius


def test_a_clear_object_is_drawn_where_its_box_is() -> None:
    dataset = load_dataset("scenes?images=40&faint=0")
    assert dataset.boxes is not None
    seen = 0
    for index, scene in enumerate(dataset.images):
        assert isinstance(scene, Scene)
        if scene.busy:
            continue
        picture = pixels(dataset, index).astype(float)
        ground = np.median(picture.reshape(-1, 3), axis=0)
        away = np.abs(picture - ground).max(axis=2) > 40  # noise has a deviation of 7
        covered = np.zeros((PIXELS, PIXELS), dtype=bool)
        for box in dataset.boxes[index]:
            left, top, right, bottom = (round(edge * PIXELS) for edge in box.corners)
            covered[max(0, top - 1) : bottom + 1, max(0, left - 1) : right + 1] = True
            assert away[top:bottom, left:right].mean() > 0.15, (index, box.label)
            seen += 1
        assert not (away & ~covered).any(), index
    assert seen > 20


def test_night_is_dark_and_day_is_light() -> None:
    dataset = load_dataset("scenes?images=30")
    night = dataset.labels[:, LABELS.index("night")].bool().tolist()
    brightness = [np.median(pixels(dataset, index)) for index in range(30)]
    assert max(value for value, dark in zip(brightness, night, strict=True) if dark) < 110
    assert min(value for value, dark in zip(brightness, night, strict=True) if not dark) > 130


def test_faint_is_the_share_of_unclear_objects() -> None:
    for faint in (0.0, 0.3, 1.0):
        objects = [
            item
            for scene in load_dataset(f"scenes?images=400&faint={faint}").images
            if isinstance(scene, Scene)
            for item in scene.objects
        ]
        unclear = sum(item.contrast < 0.5 for item in objects) / len(objects)
        assert unclear == pytest.approx(faint, abs=0.05)
        assert all(item.contrast < 0.5 for item in objects if item.hidden)


def test_the_extra_labels_make_their_theme_more_likely() -> None:
    labels = load_dataset("scenes?images=1500").labels.bool()
    night, busy = labels[:, LABELS.index("night")], labels[:, LABELS.index("busy")]
    for theme, (dark, full) in zip(THEMES, [(False, False), (True, False), (False, True), (True, True)], strict=True):
        within = (night == dark) & (busy == full)
        whole = labels[:, [LABELS.index(shape) for shape in theme]].sum(1) >= 3
        assert whole[within].float().mean() > 2 * whole[~within].float().mean()


def test_night_and_busy_are_extra_labels_and_shapes_are_targets() -> None:
    assert LABELS.names == (*SHAPES, "night", "busy")
    assert LABELS.is_target.tolist() == [True] * 12 + [False] * 2
    assert load_dataset("scenes?images=6").exhaustive


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("images=many", "images=many is not a number"),
        ("images=5", "images=5 is too small: use 6 or more"),
        ("images=7.5", "images=7.5 is not a number"),
        ("seed=-1", "seed=-1 is too small"),
        ("faint=-0.1", "faint=-0.1 is too small"),
        ("faint=nan", "faint=nan"),
    ],
)
def test_an_option_that_is_not_a_number_in_range_is_rejected(option: str, message: str) -> None:
    with pytest.raises(TagformerError, match=message):
        load_dataset(f"scenes?{option}" if option.startswith("images") else f"scenes?images=6&{option}")
