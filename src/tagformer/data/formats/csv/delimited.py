"""The text of a table: its encoding, what separates its columns, and its lines."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from tagformer.errors import TagformerError
from tagformer.files import check_regular
from tagformer.safe_text import original_cell

BLOCK = 1 << 20  # bytes read at a time
DELIMITERS = (",", ";", "\t", "|")
SEP_LINE = re.compile(r"sep=(.)")  # the first line of a CSV that a spreadsheet wrote for another spreadsheet
UTF8_LETTERS = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
HIGH_BYTES = re.compile(rb"[\x80-\xff]")


def find_encoding(file: Path) -> str:
    """The encoding of a file: UTF-8, UTF-16, or Windows-1252 where its bytes are neither.

    Raises:
        TagformerError: the file cannot be read, or most of its letters are UTF-8 and some are damaged.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        check_regular(file)
        with file.open("rb") as stream:
            start = stream.read(BLOCK)
            if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                return "utf-16"
            if len(start) > 3 and start[1::2][:100].count(0) > start[:200:2].count(0) + len(start[:200]) // 8:
                return "utf-16-le"
            if len(start) > 3 and start[::2][:100].count(0) > start[1:200:2].count(0) + len(start[:200]) // 8:
                return "utf-16-be"
            block = start
            try:
                while block:
                    decoder.decode(block)
                    block = stream.read(BLOCK)
                decoder.decode(b"", final=True)
            except UnicodeDecodeError:
                return _encoding_of_letters(file)
    except OSError as error:
        raise TagformerError(f"cannot read {file}: {error.strerror or error}.") from error
    return "utf-8-sig"


def _encoding_of_letters(file: Path) -> str:
    """Windows-1252 for a file that is not valid UTF-8.

    Raises:
        TagformerError: the file is UTF-8 except for a few bytes.
    """
    utf8 = other = first = 0
    with file.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            rest = UTF8_LETTERS.sub(b"", line)
            high = len(HIGH_BYTES.findall(rest))
            utf8 += (len(HIGH_BYTES.findall(line)) - high) // 2
            other += high
            first = first or (number if high else 0)
    if utf8 > other:
        raise TagformerError(
            f"{file}, line {first}: not valid UTF-8, unlike other lines: fix the letters in this line."
        )
    return "cp1252"


def find_delimiter(file: Path, encoding: str, is_header: Callable[[list[str]], bool]) -> str:
    """What separates the columns of a file: the first delimiter with which its first line is a header.

    Args:
        is_header: whether cells can be the header; where that holds with no delimiter, the one that gives the most
            cells is taken.

    Raises:
        TagformerError: as `read_lines`, for the first line.
    """
    if match := SEP_LINE.fullmatch(_first_line(file, encoding)):
        return match[1]
    best, most = DELIMITERS[0], 0
    for delimiter in DELIMITERS:
        try:
            cells = next((cells for cells, _ in read_lines(file, encoding, delimiter)), [])
        except TagformerError:
            if delimiter == DELIMITERS[-1] and most == 0:
                raise
            continue
        if len(cells) > 1 and is_header(cells):
            return delimiter
        if len(cells) > most:
            best, most = delimiter, len(cells)
    return best


def _first_line(file: Path, encoding: str) -> str:
    try:
        with file.open(encoding=encoding, newline=None) as stream:
            return stream.readline(16).rstrip("\n")
    except (UnicodeError, OSError):
        return ""  # `read_lines` reports it


def read_lines(file: Path, encoding: str, delimiter: str) -> Iterator[tuple[list[str], int]]:
    """The cells and the number of each line that is not empty; a line such as ``sep=;`` at the start is passed over.

    The apostrophe before a cell that a spreadsheet would run as a formula is left out (see `original_cell`).

    Raises:
        TagformerError: the file cannot be read or decoded, or a line is not valid CSV.
    """
    line = 0
    try:
        check_regular(file)
        with file.open(newline="", encoding=encoding) as stream:
            reader = csv.reader(stream, delimiter=delimiter, strict=True)
            for cells in reader:
                line = reader.line_num
                if cells and not (line == 1 and SEP_LINE.fullmatch(delimiter.join(cells))):
                    yield [original_cell(cell) if cell[:1] == "'" else cell for cell in cells], line
    except UnicodeError as error:
        raise TagformerError(
            f"{file} is not {encoding} text after line {line}: save it as a UTF-8 CSV, or name its encoding with "
            "?encoding=NAME."
        ) from error
    except csv.Error as error:
        raise TagformerError(f"{file}, line {reader.line_num}: not a valid CSV line ({error}).") from error
    except OSError as error:
        raise TagformerError(f"cannot read {file}: {error.strerror or error}.") from error
