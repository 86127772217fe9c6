"""The league of benchmarks/league.py: results that go on, means, and predictions that are matched by name."""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from tagformer.data import MultiLabelDataset
from tagformer.errors import TagformerError
from tagformer.labels import LabelSpace

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
MODULES = ("results", "table", "scoring", "sets", "running", "environments", "entries.exchange")


@pytest.fixture
def league(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The modules of the league by their names."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return SimpleNamespace(
        **{name.rpartition(".")[2]: importlib.import_module(f"league.{name}") for name in MODULES},
    )


def line(**changes: Any) -> dict[str, Any]:
    """A result as it stands in the file."""
    return {
        "set": "photo",
        "entry": "linear",
        "seed": 0,
        "minutes": 6.0,
        "mAP": 0.5,
        "CF1": 0.4,
        "OF1": 0.6,
        "labels": 12,
        "train_minutes": 5.5,
        "predict_seconds": 20.0,
        "cpu_minutes": 10.0,
        "images_per_second": 30.0,
        "how": "by hand",
        "commit": "abc",
        "cpu": "a processor, 2 cores",
        "date": "2026-11-26T10:00:00+00:00",
        "versions": {"torch": "2.6"},
        **changes,
    }


def write_lines(file: Path, *lines: dict[str, Any]) -> None:
    file.write_text("".join(json.dumps(value) + "\n" for value in lines))


def test_a_league_goes_on_with_what_is_missing(league: SimpleNamespace, tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    keys = league.running.planned(["photo", "cub50"], ["linear", "probe"], [0, 1], {"photo": 6})
    assert keys[:3] == [("photo", "linear", 0, 6.0), ("photo", "probe", 0, 6.0), ("cub50", "linear", 0, 4.0)]
    assert league.results.missing(keys, league.results.read_results(file)) == keys
    for key in (keys[0], keys[3]):
        values = dict(zip(("set", "entry", "seed", "minutes"), key, strict=True))
        league.results.append_result(file, league.results.Result(**line(**values)))
    kept = league.results.read_results(file)
    assert [result.key for result in kept] == [keys[0], keys[3]]
    assert league.results.missing(keys, kept) == [keys[1], keys[2], *keys[4:]]
    longer = league.running.planned(["photo"], ["linear"], [0], {"photo": 25})
    assert league.results.missing(longer, kept) == longer, "another time is another run"


def test_half_a_line_of_a_killed_run_is_no_result_and_is_removed(league: SimpleNamespace, tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    write_lines(file, line(seed=0))
    with file.open("a") as stream:
        stream.write(json.dumps(line(seed=1))[:50])
    assert [result.seed for result in league.results.read_results(file)] == [0]
    league.results.append_result(file, league.results.Result(**line(seed=2)))
    assert [result.seed for result in league.results.read_results(file)] == [0, 2]
    assert len(file.read_text().splitlines()) == 2


def test_the_last_line_of_a_run_counts_and_a_wrong_line_is_named(league: SimpleNamespace, tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    write_lines(file, line(mAP=0.5), line(mAP=0.7))
    (result,) = league.results.read_results(file)
    assert result.mAP == 0.7
    write_lines(file, line(), {"set": "photo"}, line())
    with pytest.raises(TagformerError, match="line 2 is not a result"):
        league.results.read_results(file)


def test_the_table_has_the_means_and_deviations_of_the_lines(league: SimpleNamespace, tmp_path: Path) -> None:
    """default: 70, 72, 74: mean 72, deviation 2. linear: 60, 61, 65: mean 62, deviation sqrt((4 + 1 + 9) / 2) = 2.6.

    The pooled deviation is sqrt((8 + 14) / 4) = 2.3.
    """
    file, page = tmp_path / "results.jsonl", tmp_path / "league.md"
    lines = [line(entry="default", seed=s, mAP=v, images_per_second=None) for s, v in enumerate((0.70, 0.72, 0.74))]
    lines += [line(seed=s, mAP=v, train_minutes=m) for s, v, m in ((0, 0.60, 5), (1, 0.61, 6), (2, 0.65, 7))]
    lines += [line(entry="probe", mAP=0.5), line(set="coco256", minutes=1.0, labels=71)]
    write_lines(file, *lines)
    page.write_text(f"# League\n\n{league.table.BEGIN}\nold\n{league.table.END}\n\nafter\n")
    league.table.write_table(page, league.results.read_results(file))
    text = page.read_text()
    rows = [row for row in text.splitlines() if row.startswith("| ") and "mAP" not in row]
    assert rows[0] == "| default | 72.0 ± 2.0 | 40.0 ± 0.0 | 60.0 ± 0.0 | 5.5 | 20 |  | 0, 1, 2 |"
    assert rows[1] == "| linear | 62.0 ± 2.6 | 40.0 ± 0.0 | 60.0 ± 0.0 | 6.0 | 20 | 30.0 | 0, 1, 2 |"
    assert rows[2].startswith("| probe | 50.0 | 40.0 |"), "one seed has no deviation"
    assert "best other entry, linear: +10.0 mAP (pooled deviation 2.3)." in text
    assert text.index("Photo set (VOC 2012, animals), 6 minutes") < text.index("COCO, 128 training images, 1 minute")
    assert text.startswith("# League\n")
    assert text.endswith(f"{league.table.END}\n\nafter\n")
    assert "old" not in text
    league.table.write_table(page, league.results.read_results(file))
    assert page.read_text() == text, "a second time changes nothing"
    page.write_text("no markers")
    with pytest.raises(TagformerError, match="no place for the table"):
        league.table.write_table(page, [])


def test_the_pooled_deviation_of_a_single_run_each_is_not_defined(league: SimpleNamespace) -> None:
    assert math.isnan(league.table.pooled_deviation([1.0], [2.0]))


@pytest.fixture
def data(league: SimpleNamespace) -> Any:
    """Six test images with three labels, of which the last has no positive."""
    labels = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0], [1, 0, 0], [0, 1, 0]], dtype=torch.int8)
    ids = [f"image {number}" for number in range(6)]
    dataset = MultiLabelDataset(
        "pets", LabelSpace(("cat", "dog", "cow")), [Path(f"{i}.jpg") for i in ids], labels, ids=ids
    )
    return league.sets.Data(dataset, dataset, league.sets.scored_labels(labels))


@pytest.mark.parametrize("kind", ["logits", "probabilities"])
def test_rows_and_columns_are_found_by_name(league: SimpleNamespace, data: Any, tmp_path: Path, kind: str) -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(6, 3)).astype(np.float32)
    values = logits if kind == "logits" else 1 / (1 + np.exp(-logits))
    rows, columns = generator.permutation(6), [2, 0, 1]
    ids, names = data.test.ids, data.test.label_space.names
    league.exchange.write_predictions(
        tmp_path / "a.npz", [ids[row] for row in rows], [names[c] for c in columns], values[rows][:, columns], kind
    )
    read, read_kind = league.scoring.read_predictions(tmp_path / "a.npz", ids, names)
    assert read_kind == kind
    np.testing.assert_array_equal(read.numpy(), values.astype(np.float32))
    labels = data.test.labels.numpy()
    expected = np.mean([average_precision_score(labels[:, c], logits[:, c]) for c in (0, 1)])
    scores = league.scoring.score(tmp_path / "a.npz", data)
    assert scores.mAP == pytest.approx(expected)
    true = ((logits[:, :2] >= 0) & (labels[:, :2] == 1)).sum()
    assert scores.all.OF1 == pytest.approx(2 * true / ((logits[:, :2] >= 0).sum() + labels[:, :2].sum()))


def test_predictions_of_other_images_or_labels_are_refused(league: SimpleNamespace, data: Any, tmp_path: Path) -> None:
    ids, names, values = list(data.test.ids), list(data.test.label_space.names), np.zeros((6, 3), dtype=np.float32)
    file = tmp_path / "a.npz"
    for changed_ids, changed_names, sentence in (
        (["other", *ids[1:]], names, "image 'image 0' is missing"),
        ([ids[1], *ids[1:]], names, "image 'image 1' is there twice"),
        (ids, ["cat", "dog", "pig"], "label 'cow' is missing"),
    ):
        league.exchange.write_predictions(file, changed_ids, changed_names, values)
        with pytest.raises(TagformerError, match=sentence):
            league.scoring.read_predictions(file, ids, names)
    file.write_bytes(b"damaged")
    with pytest.raises(TagformerError, match="no predictions in the common form"):
        league.scoring.read_predictions(file, ids, names)
    with pytest.raises(ValueError, match="not numbers"):
        league.exchange.write_predictions(file, ids, names, np.full((6, 3), np.nan))


def test_labels_that_are_rare_or_always_present_do_not_count(league: SimpleNamespace) -> None:
    labels = torch.tensor([[1, 1, 0, 1], [1, 0, 0, 1], [1, 0, 0, 0]], dtype=torch.int8)
    assert league.sets.scored_labels(labels).tolist() == [False, True, False, True]
    assert league.sets.scored_labels(labels, positives=2).tolist() == [False, False, False, True]


def small_task(league: SimpleNamespace, folder: Path, **changes: Any) -> dict[str, Any]:
    """A task whose entry is a program of the test."""
    strings = {"spec", "network", "weights", "entry", "set"}
    values = {field.name: "" for field in dataclasses.fields(league.exchange.Task) if field.name in strings}
    return {**values, "names": ["cat", "dog", "cow"], "size": 32, "mean": 0.5, "std": 0.5, **changes}


def test_an_entry_is_run_in_a_process_and_a_failure_does_not_stop_the_others(
    league: SimpleNamespace, data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two entries that are programs of this test: one predicts, the other ends with an error."""
    exchange = BENCHMARKS / "league" / "entries"
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text(
        f"import sys; sys.path.insert(0, {str(exchange)!r})\n"
        "import numpy as np\nfrom exchange import Task, write_predictions, write_report\n"
        "task = Task.of_command_line()\n"
        "values = np.zeros((len(task.test_ids), len(task.names)), dtype=np.float32)\n"
        "write_predictions(task.predictions, task.test_ids, task.names, values)\n"
        "write_report(task, 'zeros', 0.0, 12, ['numpy'])\n"
    )
    bad.write_text("raise SystemExit('there is no network')")
    content = small_task(league, tmp_path, train_ids=["a"], train_paths=["a.jpg"], train_labels=[[0]])
    content |= {"test_ids": list(data.test.ids), "test_paths": [str(image) for image in data.test.images]}
    content = {name: value for name, value in content.items() if name != "entry"}
    monkeypatch.setattr(league.running, "SCRIPTS", {"linear": str(bad), "probe": str(good)})
    monkeypatch.setattr(league.running, "load_data", lambda name: data)
    monkeypatch.setattr(league.running, "task_content", lambda name, data: content)
    places = league.running.Places(tmp_path / "results.jsonl", tmp_path / "work", tmp_path / "environments")
    keys = [("photo", "linear", 0, 1.0), ("photo", "probe", 3, 1.0)]
    (failure,) = league.running.run_all(keys, places)
    assert failure.startswith("photo, linear, seed 0: it ended with code 1 (there is no network; ")
    (result,) = league.results.read_results(places.results)
    assert (result.key, result.how, result.labels) == (keys[1], "zeros", 2)
    assert result.mAP == pytest.approx(0.5), "equal scores: the share of positives, 3 of 6 for both labels"
    assert result.images_per_second == pytest.approx(12 / (60 * result.train_minutes))
    assert not list((tmp_path / "work" / "running").iterdir())
    with pytest.raises(TagformerError, match="fastai has no environment"):
        league.running.run_all([("photo", "fastai", 0, 1.0)], places)


def test_the_held_out_tenth_depends_on_the_seed_alone(league: SimpleNamespace, tmp_path: Path) -> None:
    def task(seed: int) -> Any:
        values = {field.name: "" for field in dataclasses.fields(league.exchange.Task)}
        ids = [str(number) for number in range(50)]
        labels = [[number % 3] for number in range(50)]
        given = small_task(league, tmp_path, train_ids=ids, train_labels=labels, seed=seed)
        return league.exchange.Task(**{**values, **given})

    first = task(0).held_out()
    assert first.sum() == 5
    np.testing.assert_array_equal(first, task(0).held_out())
    assert (first != task(1).held_out()).any()
    assert task(0).targets()[:4].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]
