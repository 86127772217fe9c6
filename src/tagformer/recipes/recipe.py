"""A recipe: read from YAML, overridden by dotted keys, rejected where a key is unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from tagformer.errors import TagformerError, did_you_mean
from tagformer.files import read_bytes, write_text
from tagformer.recipes.image_sizes import backbone_name, with_image_size_of
from tagformer.recipes.plain_yaml import NOT_YAML, parse_value, read_yaml, to_yaml
from tagformer.recipes.settings import (
    DataSettings,
    ImageSettings,
    KnownSettings,
    LossSettings,
    ModelSettings,
    OptimizerSettings,
    ScheduleSettings,
    Section,
    StageSettings,
    TrainingSettings,
)

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

FOLDERS = ("papers", "ours")  # where the recipes that come with the package lie


class Recipe(Section):
    """Everything that decides a training run.

    Attributes:
        name: the recipe's name.
        source: where its settings come from: a paper, a code base, or measurements.
        sources: where single values come from, by dotted key (``optimizer.lr: "paper, section 4.1"``).
        figures: what the source reports for it, name -> value (``mAP, 0 % known: 85.1``).
        data, image, model, loss, known, optimizer, schedule, training: the settings, see `recipes.settings`.
        stages: how training in stages is done; None: the whole model is trained at once.

    >>> from tagformer.recipes import Recipe
    >>> recipe = Recipe().overridden(["training.epochs=3", "model.backbone.name=resnet18"])
    >>> recipe.training.epochs, recipe.value("model.backbone.name")
    (3, 'resnet18')
    """

    name: str = "custom"
    source: str = "the user"
    sources: dict[str, str] = Field(default_factory=dict)
    figures: dict[str, float] = Field(default_factory=dict)
    data: DataSettings = DataSettings()
    image: ImageSettings = ImageSettings()
    model: ModelSettings = ModelSettings()
    loss: LossSettings = LossSettings()
    known: KnownSettings = KnownSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    training: TrainingSettings = TrainingSettings()
    stages: StageSettings | None = None

    @model_validator(mode="before")
    @classmethod
    def _image_size_of_backbone(cls, values: Any) -> Any:
        """Without an image size, take the one that the variant of MlTr is built for."""
        if not isinstance(values, dict) or "size" in (values.get("image") or {}):
            return values
        return with_image_size_of(backbone_name(values), values)

    @model_validator(mode="after")
    def _validation_where_needed(self) -> Recipe:
        """Without validation images, reject the settings that need some."""
        if self.data.val_fraction == 0:
            needs = {
                "training.keep=last": self.training.keep == "best",
                "training.patience=null": self.training.patience is not None,
                "another schedule.name than plateau": self.schedule.name == "plateau",
            }
            if missing := [setting for setting, needed in needs.items() if needed]:
                raise ValueError(f"data.val_fraction=0 leaves no images for validation: set {' and '.join(missing)}")
        return self

    @classmethod
    def checked(cls, values: Mapping[str, Any], origin: str) -> Recipe:
        """A recipe from plain values.

        Args:
            values: section -> key -> value.
            origin: what the values are from, for messages.

        Raises:
            TagformerError: an unknown key (the message offers the nearest one) or a value out of range.
        """
        try:
            recipe = cls.model_validate(values)
        except ValidationError as error:
            raise TagformerError(f"{origin}: {_sentence(cls, error)}") from error
        for key in recipe.sources:
            try:
                recipe.value(key)
            except (AttributeError, KeyError) as error:
                raise TagformerError(f"{origin}: sources names '{key}', which is not a setting.") from error
        return recipe

    @property
    def uses_image(self) -> bool:
        """Whether the model takes images as an input (``model.options.image``, for models that can do without)."""
        return bool(self.model.options.get("image", True))

    @property
    def frozen_maps(self) -> int | None:
        """Up to which feature map the backbone is frozen, counted from the finest; None: it is frozen as a whole."""
        return None if self.optimizer.backbone_lr_factor == 0 else self.model.backbone.frozen_maps

    @property
    def remembers_features(self) -> bool:
        """Whether the backbone is frozen, so that it need see each image only once per view."""
        frozen = self.optimizer.backbone_lr_factor == 0
        return frozen and self.uses_image and self.data.remembered_views > 0

    @property
    def known_share_in_validation(self) -> float:
        """The share of the labels that is known in validation; a model without an image needs some."""
        if self.known.validation is not None:
            return self.known.validation
        return 0.0 if self.uses_image else 0.5

    def overridden(self, assignments: Sequence[str]) -> Recipe:
        """The recipe with ``dotted.key=value`` assignments; values are read as YAML.

        Raises:
            TagformerError: an assignment without ``=``, an unknown key, or a value out of range.
        """
        values = self.model_dump(mode="json")
        backbone = self.model.backbone.name
        for assignment in assignments:
            key, equals, text = assignment.partition("=")
            if not equals:
                raise TagformerError(f"--set {assignment}: write KEY=VALUE, for example optimizer.lr=1e-4.")
            *sections, setting = key.strip().split(".")
            section_values = values
            for section in sections:
                section_values = section_values.setdefault(section, {})
                if not isinstance(section_values, dict):
                    raise TagformerError(f"--set {key}: '{section}' is a value, not a section.")
            section_values[setting] = parse_value(text)
            if key == "sources" or key.startswith("sources."):
                raise TagformerError(f"--set {key}: the sources are for recipe files only.")
            values["sources"] = {k: v for k, v in values["sources"].items() if k != key and not k.startswith(f"{key}.")}
        if not any(assignment.partition("=")[0].strip() in ("image.size", "image") for assignment in assignments):
            values = with_image_size_of(backbone_name(values), values, before=backbone)
        return self.checked(values, "--set" if assignments else self.name)

    def value(self, key: str) -> Any:
        """The setting at a dotted key.

        Raises:
            AttributeError, KeyError: there is none.
        """
        value: Any = self
        for name in key.split("."):
            value = value[name] if isinstance(value, dict) else getattr(value, name)
        return value

    def save(self, path: Path) -> None:
        """Write the recipe, with every default spelled out, as YAML."""
        write_text(path, self.to_yaml())

    def to_yaml(self) -> str:
        """The recipe, with every default spelled out, as YAML that `load_recipe` reads."""
        return to_yaml(self.model_dump(mode="json"))


def list_recipes() -> dict[str, Recipe]:
    """The recipes that come with the package, by name.

    >>> from tagformer.recipes import list_recipes
    >>> list_recipes()["ctran-coco80"].figures["mAP, 0 % known"]
    85.1
    """
    return {name: load_recipe(name) for name in sorted(_built_in())}


def load_recipe(name_or_file: str | Path) -> Recipe:
    """Read a built-in recipe by name, or any recipe from a YAML file.

    A file may name a built-in recipe as its base (``base: NAME``) and then holds only the settings that differ. Names
    that model options had in earlier versions are replaced by those of today.

    Raises:
        TagformerError: no such recipe, not YAML, an unknown key, or a value out of range.

    >>> from tagformer.recipes import load_recipe
    >>> load_recipe("mltr-coco80").loss.name
    'asl'
    """
    return Recipe.checked(_read(name_or_file, ()), f"recipe {name_or_file}")


def _built_in() -> dict[str, Traversable]:
    """The files of the recipes that come with the package, by name."""
    folder = resources.files("tagformer.recipes")
    files = [file for name in FOLDERS for file in (folder / name).iterdir()]
    return {file.name.removesuffix(".yaml"): file for file in files if file.name.endswith(".yaml")}


def _read(name_or_file: str | Path, above: tuple[str, ...]) -> dict[str, Any]:
    """The plain values of a recipe, with those of its base; `above` are the recipes that it is a base of."""
    if str(name_or_file) in above:
        raise TagformerError(f"recipe {name_or_file} is its own base: remove 'base: {name_or_file}'.")
    file = Path(name_or_file)
    if file.suffix not in (".yaml", ".yml"):
        files = _built_in()
        if str(name_or_file) not in files:
            raise TagformerError(
                f"unknown recipe '{name_or_file}'{did_you_mean(str(name_or_file), files)} "
                f"(recipes: {', '.join(sorted(files))}; or a .yaml file)."
            )
        text = files[str(name_or_file)].read_text(encoding="utf-8")
    else:
        try:
            text = read_bytes(file).decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise TagformerError(f"cannot read recipe {file}: {getattr(error, 'strerror', None) or error}.") from error
    try:
        values = read_yaml(text)
    except NOT_YAML as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        reason = "" if isinstance(error, yaml.YAMLError) else f" of a recipe ({error})"
        raise TagformerError(f"recipe {name_or_file}{where}: not valid YAML{reason}.") from error
    if not isinstance(values, dict):
        raise TagformerError(f"recipe {name_or_file}: it must be a mapping of settings.")
    base = values.pop("base", None)
    inherited = {} if base is None else _read(str(base), (*above, str(name_or_file)))
    inherited.pop("figures", None)
    if "size" not in (values.get("image") or {}):
        inherited = with_image_size_of(backbone_name(values), inherited, before=backbone_name(inherited))
    return _merged(inherited, values)


def _merged(inherited: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """The settings of both, section by section; `values` replace inherited ones."""
    merged = {**inherited, **values}
    for key in inherited.keys() & values.keys():
        if isinstance(inherited[key], dict) and isinstance(values[key], dict):
            merged[key] = _merged(inherited[key], values[key])
    return merged


def _sentence(cls: type[BaseModel], error: ValidationError) -> str:
    """The first problem that pydantic found, in one sentence."""
    first = error.errors()[0]
    path = [str(name) for name in first["loc"]]
    if not path:  # settings that contradict each other
        return f"{first['ctx']['error']}."
    key = ".".join(path)
    if first["type"] != "extra_forbidden":
        given = "" if isinstance(first["input"], dict) else f", not {first['input']!r}"
        return f"{key}: {first['msg'].lower()}{given}."
    section: Any = cls
    for name in path[:-1]:
        section = section.model_fields[name].annotation
        section = section if isinstance(section, type) else get_args(section)[0]
    return f"unknown key '{key}'{did_you_mean(path[-1], section.model_fields)}."
