"""What a client asks for: known labels, chosen labels, a threshold, a number of tags."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tagformer.errors import TagformerError
from tagformer.labels.parsing import STATES, parse_known
from tagformer.labels.space import LabelSpace
from tagformer.tagging.prediction import Prediction, Tag

Threshold = Annotated[float | None, Field(ge=0, le=1, allow_inf_nan=False)]
Top = Annotated[int | None, Field(ge=1, le=1_000_000)]
Model = TypeVar("Model", bound=BaseModel)
THRESHOLD = "Tags from this probability on, instead of from the threshold of each label; 0: all labels."


class TagParameters(BaseModel):
    """The parameters of ``/v1/tag``, in the address or as fields of a form."""

    model_config = ConfigDict(extra="forbid")

    known: list[str] = Field(
        default=[],
        description="Labels that are known, as dog=yes,cat=no or as a JSON object.",
        examples=[["dog=yes,cat=no"]],
    )
    labels: list[str] = Field(
        default=[],
        description="Only these labels, as dog,cat or as a JSON list; a comma within a name is written \\,.",
    )
    threshold: Threshold = Field(default=None, description=THRESHOLD)
    top: Top = Field(default=None, description="The most probable tags, so many at most.")

    def with_fields(self, fields: Mapping[str, list[str]]) -> TagParameters:
        """These parameters, with those of a form.

        Raises:
            TagformerError: one that does not exist, has a wrong value, or is in both places.
        """
        given = self.model_dump(exclude_unset=True)
        for name, values in fields.items():
            if name in given:
                raise TagformerError(f"'{name}' is in the address and in the form: leave it out in one of them.")
            single = name in ("threshold", "top")
            if single and len(values) > 1:
                raise TagformerError(f"'{name}' is in the form {len(values)} times: leave it out but once.")
            given[name] = values[0] if single else values
        try:
            return TagParameters.model_validate(given)
        except ValidationError as error:
            fault = error.errors()[0]
            place = ".".join(str(part) for part in fault["loc"])
            raise TagformerError(f"{place} (form): {fault['msg'][:1].lower()}{fault['msg'][1:]}.") from error

    def wanted(self) -> Wanted:
        """The parameters as they are used."""
        return Wanted(known_states(self.known), label_names(self.labels), self.threshold, self.top)


@dataclass(frozen=True)
class Wanted:
    """Which tags are wanted, and what is known.

    Attributes:
        known: label -> True, False or None.
        labels: only these; none: all.
        threshold: for all labels, instead of the threshold of each.
        top: so many tags at most.
    """

    known: Mapping[str, bool | None] = field(default_factory=dict)
    labels: Sequence[str] = ()
    threshold: float | None = None
    top: int | None = None

    def check(self, label_space: LabelSpace) -> None:
        """Check the names.

        Raises:
            TagformerError: an unknown label, or one that is known twice in two spellings.
        """
        for name in self.labels:
            label_space.index(name)
        columns: dict[int, str] = {}
        for name in self.known:
            other = columns.setdefault(label_space.index(name), name)
            if other != name:
                raise TagformerError(f"known label '{name}' is given twice, as '{other}' too: remove one of the two.")

    def select(self, prediction: Prediction) -> list[Tag]:
        """The tags that are wanted, the most probable first."""
        chosen = {prediction.label_space.index(name) for name in self.labels}
        tags = [
            tag
            for tag in prediction.ranked
            if (tag.predicted if self.threshold is None else tag.probability >= self.threshold)
            and (not chosen or prediction.label_space.index(tag.name) in chosen)
        ]
        return tags[: self.top]


def validated(model: type[Model], body: bytes) -> Model:
    """A body of JSON as a model.

    Raises:
        RequestValidationError: it is not JSON, or does not fit.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        faults = [{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors()]
        raise RequestValidationError(faults) from error


def known_states(value: Mapping[str, Any] | Sequence[str] | str | None) -> dict[str, bool | None]:
    """Known labels from any of the ways in which clients write them.

    Args:
        value: ``dog=yes,cat=no``, a JSON object as a text or as a mapping, or several texts.

    Raises:
        TagformerError: something else, or a label that is given twice.

    >>> from tagformer.serve.http.parameters import known_states
    >>> known_states("dog=yes,cat=no"), known_states('{"dog": 1, "cat": null}'), known_states({"dog": "no"})
    ({'dog': True, 'cat': False}, {'dog': True, 'cat': None}, {'dog': False})
    """
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return {name: _state(name, state) for name, state in value.items()}
    known: dict[str, bool | None] = {}
    for text in [value] if isinstance(value, str) else value:
        is_json = text.lstrip().startswith("{")
        states = known_states(_read_json(text, "known")) if is_json else parse_known([text])
        for name, state in states.items():
            if name in known:
                raise TagformerError(f"known label '{name}' is given twice: remove one of the two.")
            known[name] = state
    return known


def label_names(value: Sequence[str] | str | None) -> tuple[str, ...]:
    r"""Names of labels: ``dog,cat`` with ``\,`` for a comma within a name, a JSON list, or several of these.

    Raises:
        TagformerError: a JSON list of something else.

    >>> from tagformer.serve.http.parameters import label_names
    >>> label_names("dog, cat"), label_names(["dog", '["cat, black"]']), label_names("cat\\, black")
    (('dog', 'cat'), ('dog', 'cat, black'), ('cat, black',))
    """
    names: list[str] = []
    for text in [value] if isinstance(value, str) else value or ():
        if text.lstrip().startswith("["):
            listed = _read_json(text, "labels")
            if not all(isinstance(name, str) for name in listed):
                raise TagformerError("labels: write a JSON list of names, or names with commas between them.")
            names += listed
        else:
            parts = re.findall(r"((?:\\.|[^,])+)(?:,|$)", text)
            names += [re.sub(r"\\([,\\])", r"\1", part).strip() for part in parts]
    return tuple(dict.fromkeys(name for name in names if name))


def _state(name: str, state: Any) -> bool | None:
    if isinstance(state, str) and state.strip().lower() in STATES:
        return STATES[state.strip().lower()]
    if state is None or isinstance(state, bool):
        return state
    if isinstance(state, int | float) and state in (1, 0, -1):
        return None if state == -1 else bool(state)
    raise TagformerError(f"known label '{name}' has the state {str(state)[:40]!r}: use true, false or null.")


def _read_json(text: str, what: str) -> Any:
    """JSON in which no key is given twice."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        counts = Counter(name for name, _ in pairs)
        for name, count in counts.items():
            if count > 1:
                raise TagformerError(f"{what}: '{name}' is given twice: remove one of the two.")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise TagformerError(f"{what} is not JSON ({str(error).split(';')[0]}).") from error
