"""The pointing game: whether the highest point of a present label's heat map lies in one of its boxes.

``python benchmarks/pointing.py RUN... [--boxes animal_boxes.json]`` prints the share of hits on the test split of each
run, over all pairs of an image and a present label with boxes, and the chance of a hit by a random point of the image.
The boxes come with the data (scenes, COCO) or from a JSON file: id -> [[label, [left, top, right, bottom]]], where the
corners are fractions of the width and height.
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
    boxes_by_id = json.loads(arguments.boxes.read_text()) if arguments.boxes else None
    for folder in arguments.runs:
        dataset = load_split(Run.load(folder), split=arguments.split).dataset
        tagger = Tagger.load(folder)
        space = tagger.label_space
        names = {name for name in space.names if name not in space.extra}
        hits: list[bool] = []
        chances: list[float] = []
        for record in dataset:
            pairs = boxes_by_id.get(record.id, ()) if boxes_by_id is not None else record.boxes or ()
            boxes: dict[str, list[Corners]] = defaultdict(list)
            for pair in pairs:
                label, corners = pair if boxes_by_id is not None else (pair.label, pair.corners)
                if label in names and record.labels[space.index(label)] == PRESENT:
                    boxes[label].append(tuple(corners))
            if boxes:
                explanation = tagger.explain(load_image(record.image), list(boxes))
                hits += [explanation.hits(number, boxes[tag.name]) for number, tag in enumerate(explanation.tags)]
                chances += [chance(corners, explanation.region) for corners in boxes.values()]
        if not hits:
            print(f"{folder.name}: no image of its test split has a present label with boxes")
            continue
        rate, by_chance = statistics.fmean(hits), statistics.fmean(chances)
        times = rate / by_chance
        print(f"{folder.name}: {rate:.1%} of {len(hits)} labels, chance {by_chance:.1%}, {times:.2f} times chance")


if __name__ == "__main__":
    main()
