"""Any names, ids and paths are written and read, or rejected before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tagformer.data import load_dataset, write_dataset
from tagformer.errors import TagformerError
from tagformer.images.encoding import file_name
from tagformer.labels import LabelSpace
from tagformer.labels.names import plain_name
from tests.data_files.conversions import (
    FORMATS,
    assert_same,
    dataset,
    splits_of,
)

RESERVED = {"id", "path", "split", "tags", "labels"}  # columns of a CSV
texts = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(';,"\n\r\\\t |/.'), min_size=1, max_size=12)
names = texts.filter(lambda text: plain_name(text))  # a soft hyphen alone is no name


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("form", FORMATS)
def test_any_names_and_ids_come_back(tmp_path_factory: pytest.TempPathFactory, form: str, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("any")

    def allowed(text: str) -> bool:
        return form != "csv" or (text == text.strip() and "\0" not in text and text not in RESERVED)

    labels = data.draw(st.lists(names.filter(allowed), min_size=2, max_size=4, unique_by=plain_name))
    ids = data.draw(st.lists(names.filter(allowed), min_size=2, max_size=4, unique=True))
    cells = st.lists(st.sampled_from((1, 0, -1)), min_size=len(labels), max_size=len(labels))
    states = data.draw(st.lists(cells, min_size=len(ids), max_size=len(ids)))
    groups = {data.draw(names): tuple(labels[:1])}
    own = dataset(folder, states, label_space=LabelSpace(tuple(labels), groups, extra=(labels[1],)), ids=ids)
    parts = {"train": own.subset(range(1)), "test": own.subset(range(1, len(ids)))}
    written = write_dataset(parts, f"{form}:{folder / 'out'}", size=data.draw(st.sampled_from((None, 8))))
    found = splits_of(written.spec)
    assert_same(found, parts)
    for own in found.values():
        for image in own.images:
            content = image.read_bytes() if isinstance(image, Path) else image.read()  # type: ignore[union-attr]
            assert len(content) > 50


@pytest.mark.parametrize("name", ["path", "tags", "Tags", "Unnamed: 1", "a\0b"])
def test_what_a_csv_cannot_hold_is_rejected_before_anything_is_written(tmp_path: Path, name: str) -> None:
    own = dataset(tmp_path, [[1, -1]], label_space=LabelSpace((name, "x")))
    with pytest.raises(TagformerError, match="a CSV cannot hold the label"):
        write_dataset({"all": own}, f"csv:{tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()
    with pytest.raises(TagformerError, match="a CSV cannot hold the id"):
        write_dataset({"all": dataset(tmp_path, ids=[" a", *"bcdef"])}, f"csv:{tmp_path / 'out'}")


def test_a_name_that_is_not_utf8_is_rejected(tmp_path: Path) -> None:
    own = dataset(tmp_path, ids=["a\udcff", *"bcdef"])
    with pytest.raises(TagformerError, match="is not UTF-8: rename it"):
        write_dataset({"all": own}, f"jsonl:{tmp_path / 'out'}")


@pytest.mark.parametrize(
    ("image_id", "expected"),
    [
        ("a/b.jpg", "a/b"),
        ("../../etc/passwd", "etc/passwd"),
        ("/abs.png", "abs"),
        ("..", "_"),
        ("a.jpg/b", "a.jpg_/b"),
        ('c:\\d?"e', "c__d__e"),
        ("ä" * 200, "ä" * 100),
    ],
)
def test_files_are_called_after_ids_and_stay_in_their_folder(image_id: str, expected: str) -> None:
    assert file_name(image_id) == expected


def test_files_of_ids_that_look_alike_do_not_meet(tmp_path: Path) -> None:
    ids = ["a.jpg", "A.png", "a", "a-2", "a.jpg/b", "../a"]
    written = write_dataset({"all": dataset(tmp_path, ids=ids)}, f"jsonl:{tmp_path / 'out'}", size=8)
    found = load_dataset(written.spec, "all")
    assert list(found.ids) == ids
    files = [str(image.resolve()) for image in found.images if isinstance(image, Path)]
    assert len({file.casefold() for file in files}) == 6
    assert all(file.startswith(str(tmp_path / "out" / "images")) for file in files)
