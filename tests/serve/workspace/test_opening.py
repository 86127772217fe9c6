"""The images of the page: a folder, a data set, or the run's own data."""

from __future__ import annotations

from pathlib import Path

import pytest

from tagformer.errors import TagformerError
from tagformer.labels import LabelSpace
from tagformer.runs import Run
from tagformer.serve.workspace.opening import label_tree, page_data
from tests.serve.pictures import encoded, scenes


def test_a_folder(small_run: Path, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name, picture in zip(("b.png", "sub/a.png"), scenes(2), strict=True):
        (tmp_path / name).write_bytes(encoded(picture))
    (tmp_path / "notes.txt").write_text("no image")
    data = page_data(str(tmp_path), Run.load(small_run))
    assert [(image.id, image.name, image.source) for image in data.images] == [
        ("b.png", "b.png", tmp_path / "b.png"),
        ("sub/a.png", "a.png", tmp_path / "sub" / "a.png"),
    ]
    assert data.title == tmp_path.name
    assert len(data.left_out) == 1
    assert "1" in data.left_out[0]
    (tmp_path / "empty").mkdir()
    with pytest.raises(TagformerError, match="has no images: name another one with --images"):
        page_data(str(tmp_path / "empty"), Run.load(small_run))


def test_the_run_s_own_data_with_its_labels(small_run: Path) -> None:
    data = page_data(None, Run.load(small_run))
    assert len(data.images) == 16
    assert data.labels is not None
    assert data.labels.shape == (16, 14)
    assert data.title == "scenes, test"


def test_data_that_is_gone(small_run: Path, tmp_path: Path) -> None:
    run = Run.load(small_run)
    run.recipe.data.spec = f"csv:{tmp_path / 'gone'}"
    data = page_data(None, run)
    assert data.images == []
    assert "cannot be read" in data.left_out[0]
    with pytest.raises(TagformerError):
        page_data(f"csv:{tmp_path / 'gone'}", run)


def test_trees(tmp_path: Path) -> None:
    space = LabelSpace(("animal", "animal/dog", "sea"))
    assert label_tree(None, LabelSpace(("a", "b"))) is None
    by_name = label_tree(None, space)
    assert by_name is not None
    assert by_name.implied({"animal/dog": 1}) == {"animal": 1}
    (tmp_path / "tree.csv").write_text("child,parent\nsea,animal\n")
    of_file = label_tree(tmp_path / "tree.csv", space)
    assert of_file is not None
    assert of_file.implied({"sea": 1}) == {"animal": 1}


def test_a_name_that_is_no_text_is_left_out(tmp_path: Path, small_run: Path) -> None:
    """Answers are kept by names; SQLite and JSON hold text only."""
    picture = encoded(scenes(1)[0])
    (tmp_path / "good.png").write_bytes(picture)
    (tmp_path / b"caf\xe9.png".decode(errors="surrogateescape")).write_bytes(picture)
    data = page_data(str(tmp_path), Run.load(small_run))
    assert [image.name for image in data.images] == ["good.png"]
    assert data.left_out == (r"'caf\udce9.png': the name is no UTF-8 text; rename it.",)
