from .reader import CsvFormat as CsvFormat
from .writer import CsvWriter as CsvWriter
