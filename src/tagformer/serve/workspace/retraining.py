"""The data and the recipe of a training on answers."""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from tagformer.data.load import load_training_data
from tagformer.errors import TagformerError
from tagformer.files import write_json, write_text
from tagformer.labels.space import UNKNOWN, LabelSpace
from tagformer.recipes.recipe import Recipe
from tagformer.runs.run import Run
from tagformer.serve.workspace.pictures import PageImage
from tagformer.training.stages.record import Record

APART = 5  # every fifth answered image is kept apart for the comparison
SLOWER = 0.3  # of the learning rate of the first training

Answered = tuple[PageImage, dict[str, int]]  # an image, and its answers by label


def kept_apart(answered: Sequence[Answered]) -> tuple[list[Answered], list[Answered]]:
    """The answered images that are kept apart, about a fifth, and the others.

    They are drawn by their ids, so that an image that was kept apart once is never trained on later.
    """
    apart = [pair for pair in answered if zlib.crc32(pair[0].id.encode()) % APART == 0]
    others = [pair for pair in answered if zlib.crc32(pair[0].id.encode()) % APART]
    return (apart, others) if apart and others else (list(answered[:1]), list(answered[1:]))


def own_rows(run: Run, without: set[str], most: int) -> tuple[dict[str, Mapping[str, int]], str]:
    """Some of the images that a run was trained on, so that it does not forget them, and a sentence on how many.

    Args:
        run: the run.
        without: paths of images that have answers.
        most: how many images at most.

    Returns:
        path -> label -> 1 or 0; empty where the images are no files, or cannot be read any more.
    """
    spec = run.recipe.data.spec
    try:
        if spec is None:
            raise TagformerError("the recipe names no data.")
        train = load_training_data(spec, run.recipe.data.val_fraction, run.recipe.training.seed, "skip")[0]
        train = train.align_to(run.label_space)
    except TagformerError as error:
        return {}, f"Trained on the answers alone, as the data of the run cannot be read: {error}"
    files = [(row, str(source.resolve())) for row, source in enumerate(train.images) if isinstance(source, Path)]
    files = [(row, path) for row, path in files if path not in without]
    files = files[:: max(1, -(-len(files) // most))] if most else []
    rows: dict[str, Mapping[str, int]] = {}
    for row, path in files:
        states = train.label_rows[[row]][0].tolist()
        rows[path] = {
            name: state for name, state in zip(run.label_space.names, states, strict=True) if state != UNKNOWN
        }
    return rows, f"Trained on the answers and on {len(rows)} of the images that the run was trained on."


def write_data(folder: Path, label_space: LabelSpace, splits: Mapping[str, Mapping[str, Mapping[str, int]]]) -> None:
    """Write a CSV for each split, with a column per label; empty cells are unknown.

    Args:
        folder: where they are written, with the labels.
        label_space: of the columns.
        splits: split -> path -> label -> 1 or 0.
    """
    for split, rows in splits.items():
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["path", *label_space.names])
        for path, known in rows.items():
            table.writerow([path, *(known.get(name, "") for name in label_space.names)])
        write_text(folder / f"{split}.csv", text.getvalue())
    write_json(folder / "labels.json", {**label_space.to_dict(), "exhaustive": False})


def retraining_recipe(recipe: Recipe, data: Path, run: Path) -> Recipe:
    """A recipe that goes on from a run, on other data: all at once, with a lower learning rate.

    Args:
        recipe: of the run.
        data: a folder with train.csv and val.csv.
        run: the folder of the run.
    """
    values = recipe.model_dump(mode="json")
    values["stages"] = None
    values["data"].update({"spec": f"csv:{data.resolve()}", "remembered_views": 0, "batch_size": 8})
    values["data"]["val_fraction"] = 0.1  # any but 0: there is a val.csv
    if recipe.stages is not None and not Record.load(run).keeps("evidence"):
        values["model"]["options"]["layers"] = 0  # an encoder that was not kept must not be trained now
    values["model"].update({"init": str(run.resolve()), "init_heads": True, "start_from_frequencies": False})
    values["optimizer"]["lr"] = recipe.optimizer.lr * SLOWER
    values["training"]["keep"] = "best"
    return Recipe.checked(values, "the recipe of the training")
