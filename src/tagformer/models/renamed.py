"""Options and weights of models that had another name in earlier versions, so that older runs can be read.

A run folder keeps the options of its model in ``recipe.yaml`` and the weights by name in ``model.safetensors``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# model -> old name -> new name
OPTIONS: dict[str, dict[str, str]] = {"mltr": {"object_token": "object_aware_token"}}
KEYS: dict[str, dict[str, str]] = {"mltr": {"token": "object_aware_token"}}


def current_options(model: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a model under the names that they have now; an old name replaces a value under the new one.

    >>> current_options("mltr", {"object_token": False})
    {'object_aware_token': False}
    """
    current = dict(options)
    for old_name, new_name in OPTIONS.get(model, {}).items():
        if old_name in current:
            current[new_name] = current.pop(old_name)
    return current
