"""Help in plain words: PATH, NUMBER and TEXT instead of the names of Python types."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup

WORDS = {"path": "PATH", "int": "NUMBER", "float": "NUMBER", "bool": ""}


class PlainCommand(TyperCommand):
    """A command whose help names the kind of each value in plain words, and none for switches."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The options and arguments, each with a plain word for its kind."""
        return _described(super().get_params(ctx), ctx)


class PlainGroup(TyperGroup):
    """A group of commands whose help names the kind of each value in plain words."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The options, each with a plain word for its kind."""
        return _described(super().get_params(ctx), ctx)


def _described(params: list[Any], ctx: Any) -> list[Any]:
    """The parameters, with plain words for their kinds."""
    for param in params:
        if hasattr(param, "display_type"):  # earlier versions of typer write PATH, INTEGER and TEXT themselves
            param.display_type = _Word(plain_word(param.display_type(ctx)))
    return params


class _Word:
    """Takes the place of a parameter's method that names its type."""

    def __init__(self, word: str) -> None:
        self.word = word

    def __call__(self, ctx: Any) -> str:
        return self.word


def plain_word(kind: str | None) -> str:
    """The plain word for typer's name of a type.

    >>> plain_word("<list[Path]>"), plain_word("<int range>"), plain_word("<bool>"), plain_word("<str>")
    ('PATH', 'NUMBER', '', 'TEXT')
    """
    if kind is None or kind in ("", *WORDS.values()):
        return kind or ""
    return next((word for name, word in WORDS.items() if name in kind.lower()), "TEXT")
