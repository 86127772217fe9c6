"""The engine: batches that are formed, a queue that is full, answers that nobody waits for, another model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager

import pytest
import torch
from PIL import Image

from tagformer import Tagger
from tagformer.errors import BadImageError, TagformerError
from tagformer.images import Preprocessing
from tagformer.serve.batching import BusyError, LateError, Waiting
from tagformer.serve.engine import Engine
from tagformer.serve.http.uploads import Upload
from tagformer.serve.kept import NotKeptError
from tagformer.serve.settings import ServeSettings
from tests.serve.conftest import LABELS, new_tagger
from tests.serve.pictures import encoded, scenes

HOUR = 3600.0


def uploads(count: int) -> list[Upload]:
    return [Upload(f"{number}", encoded(picture)) for number, picture in enumerate(scenes(count))]


@contextmanager
def blocked(tagger: Tagger, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[list[int], Callable[[], bool]]]:
    """The model stops in its first batch until the block is left: sizes of batches, and a way to wait for it."""
    sizes: list[int] = []
    arrived, go_on = threading.Event(), threading.Event()
    encode = tagger.model.encode

    def slow(images: torch.Tensor) -> torch.Tensor:
        sizes.append(len(images))
        arrived.set()
        assert go_on.wait(60)
        return encode(images)

    monkeypatch.setattr(tagger.model, "encode", slow)
    try:
        yield sizes, lambda: arrived.wait(60)
    finally:
        go_on.set()


def test_images_that_wait_are_encoded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    tagger = new_tagger()
    settings = ServeSettings(batch_size=4, batch_delay=0.0, timeout=60)
    images = uploads(7)
    with Engine(tagger, settings) as engine:
        with blocked(tagger, monkeypatch) as (sizes, wait):
            futures = engine.tag(images[:1])
            assert wait()
            futures += engine.tag(images[1:])
            while len(engine._waiting) < 6:
                threading.Event().wait(0.01)
        answers = [future.result(60) for future in futures]
    assert sizes == [1, 4, 2]
    for picture, answer in zip(scenes(7), answers, strict=True):
        expected = new_tagger().predict(picture)[0]
        torch.testing.assert_close(answer.prediction.probabilities, expected.probabilities)
    assert b"tagformer_encoded_batch_size_sum 7.0" in engine.instruments.page()
    assert b"tagformer_encoded_batch_size_count 3.0" in engine.instruments.page()


def test_a_batch_is_taken_when_it_is_full_and_does_not_wait_for_the_delay() -> None:
    with Engine(new_tagger(), ServeSettings(batch_size=3, batch_delay=50, timeout=HOUR)) as engine:
        for future in engine.tag(uploads(3)):
            future.result(40)
        assert b"tagformer_encoded_batch_size_count 1.0" in engine.instruments.page()


def test_each_image_of_a_batch_has_its_own_known_labels() -> None:
    known = [{"dog": True}, {}, {"cat": False, "sky": True}]
    with Engine(new_tagger(), ServeSettings(batch_size=3, batch_delay=50, timeout=HOUR)) as engine:
        answers = [future.result(40) for future in engine.tag(uploads(3), known)]
        decoded = [engine.decode(answers[0].image.id, states) for states in known]
        for picture, states, answer in zip(scenes(3), known, answers, strict=True):
            expected = new_tagger().predict(picture, states)[0]
            torch.testing.assert_close(answer.prediction.probabilities, expected.probabilities)
            assert torch.equal(answer.prediction.known, expected.known)
        for states, future in zip(known, decoded, strict=True):
            expected = new_tagger().predict(scenes(1)[0], states)[0]
            torch.testing.assert_close(future.result(40).prediction.probabilities, expected.probabilities)


def test_questions_about_kept_images_do_not_wait_for_a_batch() -> None:
    waiting: Waiting[str, str] = Waiting(batch_size=2, delay=HOUR)
    waiting.put_image("image")
    waiting.put_quick("question")
    assert waiting.take() == ([], ["question"])
    waiting.put_image("another image")
    waiting.put_quick("another question")
    assert waiting.take() == (["image", "another image"], ["another question"])
    waiting.put_image("last")
    waiting.close()
    assert waiting.take() == (["last"], [])
    assert waiting.take() is None
    with pytest.raises(BusyError, match="the server stops"):
        waiting.put_image("late")


def test_who_finds_the_queue_full_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    tagger = new_tagger()
    settings = ServeSettings(queue=3, most_images=3, batch_delay=0.0, timeout=60)
    with Engine(tagger, settings) as engine:
        image_id = engine.tag(uploads(1))[0].result(60).image.id
        with blocked(tagger, monkeypatch) as (_, wait):
            futures = engine.tag(uploads(1))
            assert wait()
            futures += engine.tag(uploads(2))
            with pytest.raises(BusyError, match="busy with 3 images") as caught:
                engine.tag(uploads(1))
            assert caught.value.seconds >= 1
            question = engine.decode(image_id, {"dog": True})  # these have places of their own
        assert len([future.result(60) for future in [*futures, question]]) == 4
        assert len([future.result(60) for future in engine.tag(uploads(3))]) == 3, "all places are free again"
    assert b"tagformer_busy_total 1.0" in engine.instruments.page()


def test_bad_images_free_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    with Engine(new_tagger(), ServeSettings(queue=2, most_images=2, batch_delay=0.0)) as engine:
        for _ in range(5):
            for future in engine.tag([Upload("in the request", b"GIF89a"), Upload("in the request", b"")]):
                with pytest.raises(BadImageError, match=r"image in the request is (broken|not an image)"):
                    future.result(60)
        assert engine.tag(uploads(1))[0].result(60).image.width == 64
    assert b"tagformer_bad_images_total 10.0" in engine.instruments.page()


def test_answers_that_nobody_waits_for_are_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    tagger = new_tagger()
    with Engine(tagger, ServeSettings(batch_delay=0.0, timeout=60)) as engine:
        with blocked(tagger, monkeypatch) as (sizes, wait):
            first = engine.tag(uploads(1))[0]
            assert wait()
            second = engine.tag(uploads(1))[0]
            second.cancel()
            engine.settings = ServeSettings(timeout=1e-6, batch_delay=0)
            third = engine.tag(uploads(1))[0]
        first.result(60)
        with pytest.raises(CancelledError):
            second.result(60)
        with pytest.raises(LateError):
            third.result(60)
    assert sizes == [1]
    assert engine._image_places.taken == 0


def test_an_error_of_the_model_does_not_end_the_engine(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tagger = new_tagger()
    with Engine(tagger, ServeSettings(batch_delay=0.0)) as engine:
        with monkeypatch.context() as patch:
            patch.setattr(tagger.model, "encode", lambda images: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                engine.tag(uploads(1))[0].result(60)
        assert "the model failed" in caplog.text
        assert engine.tag(uploads(1))[0].result(60).image.width == 64
        assert engine._image_places.taken == 0


def test_closing_answers_what_waits_and_takes_nothing_more() -> None:
    engine = Engine(new_tagger(), ServeSettings(batch_delay=50, timeout=HOUR))
    with pytest.raises(BusyError, match="the server stops"):
        engine.tag(uploads(1))
    engine.start()
    futures = engine.tag(uploads(2))
    engine.close()
    assert [future.result(0).image.width for future in futures] == [64, 64]
    assert not engine.is_alive
    for ask in (lambda: engine.tag(uploads(1)), lambda: engine.decode(futures[0].result().image.id)):
        with pytest.raises(BusyError, match="the server stops"):
            ask()
    engine.start()
    assert engine.decode(futures[0].result().image.id).result(60)
    engine.close()


def test_another_model_answers_about_images_that_are_kept() -> None:
    with Engine(new_tagger(), ServeSettings(batch_delay=0.0)) as engine:
        before = engine.tag(uploads(1))[0].result(60)
        engine.replace_model(new_tagger(seed=1))
        after = engine.decode(before.image.id).result(60)
        expected = new_tagger(seed=1).predict(scenes(1)[0])[0]
        torch.testing.assert_close(after.prediction.probabilities, expected.probabilities)
        assert not torch.allclose(before.prediction.probabilities, after.prediction.probabilities)
        assert (before.model.version, after.model.version) == (before.image.version, engine.model.version)
        assert before.model.version != after.model.version
        model = new_tagger().model
        engine.replace_model(Tagger(model, Preprocessing(size=64), torch.full((len(LABELS),), 0.5), "cpu"))
        with pytest.raises(NotKeptError):
            engine.decode(before.image.id)


def test_heat_maps_do_not_send_the_image_through_the_network_again() -> None:
    tagger, passes = new_tagger(), []
    (first, *_) = [module for module in tagger.model.backbone.modules() if isinstance(module, torch.nn.Conv2d)]
    first.register_forward_hook(lambda *_: passes.append(1))
    with Engine(tagger, ServeSettings(batch_delay=0.0)) as engine:
        answers = [future.result(60) for future in engine.tag(uploads(2))]
        before = len(passes)
        for picture, answer in zip(scenes(2), answers, strict=True):
            for labels in (["sky"], ["cat", "dog"]):
                explained = engine.explain(answer.image.id, labels, {"Animal": True}).result(60).value
                expected = new_tagger().explain(picture, labels, {"Animal": True})
                torch.testing.assert_close(explained.maps, expected.maps)
        assert len(passes) == before
        engine.kept._maps.clear()  # as after many other images
        for _ in range(3):
            engine.explain(answers[0].image.id).result(60)
        assert len(passes) == before + 1


def test_wrong_labels_are_found_before_anything_is_read() -> None:
    with Engine(new_tagger(), ServeSettings()) as engine:
        with pytest.raises(TagformerError, match="unknown label 'zebra'"):
            engine.tag([Upload("in the request", b"")], {"zebra": True})
        image_id = engine.tag(uploads(1))[0].result(60).image.id
        for ask in (engine.decode, engine.suggest):
            with pytest.raises(TagformerError, match="unknown label 'zebra'"):
                ask(image_id, {"zebra": True})
        with pytest.raises(TagformerError, match="is an extra label"):
            engine.explain(image_id, ["night"])


def test_the_image_is_what_pillow_says(pictures: list[Image.Image]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways = encoded(pictures[0].resize((80, 60)), "JPEG", exif=exif)
    with Engine(new_tagger(), ServeSettings(batch_delay=0.0)) as engine:
        image = engine.tag([Upload("in the request", sideways)])[0].result(60).image
    assert (image.width, image.height) == (60, 80)
    assert len(image.id) >= 22
