"""``/v1``: the same as the tagger's own predictions, and one sentence for what is wrong."""

from __future__ import annotations

import io
import json

import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

from tagformer import Tagger
from tagformer.tagging.prediction import Tag
from tests.serve.conftest import MakeClient, new_tagger
from tests.serve.pictures import encoded


def as_json(tags: list[Tag]) -> list[dict[str, object]]:
    return [
        {
            "name": tag.name,
            "probability": pytest.approx(tag.probability, abs=1e-5),
            "threshold": tag.threshold,
            "known": tag.known,
        }
        for tag in tags
    ]


def test_tags_are_those_of_the_tagger(client: TestClient, tagger: Tagger, pictures: list[Image.Image]) -> None:
    for picture in pictures[:3]:
        answer = client.post("/v1/tag", content=encoded(picture), headers={"Content-Type": "image/png"})
        assert answer.status_code == 200
        content = answer.json()
        assert content["tags"] == as_json(tagger.predict(picture)[0].tags)
        assert (content["image"]["width"], content["image"]["height"]) == picture.size
        assert content["model"]["name"] == "small"
    everything = client.post("/v1/tag", content=encoded(pictures[0]), params={"threshold": 0}).json()["tags"]
    assert everything == as_json(tagger.predict(pictures[0])[0].ranked)
    assert "night" not in [tag["name"] for tag in everything], "extra labels are never predicted"


@pytest.mark.parametrize("known", ["dog=yes,cat=no,night=yes", '{"dog": true, "cat": 0, "night": "yes", "sky": null}'])
def test_known_labels_are_those_of_the_tagger(
    client: TestClient, tagger: Tagger, pictures: list[Image.Image], known: str
) -> None:
    answer = client.post("/v1/tag", content=encoded(pictures[0]), params={"known": known, "threshold": 0})
    expected = tagger.predict(pictures[0], {"dog": True, "cat": False, "night": True})[0].ranked
    assert answer.json()["tags"] == as_json(expected)
    by_name = {tag["name"]: tag for tag in answer.json()["tags"]}
    assert by_name["dog"]["probability"] == 1
    assert by_name["cat"]["known"]
    assert not by_name["sky"]["known"]


def test_a_form_has_several_images_and_fields(client: TestClient, tagger: Tagger, pictures: list[Image.Image]) -> None:
    files = [("image", ("../../etc/passwd", encoded(picture), "image/png")) for picture in pictures[:3]]
    answer = client.post("/v1/tag", files=files, data={"known": "dog=yes", "threshold": "0", "top": "2"})
    assert answer.status_code == 200
    expected = [prediction.ranked[:2] for prediction in tagger.predict(pictures[:3], {"dog": True})]
    assert [one["tags"] for one in answer.json()] == [as_json(tags) for tags in expected]
    assert len({one["image"]["id"] for one in answer.json()}) == 3
    single = client.post("/v1/tag", files=files[:1])
    assert single.json()["tags"] == as_json(tagger.predict(pictures[0])[0].tags)


def test_labels_top_and_threshold_choose(client: TestClient, tagger: Tagger, photo: bytes) -> None:
    def names(**parameters: object) -> list[str]:
        answer = client.post("/v1/tag", content=photo, params=parameters)
        return [tag["name"] for tag in answer.json()["tags"]]

    ranked = [tag.name for tag in tagger.predict(Image.open(io.BytesIO(photo)))[0].ranked]
    assert names(threshold=0, top=2) == ranked[:2]
    chosen = ["boat, old", "dog"]
    assert names(threshold=0, labels="dog,boat\\, old") == [name for name in ranked if name in chosen]
    assert names(threshold=0, labels=json.dumps(chosen)) == [name for name in ranked if name in chosen]
    assert names(threshold=1) == []


def test_an_image_that_was_sent_is_not_encoded_again(
    client: TestClient, tagger: Tagger, pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = client.app.state.services.engine  # type: ignore[attr-defined]
    image_id = client.post("/v1/tag", content=encoded(pictures[0])).json()["image"]["id"]

    def encode(images: torch.Tensor) -> torch.Tensor:
        raise AssertionError("encoded again")

    monkeypatch.setattr(engine.model.tagger.model, "encode", encode)
    known = {"dog": True, "sky": False}
    decoded = client.post("/v1/decode", json={"id": image_id, "known": known, "threshold": 0}).json()
    assert decoded["tags"] == as_json(tagger.predict(pictures[0], known)[0].ranked)
    assert decoded["image"]["id"] == image_id
    suggested = client.post("/v1/suggest", json={"id": image_id, "known": "dog=yes", "count": 3}).json()
    expected = tagger.suggest(pictures[0], {"dog": True}, count=3)
    assert [one["name"] for one in suggested["suggestions"]] == [one.name for one in expected]
    assert [one["gain"] for one in suggested["suggestions"]] == pytest.approx([one.gain for one in expected], abs=1e-5)


def test_heat_maps_are_those_of_the_tagger(client: TestClient, tagger: Tagger, pictures: list[Image.Image]) -> None:
    image_id = client.post("/v1/tag", content=encoded(pictures[0])).json()["image"]["id"]
    answer = client.post("/v1/explain", json={"id": image_id, "labels": ["sky", "cat"], "known": {"dog": True}}).json()
    expected = tagger.explain(pictures[0], ["sky", "cat"], {"dog": True})
    assert [one["name"] for one in answer["maps"]] == ["sky", "cat"]
    torch.testing.assert_close(torch.tensor([one["values"] for one in answer["maps"]]), expected.maps)
    picture = client.post("/v1/explain", json={"id": image_id, "labels": "sky", "format": "png"})
    assert picture.headers["content-type"] == "image/png"
    heat = Image.open(io.BytesIO(picture.content))
    assert (heat.mode, heat.size) == ("RGBA", pictures[0].size)
    row, column = divmod(int(tagger.explain(pictures[0], "sky").maps[0].argmax()), 4)
    alpha = heat.getchannel("A").resize((4, 4), Image.Resampling.BOX)
    assert alpha.getpixel((column, row)) == alpha.getextrema()[1]


def test_labels_are_listed(client: TestClient) -> None:
    answer = client.get("/v1/labels").json()
    assert answer["uses_known"]
    assert [label["name"] for label in answer["labels"]] == ["cat", "dog", "sky", "boat, old", "Animal", "night"]
    assert answer["labels"][1]["group"] == "beasts"
    assert answer["labels"][1]["threshold"] == 0.5
    assert answer["labels"][1]["frequency"] == pytest.approx(0.2)
    assert [label["name"] for label in answer["labels"] if label["extra"]] == ["night"]


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"known": "dgo=yes"}, "unknown label 'dgo' (did you mean 'dog'?)."),
        ({"known": "dog=perhaps"}, "write NAME=yes or NAME=no"),
        ({"known": "dog=yes,dog=no"}, "is given twice"),
        ({"known": '{"dog": true, "dog": false}'}, "is given twice"),
        ({"known": '{"dog": true, " dog": false}'}, "is given twice"),
        ({"known": '{"dog": 2}'}, "has the state '2'"),
        ({"known": "{" * 5000}, "known is not JSON"),
        ({"labels": "zebra"}, "unknown label 'zebra'"),
        ({"labels": "[1]"}, "a JSON list of names"),
        ({"threshold": "2"}, "threshold (query): input should be less than or equal to 1."),
        ({"threshold": "nan"}, "threshold (query)"),
        ({"top": "0"}, "top (query)"),
        ({"treshold": "0.5"}, "treshold (query): extra inputs are not permitted."),
    ],
)
def test_a_wrong_parameter_is_one_sentence(
    client: TestClient, photo: bytes, parameters: dict[str, str], sentence: str
) -> None:
    answer = client.post("/v1/tag", content=photo, params=parameters)
    assert answer.status_code == 422
    assert sentence in answer.json()["error"]
    assert list(answer.json()) == ["error"]
    form = client.post("/v1/tag", files={"image": photo}, data=parameters)
    assert form.status_code == 422


def test_a_wrong_form_is_one_sentence(serve: MakeClient, photo: bytes) -> None:
    client = serve(most_images=2)

    def error(**request: object) -> tuple[int, str]:
        answer = client.post("/v1/tag", **request)  # type: ignore[arg-type]
        return answer.status_code, answer.json()["error"]

    assert error(files={"image": (None, "text")}) == (
        422,
        "the field 'image' of the form is a text: send a file, as in curl -F image=@photo.jpg.",
    )
    assert error(files={"photo": photo})[1].startswith("the field 'photo' of the form is a file: only 'image'")
    assert error(files={"top": (None, "3")}) == (422, "the form has no image: send a file as 'image'.")
    assert error(files=[("image", photo)] * 3) == (400, "Too many files. Maximum number of files is 2.")
    assert error(files={"image": photo}, data={"top": "1"}, params={"top": 2})[1].startswith("'top' is in the address")
    assert error(content=b"") == (
        422,
        "the request has no image: send its bytes as the body, or in multipart/form-data as 'image'.",
    )
    assert error(json={"image": "x"})[1].startswith("the request is of the type application/json")
    assert error(content=b"x", headers={"Content-Type": "multipart/form-data"})[0] == 400
    bad = [("image", photo), ("image", b"no picture")]
    assert error(files=bad) == (422, "image 2 of the request is not an image.")


def test_an_id_that_is_not_kept_is_404(serve: MakeClient, pictures: list[Image.Image]) -> None:
    client = serve(kept_images=2)
    ids = [client.post("/v1/tag", content=encoded(picture)).json()["image"]["id"] for picture in pictures[:3]]
    assert client.post("/v1/decode", json={"id": ids[2]}).status_code == 200
    for path in ("/v1/decode", "/v1/suggest", "/v1/explain"):
        for image_id in (ids[0], "nonsense", ""):
            answer = client.post(path, json={"id": image_id})
            assert answer.status_code == 404
            assert answer.json()["error"].endswith("it is no longer kept: send the image again.")


def test_a_model_that_does_not_use_known_labels_says_so(serve: MakeClient, photo: bytes) -> None:
    client = serve("linear")
    answer = client.post("/v1/tag", content=photo)
    assert answer.status_code == 200
    image_id = answer.json()["image"]["id"]
    assert client.get("/v1/labels").json()["uses_known"] is False
    for path, question in (("decode", {"known": {"dog": True}}), ("suggest", {})):
        refused = client.post(f"/v1/{path}", json={"id": image_id, **question})
        assert refused.status_code == 422
        assert "does not use known labels" in refused.json()["error"]
    assert client.post("/v1/tag", content=photo, params={"known": "dog=yes"}).status_code == 422
    assert client.post("/v1/explain", json={"id": image_id}).status_code == 200


def test_the_version_changes_with_weights_and_thresholds(serve: MakeClient) -> None:
    from tagformer.serve.version import model_version

    version = serve().get("/v1/labels").json()["model"]["version"]
    assert version == model_version(new_tagger())
    others = [new_tagger(seed=1), new_tagger(), new_tagger()]
    others[1].thresholds[0] = 0.31
    others[2].temperature = 0.6
    assert len({version, *map(model_version, others)}) == 4


def test_what_is_not_there_is_json_too(client: TestClient) -> None:
    assert client.get("/nothing").json() == {"error": "there is nothing at this address: see /openapi.json."}
    assert client.get("/v1/tag").json() == {"error": "this address does not take this method: see /openapi.json."}
    assert client.get("/docs").status_code == 404, "its page would load scripts from elsewhere"
    broken = client.post("/v1/decode", content=b'{"id": ', headers={"Content-Type": "application/json"})
    assert broken.status_code == 422
    assert broken.json()["error"].startswith("the body is not JSON")
    odd = client.post(
        "/v1/decode", content=b'{"id": "x", "known": {"\\ud800": true}}', headers={"Content-Type": "application/json"}
    )
    assert odd.status_code in (404, 422)
    named = (
        b'{"id": "\\ud800", "inputs": [{"name": "\\ud800", "shape": [1], "datatype": "BYTES", "data": ["\\ud800"]}]}'
    )
    answer = client.post("/v2/models/small/infer", content=named, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["error"]
