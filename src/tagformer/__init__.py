"""Tagformer: multi-label image tagging with transformers, with some labels already known."""

__version__ = "0.1.0"
