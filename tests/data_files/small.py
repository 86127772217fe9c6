"""A small data set in every registered format: ``SMALL[format](folder)`` writes it and returns its address."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import datasets

from tagformer.data import convert
from tests.data_files import coco, cub, voc
from tests.stored_pictures import png

Builder = Callable[[Path], str]
LABELS = 500  # of Visual Genome
CONCEPTS = 81  # of NUS-WIDE


def scenes(folder: Path) -> str:
    return "scenes?images=12&seed=1"


def written(name: str) -> Builder:
    """What Tagformer itself writes."""
    return lambda folder: convert("scenes?images=12", f"{name}:{folder / 'written'}").spec


def coco_of(year: str) -> Builder:
    def build(folder: Path) -> str:
        for split, image in (("train", 10), ("val", 11)):
            content = coco.instances([coco.annotation(1, image, 18, (0, 0, 9, 9), area=81.0)])
            coco.write(folder / "annotations" / f"instances_{split}{year}.json", content)
        return f"coco{year}:{folder}"

    return build


def coco1000(folder: Path) -> str:
    coco_of("2014")(folder)
    for split, image in (("train", 10), ("val", 11)):
        content = {**coco.instances([]), "annotations": [{"id": 1, "image_id": image, "caption": "A red kite."}]}
        coco.write(folder / "annotations" / f"captions_{split}2014.json", content)
    return f"coco1000:{folder}"


def cub_tree(folder: Path) -> str:
    for name, content in cub.FILES.items():
        cub.write(folder / name, content)
    cub.write(folder / "attributes.txt", cub.ATTRIBUTES)
    return f"cub:{folder}?concepts=312"


def hugging_face(folder: Path) -> str:
    features = datasets.Features({"image": datasets.Image(), "tags": datasets.Sequence(datasets.Value("string"))})
    for split in ("train", "test"):
        rows = {"image": [{"bytes": png(1), "path": None}] * 2, "tags": [["dog"], ["cat", "dog"]]}
        datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / f"{split}.parquet")
    return f"huggingface:{folder}"


def image_folder(folder: Path) -> str:
    for name in ("train/dog/a.png", "train/cat/b.png", "test/dog/c.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(1))
    return f"imagefolder:{folder}"


def image_lists(name: str, index: str) -> Builder:
    def build(folder: Path) -> str:
        (folder / "train_list_500.txt").write_text("1.jpg\n2.jpg\n")
        (folder / "test_list_500.txt").write_text("3.jpg\n")
        (folder / index).write_text(json.dumps({"1.jpg": [0, LABELS - 1], "2.jpg": [], "3.jpg": [7]}))
        return f"{name}:{folder}"

    return build


def nuswide(folder: Path) -> str:
    lists, labels = folder / "ImageList", folder / "Groundtruth" / "TrainTestLabels"
    lists.mkdir(parents=True)
    labels.mkdir(parents=True)
    (folder / "ConceptsList").mkdir()
    concepts = [f"concept{number}" for number in range(CONCEPTS)]
    (folder / "ConceptsList" / "Concepts81.txt").write_text("\n".join(concepts))
    for split in ("Train", "Test"):
        (lists / f"{split}Imagelist.txt").write_text(f"{split}\\1.jpg\n{split}\\2.jpg\n")
        for concept in concepts:
            (labels / f"Labels_{concept}_{split}.txt").write_text("1\n0\n")
    return f"nuswide:{folder}"


def voc_of(year: str) -> Builder:
    def build(folder: Path) -> str:
        voc.write_lists(folder / "VOCdevkit" / f"VOC{year}")
        return f"voc{year}:{folder}"

    return build


SMALL: dict[str, Builder] = {
    "coco": written("coco"),
    "coco2014": coco_of("2014"),
    "coco2017": coco_of("2017"),
    "coco1000": coco1000,
    "csv": written("csv"),
    "cub": cub_tree,
    "huggingface": hugging_face,
    "imagefolder": image_folder,
    "jsonl": written("jsonl"),
    "news500": image_lists("news500", "news_category_500_labels_index.json"),
    "nuswide": nuswide,
    "parquet": written("parquet"),
    "scenes": scenes,
    "shards": written("shards"),
    "vg500": image_lists("vg500", "vg_category_500_labels_index.json"),
    "voc2007": voc_of("2007"),
    "voc2012": voc_of("2012"),
}
