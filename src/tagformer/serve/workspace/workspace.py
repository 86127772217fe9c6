"""What the page does: answers on images, and what the model makes of them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, TimeoutError
from typing import Any, TypeVar

import numpy as np
import torch

from tagformer.answers.store import AnswerStore, Change
from tagformer.errors import TagformerError
from tagformer.labels.space import UNKNOWN
from tagformer.labels.tree import LabelTree
from tagformer.serve.batching import LateError
from tagformer.serve.engine import Engine
from tagformer.serve.kept import NotKeptError
from tagformer.serve.work import Tagged
from tagformer.serve.workspace.looking import Looking
from tagformer.serve.workspace.pictures import Pictures
from tagformer.tagging.explanation import Explanation

SUGGESTIONS = 3
T = TypeVar("T")
Cell = tuple[int, int, int]  # image, label, state


class Workspace:
    """The images, the model and the answers of one server; safe for several threads.

    Args:
        engine: the model.
        pictures: the images.
        store: the answers.
        title: of the images, for people.
        tree: of the labels; None: they imply nothing.

    Attributes:
        looking: what the model says of all images.
        truth: int8 (N, L), the labels that the first N images have already.
    """

    def __init__(
        self, engine: Engine, pictures: Pictures, store: AnswerStore, title: str = "", tree: LabelTree | None = None
    ) -> None:
        self.engine, self.pictures, self.store, self.title, self.tree = engine, pictures, store, title, tree
        self.looking = Looking(engine, pictures)
        self.truth = np.full((len(pictures), len(self.names)), UNKNOWN, dtype=np.int8)
        self._kept: dict[int, str] = {}  # the engine's id of an image

    @property
    def names(self) -> tuple[str, ...]:
        """The labels of the model."""
        return self.engine.model.tagger.label_space.names

    def start(self) -> None:
        """Begin to look at the images; the engine must run."""
        self.looking.start()

    def close(self) -> None:
        """Stop looking, and close the answers."""
        self.looking.close()
        self.store.close()

    def image(self, number: int) -> str:
        """The id of an image.

        Raises:
            TagformerError: there is no such image.
        """
        if not 0 <= number < len(self.pictures):
            raise TagformerError(f"there is no image {number}: load the page again.")
        return self.pictures[number].id

    def column(self, label: int) -> str:
        """The name of a label.

        Raises:
            TagformerError: there is no such label.
        """
        if not 0 <= label < len(self.names):
            raise TagformerError(f"there is no label {label}: load the page again.")
        return self.names[label]

    def known(self, number: int) -> dict[int, int]:
        """The answers on an image, label -> 1 or 0; answers on labels that the model does not have are left out."""
        return self._columns(self.store.states(self.image(number)))

    def with_implied(self, known: Mapping[int, int]) -> dict[int, int]:
        """The answers and what they imply by the tree of labels."""
        if self.tree is None:
            return dict(known)
        implied = self.tree.implied({self.names[label]: state for label, state in known.items()})
        return {**self._columns(implied), **known}

    def details(self, number: int) -> dict[str, Any]:
        """What the page shows of an image: probabilities with the answers known, and the next best questions.

        Raises:
            TagformerError: there is no such image, or it cannot be read.
            LateError: the model did not answer in time.
        """
        own = self.known(number)
        known = self.with_implied(own)
        states = self._model_states(known)
        tagged = self._tagged(number, states)
        image_id = self._kept[number]
        model = tagged.model.tagger
        suggestions: list[dict[str, float]] = []
        if model.model.uses_known:
            asked = self.wait(self.engine.suggest(image_id, states, SUGGESTIONS)).value
            index = {name: label for label, name in enumerate(self.names)}
            suggestions = [
                {"label": index[one.name], "gain": one.gain, "probability": one.probability} for one in asked
            ]
        probabilities = torch.sigmoid(tagged.logits)  # also of labels that are known
        return {
            "key": number,
            "name": self.pictures[number].name,
            "width": tagged.image.width,
            "height": tagged.image.height,
            "done": self.pictures[number].id in self.store.submitted(),
            "known": {str(label): state for label, state in known.items()},
            "implied": sorted(set(known) - set(own)),
            "probabilities": [round(value, 4) for value in probabilities.tolist()],
            "suggestions": suggestions,
        }

    def heat(self, number: int, label: int) -> Explanation:
        """Where a label is seen in an image, with the answers known.

        Raises:
            TagformerError: there is no such image or label, or the label has no heat map.
        """
        states = self._model_states(self.with_implied(self.known(number)))
        self._tagged(number, states)
        return self.wait(self.engine.explain(self._kept[number], [self.column(label)], states)).value

    def answer(self, person: str, cells: Sequence[Cell], request: str) -> None:
        """Save answers; when this returns they are on the disk.

        Raises:
            TagformerError: there is no such image or label, or the answers contradict the tree of labels.
        """
        changes = [Change(self.image(image), self.column(label), state) for image, label, state in cells]
        if self.tree is not None:
            self._check_tree(changes)
        self.store.record(person, self.engine.model.version, changes, request)

    def confirm(self, person: str, image: int, label: int, state: int) -> None:
        """Save that an answer was looked at again and is right: it is no mistake.

        Raises:
            TagformerError: there is no such image or label, or another person changed the answer.
        """
        change = Change(self.image(image), self.column(label), state)
        if self.store.states(change.image).get(change.label) != state:
            raise TagformerError("another person has changed this answer: look at it again.")
        self.store.record(person, self.engine.model.version, [change], request=secrets.token_hex(16))

    def add(self, data: bytes) -> int:
        """Keep an image that a person added; its number.

        Raises:
            BadImageError: it cannot be read.
        """
        number = self.pictures.add(data)
        self.looking.added()
        return number

    def undo(self, person: str, redo: bool = False) -> list[Cell] | None:
        """Take back a person's last step, or do it again; the changes, as image, label and state.

        There is no change where a label was answered later, too, or only confirmed, or where the page has it no more;
        None where there is no step.
        """
        changes = (self.store.redo if redo else self.store.undo)(person)
        if changes is None:
            return None
        cells, labels = [], self._labels()
        for change in changes:
            number, label = self.pictures.number(change.image), labels.get(change.label)
            if number is not None and label is not None:
                cells.append((number, label, change.state))
        return cells

    def states(self) -> dict[int, dict[int, int]]:
        """The answers on all images that have one: image -> label -> 1 or 0."""
        found = {}
        for image_id, states in self.store.all_states().items():
            number = self.pictures.number(image_id)
            columns = self._columns(states)
            if number is not None and columns:
                found[number] = columns
        return found

    def progress(self) -> dict[str, int]:
        """How far the work is."""
        ids = {self.pictures[number].id for number in range(len(self.pictures))}
        states = self.store.all_states()
        return {
            "done": len(self.store.submitted() & ids),
            "total": len(self.pictures),
            "scored": self.looking.seen,
            "answers": sum(map(len, states.values())),
            "answered": len(states),
        }

    def next_images(self, person: str, count: int, after: int | None) -> list[int]:
        """The next images for a person that nobody else has, from the one after `after` on."""
        total = len(self.pictures)
        start = 0 if after is None else after + 1
        order = [(start + step) % total for step in range(total)]
        ids = [self.pictures[number].id for number in order if number != after and number not in self.looking.problems]
        found = [self.pictures.number(image_id) for image_id in self.store.lease(person, ids, count=count)]
        return [number for number in found if number is not None]

    def wait(self, future: Future[T]) -> T:
        """The result of a future of the engine.

        Raises:
            LateError: it is not there in time.
        """
        try:
            return future.result(self.engine.settings.timeout)
        except TimeoutError as error:
            raise LateError("the model did not answer in time: try again.") from error

    def _tagged(self, number: int, states: Mapping[str, int]) -> Tagged:
        """The probabilities of an image: decoded where its features are kept, else it is encoded."""
        if number in self._kept:
            try:
                return self.wait(self.engine.decode(self._kept[number], states))
            except NotKeptError:
                del self._kept[number]
        tagged = self.wait(self.engine.tag([self.pictures[number].source], states)[0])
        self._kept[number] = tagged.image.id
        if not states:
            self.looking.take(number, tagged)
        return tagged

    def _model_states(self, known: Mapping[int, int]) -> dict[str, int]:
        """Known labels for the model, by name; none for a model that does not use them."""
        if not self.engine.model.tagger.model.uses_known:
            return {}
        return {self.names[label]: state for label, state in known.items()}

    def _labels(self) -> dict[str, int]:
        return {name: label for label, name in enumerate(self.names)}

    def _columns(self, states: Mapping[str, int]) -> dict[int, int]:
        labels = self._labels()
        return {labels[name]: state for name, state in states.items() if name in labels and state != UNKNOWN}

    def _check_tree(self, changes: Sequence[Change]) -> None:
        assert self.tree is not None
        by_image: dict[str, dict[str, int]] = {}
        for change in changes:
            states = by_image.setdefault(change.image, self.store.states(change.image))
            states.pop(change.label, None)
            if change.state != UNKNOWN:
                states[change.label] = change.state
        for states in by_image.values():
            self.tree.implied(states)
