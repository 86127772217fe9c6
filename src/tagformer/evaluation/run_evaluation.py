"""A run's evaluation on a split: made once, kept in the run folder, and read back by whoever needs it again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
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
from tagformer.files import atomic_write
from tagformer.metrics.scores import evaluate
from tagformer.models.feedback import FeedbackPropagation
from tagformer.runs.run import Run, default_device

FOLDER = "predictions"
Progress = Callable[[int], None]


@dataclass(frozen=True)
class SplitOfRun:
    """A split of a data set with the columns of a run's labels.

    Attributes:
        missing: labels of the run that the data does not have.
        exhaustive: they count as absent; otherwise as unknown.
    """

    spec: str
    split: str
    dataset: MultiLabelDataset
    missing: tuple[str, ...]
    exhaustive: bool


def load_split(run: Run, spec: str | None = None, split: str | None = None, on_bad_image: str = "error") -> SplitOfRun:
    """The split that a run is scored on. A validation split that training drew from the run's own data is drawn again.

    Args:
        spec: the data; the run's own when None.
        split: None: test, or val where the data has no test.

    Raises:
        TagformerError: no data, no such split, or data that has none of the run's labels.
    """
    settings = run.recipe.data
    spec = spec or settings.spec
    if spec is None:
        raise TagformerError(f"no data: {run.folder} names none; name it with --data FORMAT:PATH.")
    on_bad_image = on_bad_image if run.uses_image else "keep"
    parsed = Spec.parse(spec)
    split = split or parsed.evaluation_split
    if split == "val" and parsed.splits and "val" not in parsed.splits and str(parsed) == settings.spec:
        dataset = load_training_data(spec, settings.val_fraction, run.recipe.training.seed, on_bad_image)[1]
    else:
        dataset = load_dataset(spec, split, on_bad_image)
    missing = tuple(name for name in run.label_space.names if name not in set(dataset.label_space.names))
    return SplitOfRun(str(parsed), split, dataset.align_to(run.label_space), missing, dataset.exhaustive)


def evaluate_run(
    run: Run,
    data: SplitOfRun,
    *,
    reuse: bool = True,
    fractions: Sequence[float] = (),
    draws: int = 3,
    scored: str = "fixed",
    known_groups: Sequence[int] = (),
    tell_extra: bool = False,
    feedback: bool = False,
    protocol: str = "tagformer",
    threshold: float | torch.Tensor | None = None,
    top_k: int = 3,
    batch_size: int = 32,
    workers: int = 2,
    on_bad_image: str = "error",
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate a run on a split, and keep what the model said in ``RUN/predictions/SPLIT.npz``.

    Args:
        reuse: take what was kept, where the weights, the images and the labels are still the same and the known-label
            curve has the fractions asked for.
        feedback: tell the model what is known by `FeedbackPropagation`, whatever it does with known labels itself.
        others: of `evaluate_model`.

    Raises:
        TagformerError, BadImageError: as `evaluate_model`.
    """
    path = run.folder / FOLDER / f"{data.split}.npz"
    key = _key(run, data, tell_extra, feedback)
    setting = {"fractions": list(fractions), "draws": draws, "scored": scored} if fractions else None
    if reuse and path.is_file():
        kept = _read(path, key, setting)
        if kept is not None:
            own = kept.logits, kept.labels
            return replace(kept, regular=evaluate(*own, protocol=protocol, threshold=threshold, top_k=top_k))
    model = run.model().to(default_device())
    evaluation = evaluate_model(
        FeedbackPropagation(model) if feedback else model,
        data.dataset,
        run.recipe.image,
        fractions=fractions,
        draws=draws,
        scored=scored,
        known_groups=known_groups,
        tell_extra=tell_extra,
        protocol=protocol,
        threshold=threshold,
        top_k=top_k,
        batch_size=batch_size,
        workers=workers,
        on_bad_image=on_bad_image,
        progress=progress,
    )
    _write(path, evaluation, key, setting)
    return evaluation


def _key(run: Run, data: SplitOfRun, tell_extra: bool, feedback: bool) -> str:
    """A hash of everything that the predictions depend on."""
    content = hashlib.blake2b(digest_size=16)
    with run.weights.open("rb") as stream:
        while block := stream.read(1 << 20):
            content.update(block)
    dataset = data.dataset
    told = [run.recipe.image.model_dump(mode="json"), run.recipe.model.model_dump(mode="json"), tell_extra, feedback]
    content.update(json.dumps([data.spec, list(dataset.ids), *told]).encode())
    content.update(dataset.labels.numpy().tobytes())
    return content.hexdigest()


def _write(path: Path, evaluation: Evaluation, key: str, setting: dict[str, Any] | None) -> None:
    about = {
        "key": key,
        "setting": setting,
        "known": [[point.fraction, point.mAPs] for point in evaluation.known],
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


def _read(path: Path, key: str, setting: dict[str, Any] | None) -> Evaluation | None:
    """What was kept, or None where it is of something else."""
    try:
        with np.load(path, allow_pickle=False) as content:
            about = json.loads(str(content["about"]))
            arrays = {name: torch.from_numpy(content[name]) for name in content.files if name != "about"}
    except (OSError, ValueError, KeyError) as error:
        raise TagformerError(f"{path} cannot be read ({error}): delete it, and it will be made again.") from error
    if about["key"] != key or (setting is not None and about["setting"] != setting):
        return None
    return Evaluation(
        regular=evaluate(arrays["logits"], arrays["labels"]),
        known=tuple(KnownPoint(fraction, tuple(maps)) for fraction, maps in about["known"]) if setting else (),
        scored=about["scored"],
        bad=tuple(about["bad"]),
        names=tuple(about["names"]),
        logits=arrays["logits"],
        labels=arrays["labels"],
        ids=tuple(about["ids"]),
        sizes=arrays.get("sizes"),
        groups={name: tuple(columns) for name, columns in about["groups"].items()},
    )
