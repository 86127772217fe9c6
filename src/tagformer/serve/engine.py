"""The model of a server: one thread runs it, on batches of the images that wait.

Images are read (decoded and resized) by a few threads, wait in a bounded queue, and are encoded together. Their
features are kept, so that questions about an image that was sent before do not encode it again. Whoever finds the
queue full gets a `BusyError` at once; whoever waits too long, a `LateError`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from torch import Tensor

from tagformer.errors import BadImageError
from tagformer.images.source import ImageSource
from tagformer.serve.batching import BusyError, Job, LateError, Places, Waiting, stopped
from tagformer.serve.instruments import Instruments
from tagformer.serve.kept import KeptImage, KeptImages
from tagformer.serve.settings import ServeSettings
from tagformer.serve.version import model_version
from tagformer.serve.work import (
    Answered,
    Ask,
    Decode,
    ReadImage,
    Served,
    Tagged,
    answer_images,
    answer_quick,
    explain,
    read_image,
)
from tagformer.tagging.encoded import EncodedTagger, Known
from tagformer.tagging.explanation import Explanation
from tagformer.tagging.prediction import Suggestion

READERS = min(4, os.cpu_count() or 1)  # threads that decode images
SHORTLIST = 64  # labels whose gain is computed; all of them, in models of no more
log = logging.getLogger(__name__)

Q = TypeVar("Q")
T = TypeVar("T")


class Engine:
    """A model behind a bounded queue; see the module's text.

    Its methods may be called by any thread, and give futures; `results` waits for them in an event loop.

    Args:
        tagger: the model; only the engine's thread may use it from now on.
        settings: of the server.
        instruments: where the engine counts.

    >>> import tagformer, torch
    >>> from PIL import Image
    >>> from tagformer.images import Preprocessing
    >>> from tagformer.serve import Engine, ServeSettings
    >>> model = tagformer.create_model("ctran", ["boat", "dog", "sea"], "tiny", width=16)
    >>> tagger = tagformer.Tagger(model, Preprocessing(size=32), thresholds=torch.full((3,), 0.5))
    >>> class Black:
    ...     def render(self):
    ...         return Image.new("RGB", (80, 60))
    >>> with Engine(tagger, ServeSettings()) as engine:
    ...     first = engine.tag([Black()])[0].result()
    ...     second = engine.decode(first.image.id, {"boat": True}).result()
    >>> (first.image.width, first.image.height), second.prediction.known
    ((80, 60), tensor([ 1, -1, -1], dtype=torch.int8))
    """

    def __init__(self, tagger: EncodedTagger, settings: ServeSettings, instruments: Instruments | None = None) -> None:
        self.settings = settings
        self.instruments = instruments or Instruments()
        self.kept = KeptImages(settings.kept_images)
        self.model = Served(tagger, settings.name, model_version(tagger))
        self._image_places, self._quick_places = Places(settings.queue), Places(settings.queue)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._readers: ThreadPoolExecutor | None = None
        self._waiting = self._new_queue()
        self.instruments.gauge("images_in_work", "Images read, waiting or computed", lambda: self._image_places.taken)
        self.instruments.gauge("kept_images", "Images whose features are kept", lambda: len(self.kept))

    def start(self) -> None:
        """Start the threads; nothing where they run already."""
        with self._lock:
            if self._thread is None:
                self._waiting = self._new_queue()
                self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="tagformer-reader")
                self._thread = threading.Thread(target=self._run, name="tagformer-model", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Answer what is waiting, and end the threads; new questions get a `BusyError`."""
        with self._lock:
            thread, readers = self._thread, self._readers
            if thread is None or readers is None:
                return
            readers.shutdown(wait=True)
            self._waiting.close()
            thread.join()
            self._thread = self._readers = None

    def __enter__(self) -> Engine:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_alive(self) -> bool:
        """Whether the thread that runs the model is there."""
        return self._thread is not None and self._thread.is_alive()

    def replace_model(self, tagger: EncodedTagger) -> None:
        """Use another model from now on; what is computed at the moment is finished with the one before.

        The images that are kept are encoded again when they are asked about; they are forgotten where the new model
        needs other pixels.
        """
        model = Served(tagger, self.settings.name, model_version(tagger))
        if tagger.preprocessing != self.model.tagger.preprocessing:
            self.kept.forget()
        self.model = model

    def tag(
        self, images: Sequence[ImageSource], known: Known | Sequence[Known] = MappingProxyType({})
    ) -> list[Future[Tagged]]:
        """Tag images.

        Args:
            images: files, drawings, or bytes that a client sent.
            known: labels that are known, for all images or for each.

        Returns:
            A future per image; it raises BadImageError where the image cannot be read.

        Raises:
            BusyError: the queue has no room for all of them.
            TagformerError: an unknown label, or a model that does not use known labels.
        """
        each = [known] * len(images) if isinstance(known, Mapping) else known
        for states in each:
            self.model.tagger.known(states)
        self._take(self._image_places, len(images))
        jobs: list[Job[Any, Tagged]] = []
        for image, states in zip(images, each, strict=True):
            job: Job[Any, Tagged] = Job((image, states, self.model), self._deadline(), self._image_places)
            try:
                self._running_readers().submit(self._read, job)
            except (RuntimeError, BusyError):  # the pool was shut down
                job.fail(stopped())
            jobs.append(job)
        return [job.future for job in jobs]

    def decode(self, image_id: str, known: Known | None = None) -> Future[Tagged]:
        """Tag an image that is kept, with other known labels.

        Raises:
            NotKeptError: it is not kept.
            BusyError, TagformerError: as `tag`.
        """
        self.model.tagger.known(known or {})
        return self._quick(Decode(self.kept.get(image_id), known or {}))

    def suggest(self, image_id: str, known: Known | None = None, count: int = 5) -> Future[Answered[list[Suggestion]]]:
        """The labels to ask about next, of an image that is kept; see `Tagger.suggest`.

        Raises:
            NotKeptError, BusyError, TagformerError: as `decode`; or a model that does not use known labels.
        """
        self.model.tagger.check_suggests()
        self.model.tagger.known(known or {})

        def ask(model: Served, image: KeptImage) -> list[Suggestion]:
            states = model.tagger.known(known or {})
            return model.tagger.suggest_encoded(image.features.unsqueeze(0), states, count, SHORTLIST)

        return self._quick(Ask(self.kept.get(image_id), ask))

    def explain(
        self, image_id: str, labels: Sequence[str] = (), known: Known | None = None
    ) -> Future[Answered[Explanation]]:
        """Where labels are seen in an image that is kept; see `Tagger.explain`.

        Raises:
            NotKeptError, BusyError, TagformerError: as `decode`; or a label that has no heat map.
        """
        self.model.tagger.check_explains(labels)
        self.model.tagger.known(known or {})

        def ask(model: Served, image: KeptImage) -> Explanation:
            return explain(image, model, self.kept, labels, known or {})

        return self._quick(Ask(self.kept.get(image_id), ask))

    def embed(self, image_id: str) -> Future[Answered[Tensor]]:
        """One feature (D,) by which an image that is kept can be compared with others; see `Tagger.embed`.

        Raises:
            NotKeptError, BusyError: as `decode`.
        """

        def ask(model: Served, image: KeptImage) -> Tensor:
            tagger = model.tagger
            pixels = tagger.preprocessing.normalise(image.pixels.unsqueeze(0).to(tagger.device))
            with torch.inference_mode():
                return tagger.model.embed(pixels)[0].float().cpu()

        return self._quick(Ask(self.kept.get(image_id), ask))

    async def results(self, *futures: Future[T]) -> list[T]:
        """Wait for answers.

        Raises:
            LateError: they are not there in time.
        """
        gathered = asyncio.gather(*map(asyncio.wrap_future, futures))
        try:
            return await asyncio.wait_for(gathered, self.settings.timeout)
        except (asyncio.TimeoutError, TimeoutError) as error:
            self.instruments.late.inc()
            raise LateError(f"no answer within {self.settings.timeout:g} seconds: send the request again.") from error
        finally:
            for future in futures:  # after an error nobody waits for the others
                future.cancel()

    def _read(self, job: Job[Any, Tagged]) -> None:
        """Read an image, and put it into the queue; called by the readers."""
        try:
            if not job.is_wanted:
                raise LateError("nobody waits for this image any more.")
            job.question = read_image(*job.question)
            self._waiting.put_image(job)
        except Exception as error:
            self.instruments.bad_images.inc(isinstance(error, BadImageError))
            job.fail(error)

    def _quick(self, question: Decode | Ask) -> Future[Any]:
        self._take(self._quick_places, 1)
        job: Job[Decode | Ask, Any] = Job(question, self._deadline(), self._quick_places)
        try:
            self._waiting.put_quick(job)
        except BusyError as error:
            job.fail(error)
        return job.future

    def _run(self) -> None:
        """Answer jobs until the queue is closed; the thread of the model."""
        while (taken := self._waiting.take()) is not None:
            images, quick = taken
            self._answer(quick, answer_quick)
            self._answer(images, answer_images)

    def _answer(
        self, jobs: list[Job[Q, T]], answer: Callable[[list[Job[Q, T]], Served, KeptImages, Instruments], None]
    ) -> None:
        """Answer jobs, all of them and whatever happens: the thread of the model has to go on."""
        wanted = [job for job in jobs if job.is_wanted]
        try:
            if wanted:
                answer(wanted, self.model, self.kept, self.instruments)
        except Exception as error:
            log.exception("the model failed")
            for job in wanted:
                job.fail(error)
        finally:
            for job in jobs:
                job.fail(LateError("nobody waits for this answer any more."))

    def _take(self, places: Places, count: int) -> None:
        if not self.is_alive:
            raise stopped()
        try:
            places.take(count)
        except BusyError:
            self.instruments.busy.inc()
            raise

    def _running_readers(self) -> ThreadPoolExecutor:
        if self._readers is None:
            raise stopped()
        return self._readers

    def _deadline(self) -> float:
        return time.monotonic() + self.settings.timeout

    def _new_queue(self) -> Waiting[Job[ReadImage, Tagged], Job[Decode | Ask, Any]]:
        return Waiting(self.settings.batch_size, self.settings.batch_delay)
