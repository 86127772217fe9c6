"""What the server calls when people answer, and when they want the model trained again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class AnnotationEvent:
    """An annotation that was made, changed or deleted in Label Studio.

    Attributes:
        action: ANNOTATION_CREATED, ANNOTATION_UPDATED or ANNOTATION_DELETED.
        project, task: their ids, as texts; empty where Label Studio sends none.
        image: the address of the image in the task; None where the labeling config does not say where it is.
        states: label -> 1, 0 or -1, of the choices that are labels of the model; 0 for those that were not chosen, -1
            for those that were not shown.
        unknown_choices: how many choices are not.

    >>> from tagformer.serve import AnnotationEvent
    >>> AnnotationEvent("ANNOTATION_CREATED", "1", "7", "/data/upload/a.jpg", {"dog": 1, "cat": 0}).unknown_choices
    0
    """

    action: str
    project: str
    task: str
    image: str | None
    states: Mapping[str, int]
    unknown_choices: int = 0


class LoopHooks(Protocol):
    """What the server calls. A hook may raise TagformerError, whose sentence is the answer to the request.

    >>> from tagformer.serve import CountingHooks, LoopHooks
    >>> hooks: LoopHooks = CountingHooks()
    >>> hooks.start_training("1")
    """

    def start_training(self, project: str) -> None:
        """The model is to be trained again; called in a thread of its own, and has to return soon."""
        ...

    def annotation_changed(self, event: AnnotationEvent) -> None:
        """An annotation was made, changed or deleted; called in a thread of its own."""
        ...


class CountingHooks:
    """Hooks that only count.

    Attributes:
        counts: how often each action occurred.

    >>> from tagformer.serve import CountingHooks
    >>> hooks = CountingHooks()
    >>> hooks.start_training("1")
    >>> hooks.counts
    Counter({'START_TRAINING': 1})
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def start_training(self, project: str) -> None:
        """Count it."""
        self.counts["START_TRAINING"] += 1

    def annotation_changed(self, event: AnnotationEvent) -> None:
        """Count it."""
        self.counts[event.action] += 1
