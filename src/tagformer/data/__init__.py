"""Data sets: one record type, one file a format."""

from tagformer.data.record import Box, MultiLabelDataset, Record
from tagformer.data.registry import FORMATS, load_dataset

__all__ = ["FORMATS", "Box", "MultiLabelDataset", "Record", "load_dataset"]
