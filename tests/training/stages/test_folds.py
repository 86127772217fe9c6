"""Folds: of equal size, with the copies of an image together, drawn from a seed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from tagformer.data import MultiLabelDataset, load_dataset
from tagformer.errors import TagformerError
from tagformer.labels import LabelSpace
from tagformer.training.stages.folds import balanced_folds, draw_folds


def pictures(folder: Path, shades: list[int]) -> MultiLabelDataset:
    """PNGs of one colour each; equal shades are equal files."""
    files = []
    for number, shade in enumerate(shades):
        files.append(folder / f"{number}.png")
        Image.new("L", (16, 16), shade).save(files[-1])
    labels = torch.zeros(len(files), 1, dtype=torch.int8)
    return MultiLabelDataset("pictures", LabelSpace(("a",)), files, labels, [file.name for file in files])


@pytest.mark.parametrize(("images", "count"), [(40, 5), (43, 5), (7, 2), (8, 8)])
def test_folds_are_of_equal_size(images: int, count: int) -> None:
    folds = draw_folds(load_dataset(f"scenes?images={images}"), count)
    sizes = folds.bincount(minlength=count)
    assert folds.dtype == torch.int64
    assert len(folds) == images
    assert len(sizes) == count
    assert sizes.max() - sizes.min() <= 1


def test_the_copies_of_an_image_are_in_one_fold(tmp_path: Path) -> None:
    shades = [10, 20, 30, 10, 40, 10, 50, 20, 60, 10, 70, 80]
    dataset = pictures(tmp_path, shades)
    for seed in range(8):
        folds = draw_folds(dataset, 3, seed)
        assert len(set(folds[[0, 3, 5, 9]].tolist())) == 1
        assert len(set(folds[[1, 7]].tolist())) == 1
        assert folds.bincount().tolist() == [4, 4, 4]


def test_fewer_images_than_folds_have_a_fold_each(tmp_path: Path) -> None:
    folds = draw_folds(pictures(tmp_path, [10, 20, 10, 30]), 4).tolist()
    assert sorted(folds) == [0, 0, 1, 2]
    assert folds[0] == folds[2], "copies"


def test_copies_of_one_image_cannot_be_divided(tmp_path: Path) -> None:
    with pytest.raises(TagformerError, match="pictures: training in stages needs at least two different images"):
        draw_folds(pictures(tmp_path, [10, 10, 10]), 4)


def test_a_fold_is_no_larger_than_the_copies_in_it_demand(tmp_path: Path) -> None:
    folds = draw_folds(pictures(tmp_path, [10] * 6 + [20, 30, 40, 50]), 3)
    assert sorted(folds.bincount().tolist()) == [2, 2, 6]


def test_folds_depend_on_the_seed_alone() -> None:
    dataset = load_dataset("scenes?images=40")
    state = torch.get_rng_state()
    assert torch.equal(draw_folds(dataset, 5, seed=1), draw_folds(dataset, 5, seed=1))
    assert not torch.equal(draw_folds(dataset, 5, seed=1), draw_folds(dataset, 5, seed=2))
    assert torch.equal(torch.get_rng_state(), state)


def test_every_image_is_as_often_in_each_fold() -> None:
    folds = torch.stack([balanced_folds([[row] for row in range(6)], 3, seed) for seed in range(600)])
    for fold in range(3):
        share = (folds == fold).float().mean(0)
        assert ((share - 1 / 3).abs() < 0.08).all()  # four standard deviations


def test_the_rows_of_a_group_are_together() -> None:
    groups = [[0, 7], [1], [2, 3, 4], [5], [6], [8]]
    folds = balanced_folds(groups, 3, seed=0)
    assert sorted(folds.bincount().tolist()) == [3, 3, 3]
    assert all(len(folds[group].unique()) == 1 for group in groups)
