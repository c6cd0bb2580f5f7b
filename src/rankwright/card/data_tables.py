"""Statistics and sample rows of a data set, as tables that no text can break.

In: the facts of a data set. Out: Markdown tables.
"""

from rankwright.card.markdown import code, plain, table
from rankwright.card.run_folder import ColumnStatistics, DatasetFacts, Range

MAX_VALUES = 10
"""Distinct values of a column whose shares are listed."""


def size_of(dataset: DatasetFacts, *, most: int | None = None) -> str:
    """How many rows there are, or queries and documents, in words; with `most` no more than that of each."""
    if dataset.num_labelled is not None and most is None:
        return f"{dataset.size:,} rows, the positive ones of {dataset.num_labelled:,} labelled pairs"
    sizes = [("rows", dataset.size)]
    if dataset.num_documents is not None:
        sizes = [("queries", dataset.size), ("documents", dataset.num_documents)]
    return " and ".join(f"{size if most is None else min(size, most):,} {unit}" for unit, size in sizes)


def statistics_table(dataset: DatasetFacts) -> str:
    """Type and lengths or values of each column, or "" where there are none."""
    columns = [column for column in dataset.columns if column in dataset.statistics]
    if not columns:
        return ""
    facts = [dataset.statistics[column] for column in columns]
    return table(
        ["", *(plain(column) for column in columns)],
        [["type", *(plain(one.type) for one in facts)], ["details", *("<br>".join(_details(one)) for one in facts)]],
    )


def samples_table(dataset: DatasetFacts) -> str:
    """The sample rows, without columns that no sample has (ids), or "" where the run keeps its texts to itself."""
    if not dataset.samples:
        return ""
    columns = [column for column in dataset.columns if any(column in row for row in dataset.samples)]
    rows = [[code(row[column]) if column in row else "-" for column in columns] for row in dataset.samples]
    return table([plain(column) for column in columns], rows)


def truncation_sentence(dataset: DatasetFacts, max_length: int) -> str:
    """How much the maximum length cut away, as a sentence."""
    cut = dataset.truncation
    if cut is None:
        return ""
    if not cut.truncated:
        return f"None of the {cut.texts:,} inputs was cut at {max_length} tokens."
    share = cut.truncated / max(1, cut.texts)
    return (
        f"{cut.truncated:,} of {cut.texts:,} inputs ({share:.1%}) were cut at {max_length} tokens, "
        f"which lost {cut.tokens_lost:,} tokens."
    )


def _details(facts: ColumnStatistics) -> list[str]:
    for unit, values in (("tokens", facts.tokens), ("characters", facts.characters), ("elements", facts.elements)):
        if values:
            return _range(values, f" {unit}")
    if facts.values:
        shares = sorted(facts.values.items(), key=lambda item: (-item[1], item[0]))
        lines = [f"{plain(value)}: {share:.2%}" for value, share in shares[:MAX_VALUES]]
        return lines + [f"and {len(shares) - MAX_VALUES} more values"] * (len(shares) > MAX_VALUES)
    return _range(facts.value, "") if facts.value else ["-"]


def _range(values: Range, unit: str) -> list[str]:
    named = (("min", values.min), ("mean", values.mean), ("max", values.max))
    return [f"{name}: {value:.2f}".removesuffix(".00") + unit for name, value in named]
