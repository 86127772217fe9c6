"""Errors that the user can fix. The command line prints their message without a traceback.

* TagformerError
  + BadImageError
  + CannotWriteError
  + DoesNotFitError
  + TrainingInterruptedError

Mistakes in the code that calls a function, such as tensors of different shapes, are a plain ``ValueError``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "BadImageError",
    "CannotWriteError",
    "DoesNotFitError",
    "TagformerError",
    "TrainingInterruptedError",
    "check_choice",
    "did_you_mean",
]


class TagformerError(Exception):
    """An error that the user can fix. The message says what is wrong, where, and what to do.

    Attributes:
        exit_code: the exit status of the command line.
    """

    exit_code = 2


class BadImageError(TagformerError):
    """An image cannot be read. The message names the image."""


class CannotWriteError(TagformerError):
    """A file cannot be written: the disk is full or read-only, or the folder was removed.

    Attributes:
        path, reason: the file, and what the operating system says.
        remedy: what the user has to do first.
    """

    def __init__(self, path: object, reason: str, remedy: str, then: str = "run the same command again") -> None:
        super().__init__(f"cannot write {path} ({reason}): {remedy}, and {then}.")
        self.path, self.reason, self.remedy = path, reason, remedy


class DoesNotFitError(TagformerError):
    """Something would take more disk space than it may. The message says how much, and what to set."""


class TrainingInterruptedError(TagformerError):
    """Training was stopped by a signal, and a checkpoint was written."""

    exit_code = 130


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """The end of a message that suggests the candidate closest to `name`; empty where none is close.

    >>> from tagformer.errors import did_you_mean
    >>> "unknown label 'dgo'" + did_you_mean("dgo", ["cat", "dog"])
    "unknown label 'dgo' (did you mean 'dog'?)"
    """
    close = difflib.get_close_matches(name, [str(candidate) for candidate in candidates], n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""


def check_choice(option: str, value: str, choices: Iterable[str]) -> None:
    """Check the value of an option.

    Args:
        option: its name, for the message.

    Raises:
        TagformerError: `value` is not one of the choices.

    >>> from tagformer.errors import check_choice
    >>> check_choice("--scored", "fix", ("fixed", "unknown"))
    Traceback (most recent call last):
    tagformer.errors.TagformerError: --scored fix (did you mean 'fixed'?): use fixed or unknown.
    """
    if value not in choices:
        raise TagformerError(f"{option} {value}{did_you_mean(value, choices)}: use {' or '.join(choices)}.")
