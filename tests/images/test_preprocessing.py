"""Preprocessing: the same input as the transform and the written-out normalisation, and the region that is seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tagformer.backbones import create_backbone
from tagformer.errors import BadImageError
from tagformer.images import Picture, Preprocessing, evaluation_transform
from tagformer.recipes import Recipe
from tagformer.runs.run import Run

MEAN, STD = (0.1, 0.2, 0.3), (0.5, 0.25, 2.0)


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8))


@pytest.mark.parametrize("resize", ["squash", "crop", "ctran"])
def test_an_image_becomes_the_network_s_input(tmp_path: Path, resize: str) -> None:
    noise().save(tmp_path / "a.png")
    preprocessing = Preprocessing(32, resize, MEAN, STD)
    pixels = evaluation_transform(32, resize)(Picture.of(noise()))
    assert torch.equal(preprocessing.transform(Picture.of(noise())), pixels)
    expected = (pixels.double() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    loaded = preprocessing.load(tmp_path / "a.png")
    assert loaded.dtype == torch.float32
    torch.testing.assert_close(loaded, expected.float().unsqueeze(0), rtol=1e-5, atol=1e-5)
    assert torch.equal(preprocessing.normalise(pixels.unsqueeze(0)), loaded)


def test_normalising_writes_to_given_memory() -> None:
    preprocessing = Preprocessing(4, mean=MEAN, std=STD)
    images = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    first = preprocessing.normalise(images)
    memory = torch.zeros_like(first)
    assert preprocessing.normalise(images, out=memory) is memory
    assert torch.equal(memory, first)


@pytest.mark.parametrize(
    ("resize", "region"),
    [("squash", (0, 0, 1, 1)), ("crop", (0.125, 0, 0.875, 1)), ("ctran", (0.05, 0.05, 0.95, 0.95))],
)
def test_the_region_is_the_part_that_the_transform_takes(resize: str, region: tuple[float, ...]) -> None:
    assert Preprocessing(32, resize).region(Picture.of(noise())) == pytest.approx(region)


def test_a_wrong_resize_and_a_missing_file_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="resize must be one of squash, crop, ctran, centre, not 'stretch'"):
        Preprocessing(32, "stretch")
    with pytest.raises(BadImageError, match=r"none\.png does not exist"):
        Preprocessing(32).load(tmp_path / "none.png")


def test_a_recipe_takes_the_backbone_s_statistics_where_it_has_none() -> None:
    backbone = create_backbone("tiny")
    recipe = Recipe().overridden(["image.size=48", "image.resize=crop"])
    assert recipe.image.preprocessing(backbone) == Preprocessing(48, "crop", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    recipe.image.mean, recipe.image.std = MEAN, STD
    assert recipe.image.preprocessing(backbone) == Preprocessing(48, "crop", MEAN, STD)


def test_a_run_has_the_preprocessing_of_its_recipe(small_run: Path) -> None:
    run = Run.load(small_run)
    assert run.preprocessing(run.model().backbone) == Preprocessing(32, "squash", (0.5,) * 3, (0.5,) * 3)
