"""Where a person's answer and the model disagree."""

from __future__ import annotations

import math
from typing import Any

from tagformer.labels.space import PRESENT
from tagformer.serve.workspace.workspace import Workspace

MOST = 200


def find_mistakes(workspace: Workspace) -> dict[str, Any]:
    """Answers that the model, without any answer, predicts otherwise; those it finds least likely come first.

    Answers that were confirmed are left out.
    """
    thresholds = workspace.engine.model.tagger.thresholds.tolist()
    probabilities, last = workspace.looking.probabilities, workspace.store.last_answers()
    found: list[tuple[float, dict[str, Any]]] = []
    compared = 0
    for image, known in workspace.states().items():
        for label, state in known.items():
            probability = float(probabilities[image, label])
            person, times = last.get((workspace.pictures[image].id, workspace.names[label]), ("", 0))
            if math.isnan(probability) or times != 1:  # 0: taken back meanwhile
                continue
            compared += 1
            if (probability >= thresholds[label]) != (state == PRESENT):
                mistake = {
                    "image": image,
                    "label": label,
                    "state": state,
                    "probability": round(probability, 4),
                    "person": person,
                    "name": workspace.pictures[image].name,
                }
                found.append((abs(state - probability), mistake))
    found.sort(key=lambda pair: -pair[0])
    return {"mistakes": [mistake for _, mistake in found[:MOST]], "compared": compared}
