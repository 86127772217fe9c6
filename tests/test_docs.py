"""The documentation runs: its Python blocks, its commands, its links, and the parts that docs/extending.md builds."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from PIL import Image

from tagformer.cli import app
from tagformer.recipes import Recipe
from tagformer.training import fit
from tests.helpers import CommandLine

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language, text) of a page's code blocks."""
    return [(found[1], found[2]) for found in BLOCK.finditer(page.read_text(encoding="utf-8"))]


def commands(page: Path) -> Iterator[list[str]]:
    """The arguments of every ``tagformer`` command in a page's blocks, tables and sentences."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for found in BLOCK.finditer(text) for line in found[2].splitlines() if not found[1]]
    lines += re.findall(r"`(tagformer [^`\n]+)`", BLOCK.sub("", text))
    for line in lines:
        if line.startswith("tagformer "):
            yield shlex.split(line.partition(" #")[0].replace("...", ""))[1:]


def check_command(arguments: list[str]) -> None:
    """Find the command and each of its options, without running it."""
    command: Any = typer.main.get_command(app)
    while getattr(command, "commands", None) and arguments and not arguments[0].startswith("-"):
        if command.name == "data" and arguments[0] not in command.commands:
            arguments = ["describe", *arguments]
        assert arguments[0] in command.commands, f"there is no command '{arguments[0]}'"
        command, arguments = command.commands[arguments[0]], arguments[1:]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)} | {
        "--help"
    }
    options = {argument for argument in arguments if re.match(r"--?[a-z]", argument)}
    assert options <= known, f"unknown options of '{command.name}': {', '.join(options - known)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_have_the_options_that_are_written(page: Path) -> None:
    for arguments in commands(page):
        check_command(arguments)


def test_a_wrong_command_would_be_seen() -> None:
    with pytest.raises(AssertionError, match="unknown options of 'evaluate': --knwon"):
        check_command(["evaluate", "RUN", "--knwon", "1"])
    with pytest.raises(AssertionError, match="no command 'evalute'"):
        check_command(["evalute", "RUN"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        assert target.startswith("http") or (page.parent / target).exists(), f"{page.name} links to {target}"


def test_code_and_pages_use_the_words_of_the_field() -> None:
    private = re.compile(r"\b(told|heard|hears|unhear|mend|mends|mended|twins?|deaf)\b", re.IGNORECASE)
    files = [*PAGES, *(file for name in ("src", "benchmarks", "examples") for file in (ROOT / name).rglob("*.py"))]
    found = {str(file.relative_to(ROOT)): private.findall(file.read_text(encoding="utf-8")) for file in files}
    assert {file: words for file, words in found.items() if words} == {}


def test_the_files_that_the_pages_name_exist() -> None:
    for page in PAGES:
        for name in re.findall(
            r"`((?:src|tests|docs|benchmarks|examples|scripts)/[\w./-]+)`", page.read_text(encoding="utf-8")
        ):
            assert "my_" in name or (ROOT / name).exists(), f"{page.name} names {name}"


def test_the_parts_of_extending_train_and_predict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tagformer: CommandLine
) -> None:
    """Every block of docs/extending.md, in order, in a folder with nothing but photographs and their text files."""
    photographs = tmp_path / "photos"
    photographs.mkdir()
    for number, colour in enumerate(["red", "green", "blue"] * 10):
        Image.new("RGB", (40, 40), colour).save(photographs / f"{number}.png")
        (photographs / f"{number}.txt").write_text(f"{colour},square\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    modules = set(sys.modules)
    for language, block in blocks(ROOT / "docs" / "extending.md"):
        if file := re.match(r"# (my_\w+\.py)\n", block):
            (tmp_path / file[1]).write_text(block)
        elif language == "python":
            exec(block, {})
        else:
            for line in block.splitlines():
                command, *arguments = shlex.split(line, comments=True)
                assert command == "tagformer"
                code, _, error = tagformer(*arguments)
                assert code == 0, f"{line}: {error}"
    for name in set(sys.modules) - modules:
        if name.startswith("my_"):
            del sys.modules[name]


@pytest.fixture(scope="module")
def folder_with_a_run(tmp_path_factory: pytest.TempPathFactory, small_recipe: Callable[..., Recipe]) -> Path:
    """A folder as the pages assume it: photos/, my.csv and runs/mine."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "photos").mkdir()
    lines = ["path,tags"]
    for number in range(24):
        Image.new("RGB", (48, 40), (10 * number, 200, 90)).save(folder / "photos" / f"{number}.jpg")
        lines.append(f"photos/{number}.jpg,{'boat;sea' if number % 2 else 'dog;sky'}")
    (folder / "my.csv").write_text("\n".join(lines) + "\n")
    fit(small_recipe(f"data.spec=csv:{folder / 'my.csv'}"), folder / "runs" / "mine")
    return folder


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "extending.md"], ids=lambda page: page.name)
def test_python_blocks_run(page: Path, folder_with_a_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder_with_a_run)
    names: dict[str, Any] = {"logits": torch.randn(8, 4), "labels": torch.randint(-1, 2, (8, 4))}
    for language, block in blocks(page):
        if language == "python":
            exec(block, names)
