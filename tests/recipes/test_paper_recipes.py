"""Every value of the papers' recipes, against tables typed from the papers and from the authors' code."""

from __future__ import annotations

import ast
from typing import Any

import pytest

from tagformer.backbones.mltr.variants import VARIANTS
from tagformer.backbones.mltr.weights import swin_name
from tagformer.metrics import PROTOCOLS
from tagformer.recipes import load_recipe
from tagformer.recipes.image_sizes import IMAGE_SIZES

# CAT, section 3.1: 512 to 448 with ML-GCN's multi-scale crop, SGD with momentum .9, lr .01 divided by 10 every 30
# epochs, 60 epochs, batches of 16; section 2: ResNeXt50-sws1, 1024 channels, two layers, 8 heads.
CAT = """
image.size=448 image.resize=squash image.crop=multi_scale image.flip=0.5 image.rand_augment=None image.cutout=0.0
image.mean=None image.std=None image.brightness=0.0 image.saturation=0.0
model.name=cat model.backbone.name=resnext50_32x4d.fb_swsl_ig1b_ft_in1k model.backbone.pretrained=True
model.backbone.frozen_maps=0 model.backbone.freeze_norm=False
model.options.width=1024 model.options.layers=2 model.options.heads=8 model.options.norm_first=False
model.options.standardise=False loss.name=bce loss.reduction=mean
optimizer.name=sgd optimizer.lr=0.01 optimizer.momentum=0.9 optimizer.weight_decay=0.0001
optimizer.backbone_lr_factor=1.0 schedule.name=step schedule.step_epochs=30 schedule.factor=0.1 schedule.warmup=0.0
data.batch_size=16 data.sampling=uniform training.epochs=60 training.precision=32-true training.ema=None
training.clip=None training.mixup=None training.accumulate=1
"""
# C-Tran's code: 640, crops, 576; ResNet-101, 3 layers, 4 heads, dropout .1; sum of BCE over the unknown labels; Adam
# 1e-5 without weight decay, plateau of the validation loss (5 epochs, x .1), batches of 16, 100 epochs; no EMA, no AMP.
CTRAN = """
image.size=576 image.resize=ctran image.crop=ctran image.flip=0.5 image.rand_augment=None image.cutout=0.0
image.mean=None image.std=None image.brightness=0.0 image.saturation=0.0
model.name=ctran model.backbone.name=resnet101.tv_in1k model.backbone.pretrained=True model.backbone.frozen_maps=0
model.backbone.freeze_norm=False model.options.layers=3 model.options.heads=4 model.options.dropout=0.1
loss.name=bce loss.reduction=sum loss.extra_labels=False
known.label_mask_training=True known.min_unknown=0.25 known.masking=('labels',)
optimizer.name=adam optimizer.lr=1e-05 optimizer.weight_decay=0.0 optimizer.backbone_lr_factor=1.0
schedule.name=plateau schedule.monitor=loss schedule.patience=5 schedule.factor=0.1 schedule.warmup=0.0
data.batch_size=16 training.accumulate=1 training.epochs=100 training.precision=32-true training.ema=None
training.clip=None training.mixup=None training.monitor=mAP
"""
# C-Tran's code on CUB: Inception-v3 at 299, crops of .08 to 1 with ColorJitter(32 / 255, saturation .5), tests crop the
# centre; classes are never known; the loss is the mean over all unknown labels, concepts included.
CUB = """
image.size=299 image.resize=centre image.crop=None image.crop_scale=(0.08,1.0) image.flip=0.5 image.brightness=0.12549
image.saturation=0.5 image.mean=(0.5,0.5,0.5) image.std=(2.0,2.0,2.0) model.backbone.name=inception_v3.tv_in1k
loss.reduction=mean loss.extra_labels=True known.masking=('extra_labels',) training.monitor=accuracy
"""
# MlTr, section 4.1: ASL with gamma+ 0, gamma- 4, m .05; s = 8; Adam, one cycle, 1e-4, 200 epochs, cutout, RandAugment;
# ASL's code: squash, no flip, no normalisation by crops, cutout .5, weight decay 1e-4, pct_start .2, EMA .9997.
MLTR = """
image.size=224 image.resize=squash image.crop=None image.crop_scale=None image.flip=0.0 image.rand_augment=9
image.cutout=0.5 image.brightness=0.0 image.saturation=0.0
model.name=mltr model.backbone.name=mltr_s model.backbone.pretrained=True model.backbone.options.imagenet=22k
model.options.arc_sigmoid=8.0 model.options.object_aware_token=True
loss.name=asl loss.reduction=batchmean loss.gamma_negative=4.0 loss.gamma_positive=0.0 loss.margin=0.05
loss.count_weight=1.0 optimizer.name=adam optimizer.lr=0.0001 optimizer.weight_decay=0.0001
optimizer.backbone_lr_factor=1.0 schedule.name=onecycle schedule.warmup=0.2 training.epochs=200 training.ema=0.9997
training.mixup=None training.clip=None training.accumulate=1
"""
TABLES: dict[str, tuple[str, str]] = {
    "cat-coco80": (CAT, ""),
    "cat-voc2007": (CAT, ""),
    "ctran-coco80": (CTRAN, ""),
    "ctran-coco1000": (CTRAN, ""),
    "ctran-vg500": (CTRAN, ""),
    "ctran-news500": (CTRAN, ""),
    "ctran-voc2007": (CTRAN, "training.accumulate=2"),
    "ctran-cub": (CTRAN, CUB),
    "mltr-coco80": (MLTR, ""),
    "mltr-m-384": (MLTR, "model.backbone.name=mltr_m image.size=384"),
    "mltr-l-384": (MLTR, "model.backbone.name=mltr_l image.size=384"),
    "mltr-nuswide": (MLTR, "model.backbone.name=mltr_l image.size=384"),
    "mltr-voc2007": (MLTR, "model.backbone.name=mltr_l image.size=384 model.backbone.options.imagenet=1k"),
}
# Section 4, Tables 2 to 4; C-Tran's Tables 1 to 3; CAT's Tables 1 and 2.
MAPS = {
    "cat-coco80": ("mAP", 87.4),
    "cat-voc2007": ("mAP", 96.2),
    "ctran-coco80": ("mAP, 0 % known", 85.1),
    "ctran-vg500": ("mAP, 75 % known", 41.5),
    "ctran-news500": ("mAP, 50 % known", 35.5),
    "ctran-coco1000": ("mAP, 25 % known", 35.9),
    "mltr-coco80": ("mAP, from ImageNet-22k", 83.9),
    "mltr-m-384": ("mAP", 86.8),
    "mltr-l-384": ("mAP", 88.5),
    "mltr-voc2007": ("mAP", 95.8),
    "mltr-nuswide": ("mAP", 66.3),
}


def table(*texts: str) -> dict[str, Any]:
    """The values of tables by key; those of later tables replace earlier ones."""
    values: dict[str, Any] = {}
    for pair in " ".join(texts).split():
        key, _, text = pair.partition("=")
        try:
            values[key] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            values[key] = text
    return values


@pytest.mark.parametrize("name", TABLES)
def test_every_value_is_the_paper_s_or_the_authors_code_s(name: str) -> None:
    recipe = load_recipe(name)
    expected = table(*TABLES[name])
    assert {key: recipe.value(key) for key in expected} == expected


@pytest.mark.parametrize("name", TABLES)
def test_every_model_option_is_in_the_table_or_ours(name: str) -> None:
    recipe = load_recipe(name)
    untyped = {f"model.options.{option}" for option in recipe.model.options} - table(*TABLES[name]).keys()
    assert untyped <= {"model.options.feedforward", "model.options.dropout"}
    if untyped:
        assert "feedforward and dropout ours" in recipe.sources["model.options"]
    for key in ("data.workers", "data.val_fraction"):
        assert recipe.sources[key].startswith("ours")


@pytest.mark.parametrize("name", MAPS)
def test_a_figure_of_each_recipe_is_that_of_the_paper_s_table(name: str) -> None:
    figure, value = MAPS[name]
    assert load_recipe(name).figures[figure] == value


def test_the_swin_transformers_are_of_the_paper_s_imagenet() -> None:
    assert swin_name("mltr_s", "22k") == "swin_tiny_patch4_window7_224.ms_in22k"
    assert swin_name("mltr_m", "22k") == "swin_small_patch4_window7_224.ms_in22k"
    assert swin_name("mltr_l", "22k") == "swin_base_patch4_window12_384.ms_in22k"
    assert swin_name("mltr_l", "1k") == "swin_base_patch4_window12_384.ms_in1k"
    assert swin_name("mltr_s") == "swin_tiny_patch4_window7_224.ms_in1k"  # without a paper's recipe


def test_the_papers_protocols_predict_from_a_half() -> None:
    assert (PROTOCOLS["mltr"].threshold, PROTOCOLS["mltr"].class_f1, PROTOCOLS["mltr"].strict) == (0.5, "mean", True)
    assert PROTOCOLS["asl"].threshold == 0.8
    assert PROTOCOLS["ctran"].threshold == PROTOCOLS["mlgcn"].threshold == 0.5


def test_the_image_size_follows_the_variant_of_mltr() -> None:
    assert IMAGE_SIZES == {name: variant["image_size"] for name, variant in VARIANTS.items()}
    recipe = load_recipe("mltr-coco80")
    assert recipe.overridden(["model.backbone.name=mltr_l"]).image.size == 384
    assert recipe.overridden(["model.backbone.name=mltr_l", "image.size=224"]).image.size == 224
    assert load_recipe("mltr-m-384").overridden(["model.backbone.name=mltr_s"]).image.size == 224
    assert recipe.overridden(["model.backbone.name=resnet50"]).image.size == 224
    assert recipe.overridden(["image.size=320"]).image.size == 320
