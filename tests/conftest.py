"""What several test files share: a small trained run, the real data's folder, and the command line."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Browser, sync_playwright

from tagformer.cli import main
from tagformer.recipes import Recipe
from tagformer.training import fit
from tests.helpers import CommandLine

SMALL = {
    "data": {"spec": "scenes?images=96&faint=0", "batch_size": 16, "workers": 0},
    "image": {"size": 32},
    "model": {
        "name": "ctran",
        "backbone": {"name": "tiny", "pretrained": False},
        "options": {"width": 16, "layers": 1, "heads": 2},
    },
    "training": {"epochs": 1},
}


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """The tests' tensors are small: with more threads they take longer."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Remembered features go to a folder of this session, also those of commands in processes of their own."""
    os.environ["TAGFORMER_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def small_recipe() -> Callable[..., Recipe]:
    """A recipe that trains in a second; ``small_recipe("training.epochs=2", ...)`` overrides it."""
    return lambda *overrides: Recipe.checked(SMALL, "the test's recipe").overridden(overrides)


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory, small_recipe: Callable[..., Recipe]) -> Path:
    """The run folder of a small C-Tran on scenes."""
    folder = tmp_path_factory.mktemp("runs") / "ctran"
    fit(small_recipe(), folder)
    return folder


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and weights; the test is skipped where it is absent."""
    folder = Path(os.environ.get("TAGFORMER_SHARED", "../shared")).resolve()
    if not (folder / "data").is_dir():
        pytest.skip(f"no real data: {folder} is absent (set TAGFORMER_SHARED)")
    return folder


@pytest.fixture
def tagformer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Run the command line in this process: ``tagformer("predict", run, image)`` gives (exit code, stdout, stderr)."""

    def run(*arguments: str | Path, standard_input: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["tagformer", *map(str, arguments)])
        monkeypatch.setattr("sys.stdin", io.StringIO(standard_input))
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; the test is skipped where there is none."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()
