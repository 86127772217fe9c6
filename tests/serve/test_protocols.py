"""The shapes of other servers: the Open Inference Protocol, Hugging Face's, and Prometheus' figures."""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from tagformer import Tagger
from tests.serve.conftest import MakeClient
from tests.serve.pictures import encoded


def as_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def image_input(pictures: list[Image.Image]) -> dict[str, Any]:
    data = [as_base64(encoded(picture)) for picture in pictures]
    return {"name": "image", "shape": [len(data)], "datatype": "BYTES", "data": data}


def test_the_protocol_describes_the_model(client: TestClient) -> None:
    assert client.get("/v2").json()["extensions"] == []
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    model = client.get("/v2/models/small").json()
    assert model["outputs"][0] == {"name": "probabilities", "datatype": "FP32", "shape": [-1, 6]}
    (version,) = model["versions"]
    assert client.get(f"/v2/models/small/versions/{version}").json() == model
    assert client.get(f"/v2/models/small/versions/{version}/ready").json() == {"name": "small", "ready": True}
    assert client.get("/v2/models/small/ready").json() == {"name": "small", "ready": True}
    for path in ("models/big", "models/big/ready", "models/small/versions/1", "models/small/versions/1/ready"):
        answer = client.get(f"/v2/{path}")
        assert answer.status_code == 404
        assert answer.json()["error"].startswith("there is no")


def test_probabilities_are_those_of_the_tagger(client: TestClient, tagger: Tagger, pictures: list[Image.Image]) -> None:
    known = [[-1, 1, -1, -1, -1, 0], [-1] * 6]
    question = {
        "id": "a question",
        "inputs": [image_input(pictures[:2]), {"name": "known", "shape": [2, 6], "datatype": "INT8", "data": known}],
        "outputs": [{"name": "labels"}, {"name": "probabilities"}],
    }
    answer = client.post("/v2/models/small/infer", json=question).json()
    assert (answer["model_name"], answer["id"]) == ("small", question["id"])
    labels, probabilities = answer["outputs"]
    assert labels == {"name": "labels", "datatype": "BYTES", "shape": [6], "data": list(tagger.label_space.names)}
    expected = [
        *tagger.predict(pictures[0], {"dog": True, "night": False})[0].probabilities.tolist(),
        *tagger.predict(pictures[1])[0].probabilities.tolist(),
    ]
    assert probabilities["shape"] == [2, 6]
    assert probabilities["data"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("flat", [True, False])
def test_pixels_are_taken_too(client: TestClient, tagger: Tagger, pictures: list[Image.Image], flat: bool) -> None:
    pixels = np.stack([np.asarray(picture) for picture in pictures[:2]])
    data = (pixels.ravel() if flat else pixels).tolist()
    question = {"inputs": [{"name": "pixels", "shape": list(pixels.shape), "datatype": "UINT8", "data": data}]}
    (output,) = client.post("/v2/models/small/infer", json=question).json()["outputs"]
    expected = [p for one in tagger.predict(pictures[:2]) for p in one.probabilities.tolist()]
    assert output["data"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ([], "inputs (body)"),
        ([{"name": "image", "shape": [1], "datatype": "BYTES", "data": ["?"]}], "the image is not base64"),
        ([{"name": "image", "shape": [1], "datatype": "BYTES", "data": ["R0lG"]}], "image 1 of the request is"),
        ([{"name": "image", "shape": [1], "datatype": "BYTES", "data": [1]}], "values that are not texts"),
        ([{"name": "image", "shape": [1], "datatype": "BYTES", "data": [{}]}], "lists in its data"),
        ([{"name": "image", "shape": [2], "datatype": "BYTES", "data": ["R0lG"]}], "1 values: not as many"),
        ([{"name": "image", "shape": [-1], "datatype": "BYTES", "data": ["R0lG"]}], "1 values: not as many"),
        ([{"name": "image", "shape": [0], "datatype": "BYTES", "data": []}], "0 images: send from 1 to 16"),
        ([{"name": "image", "shape": [1], "datatype": "FP32", "data": [1]}], "is of the type FP32: send BYTES"),
        ([{"name": "photo", "shape": [1], "datatype": "BYTES", "data": [""]}], "there is no input 'photo'"),
        ([{"name": "known", "shape": [1], "datatype": "INT8", "data": [0]}], "give either the input 'image' or"),
        ([{"name": "pixels", "shape": [1, 1, 1, 4], "datatype": "UINT8", "data": [0] * 4}], "needs the shape"),
        ([{"name": "pixels", "shape": [1, 1, 1, 3], "datatype": "UINT8", "data": [0, 256, 0]}], "from 0 to 255"),
        ([{"name": "pixels", "shape": [1, 1, 1, 3], "datatype": "UINT8", "data": [0, 0.5, 0]}], "from 0 to 255"),
        ([{"name": "pixels", "shape": [1, 10**6, 10**6, 3], "datatype": "UINT8", "data": []}], "needs the shape"),
    ],
)
def test_a_wrong_tensor_is_one_sentence(client: TestClient, inputs: list[dict[str, Any]], sentence: str) -> None:
    answer = client.post("/v2/models/small/infer", json={"inputs": inputs})
    assert answer.status_code == 422
    assert sentence in answer.json()["error"]


def test_wrong_known_labels_and_outputs_are_one_sentence(
    client: TestClient, serve: MakeClient, pictures: list[Image.Image]
) -> None:
    image = image_input(pictures[:1])

    def error(known: Any, shape: list[int], **more: Any) -> str:
        tensor = {"name": "known", "shape": shape, "datatype": "INT8", "data": known}
        answer = client.post("/v2/models/small/infer", json={"inputs": [image, tensor], **more})
        assert answer.status_code == 422
        return str(answer.json()["error"])

    assert error([0] * 5, [1, 5]) == "the input 'known' needs the shape [1, 6]."
    assert error([2] * 6, [1, 6]) == "the input 'known' has values other than 1, 0 and -1."
    assert "ask for probabilities or labels" in error([0] * 6, [1, 6], outputs=[{"name": "logits"}])
    twice = client.post("/v2/models/small/infer", json={"inputs": [image, image]})
    assert twice.json() == {"error": "an input is given twice: leave one of the two out."}
    binary = client.post(
        "/v2/models/small/infer", json={"inputs": [image]}, headers={"Inference-Header-Content-Length": "5"}
    )
    assert binary.json() == {"error": "binary tensors are not supported: send the data as JSON."}


def test_hugging_face_s_shape_is_that_of_the_logits(
    client: TestClient, tagger: Tagger, pictures: list[Image.Image]
) -> None:
    expected = {tag.name: tag.probability for tag in tagger.predict(pictures[0])[0].ranked}
    data = encoded(pictures[0])

    def scores(**parameters: object) -> dict[str, float]:
        by_bytes = client.post("/hugging-face", content=data, params=parameters).json()
        question = {"inputs": as_base64(data), "parameters": parameters}
        assert client.post("/hugging-face", json=question).json() == by_bytes
        return {one["label"]: one["score"] for one in by_bytes}

    assert scores(top_k=2) == pytest.approx(dict(list(expected.items())[:2]), abs=1e-5)
    assert scores() == pytest.approx(expected, abs=1e-5)
    logits = scores(function_to_apply="none")
    assert logits == pytest.approx({name: math.log(p / (1 - p)) for name, p in expected.items()}, abs=1e-4)
    total = sum(map(math.exp, logits.values()))
    softmax = scores(function_to_apply="softmax")
    assert softmax == pytest.approx({name: math.exp(logit) / total for name, logit in logits.items()}, abs=1e-5)
    assert sum(softmax.values()) == pytest.approx(1)
    assert list(softmax) == list(expected)


@pytest.mark.parametrize(
    "request_",
    [
        {"content": b""},
        {"content": b"no image"},
        {"json": {}},
        {"json": {"inputs": "?"}},
        {"json": {"inputs": ""}},
        {"json": {"inputs": "R0lG", "parameters": {"function_to_apply": "relu"}}},
        {"json": {"inputs": "R0lG", "parameters": {"top_k": 0}}},
        {"json": []},
        {"content": b"{", "headers": {"Content-Type": "application/json"}},
    ],
)
def test_wrong_questions_in_hugging_face_s_shape_are_422(client: TestClient, request_: dict[str, Any]) -> None:
    answer = client.post("/hugging-face", **request_)
    assert answer.status_code == 422
    assert list(answer.json()) == ["error"]


def test_figures_are_counted_by_route_and_not_by_address(client: TestClient, photo: bytes) -> None:
    for _ in range(3):
        image_id = client.post("/v1/tag", content=photo).json()["image"]["id"]
    client.post("/v1/decode", json={"id": image_id})
    client.get("/v2/models/small/versions/1")
    client.get("/nothing/1")
    client.get("/nothing/2")
    client.request("BREW", "/v1/tag")
    families = {one.name: one for one in text_string_to_metric_families(client.get("/metrics").text)}
    requests = {
        (sample.labels["route"], sample.labels["method"], sample.labels["status"]): sample.value
        for sample in families["tagformer_requests"].samples
        if sample.name.endswith("_total")
    }
    assert requests["/v1/tag", "POST", "200"] == 3
    assert requests["/v1/decode", "POST", "200"] == 1
    assert requests["/v2/models/{name}/versions/{version}", "GET", "404"] == 1
    assert requests["none", "GET", "404"] == 2
    assert not [key for key in requests if "nothing" in key[0] or "BREW" in key[1]]
    values = {sample.name: sample.value for family in families.values() for sample in family.samples}
    assert values["tagformer_encoded_batch_size_sum"] == 3
    assert values["tagformer_decoded_batch_size_sum"] == 1
    assert values["tagformer_kept_images"] == 3
    assert values["tagformer_images_in_work"] == 0
    assert client.get("/healthz").json() == {"status": "ok"}


def test_two_servers_count_apart(serve: MakeClient, photo: bytes) -> None:
    first, second = serve(), serve()
    first.post("/v1/tag", content=photo)
    assert "tagformer_kept_images 1.0" in first.get("/metrics").text
    assert "tagformer_kept_images 0.0" in second.get("/metrics").text
