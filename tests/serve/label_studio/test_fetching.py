"""Images of tasks: from the configured Label Studio, its local files and data: addresses, and from nowhere else."""

from __future__ import annotations

import base64
import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tagformer.errors import BadImageError
from tagformer.serve.label_studio.fetching import Fetcher
from tagformer.serve.settings import LabelStudioSettings


class LabelStudio(http.server.BaseHTTPRequestHandler):
    """Answers as Label Studio may, and remembers what was asked."""

    asked: list[tuple[str, str | None]]
    elsewhere = ""

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("Authorization")))
        path = self.path.partition("?")[0]
        if path == "/away":
            self.redirect(f"{self.elsewhere}/secret.jpg")
        elif path == "/file":
            self.redirect("file:///etc/passwd")
        elif path == "/circle":
            self.redirect("/circle")
        elif path == "/near":
            self.redirect("/data/upload/a.jpg")
        elif path == "/private":
            self.send_error(401)
        elif path == "/nothing":
            self.send_error(404)
        elif path == "/large":
            self.answer(bytes(2000))
        else:
            self.answer(b"picture")

    def redirect(self, to: str) -> None:
        self.send_response(302)
        self.send_header("Location", to)
        self.end_headers()

    def answer(self, data: bytes) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def label_studio() -> Iterator[tuple[str, str, list[tuple[str, str | None]]]]:
    """The address of a Label Studio, that of another server, and what both were asked."""
    asked: list[tuple[str, str | None]] = []
    handler = type("Handler", (LabelStudio,), {"asked": asked})
    servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) for _ in range(2)]
    mine, other = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    handler.elsewhere = other
    threads = [threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    yield mine, other, asked
    for server in servers:
        server.shutdown()
        server.server_close()


def fetcher(url: str | None = None, files: Path | None = None, token: str | None = None) -> Fetcher:
    return Fetcher(LabelStudioSettings(url, token, files), most_bytes=1000, seconds=20)


def test_images_come_from_label_studio(label_studio: tuple[str, str, list[tuple[str, str | None]]]) -> None:
    mine, _, asked = label_studio
    for address in (f"{mine}/data/upload/a.jpg", "/data/upload/a.jpg", f"{mine.upper()}/data/upload/a.jpg", "/near"):
        assert fetcher(mine).read(address).data == b"picture"
    assert fetcher(mine, token="abc").read("/data/upload/1/ä b.jpg?x=1&y=ö").data == b"picture"
    assert asked[-1] == ("/data/upload/1/%C3%A4%20b.jpg?x=1&y=%C3%B6", "Token abc")
    assert asked[0][1] is None
    assert fetcher(f"{mine}/studio").read("/data/a.jpg").data == b"picture"
    assert asked[-1][0] == "/studio/data/a.jpg"
    assert fetcher(f"{mine}/studio/").read(f"{mine}/studio/data/a.jpg").data == b"picture"
    assert asked[-1][0] == "/studio/data/a.jpg"


def test_no_other_place_is_asked(label_studio: tuple[str, str, list[tuple[str, str | None]]], tmp_path: Path) -> None:
    mine, other, asked = label_studio
    port = mine.rpartition(":")[2]
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(b"secret")
    for address in (
        f"{other}/secret.jpg",
        f"//{other[7:]}/secret.jpg",
        f"{mine}@{other[7:]}/secret.jpg",
        f"{mine}\\@{other[7:]}/secret.jpg",
        f"http://localhost:{port}/secret.jpg",
        f"https://127.0.0.1:{port}/secret.jpg",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/",
        "http://127.0.0.1:99999/",
        "ftp://127.0.0.1/secret.jpg",
        f"file://{secret}",
        str(secret.relative_to("/")),
        "gopher://127.0.0.1/",
        "s3://bucket/secret.jpg",
        "javascript:alert(1)",
        "",
        "http://",
        "\n/x",
    ):
        with pytest.raises(BadImageError) as caught:
            fetcher(mine).read(address)
        assert address[:30].strip() in str(caught.value)
    assert asked == []
    with pytest.raises(BadImageError, match="give --label-studio-url"):
        fetcher().read("/data/upload/a.jpg")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/away", "it leads to http://127.0.0.1"),
        ("/file", "cannot be read"),
        ("/circle", "cannot be read"),
        ("/private", "the status 401: give its access token with --label-studio-token"),
        ("/nothing", "the status 404"),
        ("/large", "it has over 1000 bytes"),
    ],
)
def test_what_fails_is_named_with_its_address(
    label_studio: tuple[str, str, list[tuple[str, str | None]]], path: str, reason: str
) -> None:
    mine, _, asked = label_studio
    with pytest.raises(BadImageError) as caught:
        fetcher(mine).read(f"{mine}{path}")
    assert reason in str(caught.value)
    assert f"{mine}{path}" in str(caught.value)
    assert "/secret.jpg" not in [asked_path for asked_path, _ in asked]


def test_who_does_not_answer_is_named() -> None:
    with pytest.raises(BadImageError, match=r"the image /a.jpg cannot be read \(.*refused"):
        fetcher("http://127.0.0.1:9").read("/a.jpg")


def test_local_files_are_read_within_their_root_only(tmp_path: Path) -> None:
    root = tmp_path / "files"
    (root / "cats").mkdir(parents=True)
    (root / "cats" / "a b.jpg").write_bytes(b"picture")
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (root / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (root / "large.jpg").write_bytes(bytes(1001))
    os.mkfifo(root / "pipe.jpg")
    read = fetcher("http://127.0.0.1:9", root).read
    for address in (
        "/data/local-files/?d=cats/a%20b.jpg",
        "/data/local-files/?d=/cats/a+b.jpg",
        "http://127.0.0.1:9/data/local-files/?d=cats/a%20b.jpg",
    ):
        assert read(address).data == b"picture"
    for path in (
        "../secret.jpg",
        "/../secret.jpg",
        "cats/../../secret.jpg",
        str(tmp_path / "secret.jpg"),
        "link.jpg",
        "large.jpg",
        "pipe.jpg",
        "cats",
        "none.jpg",
        "a%00b",
        "",
        "a" * 5000,
    ):
        with pytest.raises(BadImageError, match="cannot be read"):
            read(f"/data/local-files/?d={path}")
    with pytest.raises(BadImageError, match="it is not on"):
        read("http://elsewhere.example/data/local-files/?d=cats/a%20b.jpg")


def test_data_addresses_hold_the_image() -> None:
    read = fetcher().read
    assert read("data:image/png;base64," + base64.b64encode(b"picture").decode()).data == b"picture"
    assert read("DATA:;base64,cGlj%64HVyZQ==").data == base64.b64decode("cGljdHVyZQ==")
    assert read("data:,picture").data == b"picture"
    for address in ("data:", "data:image/png;base64,?", "data:image/png;base64," + "A" * 2000):
        with pytest.raises(BadImageError, match="cannot be read"):
            read(address)
