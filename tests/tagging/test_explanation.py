"""Heat maps: what they are, that they point, the sheet and the arrays."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tagformer import Tagger
from tagformer.data import load_dataset
from tagformer.errors import TagformerError
from tagformer.images import Preprocessing
from tagformer.models import MODELS
from tagformer.models.base import MultiLabelModel
from tagformer.models.feedback import FeedbackPropagation
from tagformer.report.sheets import heat as heat_sheet
from tagformer.report.sheets.channel import masked
from tagformer.report.sheets.contact import KNOWN, PLAIN, RIGHT
from tagformer.report.sheets.heat import BROWN, RED, SIDE, caption, overlay
from tagformer.tagging.explanation import Explanation, chance
from tagformer.tagging.prediction import Tag
from tests.helpers import CommandLine
from tests.small_models import images, small

WHOLE = (0.0, 0.0, 1.0, 1.0)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_model_has_a_map_for_each_label_asked_for(name: str) -> None:
    model = small(name)
    with torch.no_grad():
        maps, one = model.heat_maps(images(), [2, 0]), model.heat_maps(images()[1:], [0])
    side = {"cat": 16, "fpn": 16, "mltr": 2}.get(name, 4)  # P3 where the model has it
    assert maps.shape == (2, 2, side, side)
    assert not maps.requires_grad
    torch.testing.assert_close(maps[1:, 1:], one, rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_the_mean_of_a_class_activation_map_is_the_logit_of_the_linear_model() -> None:
    model = small("linear")
    maps = model.heat_maps(images(), range(4))
    torch.testing.assert_close(maps.mean(dim=(2, 3)) + model.output_bias, model(images()).logits)


def test_the_gradient_s_map_of_the_linear_model_is_its_class_activation_map() -> None:
    """Grad-CAM of a globally averaged map and a linear layer is the CAM over the number of positions, cut at zero."""
    model = small("linear")
    found = MultiLabelModel.heat_maps(model, images(), range(4))
    expected = model.heat_maps(images(), range(4)).clamp(min=0) / 16
    torch.testing.assert_close(found, expected.detach())
    with torch.no_grad():
        torch.testing.assert_close(MultiLabelModel.heat_maps(model, images(), range(4)), found)


@torch.no_grad()
def test_c_tran_s_map_is_its_attention_and_listens_to_known_labels() -> None:
    model = small("ctran")
    known = torch.tensor([[1, -1, -1, 0]] * 2, dtype=torch.int8)
    maps = model.heat_maps(images(), [3, 1], known)
    attention = model.attention(model.encode(images()), known)  # type: ignore[operator]
    expected = attention.mean(dim=(0, 2))[:, [16 + 3, 16 + 1], :16].reshape(2, 2, 4, 4)
    torch.testing.assert_close(maps, expected)
    assert not torch.allclose(maps, model.heat_maps(images(), [3, 1]))
    with pytest.raises(TagformerError, match="no heat maps"):
        small("ctran", image=False).heat_maps(images(), [0])


@torch.no_grad()
def test_feedback_propagation_shows_the_model_s_own_maps() -> None:
    model = small("linear")
    known = torch.tensor([[1, -1, -1, 0]] * 2, dtype=torch.int8)
    torch.testing.assert_close(
        FeedbackPropagation(model).heat_maps(images(), [1], known), model.heat_maps(images(), [1])
    )


def explanation(maps: torch.Tensor, region: tuple[float, float, float, float] = (0, 0, 1, 1)) -> Explanation:
    tags = tuple(Tag(name, p, 0.5, known=False) for name, p in (("dog", 0.9), ("cat", 0.1)))
    return Explanation(tags[: len(maps)], maps, region)


def test_the_peak_and_the_pointing_game() -> None:
    heat = torch.zeros(1, 4, 5)
    heat[0, 3, 1] = 2  # the middle of that position is x = 1.5 / 5, y = 3.5 / 4
    one = explanation(heat)
    assert one.peak(0) == pytest.approx((0.3, 0.875))
    assert one.hits(0, [(0.6, 0.0, 1.0, 1.0), (0.2, 0.8, 0.4, 0.9)])
    assert not one.hits(0, [(0.31, 0.0, 1.0, 1.0), (0.0, 0.0, 1.0, 0.87)])
    assert explanation(heat, (0.25, 0.0, 0.75, 1.0)).peak(0) == pytest.approx((0.25 + 0.5 * 0.3, 0.875))


def test_chance_is_the_joint_area_of_the_boxes() -> None:
    assert chance([(0, 0, 0.5, 0.5)]) == pytest.approx(0.25)
    assert chance([(0, 0, 0.5, 0.5), (0.25, 0.25, 0.75, 0.75)]) == pytest.approx(0.25 + 0.25 - 0.0625)
    assert chance([]) == 0


def test_the_overlay_is_red_where_the_map_is_high_and_blue_where_it_is_low() -> None:
    heat = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    picture = Image.new("RGB", (40, 40), (128, 128, 128))
    pixels = np.asarray(overlay(picture, heat[0], WHOLE)).astype(int)
    high, low = pixels[2, 2], pixels[37, 37]
    assert high[0] > high[2] + 50
    assert low[2] > low[0]
    inside = np.asarray(overlay(picture, heat[0], (0.5, 0.0, 1.0, 1.0)))
    assert (inside[:, :20] == 128).all()
    assert (inside[:, 20:] != 128).any(axis=2).all()
    flat = np.asarray(overlay(picture, torch.full((2, 2), 3.0), WHOLE))
    assert (flat == flat[0, 0]).all()


def test_captions_say_what_is_right_wrong_missed_and_told() -> None:
    one = explanation(torch.zeros(2, 2, 2))
    assert caption(one, 0, {"dog": 1}) == ("dog 90%", RIGHT)
    assert caption(one, 0, {"dog": 0}) == ("dog 90% (wrong)", BROWN)
    for unknown in ({"dog": -1}, {"cat": 1}, {}):
        assert caption(one, 0, unknown) == ("dog 90%", PLAIN)
    assert caption(one, 1, {"cat": 1}) == ("cat 10% (missed)", RED)
    assert caption(one, 1, {"cat": 0}) == ("cat 10%", PLAIN)
    told = Explanation((Tag("dog", 1.0, 0.5, known=True),), torch.zeros(1, 2, 2), (0, 0, 1, 1))
    assert caption(told, 0, {"dog": 0}) == ("dog (known)", KNOWN)


@pytest.mark.parametrize(("name", "single"), [("cat", {"clf": False}), ("fpn", {"levels": 1})])
@torch.no_grad()
def test_the_map_of_a_single_level_is_its_classifier_at_every_position(name: str, single: dict[str, object]) -> None:
    model = small(name, **single, standardise=False)
    finest = model.maps(images())[0]  # type: ignore[operator]
    weight = model.classifiers[0].weight  # type: ignore[index,union-attr]
    found = model.heat_maps(images(), [3, 1])
    for row, column in ((0, 0), (1, 3)):
        for place, label in enumerate((3, 1)):
            torch.testing.assert_close(found[:, place, row, column], finest[:, :, row, column] @ weight[label])


@pytest.mark.parametrize(
    ("resize", "region"),
    [("squash", (0, 0, 1, 1)), ("crop", (0.125, 0, 0.875, 1)), ("ctran", (0.05, 0.05, 0.95, 0.95))],
)
def test_the_region_is_what_the_network_sees(resize: str, region: tuple[float, ...]) -> None:
    settings = Preprocessing(size=32, resize=resize)
    tagger = Tagger(small("linear"), settings, torch.full((4,), 0.5), device="cpu")
    assert tagger.explain(Image.new("RGB", (80, 60))).region == pytest.approx(region)


def test_chance_within_a_region() -> None:
    assert chance([(0, 0, 0.5, 0.5)], (0.25, 0.25, 0.75, 0.75)) == pytest.approx(0.25)


def test_a_thin_picture_has_an_overlay() -> None:
    thin = Image.new("RGB", (3000, 2))
    assert overlay(thin, torch.rand(2, 2), (0.4999, 0.0, 0.5001, 1.0)).size == (3000, 2)


def test_a_tagger_explains_what_it_predicts_or_what_it_is_asked(small_run: Path) -> None:
    tagger = Tagger.load(small_run)
    picture = Image.new("RGB", (80, 60), (120, 90, 30))
    tagger.thresholds.fill_(1.1)
    prediction = tagger.predict(picture)[0]
    (best,) = tagger.explain(picture).tags
    assert best == prediction.ranked[0]
    tagger.thresholds.fill_(0)
    assert list(tagger.explain(picture).tags) == prediction.ranked
    names = tagger.label_space.names
    asked = tagger.explain(picture, [names[2], names[0]])
    assert [tag.name for tag in asked.tags] == [names[2], names[0]]
    assert asked.maps.shape[0] == 2
    assert asked.region == (0, 0, 1, 1)
    with pytest.raises(TagformerError, match="unknown label"):
        tagger.explain(picture, ["zebra"])
    with pytest.raises(TagformerError, match="is an extra label"):
        tagger.explain(picture, [tagger.label_space.extra[0]])


@pytest.fixture
def sheets(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What `write_heat_sheet` was called with."""
    called: list[tuple[Any, ...]] = []
    original = heat_sheet.write_heat_sheet

    def noted(*arguments: Any) -> None:
        called.append(arguments)
        original(*arguments)

    monkeypatch.setattr(heat_sheet, "write_heat_sheet", noted)
    return called


def test_explain_writes_a_sheet_and_arrays_of_the_test_split(
    tagformer: CommandLine, small_run: Path, tmp_path: Path, sheets: list[tuple[Any, ...]]
) -> None:
    out = tmp_path / "why"
    asked = ("--labels", "disc,ring", "--count", 3, "--beside", small_run)
    code, _, error = tagformer("explain", small_run, "--out", out, *asked)
    assert code == 0, error
    assert Image.open(out / "heat_maps.png").width > 3 * 170
    with np.load(out / "heat_maps.npz") as arrays:
        assert {key.split("/", 1)[0] for key in arrays} == {"0", "1", "2"}
        assert "0/1/maps" not in arrays  # the same run is shown once
        assert arrays["2/0/labels"].tolist() == ["disc", "ring"]
        assert arrays["2/0/maps"].shape[0] == 2
        assert arrays["2/0/region"].tolist() == [0, 0, 1, 1]
    ((_, pictures, explanations, truths, names),) = sheets
    test = load_dataset("scenes?images=96&faint=0", "test")
    expected = [
        dict(zip(test.label_space.names, record.labels.tolist(), strict=True)) for record in test.sample_evenly(3)
    ]
    assert truths == expected
    assert names == [str(small_run)]
    assert len(pictures) == len(explanations) == 3


def test_predicted_and_missed_labels_are_shown(
    tagformer: CommandLine, small_run: Path, tmp_path: Path, sheets: list[tuple[Any, ...]]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    labels = json.loads((run / "labels.json").read_text())
    names = labels["names"]
    for thresholds, told in ((1.0, []), (0.0, []), (1.0, ["--known", f"{names[0]}=yes,{names[1]}=no"])):
        (run / "labels.json").write_text(json.dumps({**labels, "thresholds": [thresholds] * len(names)}))
        code, _, error = tagformer("explain", run, "--out", tmp_path / "why", "--count", 8, "--most", 2, *told)
        assert code == 0, error
        _, _, explanations, truths, _ = sheets[-1]
        for (one,), truth in zip(explanations, truths, strict=True):
            shown = [tag.name for tag in one.tags]
            targets = [name for name in names if name not in labels["extra"]]
            there = [name for name in targets if truth[name] == 1]
            if thresholds == 0:  # everything is predicted, the two most probable are shown
                assert len(shown) == 2
            elif told:
                assert shown[0] == names[0]  # what is told is sure, and never missed
                assert shown[1:] == [name for name in there if name not in names[:2]][:2]
            elif there:
                assert shown == there[:2]


def test_two_runs_stand_below_each_other_each_with_its_own_maps(
    tagformer: CommandLine, small_run: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(small_run, other)
    state = load_file(other / "model.safetensors")
    changed = {name: value * 1.5 if value.is_floating_point() else value for name, value in state.items()}
    save_file(changed, other / "model.safetensors")
    heights = []
    for number, beside in enumerate(([], ["--beside", other])):
        out = tmp_path / f"why{number}"
        code, _, error = tagformer("explain", small_run, "--out", out, "--count", "2", "--labels", "disc", *beside)
        assert code == 0, error
        heights.append(Image.open(out / "heat_maps.png").height)
    assert heights[1] == pytest.approx(2 * heights[0], abs=20)
    with np.load(out / "heat_maps.npz") as arrays:
        assert not np.allclose(arrays["1/0/maps"], arrays["1/1/maps"])


def test_explain_takes_images_and_leaves_out_bad_ones_where_asked(
    tagformer: CommandLine, small_run: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (50, 40), (200, 90, 30)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    arguments = ("explain", small_run, tmp_path, "--out", tmp_path / "why")
    code, _, error = tagformer(*arguments)
    assert code == 2
    assert "b.png" in error
    code, said, error = tagformer(*arguments, "--on-bad-image", "skip")
    assert code == 0, error
    assert "1 images" in said
    assert "left out" in error
    with np.load(tmp_path / "why" / "heat_maps.npz") as arrays:
        assert str(arrays["0/image"]) == str(tmp_path / "a.png")
        assert "1/image" not in arrays


def test_explain_refuses_what_makes_no_sense(tagformer: CommandLine, small_run: Path, tmp_path: Path) -> None:
    Image.new("RGB", (50, 40)).save(tmp_path / "a.png")
    for arguments, sentence in (
        ((tmp_path / "a.png", "--out", tmp_path / "why", "--split", "test"), "not both"),
        (("--out", tmp_path / "a.png"), "is a file"),
        (("--out", tmp_path / "why", "--labels", "zebra"), "unknown label 'zebra'"),
        (("--out", tmp_path / "why", "--labels", "night"), "is an extra label"),
    ):
        code, _, error = tagformer("explain", small_run, *arguments)
        assert code == 2
        assert sentence in error


def test_a_masked_picture_shows_the_hottest_quarter_alone() -> None:
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    picture = Image.new("RGB", (80, 80), (200, 100, 50))
    shown = np.asarray(masked(picture, rows + 0.01 * columns, WHOLE)).any(axis=2)
    assert shown.mean() == pytest.approx(0.25, abs=0.02)
    assert shown[62:].all()
    assert not shown[:55].any()
    single = torch.zeros(7, 7)
    single[2, 3] = 1  # as after a ReLU
    assert np.asarray(masked(picture, single, WHOLE)).any(axis=2).mean() < 0.2
    right_half = np.asarray(masked(picture, rows, (0.5, 0.0, 1.0, 1.0))).any(axis=2)
    assert not right_half[:, :40].any()


def test_explain_draws_channels_of_the_last_map(small_run: Path, tmp_path: Path, tagformer: CommandLine) -> None:
    out = tmp_path / "why"
    code, output, error = tagformer("explain", small_run, "--out", out, "--count", 2, "--channels", "3,17")
    assert code == 0, error
    assert "channels.png" in output
    with Image.open(out / "channels.png") as sheet:
        assert sheet.width == 5 * (SIDE + 10) + 10  # the picture, and a map and its hottest part for each channel
    tagger = Tagger.load(small_run)
    found, region = tagger.last_map(Image.new("RGB", (80, 60), (9, 90, 200)))
    assert found.shape == (128, 4, 4)
    assert region == pytest.approx(WHOLE)
    for wrong in ("128", "-1", "x"):
        code, _, error = tagformer("explain", small_run, "--out", out, "--channels", wrong)
        assert code == 2
        assert f"'{wrong}' is not a channel: give numbers from 0 to 127." in error
