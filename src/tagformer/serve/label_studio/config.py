"""Labeling configs of Label Studio: which choices there are, and which labels of the model they are.

The XML is read by expat itself: a document type, and with it every entity, is refused, so nothing can be expanded or
fetched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from tagformer.errors import TagformerError
from tagformer.labels.names import plain_name
from tagformer.labels.space import LabelSpace

LONGEST, DEEPEST = 1_000_000, 60  # characters, and elements within elements
KINDS = {"Choices": "choices", "Taxonomy": "taxonomy"}
SEPARATOR = "/"  # between the parts of a label's name that are the levels of a taxonomy
Path = tuple[str, ...]


@dataclass(frozen=True)
class Control:
    """A set of choices for an image.

    Attributes:
        name: ``from_name`` in results.
        to_name: the image's tag.
        kind: choices or taxonomy.
        variable: the entry of a task's data that has the image's address.
        multiple: whether several may be chosen.
        labels: each choice, as the path to it, and the label that it is.
        without_label: how many choices are no labels of the model.
        conditional: whether it is shown at times only (``visibleWhen``), so that what was not chosen may not have been
            seen.
    """

    name: str
    to_name: str
    kind: str
    variable: str
    multiple: bool
    labels: dict[Path, str]
    without_label: int
    conditional: bool


def parse_config(text: str, label_space: LabelSpace) -> list[Control]:
    """The sets of choices in a labeling config that are for images.

    Raises:
        TagformerError: it is not XML, has entities, or has no choices that are labels of the model.

    >>> from tagformer.labels import LabelSpace
    >>> from tagformer.serve.label_studio.config import parse_config
    >>> control, = parse_config('''
    ... <View>
    ...   <Image name="photo" value="$image"/>
    ...   <Choices name="tags" toName="photo" choice="multiple"><Choice value="dog"/><Choice value="Sky"/></Choices>
    ... </View>''', LabelSpace(("cat", "dog", "sky")))
    >>> control.variable, control.labels
    ('image', {('dog',): 'dog', ('Sky',): 'sky'})
    """
    root = parse_xml(text)
    images = {image.get("name"): image.get("value", "") for image in root.iter("Image")}
    conditional = {id(part) for element in root.iter() if "visibleWhen" in element.attrib for part in element.iter()}
    names = _Names(label_space)
    controls, choices = [], 0
    for element in root.iter():
        if element.tag not in KINDS:
            continue
        name, to_name = element.get("name"), element.get("toName")
        if not name or to_name is None or to_name not in images:
            continue
        value = images[to_name]
        paths = list(_paths(element, ()))
        labels = {path: label for path in paths if (label := names.label_of(path)) is not None}
        choices += len(paths)
        multiple = element.tag == "Taxonomy" or element.get("choice", "single") == "multiple"
        controls.append(
            Control(
                name,
                to_name,
                KINDS[element.tag],
                value.lstrip("$"),
                multiple,
                labels,
                without_label=len(paths) - len(labels),
                conditional=id(element) in conditional,
            )
        )
    if not controls:
        raise TagformerError("the labeling config has neither Choices nor Taxonomy for an Image: add one.")
    if not any(control.labels for control in controls):
        raise TagformerError(
            f"none of the {choices} choices of the labeling config is a label of this model, such as "
            f"'{label_space.names[0]}': name them as the labels, see /v1/labels."
        )
    return controls


def parse_xml(text: str) -> Element:
    """The root of an XML document that has no document type.

    Raises:
        TagformerError: it is not XML, too large or too deep, or has a document type.
    """
    if len(text) > LONGEST:
        raise TagformerError(f"the labeling config has over {LONGEST} characters.")
    builder, depth = TreeBuilder(), 0
    parser = expat.ParserCreate(encoding="utf-8")

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > DEEPEST:
            raise TagformerError(f"the labeling config has over {DEEPEST} levels.")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def refuse(*_: object) -> None:
        raise TagformerError("the labeling config has a document type: leave the DOCTYPE out.")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(text.encode("utf-8"), True)
    except (expat.ExpatError, UnicodeEncodeError) as error:
        raise TagformerError(f"the labeling config is not XML ({error}).") from error
    return builder.close()


def _paths(element: Element, above: Path) -> Iterator[Path]:
    """The path to each choice; an alias stands for the choice in results."""
    for choice in element:
        name = choice.get("alias") or choice.get("value")
        if choice.tag == "Choice" and name:
            path = (*above, name)
            yield path
            yield from _paths(choice, path)
        else:
            yield from _paths(choice, above)


class _Names:
    """Finds labels by their names: exactly, or in other upper and lower case where only one label fits."""

    def __init__(self, label_space: LabelSpace) -> None:
        self._exact = {name: name for name in label_space.names}
        self._folded: dict[str, list[str]] = {}
        for name in label_space.names:
            self._folded.setdefault(name.casefold(), []).append(name)

    def label_of(self, path: Path) -> str | None:
        """The label whose name is the whole path, or else its last part."""
        for name in (plain_name(SEPARATOR.join(path)), plain_name(path[-1])):
            alike = self._folded.get(name.casefold(), [])
            if name in self._exact or len(alike) == 1:
                return self._exact.get(name, alike[0] if alike else None)
        return None
