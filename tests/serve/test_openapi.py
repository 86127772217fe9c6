"""The description of the API: it is complete, and no request that it allows, or forbids, is answered with a 500."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import SearchStrategy

from tests.serve.conftest import Server
from tests.serve.pictures import encoded, scenes

QUICK = settings(
    max_examples=6, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


def test_no_request_is_answered_with_500(server: Server) -> None:
    """Requests that schemathesis draws from the description, right ones and wrong ones."""
    schemathesis = pytest.importorskip("schemathesis")
    schema = schemathesis.openapi.from_url(f"{server.address}/openapi.json")
    asked = set()
    for result in schema.get_all_operations():
        operation = result.ok()
        for mode in schemathesis.GenerationMode:

            @QUICK
            @given(operation.as_strategy(generation_mode=mode))
            def ask(case: Any) -> None:
                answer = case.call()
                assert answer.status_code < 500 or answer.status_code == 503, f"{case.as_curl_command()}: {answer.text}"
                if answer.status_code >= 400:
                    assert isinstance(answer.json()["error"], str)

            try:
                ask()
            except Unsatisfiable:  # some routes take nothing that could be wrong
                continue
            asked.add(operation.label)
    assert {"POST /v1/tag", "POST /v1/decode", "POST /label-studio/predict", "GET /v1/labels"} <= asked


def test_every_route_is_described(client: TestClient) -> None:
    content = client.get("/openapi.json").json()
    for path, methods in content["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], f"{method} {path}"
            assert operation["description"], f"{method} {path}"
            for status in ("401", "403", "422", "503"):
                answer = operation["responses"][status]["content"]["application/json"]["schema"]
                assert answer == {"$ref": "#/components/schemas/ErrorAnswer"}, f"{method} {path}"
    assert "HTTPValidationError" not in content["components"]["schemas"]


VALUES: SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=8), parts, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def image_id(server: Server) -> str:
    """The id of an image that is kept."""
    answer = httpx.post(f"{server.address}/v1/tag", content=encoded(scenes(1)[0]))
    return str(answer.json()["image"]["id"])


@pytest.mark.parametrize("path", ["/v1/decode", "/v1/suggest", "/v1/explain", "/label-studio/webhook"])
def test_odd_questions_about_an_image_that_is_kept(server: Server, image_id: str, path: str) -> None:
    fields = ["known", "labels", "threshold", "top", "count", "format", "action", "project", "task", "annotation"]

    def check(connection: httpx.Client) -> Callable[[], None]:
        @settings(max_examples=60, deadline=None, derandomize=True, database=None)
        @given(st.dictionaries(st.sampled_from(fields), VALUES, max_size=3))
        def ask(question: dict[str, Any]) -> None:
            body = json.dumps({"id": image_id, **question})
            answer = connection.post(path, content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code in (200, 422), answer.text

        return ask

    with httpx.Client(base_url=server.address) as connection:
        check(connection)()
