"""Tags in XMP sidecars, as Lightroom, darktable, digiKam and Immich read them: ``photo.jpg.xmp``.

``dc:subject`` is a bag of plain names; ``lr:hierarchicalSubject`` has the whole path of a name such as ``animal/dog``
with ``|`` between its parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from tagformer.errors import TagformerError

SEPARATOR = "/"  # in the names of labels
X, RDF = "adobe:ns:meta/", "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
DC, LR = "http://purl.org/dc/elements/1.1/", "http://ns.adobe.com/lightroom/1.0/"
PREFIXES = {"x": X, "rdf": RDF, "dc": DC, "lr": LR}
SUBJECT, HIERARCHICAL = f"{{{DC}}}subject", f"{{{LR}}}hierarchicalSubject"
DESCRIPTION, BAG, ITEM = f"{{{RDF}}}Description", f"{{{RDF}}}Bag", f"{{{RDF}}}li"


def sidecar(tags: Sequence[str], existing: bytes | None = None) -> bytes:
    """An XMP sidecar with these tags; all else that an existing one has stays.

    Args:
        tags: names of labels.
        existing: the content of the sidecar that is there.

    Raises:
        TagformerError: the existing one is no XMP, or has a document type, which could hide files or fill the memory.

    >>> text = sidecar(["animal/dog", "<sea> & sky"]).decode()
    >>> "<rdf:li>animal|dog</rdf:li>" in text, "<rdf:li>&lt;sea&gt; &amp; sky</rdf:li>" in text
    (True, True)
    """
    for prefix, address in PREFIXES.items():
        ElementTree.register_namespace(prefix, address)
    root = _parsed(existing) if existing is not None else ElementTree.Element(f"{{{X}}}xmpmeta")
    rdf = root if root.tag == f"{{{RDF}}}RDF" else root.find(f"{{{RDF}}}RDF")
    if rdf is None:
        rdf = ElementTree.SubElement(root, f"{{{RDF}}}RDF")
    descriptions = rdf.findall(DESCRIPTION)
    target = descriptions[0] if descriptions else ElementTree.SubElement(rdf, DESCRIPTION, {f"{{{RDF}}}about": ""})
    for description in rdf.findall(DESCRIPTION):
        for name in (SUBJECT, HIERARCHICAL):
            for old in description.findall(name):
                description.remove(old)
    plain = list(dict.fromkeys(tag.rpartition(SEPARATOR)[2] or tag for tag in tags))
    paths = [tag.replace(SEPARATOR, "|") for tag in tags]
    for name, values in ((SUBJECT, plain), (HIERARCHICAL, paths)):
        bag = ElementTree.SubElement(ElementTree.SubElement(target, name), BAG)
        for value in values:
            ElementTree.SubElement(bag, ITEM).text = "".join(letter for letter in value if _is_xml(letter))
    ElementTree.indent(root, " ")
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def _parsed(existing: bytes) -> ElementTree.Element:
    if b"<!DOCTYPE" in existing.upper() or b"<!ENTITY" in existing.upper() or b"\x00" in existing:
        raise TagformerError("the sidecar has a document type or is no UTF-8 text: it is left as it is.")
    try:
        return ElementTree.fromstring(existing)
    except ElementTree.ParseError as error:
        raise TagformerError(f"the sidecar is no XMP ({error}): it is left as it is.") from error


def _is_xml(letter: str) -> bool:
    """Whether XML 1.0 may have a character."""
    code = ord(letter)
    return letter in "\t\n\r" or 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or code >= 0x10000
