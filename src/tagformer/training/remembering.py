"""Training a model whose backbone is frozen: its loaders give remembered feature maps instead of images."""

from __future__ import annotations

from pathlib import Path

import torch

from tagformer.data.loader.loader import ImageLoader, TrainingLoader
from tagformer.data.loader.sampler import EpochBatches, rows_in_order
from tagformer.errors import DoesNotFitError
from tagformer.features.batches import RememberedItems
from tagformer.features.remember import remember_features
from tagformer.features.store import FeatureStore
from tagformer.features.views import view_names
from tagformer.models.base import MultiLabelModel
from tagformer.recipes.recipe import Recipe
from tagformer.runs.run import default_device
from tagformer.training.prepare import Prepared, Reporter

BACKBONE = "model.backbone."  # what the names of its weights begin with in a checkpoint


def can_remember(recipe: Recipe, model: MultiLabelModel) -> bool:
    """Whether a model can be trained on remembered features, and the recipe allows it."""
    return recipe.remembers_features and model.encodes_maps


def remembered_loaders(
    prepared: Prepared, model: MultiLabelModel, batches: EpochBatches, store: FeatureStore, reporter: Reporter
) -> tuple[TrainingLoader, ImageLoader | None] | None:
    """The loaders of training and validation on remembered features, which are computed first where they are missing.

    Each image of a training batch has one of its views, drawn from the seed, the epoch and the image.

    Args:
        prepared: the settings and the data.
        model: with the weights of its backbone, or with any where training goes on from a checkpoint, which has them.
        batches: the order of training.
        store: where features are remembered.
        reporter: shows how far they are.

    Returns:
        None where the features do not fit into the store; why is reported.

    Raises:
        BadImageError, CannotWriteError, TagformerError: as `remember_features`.
    """
    recipe, data = prepared.recipe, prepared.recipe.data
    image, seed = recipe.image, recipe.training.seed
    if not prepared.fresh:
        _restore_backbone(model, prepared.checkpoint)
    views = view_names(data.remembered_views, mirror=image.flip > 0)
    options = {
        "preprocessing": image.preprocessing(model.backbone),
        "store": store,
        "maps": model.maps_read,
        "batch_size": data.batch_size,
        "workers": data.workers,
        "on_bad_image": data.on_bad_image,
        "device": default_device(),
        "bars": reporter.bar,
    }
    if image.crop is not None or image.crop_scale is not None:
        options["augmentation"] = {"crop": image.crop, "crop_scale": image.crop_scale, "flip": image.flip}
    try:
        train = remember_features(model.backbone, prepared.train, views=views, **options)  # type: ignore[arg-type]
        val = remember_features(model.backbone, prepared.val, **options) if len(prepared.val) else None  # type: ignore[arg-type]
    except DoesNotFitError as error:
        reporter.message(f"Training goes on without remembered features: {error}")
        return None
    pin_memory = torch.cuda.is_available()
    loader = TrainingLoader(RememberedItems(prepared.train, train, seed), batches, 0, pin_memory)
    if val is None:
        return loader, None
    rows = rows_in_order(len(prepared.val), data.batch_size)
    return loader, ImageLoader(RememberedItems(prepared.val, val), rows, data.batch_size, 0, pin_memory)


def _restore_backbone(model: MultiLabelModel, checkpoint: Path) -> None:
    """Give the backbone the weights that a checkpoint has; where it does not fit, Lightning reports that later."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    weights = {name.removeprefix(BACKBONE): value for name, value in state.items() if name.startswith(BACKBONE)}
    expected = model.backbone.state_dict()
    if all(name in weights and weights[name].shape == value.shape for name, value in expected.items()):
        model.backbone.load_state_dict(weights, strict=False)
