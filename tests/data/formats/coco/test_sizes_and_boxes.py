"""Sizes and boxes of the objects in COCO instances."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tagformer.data.formats.coco import CocoFormat
from tagformer.data.formats.coco.sizes import size_class
from tests.data_files.coco import annotation, instances, write

FORMAT = CocoFormat()
load, splits = FORMAT.load, FORMAT.splits


def test_a_size_is_that_of_the_largest_single_instance(tree: Path) -> None:
    dataset = load(tree, "train", {})
    assert dataset.sizes is not None
    assert dataset.sizes.dtype == torch.int8
    assert dataset.sizes.tolist() == [[1, 0, 2], [0, 0, 0]]  # the crowd has a label but no size


@pytest.mark.parametrize(("area", "size"), [(0.5, 1), (1023, 1), (1024, 2), (9215, 2), (9216, 3), (640 * 480, 3)])
def test_sizes_are_bounded_by_32_and_96_pixels_squared(tmp_path: Path, area: float, size: int) -> None:
    file = write(tmp_path / "one.json", instances([annotation(1, 10, 1, (0, 0, 5, 5), area=area)]))
    dataset = load(file, "all", {})
    assert dataset.sizes is not None
    assert dataset.sizes.tolist() == [[size, 0, 0]]
    assert size_class(area) == size


def test_an_instance_without_an_area_has_that_of_its_box(tmp_path: Path) -> None:
    file = write(tmp_path / "one.json", instances([annotation(1, 10, 1, (0, 0, 32, 32))]))
    dataset = load(file, "all", {})
    assert dataset.sizes is not None
    assert dataset.sizes.tolist() == [[2, 0, 0]]


def test_an_instance_of_area_zero_is_small_and_not_absent(tmp_path: Path) -> None:
    file = write(tmp_path / "one.json", instances([annotation(1, 10, 1, (0, 0, 0, 0), area=0)]))
    dataset = load(file, "all", {})
    assert dataset.sizes is not None
    assert dataset.labels.tolist() == [[1, 0, 0]]
    assert dataset.sizes.tolist() == [[1, 0, 0]]


def test_boxes_are_fractions_of_the_image_and_leave_crowds_out(tree: Path) -> None:
    dataset = load(tree, "train", {})
    assert dataset.boxes is not None
    first, crowd = dataset.boxes
    assert [box.label for box in first] == ["dog", "dog", "person"]
    assert first[0].corners == pytest.approx((0.1, 0.1, 0.3, 0.6))
    assert crowd == ()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_crowd_beside_an_instance_leaves_it_its_size(tmp_path: Path, order: tuple[int, int]) -> None:
    both = [
        annotation(1, 10, 1, (0, 0, 40, 40), area=1600),
        annotation(2, 10, 1, (0, 0, 200, 100), area=20000, iscrowd=1),
    ]
    dataset = load(write(tmp_path / "one.json", instances([both[i] for i in order])), "all", {})
    assert dataset.sizes is not None
    assert dataset.labels.tolist() == [[1, 0, 0]]
    assert dataset.sizes.tolist() == [[2, 0, 0]]
    assert [len(own) for own in dataset.boxes or ()] == [1]


@pytest.mark.parametrize("gone", [("width", "height"), ("height",)])
def test_images_without_width_or_height_have_labels_and_sizes_but_no_boxes(
    tmp_path: Path, gone: tuple[str, ...]
) -> None:
    content = instances([annotation(1, 10, 1, (0, 0, 40, 40)), annotation(2, 11, 18, (0, 0, 5, 5))])
    for key in gone:
        del content["images"][1][key]
    dataset = load(write(tmp_path / "one.json", content), "all", {})
    assert dataset.labels.tolist() == [[1, 0, 0], [0, 0, 1]]
    assert dataset.sizes is not None
    assert dataset.sizes.tolist() == [[2, 0, 0], [0, 0, 1]]
    assert dataset.boxes is None


def test_an_image_without_objects_needs_no_width(tmp_path: Path) -> None:
    content = instances([annotation(1, 10, 1, (0, 0, 40, 50))])
    del content["images"][1]["width"]
    dataset = load(write(tmp_path / "one.json", content), "all", {"annotated": "all"})
    assert dataset.boxes is not None
    assert [[box.corners for box in own] for own in dataset.boxes] == [[(0.0, 0.0, 0.2, 0.5)], [], []]


def test_boxes_are_given_up_where_one_of_two_splits_has_none(tree: Path) -> None:
    content = instances([annotation(7, 10, 1, (0, 0, 100, 100), area=9216.0)], images=1)
    del content["images"][0]["width"]
    write(tree / "annotations" / "instances_val2017.json", content)
    both = load(tree, "all", {})
    assert both.boxes is None
    assert both.sizes is not None
    assert both.sizes.tolist() == [[1, 0, 2], [0, 0, 0], [3, 0, 0]]
