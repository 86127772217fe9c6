"""Writing data sets, a format a file, so that our readers read the same again."""

from __future__ import annotations

from tagformer.data.writers.base import Job, Part, Writer
from tagformer.data.writers.coco import CocoWriter
from tagformer.data.writers.csv import CsvWriter
from tagformer.data.writers.jsonl import JsonlWriter
from tagformer.data.writers.parquet import ParquetWriter
from tagformer.data.writers.shards import ShardWriter

WRITERS: dict[str, type[Writer]] = {
    "csv": CsvWriter,
    "jsonl": JsonlWriter,
    "parquet": ParquetWriter,
    "coco": CocoWriter,
    "shards": ShardWriter,
}

__all__ = ["WRITERS", "Job", "Part", "Writer"]
