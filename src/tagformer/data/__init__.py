"""Data sets: one record type, one file a format."""

from tagformer.data.convert import Conversion, convert, write_dataset
from tagformer.data.record import Box, MultiLabelDataset, Record
from tagformer.data.registry import FORMATS, load_dataset

__all__ = [
    "FORMATS",
    "Box",
    "Conversion",
    "MultiLabelDataset",
    "Record",
    "convert",
    "load_dataset",
    "write_dataset",
]
