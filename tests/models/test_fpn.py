"""The feature pyramid with a classifier per level."""

from __future__ import annotations

from tests.models.contract import ModelContract


class TestFPN(ModelContract):
    name = "fpn"
    heat_map_side = 16
