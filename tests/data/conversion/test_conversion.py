"""Converting data sets: sizes of images, stops at any moment, bad images, and what is in the target already."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tagformer.data import Conversion, convert, load_dataset, write_dataset
from tagformer.data.conversion import worker
from tagformer.data.formats._common.writer import PART_ROWS
from tagformer.errors import BadImageError, TagformerError
from tagformer.images.encoding import resized
from tagformer.images.reading import load_image
from tests.helpers import CommandLine

FORMATS = ("csv", "jsonl", "parquet", "coco", "shards")
COUNT = 14


def smooth(width: int, height: int, number: int = 0) -> Image.Image:
    """A picture without fine detail, other at each corner."""
    corners = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(corners).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A CSV of 14 pictures, 8 for training and 6 for the test."""
    folder = tmp_path / "data"
    folder.mkdir()
    lines = ["path,tags,split"]
    for number in range(COUNT):
        smooth(60 + number, 40, number).save(folder / f"{number:02d}.png")
        tags = ("dog", "cat;dog", ";", "")[number % 4]
        lines.append(f"{number:02d}.png,{tags},{'train' if number < 8 else 'test'}")
    file = folder / "my.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tagformer.data.formats._common.writer.PART_ROWS", 3)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too, with the folder's own name taken out."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


class Stop(BaseException):
    """As Ctrl-C."""


def stopping(after: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done >= after:
            raise Stop

    return progress


# The size of images


@pytest.mark.parametrize(
    ("width", "height", "size", "expected"),
    [
        (640, 480, 224, (299, 224)),
        (480, 640, 224, (224, 299)),
        (100, 100, 30, (30, 30)),
        (1000, 10, 5, (500, 5)),
        (90, 61, 60, (89, 60)),
        (90, 60, 60, (90, 60)),
        (50, 40, 60, (50, 40)),
        (3, 2000, 1, (1, 667)),
    ],
)
def test_the_shorter_side_is_the_size_and_nothing_is_enlarged(
    tmp_path: Path, width: int, height: int, size: int, expected: tuple[int, int]
) -> None:
    for kind in ("JPEG", "PNG"):
        file = tmp_path / f"a.{kind}"
        file.write_bytes(encoded(smooth(width, height), kind))
        image = resized(file, size, 95)
        assert (image.width, image.height) == expected
        with Image.open(io.BytesIO(image.data or b"")) as opened:
            assert opened.format == "JPEG"
            assert opened.size == expected


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("size", [30, 90, 131, 200])
def test_pixels_are_those_of_pillows_own_resizing(tmp_path: Path, kind: str, size: int) -> None:
    file = tmp_path / "a"
    file.write_bytes(encoded(smooth(400, 300), kind))
    image = resized(file, size, 95)
    with Image.open(file) as original:
        theirs = original.convert("RGB").resize((image.width, image.height), Image.Resampling.BICUBIC)
    ours = load_image(_written(tmp_path, image.data))
    difference = np.abs(np.asarray(ours, dtype=float) - np.asarray(theirs, dtype=float))
    assert difference.mean() < 2
    assert difference.max() < 30
    mirrored = np.asarray(theirs, dtype=float)[:, ::-1]
    assert np.abs(np.asarray(ours, dtype=float) - mirrored).mean() > 10, "the picture tells its sides apart"


def _written(folder: Path, data: bytes | None) -> Path:
    file = folder / "written.jpg"
    file.write_bytes(data or b"")
    return file


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [24, 200])
def test_images_are_turned_upright(tmp_path: Path, orientation: int, size: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / "a.jpg"
    file.write_bytes(encoded(smooth(64, 48), exif=exif, quality=95))
    image = resized(file, size, 95)
    upright = load_image(file)
    assert (upright.width > upright.height) == (orientation < 5)
    with Image.open(io.BytesIO(image.data or b"")) as opened:
        assert opened.getexif().get(0x0112, 1) == 1
        assert opened.size == (image.width, image.height)
        found = np.asarray(opened.convert("RGB"), dtype=float)
    expected = np.asarray(upright.resize((image.width, image.height), Image.Resampling.BICUBIC), dtype=float)
    assert np.abs(found - expected).mean() < 3


def test_the_quality_is_that_of_the_jpegs(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(encoded(Image.effect_noise((200, 200), 90).convert("RGB"), "PNG"))
    sizes = [len(resized(file, 100, quality).data or b"") for quality in (30, 75, 95)]
    assert sizes[0] < sizes[1] < sizes[2]
    assert resized(file, 100, 95) == resized(file, 100, 95)


def test_a_jpeg_that_need_not_change_is_not_encoded_again(tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    for image in (smooth(50, 40), smooth(50, 40).convert("L")):
        file.write_bytes(encoded(image, quality=60))
        assert resized(file, 40, 95).data == file.read_bytes()
    file.write_bytes(encoded(smooth(50, 40).convert("CMYK")))
    with Image.open(io.BytesIO(resized(file, 40, 95).data or b"")) as opened:
        assert opened.mode == "RGB"


@pytest.mark.parametrize("form", FORMATS)
def test_images_of_a_converted_set_have_the_size(table: Path, tmp_path: Path, form: str) -> None:
    written = convert(str(table), f"{form}:{tmp_path / 'out'}", size=20)
    assert written == Conversion(f"{form}:{tmp_path / 'out'}", {"train": 8, "test": 6}, ())
    for split, numbers in (("train", range(8)), ("test", range(8, COUNT))):
        dataset = load_dataset(written.spec, split)
        for number, image in zip(numbers, dataset.images, strict=True):
            found = load_image(image)
            assert found.size == (round((60 + number) / 2), 20)
            with Image.open(table.parent / f"{number:02d}.png") as original:
                theirs = original.resize(found.size, Image.Resampling.BICUBIC)
            assert np.abs(np.asarray(found, dtype=float) - np.asarray(theirs, dtype=float)).mean() < 4
    if form in ("csv", "jsonl", "coco"):
        assert len(list((tmp_path / "out").rglob("*.jpg"))) == COUNT


def test_objects_keep_their_sizes_and_boxes_when_images_become_smaller(tmp_path: Path) -> None:
    spec = "scenes?images=30&seed=5"
    written = convert(spec, f"coco:{tmp_path / 'out'}", size=16)
    for split in ("train", "val", "test"):
        found, scenes = load_dataset(written.spec, split), load_dataset(spec, split)
        assert found.sizes is not None
        assert scenes.sizes is not None
        assert found.sizes.tolist() == scenes.sizes.tolist()
        assert {1, 2, 3} <= set(scenes.sizes.flatten().tolist())
        for boxes, others in zip(found.boxes or (), scenes.boxes or (), strict=True):
            for box, other in zip(boxes, others, strict=True):
                assert box.label == other.label
                assert box.corners == pytest.approx(other.corners, abs=0.001)
        assert load_image(found.images[0]).size == (16, 16)


# Stopped and started again


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("size", [None, 20])
def test_what_was_stopped_goes_on_and_comes_out_the_same(
    table: Path, tmp_path: Path, form: str, size: int | None
) -> None:
    options = {"size": size, "part_bytes": 2000}
    convert(str(table), f"{form}:{tmp_path / 'whole'}", **options)  # type: ignore[arg-type]
    expected = tree(tmp_path / "whole")
    for after in (1, 4, 8, 11, COUNT):
        target = f"{form}:{tmp_path / f'stopped {after}'}"
        with pytest.raises(Stop):
            convert(str(table), target, **options, progress=stopping(after))  # type: ignore[arg-type]
        folder = tmp_path / f"stopped {after}"
        assert not (folder / "labels.json").exists()
        assert not [name for name in tree(folder) if name.endswith((".tar", ".csv", ".jsonl", ".parquet"))]
        begun: list[int] = []
        convert(str(table), target, **options, progress=lambda done, total: begun.append(done))  # type: ignore[arg-type]  # noqa: B023
        assert tree(folder) == expected
        if after >= 4:
            assert begun[0] >= 1, "the first part is not written again"
        assert begun[-1] == COUNT


@pytest.mark.parametrize("form", FORMATS)
def test_a_stop_while_the_parts_are_put_together_does_no_harm(
    table: Path, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert(str(table), f"{form}:{tmp_path / 'whole'}", size=20, part_bytes=2000)
    expected = tree(tmp_path / "whole")
    real = os.replace
    for stop in range(1, 60):
        seen = 0

        def failing(*arguments: object) -> None:
            nonlocal seen
            seen += 1
            if seen == stop:  # noqa: B023
                raise Stop
            real(*arguments)  # type: ignore[arg-type]

        target = tmp_path / "stopped"
        with monkeypatch.context() as patched:
            patched.setattr("os.replace", failing)
            patched.setattr(Path, "replace", lambda path, place: failing(path, place))
            try:
                convert(str(table), f"{form}:{target}", size=20, part_bytes=2000, workers=1)
            except Stop:
                continue  # each time a step further than the last
            break
    assert seen < stop < 59
    assert tree(target) == expected


def test_a_killed_command_goes_on(tmp_path: Path, tagformer: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed without any warning, in the middle of its images."""
    folder = tmp_path / "data"
    folder.mkdir()
    count = 1200
    for number in range(count):
        smooth(60, 40, number).save(folder / f"{number}.jpg")
    (folder / "my.csv").write_text("path,tags\n" + "".join(f"{number}.jpg,a{number % 3}\n" for number in range(count)))
    arguments = ["data", "convert", f"csv:{folder / 'my.csv'}", f"jsonl:{tmp_path / 'killed'}", "--size", "20"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tagformer", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    parts = tmp_path / "killed" / ".conversion" / "parts"
    while not (parts / "all-000001.json").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.communicate()
    assert not (tmp_path / "killed" / "all.jsonl").exists()
    assert not (tmp_path / "killed" / ".conversion" / "finished.json").exists()
    done = len(list((tmp_path / "killed" / "images").iterdir()))
    assert 0 < done < count
    monkeypatch.setattr("tagformer.data.formats._common.writer.PART_ROWS", PART_ROWS)  # as in the other process
    code, printed, _ = tagformer(*arguments)
    assert code == 0
    assert f"{count} images" in printed
    other = [*arguments[:3], f"jsonl:{tmp_path / 'whole'}", *arguments[4:]]
    assert tagformer(*other)[0] == 0
    assert tree(tmp_path / "killed") == tree(tmp_path / "whole")


@pytest.mark.parametrize("form", FORMATS)
def test_any_number_of_workers_writes_the_same(table: Path, tmp_path: Path, form: str) -> None:
    found = []
    for workers in (1, 2, 7):
        convert(str(table), f"{form}:{tmp_path / str(workers)}", size=20, workers=workers, part_bytes=2000)
        found.append(tree(tmp_path / str(workers)))
    assert found[0] == found[1] == found[2]
    assert len(found[0]) > 3


def test_a_finished_conversion_is_not_done_again(table: Path, tmp_path: Path) -> None:
    target = f"shards:{tmp_path / 'out'}"
    written = convert(str(table), target)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    assert convert(str(table), target, progress=stopping(0)) == written
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before


# Another command


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 30}, "with size 20: name another folder, or replace it with --overwrite"),
        ({"size": None}, "with size 20"),
        ({"quality": 50}, "with quality 95"),
        ({"split": "train"}, "with split all"),
        ({"target": "jsonl"}, "with format csv"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_another_command_is_refused_until_it_may_overwrite(
    table: Path, tmp_path: Path, change: dict[str, object], message: str, finished: bool
) -> None:
    base: dict[str, object] = {"size": 20}
    progress = None if finished else stopping(5)
    try:
        convert(str(table), f"csv:{tmp_path / 'out'}", size=20, progress=progress)
    except Stop:
        assert not finished
    before = tree(tmp_path / "out")
    form = change.get("target", "csv")
    options = {**base, **{key: value for key, value in change.items() if key != "target"}}
    with pytest.raises(TagformerError, match=message) as caught:
        convert(str(table), f"{form}:{tmp_path / 'out'}", **options)  # type: ignore[arg-type]
    assert ("the beginning of a conversion" in str(caught.value)) == (not finished)
    assert tree(tmp_path / "out") == before
    convert(str(table), f"{form}:{tmp_path / 'out'}", **options, overwrite=True)  # type: ignore[arg-type]
    convert(str(table), f"{form}:{tmp_path / 'fresh'}", **options)  # type: ignore[arg-type]
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")


@pytest.mark.parametrize("first", FORMATS)
@pytest.mark.parametrize("second", FORMATS)
def test_overwriting_leaves_nothing_behind(table: Path, tmp_path: Path, first: str, second: str) -> None:
    convert(str(table), f"{first}:{tmp_path / 'out'}", size=20, part_bytes=1500)
    (tmp_path / "out" / "notes.txt").write_text("mine")
    convert(str(table), f"{second}:{tmp_path / 'out'}", overwrite=True, split="test")
    convert(str(table), f"{second}:{tmp_path / 'fresh'}", split="test")
    found = tree(tmp_path / "out")
    assert found.pop("notes.txt") == b"mine"
    assert found == tree(tmp_path / "fresh")


def test_the_same_command_with_overwrite_goes_on_and_then_begins_anew(table: Path, tmp_path: Path) -> None:
    target, done = f"parquet:{tmp_path / 'out'}", []
    with pytest.raises(Stop):
        convert(str(table), target, overwrite=True, part_bytes=2000, progress=stopping(10))
    convert(str(table), target, overwrite=True, part_bytes=2000, progress=lambda now, total: done.append(now))
    assert done[0] > 0
    done.clear()
    convert(str(table), target, overwrite=True, part_bytes=2000, progress=lambda now, total: done.append(now))
    assert done[0] == 0


def test_data_that_changed_meanwhile_are_refused(table: Path, tmp_path: Path) -> None:
    target = f"jsonl:{tmp_path / 'out'}"
    with pytest.raises(Stop):
        convert(str(table), target, progress=stopping(5))
    table.write_text(table.read_text().replace("00.png,dog", "00.png,cat"))
    with pytest.raises(TagformerError, match="of data or by a version of this program that have changed"):
        convert(str(table), target)
    written = convert(str(table), target, overwrite=True)
    assert load_dataset(written.spec, "train")[0].labels.tolist() == [1, 0]


def test_a_folder_with_other_files_is_never_written(table: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "train.csv").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(TagformerError, match=r"out holds other files, as train\.csv: name an empty folder"):
            convert(str(table), f"csv:{tmp_path / 'out'}", overwrite=overwrite)
    assert tree(tmp_path / "out") == {"train.csv": b"mine"}
    (tmp_path / "my").write_text("x")
    with pytest.raises(TagformerError, match="my is a file: name a folder"):
        convert(str(table), f"csv:{tmp_path / 'my'}")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("voc2007:out", "cannot write 'voc2007:out'.*one of csv, jsonl, parquet, coco, shards"),
        ("jsnl:out", "did you mean 'jsonl'"),
        ("out", "name it FORMAT:FOLDER"),
        ("csv:", "name a folder"),
        ("csv:out?tags=a", "without options"),
        ("csv:out/my.csv", "name a folder, as csv:out/my"),
    ],
)
def test_another_target_is_refused(table: Path, target: str, message: str) -> None:
    with pytest.raises(TagformerError, match=message):
        convert(str(table), target)


def test_a_folder_may_be_called_like_nobody_s_home(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    convert(str(table), "csv:~no-such-user/out")
    assert (tmp_path / "~no-such-user" / "out" / "train.csv").is_file()
    load_dataset("csv:~no-such-user/out", "train")


def test_a_data_set_is_not_written_onto_itself(table: Path, tmp_path: Path) -> None:
    written = convert(str(table), f"csv:{tmp_path / 'out'}").spec
    for source in (written, f"csv:{tmp_path / 'out' / 'train.csv'}"):
        with pytest.raises(TagformerError, match="which is to be written: name another folder"):
            convert(source, f"jsonl:{tmp_path / 'out'}", overwrite=True)
    (tmp_path / "folders" / "dog").mkdir(parents=True)
    smooth(9, 9).save(tmp_path / "folders" / "dog" / "a.png")
    with pytest.raises(TagformerError, match="whose folders are labels"):
        convert(f"imagefolder:{tmp_path / 'folders'}", f"csv:{tmp_path / 'folders' / 'out'}")


@pytest.mark.parametrize(
    "options", [{"size": 0}, {"quality": 101}, {"workers": 0}, {"part_bytes": 0}, {"on_bad_image": "keep"}]
)
def test_options_out_of_range_are_refused(table: Path, tmp_path: Path, options: dict[str, object]) -> None:
    with pytest.raises(TagformerError, match=": use "):
        convert(str(table), f"csv:{tmp_path / 'out'}", **options)  # type: ignore[arg-type]


# Bad images


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("size", [None, 20])
def test_bad_images_stop_or_are_left_out_and_counted(table: Path, tmp_path: Path, form: str, size: int | None) -> None:
    whole = encoded(smooth(600, 400), quality=95)
    (table.parent / "02.png").write_bytes(b"not an image")
    (table.parent / "09.png").write_bytes(whole[: len(whole) // 2] if size else b"")
    target = f"{form}:{tmp_path / 'out'}"
    with pytest.raises(BadImageError, match=r"my\.csv, line 4: image .*02\.png is not an image: mend it, or leave"):
        convert(str(table), target, size=size)
    written = convert(str(table), target, size=size, on_bad_image="skip")
    assert written.images == {"train": 7, "test": 5}
    assert len(written.left_out) == 2
    assert "02.png is not an image" in written.left_out[0]
    assert "09.png is broken" in written.left_out[1] or "09.png is an empty file" in written.left_out[1]
    assert [Path(name).stem for name in load_dataset(written.spec, "train").ids] == [
        "00",
        "01",
        *("03", "04", "05", "06", "07"),
    ]
    assert len(load_dataset(written.spec, "test")) == 5
    assert convert(str(table), target, size=size, on_bad_image="skip") == written
    with pytest.raises(BadImageError, match=r"02\.png"):
        convert(str(table), target, size=size)


def test_a_bad_image_that_was_left_out_before_a_stop_is_named_again(table: Path, tmp_path: Path) -> None:
    (table.parent / "01.png").write_bytes(b"x")
    target, done = f"jsonl:{tmp_path / 'out'}", []
    with pytest.raises(Stop):
        convert(str(table), target, on_bad_image="skip", progress=stopping(6))
    with pytest.raises(BadImageError, match=r"01\.png"):
        convert(str(table), target, progress=lambda now, total: done.append(now))
    assert done == [], "before any other image is read"
    assert convert(str(table), target, on_bad_image="skip").images == {"train": 7, "test": 6}


def test_a_missing_image_is_named_at_once_or_left_out(table: Path, tmp_path: Path) -> None:
    (table.parent / "03.png").unlink()
    with pytest.raises(BadImageError, match=r"my\.csv, line 5: image .*03\.png does not exist"):
        convert(str(table), f"csv:{tmp_path / 'out'}")
    written = convert(str(table), f"csv:{tmp_path / 'out'}", on_bad_image="skip")
    assert written.images == {"train": 7, "test": 6}
    assert len(written.left_out) == 1


def test_a_broken_small_jpeg_is_found_though_it_is_not_encoded_again(tmp_path: Path) -> None:
    whole = encoded(smooth(64, 48), quality=95)
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadImageError, match="is broken"):
        resized(tmp_path / "a.jpg", 100, 95)


def test_stored_images_that_are_bad_are_named_too(table: Path, tmp_path: Path) -> None:
    written = convert(str(table), f"shards:{tmp_path / 'shards'}").spec
    tar = tmp_path / "shards" / "train-000000.tar"
    picture = (table.parent / "05.png").read_bytes()
    tar.write_bytes(tar.read_bytes().replace(picture, b"x" * len(picture)))
    with pytest.raises(BadImageError, match=r"train-000000\.tar, 000000005\.png is not an image"):
        convert(written, f"parquet:{tmp_path / 'out'}")
    found = convert(written, f"parquet:{tmp_path / 'out'}", on_bad_image="skip")
    assert (found.images["train"], len(found.left_out)) == (7, 1)


def test_a_set_without_a_single_good_image_is_refused(table: Path, tmp_path: Path) -> None:
    for number in range(8):
        (table.parent / f"{number:02d}.png").write_bytes(b"x")
    with pytest.raises(TagformerError, match="no image of split 'train' can be read"):
        convert(str(table), f"shards:{tmp_path / 'out'}", on_bad_image="skip")


@pytest.mark.parametrize("form", ["parquet", "shards"])
def test_parts_of_bad_images_alone_leave_no_gap(table: Path, tmp_path: Path, form: str) -> None:
    for number in range(5, 8):
        (table.parent / f"{number:02d}.png").write_bytes(b"x")
    written = convert(str(table), f"{form}:{tmp_path / 'out'}", on_bad_image="skip", part_bytes=1)
    assert [Path(name).stem for name in load_dataset(written.spec, "train").ids] == [f"{i:02d}" for i in range(5)]


def test_a_kind_of_image_that_cannot_be_stored_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.jp2").write_bytes(encoded(smooth(64, 48), "JPEG2000"))
    (tmp_path / "my.csv").write_text("path,tags\na.jp2,dog\n")
    with pytest.raises(BadImageError, match="JPEG2000 file, which cannot be stored as it is: give a size"):
        convert(str(tmp_path / "my.csv"), f"shards:{tmp_path / 'out'}")
    written = convert(str(tmp_path / "my.csv"), f"shards:{tmp_path / 'small'}", size=20)
    assert load_image(load_dataset(written.spec, "all").images[0]).size == (27, 20)


# The command


def test_the_command_converts_and_says_what_it_wrote(table: Path, tmp_path: Path, tagformer: CommandLine) -> None:
    (table.parent / "02.png").write_bytes(b"not an image")
    target = f"coco:{tmp_path / 'out'}"
    arguments = ["data", "convert", f"csv:{table}", target, "--size", "20", "--workers", "2"]
    code, _, problem = tagformer(*arguments)
    assert code == 2
    assert "02.png is not an image" in problem.splitlines()[-1]
    assert "--on-bad-image skip" in problem
    assert "Traceback" not in problem
    code, printed, _ = tagformer(*arguments, "--on-bad-image", "skip")
    assert code == 0
    assert f"{target}: 7 train, 6 test images" in printed
    assert "Left out: 1 images that cannot be read." in printed
    code, printed, _ = tagformer("data", target)
    assert code == 0
    assert f"{target}, split train: 7 images, 2 labels" in printed
    code, _, problem = tagformer(*arguments[:4], "--quality", "50")
    assert code == 2
    assert problem.count("\n") == 1
    assert "replace it with --overwrite" in problem


def test_the_help_shows_both_uses(tagformer: CommandLine) -> None:
    code, printed, _ = tagformer("data", "--help")
    assert code == 0
    assert "describe" in printed
    assert "convert" in printed
    code, printed, _ = tagformer("data", "convert", "--help")
    assert code == 0
    assert "--on-bad-image" in printed
    assert "tagformer data convert" in tagformer("data")[1]


def test_ctrl_c_says_how_to_go_on(
    table: Path, tmp_path: Path, tagformer: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, count = worker.as_it_is, 0

    def interrupted(*arguments: object) -> object:
        nonlocal count
        count += 1
        if count == 5:
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    arguments = ["data", "convert", str(table), f"shards:{tmp_path / 'out'}"]
    with monkeypatch.context() as patched:
        patched.setattr(worker, "as_it_is", interrupted)
        code, _, problem = tagformer(*arguments)
    assert code == 130
    assert "the same command goes on where it was" in problem
    assert tagformer(*arguments)[0] == 0
    convert(str(table), f"shards:{tmp_path / 'whole'}")
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_a_disk_that_cannot_be_written_is_named(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device", "somewhere")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(TagformerError, match=r"cannot write somewhere \(No space left on device\).*go on"):
            convert(str(table), f"csv:{tmp_path / 'out'}", size=20)
    convert(str(table), f"csv:{tmp_path / 'out'}", size=20)


def test_data_in_memory_can_be_stopped_too(table: Path, tmp_path: Path) -> None:
    parts = {"train": load_dataset("scenes?images=6", "train")}
    with pytest.raises(Stop):
        write_dataset(parts, f"csv:{tmp_path / 'out'}", progress=stopping(4))
    write_dataset(parts, f"csv:{tmp_path / 'out'}")
    write_dataset(parts, f"csv:{tmp_path / 'whole'}")
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
