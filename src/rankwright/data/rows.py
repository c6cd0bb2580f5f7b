"""The rows of text files, as dictionaries with the line on which each begins.

In: CSV, TSV, JSONL and JSON files. Out: numbered rows, taken by `pairs.py`, `retrieval.py` and `texts.py`.
The standard library reads them, not the `datasets` library: evaluation and ranking work without the `[train]`
extra, nothing is copied into a cache folder, and an error can name the line.
"""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from rankwright.errors import DataError

Row = Mapping[str, object]
"""One row: column name -> value."""

NumberedRow = tuple[int, Row]
"""A row with the line on which it begins (text files) or its number (tables), counted from 1."""

LONGEST_FIELD = 2**31 - 1
"""Characters of a field of a delimited file; `csv` stops at 131,072, which whole papers exceed."""

_BLANK = re.compile(r"[ \t\n\r]*")


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Gives the lines of a UTF-8 file with their numbers and line ends, without a byte-order mark."""
    with path.open("rb") as file:
        yield from decode_lines(file, str(path))


def decode_lines(raw_lines: Iterable[bytes], place: str) -> Iterator[tuple[int, str]]:
    """Decodes lines as UTF-8, naming the place of the first byte that is something else.

    Only a newline ends a line: U+2028, U+0085 and a lone carriage return stay in the text.

    Args:
        raw_lines: the lines of a binary file.
        place: what errors call the file.

    Yields:
        The number of the line, and its text with the line end.

    Raises:
        DataError: a byte is not UTF-8.
    """
    offset = 0
    for number, raw in enumerate(raw_lines, start=1):
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as err:
            raise DataError(_wrong_encoding(place, number, raw, offset + err.start, err.start)) from err
        offset += len(raw)
        yield number, line.removeprefix("\ufeff") if number == 1 else line


def _wrong_encoding(place: str, number: int, raw: bytes, offset: int, start: int) -> str:
    if number == 1 and raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return f"{place}:1: the file is UTF-16 (it begins with {raw[:2].hex(' ')}), expected UTF-8. Save it as UTF-8."
    return (
        f"{place}:{number}: byte 0x{raw[start]:02x} at offset {offset} of the file is not UTF-8. "
        f"Save the file as UTF-8, for example: iconv -f CP1252 -t UTF-8 (with its real encoding)."
    )


def read_jsonl(path: Path) -> Iterator[NumberedRow]:
    """Gives the objects of a JSONL file; blank lines are passed over.

    Args:
        path: one JSON object a line.

    Yields:
        The number of the line, and its object.

    Raises:
        DataError: a line is not a JSON object.
    """
    for number, line in read_lines(path):
        if line.isspace():
            continue
        try:
            value = json.loads(line)
        except ValueError as err:
            raise DataError(
                f"{path}:{number}: not JSON ({err}): {shorten(line.strip())}. Each line must be one JSON object "
                f'such as {{"query": ...}}; a list over several lines belongs in a .json file.'
            ) from err
        yield number, _as_row(value, path, number)


def read_json(path: Path) -> Iterator[NumberedRow]:
    """Gives the objects of a JSON list; a .json file that does not begin with `[` is read as JSONL.

    Args:
        path: a list of JSON objects, in any layout.

    Yields:
        The number of the line on which the object begins, and the object.

    Raises:
        DataError: the file is not a list of JSON objects.
    """
    text = "".join(line for _, line in read_lines(path))
    at = _skip_blank(text, 0)
    if not text.startswith("[", at):
        yield from read_jsonl(path)
        return
    decoder = json.JSONDecoder()
    line, counted = 1, 0
    at = _skip_blank(text, at + 1)
    ended = text.startswith("]", at)
    while not ended:
        line, counted = line + text.count("\n", counted, at), at
        try:
            value, at = decoder.raw_decode(text, at)
        except ValueError as err:
            at = err.pos if isinstance(err, json.JSONDecodeError) else at
            raise DataError(_broken_list(path, text, at, f"not JSON ({err})")) from err
        yield line, _as_row(value, path, line)
        at = _skip_blank(text, at)
        ended = text.startswith("]", at)
        if not ended and not text.startswith(",", at):
            raise DataError(_broken_list(path, text, at, "no ',' or ']' after an object"))
        at = at if ended else _skip_blank(text, at + 1)
    at = _skip_blank(text, at + 1)
    if at < len(text):
        raise DataError(_broken_list(path, text, at, "text after the end of the list"))


def _skip_blank(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    return match.end() if match else at


def _broken_list(path: Path, text: str, at: int, flaw: str) -> str:
    line = 1 + text.count("\n", 0, at)
    return f"{path}:{line}: {flaw}: {shorten(text[at : at + 80])}. The file must be a list of JSON objects."


def _as_row(value: object, path: Path, number: int) -> Row:
    if isinstance(value, dict):
        return value
    raise DataError(
        f'{path}:{number}: expected a JSON object such as {{"query": ...}}, '
        f"got {type(value).__name__} {shorten(value)}. Write each row as an object with column names."
    )


def read_csv(path: Path) -> Iterator[NumberedRow]:
    """Gives the rows of a comma-separated file by the names of its first line."""
    return _read_delimited(path, ",")


def read_tsv(path: Path) -> Iterator[NumberedRow]:
    """Gives the rows of a tab-separated file by the names of its first line; quotes mean what they do in CSV.

    Except that no quoted field holds tabs and newlines both: most such files quote nothing, and there it is rows that a
    text which begins with a quote has swallowed.
    """
    return _read_delimited(path, "\t")


def _read_delimited(path: Path, delimiter: str) -> Iterator[NumberedRow]:
    csv.field_size_limit(LONGEST_FIELD)  # of the process: a reader has none of its own
    reader = csv.reader((line for _, line in read_lines(path)), delimiter=delimiter, strict=True)
    header: list[str] = []
    number = 1
    try:
        for fields in reader:
            # A quoted field may hold newlines, so the next row begins after the last line that was taken.
            begin, number = number, reader.line_num + 1
            if not fields:
                continue
            if delimiter == "\t":
                _check_swallowed(fields, path, begin)
            if not header:
                header = _check_header(fields, path, begin)
                continue
            if len(fields) != len(header):
                raise DataError(
                    f"{path}:{begin}: {len(fields)} fields, but the header has {len(header)} "
                    f"({', '.join(header)}). Put a text that holds {delimiter!r} or a newline in double quotes."
                )
            yield begin, dict(zip(header, fields, strict=True))
    except csv.Error as err:
        raise DataError(
            f"{path}:{number}: the row that begins here cannot be read: {err}. A text that holds {delimiter!r}, "
            f'a newline or a quote goes in double quotes, and a quote in it is written "". Or save the file as JSONL.'
        ) from err


def _check_swallowed(fields: list[str], path: Path, number: int) -> None:
    """Refuses a field that looks like the rest of one row and the beginning of another."""
    swallowing = next((field for field in fields if "\n" in field and "\t" in field), None)
    if swallowing is not None:
        raise DataError(
            f"{path}:{number}: a field that begins with a quote goes on over tabs and line ends to the next quote: "
            f"{shorten(swallowing)}. If the quote belongs to the text, put the text in double quotes and write each "
            'quote in it twice (""); if the text does hold tabs and newlines, save the file as JSONL.'
        )


def _check_header(fields: list[str], path: Path, number: int) -> list[str]:
    repeated = sorted({name for name in fields if name and fields.count(name) > 1})
    if repeated:
        raise DataError(f"{path}:{number}: the column {repeated[0]!r} is there twice. Rename one of them.")
    return fields


def shorten(value: object, length: int = 60) -> str:
    """Gives the `repr` of a value, cut for an error message."""
    if isinstance(value, str):
        return repr(value) if len(value) <= length else f"{value[:length]!r}..."
    text = repr(value)
    return text if len(text) <= length else f"{text[:length]}..."
