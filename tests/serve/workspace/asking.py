"""Asking the server what the page asks."""

from __future__ import annotations

import time
from typing import Any

from fastapi.testclient import TestClient

COUNT = 12  # images


def get(client: TestClient, path: str, **parameters: Any) -> Any:
    reply = client.get(f"/page/{path}", params=parameters)
    assert reply.status_code == 200, reply.text
    return reply.json()


def post(client: TestClient, path: str, **content: Any) -> Any:
    reply = client.post(f"/page/{path}", json=content)
    assert reply.status_code == 200, reply.text
    return reply.json()


def answer(client: TestClient, *changes: tuple[int, int, int], person: str = "ann", **content: Any) -> Any:
    request = f"request {time.monotonic_ns()}"
    return post(client, "answers", **{"request": request, "person": person, "changes": changes, **content})


def looked_at(client: TestClient) -> None:
    """Wait until the server has looked at all images."""
    until = time.monotonic() + 60
    while get(client, "state")["progress"]["scored"] < COUNT:
        assert time.monotonic() < until
        time.sleep(0.05)
