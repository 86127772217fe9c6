"""A recipe chosen from the data, for those who have none, and an estimate of the training time."""

from __future__ import annotations

import copy
import math
import os
import statistics
import time
from typing import Any

import timm
import torch
from torch import Tensor

from tagformer.backbones.mltr.variants import VARIANTS
from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.loader.loader import ImageItems
from tagformer.errors import BadImageError, TagformerError
from tagformer.extensions import is_reference
from tagformer.features.batches import RememberedItems
from tagformer.images.reading import open_picture
from tagformer.labels.space import UNKNOWN
from tagformer.models.base import MultiLabelModel
from tagformer.models.registry import model_class
from tagformer.recipes.image_sizes import IMAGE_SIZES
from tagformer.recipes.recipe import Recipe
from tagformer.recipes.settings import WITHOUT_WEIGHTS
from tagformer.runs.run import default_device

VISITS = 40_000  # training images in all epochs together
MOST_EPOCHS = 12  # of the whole network, in the last of the stages
SAMPLE = 64  # images whose size is measured
MANY_LABELS = 200  # from this number on C-Tran on evidence has no encoder layers on a CPU, only co-occurrence
MANY_TOKENS = 150  # from this number on C-Tran has one layer on a CPU
# Learning rates; others have 1e-3, and a pretrained backbone a tenth. Those of the last two are for pretrained features
# (docs/heads.md), and their backbone has 1e-4 as that of the others.
RATES = {"ctran": 1.5e-3, "query2label": 1e-4, "ml_decoder": 3e-4}


def plan_recipe(dataset: MultiLabelDataset, model: str = "evidence", backbone: str | None = None) -> Recipe:
    """Choose a recipe for a training set: image size, epochs, batch size and network follow the data and the machine.

    Args:
        dataset: the training split.
        model: a name that `create_model` accepts. A model of your own gets no options.
        backbone: a name that `create_backbone` accepts; None chooses a light one without a GPU. A named variant of MlTr
            brings its own image size.
    """
    gpu = torch.cuda.is_available()
    typical = typical_size(dataset)
    size = min(448 if gpu else 224, max(64, 32 * round(typical / 32)))
    light = "resnet50" if gpu else "tf_efficientnet_lite2" if model == "evidence" else "mobilenetv3_large_100"
    network = backbone or ("mltr_s" if model == "mltr" else light)
    size = IMAGE_SIZES.get(backbone or "", size)
    pretrained = network not in WITHOUT_WEIGHTS and not is_reference(network)
    rate = RATES.get(model, 1e-3) if pretrained or model == "ctran" else 1e-3
    epochs = min(40, max(5, round(VISITS / len(dataset))))
    batch = min(32 if gpu else 16, max(4, len(dataset) // 8))
    steps = epochs * max(1, len(dataset) // batch)
    tokens = len(dataset.label_space) + (size // 32) ** 2
    options: dict[str, Any] = {}
    if model == "ctran":
        width, layers = (256, 2) if gpu else (128, 1 if tokens >= MANY_TOKENS else 2)
        options = {
            "width": width,
            "layers": layers,
            "feedforward": width // 4,
            "dropout": 0.1,
            "attention_dropout": 0.0,  # torch's fused attention does not support it on a CPU
            "state_embedding": "per_label",
            "image_dropout": 0.15,
            "image_share": 0.8 if tokens >= MANY_TOKENS else 0.5,  # attention on the image, despite many labels
            "attention_gain": 4.0,
        }
    elif model == "evidence" and len(dataset.label_space) >= MANY_LABELS and not gpu:
        options = {"width": 64, "layers": 0}  # their time grows with the square of the labels
    elif model in ("cat", "fpn"):
        options = {"width": 512 if gpu else 128}  # the paper's 1024 takes forty times as long as the backbone
    elif model in ("query2label", "ml_decoder"):
        width = 512 if gpu else 256  # the papers' 2048 and 768 are for 80 to 9,600 labels on several GPUs
        options = {"width": width, "feedforward": 2 * width}
    values: dict[str, Any] = {
        "name": f"{model}-auto",
        "source": "chosen from the data by tagformer train",
        "image": {"size": size, "crop_scale": [0.6, 1.0]},
        "model": {
            "name": model,
            "options": options,
            "start_from_frequencies": _has_output_bias(model),
            "backbone": {
                "name": network,
                "pretrained": pretrained,
                "freeze_norm": pretrained,
                # The fine maps cost most of a step's time. MlTr's contain blocks that are not in a Swin transformer's
                # weights, and have to be trained.
                "frozen_maps": 2 if pretrained and not gpu and network not in VARIANTS else 0,
            },
        },
        "loss": {"name": "asl", "reduction": "batchmean"} if model == "mltr" else {},
        "known": {"min_unknown": 0.5},
        "data": {"batch_size": batch, "workers": min(8, os.cpu_count() or 1)},
        "optimizer": {
            "lr": rate,
            "backbone_lr_factor": max(0.1, round(1e-4 / rate, 2)) if pretrained else 1.0,
            "weight_decay": 0.05,
        },
        "training": {"epochs": epochs, "clip": 1.0, "ema": round(1 - min(0.1, 20 / steps), 5)},
    }
    if model == "evidence":
        larger = 32 * round(1.3 * size / 32)  # also where the images are smaller: pretrained networks see more then
        tries = pretrained and timm.is_model(network)
        tries = tries and not timm.get_pretrained_cfg_value(network, "fixed_input_size")
        values["stages"] = {"sizes": [size, larger] if tries else []}
        values["data"]["val_fraction"] = 0  # the folds of the stages take the place of a drawn split
        values["optimizer"].update({"lr": 3e-4, "backbone_lr_factor": 1.0})
        values["training"].update({"ema": 0.99, "keep": "last", "epochs": MOST_EPOCHS})
    return Recipe.checked(values, "the planned recipe")


def _has_output_bias(model: str) -> bool:
    """Whether a model can start from the frequencies of the labels; the arc sigmoid of MlTr has no bias."""
    return model != "mltr" and model_class(model).output_bias is not MultiLabelModel.output_bias


def typical_size(dataset: MultiLabelDataset) -> float:
    """Median over a sample of images of the square root of width times height, in pixels.

    Raises:
        TagformerError: no image of the sample can be opened.
    """
    step = max(1, len(dataset) // SAMPLE)
    sizes = []
    for source in dataset.images[::step]:
        try:
            picture = open_picture(source)
        except BadImageError:
            continue  # reported when they are read
        sizes.append(math.sqrt(picture.width * picture.height))
    if not sizes:
        raise TagformerError(f"{dataset.name}: none of its images can be opened, the first is {dataset.images[0]}.")
    return statistics.median(sizes)


def random_images(count: int, size: int, device: torch.device) -> Tensor:
    """Images (B, 3, H, W) to measure a network's speed with; on images of zeros it is another on some processors."""
    images = torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))
    return images.to(device).contiguous(memory_format=torch.channels_last)


def seconds_per_image(model: MultiLabelModel, items: ImageItems, recipe: Recipe) -> float:
    """Training time per image on this machine: reading it, and its share of a step, both measured.

    On a CPU reading and training use the same cores, so the times are added; with a GPU the slower one counts.

    Args:
        model: it is copied; the step is measured on random images, or on remembered features.
        items: the training images, or their remembered features.
        recipe: with the image size, the batch size, and which part of the backbone is frozen.
    """
    size, batch_size = recipe.image.size, recipe.data.batch_size
    began = time.monotonic()
    count = min(batch_size, len(items))
    read = [items[index] for index in range(count)]
    reading = (time.monotonic() - began) / count / (os.cpu_count() or 1)

    device = default_device()
    trial = copy.deepcopy(model).to(device).train()
    trial.backbone.freeze(recipe.frozen_maps)
    inputs = [random_images(batch_size, size, device)]
    if remembered := isinstance(items, RememberedItems):
        inputs = [array.float().to(device) for array in items.collate(read).maps]
    images = len(inputs[0])
    if not images:
        return 0.0
    known = None
    if model.uses_known:
        known = torch.full((images, len(model.label_space)), UNKNOWN, dtype=torch.int8, device=device)
    times = []
    optimizer = torch.optim.AdamW([parameter for parameter in trial.parameters() if parameter.requires_grad])
    with torch.random.fork_rng():
        for _ in range(3):
            began = time.monotonic()
            optimizer.zero_grad()
            features = trial.encode_maps(inputs) if remembered else trial.encode(inputs[0])
            loss = trial.decode(features, known).logits.sum()
            loss.backward()
            optimizer.step()
            loss.item()  # waits for a GPU
            times.append(time.monotonic() - began)
    step = min(times) / images
    return max(step, reading) if device.type == "cuda" else step + reading
