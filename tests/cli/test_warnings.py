"""What a data set warns of is printed by ``data`` and by ``train``."""

from __future__ import annotations

from pathlib import Path

from tests.data_files.tables import write
from tests.helpers import CommandLine, write_folder


def test_data_and_train_count_images_without_tags_and_name_similar_labels(
    tmp_path: Path, tagformer: CommandLine
) -> None:
    table = write_folder(tmp_path / "data", 24)
    lines = table.read_text().splitlines()
    paths = [line.split(",")[0] for line in lines[1:]]
    tags = [("", "Box;disc", "box;stripe")[row % 3] for row in range(len(paths))]
    write(table, "path,tags", *(f"{path},{cell}" for path, cell in zip(paths, tags, strict=True)))
    empty = f"{tags.count('')} of {len(paths)} images have no tags and count as not annotated"
    similar = "labels that differ only in case, spaces or punctuation count as different labels: 'Box' and 'box'."
    code, printed, _ = tagformer("data", f"csv:{table}")
    assert code == 0
    assert printed.count(empty) == 1
    assert "with ?empty=absent they count as images without any label." in printed
    assert f"Warning: {similar}" in printed.splitlines()
    code, printed, _ = tagformer("data", f"csv:{table}?empty=absent")
    assert code == 0
    assert "not annotated" not in printed
    settings = ["--set", "training.epochs=1", "--set", "data.workers=0", "--set", "image.size=32"]
    code, printed, problem = tagformer(
        "train", "--data", f"csv:{table}", "--backbone", "tiny", *settings, "--out", tmp_path / "run"
    )
    assert code == 0, problem
    assert printed.count(empty) == 1
    assert f"Warning: {similar}" in printed.splitlines()
