"""COCO's categories: which label each of them is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tagformer.data.formats.coco.json_file import by_id, text_of
from tagformer.errors import TagformerError
from tagformer.labels.names import plain_name
from tagformer.labels.space import LabelSpace


@dataclass(frozen=True)
class Categories:
    """The categories of a file.

    Attributes:
        names: the labels' names, in the order of the categories' ids.
        columns: category id -> column of its label; categories of the same name share one. A category that was left out
            has no column.
        warnings: a sentence on each name that several categories have, and on categories that were left out.
    """

    names: tuple[str, ...]
    columns: dict[Any, int]
    warnings: tuple[str, ...]


def read_categories(content: Mapping[str, Any], file: Path, left_out: Collection[str] = ()) -> Categories:
    """The categories of a file.

    Args:
        left_out: the names of categories that are not labels; see `unused_roots`.

    Raises:
        TagformerError: two categories have the same id, one has no name, or there are none.
    """
    entries = by_id(content, "categories", file)
    ids_of: dict[str, list[Any]] = defaultdict(list)
    for id_ in sorted(entries, key=_order):
        name = text_of(entries[id_], "name", "category", file)
        if name not in left_out:
            ids_of[plain_name(name)].append(id_)
    try:
        names = LabelSpace(tuple(ids_of)).names
    except TagformerError as error:
        raise TagformerError(f"{file}: {error}") from error
    columns = {id_: column for column, ids in enumerate(ids_of.values()) for id_ in ids}
    warnings = [
        f"{file}: the category '{name}' is left out, since no annotation has it and it is the supercategory of others."
        for name in left_out
    ]
    for name, ids in ids_of.items():
        if len(ids) > 1:
            numbers = f"{', '.join(map(str, ids[:-1]))} and {ids[-1]}"
            warnings.append(f"{file}: the categories {numbers} are all called '{name}' and are read as one label.")
    return Categories(names, columns, tuple(warnings))


def unused_roots(content: Mapping[str, Any]) -> list[str]:
    """The names of the categories that no annotation has and that are the supercategory of others.

    Roboflow writes such a category with the id 0 for the whole project. It is a category of categories, not a label.
    """
    entries = [entry for entry in content["categories"] if isinstance(entry, dict)]
    parents = {
        entry["supercategory"]
        for entry in entries
        if isinstance(entry.get("supercategory"), str) and entry["supercategory"] != entry.get("name")
    }
    candidates = {str(entry.get("id")): entry["name"] for entry in entries if _name(entry) in parents}
    if not candidates:
        return []
    used = {str(annotation.get("category_id")) for annotation in content["annotations"] if isinstance(annotation, dict)}
    used_names = {name for id_, name in candidates.items() if id_ in used}
    roots = [name for name in dict.fromkeys(candidates.values()) if name not in used_names]
    return roots if any(_name(entry) not in roots for entry in entries) else []


def _name(entry: Mapping[str, Any]) -> str | None:
    name = entry.get("name")
    return name if isinstance(name, str) else None


def _order(id_: Any) -> tuple[int, float, str]:
    """Numbers in their order, also those that are text, before other texts."""
    if isinstance(id_, str) and not (id_.isdecimal() and id_.isascii() and len(id_) < 19):
        return 1, 0.0, id_
    return 0, float(id_), str(id_)
