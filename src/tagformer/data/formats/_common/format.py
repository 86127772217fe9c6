"""The interface of a data format: which splits there are, how one is loaded, and what can write the format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from tagformer.data.dataset import MultiLabelDataset
from tagformer.data.formats._common.writer import Writer


class Format(ABC):
    """A way to store a data set: subclass it, set `layout`, and define `splits` and `load`.

    A format of your own in ``my_module.py`` is used as ``my_module:MyFormat:PATH?option=value`` wherever a data set is
    named (docs/extending.md shows one). The rules for `splits` and `load`:

    - Splits are called ``train``, ``val`` and ``test``. A data set without splits returns ``()``, and the caller draws
      them by a hash of the ids.
    - Every split has the same labels in the same order, and ids are unique over all the splits.
    - Labels are int8: 1 present, 0 absent, -1 unknown.
    - Image files need not exist: the caller checks that.
    - The data set's `origins` ("my.csv, line 7" for each image) are optional; messages about an image begin with them.
    - Whatever is wrong with the files or with an option raises a `TagformerError` of one sentence: what is wrong, where
      (file and line, row or entry), and what to do.

    Attributes:
        layout: the files that the format expects, in a few words.
        options: the names that may follow ``?`` in an address, each with what it does.
        path_options: those options that are paths, which become absolute.
        needs_path: whether an address has a path; without one, `splits` and `load` are called with ``Path()``.
        suffixes: endings of files that name the format by themselves: ``my.csv`` is short for ``csv:my.csv``.
        hub_names: the path may be a name on a hub instead, so it need not exist.
        images_often_missing: image files are usually missing, so they are skipped instead of being an error.
        folders_are_labels: every folder below the path counts as a label, so nothing else may be written there.
        writer: writes the format; None where it can only be read.

    >>> import torch
    >>> from tagformer.data import Format, MultiLabelDataset
    >>> from tagformer.labels import LabelSpace
    >>> class OneCat(Format):
    ...     layout = "FOLDER/cat.jpg"
    ...     def splits(self, path, options):
    ...         return ()
    ...     def load(self, path, split, options):
    ...         labels = torch.ones(1, 1, dtype=torch.int8)
    ...         return MultiLabelDataset(str(path), LabelSpace(("cat",)), [path / "cat.jpg"], labels, ids=["cat"])
    >>> OneCat().load(Path("pets"), "all", {}).images
    [PosixPath('pets/cat.jpg')]
    """

    layout: str = ""
    options: ClassVar[Mapping[str, str]] = {}
    path_options: ClassVar[tuple[str, ...]] = ()
    needs_path: ClassVar[bool] = True
    suffixes: ClassVar[tuple[str, ...]] = ()
    hub_names: ClassVar[bool] = False
    images_often_missing: ClassVar[bool] = False
    folders_are_labels: ClassVar[bool] = False
    writer: type[Writer] | None = None

    @abstractmethod
    def splits(self, path: Path, options: Mapping[str, str]) -> tuple[str, ...]:
        """The splits that the data itself defines, in the order train, val, test; () where it defines none.

        Raises:
            TagformerError: the files are missing or malformed.
        """

    @abstractmethod
    def load(self, path: Path, split: str, options: Mapping[str, str]) -> MultiLabelDataset:
        """Load one of the `splits`, or all images where `split` is ``all``.

        Raises:
            TagformerError: the files are missing or malformed, or an option has a value that it cannot have.
        """
