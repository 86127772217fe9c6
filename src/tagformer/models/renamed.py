"""Options and weights of models that had another name in earlier versions, so that older runs can be read.

A run folder keeps the options of its model in ``recipe.yaml`` and the weights by name in ``model.safetensors``.
"""

from __future__ import annotations

# model -> old name -> new name
OPTIONS: dict[str, dict[str, str]] = {"mltr": {"object_token": "object_aware_token"}}
KEYS: dict[str, dict[str, str]] = {"mltr": {"token": "object_aware_token"}}
