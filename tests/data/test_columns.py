from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from tagformer.data.columns import Files, Origins, Strings, take

TEXTS = ["", "a/b.jpg", "schön; ñ", "雪.png", "x\udc80y"]  # the last: a file name that is not UTF-8


def test_texts_paths_and_origins_are_sequences() -> None:
    strings = Strings(TEXTS)
    assert list(strings) == TEXTS
    assert strings == TEXTS
    assert strings[-1] == TEXTS[-1]
    assert list(strings[1:4:2]) == [TEXTS[1], TEXTS[3]]
    assert list(take(strings, [3, 3, 0])) == [TEXTS[3], TEXTS[3], TEXTS[0]]
    assert list(take(TEXTS, [1])) == [TEXTS[1]]
    with pytest.raises(IndexError):
        strings[5]
    files = Files(Path("/data"), ["a.jpg", "sub/b.jpg", "/else/c.jpg"])
    assert list(files) == [Path("/data/a.jpg"), Path("/data/sub/b.jpg"), Path("/else/c.jpg")]
    assert list(files.take([2])) == [Path("/else/c.jpg")]
    origins = Origins([Path("train.csv"), Path("test.csv")], [0, 0, 1], [2, 3, 2])
    assert list(origins) == ["train.csv, line 2", "train.csv, line 3", "test.csv, line 2"]
    assert list(origins.take([2, 0])) == ["test.csv, line 2", "train.csv, line 2"]
    for column in (strings, files, origins):
        assert list(pickle.loads(pickle.dumps(column))) == list(column)


def test_a_million_short_texts_take_little_memory() -> None:
    strings = Strings(f"images/{number:07d}.jpg" for number in range(100_000))
    assert len(pickle.dumps(strings)) < 100_000 * (len("images/0000000.jpg") + 9)
