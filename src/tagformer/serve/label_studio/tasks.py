"""Tasks of Label Studio: what a person chose so far, and the model's tags as a prediction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from tagformer.errors import TagformerError
from tagformer.labels.space import PRESENT, UNKNOWN
from tagformer.serve.label_studio.config import Control
from tagformer.tagging.prediction import Prediction, Tag
from tagformer.tagging.questions import entropy_bits


def image_address(task: Mapping[str, Any], controls: Sequence[Control]) -> str:
    """The address of a task's image.

    Raises:
        TagformerError: the task has none.
    """
    data = task.get("data")
    for control in controls:
        address = data.get(control.variable) if isinstance(data, Mapping) else None
        if isinstance(address, str) and address:
            return address
    names = " or ".join(dict.fromkeys(f"'{control.variable}'" for control in controls))
    raise TagformerError(f"its data has no address of an image, as {names}.")


def task_name(task: Mapping[str, Any]) -> str:
    """The task in messages.

    >>> from tagformer.serve.label_studio.tasks import task_name
    >>> task_name({"id": 7})
    'task 7'
    """
    return f"task {str(task.get('id', 'without an id'))[:40]}"


def chosen_results(task: Mapping[str, Any], context: Any = None) -> list[Any]:
    """What a person chose in a task so far: in the editor, else in the last draft, else in the last annotation.

    >>> from tagformer.serve.label_studio.tasks import chosen_results
    >>> chosen_results({"annotations": [{"result": [1]}], "drafts": [{"result": [2]}]}), chosen_results({})
    ([2], [])
    """
    sources = [context] if isinstance(context, Mapping) else []
    for name in ("drafts", "annotations"):
        entries = task.get(name)
        entries = [entry for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, list) else []
        sources += reversed([entry for entry in entries if not entry.get("was_cancelled")])
    for source in sources:
        if isinstance(source.get("result"), list):
            return list(source["result"])
    return []


def chosen_states(results: Iterable[Any], controls: Sequence[Control]) -> tuple[dict[str, int], int]:
    """The labels that were chosen, as present, and how many choices are no labels; the others stay unknown.

    In a taxonomy a choice implies those above it.
    """
    by_name = {control.name: control for control in controls}
    states: dict[str, int] = {}
    unmatched = 0
    for result in results:
        control = by_name.get(str(result.get("from_name"))) if isinstance(result, Mapping) else None
        if control is None or not isinstance(result.get("value"), Mapping):
            continue
        for path in _chosen_paths(result["value"].get(control.kind), control.kind):
            unmatched += path not in control.labels
            for end in range(1, len(path) + 1):
                if path[:end] in control.labels:
                    states[control.labels[path[:end]]] = PRESENT
    return states, unmatched


def _chosen_paths(chosen: Any, kind: str) -> list[tuple[str, ...]]:
    """``["a", "b"]`` of Choices, or ``[["Animal", "Dog"], ["Sky"]]`` of Taxonomy, as paths; all else is left out."""
    if not isinstance(chosen, list):
        return []
    lists = [[name] for name in chosen] if kind == "choices" else chosen
    return [
        tuple(path) for path in lists if isinstance(path, list) and path and all(isinstance(name, str) for name in path)
    ]


def prediction_results(prediction: Prediction, controls: Sequence[Control]) -> list[dict[str, Any]]:
    """The predicted labels as results, one for each control that has any."""
    space = prediction.label_space
    tags = {tag.name: tag for tag in prediction.tags}
    for name in set(space.names_of(prediction.known)) & set(space.extra):  # chosen, although never predicted
        tags[name] = Tag(name, 1.0, prediction.thresholds[space.index(name)].item(), known=True)
    results = []
    for control in controls:
        chosen = [(path, tags[label]) for path, label in control.labels.items() if label in tags]
        if not control.multiple:
            chosen = sorted(chosen, key=lambda one: -one[1].probability)[:1]
        if not chosen:
            continue
        paths = [list(path) for path, _ in chosen]
        value = {"taxonomy": paths} if control.kind == "taxonomy" else {"choices": [path[-1] for path in paths]}
        score = sum(tag.probability for _, tag in chosen) / len(chosen)
        results.append(
            {
                "from_name": control.name,
                "to_name": control.to_name,
                "type": control.kind,
                "value": value,
                "score": score,
            }
        )
    return results


def certainty(prediction: Prediction, controls: Sequence[Control]) -> float:
    """How sure the model is of the labels that can be chosen: 1 minus their mean entropy in bits, known ones left out.

    1 where all are known. The tasks with the lowest certainty are those to look at first.
    """
    space = prediction.label_space
    columns = [space.index(label) for label in {label for control in controls for label in control.labels.values()}]
    selected = torch.tensor(columns, dtype=torch.long)
    selected = selected[(prediction.known[selected] == UNKNOWN) & space.is_target[selected]]
    if not len(selected):
        return 1.0
    return 1.0 - entropy_bits(prediction.probabilities[selected].double()).mean().item()
