"""A real Label Studio with `tagformer serve` as its backend: from a new project to a trained model.

Label Studio needs an environment of its own. ``LABEL_STUDIO`` names its command, for example
``LABEL_STUDIO=~/label-studio/bin/label-studio pytest -m slow tests/serve/label_studio``.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tagformer.data import load_dataset
from tagformer.serve.listening import listen
from tests.serve.conftest import Server
from tests.serve.pictures import encoded, scenes

TOKEN, COUNT = "0123456789abcdef" * 2 + "01234567", 20
LABELS = load_dataset("scenes?images=8").label_space.names
CONFIG = (
    "<View><Image name='image' value='$image'/><Choices name='tags' toName='image' choice='multiple'>"
    + "".join(f"<Choice value='{name}'/>" for name in LABELS)
    + "</Choices></View>"
)
OPEN = {"SSRF_PROTECTION_ENABLED": "false", "USE_DEFAULT_BANNED_SUBNETS": "false", "ML_BLOCK_LOCAL_IP": "false"}
QUIET = {"COLLECT_ANALYTICS": "False", "LATEST_VERSION_CHECK": "0", "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true"}


def until(condition: Callable[[], Any], seconds: float) -> Any:
    """The first result that is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.5)
    return found


@pytest.fixture
def label_studio(tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of a new Label Studio on this machine."""
    command = os.environ.get("LABEL_STUDIO")
    if not command:
        pytest.skip("no Label Studio: name its command in LABEL_STUDIO")
    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    arguments = [os.path.expanduser(command), "start", "--no-browser", "--port", str(port)]
    arguments += [
        "--internal-host",
        "127.0.0.1",
        "--username",
        "a@example.com",
        "--password",
        "password",
        "--user-token",
    ]
    variables = {**os.environ, **OPEN, **QUIET, "LABEL_STUDIO_BASE_DATA_DIR": str(tmp_path / "label-studio")}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([*arguments, TOKEN], env=variables, stdout=log, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.poll() is None, (tmp_path / "log").read_text()
        try:
            return httpx.get(f"{address}/health").status_code == 200
        except httpx.TransportError:
            return False

    try:
        until(answers, 300)
        yield httpx.Client(base_url=address, headers={"Authorization": f"Token {TOKEN}"}, timeout=120)
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.slow
def test_from_a_project_to_a_trained_model(
    label_studio: httpx.Client, start_server: Callable[..., Server], tmp_path: Path
) -> None:
    pictures, token = tmp_path / "pictures", tmp_path / "token"
    pictures.mkdir()
    token.write_text(TOKEN)
    project = label_studio.post("/api/projects", json={"title": "tags", "label_config": CONFIG}).json()["id"]
    for number, picture in enumerate(scenes(COUNT)):
        file = pictures / f"{number:02d}.png"
        file.write_bytes(encoded(picture))
        upload = {"file": (file.name, file.read_bytes(), "image/png")}
        assert label_studio.post(f"/api/projects/{project}/import", files=upload).status_code == 201
    address = str(label_studio.base_url).rstrip("/")
    options = ("--label-studio-url", address, "--label-studio-token", str(token))
    server = start_server("--images", str(pictures), *options)
    backend = f"{server.address.rstrip('/')}/label-studio"
    connected = label_studio.post("/api/ml", json={"url": backend, "project": project, "title": "tagformer"}).json()
    assert connected["readable_state"] == "Connected", connected
    everything = {"selectedItems": {"all": True, "excluded": []}}
    label_studio.post(
        "/api/dm/actions", params={"id": "retrieve_tasks_predictions", "project": project}, json=everything
    )
    predictions = label_studio.get("/api/predictions", params={"project": project}).json()
    assert len(predictions) == COUNT
    version = httpx.get(f"{server.address}/v1/labels").json()["model"]["version"]
    assert {prediction["model_version"] for prediction in predictions} == {version}
    hook = {"url": f"{backend}/webhook", "project": project, "send_payload": True, "send_for_all_actions": True}
    assert label_studio.post("/api/webhooks", json=hook).status_code == 201
    tasks = label_studio.get("/api/tasks", params={"project": project, "page_size": 100}).json()["tasks"]
    for number, task in enumerate(tasks):
        chosen = {"choices": [LABELS[number % 3], LABELS[3]]}
        result = [{"from_name": "tags", "to_name": "image", "type": "choices", "value": chosen}]
        annotated = label_studio.post(f"/api/tasks/{task['id']}/annotations", json={"result": result})
        assert annotated.status_code == 201

    def progress() -> dict[str, Any]:
        return dict(httpx.get(f"{server.address}/page/state").json()["progress"])

    until(lambda: progress()["answers"] == COUNT * len(LABELS), 60)
    assert label_studio.post(f"/api/ml/{connected['id']}/train", json={}).status_code == 200
    training = until(
        lambda: (state := httpx.get(f"{server.address}/page/train").json())["status"] == "compared" and state, 300
    )
    assert training["comparison"]["before"] is not None
