"""Images and labels whose features are similar."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.metrics.pairwise import cosine_similarity

from tagformer import Tagger
from tagformer.data import load_dataset
from tagformer.errors import TagformerError
from tagformer.images import Preprocessing
from tagformer.images.reading import load_image
from tagformer.models import MODELS
from tagformer.runs.run import write_weights
from tagformer.tagging.similarity import Embedded, co_occurring_pairs, embed, nearest, prototypes, similar_pairs
from tests.helpers import CommandLine
from tests.small_models import images, small


def test_the_nearest_are_those_of_the_smallest_angle() -> None:
    features = torch.nn.functional.normalize(torch.randn(20, 6, generator=torch.Generator().manual_seed(0)), dim=1)
    rows = [3 * i for i in range(20)]  # as if images in between could not be read
    query = 5 * features[4] + 0.1
    expected = cosine_similarity(query[None].numpy(), features.numpy())[0]
    found = nearest(Embedded(features, rows), query, 3)
    assert [row for row, _ in found] == [3 * i for i in (-expected).argsort()[:3].tolist()]
    assert [value for _, value in found] == pytest.approx(sorted(expected.tolist(), reverse=True)[:3], abs=1e-5)
    assert len(nearest(Embedded(features, rows), query, 50)) == 20


def test_what_stands_for_a_label_is_the_mean_of_the_images_that_show_it() -> None:
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    labels = torch.tensor([[1, 0, 0], [1, 1, 0], [-1, 1, 0]], dtype=torch.int8)
    found = prototypes(features, labels)
    torch.testing.assert_close(found[0], torch.tensor([0.5**0.5, 0.5**0.5]))
    torch.testing.assert_close(found[1], torch.tensor([0.6, 1.8]) / 3.6**0.5)
    assert found[2].isnan().all()
    assert similar_pairs(found, 5) == [(0, 1)]  # a label without images is in no pair


def test_labels_go_together_by_images_with_both_over_images_with_either() -> None:
    labels = torch.tensor([[1, 1, 0, 1], [1, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]], dtype=torch.int8)
    # a and b 1/2, a and c 1/3, a and d 2/4, b and c 0, b and d 1/4, c and d 2/4
    assert set(co_occurring_pairs(labels, 3)) == {(0, 1), (0, 3), (2, 3)}
    assert co_occurring_pairs(labels, 5)[3:] == [(0, 2), (1, 3)]
    assert len(co_occurring_pairs(labels, 99)) == 5


@torch.no_grad()
@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_model_gives_one_feature_an_image(name: str) -> None:
    model = small(name)
    found = model.embed(images(3))
    assert found.shape == (3, model.backbone.channels[-1])
    torch.testing.assert_close(found[1:2], model.embed(images(3)[1:2]), rtol=1e-4, atol=1e-5)


def test_similar_finds_the_image_itself_and_draws_the_labels(
    small_run: Path, tmp_path: Path, tagformer: CommandLine
) -> None:
    dataset = load_dataset("scenes?images=96&faint=0", "test")
    query = tmp_path / "query.png"
    load_image(dataset.images[2]).save(query)
    out = tmp_path / "out"
    second = shutil.copytree(small_run, tmp_path / "second")
    state = load_file(second / "model.safetensors")
    generator = torch.Generator().manual_seed(0)
    write_weights(
        second, {name: value * (0.5 + torch.rand(value.shape, generator=generator)) for name, value in state.items()}
    )
    others = ("--beside", str(second), "--out", str(out), "--count", "4", "--workers", "0")
    code, _, errors = tagformer("similar", str(small_run), str(query), *others)
    assert code == 0, errors
    with (out / "similar.csv").open(newline="") as stream:
        header, *rows = csv.reader(stream)
    assert header == ["image", "run", "similar", "cosine"]
    assert [row[1] for row in rows] == [str(small_run)] * 4 + [str(second)] * 4
    assert [row[3] for row in rows[:4]] != [row[3] for row in rows[4:]]  # other weights
    assert rows[0][2] == dataset.ids[2]
    assert float(rows[0][3]) == pytest.approx(1.0, abs=1e-3)
    for folder, own in ((small_run, rows[:4]), (second, rows[4:])):
        tagger = Tagger.load(folder)
        found = embed(tagger.model, dataset, tagger.preprocessing, workers=0)
        assert found.rows == list(range(len(dataset)))
        cosines = found.features @ found.features[2]
        assert [dataset.ids[i] for i in cosines.argsort(descending=True)[:4].tolist()] == [row[2] for row in own]
    with Image.open(out / "similar.png") as sheet:
        assert sheet.width == 5 * 160 + 10
    chart = (out / "labels.svg").read_text()
    assert all(name in chart for name in dataset.label_space.names[:3])
    assert "look alike" in chart
    assert (out / "labels-2.svg").read_text() != chart


def test_similar_refuses_what_it_cannot_read(small_run: Path, tmp_path: Path, tagformer: CommandLine) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_text("no image")
    code, _, errors = tagformer("similar", str(small_run), str(bad), "--out", str(tmp_path / "out"), "--workers", "0")
    assert code == 2
    assert "bad.jpg" in errors


def test_labels_that_are_all_in_one_place_have_no_map(small_run: Path, tmp_path: Path, tagformer: CommandLine) -> None:
    """Every image the same, with the same four labels: t-SNE would divide by nothing."""
    for number in range(3):
        Image.new("RGB", (32, 32), (90, 30, 160)).save(tmp_path / f"{number}.png")
    names = list(Tagger.load(small_run).label_space.names[:4])
    rows = "".join(f"{number}.png,{';'.join(names)}\n" for number in range(3))
    (tmp_path / "same.csv").write_text("path,tags\n" + rows)
    where = ("--in", f"csv:{tmp_path / 'same.csv'}", "--split", "all", "--out", str(tmp_path / "out"))
    code, output, errors = tagformer("similar", str(small_run), *where, "--workers", "0")
    assert code == 0, errors
    assert "No map of the labels" in output


def test_a_model_of_labels_alone_cannot_compare_images() -> None:
    model, dataset = small("ctran", image=False), load_dataset("scenes?images=8", "all")
    with pytest.raises(TagformerError, match="does not use images: it cannot compare them"):
        embed(model, dataset, Preprocessing(size=32), workers=0)
