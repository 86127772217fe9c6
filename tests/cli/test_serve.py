"""``tagformer serve``: what is wrong is one sentence before anything is read, and Ctrl-C ends it with 0."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tagformer.errors import TagformerError
from tagformer.serve.listening import address_of, listen
from tests.helpers import CommandLine

START = "from tagformer.cli import main; main()"
TOKEN = "a-token-of-20-letters"


def test_a_port_in_use_is_one_sentence(tagformer: CommandLine, small_run: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        code, _, errors = tagformer("serve", small_run, "--port", port)
    assert code == 2
    assert errors == f"tagformer: port {port} of 127.0.0.1 is in use: choose another with --port, or 0 for any.\n"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--host", "0.0.0.0"], "a token is needed"),
        (["--host", "no such host"], "--host no such host"),
        (["--token-file", "none.txt"], "cannot read none.txt: No such file or directory."),
        (["--token-file", "."], "cannot read .: Is a directory."),
        (["--token-file", "empty.txt"], "empty.txt has no token"),
        (["--token-file", "two.txt"], "more than one line"),
        (["--token-file", "short.txt"], "the token must have at least 16 characters"),
        (["--token-file", "bytes.txt"], "bytes.txt is not a text"),
        (["--label-studio-url", "localhost"], "write it as http://HOST:PORT"),
        (["--label-studio-files", "none"], "--label-studio-files none is not a folder"),
        (["--allowed-host", "http://x"], "--allowed-host http://x"),
    ],
)
def test_a_wrong_option_is_one_sentence(
    tagformer: CommandLine,
    small_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in (("empty", b"\n"), ("two", b"a\nb"), ("short", b"abc"), ("bytes", b"\xff" * 20)):
        (tmp_path / f"{name}.txt").write_bytes(content)
    code, printed, errors = tagformer("serve", small_run, "--port", 0, *options)
    assert code == 2
    assert printed == ""
    assert sentence in errors
    assert errors.count("\n") == 1


def test_a_folder_that_is_no_run_is_one_sentence(tagformer: CommandLine, tmp_path: Path) -> None:
    code, _, errors = tagformer("serve", tmp_path, "--port", 0)
    assert code == 2
    assert "is not a run folder" in errors


def test_addresses_are_those_of_a_browser() -> None:
    with listen("0.0.0.0", 0) as everywhere, listen("localhost", 0) as here:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address_of(everywhere))
        assert re.fullmatch(r"http://(127\.0\.0\.1|\[::1\]):\d+", address_of(here))
    with pytest.raises(TagformerError, match=r"cannot listen on port 0 of 192\.0\.2\.1"):
        listen("192.0.2.1", 0)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_it_answers_until_it_is_ended(small_run: Path, end: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "token.txt").write_text(TOKEN)
    options = ["--no-page", "--port", "0", "--token-file", "token.txt"]
    command = [sys.executable, "-c", START, "serve", str(small_run), *options]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(r"ctran, version [0-9a-f]{16}: (http://127\.0\.0\.1:\d+) \(Ctrl-C ends it\)\n", line)
        assert found
        with httpx.Client(base_url=found[1]) as connection:  # stays open
            answer = connection.get("/v1/labels", headers={"Authorization": f"Bearer {TOKEN}"})
            assert answer.json()["model"]["name"] == "ctran"
            process.send_signal(end)
            printed, errors = process.communicate(timeout=60)
    assert (printed, errors) == ("", "")
    assert process.returncode == (0 if end == signal.SIGINT else -signal.SIGTERM)
