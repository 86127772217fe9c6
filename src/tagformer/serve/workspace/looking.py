"""What the model says of all images: computed in the background, image by image, and computed again for a new model."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, TimeoutError
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from tagformer.errors import TagformerError
from tagformer.serve.batching import BusyError
from tagformer.serve.engine import Engine
from tagformer.serve.work import Answered, Tagged
from tagformer.serve.workspace.pictures import Pictures

AT_ONCE = 16  # images that wait to be encoded, at most
PAUSE = 0.2  # seconds, where the queue is full
log = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]
T = TypeVar("T")


class Looking:
    """Probabilities of all images with nothing known, and embeddings by which they can be compared.

    Args:
        engine: the model.
        pictures: the images; those that are added are looked at, too.

    Attributes:
        probabilities: float16 (N, L); NaN for images that were not looked at yet.
        seen: how many images were looked at, or could not be read.
        problems: one sentence for each image that cannot be read, by its number.
    """

    def __init__(self, engine: Engine, pictures: Pictures) -> None:
        self.engine, self.pictures = engine, pictures
        self.problems: dict[int, str] = {}
        self._embeddings: dict[int, Tensor] = {}
        self._wake = threading.Event()
        self._stopping = False
        self._at_once = max(1, min(AT_ONCE, engine.settings.queue // 2))  # so that requests find room in the queue
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self.restart()

    def restart(self) -> None:
        """Forget everything, and begin again: the model was replaced."""
        with self._lock:
            self.version = self.engine.model.version
            labels = len(self.engine.model.tagger.label_space)
            self.probabilities: Array = np.full((len(self.pictures), labels), np.nan, dtype=np.float16)
            self._done: set[int] = set()
            self._embeddings.clear()
            self.problems.clear()
        self._wake.set()

    def start(self) -> None:
        """Begin to look at the images."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="tagformer-looking", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop; what was computed stays."""
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    @property
    def seen(self) -> int:
        """How many images were looked at, or could not be read."""
        return len(self._done)

    def added(self) -> None:
        """Images were added."""
        with self._lock:
            rows, labels = self.probabilities.shape
            more = np.full((len(self.pictures) - rows, labels), np.nan, dtype=np.float16)
            self.probabilities = np.concatenate([self.probabilities, more])
        self._wake.set()

    def take(self, number: int, tagged: Tagged) -> None:
        """Keep what was computed for an image with nothing known."""
        with self._lock:
            if tagged.model.version == self.version and number < len(self.probabilities):
                self.probabilities[number] = tagged.prediction.probabilities.numpy()
                self._done.add(number)

    def similar(self, number: int, count: int) -> list[int]:
        """The images most like one, the most similar first, among those that were looked at.

        The first time this computes an embedding of every image, which takes as long as looking at them.

        Raises:
            TagformerError: a model that does not use images, or an image that cannot be read.
        """
        if not self.engine.model.tagger.model.uses_image:
            raise TagformerError("this model does not use images, so it cannot compare them.")
        wanted = [other for other in range(len(self.pictures)) if other not in self.problems]
        self._embed([number, *(other for other in wanted if other not in self._embeddings)])
        if number not in self._embeddings:
            raise TagformerError(self.problems.get(number, "this image cannot be compared."))
        numbers = [other for other in wanted if other in self._embeddings]
        table = torch.nn.functional.normalize(torch.stack([self._embeddings[other] for other in numbers]), dim=1)
        order = (table @ table[numbers.index(number)]).argsort(descending=True).tolist()
        return [numbers[place] for place in order if numbers[place] != number][:count]

    def _embed(self, numbers: list[int]) -> None:
        for start in range(0, len(numbers), self._at_once):
            part = [number for number in numbers[start : start + self._at_once] if number not in self._embeddings]
            for number, tagged in self._tag(part):
                for asked in self._waiting_for_room(partial(self._ask, tagged.image.id)):
                    self._embeddings[number] = asked.result(self.engine.settings.timeout).value

    def _ask(self, image_id: str) -> list[Future[Answered[Tensor]]]:
        return [self.engine.embed(image_id)]

    def _run(self) -> None:
        while not self._stopping:
            waiting = [number for number in range(len(self.pictures)) if number not in self._done][: self._at_once]
            if not waiting:
                self._wake.wait()
                self._wake.clear()
                continue
            for number, tagged in self._tag(waiting):
                self.take(number, tagged)

    def _tag(self, numbers: list[int]) -> list[tuple[int, Tagged]]:
        """Tag images; those that cannot be read are among the problems then."""
        try:
            futures = self._waiting_for_room(lambda: self.engine.tag([self.pictures[n].source for n in numbers]))
        except TagformerError as error:
            log.error("the images cannot be looked at: %s", error)
            self._stopping = True
            return []
        tagged = []
        for number, future in zip(numbers, futures, strict=True):
            try:
                tagged.append((number, future.result(self.engine.settings.timeout)))
            except (BusyError, TimeoutError):
                continue  # again later
            except TagformerError as error:
                self._leave_out(number, str(error))
            except Exception:
                log.exception("image %s cannot be looked at", self.pictures[number].id)
                self._leave_out(number, "the model failed on this image: the log of the server says why.")
        return tagged

    def _leave_out(self, number: int, problem: str) -> None:
        self.problems[number] = problem
        self._done.add(number)

    def _waiting_for_room(self, ask: Callable[[], list[Future[T]]]) -> list[Future[T]]:
        while not self._stopping:
            try:
                return ask()
            except BusyError:
                self._wake.wait(PAUSE)
        return []
