"""Tag the first pictures of a run's test split from Python, and draw them with their right and wrong tags.

Usage: python examples/contact_sheet.py RUN
"""

from __future__ import annotations

import sys
from pathlib import Path

from tagformer import Tagger
from tagformer.data import load_dataset
from tagformer.images import load_image
from tagformer.report.sheets.contact import tag_lines, write_contact_sheet
from tagformer.runs import Run

COUNT = 18


def main(folder: Path) -> None:
    run = Run.load(folder)
    dataset = load_dataset(str(run.recipe.data.spec), "test").subset(range(COUNT))
    pictures = [load_image(record.image) for record in dataset]

    predictions = Tagger.load(folder).predict(pictures)

    lines = []
    for record, prediction in zip(dataset, predictions, strict=True):
        truth = [name for name in run.label_space.names_of(record.labels) if name not in run.label_space.extra]
        lines.append(tag_lines([(tag.name, tag.probability) for tag in prediction.tags], truth))
    write_contact_sheet(folder / "contact_sheet.png", pictures, lines)

    (folder / "pictures").mkdir(exist_ok=True)
    for record, picture in zip(dataset, pictures, strict=True):
        picture.save(folder / "pictures" / f"{Path(record.id).stem}.png")
    print(f"Pictures with their tags: {folder / 'contact_sheet.png'} (green right, red wrong, brown missed)")
    print(f"The pictures themselves:  {folder / 'pictures'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
