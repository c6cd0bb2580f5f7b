"""Texts that a model is given one by one.

In: a file or standard input. Out: a list of texts, taken by the verbs that run a model on a file.
"""

import sys
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from rankwright.data.cells import Column, build_all, check_text, text_of
from rankwright.data.columns import DOCUMENT_NAMES
from rankwright.data.retrieval import document_of
from rankwright.data.rows import Row, decode_lines, read_lines
from rankwright.data.sources import open_source
from rankwright.errors import ConfigError, DataError

TEXT_NAMES = ("text", *DOCUMENT_NAMES)
"""Columns that hold the texts of a file, the first that is there; a `title` beside `text` is put in front of it."""


def read_texts(source: str | Path, *, column: str | None = None) -> list[str]:
    """Gives the texts of a file, in its order: text i is of line or row i.

    Args:
        source: a .txt file with a text a line, "-" for such lines on standard input; blank lines at the
            end are no texts. Or a file with columns.
        column: the column that holds the texts; default text, else document, passage or answer.

    Returns:
        The texts.

    Raises:
        ConfigError: a column of a file without columns.
        DataError: no such file or column, no texts, or an empty one.

    Example:
        >>> import os, pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "two.txt"
        >>> _ = path.write_text("Lima" + os.linesep + "Cusco")
        >>> read_texts(path)
        ['Lima', 'Cusco']
    """
    is_lines = str(source) == "-" or Path(source).suffix.lower() == ".txt"
    if is_lines and column is not None:
        raise ConfigError(f"column={column!r} was given, but {str(source)!r} has a text a line and no columns.")
    if str(source) == "-":
        return _texts_of_lines(decode_lines(sys.stdin.buffer, "standard input"), "standard input")
    if is_lines and not Path(source).is_file():
        raise DataError(f"{source}: no such file. Check the path, or give - for standard input.")
    return _texts_of_lines(read_lines(Path(source)), str(source)) if is_lines else _texts_of_column(source, column)


def _texts_of_lines(lines: Iterable[tuple[int, str]], place: str) -> list[str]:
    numbered = list(lines)
    while numbered and not numbered[-1][1].strip():  # what editors and shells leave at the end of a file
        numbered.pop()
    rows = ((number, {"line": line.rstrip("\r\n")}) for number, line in numbered)
    texts = build_all(rows, lambda row: check_text(row["line"], "the line"), place=place, unit="line")
    if not texts:
        raise DataError(f"{place}: no texts. Give at least one line.")
    return texts


def _texts_of_column(source: str | Path, column: str | None) -> list[str]:
    opened = open_source(source)
    first = next(opened.rows, None)
    if first is None:
        raise DataError(f"{opened.place}: no texts. Give a file with at least one row.")
    found = list(first[1])
    chosen = column if column is not None else next((name for name in TEXT_NAMES if name in found), None)
    if chosen not in found:
        expected = f"column {column!r}" if column is not None else f"column {' or '.join(map(repr, TEXT_NAMES))}"
        raise DataError(
            f"{opened.place}: no {expected}. Columns found: {', '.join(map(repr, found))}. Name one of them as column."
        )
    takes_titles = column is None and chosen == "text"

    def build(row: Row) -> str:
        return document_of(row) if takes_titles and row.get("title") else text_of(row, Column(chosen, "text"))

    return build_all(chain([first], opened.rows), build, place=opened.place, unit=opened.unit)
