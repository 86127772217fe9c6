"""Names that models' options and weights had in earlier versions, so that old runs and recipes keep working."""

from __future__ import annotations

# model -> old name -> name now
OPTIONS: dict[str, dict[str, str]] = {"mltr": {"object_token": "object_aware_token"}}  # in recipes
KEYS: dict[str, dict[str, str]] = {"mltr": {"token": "object_aware_token"}}  # in state dicts
