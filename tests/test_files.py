from __future__ import annotations

import os
from pathlib import Path

import pytest

from tagformer.errors import TagformerError
from tagformer.files import atomic_write, first_existing, read_json, write_json, write_text


def test_json_reads_back_as_it_was_written(tmp_path: Path) -> None:
    value = {"names": ["dog", "Ärger"], "mAP": 0.1, "none": None}
    write_json(tmp_path / "new" / "a.json", value)
    assert read_json(tmp_path / "new" / "a.json") == value
    assert "Ärger" in (tmp_path / "new" / "a.json").read_text(encoding="utf-8")


def test_what_was_written_before_survives_a_failure(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    write_text(file, "old")

    def fail() -> None:
        with atomic_write(file) as temporary:
            temporary.write_text("half")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        fail()
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_is_seen_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    with atomic_write(file) as temporary:
        temporary.write_text("new")
        assert not file.exists()
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".txt"
    assert file.read_text() == "new"


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_only_a_regular_file_is_replaced(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "there"
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    with pytest.raises(TagformerError, match=r"there is (a folder|not a regular file): name a file to write"):
        write_json(path, 1)
    assert list(tmp_path.iterdir()) == [path]
    assert path.is_dir() == (kind == "folder")


def test_a_new_file_has_the_usual_permissions(tmp_path: Path) -> None:
    plain = tmp_path / "plain.txt"
    plain.touch()
    write_text(tmp_path / "ours.txt", "x")
    assert (tmp_path / "ours.txt").stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1,\n"b": }', r"a\.json, line 2: not valid JSON"),
        (b"", r"a\.json, line 1: not valid JSON"),
        ('"Ä"'.encode("latin-1"), r"a\.json is not UTF-8 text"),
        (b'{"id": ' + b"7" * 5000 + b"}", r"^cannot read .*a\.json \(Exceeds the limit .*\): write shorter numbers"),
        (b"[" * 100_000, r"^cannot read .*a\.json \(maximum recursion depth .*\): .* fewer lists in lists\.$"),
    ],
)
def test_the_error_for_a_faulty_json_file_names_file_and_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(TagformerError, match=message):
        read_json(tmp_path / "a.json")


def test_the_error_for_a_missing_json_file_and_for_a_folder_names_it(tmp_path: Path) -> None:
    with pytest.raises(TagformerError, match=r"cannot read .*none\.json"):
        read_json(tmp_path / "none.json")
    with pytest.raises(TagformerError, match="cannot read"):
        read_json(tmp_path)


def test_a_byte_order_mark_before_json_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(tmp_path / "a.json") == {"a": 1}


def test_the_first_path_that_exists_is_found(tmp_path: Path) -> None:
    (tmp_path / "b.txt").touch()
    assert first_existing(tmp_path, "a.txt", "b.txt", layout="X") == tmp_path / "b.txt"
    (tmp_path / "a.txt").touch()
    assert first_existing(tmp_path, "a.txt", "b.txt", layout="X") == tmp_path / "a.txt"
    with pytest.raises(TagformerError, match=r"has neither c nor d/e: see the layout of CUB\.$") as caught:
        first_existing(tmp_path, "c", "d/e", layout="CUB")
    assert str(tmp_path) in str(caught.value)
    with pytest.raises(TagformerError, match=r"has no c: see the layout of CUB\.$"):
        first_existing(tmp_path, "c", layout="CUB")
