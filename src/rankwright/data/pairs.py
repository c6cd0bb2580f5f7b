"""Pairs for training and measuring, read from a file, a BEIR folder, the Hub or objects; every flaw is an error.

In: a source. Out: a `PairTable` of labelled or positive pairs, taken by `training/`, `evaluation/` and the card.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Literal, cast

from rankwright.data.cells import Column, build_all, check_text, id_of, label_of, text_of, value_of
from rankwright.data.columns import find_columns, is_negative
from rankwright.data.retrieval import content_sha256, is_retrieval_folder, read_retrieval, retrieval_to_pairs
from rankwright.data.rows import Row
from rankwright.data.sources import Given, open_source
from rankwright.errors import ConfigError, DataError
from rankwright.records import LabelledPair, PositivePair

PEEKED_ROWS = 1000
"""Rows whose columns are looked at before the roles are decided: a row of JSONL may leave columns out."""


@dataclass(frozen=True)
class PairTable:
    """Pairs of one kind with where they come from; `columns` is role -> column name, in the order of the source.

    `num_labelled` is the number of labelled pairs of which these are the positive ones; None where they are all rows.
    """

    rows: list[LabelledPair] | list[PositivePair]
    kind: Literal["labelled", "positive"]
    name: str
    source: str
    columns: Mapping[str, str]
    sha256: str
    num_labelled: int | None = None

    @property
    def size_rows(self) -> int:
        """The number of pairs."""
        return len(self.rows)

    def labelled_rows(self) -> list[LabelledPair]:
        """Gives the rows; a `DataError` where they are not labelled pairs."""
        if self.kind == "labelled":
            return cast(list[LabelledPair], self.rows)
        raise DataError(
            f"{self.source}: labelled pairs are needed, but columns {_join(self.columns)} have no label. "
            "A cross-encoder trains on rows of query, document and label: write a positive as a row with label 1 and "
            "a negative as one with label 0 (a triplet is two rows), or name the column of the labels with "
            f'columns = {{label = "..."}}. A bi-encoder trains on these rows as they are.'
        )

    def positive_rows(self) -> list[PositivePair]:
        """Gives the rows; a `DataError` where they are not positive pairs."""
        if self.kind == "positive":
            return cast(list[PositivePair], self.rows)
        raise DataError(
            f"{self.source}: positive pairs are needed, but the rows have labels ({self.columns['label']!r}). Take "
            f"the rows with a high label (labelled_to_positive), or all with "
            f'columns = {{query = "{self.columns["query"]}", positive = "{self.columns["document"]}"}}.'
        )


def read_pairs(
    source: Given,
    *,
    columns: Mapping[str, str] | None = None,
    split: str | None = None,
    name: str | None = None,
    label_range: tuple[float, float] | None = None,
    integer_labels: bool = False,
) -> PairTable:
    """Gives the pairs of a source, all checked.

    JSONL, JSON, CSV and TSV are read by the standard library (no extra needed; errors name the line); Parquet, Hub
    names and `datasets` objects need the `[train]` extra (else `MissingExtraError`; `HubError` where the Hub does not
    give the data set). Columns are found by name: query, document, label; query, positive, negative...; the names of
    sentence-transformers; optional query_id and document_id.

    Args:
        source: a file, a BEIR folder (its judged pairs), "owner/name" or "owner/name:config" of the Hub, a
            `datasets` object, or records (dictionaries or pairs).
        columns: role -> column name, where names do not say it: {"query": "title", "document": "body"}.
        split: of a Hub data set, a `DatasetDict` or a BEIR folder; default "train".
        name: what reports call the data; default from the source.
        label_range: the lowest and the highest label that the caller can use.
        integer_labels: labels must be whole numbers (classes).

    Returns:
        Labelled pairs where there is a label, else positive pairs.

    Raises:
        ConfigError: `columns` or `split` cannot take effect.
        DataError: a row or the columns cannot be used; the message has file, line, value and remedy.

    Example:
        >>> read_pairs([{"query": "capital of Peru", "document": "Lima", "label": 1}]).rows[0].label
        1.0
    """
    if isinstance(source, str | Path) and is_retrieval_folder(Path(source)):
        if columns is not None:
            raise ConfigError(f"columns were given, but {str(source)!r} is a BEIR folder. Leave columns out.")
        return _read_folder(Path(source), split=split or "train", name=name)
    opened = open_source(source, split=split)
    head = list(islice(opened.rows, PEEKED_ROWS))
    if not head:
        raise DataError(f"{opened.place}: no rows. Give a file with at least one pair.")
    found = list(dict.fromkeys(column for _, row in head for column in row))
    roles = find_columns(found, columns, place=opened.place)
    numbered = chain(head, opened.rows)
    rows: list[LabelledPair] | list[PositivePair]
    if "label" in roles:
        build = _labelled_builder(roles, label_range=label_range, integer_labels=integer_labels)
        rows = build_all(numbered, build, place=opened.place, unit=opened.unit)
    else:
        rows = build_all(numbered, _positive_builder(roles), place=opened.place, unit=opened.unit)
    return PairTable(
        rows=rows,
        kind="labelled" if "label" in roles else "positive",
        name=name or opened.name,
        source=opened.given,
        columns=roles,
        sha256=content_sha256(opened.path) if opened.path else rows_sha256(rows),
    )


def _read_folder(folder: Path, *, split: str, name: str | None) -> PairTable:
    retrieval = read_retrieval(folder, split=split)
    return PairTable(
        rows=retrieval_to_pairs(retrieval),
        kind="positive",
        name=name or retrieval.name,
        source=str(folder),
        columns={"query": "query", "positive": "document"},
        sha256=content_sha256(folder, split=split),
    )


def _labelled_builder(
    roles: Mapping[str, str], *, label_range: tuple[float, float] | None, integer_labels: bool
) -> Callable[[Row], LabelledPair]:
    query, document, label = (Column(roles[role], role) for role in ("query", "document", "label"))
    query_id, document_id = _id_columns(roles)

    def build(row: Row) -> LabelledPair:
        return LabelledPair(
            text_of(row, query),
            text_of(row, document),
            label_of(row, label, label_range=label_range, integer_labels=integer_labels),
            id_of(row, query_id),
            id_of(row, document_id),
        )

    return build


def _positive_builder(roles: Mapping[str, str]) -> Callable[[Row], PositivePair]:
    query, positive = Column(roles["query"], "query"), Column(roles["positive"], "positive")
    query_id, positive_id = _id_columns(roles)
    negatives = [Column(name, role) for role, name in roles.items() if is_negative(role)]

    def build(row: Row) -> PositivePair:
        return PositivePair(
            text_of(row, query),
            text_of(row, positive),
            _negatives_of(row, negatives) if negatives else (),
            id_of(row, query_id),
            id_of(row, positive_id),
        )

    return build


def _id_columns(roles: Mapping[str, str]) -> list[Column | None]:
    return [Column(roles[role], role) if role in roles else None for role in ("query_id", "document_id")]


def _negatives_of(row: Row, columns: Sequence[Column]) -> tuple[str, ...]:
    first = value_of(row, columns[0].name)
    if len(columns) > 1 or not isinstance(first, list | tuple):
        return tuple(text_of(row, column) for column in columns)
    return tuple(check_text(text, f"the list in {columns[0]}") for text in first)


def text_sha256(text: str) -> str:
    """Gives the SHA-256 of a text: a name for it, and an order of texts that means nothing and is the same anywhere."""
    return hashlib.sha256(text.encode()).hexdigest()


def rows_sha256(rows: Sequence[LabelledPair] | Sequence[PositivePair]) -> str:
    """Gives the SHA-256 of rows: their fields as JSON, a row a line."""
    digest = hashlib.sha256()
    for row in rows:
        fields = [getattr(row, field) for field in row.__slots__]
        digest.update(json.dumps(fields, separators=(",", ":")).encode() + b"\n")
    return digest.hexdigest()


def _join(columns: Mapping[str, str]) -> str:
    return ", ".join(map(repr, columns.values()))
