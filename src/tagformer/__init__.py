"""Tagformer: multi-label image tagging with transformers, with some labels already known."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tagformer.data import load_dataset
    from tagformer.labels import LabelSpace
    from tagformer.models import create_model, list_models
    from tagformer.tagger import Tagger

__version__ = "0.1.0"
__all__ = ["LabelSpace", "Tagger", "create_model", "list_models", "load_dataset"]

_HOMES = {
    "LabelSpace": "tagformer.labels",
    "Tagger": "tagformer.tagger",
    "create_model": "tagformer.models",
    "list_models": "tagformer.models",
    "load_dataset": "tagformer.data",
}
_SUBMODULES = ("data", "labels", "losses", "metrics", "models")


def __getattr__(name: str) -> Any:
    """The public names, imported when first asked for, so that ``tagformer --help`` does not wait for torch."""
    from importlib import import_module

    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _SUBMODULES:
        return import_module(f"tagformer.{name}")
    raise AttributeError(f"module 'tagformer' has no attribute '{name}'")
