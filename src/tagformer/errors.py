"""Errors that are the user's to mend: one sentence each, which the command line prints without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TagformerError(Exception):
    """Something that the caller can put right. The message says what is wrong, where, and what to do."""

    exit_code = 2


class BadImageError(TagformerError):
    """An image that cannot be read. The message names the image."""


class TrainingInterruptedError(TagformerError):
    """Training was stopped by a signal, after a checkpoint was written."""

    exit_code = 130


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """A part of a sentence that offers the candidate closest to `name`: ``" (did you mean 'dog'?)"`` or ``""``."""
    close = difflib.get_close_matches(name, [str(candidate) for candidate in candidates], n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""


def check_choice(option: str, value: str, choices: Iterable[str]) -> None:
    """
    Raises:
        TagformerError: `value` is none of the choices.
    """
    if value not in choices:
        raise TagformerError(f"{option} {value}{did_you_mean(value, choices)}: use {' or '.join(choices)}.")
