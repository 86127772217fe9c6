"""``tagformer doctor``: what it finds on machines, disks, data and runs that are made to be ill."""

from __future__ import annotations

import os
import shutil
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from packaging.requirements import Requirement

from tagformer.doctor import installation, machine
from tagformer.doctor.finding import OK, PROBLEM, Finding
from tagformer.doctor.folders import check_data, check_folder, check_run
from tests.helpers import CommandLine, write_folder


def lines(*findings: Finding) -> list[str]:
    return [str(finding) for finding in findings]


def test_nothing_is_wrong_here(tagformer: CommandLine, small_run: Path, tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data", 30)
    out = tmp_path / "new" / "runs"
    code, output, _ = tagformer("doctor", "--data", f"csv:{data}", "--run", small_run, "--out", out)
    assert code == 0, output
    found = output.splitlines()
    assert found[-1] == "No problems found."
    assert not [line for line in found if line.startswith("problem")]
    for part in ("Tagformer", "torch", "processors", "GB of memory", f"{out}, for runs, has"):
        assert any(part in line for line in found), part
    assert any(line.endswith(f"csv:{data}, all: 30 images, 3 labels.") for line in found), output
    assert any(f"{small_run}: " in line and "its weights are unchanged" in line for line in found)


def test_problems_end_with_exit_code_1(tagformer: CommandLine, tmp_path: Path) -> None:
    code, output, error = tagformer("doctor", "--data", f"csv:{tmp_path / 'gone.csv'}", "--run", tmp_path / "gone")
    assert code == 1
    assert error == ""
    assert output.splitlines()[-1] == "2 problems found."
    assert f"problem  {tmp_path / 'gone'} is not a run folder" in output


def test_packages_that_are_missing_or_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    version = metadata.version("torch")
    wanted = ["torch>=99", "never_written>=1", "pillow", "pillow-heif>=99; extra == 'heif'"]
    monkeypatch.setattr(metadata, "requires", lambda name: wanted)
    found = lines(*installation.check_installation())
    assert f"problem  torch {version} is not >=99: pip install 'torch>=99'." in found
    assert "problem  the package never_written is missing: pip install 'never_written>=1'." in found
    assert any(line.startswith("note     without the extra 'heif' pictures of iPhones") for line in found)
    assert not any("pillow" in line for line in found)


def test_every_requirement_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[str] = []

    def remember(requirement: Requirement) -> None:
        looked_at.append(requirement.name)

    monkeypatch.setattr(installation, "_problem", remember)
    list(installation.check_installation())
    assert {"torch", "timm", "lightning", "fastapi", "filelock"} <= set(looked_at)
    assert "pytest" not in looked_at, "that is for developers"


def test_a_torchvision_of_another_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise RuntimeError("operator torchvision::nms does not exist\nmore")

    monkeypatch.setattr(installation.importlib, "import_module", broken)
    found = lines(*installation.check_installation())
    assert any("torch cannot be imported (operator torchvision::nms does not exist): install both" in x for x in found)


def test_a_container_s_limits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "GROUP", tmp_path)
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "memory.max").write_text("2000000000\n")
    assert machine.processors() == 0.5
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    found = lines(*machine.check_processors(), *machine.check_memory())
    assert (
        "note     torch uses 8 threads on 0.5 processors, so they wait for each other: set OMP_NUM_THREADS=1." in found
    )
    assert "note     only 2.0 GB of memory: use a small network, --workers 0, small batches." in found
    for text in ("max 100000", "", "nonsense"):
        (tmp_path / "cpu.max").write_text(text)
        assert machine.processors() >= 1
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.memory_limit() > 2e9


def test_bf16_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(
        [0.0, 8.0, 0.0, 9.0, 0.0, 2.0, 0.0, 3.0]
    )  # two products in fp32, at best 8 s; then in bf16, at best 2 s
    monkeypatch.setattr(machine.time, "perf_counter", lambda: next(clock))
    assert machine.bf16_speed(side=2, rounds=2) == 4
    for ratio, advice in ((0.2, "leave training.precision as it is"), (2.0, "precision=bf16-mixed may save time")):
        monkeypatch.setattr(machine, "bf16_speed", lambda ratio=ratio: ratio)
        found = lines(*machine.check_processors())[-1]
        assert f"products in bf16 are {ratio} times as fast as in fp32: " in found
        assert advice in found


def test_shared_memory_of_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_frsize=1, f_blocks=64_000_000))
    found = lines(*machine.check_memory())[-1]
    assert found.startswith("note     only 64 MB of shared memory for loader processes: start the container with --shm")


def test_a_driver_that_torch_cannot_use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(machine, "DRIVER", tmp_path)
    assert lines(*machine.check_gpus())[0].startswith("problem  there is a driver of NVIDIA, but torch cannot use it: ")


def test_a_gpu_that_cannot_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: "Old GPU")

    def ones(*sizes: int, device: str) -> None:
        raise RuntimeError("no kernel image is available")

    monkeypatch.setattr(torch, "ones", ones)
    found = lines(*machine.check_gpus())
    assert found[0].startswith(
        "problem  GPU 0, Old GPU, cannot compute (no kernel image is available): install a build"
    )


def test_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert check_folder(tmp_path / "file" / "runs", "for runs").level is PROBLEM
    assert check_folder(tmp_path / "a" / "b", "for runs").level is OK
    assert list(tmp_path.iterdir()) == [tmp_path / "file"], "nothing is left behind"
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1.5e9))
    expected = f"note     {tmp_path}, for runs, has only 1.5 GB free: free some space, or name another."
    assert str(check_folder(tmp_path, "for runs")) == expected


def test_data_with_missing_files(tmp_path: Path) -> None:
    table = write_folder(tmp_path / "data", 30)
    (tmp_path / "data" / "image-00.png").unlink()
    found = lines(*check_data(f"csv:{table}"))
    assert any("1 images cannot be used, the first: image" in line for line in found if line.startswith("problem"))


def test_runs(small_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(small_run, tmp_path / "run")
    (run / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes()[:-8] + b"\0\0\0\0\0\0\1\0")
    assert [line for line in lines(*check_run(run)) if "is damaged" in line and line.startswith("problem")]
    (run / "model.safetensors").unlink()
    assert lines(*check_run(run))[0].startswith(f"problem  {run} has no weights yet: finish its training with")
