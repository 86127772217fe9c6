"""A server in this process, and one in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

from tagformer import LabelSpace, Tagger
from tagformer.images import Preprocessing
from tagformer.serve import LoopHooks, ServeSettings, create_app
from tests.serve.pictures import encoded, scenes
from tests.small_models import small

LABELS = LabelSpace(("cat", "dog", "sky", "boat, old", "Animal", "night"), {"beasts": ("cat", "dog")}, extra=("night",))
THRESHOLDS = (0.3, 0.5, 0.6, 0.5, 0.4, 0.5)
START = "from tagformer.cli import main; main()"

MakeClient = Callable[..., TestClient]


def new_tagger(name: str = "ctran", seed: int = 0) -> Tagger:
    """A small model with random weights, the same each time."""
    model = small(name, LABELS, seed=seed)
    frequencies = torch.tensor([0.1, 0.2, 0.3, 0.1, 0.3, 0.5])
    return Tagger(
        model, Preprocessing(size=32), torch.tensor(THRESHOLDS), "cpu", temperature=0.5, frequencies=frequencies
    )


@pytest.fixture
def tagger() -> Tagger:
    """The model, apart from the one that is served."""
    return new_tagger()


@pytest.fixture
def serve() -> Iterator[MakeClient]:
    """Start a server in this process, with some settings: ``serve(queue=1)`` gives a client of it."""
    clients: list[TestClient] = []

    def start(model: str = "ctran", hooks: LoopHooks | None = None, **settings: object) -> TestClient:
        app = create_app(ServeSettings(**{"name": "small", "batch_delay": 0.0, **settings}), new_tagger(model), hooks)
        client = TestClient(app, base_url="http://localhost:8000")
        client.__enter__()
        clients.append(client)
        return client

    yield start
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(serve: MakeClient) -> TestClient:
    """A client of a server with the usual settings."""
    return serve()


@pytest.fixture(scope="session")
def pictures() -> list[Image.Image]:
    """Different pictures."""
    return scenes(8)


@pytest.fixture(scope="session")
def photo(pictures: list[Image.Image]) -> bytes:
    """One of them as a PNG."""
    return encoded(pictures[0])


@dataclass
class Server:
    """A server in a process of its own."""

    process: subprocess.Popen[str]
    address: str

    def interrupt(self) -> tuple[int, str]:
        """Press Ctrl-C, and wait: the exit code, and what it printed on stderr."""
        self.process.send_signal(signal.SIGINT)
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors


@pytest.fixture(scope="session")
def start_server(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Start ``tagformer serve`` on a free port, with further options."""
    servers: list[Server] = []

    def start(*options: str) -> Server:
        answers = str(tmp_path_factory.mktemp("answers"))
        run = ["serve", str(small_run), "--port", "0", "--answers", answers]
        arguments = [sys.executable, "-c", START, *run, *options]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(
            arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        found, lines = None, ""
        while found is None:
            line = process.stdout.readline()
            lines += line
            assert line, f"{lines}{process.communicate()[1]}"
            found = re.search(r"http://\S+", line)
        servers.append(Server(process, found[0]))
        return servers[-1]

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.process.kill()
            server.process.communicate()


@pytest.fixture(scope="session")
def server(start_server: Callable[..., Server]) -> Server:
    """A server with the usual settings."""
    return start_server()
