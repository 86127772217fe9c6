"""A server with the page, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tagformer.answers import AnswerStore
from tagformer.labels.tree import LabelTree
from tagformer.serve import ServeSettings, create_app
from tagformer.serve.engine import Engine
from tagformer.serve.workspace.loop import Loop
from tagformer.serve.workspace.pictures import Pictures, of_sources
from tagformer.serve.workspace.workspace import Workspace
from tests.serve.conftest import new_tagger
from tests.serve.pictures import encoded, scenes
from tests.serve.workspace.asking import COUNT


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "photos"
    folder.mkdir()
    names = [folder / f"{number:02d}.png" for number in range(COUNT)]
    for name, picture in zip(names, scenes(COUNT), strict=True):
        name.write_bytes(encoded(picture))
    return names


@pytest.fixture
def open_page(files: list[Path], tmp_path: Path) -> Iterator[Callable[..., TestClient]]:
    """Start a server with the page; its answers stay in one folder, whatever is started after another."""
    clients: list[TestClient] = []

    def start(model: str = "ctran", tree: LabelTree | None = None, **settings: object) -> TestClient:
        def page(engine: Engine) -> Loop:
            pictures = Pictures(of_sources(files, [file.name for file in files]), tmp_path / "added")
            store = AnswerStore(tmp_path / "answers.sqlite")
            return Loop(Workspace(engine, pictures, store, "photos", tree), tmp_path / "run", tmp_path / "training")

        app = create_app(
            ServeSettings(**{"name": "small", "batch_delay": 0.0, **settings}), new_tagger(model), page=page
        )
        client = TestClient(app, base_url="http://localhost:8000")
        client.__enter__()
        clients.append(client)
        return client

    yield start
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def page(open_page: Callable[..., TestClient]) -> TestClient:
    return open_page()
