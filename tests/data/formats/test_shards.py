from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import webdataset

from tagformer.data import MultiLabelDataset, load_dataset, write_dataset
from tagformer.data.formats._common.table import Row, Table
from tagformer.data.formats.shards import ShardFormat
from tagformer.errors import BadImageError, TagformerError
from tagformer.images.reading import load_image
from tests.stored_pictures import assert_shows, png

FORMAT = ShardFormat()
load, splits = FORMAT.load, FORMAT.splits

ANNOTATIONS: list[dict[str, Any]] = [
    {"tags": ["dog", "cat"]},
    {"tags": []},
    {"tags": None},
    {"tags": ["ant"], "unknown": ["cat"]},
    {"present": ["dog"], "absent": ["cat"]},
    {"labels": {"dog": 1, "cat": 0}},
]
STATES = [[0, 1, 1], [0, 0, 0], [-1, -1, -1], [1, -1, 0], [-1, 0, 1], [-1, 0, 1]]  # ant, cat, dog
SAMPLE = [("a.png", png(0)), ("a.json", b'{"tags": ["dog"]}')]


def write(file: Path, *members: tuple[str, bytes]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file


def write_samples(file: Path, annotations: list[dict[str, Any]], first: int = 0) -> Path:
    """Pictures from number `first` on, each with its annotation."""
    members = []
    for number, own in enumerate(annotations, start=first):
        members += [(f"{number:06d}.png", png(number)), (f"{number:06d}.json", json.dumps(own).encode())]
    return write(file, *members)


def states(dataset: MultiLabelDataset, *names: str) -> dict[str, list[int]]:
    columns = [dataset.label_space.index(name) for name in names or dataset.label_space.names]
    return dict(zip(dataset.ids, dataset.labels[:, columns].tolist(), strict=True))


def test_a_sample_has_each_of_the_three_states_in_several_ways(tmp_path: Path) -> None:
    file = write_samples(tmp_path / "my.tar", ANNOTATIONS)
    dataset = load(file, "all", {})
    assert dataset.labels.dtype == torch.int8
    expected = {f"my/{number:06d}": own for number, own in enumerate(STATES)}
    assert states(dataset, "ant", "cat", "dog") == expected
    assert not dataset.exhaustive
    assert dataset.origins is not None
    assert dataset.origins[3] == f"{file}, sample 4"
    assert str(dataset.images[3]) == f"{file}, 000003.png"
    assert splits(file, {}) == ()


def test_lists_of_tags_alone_are_exhaustive_and_their_labels_alphabetical(tmp_path: Path) -> None:
    dataset = load(write_samples(tmp_path / "my.tar", ANNOTATIONS[:4]), "all", {})
    assert dataset.label_space.names == ("ant", "cat", "dog")
    assert dataset.exhaustive


@pytest.mark.parametrize("form", ["{}-{:06d}.tar", "{}/{:06d}.tar"])
def test_the_splits_are_in_the_tars_names_or_folders(tmp_path: Path, form: str) -> None:
    write_samples(tmp_path / form.format("train", 0), ANNOTATIONS[:2])
    write_samples(tmp_path / form.format("train", 1), ANNOTATIONS[3:4], 3)
    write_samples(tmp_path / form.format("test", 0), ANNOTATIONS[2:3], 2)
    assert splits(tmp_path, {}) == ("train", "test")
    train, test = load(tmp_path, "train", {}), load_dataset(f"shards:{tmp_path}", "test")
    own = [form.format("train", number).removesuffix(".tar") for number in (0, 1)]
    assert states(train) == {
        f"{own[0]}/000000": STATES[0],
        f"{own[0]}/000001": STATES[1],
        f"{own[1]}/000003": STATES[3],
    }
    assert list(states(test).values()) == [[-1, -1, -1]]
    assert_shows(train.subset([2, 1, 0]), [3, 1, 0])
    assert_shows(test, [2])


def test_a_single_tar_may_be_called_after_its_split(tmp_path: Path) -> None:
    assert splits(write_samples(tmp_path / "val-000.tar", ANNOTATIONS[:1]), {}) == ("val",)
    assert len(load(tmp_path / "val-000.tar", "val", {})) == 1
    assert splits(write_samples(tmp_path / "other" / "mine-000.tar", ANNOTATIONS[:1]), {}) == ()
    assert splits(tmp_path / "other", {}) == ()
    assert len(load(tmp_path / "other", "all", {})) == 1


def test_images_come_out_pixel_by_pixel_also_in_loader_processes(tmp_path: Path) -> None:
    assert_shows(load_dataset(f"shards:{write_samples(tmp_path / 'my.tar', ANNOTATIONS)}", "all"), range(6))


def test_an_id_takes_precedence_over_the_key(tmp_path: Path) -> None:
    write_samples(tmp_path / "my.tar", [{"tags": ["dog"], "id": "x"}, {"tags": [], "id": 7}, {"tags": []}])
    assert load(tmp_path / "my.tar", "all", {}).ids == ["x", "7", "my/000002"]


def test_other_members_are_skipped_and_keys_may_be_in_folders(tmp_path: Path) -> None:
    long = "f" * 120
    members = [
        ("sub.1/a.PNG", png(0)),
        ("sub.1/a.txt", b"a caption"),
        ("readme", b""),
        (".hidden.png", b""),
        ("sub.2/a.json", b'{"tags": []}'),
        (f"{long}.json", b'{"tags": ["cat"]}'),
        ("sub.2/a.seg.png", b"a mask"),
        ("sub.2/a.png", png(1)),
        (f"{long}.png", png(2)),
        ("sub.1/a.json", b'{"tags": ["dog"]}'),
    ]
    dataset = load(write(tmp_path / "my.tar", *members), "all", {})
    assert states(dataset) == {"my/sub.1/a": [0, 1], "my/sub.2/a": [0, 0], f"my/{long}": [1, 0]}
    assert_shows(dataset, [0, 1, 2])


def test_labels_json_gives_the_labels_and_spares_the_other_splits(tmp_path: Path) -> None:
    write_samples(tmp_path / "train-0.tar", ANNOTATIONS[:1])
    (tmp_path / "test-0.tar").write_bytes(b"not to be read")
    content = {"names": ["dog", "wolf", "cat"], "groups": {"canids": ["dog", "wolf"]}, "extra": ["wolf"]}
    (tmp_path / "labels.json").write_text(json.dumps(content))
    dataset = load(tmp_path, "train", {})
    assert dataset.label_space.to_dict() == content
    assert states(dataset) == {"train-0/000000": [1, 0, 1]}
    (tmp_path / "labels.json").unlink()
    with pytest.raises(TagformerError, match=r"test-0\.tar is truncated or not a tar"):
        load(tmp_path, "train", {})


def test_a_data_set_may_have_more_shards_than_16_bits_count(tmp_path: Path) -> None:
    table = Table("sample", sidecar=tmp_path / "labels.json")
    for number in range(33_000):
        row = Row("", {"dog": 1}, 0, True, "", 1, str(number))
        table.read(tmp_path / f"{number}.tar", [row])
    origins = table.build("many", tmp_path, "all").origins
    assert origins is not None
    assert origins[32_999] == f"{tmp_path / '32999.tar'}, sample 1"


# WebDataset's library


@pytest.mark.parametrize("form", ["ustar", "gnu", "pax"])
def test_tars_that_webdataset_wrote_are_read(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    forms = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
    monkeypatch.setattr(tarfile.TarFile, "format", forms[form])
    file = tmp_path / "train-000000.tar"
    with webdataset.TarWriter(str(file)) as writer:
        for number, annotation in enumerate(ANNOTATIONS[:3]):
            writer.write({"__key__": f"sample{number}", "png": png(number), "json": annotation, "cls": 5})
    dataset = load(tmp_path, "train", {})
    assert states(dataset) == {f"train-000000/sample{i}": own for i, own in enumerate([[1, 1], [0, 0], [-1, -1]])}
    assert_shows(dataset, range(3))


def test_shards_that_we_wrote_are_read_by_webdataset_and_by_us(tmp_path: Path) -> None:
    own = load(
        write_samples(
            tmp_path / "my.tar", [{**annotation, "id": f"id {i}"} for i, annotation in enumerate(ANNOTATIONS)]
        ),
        "all",
        {},
    )
    parts = {"train": own.subset(range(4)), "val": own.subset([5, 4])}
    write_dataset(parts, f"shards:{tmp_path / 'out'}", part_bytes=4000)
    tars = sorted((tmp_path / "out").glob("train-*.tar"))
    assert len(tars) > 1
    theirs = webdataset.WebDataset([str(file) for file in tars], shardshuffle=False)
    samples = [(sample["png"], json.loads(sample["json"])) for sample in theirs]
    assert [image for image, _ in samples] == [png(number) for number in range(4)]
    assert [annotation["id"] for _, annotation in samples] == [f"id {number}" for number in range(4)]
    assert samples[0][1]["tags"] == ["dog", "cat"] or samples[0][1]["tags"] == ["cat", "dog"]
    assert splits(tmp_path / "out", {}) == ("train", "val")
    ours = load(tmp_path / "out", "all", {})
    assert states(ours, "ant", "cat", "dog") == {f"id {number}": STATES[number] for number in (0, 1, 2, 3, 5, 4)}
    assert_shows(ours, [0, 1, 2, 3, 5, 4])


# Malformed


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("b.png", png(1))], r"member b\.png has no b\.json beside it: a sample needs both"),
        ([("b.json", b'{"tags": []}')], r"member b\.json has no image beside it: a sample needs both"),
        ([("b.png", b""), ("b.JPG", b""), ("b.json", b"{}")], r"members b\.png and b\.JPG are both images of one key"),
        ([("a.json", b"{}")], r"duplicate member a\.json"),
        ([("a.png", b"")], r"members a\.png and a\.png are both images of one key"),
        ([("b.png", b""), ("b.json", b"{")], r"b\.json: not valid JSON"),
        ([("b.png", b""), ("b.json", b'{"tags": ["\xff"]}')], r"b\.json: not UTF-8 text"),
        ([("b.png", b""), ("b.json", b'{"tags": ["\xed\xa0\x80"]}')], r"b\.json: not UTF-8 text"),
        ([("b.png", b""), ("b.json", '{"tags": ["a"]}'.encode("utf-16"))], r"b\.json: not UTF-8 text"),
        ([("b.png", b""), ("b.json", b"[1]")], r"b\.json: not a JSON object"),
        ([("b.png", b""), ("b.json", b'{"tags": "dog"}')], r"b\.json: 'tags' must be a list of names"),
        ([("b.png", b""), ("b.json", b'{"labels": {"dog": 2}}')], r"b\.json: label 'dog' has the state 2"),
        ([("b.png", b""), ("b.json", b'{"id": [1]}')], r"b\.json: id \[1\]: use text or a whole number"),
        ([("b.png", b""), ("b.json", b'{"id": "my/a"}')], r"sample 2: id 'my/a' is a duplicate of .*my\.tar, sample 1"),
    ],
)
def test_a_faulty_member_is_rejected_with_the_tar_and_its_name(
    tmp_path: Path, members: list[tuple[str, bytes]], message: str
) -> None:
    file = write(tmp_path / "my.tar", *SAMPLE, *members)
    with pytest.raises(TagformerError, match=message) as caught:
        load(file, "all", {})
    assert str(caught.value).startswith(str(file))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda content: b"", "is truncated or not a tar: reading failed after its start"),
        (lambda content: b"text " * 300, "is truncated or not a tar: reading failed after its start"),
        (lambda content: content[:300], "is truncated or not a tar: reading failed after its start"),
        (lambda content: content[:700], r"is truncated or not a tar: reading failed after member a\.png"),
        (lambda content: content[:1200], r"is truncated or not a tar: reading failed after member a\.png"),
        (lambda content: content[:2048], r"is truncated or not a tar: reading failed after member a\.json"),
        (lambda content: content[:1100] + b"?" * 50 + content[1150:], r"reading failed after member a\.png"),
        (lambda content: bytes(10240), "has no images: it needs a sample for each"),
    ],
)
def test_a_damaged_tar_is_rejected_by_name(tmp_path: Path, spoil: Callable[[bytes], bytes], message: str) -> None:
    file = write(tmp_path / "my.tar", *SAMPLE)
    content = file.read_bytes()
    assert content[1024 : 1024 + 6] == b"a.json"
    file.write_bytes(spoil(content))
    with pytest.raises(TagformerError, match=message) as caught:
        load(file, "all", {})
    assert str(file) in str(caught.value)


def test_an_image_that_is_broken_or_gone_is_named_with_its_tar(tmp_path: Path) -> None:
    file = write(tmp_path / "my.tar", ("b.jpg", b"text"), ("b.json", b'{"tags": ["dog"]}'), *SAMPLE)
    images = load(file, "all", {}).images
    with pytest.raises(BadImageError, match=r"my\.tar, b\.jpg is not an image"):
        load_image(images[0])
    file.write_bytes(file.read_bytes()[:2600])
    with pytest.raises(BadImageError, match=r"my\.tar, a\.png is broken \(the tar ends within it\)"):
        load_image(images[1])


def test_folders_without_tars_or_with_others_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(TagformerError, match=r"has no tars: expected \{train,val,test\}-\*\.tar"):
        splits(tmp_path, {})
    write(tmp_path / "train-0.tar", *SAMPLE)
    write(tmp_path / "mine-0.tar", *SAMPLE)
    with pytest.raises(TagformerError, match=r"mine-0\.tar belongs to no split, but .*train-0\.tar does"):
        splits(tmp_path, {})
