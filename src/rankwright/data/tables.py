"""The rows of tables: Parquet files, data sets of the Hub, `datasets.Dataset` objects and lists of records.

In: a path, a Hub name or an object. Out: numbered rows, taken by `pairs.py`. Only this file needs the `[train]` extra.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rankwright.data.rows import NumberedRow, Row, shorten
from rankwright.errors import ConfigError, DataError, HubError, MissingExtraError
from rankwright.records import LabelledPair, PositivePair

BATCH_ROWS = 1000
"""Rows taken from a table at once: one call per row costs more than the row."""

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")


def is_hub_name(source: str) -> bool:
    """Tells if a text reads as "owner/name" or "owner/name:config"."""
    return _HUB_NAME.fullmatch(source) is not None and not source.startswith(".")


def read_parquet(path: Path) -> Iterator[NumberedRow]:
    """Gives the rows of a Parquet file, batch by batch; pyarrow is read here without a copy in a cache folder.

    Args:
        path: the file.

    Yields:
        The number of the row, and the row.

    Raises:
        MissingExtraError: pyarrow (a part of `datasets`) is not installed.
        DataError: the file is not Parquet.
    """
    try:
        import pyarrow  # type: ignore[import-untyped]
        import pyarrow.parquet  # type: ignore[import-untyped]
    except ImportError as err:
        raise MissingExtraError(f"Reading {path}", "train", "pyarrow") from err
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield from _rows_of_batches(batch.to_pydict() for batch in file.iter_batches(BATCH_ROWS))
    except (pyarrow.ArrowException, OSError) as err:  # the latter where the data of a column are damaged
        raise DataError(f"{path}: cannot be read as Parquet: {err}. Check that the file is whole.") from err


def read_hub(name: str, *, split: str) -> Iterator[NumberedRow]:
    """Gives the rows of a split of a data set on the Hub, or in the Hub's cache.

    Args:
        name: "owner/name" or "owner/name:config".
        split: the split, such as "train".

    Returns:
        The rows, numbered.

    Raises:
        MissingExtraError: `datasets` is not installed.
        HubError: there is no such data set, config or split, or no way to it.
    """
    repository, _, config = name.partition(":")
    with _hub_data(name, f"{name!r}, split {split!r},") as datasets:
        return read_dataset(datasets.load_dataset(repository, config or None, split=split))


def hub_splits(name: str) -> list[str]:
    """Gives the splits of a data set on the Hub, or in the Hub's cache.

    Args:
        name: "owner/name" or "owner/name:config".

    Returns:
        Their names, such as ["train", "validation"].

    Raises:
        MissingExtraError: `datasets` is not installed.
        HubError: there is no such data set or config, or no way to it.
    """
    repository, _, config = name.partition(":")
    with _hub_data(name, repr(name)) as datasets:
        return list(datasets.get_dataset_split_names(repository, config or None))


@contextmanager
def _hub_data(name: str, asked: str) -> Iterator[Any]:
    """The `datasets` library, whose errors are said in our words."""
    try:
        import datasets
    except ImportError as err:
        raise MissingExtraError(f"Reading the data set {name!r}", "train", "datasets") from err
    try:
        yield datasets
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as err:
        raise HubError(
            f"{asked} is no file here, and no data set that the Hub or its cache gives: {str(err).rstrip('.')}. "
            f'Check the path, or the name "owner/name:config" and the split.'
        ) from err


def is_dataset(source: object) -> bool:
    """Tells if an object comes from the `datasets` library, without importing it."""
    datasets = sys.modules.get("datasets")
    kinds = ("Dataset", "IterableDataset", "DatasetDict", "IterableDatasetDict")
    return datasets is not None and isinstance(source, tuple(getattr(datasets, kind) for kind in kinds))


def read_dataset(dataset: Any, *, split: str | None = None) -> Iterator[NumberedRow]:
    """Gives the rows of an object of the `datasets` library.

    Args:
        dataset: a data set, or a dictionary of splits.
        split: the split, for a dictionary.

    Returns:
        The rows, numbered.

    Raises:
        ConfigError: a dictionary without the split, or a split of a single data set.
    """
    if isinstance(dataset, Mapping):
        if split not in dataset:
            known = ", ".join(dataset)
            raise ConfigError(f"{type(dataset).__name__}: there is no split {split!r}. Give split = one of {known}.")
        dataset = dataset[split]
    elif split is not None:
        raise ConfigError(f"split={split!r} was given, but the {type(dataset).__name__} is one split. Leave it out.")
    return _rows_of_batches(dataset.with_format(None).iter(BATCH_ROWS))


def _rows_of_batches(batches: Iterable[Mapping[str, Sequence[object]]]) -> Iterator[NumberedRow]:
    number = 0
    for batch in batches:
        for number, values in enumerate(zip(*batch.values(), strict=True), start=number + 1):  # noqa: B020 (counts on)
            yield number, dict(zip(batch, values, strict=True))


def read_records(records: Iterable[object]) -> Iterator[NumberedRow]:
    """Gives dictionaries and pairs as numbered rows."""
    given = list(records)
    # Where no pair has negatives there is no such column; where one has, each has a list.
    has_negatives = any(isinstance(record, PositivePair) and record.negatives for record in given)
    for number, record in enumerate(given, start=1):
        yield number, _as_row(record, number, has_negatives=has_negatives)


def _as_row(record: object, number: int, *, has_negatives: bool) -> Row:
    if isinstance(record, Mapping):
        return record
    fields: dict[str, object]
    if isinstance(record, LabelledPair):
        fields = {"query": record.query, "document": record.document, "label": record.label}
        ids = {"query_id": record.query_id, "document_id": record.document_id}
    elif isinstance(record, PositivePair):
        fields = {"query": record.query, "positive": record.positive}
        fields |= {"negatives": list(record.negatives)} if has_negatives else {}
        ids = {"query_id": record.query_id, "document_id": record.positive_id}
    else:
        raise DataError(
            f"records, row {number}: expected a dictionary, a LabelledPair or a PositivePair, "
            f"got {type(record).__name__} {shorten(record)}. Name the columns: {{'query': ..., 'document': ...}}."
        )
    return fields | {role: value for role, value in ids.items() if value}
