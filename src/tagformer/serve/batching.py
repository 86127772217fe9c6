"""Jobs that wait for the one thread that runs the model, and when they are taken as a batch."""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from tagformer.errors import TagformerError

T = TypeVar("T")
Q = TypeVar("Q")


class BusyError(TagformerError):
    """The server has too much to do, or stops. The same request may succeed a little later.

    Attributes:
        seconds: after which it may be sent again.
    """

    def __init__(self, message: str, seconds: int = 1) -> None:
        super().__init__(message)
        self.seconds = seconds


class LateError(BusyError):
    """An answer was not ready in time."""


def stopped() -> BusyError:
    """What is raised where the server stops, or is not started."""
    return BusyError("the server stops: send the request again when it has been started.", seconds=10)


class Places:
    """A limited number of places: who finds none is sent away at once.

    >>> from tagformer.serve.batching import Places
    >>> places = Places(2)
    >>> places.take(2)
    >>> places.take(1)
    Traceback (most recent call last):
    tagformer.serve.batching.BusyError: the server is busy with 2 images: send the request again a little later.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.taken = 0
        self._lock = threading.Lock()

    def take(self, count: int) -> None:
        """Take so many places, or none.

        Raises:
            BusyError: fewer are free.
        """
        with self._lock:
            if self.taken + count > self.count:
                raise BusyError(f"the server is busy with {self.taken} images: send the request again a little later.")
            self.taken += count

    def give_back(self, count: int = 1) -> None:
        """Give so many places back."""
        with self._lock:
            self.taken -= count


@dataclass(eq=False)
class Job(Generic[Q, T]):
    """A question to the model, and the future of its answer.

    Attributes:
        question: what is asked.
        deadline: of `time.monotonic`, after which nobody waits for the answer any more.
        places: where one is taken for the job; it is given back before the answer is handed over.
        future: of the answer.
    """

    question: Q
    deadline: float
    places: Places | None = None
    future: Future[T] = field(default_factory=Future)

    @property
    def is_wanted(self) -> bool:
        """Whether somebody still waits for the answer."""
        return not self.future.cancelled() and time.monotonic() < self.deadline

    def answer(self, value: T) -> None:
        """Hand the answer over, unless nobody waits for it any more."""
        self._leave()
        if not self.future.done() and self.future.set_running_or_notify_cancel():
            self.future.set_result(value)

    def fail(self, error: BaseException) -> None:
        """Hand an error over, unless there is an answer, or nobody waits for it any more."""
        self._leave()
        if not self.future.done() and self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)

    def _leave(self) -> None:
        """Give the place back, once; a job is in the hands of one thread at a time."""
        places, self.places = self.places, None
        if places is not None:
            places.give_back()


A = TypeVar("A")
B = TypeVar("B")


class Waiting(Generic[A, B]):
    """Two queues: images, which are encoded together, and quick jobs, which never wait for others.

    Images are taken when there are enough for a batch, or when the first of them has waited for `delay` seconds.

    Args:
        batch_size: images that are taken at a time, at most.
        delay: in seconds.

    >>> from tagformer.serve.batching import Job, Waiting
    >>> waiting = Waiting(batch_size=2, delay=60)
    >>> for name in ("a", "b", "c"):
    ...     waiting.put_image(Job(name, deadline=float("inf")))
    >>> images, quick = waiting.take()
    >>> [job.question for job in images], quick  # the third waits for a fourth
    (['a', 'b'], [])
    """

    def __init__(self, batch_size: int, delay: float) -> None:
        self._batch_size, self._delay = batch_size, delay
        self._images: deque[A] = deque()
        self._arrived: deque[float] = deque()
        self._quick: deque[B] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put_image(self, job: A) -> None:
        """Add a job that needs the features of an image that is new.

        Raises:
            BusyError: no more jobs are taken.
        """
        with self._changed:
            self._check_open()
            self._images.append(job)
            self._arrived.append(time.monotonic())
            self._changed.notify()

    def put_quick(self, job: B) -> None:
        """Add a job that needs no new features.

        Raises:
            BusyError: no more jobs are taken.
        """
        with self._changed:
            self._check_open()
            self._quick.append(job)
            self._changed.notify()

    def take(self) -> tuple[list[A], list[B]] | None:
        """Wait for jobs: a batch of images where one is due, and all quick jobs; None once closed and empty."""
        with self._changed:
            while True:
                due = self._seconds_until_due()
                if self._quick or due == 0:
                    break
                if self._closed and not self._images:
                    return None
                self._changed.wait(due)
            count = min(self._batch_size, len(self._images)) if due == 0 else 0
            images = [self._images.popleft() for _ in range(count)]
            for _ in range(count):
                self._arrived.popleft()
            quick = list(self._quick)
            self._quick.clear()
            return images, quick

    def close(self) -> None:
        """Take no more jobs; those that are there are due at once."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        return len(self._images) + len(self._quick)

    def _check_open(self) -> None:
        if self._closed:
            raise stopped()

    def _seconds_until_due(self) -> float | None:
        """Until a batch of images is taken; None while there are none."""
        if not self._images:
            return None
        if self._closed or len(self._images) >= self._batch_size:
            return 0
        return max(0.0, self._arrived[0] + self._delay - time.monotonic())
