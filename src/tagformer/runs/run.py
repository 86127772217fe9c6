"""A run folder is a model: the recipe, the labels, the weights and the figures.

========================  ==============================================================================
``recipe.yaml``           every setting of the run, the image transform included
``labels.json``           the format's version, the label space, its frequencies, the activation, the temperature and
                          the thresholds
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

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
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
    if reserved := {"image_size", "pretrained", "weights"} & settings.options.keys():
        raise TagformerError(
            f"model.backbone.options.{min(reserved)} is not an option of the network: "
            "set image.size, model.backbone.pretrained or model.backbone.weights."
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
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise TagformerError(f"{file} is not a label file of a run ({error}).") from error
        if len(thresholds) != len(label_space):
            raise TagformerError(f"{file}: {len(thresholds)} thresholds for {len(label_space)} labels.")
        if frequencies is not None and len(frequencies) != len(label_space):
            raise TagformerError(f"{file}: {len(frequencies)} frequencies for {len(label_space)} labels.")
        if not temperature > 0:
            raise TagformerError(f"{file}: the temperature must be above 0, not {temperature}.")
        return cls(folder, load_recipe(folder / RECIPE), label_space, thresholds, temperature, frequencies, version)

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
    def uncalibrated_thresholds(self) -> torch.Tensor:
        """float32 (L,): the thresholds as probabilities at temperature 1, to compare with sigmoid(logits)."""
        if self.temperature == 1:
            return self.thresholds
        return torch.sigmoid(self.temperature * torch.logit(self.thresholds.double())).float()

    def preprocessing(self, backbone: Backbone) -> Preprocessing:
        """How an image becomes the model's input; the backbone's mean and deviation where the recipe has none."""
        return self.recipe.image.preprocessing(backbone)

    def state(self) -> dict[str, torch.Tensor]:
        """The model's weights by name, as the file has them.

        Raises:
            TagformerError: no weights yet, or a damaged file.
        """
        try:
            return load_file(self.weights)
        except (SafetensorError, OSError) as error:
            raise TagformerError(f"{self.weights} is not a safetensors file ({error}).") from error

    def model(self) -> MultiLabelModel:
        """The model with its weights, for inference: in evaluation mode, the backbone's batch norms folded.

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
        fold_batch_norms(model.eval().backbone, self.recipe.image.size)
        return model

    def save_thresholds(self, thresholds: torch.Tensor, temperature: float) -> None:
        """Write other thresholds (L,) and another temperature to ``labels.json``; the rest of the file stays."""
        write_labels(self.folder, self.label_space, thresholds, temperature, self.frequencies, self.format_version)


def write_labels(
    folder: Path,
    label_space: LabelSpace,
    thresholds: torch.Tensor | None = None,
    temperature: float = 1.0,
    frequencies: torch.Tensor | None = None,
    version: int = FORMAT_VERSION,
) -> None:
    """Write ``labels.json``; the thresholds are 0.5 where none are given."""
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
    write_json(folder / LABELS, content)


def write_weights(folder: Path, state: Mapping[str, torch.Tensor]) -> None:
    """Write ``model.safetensors`` from a model's state dict."""
    plain = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    with atomic_write(folder / WEIGHTS) as temporary:
        save_file(plain, temporary, metadata={"format": "pt"})
