"""What this machine offers: processors, memory, a GPU."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from tagformer.doctor.finding import NOTE, OK, PROBLEM, Finding, gigabytes

GROUP = Path("/sys/fs/cgroup")  # the limits of a container, where there are any
MEMORY_INFO, SHARED_MEMORY, DRIVER = Path("/proc/meminfo"), Path("/dev/shm"), Path("/proc/driver/nvidia/version")
LEAST_MEMORY, LEAST_SHARED = 4e9, 2.5e8  # bytes
FAST = 1.3  # times as fast as fp32, from which bf16 is worth a try


def check_machine() -> Iterator[Finding]:
    """Processors and threads, bf16, memory, shared memory, GPUs."""
    yield from check_processors()
    yield from check_memory()
    yield from check_gpus()


def processors() -> float:
    """How many processors this process may use, by its affinity and by the limit of its container."""
    mine = float(len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else float(os.cpu_count() or 1)
    quota, _, period = _read(GROUP / "cpu.max").partition(" ")
    return min(mine, int(quota) / int(period)) if quota.isdigit() and period.strip().isdigit() else mine


def check_processors() -> Iterator[Finding]:
    """Processors, torch's threads, and whether bf16 is fast."""
    count, threads = processors(), torch.get_num_threads()
    if threads > count:
        cure = f"set OMP_NUM_THREADS={max(1, int(count))}"
        yield Finding(NOTE, f"torch uses {threads} threads on {count:g} processors, so they wait for each other", cure)
    else:
        yield Finding(OK, f"{count:g} processors; torch uses {threads} of them")
    if not torch.cuda.is_available():
        ratio = bf16_speed()
        what = "training.precision=bf16-mixed may save time" if ratio > FAST else "leave training.precision as it is"
        yield Finding(OK, f"products in bf16 are {ratio:.1f} times as fast as in fp32: {what}")


def bf16_speed(side: int = 512, rounds: int = 5) -> float:
    """How many times as fast as in fp32 this processor multiplies matrices in bf16; below 1 without instructions."""
    seconds = {}
    for kind in (torch.float32, torch.bfloat16):
        matrix, times = torch.ones(side, side, dtype=kind), []
        for _ in range(rounds):
            began = time.perf_counter()
            matrix @ matrix
            times.append(time.perf_counter() - began)
        seconds[kind] = min(times)
    return seconds[torch.float32] / seconds[torch.bfloat16]


def memory_limit() -> float:
    """Bytes that this process may have: of the machine, or of its container."""
    limit = _read(GROUP / "memory.max").strip()
    lines = dict(line.split(":", 1) for line in _read(MEMORY_INFO).splitlines() if ":" in line)
    total = float(lines.get("MemTotal", "inf kB").split()[0]) * 1024
    return min(total, float(limit)) if limit.isdigit() else total


def check_memory() -> Iterator[Finding]:
    """Memory, and the shared memory through which loader processes hand over images."""
    memory = memory_limit()
    if memory < LEAST_MEMORY:
        yield Finding(NOTE, f"only {gigabytes(memory)} of memory", "use a small network, --workers 0, small batches")
    elif memory != float("inf"):
        yield Finding(OK, f"{gigabytes(memory)} of memory")
    if SHARED_MEMORY.is_dir():
        status = os.statvfs(SHARED_MEMORY)
        size = status.f_frsize * status.f_blocks
        if size < LEAST_SHARED:
            cure = "start the container with --shm-size 2g, or use --workers 0"
            yield Finding(NOTE, f"only {size / 1e6:.0f} MB of shared memory for loader processes", cure)


def check_gpus() -> Iterator[Finding]:
    """Each GPU, tried with one product; a driver that torch cannot use."""
    if not torch.cuda.is_available():
        if DRIVER.exists():
            cure = "install the build of torch for it, see pytorch.org, or a newer driver"
            yield Finding(PROBLEM, "there is a driver of NVIDIA, but torch cannot use it", cure)
        else:
            yield Finding(OK, "no GPU: the processor is used")
        return
    for number in range(torch.cuda.device_count()):
        name = torch.cuda.get_device_name(number)
        try:
            square = torch.ones(8, 8, device=f"cuda:{number}")
            (square @ square).sum().item()
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            cure = "install a build of torch for this GPU, see pytorch.org"
            yield Finding(PROBLEM, f"GPU {number}, {name}, cannot compute ({reason})", cure)
            continue
        free, total = torch.cuda.mem_get_info(number)
        yield Finding(OK, f"GPU {number}: {name}, {gigabytes(free)} of {gigabytes(total)} free")


def _read(file: Path) -> str:
    """The text of a file of the system; empty where there is none."""
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return ""
