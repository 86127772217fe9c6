"""The lists and annotations of a small VOC tree."""

from __future__ import annotations

from pathlib import Path

from tagformer.data.formats.voc import CLASSES

LISTS = {"train": ("000012", "000017"), "val": ("000005",), "test": ("000001", "000002")}
LISTS["trainval"] = ("000005", "000012", "000017")
# image -> class -> state, as in the lists of the classes: 1, or 0 where all objects are difficult
STATES = {
    "000005": {"chair": 1, "sofa": 0},
    "000012": {"car": 1},
    "000017": {"person": 1, "horse": 1},
    "000001": {"dog": 1, "person": 0},
    "000002": {"train": 1},
}

# 500 x 375 pixels: a chair of 101 x 11 pixels and a difficult one of 64 x 144 = 96 x 96, and a difficult sofa
CHAIRS = """
<annotation>
    <folder>VOC2007</folder>
    <filename>000005.jpg</filename>
    <size><width>500</width><height>375</height><depth>3</depth></size>
    <segmented>0</segmented>
    <object>
        <name>chair</name><pose>Rear</pose><truncated>0</truncated><difficult>0</difficult>
        <bndbox><xmin>100</xmin><ymin>200</ymin><xmax>200</xmax><ymax>210</ymax></bndbox>
    </object>
    <object>
        <name>chair</name><pose>Rear</pose><truncated>0</truncated><difficult>1</difficult>
        <bndbox><xmin>1</xmin><ymin>1</ymin><xmax>64</xmax><ymax>144</ymax></bndbox>
    </object>
    <object>
        <name>sofa</name><pose>Rear</pose><truncated>0</truncated><difficult>1</difficult>
        <bndbox><xmin>470</xmin><ymin>345</ymin><xmax>500</xmax><ymax>375</ymax></bndbox>
    </object>
</annotation>
"""
# Objects of 2012 have parts with boxes of their own, and decimals
RIDER = """
<annotation>
    <size><width>200</width><height>100</height><depth>3</depth></size>
    <object>
        <name>person</name>
        <bndbox><xmin>41.0</xmin><ymin>11.0</ymin><xmax>60.000000001</xmax><ymax>50.5</ymax></bndbox>
        <part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></part>
    </object>
    <object>
        <name>horse</name><difficult>0</difficult>
        <bndbox><xmax>200</xmax><xmin>1</xmin><ymax>100</ymax><ymin>1</ymin></bndbox>
    </object>
</annotation>
"""
CAR = CHAIRS.replace("chair", "car").replace("sofa", "car")
EMPTY = "<annotation><filename>x.jpg</filename></annotation>"


def write_lists(root: Path) -> Path:
    """ImageSets/Main with the official line ends: CRLF, two blanks before a 1 or 0, one before -1."""
    main = root / "ImageSets" / "Main"
    main.mkdir(parents=True)
    for name, ids in LISTS.items():
        (main / f"{name}.txt").write_bytes("".join(f"{image}\r\n" for image in ids).encode())
        for label in CLASSES:
            lines = (f"{image} {STATES[image].get(label, -1):2}\r\n" for image in ids)
            (main / f"{label}_{name}.txt").write_bytes("".join(lines).encode())
    return main
