"""COCO-1000: COCO's object categories and the most frequent words of its captions as labels.

C-Tran (Lanchantin et al., CVPR 2021) reports results on it but gives only its name. The rule here is Tagformer's own:

- A word is a run of letters, in lower case; it is not stemmed, so "dog" and "dogs" are two words. `STOP_WORDS` and
  single letters are not labels.
- An image has a word if any of its captions (usually five) has it.
- The labels are the words that the most images of the training captions have, whatever split is loaded; ties are
  broken alphabetically. They follow the objects, most frequent first.
- A word that is an object's name ("dog") is not a label of its own: its label only says whether the object was
  annotated. Words that are a part of such a name ("traffic") are kept. Without objects all such words are labels.
- All images with a caption are included, also those without an object.

The authors' code takes 1,000 words and no objects, as ``objects=none`` does; but it reduces words to their lemma and
counts every occurrence, so some of its words differ.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tagformer.data.columns import Files, Strings
from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.formats._common.format import Format
from tagformer.data.formats._common.options import choose
from tagformer.data.formats.coco.categories import read_categories
from tagformer.data.formats.coco.json_file import (
    STEMS,
    by_id,
    checked_annotations,
    concatenate_splits,
    read_lists,
    reported_entries,
    text_of,
)
from tagformer.data.sparse_rows import SparseRows
from tagformer.errors import TagformerError
from tagformer.labels.space import ABSENT, PRESENT, LabelSpace

YEARS = ("2014", "2017")
STOP_LIST = """
a about above across after again against ain all along also am among an and another any anything are aren around as at
away be because been before behind being below beneath beside besides between both but by can cannot could couldn did
didn do does doesn doing don down during each either else even ever every everything few for from further had hadn has
hasn have haven having he her here hers herself him himself his how however i if in inside instead into is isn it its
itself just least less ll many may maybe me might more most much must mustn my myself near neither next no nor not
nothing now of off on once one only onto or other others our ours ourselves out outside over own per quite rather re
same several shall shan she should shouldn since so some someone something still such than that the their theirs them
themselves then there these they this those though through throughout to together too toward towards under underneath
until unto up upon us ve very via was wasn we were weren what when where whether which while who whom whose why will
with within without won would wouldn yet you your yours yourself yourselves
"""
STOP_WORDS = frozenset((*STOP_LIST.split(), *string.ascii_lowercase))


def words_of(text: str) -> set[str]:
    """The different words of a text that may be labels.

    >>> sorted(words_of("A dog and 2 dogs in the snow"))
    ['dog', 'dogs', 'snow']
    """
    return set(re.findall(r"[^\W\d_]+", text.lower())) - STOP_WORDS


def ranked_words(texts: Iterable[str]) -> list[str]:
    """All words, by the number of texts that have them, most frequent first; ties in alphabetical order.

    >>> ranked_words(["a dog", "cats, dogs", "a cat and a dog"])
    ['dog', 'cat', 'cats', 'dogs']
    """
    counts = Counter(word for text in texts for word in words_of(text))
    return sorted(counts, key=lambda word: (-counts[word], word))


class Coco1000Format(Format):
    """COCO-1000, from the captions and the instances of 2014 or 2017; see the module's text.

    >>> sorted(Coco1000Format().options)
    ['images', 'objects', 'words']
    """

    layout = (
        "annotations/captions_{train,val}2014.json, annotations/instances_{train,val}2014.json, "
        "{train,val}2014/*.jpg; or all of 2017"
    )
    options: ClassVar[Mapping[str, str]] = {
        "words": "how many words are labels (default: 1000)",
        "objects": "include (default): the object categories are labels too; extra: a model may take them as input, "
        "but they are not scored; none: words only",
        "images": "folder of the images (default: the split's folder beside annotations/)",
    }
    path_options = ("images",)

    def splits(self, path: Path, options: Mapping[str, str]) -> tuple[str, ...]:
        """train, and test (COCO's val) where its captions exist.

        Raises:
            TagformerError: no training captions, from which the words are taken.
        """
        year = _year(path)
        return tuple(split for split in STEMS if _file(path, "captions", split, year).is_file())

    def load(self, path: Path, split: str, options: Mapping[str, str]) -> MultiLabelDataset:
        """Load a split.

        Raises:
            TagformerError: a file is missing or malformed; an annotation of an image that does not exist; an option
                with another value.
        """
        kind = choose(options, {"objects": ("include", "extra", "none")})["objects"]
        count = options.get("words", "1000")
        if not re.fullmatch("[1-9][0-9]{0,8}", count):
            raise TagformerError(f"option words={count}: use a whole number from 1.")
        year = _year(path)
        training = _read_captions(_file(path, "captions", "train", year))
        ranked = ranked_words(training.texts)
        splits = {}
        for name in self.splits(path, options):
            if split in (name, "all"):
                captions = training if name == "train" else _read_captions(_file(path, "captions", name, year))
                objects = _Objects((), [set()] * len(captions.ids))
                if kind != "none":
                    objects = _read_objects(_file(path, "instances", name, year), captions)
                taken = {object_name.lower() for object_name in objects.names}
                words = [word for word in ranked if word not in taken][: int(count)]
                if not words:
                    raise TagformerError(f"{training.file}: no caption has a word that can be a label.")
                label_space = LabelSpace((*objects.names, *words), extra=objects.names if kind == "extra" else ())
                folder = Path(options.get("images", path / f"{STEMS[name]}{year}"))
                splits[name] = _dataset(captions, objects, words, label_space, folder)
        return concatenate_splits(path, splits)


@dataclass(frozen=True)
class _Captions:
    """The images of a captions file that have a caption.

    Attributes:
        file: the file.
        ids: the images' ids.
        names: their paths in the folder of the images.
        texts: all captions of an image as one text.
    """

    file: Path
    ids: Sequence[Any]
    names: Strings
    texts: Sequence[str]


@dataclass(frozen=True)
class _Objects:
    """The names of the object categories, and for each image the columns of those that it has."""

    names: tuple[str, ...]
    present: Sequence[set[int]]


def _file(root: Path, kind: str, split: str, year: str) -> Path:
    return root / "annotations" / f"{kind}_{STEMS[split]}{year}.json"


def _year(root: Path) -> str:
    for year in YEARS:
        if _file(root, "captions", "train", year).is_file():
            return year
    raise TagformerError(f"{root} has no annotations/captions_train2014.json (or 2017): the words are taken from it.")


def _read_captions(file: Path) -> _Captions:
    content = read_lists(file, "captions", "images", "annotations")
    with reported_entries(file, "captions"):
        images = by_id(content, "images", file)
        texts: dict[Any, list[str]] = {id_: [] for id_ in images}
        for annotation, image, _ in checked_annotations(content, file, images):
            texts[image].append(text_of(annotation, "caption", "annotation", file))
        ids = [id_ for id_, captions in texts.items() if captions]
        names = Strings(text_of(images[id_], "file_name", "image", file) for id_ in ids)
        return _Captions(file, ids, names, [" ".join(texts[id_]) for id_ in ids])


def _read_objects(file: Path, captions: _Captions) -> _Objects:
    if not file.is_file():
        raise TagformerError(f"{file} does not exist, and the objects are read from it: add it, or use objects=none.")
    content = read_lists(file, "instances", "images", "annotations", "categories")
    with reported_entries(file, "instances"):
        categories = read_categories(content, file)
        present: dict[Any, set[int]] = {id_: set() for id_ in by_id(content, "images", file)}
        for _, image, category in checked_annotations(content, file, present, categories.columns):
            present[image].add(categories.columns[category])
    for id_ in captions.ids:
        if id_ not in present:
            raise TagformerError(f"{file} has no image {id_}, which has a caption in {captions.file}.")
    return _Objects(categories.names, [present[id_] for id_ in captions.ids])


def _dataset(
    captions: _Captions, objects: _Objects, words: Sequence[str], label_space: LabelSpace, folder: Path
) -> MultiLabelDataset:
    columns = {word: column for column, word in enumerate(words, len(objects.names))}
    present = (
        of_image | {columns[word] for word in words_of(text) & columns.keys()}
        for of_image, text in zip(objects.present, captions.texts, strict=True)
    )
    rows = ((dict.fromkeys(sorted(of_image), PRESENT), ABSENT) for of_image in present)
    return MultiLabelDataset(
        name=str(captions.file),
        label_space=label_space,
        images=Files(folder, captions.names),
        labels=SparseRows.of(rows, len(label_space)),
        ids=Strings(map(str, captions.ids)),
        origins=Strings(f"{captions.file}, image {id_}" for id_ in captions.ids),
    )
