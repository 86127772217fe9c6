"""Writing data sets, a format a file, so that our readers read the same again."""

from __future__ import annotations

from tagformer.data.conversion.writers.base import Writer
from tagformer.data.conversion.writers.coco import CocoWriter
from tagformer.data.conversion.writers.csv import CsvWriter
from tagformer.data.conversion.writers.jsonl import JsonlWriter
from tagformer.data.conversion.writers.parquet import ParquetWriter
from tagformer.data.conversion.writers.shards import ShardWriter

WRITERS: dict[str, type[Writer]] = {
    "csv": CsvWriter,
    "jsonl": JsonlWriter,
    "parquet": ParquetWriter,
    "coco": CocoWriter,
    "shards": ShardWriter,
}
