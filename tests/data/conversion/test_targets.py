"""The folder that is written to: other files, other commands, and folders that must not be written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tagformer.data import convert, load_dataset
from tagformer.errors import TagformerError
from tests.data_files.conversions import (
    FORMATS,
    Stop,
    smooth,
    stopping,
    tree,
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 30}, "with size 20: name another folder, or replace it with --overwrite"),
        ({"size": None}, "with size 20"),
        ({"quality": 50}, "with quality 95"),
        ({"split": "train"}, "with split all"),
        ({"target": "jsonl"}, "with format csv"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_another_command_is_rejected_until_it_may_overwrite(
    table: Path, tmp_path: Path, change: dict[str, object], message: str, finished: bool
) -> None:
    base: dict[str, object] = {"size": 20}
    progress = None if finished else stopping(5)
    try:
        convert(str(table), f"csv:{tmp_path / 'out'}", size=20, progress=progress)
    except Stop:
        assert not finished
    before = tree(tmp_path / "out")
    form = change.get("target", "csv")
    options = {**base, **{key: value for key, value in change.items() if key != "target"}}
    with pytest.raises(TagformerError, match=message) as caught:
        convert(str(table), f"{form}:{tmp_path / 'out'}", **options)  # type: ignore[arg-type]
    assert ("an unfinished conversion" in str(caught.value)) == (not finished)
    assert tree(tmp_path / "out") == before
    convert(str(table), f"{form}:{tmp_path / 'out'}", **options, overwrite=True)  # type: ignore[arg-type]
    convert(str(table), f"{form}:{tmp_path / 'fresh'}", **options)  # type: ignore[arg-type]
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")


@pytest.mark.parametrize("first", FORMATS)
@pytest.mark.parametrize("second", FORMATS)
def test_overwriting_leaves_nothing_behind(table: Path, tmp_path: Path, first: str, second: str) -> None:
    convert(str(table), f"{first}:{tmp_path / 'out'}", size=20, part_bytes=1500)
    (tmp_path / "out" / "notes.txt").write_text("mine")
    convert(str(table), f"{second}:{tmp_path / 'out'}", overwrite=True, split="test")
    convert(str(table), f"{second}:{tmp_path / 'fresh'}", split="test")
    found = tree(tmp_path / "out")
    assert found.pop("notes.txt") == b"mine"
    assert found == tree(tmp_path / "fresh")


def test_the_same_command_with_overwrite_continues_and_then_begins_anew(table: Path, tmp_path: Path) -> None:
    target, done = f"parquet:{tmp_path / 'out'}", []
    with pytest.raises(Stop):
        convert(str(table), target, overwrite=True, part_bytes=2000, progress=stopping(10))
    convert(str(table), target, overwrite=True, part_bytes=2000, progress=lambda now, total: done.append(now))
    assert done[0] > 0
    done.clear()
    convert(str(table), target, overwrite=True, part_bytes=2000, progress=lambda now, total: done.append(now))
    assert done[0] == 0


def test_data_that_changed_meanwhile_are_rejected(table: Path, tmp_path: Path) -> None:
    target = f"jsonl:{tmp_path / 'out'}"
    with pytest.raises(Stop):
        convert(str(table), target, progress=stopping(5))
    table.write_text(table.read_text().replace("00.png,dog", "00.png,cat"))
    with pytest.raises(TagformerError, match="the same options, but other data or another version of Tagformer"):
        convert(str(table), target)
    written = convert(str(table), target, overwrite=True)
    assert load_dataset(written.spec, "train")[0].labels.tolist() == [1, 0]


def test_a_folder_with_other_files_is_never_written(table: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "train.csv").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(TagformerError, match=r"out contains other files, such as train\.csv: name an empty folder"):
            convert(str(table), f"csv:{tmp_path / 'out'}", overwrite=overwrite)
    assert tree(tmp_path / "out") == {"train.csv": b"mine"}
    (tmp_path / "my").write_text("x")
    with pytest.raises(TagformerError, match="my is a file: name a folder"):
        convert(str(table), f"csv:{tmp_path / 'my'}")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("voc2007:out", "cannot write 'voc2007:out'.*one of coco, csv, jsonl, parquet, shards"),
        ("jsnl:out", "did you mean 'jsonl'"),
        ("out", "name it FORMAT:FOLDER"),
        ("csv:", "name a folder"),
        ("csv:out?tags=a", "without options"),
        ("csv:out/my.csv", "name a folder, as csv:out/my"),
    ],
)
def test_another_target_is_rejected(table: Path, target: str, message: str) -> None:
    with pytest.raises(TagformerError, match=message):
        convert(str(table), target)


def test_a_folder_may_be_named_like_an_unknown_home(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    convert(str(table), "csv:~no-such-user/out")
    assert (tmp_path / "~no-such-user" / "out" / "train.csv").is_file()
    load_dataset("csv:~no-such-user/out", "train")


def test_a_data_set_is_not_written_onto_itself(table: Path, tmp_path: Path) -> None:
    written = convert(str(table), f"csv:{tmp_path / 'out'}").spec
    for source in (written, f"csv:{tmp_path / 'out' / 'train.csv'}"):
        with pytest.raises(
            TagformerError, match=r"cannot write to .*, which contains the data set .*: name another folder"
        ):
            convert(source, f"jsonl:{tmp_path / 'out'}", overwrite=True)
    (tmp_path / "folders" / "dog").mkdir(parents=True)
    smooth(9, 9).save(tmp_path / "folders" / "dog" / "a.png")
    with pytest.raises(TagformerError, match=r"since every folder in .* is a label"):
        convert(f"imagefolder:{tmp_path / 'folders'}", f"csv:{tmp_path / 'folders' / 'out'}")


@pytest.mark.parametrize(
    "options", [{"size": 0}, {"quality": 101}, {"workers": 0}, {"part_bytes": 0}, {"on_bad_image": "keep"}]
)
def test_options_out_of_range_are_rejected(table: Path, tmp_path: Path, options: dict[str, object]) -> None:
    with pytest.raises(TagformerError, match=": use "):
        convert(str(table), f"csv:{tmp_path / 'out'}", **options)  # type: ignore[arg-type]
