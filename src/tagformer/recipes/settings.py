"""The sections of a recipe, with the default of every setting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, field_validator, model_validator

from tagformer.extensions import is_reference, meant_reference
from tagformer.models.renamed import current_options

if TYPE_CHECKING:
    from tagformer.backbones.base import Backbone
    from tagformer.images.preprocessing import Preprocessing

Triple = tuple[float, float, float]

LOSS_NAMES = ("bce", "asl", "softmax")  # of tagformer.losses, which loads torch
WITHOUT_WEIGHTS = ("tiny", "mltr_tiny")  # backbones without published weights


class Section(BaseModel):
    """A section of a recipe: unknown keys are errors, and values are checked whenever they are set."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, protected_namespaces=())


class BackboneSettings(Section):
    """The backbone, its weights, and how much of it is trained."""

    name: str = "resnet50"
    pretrained: bool = True
    weights: str | None = None  # a local file to load instead of a download
    options: dict[str, Any] = Field(default_factory=dict)  # of timm.create_model
    frozen_maps: int = Field(0, ge=0)  # weights are frozen up to this feature map, counted from the finest; 0: none
    freeze_norm: bool = False  # batch norms keep their statistics: for small data, and for folded norms

    @model_validator(mode="before")
    @classmethod
    def _not_pretrained_without_weights(cls, values: Any) -> Any:
        without = isinstance(values, dict) and values.get("name") in WITHOUT_WEIGHTS
        return {**values, "pretrained": False} if without else values


class ModelSettings(Section):
    """The model, its options and its backbone."""

    name: str = "ctran"
    backbone: BackboneSettings = BackboneSettings()
    options: dict[str, Any] = Field(default_factory=dict)
    init: str | None = None  # a run folder whose weights training starts from, without the heads
    init_heads: bool = False  # with the heads; the run must have the same labels
    start_from_frequencies: bool = False  # set the logits' bias to the labels' frequencies before training

    @model_validator(mode="before")
    @classmethod
    def _current_names_of_options(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(values.get("options"), dict):
            return values
        return {**values, "options": current_options(str(values.get("name")), values["options"])}


class DataSettings(Section):
    """The data and how it is loaded."""

    spec: str | None = None  # format:path, as in --data
    # Drawn from the train split where the data has train and test, but no val split; 0: all images are trained on.
    val_fraction: float = Field(0.1, ge=0, lt=1)
    tree: str | None = None  # a CSV child,parent: what a label implies of others is trained on, too
    batch_size: int = Field(32, ge=1)
    sampling: Literal["uniform", "class_aware"] = "uniform"  # class_aware: every label equally often
    workers: int = Field(2, ge=0)
    on_bad_image: Literal["error", "skip"] = "error"
    # Where the whole backbone is frozen: how many views of each training image it sees, once for all epochs: as it is,
    # mirrored, then random crops. 0: it sees every image in every epoch, with all of the recipe's augmentation.
    remembered_views: int = Field(2, ge=0)


class ImageSettings(Section):
    """How an image becomes the network's input, and the augmentation of training."""

    size: int = Field(224, ge=8)  # pixels per side
    resize: Literal["squash", "crop", "ctran", "centre"] = "squash"  # see images.evaluation_transform
    mean: Triple | None = None  # None: the backbone's
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = None
    crop: Literal["multi_scale", "ctran"] | None = None  # random crops of training: CAT's or C-Tran's
    crop_scale: tuple[float, float] | None = None  # without `crop`: share of the area that a random crop keeps
    flip: float = Field(0.5, ge=0, le=1)
    brightness: float = Field(0.0, ge=0, le=1)  # largest random change of the brightness, as a share of it
    saturation: float = Field(0.0, ge=0, le=1)  # largest random change of the saturation, as a share of it
    rand_augment: int | None = Field(None, ge=0, le=30)
    cutout: float = Field(0.0, ge=0, lt=1)

    @field_validator("crop_scale")
    @classmethod
    def _crop_scale_in_order(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not 0 < value[0] <= value[1] <= 1:
            raise ValueError("must be two shares of the area, the smaller one first")
        return value

    def statistics(self, backbone: Backbone) -> tuple[Triple, Triple]:
        """Mean and standard deviation that normalise the images: the recipe's, or else the backbone's."""
        return self.mean or backbone.mean, self.std or backbone.std

    def preprocessing(self, backbone: Backbone) -> Preprocessing:
        """How an image becomes the input of a network with this backbone, in evaluation."""
        from tagformer.images.preprocessing import Preprocessing  # here, for recipes are read without torch

        return Preprocessing(self.size, self.resize, *self.statistics(backbone))


class LossSettings(Section):
    """The loss and its reduction over labels and images."""

    name: str = "bce"  # bce, asl, softmax (each image has exactly one label), or package.module:function
    reduction: Literal["sum", "batchmean", "mean"] = "mean"
    gamma_negative: float = Field(4.0, ge=0)
    gamma_positive: float = Field(0.0, ge=0)
    margin: float = Field(0.05, ge=0, lt=1)
    count_weight: float = Field(1.0, ge=0)  # weight of the count's loss, for models that count
    extra_labels: bool = False  # extra labels that are not known are predicted too, and are part of the loss

    @field_validator("name")
    @classmethod
    def _valid_loss(cls, value: str) -> str:
        if value not in LOSS_NAMES and not is_reference(value):
            choices = ", or ".join([" or ".join(LOSS_NAMES), "your own, package.module:function"])
            raise ValueError(f"must be {choices}{meant_reference(value)}")
        return value


class KnownSettings(Section):
    """Label mask training, for models that take known labels as an input."""

    label_mask_training: bool = True
    min_unknown: float = Field(0.25, ge=0, le=1)
    validation: float | None = Field(None, ge=0, lt=1)  # known share in validation; None: 0, or 0.5 without an image
    # What is hidden: single labels, whole groups, or one of the two among the extra labels alone (all others are then
    # hidden too); of several, each step draws one.
    masking: tuple[Literal["labels", "groups", "extra_labels", "extra_groups"], ...] = Field(("labels",), min_length=1)

    @field_validator("masking", mode="before")
    @classmethod
    def _one_masking(cls, values: Any) -> Any:
        return (values,) if isinstance(values, str) else values


class OptimizerSettings(Section):
    """The optimizer and its learning rate."""

    name: Literal["adam", "adamw", "sgd"] = "adamw"
    lr: float = Field(1e-3, gt=0)
    backbone_lr_factor: float = Field(1.0, ge=0)  # 0 freezes the backbone
    weight_decay: float = Field(1e-2, ge=0)  # not on biases, norms and embeddings
    momentum: float = Field(0.9, ge=0, lt=1)  # sgd only


class ScheduleSettings(Section):
    """How the learning rate changes during training."""

    name: Literal["constant", "cosine", "onecycle", "step", "plateau"] = "cosine"
    warmup: float = Field(0.05, ge=0, lt=1)  # share of the steps; for cosine and constant; onecycle's pct_start
    step_epochs: int = Field(30, ge=1)  # step: epochs between two steps
    monitor: Literal["mAP", "loss"] = "mAP"  # plateau: the figure of the validation that must improve
    patience: int = Field(5, ge=0)  # plateau: epochs to wait for a better figure
    factor: float = Field(0.1, gt=0, lt=1)  # step and plateau: multiplies the learning rate


class StageSettings(Section):
    """Training in stages, for the model ``evidence``: a head, C-Tran on its evidence, then the whole network.

    The last stage is ordinary training with the sections ``optimizer``, ``schedule`` and ``training``.
    """

    minutes: float | None = Field(None, gt=0)  # what the plan was made for
    sizes: tuple[int, ...] = ()  # image sizes to choose from, in pixels from small to large; none: image.size
    folds: int = Field(8, ge=2)  # an image's evidence is of heads that have not seen its fold; the first is held out
    # Candidates, of which cross-validation chooses: the weight of the maximum, and weight decay.
    weights: tuple[float, ...] = Field((0.0, 0.5, 1.0), min_length=1)
    decays: tuple[float, ...] = Field((0.05, 5.0, 20.0), min_length=1)
    head_epochs: int = Field(8, ge=1)
    head_lr: float = Field(1e-3, gt=0)
    evidence_epochs: int = Field(20, ge=0)  # 0: no encoder is trained
    evidence_lr: float = Field(2e-3, gt=0)
    cooccurrence: float = Field(0.1, ge=0)  # strength of the co-occurrence before it is trained
    deviations: tuple[PositiveFloat, ...] = (0.3, 1.0, 4.0)  # of its prior; none: no co-occurrence is trained
    encoder_images: int = Field(500, ge=0)  # with fewer training images no encoder is trained
    finetune: bool = True  # train the whole network, if it is better then


class TrainingSettings(Section):
    """Length, precision and averaging of training, and what is written."""

    epochs: int = Field(10, ge=1)
    epoch_share: float = Field(1.0, gt=0, le=1)  # an epoch ends after this share of the images, drawn anew each time
    seed: int = 0
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] | None = None  # None: bf16-mixed on a GPU, else 32-true
    ema: float | None = Field(None, gt=0, lt=1)  # decay of the weights' moving average
    mixup: float | None = Field(None, gt=0)  # alpha of the mixing weights' Beta distribution
    clip: float | None = Field(None, gt=0)  # largest allowed norm of the gradient
    accumulate: int = Field(1, ge=1)  # batches per optimizer step
    keep: Literal["best", "last"] = "best"  # which epoch's weights; a small val split chooses the best one unreliably
    monitor: Literal["mAP", "accuracy"] = "mAP"  # validation figure of the best epoch; accuracy of exclusive labels
    patience: int | None = Field(None, ge=1)  # stop early after this many epochs without a better figure
    checkpoint_minutes: float = Field(5.0, gt=0)  # a checkpoint this often, and after every epoch
    checkpoint_steps: int | None = Field(None, ge=1)  # a checkpoint also every so many steps
    # Of every step, in RUN/logs; history.csv is always written.
    loggers: tuple[Literal["csv", "tensorboard", "wandb"], ...] = ()

    @field_validator("loggers", mode="before")
    @classmethod
    def _one_logger(cls, values: Any) -> Any:
        return (values,) if isinstance(values, str) else values
