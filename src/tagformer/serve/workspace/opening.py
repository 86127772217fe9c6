"""The workspace of a run: which images, where the answers are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tagformer.answers.store import AnswerStore
from tagformer.data.image_files import PassedOver, walk_images
from tagformer.data.load import load_dataset
from tagformer.data.registry import Spec
from tagformer.errors import TagformerError
from tagformer.labels.space import LabelSpace
from tagformer.labels.tree import LabelTree
from tagformer.runs.run import Run
from tagformer.serve.engine import Engine
from tagformer.serve.workspace.loop import Loop
from tagformer.serve.workspace.pictures import PageImage, Pictures, of_sources
from tagformer.serve.workspace.workspace import Workspace

ADDED, ANSWERS, TRAINING = "added", "answers.sqlite", "training"  # in the folder of the answers


@dataclass(frozen=True)
class PageData:
    """What the page works on.

    Attributes:
        images: the first images.
        title: of them, for people.
        left_out: one sentence for each file that is no image, or cannot be read.
        labels: int8 (N, L) of the run's labels, where the images have some.
    """

    images: list[PageImage]
    title: str
    left_out: tuple[str, ...] = ()
    labels: np.ndarray[Any, Any] | None = None


def page_data(images: str | None, run: Run) -> PageData:
    """The images of the page.

    Args:
        images: a folder, or ``FORMAT:PATH`` with its test split; None: the run's own data, or none where that cannot be
            read.
        run: the run.

    Raises:
        TagformerError: a folder without images, or data that cannot be read.
    """
    if images is not None and Path(images).expanduser().is_dir():
        folder, passed_over = Path(images).expanduser(), PassedOver()
        names = sorted(walk_images(folder, "", passed_over, follow_links=False))
        if not names:
            raise TagformerError(f"folder {folder} has no images: name another one with --images.")
        names, left_out = _text_names(names)
        if passed_over:
            left_out = (f"{folder}: passed over: {passed_over}", *left_out)
        return PageData(of_sources([folder / name for name in names], names), folder.resolve().name, left_out)
    spec = images or run.recipe.data.spec
    if spec is None:
        return PageData([], "added pictures")
    try:
        split = Spec.parse(spec).evaluation_split
        dataset = load_dataset(spec, split, "skip")
    except TagformerError as error:
        if images is not None:
            raise
        return PageData([], "added pictures", (f"The data of the run cannot be read, so there are no images: {error}",))
    sources = of_sources(dataset.images, dataset.ids)
    labels = dataset.align_to(run.label_space).labels.numpy()
    return PageData(sources, f"{dataset.name}, {split}", tuple(dataset.left_out), labels)


def _text_names(names: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """The names that are text, under which answers can be kept, and one sentence for each of the others."""
    texts, strange = [], []
    for name in names:
        try:
            name.encode()
            texts.append(name)
        except UnicodeEncodeError:
            strange.append(f"{name!r}: the name is no UTF-8 text; rename it.")
    return texts, tuple(strange)


def label_tree(file: Path | None, label_space: LabelSpace) -> LabelTree | None:
    """The tree of a CSV, or of names such as ``animal/dog``; None where the labels have none.

    Raises:
        TagformerError: see `LabelTree.from_csv`.
    """
    tree = LabelTree.from_csv(file, label_space) if file is not None else LabelTree.from_names(label_space)
    return tree or None


def page_of(
    data: PageData, folder: Path, run: Path, label_space: LabelSpace, tree: Path | None
) -> Callable[[Engine], Loop]:
    """What makes the page's parts once there is an engine; the answers are opened at once.

    Args:
        data: the images.
        folder: of the answers.
        run: that is in use.
        label_space: of its labels.
        tree: a CSV of the tree of labels.

    Raises:
        TagformerError: the answers or the tree cannot be read.
    """
    labels, store = label_tree(tree, label_space), AnswerStore(folder / ANSWERS)

    def page(engine: Engine) -> Loop:
        workspace = Workspace(engine, Pictures(data.images, folder / ADDED), store, data.title, labels)
        if data.labels is not None:
            workspace.truth[: len(data.labels)] = data.labels
        return Loop(workspace, run, folder / TRAINING)

    return page
