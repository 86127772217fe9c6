"""Whether folders can be written, a data set read, and a run used."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from tagformer.data.load import load_splits
from tagformer.data.statistics import format_warnings, label_warnings
from tagformer.doctor.finding import NOTE, OK, PROBLEM, Finding, gigabytes
from tagformer.errors import TagformerError
from tagformer.runs.run import CHECKPOINTS, LAST, METRICS, WEIGHTS, Run

LEAST_SPACE = 5e9  # bytes


def check_folder(folder: Path, what: str) -> Finding:
    """Whether files can be written there, and how much space there is.

    Args:
        folder: it need not exist; then the nearest folder above it counts.
        what: it is for.
    """
    folder = folder.expanduser().absolute()
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=existing) as file:
            file.write(b"tagformer")
            file.flush()
    except OSError as error:
        reason = error.strerror or str(error)
        return Finding(PROBLEM, f"{folder}, {what}, cannot be written ({reason})", "make it writable, or name another")
    free = shutil.disk_usage(existing).free
    if free < LEAST_SPACE:
        return Finding(NOTE, f"{folder}, {what}, has only {gigabytes(free)} free", "free some space, or name another")
    return Finding(OK, f"{folder}, {what}, has {gigabytes(free)} free")


def check_data(spec: str) -> Iterator[Finding]:
    """Whether the splits of a data set can be read, and what is strange about them; no image is opened."""
    try:
        splits = load_splits(spec, on_bad_image="skip")
    except TagformerError as error:
        yield Finding(PROBLEM, str(error).rstrip("."))
        return
    for split, dataset in splits.items():
        if dataset.left_out:
            first = dataset.left_out[0].rstrip(".")
            yield Finding(
                PROBLEM, f"{spec}, {split}: {len(dataset.left_out)} images cannot be used, the first: {first}"
            )
        yield Finding(OK, f"{spec}, {split}: {len(dataset)} images, {len(dataset.label_space)} labels")
    for warning in (*format_warnings(splits), *label_warnings(splits)):
        yield Finding(NOTE, warning.rstrip("."))
    yield Finding(OK, "the pictures themselves were not opened", f"'tagformer data {spec}' reads them all")


def check_run(folder: Path) -> Iterator[Finding]:
    """Whether a run is complete and unchanged, and can be used here."""
    try:
        run = Run.load(folder)
    except TagformerError as error:
        yield Finding(PROBLEM, str(error).rstrip("."))
        return
    resume = f"tagformer train --resume --out {folder}"
    if not (folder / WEIGHTS).is_file():
        yield Finding(PROBLEM, f"{folder} has no weights yet", f"finish its training with '{resume}'")
        return
    try:
        model = run.model()
        size = run.recipe.image.size
        with torch.inference_mode():
            logits = model(torch.zeros(1, 3, size, size)).logits
        if not logits.isfinite().all():
            yield Finding(PROBLEM, f"{folder}: its logits are no finite numbers", f"train it again, or '{resume}'")
            return
    except TagformerError as error:
        yield Finding(PROBLEM, str(error).rstrip("."))
        return
    name = f"{run.recipe.model.name} on {run.recipe.model.backbone.name}"
    yield Finding(OK, f"{folder}: {name}, {len(run.label_space)} labels, {size} pixels; its weights are unchanged")
    if (folder / CHECKPOINTS / LAST).is_file() and not (folder / METRICS).is_file():
        yield Finding(NOTE, f"{folder} has a checkpoint and no figures, so its training may have been stopped", resume)
    if not run.is_tuned:
        yield Finding(
            NOTE, f"{folder} has the threshold 0.5 for all labels", f"'tagformer tune {folder}' chooses better"
        )
    if spec := run.recipe.data.spec:
        try:
            load_splits(spec, on_bad_image="skip")
        except TagformerError as error:
            reason = str(error).rstrip(".")
            yield Finding(NOTE, f"its data cannot be read here, so it can tag but not be evaluated ({reason})")
