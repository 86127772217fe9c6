"""The first step of training: the settings and the data, checked."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tagformer.data.copies import LIMIT as COPIES_LIMIT
from tagformer.data.copies import find_copies
from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.load import load_dataset, load_training_data
from tagformer.data.registry import Spec
from tagformer.data.statistics import format_warnings, label_warnings, warning_line
from tagformer.errors import TagformerError
from tagformer.features.remember import Bars, no_bar
from tagformer.files import check_output_folder, disk_errors
from tagformer.labels.tree import LabelTree
from tagformer.recipes.recipe import Recipe
from tagformer.runs.data_digest import DataDigest
from tagformer.runs.lock import LOCK
from tagformer.runs.run import CHECKPOINTS, LABELS, LAST, RECIPE, WEIGHTS, Run, write_labels
from tagformer.training.checkpoints import check_checkpoint
from tagformer.training.stages.record import Record


def _ignore(value: Any) -> None:
    pass


@dataclass(frozen=True)
class Reporter:
    """Where training reports what it does.

    Attributes:
        message: called with lines of text.
        epoch: called with each row of the history.
        bars: show Lightning's rich progress bars.
        bar: shows a progress bar of another step, with a title and a total.

    >>> from tagformer.training import Reporter
    >>> Reporter(message=print).message("96 images to train on")
    96 images to train on
    """

    message: Callable[[str], None] = _ignore
    epoch: Callable[[dict[str, Any]], None] = _ignore
    bars: bool = False
    bar: Bars = no_bar


@dataclass(frozen=True)
class Prepared:
    """What training starts from.

    Attributes:
        recipe: the settings; `build` completes them with what it finds out about the backbone.
        folder: the run folder.
        train, val: the data.
        resume: whether the run may go on from its last checkpoint.
        fresh: whether it starts from its first step, because there is no checkpoint, and no stage is done.
    """

    recipe: Recipe
    folder: Path
    train: MultiLabelDataset
    val: MultiLabelDataset
    resume: bool
    fresh: bool

    @property
    def checkpoint(self) -> Path:
        """The file of the last checkpoint."""
        return self.folder / CHECKPOINTS / LAST


def prepare(recipe: Recipe, folder: Path, resume: bool, reporter: Reporter) -> Prepared:
    """Check the run folder and load the data.

    Raises:
        TagformerError: the folder is in use, its checkpoint is damaged, or the data cannot be loaded.
    """
    _check_folder(folder, resume)
    if resume:
        check_resumable(folder, recipe)
    recipe = recipe.model_copy(deep=True)
    data = recipe.data
    if data.spec is None:
        raise TagformerError("no data: name it with --data FORMAT:PATH, for example --data csv:my.csv.")
    on_bad_image = data.on_bad_image if recipe.uses_image else "keep"
    train, val = load_training_data(data.spec, data.val_fraction, recipe.training.seed, on_bad_image)
    if data.tree is not None:
        tree = LabelTree.from_csv(Path(data.tree).expanduser(), train.label_space)
        closed = tree.close(train.labels)
        reporter.message(f"{int((closed != train.labels).sum()):,} states of labels follow from {data.tree}.")
        train, val = train.replace(labels=closed), val.replace(labels=tree.close(val.labels))
    reporter.message(f"{len(train)} images to train on, {len(val)} to validate, {len(train.label_space)} labels.")
    for warning in _warnings(data.spec, train, val, recipe.uses_image):
        reporter.message(warning_line(warning))
    checkpoint = folder / CHECKPOINTS / LAST
    fresh = not checkpoint.is_file() and "head" not in Record.load(folder)
    if checkpoint.is_file():
        check_checkpoint(checkpoint)
    return Prepared(recipe, folder, train, val, resume, fresh)


def check_resumable(folder: Path, recipe: Recipe) -> None:
    """Check that resuming a run does not train from the start over weights that it has.

    A run in stages goes on after the last one that is done.

    Raises:
        TagformerError: the run has weights, but no checkpoint to go on from.
    """
    if recipe.stages is None and (folder / WEIGHTS).is_file() and not (folder / CHECKPOINTS / LAST).is_file():
        raise TagformerError(
            f"{folder} has weights but no {CHECKPOINTS}/{LAST} to go on from: train into another --out, or delete its "
            f"{WEIGHTS}, and the same command trains from the start."
        )


def _warnings(spec: str, train: MultiLabelDataset, val: MultiLabelDataset, uses_image: bool) -> list[str]:
    """What `tagformer data` warns of, as far as it can be found without decoding the images.

    Copies of an image are looked for in the test split too, if it is small and can be loaded.
    """
    splits = {"train": train} | ({"val": val} if len(val) else {})
    warnings = format_warnings(splits) + label_warnings(splits)
    if not uses_image or not isinstance(train.images[0], Path) or len(train) + len(val) > COPIES_LIMIT:
        return warnings
    parsed = Spec.parse(spec)
    if parsed.evaluation_split == "test":
        with suppress(TagformerError):  # its faults are reported when it is scored
            splits["test"] = load_dataset(spec, "test", on_bad_image="keep")
    return warnings + find_copies(splits).warnings


def save_settings(prepared: Prepared) -> None:
    """Write the recipe, the labels and the data's digest to the run folder, or check them for a resumed run.

    Raises:
        TagformerError: the run was started with other labels or other data.
    """
    folder, train = prepared.folder, prepared.train
    check_output_folder(folder)
    with disk_errors(folder, folder, prepared.checkpoint.parent):
        prepared.checkpoint.parent.mkdir(parents=True, exist_ok=True)
    if not prepared.resume or not (folder / RECIPE).is_file():
        prepared.recipe.save(folder / RECIPE)
    if not (folder / LABELS).is_file():
        write_labels(folder, train.label_space, frequencies=train.frequencies)
    elif Run.load(folder).label_space != train.label_space:
        raise TagformerError(f"{folder} was started with other labels than its data has now: train into another --out.")
    digest = DataDigest.of(train, prepared.val)
    if prepared.resume and not prepared.fresh:
        digest.check(folder)
    else:
        digest.save(folder)


def _check_folder(folder: Path, resume: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise TagformerError(f"{folder} is a file: choose another --out.")
    if not resume and any(file.name != LOCK and not file.is_dir() for file in folder.rglob("*")):
        raise TagformerError(
            f"{folder} is not empty: choose another --out, or go on with 'tagformer train --resume --out {folder}'."
        )
