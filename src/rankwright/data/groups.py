"""Labelled pairs as positive pairs (for in-batch losses) and as queries with judged documents (for measures).

In: labelled pairs. Out: a `PairTable` of positive pairs, taken by `training/`; a `RetrievalSet`, by `evaluation/`.
"""

from collections.abc import Iterable
from dataclasses import replace

from rankwright.data.pairs import PairTable, text_sha256
from rankwright.data.rows import shorten
from rankwright.errors import DataError, ValueRangeError
from rankwright.records import LabelledPair, PositivePair, RetrievalSet


def labelled_to_positive(table: PairTable, *, min_label: float | None = None, num_negatives: int = 0) -> PairTable:
    """Gives the rows with a high label as positive pairs.

    Args:
        table: labelled pairs.
        min_label: the lowest label that counts as positive, above 0; default the highest one in the table.
        num_negatives: at most so many documents that the same query has with a label of 0 or less are given to each
            pair, in their order.

    Returns:
        The pairs, under the same name and hash.

    Raises:
        DataError: no row has such a label, or the rows have no labels.
        ValueRangeError: min_label <= 0.

    Example:
        >>> from rankwright.data import read_pairs
        >>> table = read_pairs([{"query": "q", "document": word, "label": word == "yes"} for word in ("yes", "no")])
        >>> labelled_to_positive(table, num_negatives=1).rows[0].negatives
        ('no',)
    """
    rows = table.labelled_rows()
    if min_label is not None and min_label <= 0:
        raise ValueRangeError(f"min_label must be > 0, since 0 means not relevant; got {min_label:g}.")
    highest = max(row.label for row in rows)
    threshold = highest if min_label is None else min_label
    if highest <= 0 or highest < threshold:
        wanted = "above 0" if min_label is None else f"of at least {min_label:g}"
        raise DataError(
            f"{table.source}: no row has a label {wanted}; the highest is {highest:g}. "
            f"Check column {table.columns['label']!r}, or give a lower min_label."
        )
    negatives: dict[str, list[str]] = {}
    for row in rows if num_negatives else ():
        if row.label <= 0:
            negatives.setdefault(_query_key(row), []).append(row.document)
    pairs = [
        PositivePair(
            row.query,
            row.document,
            tuple(negatives.get(_query_key(row), ())[:num_negatives]),
            row.query_id,
            row.document_id,
        )
        for row in rows
        if row.label >= threshold
    ]
    columns = {
        "positive" if role == "document" else role: name for role, name in table.columns.items() if role != "label"
    }
    return replace(table, rows=pairs, kind="positive", columns=columns, num_labelled=len(rows))


def group_labelled(rows: Iterable[LabelledPair], *, name: str) -> RetrievalSet:
    """Gives labelled pairs as queries with judged documents; labels of 0 are kept as judgments.

    A query is known by its id, else by its text; so is a document. An id made from a text is a hash of it: ties are
    broken by id, and numbers in the order of the file would break them by that order, where positives often come first.

    Args:
        rows: labelled pairs.
        name: what reports call the set.

    Returns:
        The set without a first stage: the order in a file is none.

    Raises:
        DataError: one id with two texts, or one pair with two labels.

    Example:
        >>> pair = LabelledPair("capital of Peru", "Lima", 1.0, query_id="q1", document_id="d1")
        >>> group_labelled([pair], name="peru").qrels
        {'q1': {'d1': 1.0}}
    """
    queries: dict[str, str] = {}
    documents: dict[str, str] = {}
    qrels: dict[str, dict[str, float]] = {}
    for row in rows:
        query_id, document_id = _query_key(row), row.document_id or _id_of_text(row.document)
        for kind, known, key, text in (
            ("query", queries, query_id, row.query),
            ("document", documents, document_id, row.document),
        ):
            if known.setdefault(key, text) != text:
                raise DataError(
                    f"{name}: the {kind} id {key!r} has two texts: {shorten(known[key])} and {shorten(text)}. "
                    f"Give each text an id of its own, or leave the id column out."
                )
        if qrels.setdefault(query_id, {}).setdefault(document_id, row.label) != row.label:
            raise DataError(
                f"{name}: one pair has the labels {qrels[query_id][document_id]:g} and {row.label:g}: query "
                f"{shorten(row.query)}, document {shorten(row.document)}. Keep one of the rows."
            )
    return RetrievalSet(name=name, queries=queries, documents=documents, qrels=qrels)


def _query_key(row: LabelledPair) -> str:
    return row.query_id or _id_of_text(row.query)


def _id_of_text(text: str) -> str:
    return text_sha256(text)[:16]
