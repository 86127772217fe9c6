"""The sections of a recipe. Every value that is not given has the default that stands here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, field_validator, model_validator

from tagformer.extensions import is_reference

if TYPE_CHECKING:
    from tagformer.backbones.base import Backbone

Triple = tuple[float, float, float]

LOSS_NAMES = ("bce", "asl", "softmax")  # of tagformer.losses, which loads torch
WITHOUT_WEIGHTS = ("tiny", "mltr_tiny")  # backbones that nobody has published weights for


class Section(BaseModel):
    """Unknown keys are errors; values are checked when set."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, protected_namespaces=())


class BackboneSettings(Section):
    name: str = "resnet50"
    pretrained: bool = True
    weights: str | None = None  # a local file, instead of a download
    options: dict[str, Any] = Field(default_factory=dict)  # of timm.create_model
    frozen_maps: int = Field(0, ge=0)  # keep the weights up to so many of the (four) feature maps, from the finest
    freeze_norm: bool = False  # keep the batch norms' statistics; for small data, and weights with folded norms

    @model_validator(mode="before")
    @classmethod
    def _not_pretrained_without_weights(cls, values: Any) -> Any:
        without = isinstance(values, dict) and values.get("name") in WITHOUT_WEIGHTS
        return {**values, "pretrained": False} if without else values


class ModelSettings(Section):
    name: str = "ctran"
    backbone: BackboneSettings = BackboneSettings()
    options: dict[str, Any] = Field(default_factory=dict)
    init: str | None = None  # a run folder: start from everything in it but its heads
    start_from_frequencies: bool = False  # set the logits' bias to the labels' frequencies before training


class DataSettings(Section):
    spec: str | None = None  # format:path, as --data says it
    val_fraction: float = Field(0.1, gt=0, lt=1)  # drawn from train where the data has no val split
    batch_size: int = Field(32, ge=1)
    sampling: Literal["uniform", "class_aware"] = "uniform"  # class_aware: every label equally often, for rare ones
    workers: int = Field(2, ge=0)
    on_bad_image: Literal["error", "skip"] = "error"


class ImageSettings(Section):
    size: int = Field(224, ge=8)  # pixels a side
    resize: Literal["squash", "crop", "ctran"] = "squash"
    mean: Triple | None = None  # the backbone's, where not given
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = None
    crop: Literal["multi_scale", "ctran"] | None = None  # the papers' random crops in training: CAT's, C-Tran's
    crop_scale: tuple[float, float] | None = None  # area kept by random crops in training, without `crop`
    flip: float = Field(0.5, ge=0, le=1)
    rand_augment: int | None = Field(None, ge=0, le=30)
    cutout: float = Field(0.0, ge=0, lt=1)

    @field_validator("crop_scale")
    @classmethod
    def _crop_scale_in_order(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not 0 < value[0] <= value[1] <= 1:
            raise ValueError("must be two shares of the area, the smaller first")
        return value

    def statistics(self, backbone: Backbone) -> tuple[Triple, Triple]:
        """Mean and standard deviation that normalise the images: the recipe's, or else the backbone's."""
        return self.mean or backbone.mean, self.std or backbone.std


class LossSettings(Section):
    name: str = "bce"  # bce, asl, softmax (each image has exactly one label), or package.module:function
    reduction: Literal["sum", "batchmean", "mean"] = "mean"
    gamma_negative: float = Field(4.0, ge=0)
    gamma_positive: float = Field(0.0, ge=0)
    margin: float = Field(0.05, ge=0, lt=1)
    count_weight: float = Field(1.0, ge=0)  # of the count's loss, for models that count

    @field_validator("name")
    @classmethod
    def _known_loss(cls, value: str) -> str:
        if value not in LOSS_NAMES and not is_reference(value):
            raise ValueError(f"must be {' or '.join(LOSS_NAMES)}, or your own, package.module:function")
        return value


class KnownSettings(Section):
    """Label mask training, for models that use known labels."""

    label_mask_training: bool = True
    min_unknown: float = Field(0.25, ge=0, le=1)
    validation: float | None = Field(None, ge=0, lt=1)  # share told in validation; None: 0, or .5 without an image
    # What is hidden or told: single labels, whole groups, or groups of extra labels alone; of several, one each step.
    masking: tuple[Literal["labels", "groups", "extra_groups"], ...] = Field(("labels",), min_length=1)

    @field_validator("masking", mode="before")
    @classmethod
    def _one_masking(cls, values: Any) -> Any:
        return (values,) if isinstance(values, str) else values


class OptimizerSettings(Section):
    name: Literal["adam", "adamw", "sgd"] = "adamw"
    lr: float = Field(1e-3, gt=0)
    backbone_lr_factor: float = Field(1.0, ge=0)  # 0 freezes the backbone
    weight_decay: float = Field(1e-2, ge=0)  # not on biases, norms and embeddings
    momentum: float = Field(0.9, ge=0, lt=1)  # sgd only


class ScheduleSettings(Section):
    name: Literal["constant", "cosine", "onecycle", "step", "plateau"] = "cosine"
    warmup: float = Field(0.05, ge=0, lt=1)  # share of the steps; cosine and constant; onecycle's pct_start
    step_epochs: int = Field(30, ge=1)  # step: every so many epochs
    patience: int = Field(5, ge=0)  # plateau: epochs without a better val mAP
    factor: float = Field(0.1, gt=0, lt=1)  # step and plateau


class TrainingSettings(Section):
    epochs: int = Field(10, ge=1)
    seed: int = 0
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] | None = None  # None: bf16-mixed on a GPU, 32-true else
    ema: float | None = Field(None, gt=0, lt=1)  # decay of the weights' moving average
    mixup: float | None = Field(None, gt=0)  # alpha of the mixing weights' Beta distribution
    clip: float | None = Field(None, gt=0)  # largest norm of the gradient
    accumulate: int = Field(1, ge=1)  # batches to a step
    keep: Literal["best", "last"] = "best"  # the epoch with the best val mAP; a small val split chooses badly
    patience: int | None = Field(None, ge=1)  # stop early after so many epochs without a better val mAP
    checkpoint_minutes: float = Field(5.0, gt=0)  # besides at the end of every epoch
    checkpoint_steps: int | None = Field(None, ge=1)
    loggers: tuple[Literal["csv", "tensorboard"], ...] = ()  # per step, below RUN/logs; history.csv is always there
