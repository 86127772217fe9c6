"""A run's evaluation on a split: computed once, kept in the run folder, and read back for reports and comparisons."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.load import load_dataset, load_training_data
from tagformer.data.registry import Spec
from tagformer.errors import TagformerError
from tagformer.evaluation.evaluate import Evaluation, KnownPoint, evaluate_model
from tagformer.evaluation.options import EvaluationOptions
from tagformer.files import atomic_write, open_regular
from tagformer.metrics.scores import evaluate
from tagformer.models.feedback import FeedbackPropagation
from tagformer.runs.run import Run, default_device

FOLDER = "predictions"
Progress = Callable[[int], None]


@dataclass(frozen=True)
class SplitOfRun:
    """A split of a data set with the columns of a run's labels.

    Attributes:
        spec: the data, ``format:path``.
        split: the split's name.
        dataset: the images, with the run's labels as columns.
        missing: labels of the run that the data does not have.
        exhaustive: whether the missing labels count as absent; otherwise they are unknown.

    >>> from tagformer.evaluation import load_split
    >>> from tagformer.runs import Run
    >>> test = load_split(Run.load("runs/mine"))
    >>> test.split, len(test.dataset), test.missing
    ('test', 16, ())
    """

    spec: str
    split: str
    dataset: MultiLabelDataset
    missing: tuple[str, ...]
    exhaustive: bool


def load_split(run: Run, spec: str | None = None, split: str | None = None, on_bad_image: str = "error") -> SplitOfRun:
    """Load the split that a run is scored on; a validation split that training drew is drawn again, image for image.

    Args:
        run: the run.
        spec: the data; the run's own when None.
        split: None: test, or val where the data has no test.
        on_bad_image: ``error`` or ``skip``.

    Raises:
        TagformerError: no data, no such split, or data that has none of the run's labels.

    >>> from tagformer.evaluation import load_split
    >>> from tagformer.runs import Run
    >>> len(load_split(Run.load("runs/mine"), "scenes?images=60", "train").dataset)
    60
    """
    settings = run.recipe.data
    spec = spec or settings.spec
    if spec is None:
        raise TagformerError(f"no data: the recipe of {run.folder} names none; name it with --data FORMAT:PATH.")
    on_bad_image = on_bad_image if run.uses_image else "keep"
    parsed = Spec.parse(spec)
    split = split or parsed.evaluation_split
    if split == "val" and parsed.splits and "val" not in parsed.splits and str(parsed) == settings.spec:
        dataset = load_training_data(spec, settings.val_fraction, run.recipe.training.seed, on_bad_image)[1]
        if not len(dataset):
            raise TagformerError(
                f"{run.folder} was trained on all images of {spec} (data.val_fraction=0), so it has no val split; "
                "name other data with --data, or another --split."
            )
    else:
        dataset = load_dataset(spec, split, on_bad_image)
    missing = tuple(name for name in run.label_space.names if name not in set(dataset.label_space.names))
    return SplitOfRun(str(parsed), split, dataset.align_to(run.label_space), missing, dataset.exhaustive)


def evaluate_run(
    run: Run,
    data: SplitOfRun,
    options: EvaluationOptions | None = None,
    *,
    reuse: bool = True,
    feedback: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate a run on a split, and keep the logits in ``RUN/predictions/SPLIT.npz``.

    Args:
        run: the run.
        data: of `load_split`.
        options: None: the defaults of `EvaluationOptions`.
        reuse: read the kept logits back, where the weights, the images and the labels are unchanged and the known-label
            curve is the one requested.
        feedback: give the model known labels by `FeedbackPropagation`, even if it has an input for them.
        progress: called with the number of images done.

    Raises:
        TagformerError, BadImageError: as `evaluate_model`.

    >>> from tagformer.evaluation import EvaluationOptions, evaluate_run, load_split
    >>> from tagformer.runs import Run
    >>> run = Run.load("runs/mine")
    >>> evaluation = evaluate_run(run, load_split(run), EvaluationOptions(known_shares=(0, 0.5), draws=1))
    >>> [point.known_share for point in evaluation.known], (run.folder / "predictions" / "test.npz").is_file()
    ([0, 0.5], True)
    """
    options = options or EvaluationOptions()
    path = run.folder / FOLDER / f"{data.split}.npz"
    key = _key(run, data, options.extra_known, feedback)
    curve = _curve_setting(options)
    if reuse and path.is_file():
        kept = _read(path, key, curve)
        if kept is not None:
            return replace(kept, regular=evaluate(kept.logits, kept.labels, **options.metrics))
    model = run.model().to(default_device())
    preprocessing = run.preprocessing(model.backbone)
    evaluated = FeedbackPropagation(model) if feedback else model
    evaluation = evaluate_model(evaluated, data.dataset, preprocessing, options, progress)
    _write(path, evaluation, key, curve)
    return evaluation


def _curve_setting(options: EvaluationOptions) -> dict[str, Any] | None:
    """How the known-label curve was drawn, as the file keeps it; None without a curve."""
    if not options.known_shares:
        return None
    return {"fractions": list(options.known_shares), "draws": options.draws, "scored": options.scored}


def _key(run: Run, data: SplitOfRun, extra_known: bool, feedback: bool) -> str:
    """A hash of everything that the logits depend on."""
    content = hashlib.blake2b(digest_size=16)
    with run.weights.open("rb") as stream:
        while block := stream.read(1 << 20):
            content.update(block)
    dataset, recipe = data.dataset, run.recipe
    settings = [recipe.image.model_dump(mode="json"), recipe.model.model_dump(mode="json"), extra_known, feedback]
    content.update(json.dumps([data.spec, list(dataset.ids), *settings]).encode())
    content.update(dataset.labels.numpy().tobytes())
    return content.hexdigest()


def _write(path: Path, evaluation: Evaluation, key: str, curve: dict[str, Any] | None) -> None:
    about = {
        "key": key,
        "setting": curve,
        "known": [[point.known_share, point.mAPs] for point in evaluation.known],
        "scored": evaluation.scored,
        "bad": evaluation.bad,
        "names": evaluation.names,
        "ids": evaluation.ids,
        "groups": evaluation.groups,
    }
    arrays = {"logits": evaluation.logits.numpy(), "labels": evaluation.labels.numpy()}
    if evaluation.sizes is not None:
        arrays["sizes"] = evaluation.sizes.numpy()
    with atomic_write(path) as temporary:
        np.savez_compressed(temporary, about=np.array(json.dumps(about)), allow_pickle=False, **arrays)


def _read(path: Path, key: str, curve: dict[str, Any] | None) -> Evaluation | None:
    """The kept evaluation, or None where it is of other weights, images, labels or another curve."""
    try:
        with open_regular(path) as stream, np.load(stream, allow_pickle=False) as content:
            about = json.loads(str(content["about"]))
            arrays = {name: torch.from_numpy(content[name]) for name in content.files if name != "about"}
        if about["key"] != key or (curve is not None and about["setting"] != curve):
            return None
        return _evaluation(about, arrays, curve)
    except Exception as error:  # damaged bytes raise errors of any kind
        reason = str(error).split("\n")[0] or type(error).__name__
        raise TagformerError(f"{path} cannot be read ({reason}): delete it, and it is computed again.") from error


def _evaluation(about: dict[str, Any], arrays: dict[str, torch.Tensor], curve: dict[str, Any] | None) -> Evaluation:
    return Evaluation(
        regular=evaluate(arrays["logits"], arrays["labels"]),
        known=tuple(KnownPoint(share, tuple(mAPs)) for share, mAPs in about["known"]) if curve else (),
        scored=about["scored"],
        bad=tuple(about["bad"]),
        names=tuple(about["names"]),
        logits=arrays["logits"],
        labels=arrays["labels"],
        ids=tuple(about["ids"]),
        sizes=arrays.get("sizes"),
        groups={name: tuple(columns) for name, columns in about["groups"].items()},
    )
