"""Reading run folders of other versions of Tagformer: the format's version, and names that have changed since.

=========  ==================================================================================
version 0  before November 2026; ``labels.json`` has no ``format_version``
version 1  model options and weights have the names that `models.renamed` gives for them now
=========  ==================================================================================

Old option names are replaced wherever a recipe is validated (`models.renamed.current_options`), old names of weights
when they are loaded into a model. Both are replaced name by name, so that a run begun by an old version and resumed by
a new one, whose files have names of both, is read correctly.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from tagformer.errors import TagformerError
from tagformer.models.renamed import KEYS

FORMAT_VERSION = 1


def format_version(labels: Mapping[str, Any], folder: Path) -> int:
    """The version of a run folder's format, from the content of its ``labels.json``.

    Raises:
        TagformerError: the folder was written by a newer version of Tagformer, or the version is not a whole number.

    >>> from pathlib import Path
    >>> from tagformer.runs.migration import format_version
    >>> format_version({"names": ["dog"]}, Path("runs/old"))
    0
    """
    version = labels.get("format_version", 0)
    if not isinstance(version, int) or version < 0:
        raise TagformerError(f"{folder}: the format version must be a whole number, not {version!r}.")
    if version > FORMAT_VERSION:
        raise TagformerError(
            f"{folder} was written by a newer version of Tagformer; upgrade with pip install --upgrade tagformer."
        )
    return version


def with_current_names(
    state: Mapping[str, Tensor], model: str, expected: Container[str], prefix: str = ""
) -> dict[str, Tensor]:
    """A state dict whose weights have the names that the model gives them now.

    Args:
        state: name -> weight, as a run or a checkpoint has it.
        model: the model's name in the recipe.
        expected: the names in the model's own state dict, with the prefix. A name that is among them is kept.
        prefix: what all names begin with, ``model.`` in checkpoints.

    >>> import torch
    >>> from tagformer.runs.migration import with_current_names
    >>> list(with_current_names({"token": torch.zeros(8)}, "mltr", {"object_aware_token"}))
    ['object_aware_token']
    """
    renamed = {prefix + old: prefix + new for old, new in KEYS.get(model, {}).items()}
    return {
        renamed[name] if name in renamed and name not in expected else name: weight for name, weight in state.items()
    }
