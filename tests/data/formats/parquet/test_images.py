"""Images stored in Parquet files are read in any order, and bad ones are named."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tagformer.data.formats.parquet import ParquetFormat
from tagformer.errors import BadImageError
from tagformer.images.reading import load_image
from tests.data_files.parquet import write
from tests.stored_pictures import picture, png

FORMAT = ParquetFormat()
load, splits = FORMAT.load, FORMAT.splits


def test_images_are_read_in_any_order_by_threads_and_after_being_sent(tmp_path: Path) -> None:
    file = write(tmp_path / "my.parquet", group=40, image=[png(i) for i in range(90)], tags=[["dog"]] * 90)
    images = load(file, "all", {}).images
    order = np.random.default_rng(0).permutation(90).tolist()
    for row in order[:30]:
        assert images[row].read() == png(row)  # type: ignore[union-attr]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda row: images[row].read() == png(row), order)) == [True] * 90  # type: ignore[union-attr]
    sent = pickle.loads(pickle.dumps(images))
    assert np.array_equal(np.array(load_image(sent[89])), np.array(picture(89)))


def test_after_a_damaged_part_the_others_are_still_read(tmp_path: Path) -> None:
    """The second row group's pages are overwritten; a reader at that place must not return an earlier image."""
    file = tmp_path / "my.parquet"
    table = pa.table({"image": [png(i) for i in range(6)], "tags": [["dog"]] * 6})
    pq.write_table(table, file, row_group_size=2, use_dictionary=False, compression="gzip")
    images = load(file, "all", {}).images
    column = pq.read_metadata(file).row_group(1).column(0)
    content = bytearray(file.read_bytes())
    start = column.data_page_offset
    content[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    file.write_bytes(content)
    assert images[1].read() == png(1)  # type: ignore[union-attr]
    for _ in range(2):
        for row in (2, 3):
            with pytest.raises(BadImageError, match=rf"my\.parquet, row {row + 1} is broken"):
                load_image(images[row])
        assert images[4].read() == png(4)  # type: ignore[union-attr]
        assert images[0].read() == png(0)  # type: ignore[union-attr]


def test_a_cell_without_an_image_or_with_something_else_is_a_bad_image_with_its_row(tmp_path: Path) -> None:
    file = write(tmp_path / "my.parquet", {"image": pa.binary()}, image=[None, b"text", png(2)[:90]], tags=[["a"]] * 3)
    images = load(file, "all", {}).images
    for row, message in enumerate(["is broken .the cell is empty", "is not an image", "is broken"]):
        with pytest.raises(BadImageError, match=rf"my\.parquet, row {row + 1} {message}"):
            load_image(images[row])
