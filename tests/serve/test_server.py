"""A server in a process of its own: many clients at once, hostile bodies, refused requests, and its end."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tagformer import Tagger
from tests.serve.conftest import Server
from tests.serve.pictures import encoded, hostile, scenes

TOKEN = "a-token-of-20-letters"
UNUSUAL = {  # valid images, which have to be tagged
    "jpeg with more after it",
    "two jpegs",
    "one pixel",
    "one row",
    "grey",
    "16 bits",
    "1 bit",
    "palette",
    "palette with transparency",
    "rgba",
    "grey with alpha",
    "cmyk",
    "ycbcr tiff",
    "sideways jpeg",
    "progressive jpeg",
    "animated gif",
    "animated webp",
    "animated png",
    "bmp",
}


def test_tags_are_those_of_the_tagger(server: Server, small_run: Path) -> None:
    tagger = Tagger.load(small_run)
    for picture in scenes(3):
        answer = httpx.post(
            f"{server.address}/v1/tag", content=encoded(picture), params={"threshold": 0, "known": "disc=yes"}
        )
        assert answer.status_code == 200
        expected = tagger.predict(picture, {"disc": True})[0]
        by_name = {tag["name"]: tag["probability"] for tag in answer.json()["tags"]}
        assert by_name == pytest.approx({tag.name: tag.probability for tag in expected.ranked}, abs=1e-4)


def test_many_clients_get_tags_or_are_asked_to_come_again(start_server: Callable[..., Server]) -> None:
    server = start_server("--queue", "8", "--batch-size", "4", "--timeout", "60")
    photos = [encoded(picture) for picture in scenes(8)]
    together = threading.Barrier(32)

    def client(number: int) -> Counter[int]:
        statuses: Counter[int] = Counter()
        with httpx.Client(base_url=server.address, timeout=60) as connection:
            together.wait()
            for turn in range(6):
                answer = connection.post("/v1/tag", content=photos[(number + turn) % 8])
                statuses[answer.status_code] += 1
                if answer.status_code == 503:
                    assert int(answer.headers["retry-after"]) >= 1
                    assert list(answer.json()) == ["error"]
                else:
                    assert answer.json()["image"]["width"] == 64
        return statuses

    with ThreadPoolExecutor(32) as clients:
        statuses = sum(clients.map(client, range(32)), Counter())
    assert set(statuses) <= {200, 503}
    assert statuses[200] > 0
    assert sum(statuses.values()) == 32 * 6
    with httpx.Client(base_url=server.address) as connection:
        assert connection.post("/v1/tag", content=photos[0]).status_code == 200, "all places are free again"
        assert "tagformer_images_in_work 0.0" in connection.get("/metrics").text


@pytest.fixture(scope="module")
def bodies() -> dict[str, bytes]:
    return hostile()


@pytest.mark.parametrize("how", ["body", "form", "base64", "tensor"])
def test_no_body_is_more_than_the_server_can_take(server: Server, bodies: dict[str, bytes], how: str) -> None:
    assert len(bodies) >= 40
    statuses = {}
    with httpx.Client(base_url=server.address, timeout=60) as connection:
        for name, data in bodies.items():
            text = base64.b64encode(data).decode()
            if how == "body":
                answer = connection.post("/v1/tag", content=data, headers={"Content-Type": "image/jpeg"})
            elif how == "form":
                answer = connection.post("/v1/tag", files={"image": ("photo.jpg", data, "image/jpeg")})
            elif how == "base64":
                answer = connection.post("/hugging-face", json={"inputs": text})
            else:
                tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [text]}
                model = connection.get("/v1/labels").json()["model"]["name"]
                answer = connection.post(f"/v2/models/{model}/infer", json={"inputs": [tensor]})
            statuses[name] = answer.status_code
            if answer.status_code != 200:
                assert list(answer.json()) == ["error"], name
                assert answer.json()["error"].endswith("."), name
            assert "Traceback" not in answer.text
        assert connection.get("/healthz").status_code == 200
        assert connection.post("/v1/tag", content=encoded(scenes(1)[0])).status_code == 200
    assert {name for name, status in statuses.items() if status == 200} == UNUSUAL
    assert set(statuses.values()) == {200, 422}  # one sentence each, and nothing that the server failed at
    assert server.process.poll() is None


def raw(server: Server, text: bytes, seconds: float = 30) -> bytes:
    """What the server answers to these bytes, until it closes or waits for more."""
    parts = urlsplit(server.address)
    with socket.create_connection((parts.hostname, parts.port), timeout=seconds) as connection:
        connection.sendall(text)
        answer = b""
        while b"\r\n\r\n" not in answer or b"}" not in answer:
            received = connection.recv(65536)
            if not received:
                break
            answer += received
    return answer


def test_odd_requests_are_refused(server: Server) -> None:
    host = urlsplit(server.address).netloc.encode()
    assert b" 403 " in raw(server, b"GET /v1/labels HTTP/1.1\r\nHost: evil.example\r\n\r\n")
    assert b" 400 " in raw(server, b"GET /v1/labels HTTP/1.0\r\n\r\n")
    evil = b"POST /v1/tag HTTP/1.1\r\nHost: " + host + b"\r\nOrigin: https://evil.example\r\nContent-Length: 1\r\n\r\nx"
    assert b" 403 " in raw(server, evil)
    absolute = b"GET http://evil.example/v1/labels HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"
    assert b" 404 " in raw(server, absolute)
    large = b"POST /v1/tag HTTP/1.1\r\nHost: " + host + b"\r\nContent-Length: 99999999999\r\n\r\n"
    assert b" 413 " in raw(server, large)
    path = b"GET /v1/../../etc/passwd HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"
    assert b" 404 " in raw(server, path)
    assert httpx.get(f"{server.address}/healthz").status_code == 200


def test_a_body_without_a_length_may_not_be_endless(server: Server) -> None:
    host = urlsplit(server.address).netloc
    connection = http.client.HTTPConnection(host, timeout=60)
    sent = 0

    def endless() -> Any:
        nonlocal sent
        while sent < 40 << 20:
            sent += 1 << 20
            yield bytes(1 << 20)

    connection.request("POST", "/v1/tag", body=endless(), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    answer = connection.getresponse()
    assert answer.status == 413
    assert "over 33554432 bytes" in json.loads(answer.read())["error"]
    connection.close()


def test_a_slow_body_is_not_waited_for(start_server: Callable[..., Server]) -> None:
    server = start_server("--timeout", "1", "--batch-delay-ms", "0")
    host = urlsplit(server.address).netloc.encode()
    answer = raw(server, b"POST /v1/tag HTTP/1.1\r\nHost: " + host + b"\r\nContent-Length: 100\r\n\r\nslow")
    assert b" 408 " in answer
    assert b'{"error":"the request took over 1 seconds to arrive."}' in answer


def test_a_client_that_leaves_is_no_error(server: Server) -> None:
    parts = urlsplit(server.address)
    for _ in range(5):
        with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
            connection.sendall(b"POST /v1/tag HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nhalf")
    for _ in range(100):
        figures = httpx.get(f"{server.address}/metrics").text
        if 'status="0"' in figures:
            break
        time.sleep(0.1)
    assert 'tagformer_requests_total{method="POST",route="/v1/tag",status="0"} 5.0' in figures
    assert "tagformer_failures_total 0.0" in figures


def test_a_token_is_needed(start_server: Callable[..., Server], tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    server = start_server("--host", "0.0.0.0", "--token-file", str(file))
    port = urlsplit(server.address).port
    address = f"http://127.0.0.1:{port}/v1/labels"
    assert httpx.get(address).status_code == 401
    assert httpx.get(address, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert httpx.get(address, auth=("anyone", TOKEN)).status_code == 200
    assert httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
    assert server.interrupt() == (0, "")


def test_ctrl_c_finishes_what_was_begun(start_server: Callable[..., Server]) -> None:
    server = start_server("--batch-delay-ms", "1500", "--batch-size", "64")
    photo = encoded(scenes(1)[0])
    with ThreadPoolExecutor(1) as clients:
        answer = clients.submit(httpx.post, f"{server.address}/v1/tag", content=photo, timeout=60)
        for _ in range(200):
            if "tagformer_images_in_work 1.0" in httpx.get(f"{server.address}/metrics").text:
                break
            time.sleep(0.005)
        code, errors = server.interrupt()
        assert answer.result().status_code == 200
    assert (code, errors) == (0, "")
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.address}/healthz")
