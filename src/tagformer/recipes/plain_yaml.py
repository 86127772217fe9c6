"""YAML of plain values: mappings, lists, texts and numbers. Whatever else YAML can express is rejected."""

from __future__ import annotations

import re
from typing import Any

import yaml

from tagformer.errors import TagformerError

NOT_YAML = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
MOST_VALUES = 100_000  # in a recipe; the longest that comes with the package has about 100


class _Loader(yaml.SafeLoader):
    """YAML with 1e-4 read as a number, as YAML 1.2 has it; PyYAML's YAML 1.1 reads it as text."""


class _Dumper(yaml.SafeDumper):
    """Quotes the text that `_Loader` would read as a number."""


# Dates stay text; the dumper still quotes them, since other programs read them as dates.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _reader in (_Loader, _Dumper):
    _reader.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
    )


def read_yaml(text: str) -> Any:
    """The values in a YAML text.

    Raises:
        yaml.YAMLError, ValueError and others of `NOT_YAML`: it is not YAML, or holds other values than plain ones.
    """
    return _plain(yaml.load(text, _Loader))


def to_yaml(values: Any) -> str:
    """YAML that `read_yaml` reads."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def parse_value(text: str) -> Any:
    """Read a value as YAML.

    Raises:
        TagformerError: not YAML.
    """
    try:
        return read_yaml(text)
    except NOT_YAML as error:
        raise TagformerError(f"value '{text}' is not valid YAML: quote it.") from error


def _plain(value: Any) -> Any:
    """A value that was read from YAML, where it consists of mappings, lists, texts and numbers.

    Raises:
        ValueError: it has other values, refers to itself, or its aliases make it large beyond measure.
    """
    waiting, count = [value], 0
    while waiting:
        item = waiting.pop()
        count += 1
        if count > MOST_VALUES:
            raise ValueError("its aliases (*) repeat themselves without end")
        if isinstance(item, dict):
            waiting += [*item, *item.values()]
        elif isinstance(item, list):
            waiting += item
        elif item is not None and not isinstance(item, (str, int, float)):
            raise ValueError(f"it holds a {type(item).__name__}")
    return value
