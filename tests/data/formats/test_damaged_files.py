"""Damaged COCO files and tars raise a `TagformerError` and nothing else. Longer runs: set TAGFORMER_FUZZ."""

from __future__ import annotations

import json
import os
import random
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tagformer.data import convert, load_dataset
from tagformer.errors import TagformerError
from tests.data_files import coco
from tests.helpers import write_folder

ROUNDS = int(os.environ.get("TAGFORMER_FUZZ", "40"))
SECONDS, BYTES = 20, 600_000_000
NUMBERS, TEXTS = (None, True, -1, 0, 1e400, float("nan"), 10**30), ("", "7", "\ud800", "a\0b", "\\", "/", "x" * 999)
VALUES = (*NUMBERS, *TEXTS, [], {}, [[]], [1, 2, 3, 4])
KEYS = ("id", "name", "file_name", "supercategory", "tagformer", "source_id")


def places(value: Any) -> list[tuple[Any, Any]]:
    """(container, key) of every value within a JSON value."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [place for key in keys for place in ((value, key), *places(value[key]))]


def damaged_json(chance: random.Random) -> bytes:
    """A COCO file in which some values are others, missing, doubled, or some bytes are changed."""
    annotations = [coco.annotation(n, 10 + n % 3, (1, 17, 18)[n % 3], (0, 0, 9, 9), area=81.0) for n in range(6)]
    content = json.loads(json.dumps(coco.instances(annotations)))
    content["categories"][0]["supercategory"] = "cat"
    for _ in range(chance.randint(1, 4)):
        container, key = chance.choice(places(content))
        action = chance.random()
        if action < 0.6:
            container[key] = chance.choice(VALUES)
        elif action < 0.8:
            del container[key]
        elif isinstance(container, list):
            container.append(container[key])
        else:
            container[chance.choice(KEYS)] = container[key]
    data = bytearray(json.dumps(content).encode())
    return bytes(scratched(data, chance) if chance.random() < 0.2 else data)


def scratched(data: bytearray, chance: random.Random) -> bytearray:
    """The data with some bytes changed, and perhaps with its end cut off."""
    for _ in range(chance.randint(1, 8)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    return data[: chance.randrange(len(data))] if chance.random() < 0.3 else data


def check(load: Callable[[], object], name: str) -> bool:
    """Whether loading raises a documented error; any other error, or too much time or memory, fails the test."""
    tracemalloc.reset_peak()
    start = time.monotonic()
    message = ""
    try:
        load()
    except TagformerError as error:
        message = str(error)
    message.encode()  # as a terminal needs it
    assert "\n" not in message, name
    assert time.monotonic() - start < SECONDS, name
    assert tracemalloc.get_traced_memory()[1] < BYTES, name
    return bool(message)


@pytest.fixture(autouse=True)
def _traced_memory() -> Any:
    tracemalloc.start()
    yield
    tracemalloc.stop()


def test_damaged_coco_files_raise_documented_errors_alone(tmp_path: Path) -> None:
    file, failures = tmp_path / "mine.json", 0
    for seed in range(ROUNDS):
        file.write_bytes(damaged_json(random.Random(seed)))
        failures += check(lambda: load_dataset(f"coco:{file}", "all", on_bad_image="skip"), f"seed {seed}")
        failures += check(lambda: load_dataset(f"coco:{file}", "all", on_bad_image="keep"), f"seed {seed}")
    assert failures > ROUNDS // 4


def test_damaged_tars_raise_documented_errors_alone(tmp_path: Path) -> None:
    table = write_folder(tmp_path / "data", 8)
    convert(f"csv:{table}", f"shards:{tmp_path / 'tars'}")
    (tar,) = (tmp_path / "tars").glob("*.tar")
    whole = tar.read_bytes()
    file, failures = tmp_path / "damaged.tar", 0
    for seed in range(ROUNDS):
        chance = random.Random(seed)
        data = bytearray(whole)
        for _ in range(chance.randint(1, 3)):  # headers are a small part of a tar, so most changes go there
            header = 512 * chance.randrange(len(data) // 512)
            data[header + chance.randrange(300)] = chance.randrange(256)
        file.write_bytes(scratched(data, chance) if chance.random() < 0.5 else data)
        failures += check(lambda: load_dataset(f"shards:{file}", "all"), f"seed {seed}")
    assert failures > ROUNDS // 4
