"""What the page exports: the answers, and what the model predicts where nobody answered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tagformer.answers.writing import TaggedImage
from tagformer.errors import BadImageError, check_choice
from tagformer.images.reading import open_picture
from tagformer.labels.space import ABSENT, PRESENT
from tagformer.serve.workspace.workspace import Workspace

IMAGES = ("answered", "done", "all")


def tagged_images(workspace: Workspace, images: str, predicted: bool) -> Iterator[TaggedImage]:
    """The tags of the page's images, with all that the answers imply by the tree of labels.

    Args:
        images: ``answered``, ``done`` or ``all``.
        predicted: whether labels count that the model predicts and nobody answered.

    Raises:
        TagformerError: another value of `images`.
    """
    check_choice("images", images, IMAGES)
    states, submitted = workspace.states(), workspace.store.submitted()
    tagger = workspace.engine.model.tagger
    probabilities = workspace.looking.probabilities
    candidates = (tagger.thresholds.numpy() > 0) & tagger.label_space.is_target.numpy()
    for number, image in enumerate(workspace.pictures):
        known = workspace.with_implied(states.get(number, {}))
        if (images == "answered" and not known) or (images == "done" and image.id not in submitted):
            continue
        found = {}
        if predicted and number < len(probabilities):
            above = candidates & (probabilities[number] >= tagger.thresholds.numpy())
            labels = [int(label) for label in np.flatnonzero(above) if label not in known]
            found = {workspace.names[label]: float(probabilities[number, label]) for label in labels}
        try:
            picture = open_picture(image.source)
            width, height = picture.width, picture.height
        except BadImageError:  # its answers are exported all the same
            width = height = 0
        path = str(image.source.resolve()) if isinstance(image.source, Path) else image.id
        answered = {workspace.names[label]: state for label, state in known.items() if state in (PRESENT, ABSENT)}
        yield TaggedImage(path, answered, found, width, height, place=image.id)
