"""Values of a row, checked: texts, labels and ids; and one error for all rows with the same flaw.

In: numbered rows. Out: what `build` makes of each, or a `DataError` with the place, the value and the remedy.
"""

import math
from collections.abc import Callable, Iterable
from numbers import Integral
from typing import NamedTuple, SupportsFloat, TypeVar

from rankwright.data.rows import Row, shorten
from rankwright.errors import DataError

Item = TypeVar("Item")


class RowError(Exception):
    """A flaw of one row: what was given, and the remedy; `build_all` adds the place and the count."""

    def __init__(self, given: str, remedy: str) -> None:
        super().__init__(given, remedy)
        self.given = given
        self.remedy = remedy


def build_all(rows: Iterable[tuple[int, Row]], build: Callable[[Row], Item], *, place: str, unit: str) -> list[Item]:
    """Builds an item from each row; the first flaw is raised with the count of the rows that share it.

    Args:
        rows: numbered rows.
        build: makes an item of a row, or raises `RowError`.
        place: what errors call the source.
        unit: "line" for files, "row" for tables.

    Returns:
        The items, in the order of the rows.

    Raises:
        DataError: a row has a flaw.
    """
    items: list[Item] = []
    first: RowError | None = None
    numbers: list[int] = []
    for number, row in rows:
        try:
            items.append(build(row))
        except RowError as flaw:
            first = first or flaw
            if flaw.remedy == first.remedy:
                numbers.append(number)
    if first is None:
        return items
    message = f"{place_of(place, unit, numbers[0])}: {first.given}. {first.remedy}"
    if len(numbers) > 1:
        shown = ", ".join(str(number) for number in numbers[:5]) + (", ..." if len(numbers) > 5 else "")
        message += f" This holds for {len(numbers):,} rows: {unit}s {shown}."
    raise DataError(message)


def place_of(place: str, unit: str, number: int) -> str:
    """Names a row: `train.csv:17` in a file with lines, `train.parquet, row 17` in a table."""
    return f"{place}:{number}" if unit == "line" else f"{place}, row {number}"


class Column(NamedTuple):
    """A column and what it is used as; as text, what errors call it."""

    name: str
    role: str

    def __str__(self) -> str:
        return f"column {self.name!r} ({self.role})"


def value_of(row: Row, name: str) -> object:
    """Gives what a column holds.

    Args:
        row: the row.
        name: the name of the column.

    Returns:
        The value, unchecked.

    Raises:
        RowError: the row has no such column.
    """
    try:
        return row[name]
    except KeyError:
        raise RowError(
            f"column {name!r} is missing; the row has {', '.join(map(repr, row)) or 'none'}",
            f"Give each row {name!r}.",
        ) from None


def text_of(row: Row, column: Column) -> str:
    """Gives the text in a column, as `check_text` lets it pass."""
    return check_text(value_of(row, column.name), column)


def check_text(value: object, place: object) -> str:
    """Gives the value when it is a text that a tokenizer can take.

    Args:
        value: what was found.
        place: where it was found; made a text for an error only, since there is a call for each text.

    Returns:
        The text, unchanged.

    Raises:
        RowError: it is empty, no text, or no Unicode.
    """
    if not isinstance(value, str) and value is not None:
        raise RowError(
            f"{type(value).__name__} {shorten(value)} in {place}, expected a text",
            f"Write {place} as strings, or name another column with columns = {{...}}.",
        )
    if value is None or not value or value.isspace():
        raise RowError(f"empty text in {place}: {value!r}", f"Remove the row, or fill {place}.")
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as err:
            raise RowError(
                f"half a surrogate pair {value[err.start]!a} at character {err.start} of {place}",
                "Such a text is no Unicode and no tokenizer takes it: it was cut inside an emoji; repair or remove it.",
            ) from err
    return value


def label_of(
    row: Row, column: Column, *, label_range: tuple[float, float] | None = None, integer_labels: bool = False
) -> float:
    """Gives the label in a column as a number.

    Args:
        row: the row.
        column: the column.
        label_range: the lowest and the highest label allowed.
        integer_labels: labels are classes: 0, 1, 2...

    Returns:
        A finite number.

    Raises:
        RowError: it is missing, no number, or not allowed.
    """
    value = value_of(row, column.name)
    try:
        # the last are numbers of numpy and decimals of a table
        label = float(value) if isinstance(value, (float, int, str, SupportsFloat)) else math.nan
    except (TypeError, ValueError, OverflowError):
        label = math.nan
    if not math.isfinite(label):
        raise RowError(
            f"{shorten(value)} in {column} is not a finite number",
            f"Write {column} as numbers (class names too: 0, 1, 2...), or remove the row.",
        )
    if label_range is not None and not label_range[0] <= label <= label_range[1]:
        low, high = label_range
        raise RowError(
            f"{shorten(value)} in {column} is outside {low:g} to {high:g}",
            f"Scale the labels to {low:g} to {high:g}, or choose a loss that takes other labels.",
        )
    if integer_labels and not label.is_integer():
        raise RowError(
            f"{shorten(value)} in {column} is not a whole number",
            "Write classes as 0, 1, 2..., or choose a loss that takes other labels.",
        )
    return label


def id_of(row: Row, column: Column | None) -> str:
    """Gives the id in a column: a whole number as its digits, a text as it is, "" where there is no such column."""
    if column is None:
        return ""
    value = value_of(row, column.name)
    if isinstance(value, Integral) and not isinstance(value, bool):
        return str(value)
    return check_text(value, column)
