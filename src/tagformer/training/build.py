"""The second step of training: the model, the Lightning module and the loaders."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch

from tagformer.backbones.base import has_folded_norms
from tagformer.backbones.timm import TimmBackbone, padding_option
from tagformer.data.loader.loader import ImageItems, ImageLoader, TrainingLoader, evaluation_loader
from tagformer.data.loader.sampler import ClassAware, EpochBatches, derive_seed
from tagformer.features.store import DEFAULT_GB, FeatureStore
from tagformer.images.transforms import training_transform
from tagformer.models.base import MultiLabelModel
from tagformer.runs.run import model_from_recipe
from tagformer.runs.warm_start import start_from_run
from tagformer.training.module import TrainingModule
from tagformer.training.prepare import Prepared, Reporter, save_settings
from tagformer.training.remembering import can_remember, remembered_loaders
from tagformer.training.time_plan import plan_epochs
from tagformer.training.trial import try_own_parts


@dataclass(frozen=True)
class Built:
    """What Lightning trains.

    Attributes:
        module: the model with its loss, optimizer and metrics.
        loader, val_loader: the batches of training and of validation; None without validation images.
    """

    module: TrainingModule
    loader: TrainingLoader
    val_loader: ImageLoader | None


def build(prepared: Prepared, reporter: Reporter, cache_gb: float = DEFAULT_GB, deadline: float | None = None) -> Built:
    """Build everything that is trained, and save the completed settings in the run folder.

    Args:
        prepared: the settings and the data.
        reporter: where to report progress.
        cache_gb: the room for remembered features, see `fit`.
        deadline: the epochs of a run that begins are planned to end at this time (`time.monotonic`); None: they are the
            recipe's.

    Raises:
        TagformerError: an option that the model does not have, weights that do not fit, an own part that fails, or
            other labels than a resumed run has.
    """
    recipe = prepared.recipe
    torch.manual_seed(derive_seed(recipe.training.seed, "weights"))
    model = build_model(prepared, reporter)
    complete_settings(prepared, model, reporter)
    loader, val_loader = _build_loaders(prepared, model, reporter, cache_gb)
    if deadline is not None and prepared.fresh:
        loader.batches.share = plan_epochs(prepared, model, loader, deadline, reporter.message).share
    steps_per_epoch = math.ceil(len(loader) / recipe.training.accumulate)
    module = TrainingModule(model, recipe, steps_per_epoch)
    try_own_parts(module, prepared.train)
    save_settings(prepared)
    return Built(module, loader, val_loader)


def build_model(prepared: Prepared, reporter: Reporter) -> MultiLabelModel:
    """The model with its first weights; where a checkpoint follows, with random ones."""
    settings, train = prepared.recipe.model, prepared.train
    fresh, init, backbone = prepared.fresh, settings.init, settings.backbone
    if fresh and init is None and backbone.pretrained and backbone.weights is None:
        reporter.message(f"Fetching the pretrained weights of {backbone.name}, unless they are in the cache ...")
    model = model_from_recipe(prepared.recipe, train.label_space, load_weights=fresh and init is None)
    if fresh and init is not None:
        loaded = start_from_run(model, Path(init), heads=settings.init_heads)
        if not settings.init_heads:
            reporter.message(f"{loaded / 1e6:.1f} M weights are those of {init}; the heads are new.")
    if settings.start_from_frequencies:
        model.start_from_frequencies(train.frequencies)
    return model


def complete_settings(prepared: Prepared, model: MultiLabelModel, reporter: Reporter) -> None:
    """Put into the recipe what follows from the backbone and its weights.

    These are frozen norms, the padding, and the images' mean and deviation.
    """
    settings, image = prepared.recipe.model.backbone, prepared.recipe.image
    if settings.weights is not None and isinstance(model.backbone, TimmBackbone):
        settings.options = {**padding_option(Path(settings.weights)), **settings.options}
    has_weights = settings.weights or settings.pretrained
    if has_weights and prepared.fresh and not settings.freeze_norm and has_folded_norms(model.backbone):
        reporter.message("The weights have their batch norms folded in, so the norms keep their statistics.")
        settings.freeze_norm = True
    image.mean, image.std = image.statistics(model.backbone)


def _build_loaders(
    prepared: Prepared, model: MultiLabelModel, reporter: Reporter, cache_gb: float
) -> tuple[TrainingLoader, ImageLoader | None]:
    image, data, seed = prepared.recipe.image, prepared.recipe.data, prepared.recipe.training.seed
    train, pin_memory = prepared.train, torch.cuda.is_available()
    order = ClassAware(train) if data.sampling == "class_aware" else None
    batches = EpochBatches(len(train), data.batch_size, seed, order, prepared.recipe.training.epoch_share)
    if cache_gb and can_remember(prepared.recipe, model):
        loaders = remembered_loaders(
            prepared, model, batches, FeatureStore(limit_gb=cache_gb, message=reporter.message), reporter
        )
        if loaders is not None:
            return loaders
    transform = val_transform = None
    if prepared.recipe.uses_image:
        val_transform = image.preprocessing(model.backbone).transform
        transform = training_transform(
            image.size,
            image.resize,
            image.crop,
            image.crop_scale,
            image.flip,
            image.rand_augment,
            image.cutout,
            image.brightness,
            image.saturation,
        )
    loader = TrainingLoader(ImageItems(train, transform, seed), batches, data.workers, pin_memory)
    if not len(prepared.val):
        return loader, None
    return loader, evaluation_loader(prepared.val, val_transform, data.batch_size, data.workers, pin_memory)
