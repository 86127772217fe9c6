"""Data sets by address: ``load_dataset("coco:/path", split="train")``."""

from __future__ import annotations

from pathlib import Path

from tagformer.data.dataset import SPLITS, MultiLabelDataset
from tagformer.data.registry import FORMATS, Spec
from tagformer.data.splits import split_by_id
from tagformer.errors import BadImageError, TagformerError, did_you_mean
from tagformer.labels.space import PRESENT


def load_dataset(spec: str, split: str = "train", on_bad_image: str = "error") -> MultiLabelDataset:
    """Load one split of a data set.

    Args:
        spec: ``format[:path][?option=value&...]``, for example ``csv:my.csv``, ``coco:/data/coco?annotated=all``,
            ``scenes?images=2000&seed=1``.
        split: ``train``, ``val``, ``test`` or ``all``. Where the data defines no splits, one is drawn by id:
            80 % train, 10 % val, 10 % test.
        on_bad_image: what to do with an image file that is not there: ``error``, ``skip`` (leave it out), or ``keep``
            (find out when it is read).

    Returns:
        The data set; its ``labels`` are int8 (N, L).

    Raises:
        TagformerError: the spec or the files are at fault; the message names the file and the line.
    """
    parsed = Spec.parse(spec)
    if split not in (*SPLITS, "all"):
        raise TagformerError(f"unknown split '{split}'{did_you_mean(split, SPLITS)}: use train, val, test or all.")
    own = parsed.splits
    if own and split not in (*own, "all"):
        raise TagformerError(f"{spec} has no '{split}' split; it has {', '.join(own)}.")
    dataset = FORMATS[parsed.format].load(parsed.path, split if own else "all", parsed.options)
    if not own and split != "all":
        parts = split_by_id(dataset.ids, {"val": 0.1, "test": 0.1})
        dataset = dataset.subset(parts[split])
    if not len(dataset):
        raise TagformerError(f"{spec} has no images in its '{split}' split.")
    if FORMATS[parsed.format].some_missing and on_bad_image == "error":
        on_bad_image = "skip"
    return _without_missing_files(dataset, on_bad_image)


def load_training_data(
    spec: str, val_fraction: float = 0.1, seed: int = 0, on_bad_image: str = "error"
) -> tuple[MultiLabelDataset, MultiLabelDataset]:
    """The training and the validation split; where the data defines splits but no ``val``, it is drawn from ``train``.

    Raises:
        TagformerError: as `load_dataset`; no training split; a split in which no image has a label.
    """
    train = load_dataset(spec, "train", on_bad_image)
    own = Spec.parse(spec).splits
    if not own or "val" in own:
        val = load_dataset(spec, "val", on_bad_image)
    else:
        parts = split_by_id(train.ids, {"val": val_fraction}, seed)
        train, val = train.subset(parts["train"]), train.subset(parts["val"])
    for part, name in ((train, "training"), (val, "validation")):
        if not part.label_rows.count(PRESENT)[part.label_space.is_target].any():
            raise TagformerError(
                f"{spec}: no image of the {name} split has a label: check the table, or give more images."
            )
    return train, val


def _without_missing_files(dataset: MultiLabelDataset, on_bad_image: str) -> MultiLabelDataset:
    if on_bad_image == "keep":
        return dataset
    missing = [i for i, image in enumerate(dataset.images) if isinstance(image, Path) and not image.is_file()]
    if not missing:
        return dataset
    if on_bad_image == "skip":
        gone = set(missing)
        if len(gone) == len(dataset):
            raise TagformerError(f"{dataset.name}: none of its {len(dataset)} image files exists.")
        rest = dataset.subset([i for i in range(len(dataset)) if i not in gone])
        return rest.replace(left_out=tuple(f"image {dataset.images[i]} does not exist." for i in missing))
    where = dataset.origins[missing[0]] + ": " if dataset.origins else ""
    more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
    raise BadImageError(
        f"{where}image {dataset.images[missing[0]]} does not exist{more}: mend the path, or leave such images out "
        "with --on-bad-image skip."
    )
