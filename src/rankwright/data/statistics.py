"""What a model card says about a table of pairs: sizes of the texts, shares of the labels, the first rows.

In: a `PairTable`. Out: the blocks `statistics` and `samples` of data.json, taken by `card/`.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice

from rankwright.data.columns import is_negative
from rankwright.data.pairs import PairTable
from rankwright.records import PositivePair

NUM_ROWS = 1000
"""Rows that the statistics are taken from, as on the cards of ST until 5.4."""

NUM_SAMPLES = 3
"""Rows that a card shows."""

MAX_VALUES = 20
"""Whole-number labels with more values than this are described by their range alone."""


def table_statistics(
    table: PairTable,
    *,
    count_tokens: Callable[[list[str]], list[int]] | None = None,
    num_samples: int = NUM_SAMPLES,
) -> dict[str, object]:
    """Gives the statistics of the first 1,000 rows and the first rows themselves, by the names of the columns.

    Args:
        table: the pairs.
        count_tokens: gives the number of tokens of each text; without it, characters are counted.
        num_samples: rows to show; 0 where the texts are private.

    Returns:
        {"statistics": {column: {"type", ...}}, "samples": [{column: value}]}, fit for JSON.

    Example:
        >>> from rankwright.data import read_pairs
        >>> table = read_pairs([{"query": "capital of Peru", "document": "Lima", "label": 1}])
        >>> table_statistics(table)["statistics"]["document"]
        {'type': 'string', 'characters': {'min': 4, 'mean': 4.0, 'max': 4}}
    """
    columns = _columns_of(table)
    names = list(columns)
    return {
        "statistics": {name: _describe(values, count_tokens) for name, values in columns.items()},
        "samples": [
            dict(zip(names, row, strict=True)) for row in islice(zip(*columns.values(), strict=True), num_samples)
        ],
    }


def _columns_of(table: PairTable) -> dict[str, list[object]]:
    """Gives the values of the first rows by column name, without ids, in the order of the source."""
    rows = table.rows[:NUM_ROWS]
    negatives = [list(row.negatives) for row in rows if isinstance(row, PositivePair)]
    is_one_each = all(len(texts) == 1 for texts in negatives)
    columns: dict[str, list[object]] = {}
    num_negatives = 0
    for role, name in table.columns.items():
        if not is_negative(role):
            if not role.endswith("_id"):
                columns[name] = [getattr(row, role) for row in rows]
        elif is_one_each or sum(map(is_negative, table.columns)) > 1:
            columns[name] = [texts[num_negatives] for texts in negatives]
            num_negatives += 1
        else:
            columns[name] = list(negatives)
    return columns


def _describe(values: Sequence[object], count_tokens: Callable[[list[str]], list[int]] | None) -> dict[str, object]:
    texts = [value for value in values if isinstance(value, str)]
    lists = [value for value in values if isinstance(value, list)]
    if texts and count_tokens is not None:
        return {"type": "string", "tokens": value_range(count_tokens(texts))}
    if texts:
        return {"type": "string", "characters": value_range([len(text) for text in texts])}
    if lists:
        return {"type": "list", "elements": value_range([len(value) for value in lists])}
    labels = [value for value in values if isinstance(value, float)]
    if not all(label.is_integer() for label in labels):
        return {"type": "float", "value": value_range(labels)}
    counts = Counter(int(label) for label in labels)
    shares = {str(value): round(counts[value] / len(labels), 4) for value in sorted(counts)}
    described: dict[str, object] = {"type": "int", "value": value_range([int(label) for label in labels])}
    return described | {"values": shares} if len(shares) <= MAX_VALUES else described


def value_range(numbers: Sequence[float]) -> dict[str, float]:
    """Gives the smallest, the mean and the largest number."""
    return {"min": min(numbers), "mean": round(sum(numbers) / len(numbers), 2), "max": max(numbers)}
