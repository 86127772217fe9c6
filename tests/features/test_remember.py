"""What is computed and what is not: by the content of the images, the weights, the size and the view."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tagformer.backbones.tiny import TinyBackbone
from tagformer.data import MultiLabelDataset
from tagformer.errors import BadImageError, TagformerError
from tagformer.features import FeatureStore, missing_features, remember_features, view_names
from tagformer.images import open_picture
from tests.features.pictures import PREPROCESSING, backbone, dataset, draw, remember


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "store")


def expected(network: TinyBackbone, images: Tensor, count: int = 1) -> tuple[Tensor, ...]:
    """The maps of uint8 images (B, 3, H, W), computed in float64 without folding."""
    network = network.double().eval()
    mean, std = torch.tensor(PREPROCESSING.mean).view(3, 1, 1), torch.tensor(PREPROCESSING.std).view(3, 1, 1)
    with torch.no_grad():
        return network(((images.double() / 255) - mean) / std)[-count:]


def test_maps_are_those_of_the_backbone_within_half_precision(tmp_path: Path, store: FeatureStore) -> None:
    files = draw(tmp_path / "images", 19)
    features, _ = remember(files, store, views=["plain", "mirror"], maps=2)
    images = torch.stack([PREPROCESSING.transform(open_picture(file)) for file in files])
    plain, mirrored = expected(backbone(), images, 2), expected(backbone(), images.flip(3), 2)
    rows, views = [18, 3, 3, 0], torch.tensor([0, 1, 0, 1])
    for got, one, other in zip(features.maps(rows, views), plain, mirrored, strict=True):
        wanted = torch.stack([one[18], other[3], one[3], other[0]])
        assert got.dtype == torch.float16
        torch.testing.assert_close(got.double(), wanted, rtol=2**-10, atol=1e-4)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(features.maps([0], 0)[1], features.maps([0], 1)[1])


def test_only_what_is_missing_is_computed(tmp_path: Path, store: FeatureStore) -> None:
    files = draw(tmp_path / "images", 16)
    first, seen = remember(files, store)
    assert seen == 16
    assert remember(files, store)[1] == 0

    renamed = [file.rename(file.with_name(f"other-{file.name}")) for file in files]
    again, seen = remember(renamed[::-1], store)
    assert seen == 0
    assert torch.equal(again.maps([0])[0], first.maps([15])[0])

    added = draw(tmp_path / "images", 4, first=16)
    assert remember(renamed + added, store)[1] == 4

    draw(tmp_path / "elsewhere", 2, first=100)[0].replace(renamed[5])
    (tmp_path / "elsewhere" / "0101.png").replace(renamed[7])
    changed, seen = remember(renamed, store)
    assert seen == 2
    before = first.maps([4, 5, 6])[0]
    after = changed.maps([4, 5, 6])[0]
    assert [torch.equal(one, other) for one, other in zip(before, after, strict=True)] == [True, False, True]


def test_what_is_missing_is_counted(tmp_path: Path, store: FeatureStore) -> None:
    files = draw(tmp_path / "images", 16)
    files.append(tmp_path / "copy.png")
    files[-1].write_bytes(files[2].read_bytes())
    arguments = backbone(), dataset(files), PREPROCESSING, ["plain", "mirror"], store
    assert missing_features(*arguments) == [16, 16]
    assert not store.folder.exists()
    remember(files[:5], store)
    remember(files[:7], store, views=["mirror"])
    assert missing_features(*arguments) == [11, 9]
    assert missing_features(backbone(seed=1), *arguments[1:]) == [16, 16]
    remember(files, store, views=["plain", "mirror"])
    assert missing_features(*arguments) == [0, 0]


def test_copies_of_an_image_are_computed_once(tmp_path: Path, store: FeatureStore) -> None:
    files = draw(tmp_path / "images", 8)
    copy = tmp_path / "copy.png"
    copy.write_bytes(files[2].read_bytes())
    features, seen = remember([*files, copy], store)
    assert seen == 8
    assert torch.equal(features.maps([2])[0], features.maps([8])[0])


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"network": backbone(1)}, id="weights"),
        pytest.param({"size": 40}, id="size"),
        pytest.param({"resize": "crop"}, id="resize"),
        pytest.param({"mean": (0.4, 0.5, 0.5)}, id="mean"),
        pytest.param({"std": (0.4, 0.5, 0.5)}, id="deviation"),
        pytest.param({"views": ["mirror"]}, id="view"),
        pytest.param({"views": ["crop-0"]}, id="crop"),
        pytest.param({"maps": 2}, id="number of maps"),
    ],
)
def test_something_else_is_remembered_elsewhere(tmp_path: Path, store: FeatureStore, change: dict[str, Any]) -> None:
    files = draw(tmp_path / "images", 8)
    network, views, maps = change.pop("network", backbone()), change.pop("views", ["plain"]), change.pop("maps", 1)
    remember(files, store)
    messages: list[str] = []
    store.message = messages.append
    preprocessing = dataclasses.replace(PREPROCESSING, **change)
    for _ in range(2):
        remember_features(network, dataset(files), preprocessing, views, store, maps=maps, workers=0)
    assert "to compute" in messages[0]
    assert "all there already" in messages[1]
    assert len(store.banks()) == 2
    assert remember(files, store)[1] == 0


def test_a_setting_of_a_layer_is_part_of_the_key(tmp_path: Path, store: FeatureStore) -> None:
    files = draw(tmp_path / "images", 8)
    other = backbone()
    other.stages[0][0][0].padding_mode = "reflect"  # type: ignore[index]
    other.stages[0][0][0]._reversed_padding_repeated_twice = [1, 1, 1, 1]  # type: ignore[index]
    remember(files, store)
    assert remember(files, store, other)[1] == 8


def test_crops_repeat_and_differ(tmp_path: Path, store: FeatureStore) -> None:
    files = draw(tmp_path / "images", 8)
    torch.manual_seed(1)
    first, _ = remember(files, store, views=["crop-0", "crop-1"])
    torch.manual_seed(2)
    renamed = [file.rename(file.with_name(f"other-{file.name}")) for file in files]
    again, seen = remember(renamed, FeatureStore(tmp_path / "another"), views=["crop-0", "crop-1"])
    assert seen == 16
    for view in (0, 1):
        assert torch.equal(first.maps(range(8), view)[0], again.maps(range(8), view)[0])
    assert not torch.equal(first.maps(range(8), 0)[0], first.maps(range(8), 1)[0])
    wider, seen = remember(renamed, store, views=["crop-0"], augmentation={"crop_scale": (0.1, 0.2), "flip": 0.0})
    assert seen == 8
    assert not torch.equal(wider.maps(range(8))[0], first.maps(range(8), 0)[0])


def test_views_by_number() -> None:
    assert view_names(1) == ("plain",)
    assert view_names(3) == ("plain", "mirror", "crop-0")
    with pytest.raises(TagformerError, match="unknown view 'flip': use plain, mirror, or crop-0"):
        remember_features(backbone(), dataset([]), PREPROCESSING, ["flip"])


def test_bad_images_stop_or_are_left_out(tmp_path: Path, store: FeatureStore) -> None:
    files = draw(tmp_path / "images", 12)
    files[1].write_bytes(files[1].read_bytes()[:300])
    files[3].unlink()
    with pytest.raises(BadImageError, match=r"0003\.png does not exist; fix it, or leave out bad images"):
        remember(files, store)
    features, seen = remember(files, store, on_bad_image="skip", views=["plain", "mirror"])
    assert seen == 20
    assert features.rows == [0, 2, *range(4, 12)]
    assert ["0001.png is broken" in features.bad_images[0], "0003.png does" in features.bad_images[1]] == [True, True]
    with pytest.raises(ValueError, match="nothing is remembered of row 3"):
        features.maps([0, 3])
    files[3] = draw(tmp_path / "images", 1, first=3)[0]
    with pytest.raises(BadImageError, match=r"0001\.png is broken"):
        remember(files, store)


class Scaled(TinyBackbone):
    """Its maps are multiplied by a factor."""

    factor = 1.0

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(array * self.factor for array in super().forward(images))


def test_values_beyond_half_precision_are_clipped_and_counted(tmp_path: Path, store: FeatureStore) -> None:
    network = Scaled().eval()
    files, messages = draw(tmp_path / "images", 8), []
    largest = torch.stack([network(PREPROCESSING.load(file))[-1] for file in files]).max().item()
    network.factor = 2 * 65504 / largest
    wanted = torch.cat([network(PREPROCESSING.load(file))[-1] for file in files])
    store.message = messages.append
    features, _ = remember(files, store, network)
    beyond = int((wanted > 65504).sum())
    assert beyond > 0
    assert messages[-1] == f"{beyond:,} values are beyond half precision, and are clipped to 65,504."
    torch.testing.assert_close(features.maps(range(8))[0].float(), wanted.clamp(max=65504), rtol=2**-9, atol=1)


def test_features_that_are_not_numbers_are_an_error(tmp_path: Path, store: FeatureStore) -> None:
    network = Scaled().eval()
    files = draw(tmp_path / "images", 8)
    network.factor = float("nan")
    with pytest.raises(TagformerError, match=r"features of image .*0000\.png are not finite numbers"):
        remember(files, store, network)
    assert not list(store.folder.rglob("*.safetensors"))


def test_drawings_are_known_by_their_pixels(store: FeatureStore) -> None:
    from tagformer import load_dataset

    scenes: MultiLabelDataset = load_dataset("scenes?images=24")
    messages: list[str] = []
    store.message = messages.append
    for _ in range(2):
        remember_features(backbone(), scenes, PREPROCESSING, store=store, workers=0)
    assert "to compute" in messages[0]
    assert "all there already" in messages[1]
