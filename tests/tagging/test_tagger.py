"""A tagger: probabilities, known labels, the cache, and streams of files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tagformer import Tagger
from tagformer.data import load_dataset
from tagformer.errors import BadImageError, TagformerError
from tagformer.images.reading import Picture, load_image
from tagformer.images.transforms import evaluation_transform, normalise
from tagformer.recipes import Recipe
from tagformer.training.fitting import fit


@pytest.fixture
def pictures() -> list[Image.Image]:
    return [load_image(record.image) for record in load_dataset("scenes?images=60", "test")][:5]


@pytest.fixture
def tagger(small_run: Path) -> Tagger:
    return Tagger.load(small_run)


def count_encoded(tagger: Tagger, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    sizes: list[int] = []
    encode = tagger.model.encode

    def counted(images: torch.Tensor) -> torch.Tensor:
        sizes.append(len(images))
        return encode(images)

    monkeypatch.setattr(tagger.model, "encode", counted)
    return sizes


def test_probabilities_are_the_sigmoid_of_the_model_s_logits(tagger: Tagger, pictures: list[Image.Image]) -> None:
    predictions = tagger.predict(pictures, batch_size=2)
    assert len(predictions) == 5
    transform = evaluation_transform(32)
    images = normalise(torch.stack([transform(Picture.of(picture)) for picture in pictures]), (0.5,) * 3, (0.5,) * 3)
    with torch.inference_mode():
        logits = tagger.model(images).logits
    for prediction, row in zip(predictions, logits, strict=True):
        torch.testing.assert_close(prediction.probabilities, 1 / (1 + torch.exp(-row)), atol=1e-5, rtol=1e-5)


def test_known_labels_are_reported_as_known_and_change_the_others(tagger: Tagger, pictures: list[Image.Image]) -> None:
    free = tagger.predict(pictures[0])[0]
    prediction = tagger.predict(pictures[0], known={"disc": True, "ring": False, "night": True})[0]
    by_name = {tag.name: tag for tag in prediction.ranked}
    assert by_name["disc"].probability == 1
    assert by_name["disc"].known
    assert by_name["ring"].probability == 0
    assert "night" not in by_name, "extra labels are never predicted"
    assert prediction.to_dict()["known"] == {"disc": True, "ring": False, "night": True}
    others = [i for i, name in enumerate(prediction.label_space.names) if name not in ("disc", "ring", "night")]
    assert not torch.allclose(free.probabilities[others], prediction.probabilities[others])


def test_tags_are_ranked_and_cut_at_the_threshold(tagger: Tagger, pictures: list[Image.Image]) -> None:
    prediction = tagger.predict(pictures[0])[0]
    values = [tag.probability for tag in prediction.ranked]
    assert values == sorted(values, reverse=True)
    tagger.thresholds.fill_(values[2])
    prediction = tagger.predict(pictures[0])[0]
    assert [tag.name for tag in prediction.tags] == [tag.name for tag in prediction.ranked[:3]]
    assert [tag.name for tag in prediction.below(2)] == [tag.name for tag in prediction.ranked[3:5]]


def test_an_image_is_encoded_once(
    tagger: Tagger, pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    encoded = count_encoded(tagger, monkeypatch)
    tagger.predict(pictures)
    tagger.predict(pictures[:3], known={"disc": True})
    tagger.predict(np.asarray(pictures[4]))  # the same pixels, wrapped differently
    assert encoded == [5]
    tagger.predict(pictures[4].rotate(90))
    assert encoded == [5, 1]
    path = tmp_path / "a.png"
    pictures[0].save(path)
    first = tagger.predict(path)[0]
    tagger.predict(str(path))
    assert encoded == [5, 1, 1]
    pictures[1].resize((70, 70)).save(path)
    assert not torch.equal(tagger.predict(path)[0].probabilities, first.probabilities), "a changed file is read again"


def test_the_cache_forgets_the_oldest(
    small_run: Path, pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = Tagger.load(small_run)
    tagger = Tagger(loaded.model, loaded.preprocessing, loaded.thresholds, cache_size=2)
    encoded = count_encoded(tagger, monkeypatch)
    for index in (0, 1, 0, 2, 0, 1):
        tagger.predict(pictures[index])
    assert len(encoded) == 4  # 0, 1, 2 and, forgotten, 1 again


def test_stream_and_predict_agree(tagger: Tagger, pictures: list[Image.Image], tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    for path, picture in zip(paths, pictures, strict=True):
        picture.save(path)
    (tmp_path / "3.png").write_text("not a picture")
    with pytest.raises(BadImageError, match=r"3\.png is not an image"):
        list(tagger.stream(paths, batch_size=2))
    parts = list(tagger.stream(paths, {"disc": True}, batch_size=2, workers=1, on_bad_image="skip"))
    streamed = [prediction for predictions, _ in parts for prediction in predictions]
    assert [problem for _, problems in parts for problem in problems] == [f"image {paths[3]} is not an image."]
    good = [path for path in paths if path.name != "3.png"]
    for left, right in zip(streamed, tagger.predict(good, {"disc": True}), strict=True):
        assert left.image == right.image
        torch.testing.assert_close(left.probabilities, right.probabilities)


def test_a_model_that_does_not_use_known_labels_rejects_them(
    tmp_path: Path, small_recipe: Callable[..., Recipe], pictures: list[Image.Image]
) -> None:
    fit(small_recipe("model.name=linear", "model.options={}"), tmp_path / "run")
    tagger = Tagger.load(tmp_path / "run")
    assert len(tagger.predict(pictures)) == 5
    with pytest.raises(TagformerError, match="'linear' does not use known labels"):
        tagger.predict(pictures, known={"disc": True})
