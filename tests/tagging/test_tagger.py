"""A run folder loaded for use."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tagformer import Tagger
from tagformer.data import load_dataset
from tagformer.errors import BadImageError, TagformerError
from tagformer.evaluation import EvaluationOptions, evaluate_model
from tagformer.images.reading import Picture, load_image, open_picture
from tagformer.images.transforms import evaluation_transform, normalise
from tagformer.labels.masking import draw_known, draw_order
from tagformer.metrics import average_precision
from tagformer.recipes import Recipe
from tagformer.runs.run import Run
from tagformer.training.fit import fit


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


def test_probabilities_are_the_sigmoid_of_the_models_logits(tagger: Tagger, pictures: list[Image.Image]) -> None:
    predictions = tagger.predict(pictures, batch_size=2)
    assert len(predictions) == 5
    transform = evaluation_transform(32)
    images = normalise(torch.stack([transform(Picture.of(picture)) for picture in pictures]), (0.5,) * 3, (0.5,) * 3)
    with torch.inference_mode():
        logits = tagger.model(images).logits
    for prediction, row in zip(predictions, logits, strict=True):
        torch.testing.assert_close(prediction.probabilities, 1 / (1 + torch.exp(-row)), atol=1e-5, rtol=1e-5)


def test_known_labels_are_reported_as_told_and_change_the_others(tagger: Tagger, pictures: list[Image.Image]) -> None:
    free = tagger.predict(pictures[0])[0]
    told = tagger.predict(pictures[0], known={"disc": True, "ring": False, "night": True})[0]
    by_name = {tag.name: tag for tag in told.ranked}
    assert by_name["disc"].probability == 1
    assert by_name["disc"].known
    assert by_name["ring"].probability == 0
    assert "night" not in by_name, "extra labels are never predicted"
    assert told.to_dict()["known"] == {"disc": True, "ring": False, "night": True}
    others = [i for i, name in enumerate(told.label_space.names) if name not in ("disc", "ring", "night")]
    assert not torch.allclose(free.probabilities[others], told.probabilities[others])


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


def test_a_model_that_does_not_use_known_labels_says_so(
    tmp_path: Path, small_recipe: Callable[..., Recipe], pictures: list[Image.Image]
) -> None:
    fit(small_recipe("model.name=linear", "model.options={}"), tmp_path / "run")
    tagger = Tagger.load(tmp_path / "run")
    assert len(tagger.predict(pictures)) == 5
    with pytest.raises(TagformerError, match="'linear' does not use known labels"):
        tagger.predict(pictures, known={"disc": True})


def test_evaluation_encodes_once_and_scores_what_the_model_says(
    small_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.load(small_run)
    model = run.model()
    dataset = load_dataset("scenes?images=180", "test")
    calls: list[int] = []
    encode = model.encode

    def counted(images: torch.Tensor) -> torch.Tensor:
        calls.append(len(images))
        return encode(images)

    monkeypatch.setattr(model, "encode", counted)
    options = EvaluationOptions(known_shares=(0, 0.5), draws=2, batch_size=8, workers=0)
    evaluation = evaluate_model(model, dataset, run.preprocessing(model.backbone), options)
    assert calls == [8, 8, 8, 6]
    transform = evaluation_transform(32)
    images = torch.stack([transform(open_picture(record.image)) for record in dataset])
    with torch.inference_mode():
        features = encode(normalise(images, (0.5,) * 3, (0.5,) * 3))
        targets = dataset.label_space.is_target
        regular = average_precision(model.decode(features).logits[:, targets], dataset.labels[:, targets])
        assert evaluation.regular.mAP == pytest.approx(regular.nanmean().item(), abs=1e-6)
        for point in evaluation.known:
            for draw in range(2):
                order = draw_order(dataset.ids, dataset.label_space, seed=draw)
                known, wanted = draw_known(dataset.labels, order, point.known_share)
                expected = average_precision(model.decode(features, known).logits, wanted).nanmean().item()
                assert point.mAPs[draw] == pytest.approx(expected, abs=1e-6)


def test_telling_the_extra_labels_changes_what_is_said_of_the_targets(small_run: Path) -> None:
    run = Run.load(small_run)
    dataset = load_dataset("scenes?images=60", "test")
    model = run.model()
    untold, told = (
        evaluate_model(
            model, dataset, run.preprocessing(model.backbone), EvaluationOptions(extra_known=known, workers=0)
        )
        for known in (False, True)
    )
    assert not torch.allclose(untold.logits, told.logits)
    assert told.names == tuple(name for name in dataset.label_space.names if name not in dataset.label_space.extra)
    assert torch.equal(told.labels, dataset.labels[:, dataset.label_space.is_target])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "recipe.yaml").unlink(), "is not a run folder: it has no recipe.yaml"),
        (lambda run: (run / "model.safetensors").unlink(), "has no weights yet: finish its training"),
        (lambda run: (run / "model.safetensors").write_bytes(b"x" * 40), "is not a safetensors file"),
        (lambda run: (run / "labels.json").write_text("{"), r"labels\.json, line 1: not valid JSON"),
        (lambda run: (run / "labels.json").write_text('{"names": ["a"]}'), "is not a label file of a run"),
        (
            lambda run: (run / "labels.json").write_text('{"names": ["a", "b"], "thresholds": [0.5]}'),
            "1 thresholds for 2 labels",
        ),
        (
            lambda run: (run / "labels.json").write_text('{"names": ["a", "b"], "thresholds": [0.5, 0.5]}'),
            "does not fit the model and the 2 labels of",
        ),
    ],
)
def test_a_damaged_run_is_named(small_run: Path, tmp_path: Path, damage: Callable[[Path], Any], message: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    damage(run)
    with pytest.raises(TagformerError, match=message):
        Tagger.load(run)
