"""The client of examples/client.py, against a server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tagformer import Tagger
from tests.serve.conftest import Server
from tests.serve.pictures import scenes

CLIENT = Path(__file__).parents[2] / "examples" / "client.py"


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(CLIENT), *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_the_client_prints_the_tags(server: Server, small_run: Path, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    scenes(1)[0].save(photo)
    done = run(photo, "disc=yes", server.address)
    assert done.returncode == 0, done.stderr
    tagger = Tagger.load(small_run)
    lines = []
    for title, known in (("tags:", {}), ("with disc=yes:", {"disc": True})):
        tags = tagger.predict(photo, known)[0].tags
        lines.append(" ".join([title, *(f"{tag.name} {tag.probability:.0%}" for tag in tags)]))
    assert done.stdout.splitlines() == lines
    refused = run(photo, "zebra=yes", server.address)
    assert refused.returncode == 1
    assert refused.stderr.startswith("422: unknown label 'zebra'")
