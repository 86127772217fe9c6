"""No file that is read can run code: an object that would write a file is planted wherever a file is read."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tests.helpers import CommandLine, write_folder


class Planted:
    """Unpickled without care, it writes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.trace), "w")


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """The file that the planted object would write."""
    path = tmp_path / "it-ran"
    pickle.loads(pickle.dumps(Planted(path)))
    assert path.is_file(), "the planted object works"
    path.unlink()
    return path


def plain(path: Path, planted: Planted) -> None:
    path.write_bytes(pickle.dumps(planted))


def checkpoint(path: Path, planted: Planted) -> None:
    torch.save({"state_dict": {"weight": torch.zeros(2)}, "callbacks": planted}, path)


def old_checkpoint(path: Path, planted: Planted) -> None:
    torch.save({"state_dict": planted}, path, _use_new_zipfile_serialization=False)


def arrays(path: Path, planted: Planted) -> None:
    with path.open("wb") as stream:
        np.savez(stream, about=np.array([planted], dtype=object), logits=np.array([planted], dtype=object))


def python_yaml(path: Path, planted: Planted) -> None:
    path.write_text(f"name: !!python/object/apply:builtins.open [{planted.trace}, w]\n")


WRITERS = (plain, checkpoint, old_checkpoint, arrays, python_yaml)


RUN_FILES: list[tuple[str, Callable[..., None]]] = [
    *((name, plain) for name in ("recipe.yaml", "labels.json", "metrics.json", "history.csv", "model.safetensors")),
    *((name, python_yaml) for name in ("recipe.yaml", "labels.json")),
    ("model.safetensors", checkpoint),
    ("checkpoints/best.ckpt", checkpoint),
    *(("checkpoints/last.ckpt", write) for write in (plain, checkpoint, old_checkpoint)),
    *(("predictions/test.npz", write) for write in (plain, arrays)),
]


@pytest.mark.parametrize(("name", "write"), RUN_FILES)
def test_no_file_of_a_run_does(
    small_run: Path, tmp_path: Path, trace: Path, tagformer: CommandLine, name: str, write: Callable[..., None]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    (run / name).parent.mkdir(exist_ok=True)
    write(run / name, Planted(trace))
    commands = [("evaluate", run, "--workers", 0), ("report", run), ("train", "--resume", "--out", run)]
    for command in commands:
        code, _, error = tagformer(*map(str, command))
        assert not trace.exists(), command
        assert code in (0, 2)
        assert "Traceback" not in error


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_no_file_of_weights_does(
    tmp_path: Path, trace: Path, tagformer: CommandLine, write: Callable[..., None]
) -> None:
    (tmp_path / "labels.txt").write_text("a\nb\n")
    for suffix in (".pth", ".safetensors", ".ckpt"):
        file = tmp_path / f"weights{suffix}"
        write(file, Planted(trace))
        start = ("train", "--data", "scenes?images=96", "--backbone", "tiny", "--out", tmp_path / "new")
        timm = ("train", "--data", "scenes?images=96", "--backbone", "resnet18", "--out", tmp_path / "new")
        for command in (
            (*timm, "--weights", file),
            (*timm, "--init", file),
            (*start, "--init", file),
            ("import", "ctran", file, "--labels", tmp_path / "labels.txt", "--out", tmp_path / "imported"),
        ):
            code, _, _ = tagformer(*map(str, command))
            assert code == 2, command
            assert not trace.exists(), command


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_no_file_of_data_and_no_recipe_does(
    tmp_path: Path, trace: Path, tagformer: CommandLine, write: Callable[..., None]
) -> None:
    for spec in ("parquet:a.parquet", "jsonl:a.jsonl", "csv:a.csv", "coco:a.json", "shards:a.tar"):
        kind, _, name = spec.partition(":")
        write(tmp_path / name, Planted(trace))
        code, _, _ = tagformer("data", f"{kind}:{tmp_path / name}")
        assert code == 2
        assert not trace.exists(), spec
    write(tmp_path / "recipe.yaml", Planted(trace))
    code, _, _ = tagformer("train", "--recipe", tmp_path / "recipe.yaml", "--out", tmp_path / "new")
    assert code == 2
    assert not trace.exists()


def test_no_type_that_a_parquet_file_names_does(tmp_path: Path, trace: Path, tagformer: CommandLine) -> None:
    write_folder(tmp_path / "pictures", 3)
    metadata = {
        "ARROW:extension:name": "arrow.py_extension_type",  # old versions of pyarrow unpickled what follows
        "ARROW:extension:metadata": pickle.dumps(Planted(trace)),
    }
    field = pa.field("path", pa.string(), metadata=metadata)
    paths = pa.array([f"pictures/image-{number:02d}.png" for number in range(3)])
    tags = pa.array([["red"], ["green"], ["blue"]])
    pq.write_table(pa.table([paths, tags], pa.schema([field, pa.field("tags", tags.type)])), tmp_path / "a.parquet")
    tagformer("data", f"parquet:{tmp_path / 'a.parquet'}")
    assert not trace.exists()
