from .reader import ParquetFormat as ParquetFormat
from .writer import ParquetWriter as ParquetWriter
