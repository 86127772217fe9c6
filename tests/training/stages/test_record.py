"""The record of the stages of a run."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tagformer.errors import TagformerError
from tagformer.training.stages.record import Record, Stage


def test_a_record_is_what_was_written(tmp_path: Path) -> None:
    record = Record.load(tmp_path)
    assert record.stages == []
    record.add(Stage("head", 0.6, seconds=3.5))
    record.add(Stage("evidence", 0.7, (0.7, 0.75, 0.8, 0.85), kept=False))
    assert Record.load(tmp_path) == record
    assert "head" in record
    assert "network" not in record
    assert Record.load(tmp_path)["evidence"].curve == (0.7, 0.75, 0.8, 0.85)
    with pytest.raises(KeyError, match="network"):
        record["network"]


def test_a_stage_that_is_trained_again_replaces_the_earlier_one(tmp_path: Path) -> None:
    record = Record(tmp_path)
    for stage in (Stage("head", 0.6), Stage("evidence", 0.7), Stage("head", 0.65)):
        record.add(stage)
    loaded = Record.load(tmp_path)
    assert sorted(stage.name for stage in loaded.stages) == ["evidence", "head"]
    assert loaded["head"].mAP == 0.65


def test_the_score_is_the_mean_of_nothing_known_and_of_the_curve() -> None:
    assert Stage("head", 0.4).score == 0.4
    assert Stage("evidence", 0.5, (0.6, 0.8)).score == pytest.approx(0.6)


def test_a_figure_that_is_not_defined_is_kept(tmp_path: Path) -> None:
    """No label of the held-out images has a positive."""
    Record(tmp_path).add(Stage("head", math.nan))
    assert math.isnan(Record.load(tmp_path)["head"].mAP)


@pytest.mark.parametrize(
    "content",
    ["3", "{}", '["head"]', '[{"name": "head"}]', '[{"name": "head", "mAP": "high"}]', '[{"name": 3, "mAP": 0.5}]',
     '[{"name": "head", "mAP": 0.5, "curve": null}]', '[{"name": "head", "mAP": 0.5, "curve": [0.5, "x"]}]', "null"],
)  # fmt: skip
def test_a_damaged_record_is_one_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "stages.json").write_text(content, encoding="utf-8")
    with pytest.raises(TagformerError, match=r"stages\.json is not a record of stages"):
        Record.load(tmp_path)
    (tmp_path / "stages.json").write_text("[", encoding="utf-8")
    with pytest.raises(TagformerError, match="not valid JSON"):
        Record.load(tmp_path)


def test_the_file_is_plain_json(tmp_path: Path) -> None:
    Record(tmp_path).add(Stage("head", 0.6, (0.5, 0.6)))
    assert json.loads((tmp_path / "stages.json").read_text(encoding="utf-8")) == [
        {"name": "head", "mAP": 0.6, "curve": [0.5, 0.6], "seconds": 0.0, "kept": True}
    ]


@pytest.mark.parametrize(
    ("mAP", "curve", "better"),
    [(0.5, (0.7, 0.9), True), (0.5, (0.6, 0.8), False), (0.49, (0.7, 1.0), False), (0.6, (0.6, 0.8), True)],
)
def test_a_better_stage_has_a_higher_score_and_is_not_worse_with_nothing_known(
    mAP: float,  # noqa: N803
    curve: tuple[float, ...],
    better: bool,
) -> None:
    assert Stage("evidence", mAP, curve).is_better_than(Stage("head", 0.5, (0.6, 0.8))) == better


def test_the_last_stage_that_was_kept(tmp_path: Path) -> None:
    record = Record(tmp_path)
    for stage in (Stage("head", 0.6), Stage("co-occurrence", 0.5), Stage("evidence", 0.9, kept=False)):
        record.add(stage)
    assert record.last_kept.name == "co-occurrence"
