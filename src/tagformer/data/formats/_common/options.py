"""The values of a format's options: what follows ``?`` in a data set's address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tagformer.errors import TagformerError


def chosen(options: Mapping[str, str], choices: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The value of each option; without one the first of its choices.

    Raises:
        TagformerError: another value.
    """
    said = {name: options.get(name, values[0]) for name, values in choices.items()}
    for name, value in said.items():
        if value not in choices[name]:
            *most, last = choices[name]
            raise TagformerError(f"option {name}={value}: use {', '.join(most)} or {last}.")
    return said
