"""Who may ask: hosts, other sites' pages, tokens; what is too large or too slow; and the headers of answers."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from tagformer.errors import TagformerError
from tagformer.serve.settings import LabelStudioSettings, ServeSettings
from tests.serve.conftest import MakeClient

TOKEN = "a-token-of-20-letters"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("LOCALHOST", 200),
        ("localhost.", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:8000", 200),
        ("tags.example.org", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example:8000", 403),
        ("0.0.0.0:8000", 403),
        ("192.168.0.1", 403),
        ("localhost@evil.example", 400),
        ("localhost:8000/x", 400),
        ("[::1", 400),
        ("", 400),
    ],
)
@pytest.mark.parametrize("path", ["/v1/labels", "/healthz", "/openapi.json", "/nothing"])
def test_only_names_of_this_server_are_answered(serve: MakeClient, host: str, status: int, path: str) -> None:
    client = serve(hosts=("tags.example.org",))
    answer = client.get(path, headers={"Host": host})
    expected = 404 if status == 200 and path == "/nothing" else status
    assert answer.status_code == expected
    if status != 200:
        assert list(answer.json()) == ["error"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://localhost:8000"}, 200),
        ({"Origin": "http://localhost:8000", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://localhost:9000"}, 403),
        ({"Origin": "http://localhost"}, 403),
        ({"Origin": "http://127.0.0.1:8000"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "http://[x"}, 403),
        ({"Origin": "http://localhost:8000", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 403),
    ],
)
def test_another_site_s_page_cannot_send_images(
    client: TestClient, photo: bytes, headers: dict[str, str], status: int
) -> None:
    answer = client.post("/v1/tag", content=photo, headers=headers)
    assert answer.status_code == status
    hook = client.post("/label-studio/webhook", json={"action": "START_TRAINING"}, headers=headers)
    assert hook.status_code == status
    counts = client.app.state.services.hooks.counts  # type: ignore[attr-defined]
    assert counts["START_TRAINING"] == (status == 200)


def test_another_site_may_link_here_but_not_read(client: TestClient) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/v1/labels", headers=link).status_code == 200
    assert (
        client.get("/v1/labels", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}).status_code == 403
    )
    assert (
        client.get("/v1/labels", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}).status_code
        == 403
    )
    answer = client.get("/v1/labels", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers
    assert client.options("/v1/tag", headers={"Origin": "https://evil.example"}).status_code == 405


def test_a_token_is_needed_where_one_is_set(serve: MakeClient, photo: bytes) -> None:
    client = serve(token=TOKEN)

    def status(authorization: str | None, path: str = "/v1/labels") -> int:
        headers = {} if authorization is None else {"Authorization": authorization}
        return int(client.get(path, headers=headers).status_code)

    def basic(text: str) -> str:
        return "Basic " + base64.b64encode(text.encode()).decode()

    assert status(f"Bearer {TOKEN}") == 200
    assert status(f"bearer {TOKEN}") == 200
    assert status(basic(f"anyone:{TOKEN}")) == 200
    for wrong in (
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}x",
        TOKEN,
        f"Token {TOKEN}",
        basic(TOKEN),
        basic(f"{TOKEN}:"),
        "Basic ???",
        "Basic " + base64.b64encode(b"\xff:\xff").decode(),
    ):
        assert status(wrong) == 401, wrong
    for path in ("/metrics", "/openapi.json", "/v2", "/label-studio/health", "/nothing"):
        assert status(None, path) == 401
    for path in ("/healthz", "/v2/health/live", "/v2/health/ready"):
        assert status(None, path) == 200
    refused = client.post("/v1/tag", content=photo)
    assert refused.status_code == 401
    assert "Basic" in refused.headers["www-authenticate"]
    assert refused.json()["error"].startswith("the token is missing or wrong")


def test_every_answer_has_the_headers_of_security(client: TestClient, photo: bytes) -> None:
    answers = [
        client.get("/v1/labels"),
        client.post("/v1/tag", content=photo),
        client.post("/v1/tag", content=b"x"),
        client.get("/nothing"),
        client.get("/v1/labels", headers={"Host": "evil.example"}),
    ]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-type"] == "application/json"


def test_what_fails_inside_is_one_sentence_too(
    client: TestClient, photo: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = client.app.state.services.engine  # type: ignore[attr-defined]
    monkeypatch.setattr(engine.model.tagger.model, "encode", lambda images: 1 / 0)
    answer = client.post("/v1/tag", content=photo)
    assert answer.status_code == 500
    assert answer.json() == {"error": "the server failed: its log says why."}
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "ZeroDivisionError" in caplog.text
    assert "tagformer_failures_total 1.0" in client.get("/metrics").text


def test_a_body_may_not_be_too_large(serve: MakeClient) -> None:
    client = serve(most_bytes=1000)

    def chunks(size: int) -> Iterator[bytes]:
        for _ in range(size // 100):
            yield bytes(100)

    assert client.post("/v1/tag", content=bytes(1000)).status_code == 422
    for content in (bytes(1001), chunks(1100), chunks(10_000_000)):
        answer = client.post("/v1/tag", content=content)
        assert answer.status_code == 413
        assert answer.json() == {"error": "the request has over 1000 bytes: send smaller or fewer images."}
    assert client.post("/v1/tag", content=chunks(1000)).status_code == 422
    assert client.post("/v1/tag", files={"image": bytes(5000)}).status_code == 413
    lying = client.post("/v1/tag", content=chunks(1100), headers={"Content-Length": "5"})
    assert lying.status_code in (400, 413)
    limits = client.app.middleware_stack  # type: ignore[attr-defined]
    while not hasattr(limits, "held"):
        limits = limits.app
    assert limits.held == 0, "what was held is given back"


def test_all_bodies_together_may_not_be_too_large(serve: MakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tagformer.serve.http.limits.HELD", 0.5)
    client = serve(most_bytes=1000)
    assert client.post("/v1/tag", content=bytes(500)).status_code == 422
    answer = client.post("/v1/tag", content=bytes(501))
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"host": "0.0.0.0"}, "--host 0.0.0.0: other machines can connect to this address, so a token is needed"),
        ({"host": "::"}, "so a token is needed"),
        ({"host": "example.org"}, "so a token is needed"),
        ({"token": "short"}, "the token must have at least 16 characters"),
        ({"token": "with spaces in it, so"}, "without spaces"),
        ({"token": "pässword-of-20-letters"}, "of ASCII"),
        ({"hosts": ("http://example.org",)}, "write a host name without a scheme"),
        ({"queue": 2}, "--queue 2: it must hold the 16 images"),
        ({"batch_size": 0}, "--batch-size must be at least 1"),
        ({"batch_delay": 40.0}, "less than --timeout"),
        ({"batch_delay": float("nan")}, "less than --timeout"),
    ],
)
def test_wrong_settings_are_one_sentence(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(TagformerError, match=sentence):
        ServeSettings(**settings)


def test_a_token_opens_other_addresses() -> None:
    assert ServeSettings(host="0.0.0.0", token=TOKEN).host == "0.0.0.0"
    assert ServeSettings(host="127.0.0.9").token is None


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://x", "http://", "http://x:y", "http://a:b@x", "http://x?y"])
def test_a_wrong_address_of_label_studio_is_one_sentence(url: str) -> None:
    with pytest.raises(TagformerError, match=r"--label-studio-url .* write it as http://HOST:PORT"):
        LabelStudioSettings(url=url)
