"""The Lightning module: what is computed from a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from tagformer.backbones.base import batch_norms
from tagformer.data.loader.loader import Batch, raise_on_bad_images
from tagformer.data.loader.sampler import derive_seed
from tagformer.errors import TagformerError
from tagformer.features.batches import MapBatch
from tagformer.labels.masking import draw_known, draw_order, draw_training_known, without_known
from tagformer.labels.space import without_extra
from tagformer.losses import count_loss, get_loss
from tagformer.metrics.accumulator import MultiLabelScores
from tagformer.metrics.groups import group_accuracy
from tagformer.models.base import ModelOutput, MultiLabelModel
from tagformer.recipes.recipe import Recipe
from tagformer.runs.migration import with_current_names
from tagformer.training.mixup import agreed, mix
from tagformer.training.optim import create_optimizer, create_schedule

MONITOR = "val_mAP"
ACCURACY = "val_accuracy"


class TrainingModule(LightningModule):
    """Trains a model by the settings of a recipe.

    Every random draw of a step depends only on the seed and the step's number, so that a resumed run repeats an
    uninterrupted one.

    Args:
        model: the model.
        recipe: the settings.
        steps_per_epoch: optimizer steps in an epoch, for the schedule.
    """

    def __init__(self, model: MultiLabelModel, recipe: Recipe, steps_per_epoch: int) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe
        self.steps_per_epoch = steps_per_epoch
        self.loss_function = get_loss(recipe.loss.name)
        self.bad_images: set[str] = set()
        self.plateau: ReduceLROnPlateau | None = None
        self._plateau_state: dict[str, Any] = {}
        self._epoch_losses: list[Tensor] = []
        self.validation = MultiLabelScores()
        self.preprocessing = recipe.image.preprocessing(model.backbone)
        self._images: Tensor | None = None  # memory of the last batch
        model.backbone.freeze(recipe.frozen_maps)

    def train(self, mode: bool = True) -> TrainingModule:
        """As in torch, except that frozen batch norms, by the recipe or by their weights, keep their statistics."""
        super().train(mode)
        for norm in batch_norms(self.model.backbone) if mode else ():
            if self.recipe.model.backbone.freeze_norm or not norm.weight.requires_grad:
                norm.eval()
        return self

    def on_train_start(self) -> None:
        self.train()  # Lightning does not call it

    def on_train_batch_start(self, batch: Batch | MapBatch, batch_idx: int) -> None:
        torch.manual_seed(derive_seed(self.recipe.training.seed, "step", self.current_epoch, batch_idx))

    def training_step(self, batch: Batch | MapBatch, batch_idx: int) -> Tensor | None:
        raise_on_bad_images(batch.bad, self.recipe.data.on_bad_image)
        self.bad_images.update(batch.bad)
        if not len(batch):
            return None
        inputs, labels = self.inputs(batch), batch.labels
        weighted = [(1.0, labels)]
        if self.recipe.training.mixup is not None:
            inputs, partner, weight = mix(inputs, self.recipe.training.mixup)
            weighted = [(weight, labels), (1 - weight, labels[partner])]
            labels = agreed(labels, labels[partner])
        known = self.draw_training_known(labels)
        output = self.model.decode(self.encoded(inputs, batch), known)
        loss = sum(weight * self.output_loss(output, mixed, known) for weight, mixed in weighted)
        assert isinstance(loss, Tensor)
        self._raise_if_diverged(loss)
        self._epoch_losses.append(loss.detach())
        self.log("loss", loss.detach(), prog_bar=True)
        return loss

    def _raise_if_diverged(self, loss: Tensor) -> None:
        if not torch.isfinite(loss):
            raise TagformerError(
                f"training diverged: the loss is {loss.item()} at epoch {self.current_epoch + 1}, "
                f"step {self.global_step}; "
                f"try a lower learning rate (--set optimizer.lr={self.recipe.optimizer.lr / 10:g}), "
                "gradient clipping (--set training.clip=1) or --set training.precision=32-true."
            )

    def draw_training_known(self, labels: Tensor) -> Tensor | None:
        """The known labels of a training batch, int8 (B, L); None where none are to be known."""
        known = self.recipe.known
        if not (self.model.uses_known and known.label_mask_training):
            return None
        return draw_training_known(labels, self.model.label_space, known.masking, known.min_unknown)

    def inputs(self, batch: Batch | MapBatch) -> list[Tensor]:
        """The batch's images as the network's input, or its remembered feature maps, as float32.

        The next call writes images to the same memory.
        """
        if isinstance(batch, MapBatch):
            return [array.float() for array in batch.maps]
        self._images = self.preprocessing.normalise(batch.images, out=self._images)
        return [self._images]

    def encoded(self, inputs: Sequence[Tensor], batch: Batch | MapBatch) -> Tensor:
        """The model's features (B, ...) of what `inputs` gave for a batch."""
        return self.model.encode_maps(inputs) if isinstance(batch, MapBatch) else self.model.encode(inputs[0])

    def targets(self, labels: Tensor, known: Tensor | None) -> Tensor:
        """The labels that are scored: neither known nor extra labels; the others are unknown (-1)."""
        targets = without_extra(labels, self.model.label_space)
        return targets if known is None else without_known(targets, known)

    def loss_targets(self, labels: Tensor, known: Tensor | None) -> Tensor:
        """The labels of the loss: `targets`, or with ``loss.extra_labels`` all labels that are not known."""
        if self.recipe.loss.extra_labels:
            return labels if known is None else without_known(labels, known)
        return self.targets(labels, known)

    def output_loss(self, output: ModelOutput, labels: Tensor, known: Tensor | None) -> Tensor:
        """The recipe's loss of a batch: of the logits against the labels (B, L) not known, and of the count."""
        settings = self.recipe.loss
        loss = self.loss(output.logits, self.loss_targets(labels, known), settings.reduction)
        if output.count_logits is None:
            return loss
        targets = labels[:, self.model.label_space.is_target]
        return loss + settings.count_weight * count_loss(output.count_logits, targets, reduction=settings.reduction)

    def loss(self, logits: Tensor, targets: Tensor, reduction: str) -> Tensor:
        """The recipe's loss of logits (B, L) against targets (B, L) in {1, 0, -1}; see `losses`."""
        settings = self.recipe.loss
        options = {}
        if settings.name == "asl":
            options = settings.model_dump(include={"gamma_negative", "gamma_positive", "margin"})
        return self.loss_function(logits, targets, reduction=reduction, **options)

    def validation_step(self, batch: Batch | MapBatch, batch_idx: int) -> None:
        raise_on_bad_images(batch.bad, self.recipe.data.on_bad_image)
        self.bad_images.update(batch.bad)
        if not len(batch):
            return
        known = None
        if self.model.uses_known and self.recipe.known_share_in_validation:
            order = draw_order(batch.ids, self.model.label_space)
            known, _ = draw_known(batch.labels.cpu(), order, self.recipe.known_share_in_validation, "unknown")
            known = known.to(self.device)
        logits = self.model.decode(self.encoded(self.inputs(batch), batch), known).logits
        self.validation.update(logits, self.targets(batch.labels, known), batch.ids)

    def on_validation_epoch_end(self) -> None:
        try:
            figures = self.validation.compute()
        except ValueError as error:
            raise TagformerError(f"the validation split cannot be scored: {error}.") from error
        assert self.validation.collected is not None
        logits, targets = self.validation.collected
        self.validation.reset()
        values = {MONITOR: figures["mAP"].item(), "val_CF1": figures["CF1"].item(), "val_OF1": figures["OF1"].item()}
        values["val_loss"] = self.loss(logits, targets, "mean").item()
        if self.recipe.training.monitor == "accuracy":
            values[ACCURACY] = self._accuracy(logits, targets)
        self.log_dict(values, sync_dist=False)
        if self.plateau is not None:
            self.plateau.step(values["val_loss" if self.recipe.schedule.monitor == "loss" else MONITOR])

    def _accuracy(self, logits: Tensor, targets: Tensor) -> float:
        """Mean top-1 accuracy of the groups whose labels exclude each other, as CUB's classes do."""
        label_space = self.model.label_space
        groups = {name: [label_space.index(label) for label in names] for name, names in label_space.groups.items()}
        accuracies = group_accuracy(logits.cpu(), targets.cpu(), groups).values()
        if not accuracies:
            raise TagformerError(
                "training.monitor=accuracy needs labels of which each image has exactly one: use training.monitor=mAP."
            )
        return sum(accuracies) / len(accuracies)

    def epoch_loss(self) -> float:
        """Mean training loss since the last call."""
        losses = self._epoch_losses
        mean = torch.stack(losses).mean().item() if losses else float("nan")
        self._epoch_losses = []
        return mean

    def configure_optimizers(self) -> Any:
        training = self.recipe.training
        optimizer = create_optimizer(self.model, self.recipe.optimizer)
        schedule = create_schedule(optimizer, self.recipe.schedule, self.steps_per_epoch, training.epochs)
        if isinstance(schedule, ReduceLROnPlateau):
            # Stepped in on_validation_epoch_end: Lightning would step it only after the epoch's checkpoint is saved.
            self.plateau = schedule
            if self._plateau_state:
                schedule.load_state_dict(self._plateau_state)
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["epoch_losses"] = [loss.item() for loss in self._epoch_losses]
        if self.plateau is not None:
            checkpoint["plateau"] = self.plateau.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # With EMA the first has the averaged weights and the second the others; without it there is no second.
        for key in ("state_dict", "current_model_state"):
            if key in checkpoint:
                checkpoint[key] = with_current_names(
                    checkpoint[key], self.recipe.model.name, self.state_dict(), prefix="model."
                )
        self._epoch_losses = [torch.tensor(loss, device=self.device) for loss in checkpoint["epoch_losses"]]
        if "plateau" in checkpoint:
            self._plateau_state = checkpoint["plateau"]
            if self.plateau is not None:
                self.plateau.load_state_dict(self._plateau_state)


def model_state(checkpoint_state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of the model from that of a `TrainingModule`."""
    return {name.removeprefix("model."): value for name, value in checkpoint_state.items()}
