"""Damaged tables end in a TagformerError of one sentence, or are read."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest

from tagformer.data import load_dataset
from tagformer.errors import TagformerError
from tests.data_files.parquet import write as write_parquet

COUNT = 40
PIECES = [b"[", b"'", b'"', b",", b";", b"\n", b"\\", b"\0", b"9", b"(", b"\xff"]


def csv_files() -> list[bytes]:
    tags = "path,tags,split\n" + "".join(f"{row}.jpg,dog;cat{row % 7},train\n" for row in range(40))
    wide = "id;path;Öl;cat\n" + "".join(f"x{row};{row}.jpg;1,0;FALSCH\n" for row in range(40))
    lists = "path\ttags\n" + "".join(f"{row}.jpg\t['dog', 'cat{row % 7}']\n" for row in range(40))
    return [tags.encode(), wide.encode("cp1252"), lists.encode("utf-16")]


def jsonl_files() -> list[bytes]:
    entries = [
        {"path": "a.jpg", "tags": ["dog", "cat"], "split": "train"},
        {"file_name": "a.jpg", "labels": {"dog": 1, "cat": None}},
        {"path": "a.jpg", "present": ["dog"], "absent": ["x, y"], "id": 3},
    ]
    return ["".join(json.dumps({**entry, "id": row}) + "\n" for row in range(40)).encode() for entry in entries]


def parquet_files(folder: Path) -> list[bytes]:
    paths = [f"{row}.jpg" for row in range(40)]
    files = [
        write_parquet(folder / "seed.parquet", group=20, path=paths, tags=[["dog", "cat"]] * 40).read_bytes(),
        write_parquet(folder / "seed.parquet", group=20, path=paths, dog=[1, 0] * 20).read_bytes(),
        write_parquet(folder / "seed.parquet", group=20, path=paths, tags=["dog;cat"] * 40).read_bytes(),
    ]
    (folder / "seed.parquet").unlink()
    return files


def damaged(content: bytes, draw: random.Random) -> bytes:
    """One to three flipped bits, cut ends, insertions, removals or repeated lines."""
    data = bytearray(content)
    for _ in range(draw.randint(1, 3)):
        position = draw.randrange(len(data) or 1)
        kind = draw.choice(["flip", "cut", "insert", "insert long", "remove", "repeat"])
        if kind == "flip" and data:
            data[position] ^= 1 << draw.randrange(8)
        elif kind == "cut":
            del data[position:]
        elif kind.startswith("insert"):
            data[position:position] = draw.choice(PIECES) * (200_000 if kind == "insert long" else draw.randint(1, 9))
        elif kind == "remove":
            del data[position : position + draw.randint(1, 30)]
        else:
            lines = bytes(data).split(b"\n")
            lines[:0] = [draw.choice(lines)] * draw.randint(1, 3)
            data = bytearray(b"\n".join(lines))
    return bytes(data)


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_damaged_table_is_read_or_rejected_in_one_sentence(tmp_path: Path, form: str) -> None:
    originals = {"csv": csv_files, "jsonl": jsonl_files, "parquet": lambda: parquet_files(tmp_path)}[form]()
    file, messages = tmp_path / f"my.{form}", []
    for number in range(COUNT):
        draw = random.Random(f"{form} {number}")
        file.write_bytes(damaged(originals[number % len(originals)], draw))
        start = time.process_time()
        try:
            dataset = load_dataset(f"{form}:{file}", "all", on_bad_image="keep")
        except TagformerError as error:
            messages.append(str(error))
        else:
            assert dataset.labels.shape == (len(dataset), len(dataset.label_space)), number
        assert time.process_time() - start < 5, number
    assert COUNT // 4 < len(messages) < COUNT
    assert [message for message in messages if not message.endswith(".") or "\n" in message] == []


def test_a_path_that_is_too_long_is_an_image_that_does_not_exist(tmp_path: Path) -> None:
    file = tmp_path / "my.csv"
    file.write_text(f"path,tags\n{'9' * 5000}.jpg,dog\n")
    with pytest.raises(TagformerError, match=r"line 2: image .*9\.jpg does not exist: fix the path"):
        load_dataset(f"csv:{file}", "all")
