"""CSV files, and the labels of a data set by id."""

from __future__ import annotations

from pathlib import Path

from tagformer.data import MultiLabelDataset


def write(file: Path, *lines: str) -> Path:
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return file


def rows(dataset: MultiLabelDataset) -> dict[str, list[int]]:
    return dict(zip(dataset.ids, dataset.labels.tolist(), strict=True))
