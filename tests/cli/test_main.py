"""What the commands have in common: help, version, completion, and imports that wait."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

import tagformer as package
from tests.helpers import CommandLine

COMMAND = "import sys; sys.argv = ['tagformer', *sys.argv[1:]]; from tagformer.cli import main; main()"


def test_the_version_is_printed(tagformer: CommandLine) -> None:
    code, printed, _ = tagformer("--version")
    assert (code, printed) == (0, f"tagformer {package.__version__}\n")


def test_without_a_command_the_help_lists_them(tagformer: CommandLine) -> None:
    _, printed, _ = tagformer("--help")
    for name in ("train", "evaluate", "predict", "--version", "--install-completion"):
        assert name in printed


def complete(words: str) -> list[str]:
    """What bash offers for the last of the words."""
    environment = {
        **os.environ,
        "_TAGFORMER_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    done = subprocess.run([sys.executable, "-c", COMMAND], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_the_shell_completes_commands_and_options() -> None:
    assert complete("tagformer ev") == ["evaluate"]
    assert complete("tagformer data con") == ["convert"]
    assert set(complete("tagformer evaluate --known")) >= {"--known-share", "--known-groups"}


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys, tagformer.cli; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_only_training_imports_lightning() -> None:
    modules = "sys, tagformer.tagging.tagger, tagformer.evaluation.evaluate, tagformer.models.registry"
    code = f"import {modules}; print('lightning' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_inference_does_not_import_recipes() -> None:
    modules = "tagformer.evaluation.evaluate", "tagformer.tagging.simulation", "tagformer.tagging.similarity"
    code = f"import sys, {', '.join(modules)}; print('tagformer.recipes.settings' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    "command", ["train", "evaluate", "predict", "serve", "similar", "explain", "report", "tune", "data"]
)
def test_help_is_readable_at_80_columns_and_has_no_types_of_python(
    command: str, tagformer: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, printed, _ = tagformer(command, "--help")
    assert code == 0
    assert max(map(len, printed.splitlines())) <= 80
    assert not re.search(r"<\w|list\[|\bint\b|\bstr\b|\bbool\b", printed)
    text = [line.strip() for line in printed.split("╭")[0].splitlines()]
    ends = [line for line, following in pairwise(text) if following and line and len(line) < 50]
    assert not [line for line in ends if not line.endswith((".", ":")) and not line.startswith("Usage")]


def test_the_version_is_printed_in_a_deleted_folder(tmp_path: Path) -> None:
    command = f"mkdir gone && cd gone && rmdir ../gone && {sys.executable} -m tagformer --version"
    source = {**os.environ, "PYTHONPATH": str(Path(package.__file__).resolve().parents[1])}
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, env=source, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tagformer ")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_freed_memory_is_used_again() -> None:
    """Blocks of 64 MB, one after the other: with the setting, none of their pages has to be asked for again."""
    script = """
import resource, sys
import numpy as np
from tagformer.cli import program

if sys.argv[1] == "keep":
    program._keep_freed_memory()
np.ones(8_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    np.ones(8_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    faults = {
        how: int(subprocess.run([sys.executable, "-c", script, how], capture_output=True, check=True).stdout)
        for how in ("keep", "leave")
    }
    if faults["leave"] < 500:
        pytest.skip("this C library keeps freed memory by itself")
    assert faults["keep"] < 50
