"""Data sets by address: ``load_dataset("coco:/path", split="train")``."""

from __future__ import annotations

from pathlib import Path

from tagformer.data.dataset import SPLITS, MultiLabelDataset
from tagformer.data.image_paths import almost_all_missing, diagnosis, find_files, missing_files
from tagformer.data.own_formats import load_with
from tagformer.data.registry import Spec, get_format
from tagformer.data.splits import split_by_id
from tagformer.errors import BadImageError, TagformerError, did_you_mean
from tagformer.labels.names import similarity_warnings
from tagformer.labels.space import PRESENT, LabelSpace

SAMPLED, SAMPLE = 100_000, 500  # of more images that are kept in any case, only a sample is looked for


def load_dataset(spec: str, split: str = "train", on_bad_image: str = "error") -> MultiLabelDataset:
    """Load one split of a data set.

    Args:
        spec: ``format[:path][?option=value&...]``, for example ``csv:my.csv``, ``coco:/data/coco?annotated=all``,
            ``scenes?images=2000&seed=1``.
        split: ``train``, ``val``, ``test`` or ``all``. Where the data defines no splits, they are drawn by id: 80 %
            train, 10 % val, 10 % test.
        on_bad_image: what to do with an image file that does not exist: ``error``, ``skip`` (leave the image out), or
            ``keep`` (report it when it is read).

    Returns:
        The data set; its ``labels`` are int8 (N, L).

    Raises:
        TagformerError: the spec or a file is wrong; the message names the file and the line.

    >>> dataset = load_dataset("scenes?images=12", split="val")
    >>> dataset.labels.shape, dataset.labels.dtype
    (torch.Size([2, 14]), torch.int8)
    """
    parsed = Spec.parse(spec)
    if split not in (*SPLITS, "all"):
        raise TagformerError(f"unknown split '{split}'{did_you_mean(split, SPLITS)}: use train, val, test or all.")
    format_, splits = get_format(parsed.format), parsed.splits
    if splits and split not in (*splits, "all"):
        raise TagformerError(f"{spec} has no '{split}' split; it has {', '.join(splits)}.")
    dataset = load_with(parsed.format, format_, parsed.path, split if splits else "all", parsed.options)
    dataset = dataset.replace(warnings=dataset.warnings + similarity_warnings(dataset.label_space.names))
    if not splits and split != "all":
        dataset = dataset.subset(split_by_id(dataset.ids, {"val": 0.1, "test": 0.1})[split])
    if not len(dataset):
        raise TagformerError(f"{spec} has no images in its '{split}' split.")
    if format_.images_often_missing and on_bad_image == "error":
        on_bad_image = "skip"
    return _with_existing_files(dataset, parsed, on_bad_image)


def load_training_data(
    spec: str, val_fraction: float = 0.1, seed: int = 0, on_bad_image: str = "error"
) -> tuple[MultiLabelDataset, MultiLabelDataset]:
    """Load the training and the validation split.

    Args:
        spec: as in `load_dataset`, as is `on_bad_image`.
        val_fraction: the share of ``train`` used for validation, where the data defines splits but no ``val``. With 0
            all of ``train`` is trained on, and the validation split is empty.
        seed: of that draw.

    Raises:
        TagformerError: as `load_dataset`; no training split; a split in which no image has a label.

    >>> train, val = load_training_data("scenes?images=12")
    >>> len(train), len(val)
    (12, 2)
    """
    train = load_dataset(spec, "train", on_bad_image)
    splits = Spec.parse(spec).splits
    if not splits or "val" in splits:
        val = load_dataset(spec, "val", on_bad_image)
    elif val_fraction == 0:
        val = train.subset([])
    else:
        parts = split_by_id(train.ids, {"val": val_fraction}, seed)
        train, val = train.subset(parts["train"]), train.subset(parts["val"])
    val = with_labels_of(train, val, f"{spec}: the val split")
    for dataset, name in ((train, "training"), (val, "validation")):
        if len(dataset) and not dataset.label_rows.count(PRESENT)[dataset.label_space.is_target].any():
            raise TagformerError(
                f"{spec}: no image of the {name} split has a label: check the table, or give more images."
            )
    return train, val


def load_splits(spec: str, split: str = "all", on_bad_image: str = "error") -> dict[str, MultiLabelDataset]:
    """The splits that the data defines, with the same labels in the same order; or one split.

    Args:
        spec: as in `load_dataset`, as is `on_bad_image`.
        split: the name of one split; ``all``: every split that the data defines, or ``all`` where it defines none.

    Raises:
        TagformerError: as `load_dataset`; splits with different labels.

    >>> from tagformer.data.load import load_splits
    >>> {name: len(dataset) for name, dataset in load_splits("scenes?images=6").items()}
    {'train': 6, 'val': 1, 'test': 1}
    """
    names = Spec.parse(spec).splits if split == "all" else ()
    datasets: dict[str, MultiLabelDataset] = {}
    for name in names or (split,):
        dataset = load_dataset(spec, name, on_bad_image)
        first = next(iter(datasets.values()), dataset)
        datasets[name] = with_labels_of(first, dataset, f"{spec}: the {name} split")
    return datasets


def with_labels_of(first: MultiLabelDataset, other: MultiLabelDataset, what: str) -> MultiLabelDataset:
    """Another split of a data set with the columns in the order of the first split.

    Args:
        first: the split with the order.
        other: the split to reorder.
        what: names the other split, for the message: "csv:my.csv: the val split".

    Raises:
        TagformerError: the splits have different labels, groups of labels or extra labels.
    """
    space, names = other.label_space, first.label_space.names
    if space == first.label_space:
        return other
    different = sorted(set(space.names) ^ set(names))
    if different:
        raise TagformerError(
            f"{what} has other labels than the first split ({len(space)} and {len(names)} labels; for example "
            f"'{different[0]}' is in one of them only): give every split the same labels."
        )
    if _roles(space) != _roles(first.label_space):
        raise TagformerError(f"{what} has other groups or extra labels than the first split: give all splits the same.")
    return other.align_to(first.label_space)


def _roles(space: LabelSpace) -> tuple[set[str], dict[str, set[str]]]:
    """The extra labels and the groups, whatever their order."""
    return set(space.extra), {group: set(members) for group, members in space.groups.items()}


def diagnose_images(spec: str, dataset: MultiLabelDataset) -> str | None:
    """One sentence on why none or almost none of the image files of a loaded data set exists; None where most do."""
    missing = missing_files(dataset)
    if not almost_all_missing(dataset, missing):
        return None
    folder, has_option = _image_folder(Spec.parse(spec))
    return diagnosis(dataset, missing, folder, has_option)


def _with_existing_files(dataset: MultiLabelDataset, spec: Spec, on_bad_image: str) -> MultiLabelDataset:
    """The data set with the paths of other machines corrected, and without the images whose files do not exist."""
    if on_bad_image == "keep" and len(dataset) > SAMPLED:
        sample = dataset.sample_evenly(SAMPLE)
        missing = missing_files(sample)
        if not missing or len(find_files(sample, missing, _image_folder(spec)[0])[1]) == len(missing):
            return dataset
    missing = missing_files(dataset)
    if not missing:
        return dataset
    folder, has_option = _image_folder(spec)
    dataset, missing = find_files(dataset, missing, folder)
    if not missing or on_bad_image == "keep":
        return dataset
    if almost_all_missing(dataset, missing) and (on_bad_image == "error" or len(missing) == len(dataset)):
        raise BadImageError(diagnosis(dataset, missing, folder, has_option))
    if len(missing) == len(dataset) and on_bad_image == "skip":
        raise TagformerError(f"{dataset.name}: none of its {len(dataset)} image files exists.")
    if on_bad_image == "skip":
        skipped = set(missing)
        rest = dataset.subset([i for i in range(len(dataset)) if i not in skipped])
        return rest.replace(left_out=tuple(f"image {dataset.images[i]} does not exist." for i in missing))
    where = dataset.origins[missing[0]] + ": " if dataset.origins else ""
    more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
    raise BadImageError(
        f"{where}image {dataset.images[missing[0]]} does not exist{more}: fix the path, or leave such images out "
        "with --on-bad-image skip."
    )


def _image_folder(spec: Spec) -> tuple[Path | None, bool]:
    """The folder that the option ``images`` of an address names, and whether the format has this option."""
    if "images" not in get_format(spec.format).path_options:
        return None, False
    return (Path(spec.options["images"]) if "images" in spec.options else None), True
