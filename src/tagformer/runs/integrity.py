"""Whether the files of a run belong together and are unchanged.

``labels.json`` has an id of the run, drawn when it began, and a digest of its own content. The weights' metadata has
the same id, the settings of the network that they are for, and a digest of the weights. All of these are optional:
runs of earlier versions do not have them, and are not checked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tagformer.errors import TagformerError
from tagformer.recipes.recipe import Recipe

RUN, DIGEST, NETWORK = "run", "digest", "network"


def content_digest(content: Mapping[str, Any]) -> str:
    """A digest of the content of ``labels.json``, apart from the digest itself.

    >>> from tagformer.runs.integrity import content_digest
    >>> content_digest({"names": ["dog"], "digest": "?"}) == content_digest({"names": ["dog"]})
    True
    """
    text = json.dumps({key: value for key, value in content.items() if key != DIGEST}, sort_keys=True)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def check_content(content: Mapping[str, Any], file: Path) -> None:
    """Check the digest of ``labels.json``.

    Raises:
        TagformerError: the content was changed after it was written.
    """
    if DIGEST not in content and RUN not in content:  # of an earlier version
        return
    if content.get(DIGEST) != content_digest(content):
        raise TagformerError(
            f"{file} was changed after it was written, or is damaged: restore it; or, if the change is intended, "
            f"delete its entries '{DIGEST}' and '{RUN}'."
        )


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """A digest of weights, with their names, types and shapes."""
    digest = hashlib.blake2b(digest_size=16)
    for name, value in sorted(state.items()):
        digest.update(json.dumps([name, str(value.dtype), list(value.shape)]).encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def weights_metadata(state: Mapping[str, Tensor], recipe: Recipe, run_id: str) -> dict[str, str]:
    """What is kept together with the weights of a run."""
    return {RUN: run_id, NETWORK: json.dumps(_network(recipe)), DIGEST: weights_digest(state)}


def check_weights(
    file: Path, state: Mapping[str, Tensor], metadata: Mapping[str, str], recipe: Recipe, run_id: str | None
) -> None:
    """Check that weights are unchanged, and are those of this run.

    Args:
        file: where the weights are from, for messages.
        metadata: of that file.
        recipe: of the run.
        run_id: of the run; None for a run of an earlier version.

    Raises:
        TagformerError: they are not.
    """
    if run_id is None:
        return
    restore = "restore the file"
    if DIGEST not in metadata or metadata.get(RUN) != run_id:
        raise TagformerError(
            f"{file} holds the weights of another run: {restore}; or, to use these weights, "
            f"delete the entries '{DIGEST}' and '{RUN}' of labels.json."
        )
    if metadata[DIGEST] != weights_digest(state):
        raise TagformerError(f"{file} is damaged, its weights are not those that were written: {restore}.")
    trained = json.loads(metadata.get(NETWORK, "{}"))
    for key, value in _network(recipe).items():
        if key in trained and trained[key] != value:
            raise TagformerError(
                f"{file.parent}: the weights were trained with {key} {trained[key]}, but recipe.yaml has {value}: "
                "restore recipe.yaml."
            )


def _network(recipe: Recipe) -> dict[str, Any]:
    """The settings without which the weights compute something else, by dotted key."""
    values = recipe.model_dump(mode="json")
    model, backbone, image = values["model"], values["model"]["backbone"], values["image"]
    return {
        "model.name": model["name"],
        **{f"model.options.{key}": value for key, value in model["options"].items()},
        "model.backbone.name": backbone["name"],
        **{f"model.backbone.options.{key}": value for key, value in backbone["options"].items()},
        **{f"image.{key}": image[key] for key in ("size", "resize", "mean", "std") if key in image},
    }
