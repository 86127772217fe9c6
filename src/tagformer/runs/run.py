"""A run folder is a model: the recipe, the labels, the weights and the figures.

========================  ==============================================================================
``recipe.yaml``           every setting of the run, the image transform included
``labels.json``           the format's version, the label space, its frequencies, the activation, the temperature and
                          the thresholds; an id of the run and a digest, see `runs.integrity`
``data.json``             the number of images and a digest of the data, compared when a run goes on
``model.safetensors``     the best weights
``metrics.json``          the last evaluation
``predictions/``          the logits of a split, from which reports and comparisons are made
``report.html``           the last report
``history.csv``           one line per epoch
``checkpoints/``          ``best.ckpt`` and ``last.ckpt``, to resume from
========================  ==============================================================================
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from tagformer.backbones.base import Backbone
from tagformer.backbones.folding import fold_batch_norms
from tagformer.backbones.registry import create_backbone
from tagformer.errors import TagformerError
from tagformer.files import atomic_write, read_json, write_json
from tagformer.images.preprocessing import Preprocessing
from tagformer.labels.space import LabelSpace
from tagformer.models.base import MultiLabelModel
from tagformer.models.registry import create_model, model_class
from tagformer.recipes.recipe import Recipe, load_recipe
from tagformer.runs.integrity import DIGEST, RUN, check_content, check_weights, content_digest, weights_metadata
from tagformer.runs.migration import FORMAT_VERSION, format_version, with_current_names

RECIPE, LABELS, WEIGHTS, METRICS = "recipe.yaml", "labels.json", "model.safetensors", "metrics.json"
HISTORY, REPORT = "history.csv", "report.html"
CHECKPOINTS, LAST, BEST = "checkpoints", "last.ckpt", "best.ckpt"


def model_from_recipe(recipe: Recipe, label_space: LabelSpace, load_weights: bool = True) -> MultiLabelModel:
    """The model that a recipe describes, in the channels-last memory format.

    Args:
        recipe: the recipe.
        label_space: the L labels.
        load_weights: whether the backbone gets its pretrained weights; False where the model's own weights are loaded
            afterwards.

    Raises:
        TagformerError: an option that the model or the backbone does not have, or weights that do not fit.
    """
    settings = recipe.model.backbone
    if reserved := {"name", "image_size", "pretrained", "weights"} & settings.options.keys():
        raise TagformerError(
            f"model.backbone.options.{min(reserved)} is not an option of the network: "
            "set model.backbone.name, image.size, model.backbone.pretrained or model.backbone.weights."
        )
    if reserved := {"name", "labels", "backbone", "pretrained"} & recipe.model.options.keys():
        raise TagformerError(
            f"model.options.{min(reserved)} is not an option of the model: set model.name, model.backbone.name or "
            "model.backbone.pretrained; an own model needs another name for such an option."
        )
    backbone = create_backbone(
        settings.name,
        pretrained=settings.pretrained and load_weights,
        weights=settings.weights if load_weights else None,
        image_size=recipe.image.size,
        **settings.options,
    )
    model = create_model(recipe.model.name, label_space, backbone, **recipe.model.options)
    return model.to(memory_format=torch.channels_last)


def default_device() -> torch.device:
    """The GPU where there is one, the CPU otherwise."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Run:
    """A run folder's content.

    Attributes:
        folder: where it is.
        recipe: every setting of its training.
        label_space: the L labels.
        thresholds: float32 (L,), the calibrated probability from which each label counts as predicted.
        temperature: the probabilities are sigmoid(logits / temperature).
        frequencies: float32 (L,), of the labels in the training data; None where they are unknown (imported runs).
        format_version: of the folder, see `runs.migration`.
        id: drawn when the run began, see `runs.integrity`; None for a run of an earlier version.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from tagformer.labels import LabelSpace
    >>> from tagformer.recipes import Recipe
    >>> from tagformer.runs.run import Run, write_labels
    >>> with TemporaryDirectory() as folder:
    ...     Recipe().save(Path(folder) / "recipe.yaml")
    ...     write_labels(Path(folder), LabelSpace(("boat", "dog")))
    ...     Run.load(folder).thresholds
    tensor([0.5000, 0.5000])
    """

    folder: Path
    recipe: Recipe
    label_space: LabelSpace
    thresholds: torch.Tensor
    temperature: float = 1.0
    frequencies: torch.Tensor | None = None
    format_version: int = FORMAT_VERSION
    id: str | None = None

    @classmethod
    def load(cls, folder: str | Path) -> Run:
        """Read a run folder's recipe and labels; `model` reads its weights.

        Raises:
            TagformerError: not a run folder, a damaged one, or one that a newer version of Tagformer wrote.
        """
        folder = Path(folder)
        for name in (RECIPE, LABELS):
            if not (folder / name).is_file():
                raise TagformerError(f"{folder} is not a run folder: it has no {name}; 'tagformer train' makes one.")
        file = folder / LABELS
        content = read_json(file)
        try:
            version = format_version(content, folder)
            label_space = LabelSpace.from_dict(content)
            thresholds = torch.tensor(content["thresholds"], dtype=torch.float32)
            temperature = float(content.get("temperature", 1.0))
            frequencies = content.get("frequencies")
            frequencies = None if frequencies is None else torch.tensor(frequencies, dtype=torch.float32)
        except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
            raise TagformerError(f"{file} is not a label file of a run ({error}).") from error
        for name, values in (("thresholds", thresholds), ("frequencies", frequencies)):
            if values is not None and (values.ndim != 1 or not bool(((values >= 0) & (values <= 1)).all())):
                raise TagformerError(f"{file}: the {name} must be numbers from 0 to 1: restore the file.")
        if len(thresholds) != len(label_space):
            raise TagformerError(f"{file}: {len(thresholds)} thresholds for {len(label_space)} labels.")
        if frequencies is not None and len(frequencies) != len(label_space):
            raise TagformerError(f"{file}: {len(frequencies)} frequencies for {len(label_space)} labels.")
        if not 0 < temperature < math.inf:
            raise TagformerError(f"{file}: the temperature must be above 0, not {temperature}.")
        check_content(content, file)
        recipe = load_recipe(folder / RECIPE)
        return cls(folder, recipe, label_space, thresholds, temperature, frequencies, version, content.get(RUN))

    @property
    def weights(self) -> Path:
        """The file with the weights.

        Raises:
            TagformerError: there is none yet.
        """
        if not (self.folder / WEIGHTS).is_file():
            raise TagformerError(
                f"{self.folder} has no weights yet: finish its training with "
                f"'tagformer train --resume --out {self.folder}'."
            )
        return self.folder / WEIGHTS

    @property
    def uses_known(self) -> bool:
        """Whether the model takes known labels as an input."""
        return model_class(self.recipe.model.name).uses_known

    @property
    def uses_image(self) -> bool:
        """Whether the model takes images as an input; where it does not, no image file need exist."""
        return self.recipe.uses_image

    @property
    def is_tuned(self) -> bool:
        """Whether ``tagformer tune``, or training in stages, has chosen the thresholds or the temperature."""
        return self.temperature != 1 or bool((self.thresholds != 0.5).any())

    @property
    def uncalibrated_thresholds(self) -> torch.Tensor:
        """float32 (L,): the thresholds as probabilities at temperature 1, to compare with sigmoid(logits)."""
        if self.temperature == 1:
            return self.thresholds
        return torch.sigmoid(self.temperature * torch.logit(self.thresholds.double())).float()

    @property
    def tuned_thresholds(self) -> torch.Tensor | None:
        """Those of the target labels, float32 (T,), to compare with sigmoid(logits); None where none were chosen."""
        return self.uncalibrated_thresholds[self.label_space.is_target] if self.is_tuned else None

    def preprocessing(self, backbone: Backbone) -> Preprocessing:
        """How an image becomes the model's input; the backbone's mean and deviation where the recipe has none."""
        return self.recipe.image.preprocessing(backbone)

    def state(self) -> dict[str, torch.Tensor]:
        """The model's weights by name, as the file has them.

        Raises:
            TagformerError: no weights yet, a damaged file, or weights of another run.
        """
        try:
            state = load_file(self.weights)
            with safe_open(self.weights, framework="pt") as content:
                metadata = content.metadata() or {}
        except (SafetensorError, OSError) as error:
            raise TagformerError(f"{self.weights} is not a safetensors file ({error}).") from error
        check_weights(self.weights, state, metadata, self.recipe, self.id)
        return state

    def model(self) -> MultiLabelModel:
        """The model with its weights, for inference: in evaluation mode, simplified, the batch norms folded.

        Raises:
            TagformerError: no weights yet, or weights of another model or another number of labels.
        """
        file, state = self.weights, self.state()
        model = model_from_recipe(self.recipe, self.label_space, load_weights=False)
        try:
            model.load_state_dict(with_current_names(state, self.recipe.model.name, model.state_dict()))
        except RuntimeError as error:
            reason = str(error).splitlines()[1 if "\n" in str(error) else 0].strip()
            raise TagformerError(
                f"{file} does not fit the model and the {len(self.label_space)} labels of {self.folder}: {reason}"
            ) from error
        model.eval().simplify()
        fold_batch_norms(model.backbone, self.recipe.image.size)
        return model

    def save_thresholds(self, thresholds: torch.Tensor, temperature: float) -> None:
        """Write other thresholds (L,) and another temperature to ``labels.json``; the rest of the file stays."""
        kept = read_json(self.folder / LABELS)
        content = {**kept, "temperature": temperature, "thresholds": thresholds.tolist()}
        _write_content(self.folder, content)


def write_labels(
    folder: Path,
    label_space: LabelSpace,
    thresholds: torch.Tensor | None = None,
    temperature: float = 1.0,
    frequencies: torch.Tensor | None = None,
    version: int = FORMAT_VERSION,
) -> None:
    """Write ``labels.json``; the thresholds are 0.5 where none are given. A run that has an id keeps it."""
    thresholds = torch.full((len(label_space),), 0.5) if thresholds is None else thresholds
    content = {
        "format_version": version,
        **label_space.to_dict(),
        "activation": "sigmoid",
        "temperature": temperature,
        "thresholds": thresholds.tolist(),
    }
    if frequencies is not None:
        content["frequencies"] = [round(value, 6) for value in frequencies.tolist()]
    kept = read_json(folder / LABELS) if (folder / LABELS).is_file() else {}
    _write_content(folder, {**content, RUN: kept.get(RUN, secrets.token_hex(8))})


def _write_content(folder: Path, content: dict[str, Any]) -> None:
    if RUN in content:
        content[DIGEST] = content_digest(content)
    write_json(folder / LABELS, content)


def write_weights(folder: Path, state: Mapping[str, torch.Tensor]) -> None:
    """Write ``model.safetensors`` from a model's state dict; the folder has the recipe and the labels already.

    The format does not store memory that tensors share, such as tied weights, so each of them is written in full.
    """
    plain: dict[str, torch.Tensor] = {}
    memory: set[int] = set()
    for name, value in state.items():
        tensor = value.detach().cpu().contiguous()
        address = tensor.untyped_storage().data_ptr()
        plain[name] = tensor.clone() if address in memory else tensor
        memory.add(address)
    run = Run.load(folder)
    metadata = {} if run.id is None else weights_metadata(plain, run.recipe, run.id)
    with atomic_write(folder / WEIGHTS) as temporary:
        save_file(plain, temporary, metadata={"format": "pt", **metadata})
