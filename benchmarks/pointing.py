"""The pointing game: whether the highest point of a present label's heat map lies in one of its boxes.

``python benchmarks/pointing.py RUN... [--boxes animal_boxes.json]``: on the test split of each run's data, over all
pairs of an image and a label that has boxes there, beside chance (a point anywhere in the image). The boxes come with
the data (scenes, COCO), or from a JSON file: id -> [[label, [left, top, right, bottom] as fractions]].
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from pathlib import Path

from tagformer import Tagger
from tagformer.evaluation.run_evaluation import load_split
from tagformer.images.reading import load_image
from tagformer.labels import PRESENT
from tagformer.runs.run import Run
from tagformer.tagging.explanation import Corners, chance


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--boxes", type=Path)
    parser.add_argument("--split", default=None)
    arguments = parser.parse_args()
    written = json.loads(arguments.boxes.read_text()) if arguments.boxes else None
    for folder in arguments.runs:
        dataset = load_split(Run.load(folder), split=arguments.split).dataset
        tagger = Tagger.load(folder)
        space = tagger.label_space
        names = {name for name in space.names if name not in space.extra}
        hits: list[bool] = []
        chances: list[float] = []
        for record in dataset:
            pairs = written.get(record.id, ()) if written is not None else record.boxes or ()
            boxes: dict[str, list[Corners]] = defaultdict(list)
            for pair in pairs:
                label, corners = pair if written is not None else (pair.label, pair.corners)
                if label in names and record.labels[space.index(label)] == PRESENT:
                    boxes[label].append(tuple(corners))
            if boxes:
                found = tagger.explain(load_image(record.image), list(boxes))
                hits += [found.hits(number, boxes[tag.name]) for number, tag in enumerate(found.tags)]
                chances += [chance(own, found.region) for own in boxes.values()]
        if not hits:
            print(f"{folder.name}: no image of its test split has a label with boxes")
            continue
        rate, luck = statistics.fmean(hits), statistics.fmean(chances)
        print(f"{folder.name}: {rate:.1%} of {len(hits)} labels, chance {luck:.1%}, {rate / luck:.2f} times chance")


if __name__ == "__main__":
    main()
