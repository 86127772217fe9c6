"""The values of a format's options: what follows ``?`` in a data set's address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tagformer.errors import TagformerError


def choose(options: Mapping[str, str], choices: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The value of each option, by default the first of its choices.

    Raises:
        TagformerError: a value that is not among the choices.

    >>> choose({"empty": "absent"}, {"empty": ("unknown", "absent"), "order": ("name", "date")})
    {'empty': 'absent', 'order': 'name'}
    """
    values = {name: options.get(name, allowed[0]) for name, allowed in choices.items()}
    for name, value in values.items():
        if value not in choices[name]:
            *most, last = choices[name]
            raise TagformerError(f"option {name}={value}: use {', '.join(most)} or {last}.")
    return values
