"""What a source is: a file of a known format, a name on the Hub, a `datasets` object, or records.

In: what the user names. Out: an opened `Source` of numbered rows, taken by `pairs.py` and `texts.py`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rankwright.data.rows import NumberedRow, read_csv, read_json, read_jsonl, read_tsv, shorten
from rankwright.data.tables import (
    hub_splits,
    is_dataset,
    is_hub_name,
    read_dataset,
    read_hub,
    read_parquet,
    read_records,
)
from rankwright.errors import ConfigError, DataError
from rankwright.records import LabelledPair, PositivePair

Given = str | Path | Iterable[Mapping[str, object] | LabelledPair | PositivePair]
"""A path, a Hub name, a `datasets.Dataset` (an iterable of dictionaries) or records."""

READERS: dict[str, Callable[[Path], Iterator[NumberedRow]]] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json,
    ".parquet": read_parquet,
}
"""What reads a file, by the end of its name."""

AS_RECORDS = {"pandas": 'to_dict("records")', "polars": "to_dicts()", "pyarrow": "to_pylist()"}
"""What gives the rows of a table of another library."""

SPLIT_NAMES = ("train", "dev", "test", "validation", "valid", "val", "eval")
"""File names that say little without their folder: `quora/train.jsonl` is named "quora/train"."""

EVALUATION_SPLITS = ("validation", "dev", "test")
"""Splits that are measured on where none is named, the first that there is."""


@dataclass(frozen=True)
class Source:
    """Numbered rows to be read once; `place` and `unit` name a row in errors, `path` is the file if there is one."""

    name: str
    given: str
    place: str
    unit: str
    rows: Iterator[NumberedRow]
    path: Path | None = None


def open_source(given: Given, *, split: str | None = None) -> Source:
    """Opens a file, a data set of the Hub, a `datasets` object or records.

    Args:
        given: what the user named.
        split: of a data set with splits; None: "train".

    Returns:
        The rows, not read yet.

    Raises:
        ConfigError: a split of something without splits.
        DataError: no such file, or a file of an unknown format.
    """
    if not isinstance(given, str | Path):
        return _open_object(given, split)
    path = Path(given)
    if path.is_file():
        if split is not None:
            raise ConfigError(f"split={split!r} was given, but {str(given)!r} is one file. Name the file of the split.")
        reader = READERS.get(path.suffix.lower())
        if reader is None:
            raise DataError(
                f"{path}: files that end in {path.suffix!r} are not read. Known: {', '.join(READERS)}. "
                f"Rename or convert the file."
            )
        unit = "row" if reader is read_parquet else "line"
        return Source(name_of_file(path), str(given), str(path), unit, reader(path), path)
    if path.is_dir():
        raise DataError(
            f"{path}: this folder is no file of pairs, and no BEIR folder (corpus.jsonl, queries.jsonl, qrels/). "
            f"Name a file in it: {', '.join(sorted(child.name for child in path.iterdir())[:10]) or 'it is empty'}."
        )
    if path.exists():
        raise DataError(
            f"{path}: this is a pipe or a device. Rows are read twice: write them to a file, and name that."
        )
    if not is_hub_name(str(given)) or path.suffix.lower() in READERS:
        raise DataError(
            f'{str(given)!r}: no such file or folder, and no Hub name ("owner/name" or "owner/name:config"). '
            f"Check the path; the current folder is {Path.cwd().name!r}."
        )
    split = split or "train"
    return Source(f"{given}/{split}", str(given), f"{given}/{split}", "row", read_hub(str(given), split=split))


def evaluation_split(given: Given) -> str | None:
    """Chooses the split to measure on where none was named, which is never the one that was trained on.

    Args:
        given: what the user named.

    Returns:
        The first of validation, dev and test; None for what has no splits, and for a BEIR folder with others only.

    Raises:
        ConfigError: a data set with other splits only.
        HubError: no such data set on the Hub, or no way to it.
    """
    path = Path(given) if isinstance(given, str | Path) else None
    if path is None:
        splits = list(given) if is_dataset(given) and isinstance(given, Mapping) else []
    elif path.exists() or not is_hub_name(str(given)) or path.suffix.lower() in READERS:
        splits = [file.stem for file in (path / "qrels").glob("*.tsv")]
    else:
        splits = hub_splits(str(given))
    chosen = next((name for name in EVALUATION_SPLITS if name in splits), None)
    if chosen is None and splits and not (path and path.exists()):
        named = repr(str(given)) if path else type(given).__name__
        raise ConfigError(
            f"{named} has the splits {', '.join(splits)}, and none of {', '.join(EVALUATION_SPLITS)} to measure on. "
            "Name one: --set data.eval_split=NAME of train, or --split NAME of evaluate."
        )
    return chosen


def name_of_file(path: Path) -> str:
    """Gives a file's name without its ending, with its folder where it is only the name of a split."""
    folder = path.parent.name
    return f"{folder}/{path.stem}" if path.stem in SPLIT_NAMES and folder else path.stem


def _open_object(given: Iterable[object], split: str | None) -> Source:
    kind, package = type(given).__name__, type(given).__module__.partition(".")[0]
    if package in AS_RECORDS:
        raise DataError(f"a {kind} of {package} is not read as it is. Give its rows: .{AS_RECORDS[package]}.")
    if is_dataset(given):
        split = "train" if split is None and isinstance(given, Mapping) else split
        return Source(split or kind, f"datasets.{kind}", kind, "row", read_dataset(given, split=split))
    if split is not None:
        raise ConfigError(f"split={split!r} was given, but the source is a {kind} of records. Leave it out.")
    if not isinstance(given, Iterable) or isinstance(given, bytes | Mapping):
        raise DataError(f"expected a path, a Hub name, a data set or a list of records, got {kind} {shorten(given)}.")
    return Source("records", "records", "records", "row", read_records(given))
