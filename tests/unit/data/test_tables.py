"""Parquet, the Hub and `datasets` objects: the same pairs, batch by batch, and errors that say what to do."""

import sys
from pathlib import Path
from re import escape

import datasets
import pytest

from rankwright.data import read_pairs
from rankwright.data.sources import evaluation_split
from rankwright.data.tables import BATCH_ROWS, is_hub_name
from rankwright.errors import ConfigError, DataError, HubError, MissingExtraError
from rankwright.records import LabelledPair, PositivePair

LABELLED = {"query": ["who", "what"], "document": ["me", "zażółć 👍"], "label": [1, 0]}
EXPECTED = [LabelledPair("who", "me", 1.0), LabelledPair("what", "zażółć 👍", 0.0)]


def test_parquet_gives_pairs_and_a_hash_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    datasets.Dataset.from_dict(LABELLED).to_parquet(path)
    table = read_pairs(path)
    assert table.rows == EXPECTED
    assert table.name == "pairs"
    datasets.Dataset.from_dict(LABELLED | {"label": [1, 1]}).to_parquet(tmp_path / "other.parquet")
    assert read_pairs(tmp_path / "other.parquet").sha256 != table.sha256


def test_parquet_row_of_a_flaw_is_counted_over_batches(tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    documents = ["d"] * (BATCH_ROWS + 1) + [None] + ["d"]
    datasets.Dataset.from_dict({"query": ["q"] * len(documents), "document": documents}).to_parquet(path)
    message = f"{path}, row {BATCH_ROWS + 2}: empty text in column 'document' (positive): None. Remove the row"
    with pytest.raises(DataError, match=escape(message)):
        read_pairs(path)


def test_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    path.write_text("query,document")
    with pytest.raises(DataError, match=escape(f"{path}: cannot be read as Parquet: ")):
        read_pairs(path)


def test_damaged_data_of_a_parquet_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    datasets.Dataset.from_dict({"query": ["who are you"] * 200, "document": list(map(str, range(200)))}).to_parquet(
        path
    )
    content = bytearray(path.read_bytes())
    content[40:400] = bytes(360)
    path.write_bytes(content)
    with pytest.raises(DataError, match=escape(f"{path}: cannot be read as Parquet: ")):
        read_pairs(path)


def test_tables_of_other_libraries_are_told_how_to_give_their_rows() -> None:
    table = datasets.Dataset.from_dict(LABELLED)
    with pytest.raises(
        DataError, match=escape('a DataFrame of pandas is not read as it is. Give its rows: .to_dict("')
    ):
        read_pairs(table.to_pandas())
    with pytest.raises(DataError, match=escape("a Table of pyarrow is not read as it is. Give its rows: .to_pylist()")):
        read_pairs(table.data.table)
    assert read_pairs(table.to_pandas().to_dict("records")).rows == read_pairs(table.data.table.to_pylist()).rows


def test_dataset_object_gives_pairs_whatever_its_format() -> None:
    dataset = datasets.Dataset.from_dict(LABELLED)
    tables = [read_pairs(given) for given in (dataset, dataset.with_format("numpy"), dataset.to_iterable_dataset())]
    assert [table.rows for table in tables] == [EXPECTED] * 3
    assert {table.sha256 for table in tables} == {read_pairs(EXPECTED).sha256}
    assert tables[0].source == "datasets.Dataset"


def test_dataset_keeps_lists_of_negatives() -> None:
    dataset = datasets.Dataset.from_dict({"anchor": ["a"], "positive": ["b"], "negatives": [["c", "d"]]})
    for given in (dataset, dataset.with_format("numpy")):
        assert read_pairs(given).rows == [PositivePair("a", "b", ("c", "d"))]


def test_dictionary_of_splits_gives_the_one_named_and_a_single_split_takes_none() -> None:
    dataset = datasets.Dataset.from_dict(LABELLED)
    splits = datasets.DatasetDict({"train": dataset.select([0]), "dev": dataset})
    table = read_pairs(splits, split="dev")
    assert (table.rows, table.name) == (EXPECTED, "dev")
    assert (read_pairs(splits).rows, read_pairs(splits).name) == (EXPECTED[:1], "train")
    with pytest.raises(ConfigError, match=escape("DatasetDict: there is no split 'test'. Give split = one of train, ")):
        read_pairs(splits, split="test")
    with pytest.raises(ConfigError, match=escape("split='dev' was given, but the Dataset is one split. Leave it out.")):
        read_pairs(dataset, split="dev")


@pytest.mark.parametrize(
    ("splits", "chosen"),
    [(["train", "test", "validation"], "validation"), (["train", "test", "dev"], "dev"), (["train", "test"], "test")],
)
def test_measured_on_where_no_split_is_named_is_never_the_one_to_train_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, splits: list[str], chosen: str
) -> None:
    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda repository, config: splits)
    assert evaluation_split("owner/name") == chosen
    dataset = datasets.Dataset.from_dict(LABELLED)
    assert evaluation_split(datasets.DatasetDict(dict.fromkeys(splits, dataset))) == chosen
    (tmp_path / "qrels").mkdir()
    for name in splits:
        (tmp_path / "qrels" / f"{name}.tsv").touch()
    assert evaluation_split(tmp_path) == chosen
    assert evaluation_split(dataset) is None and evaluation_split(tmp_path / "pairs.jsonl") is None


def test_training_rows_alone_are_not_measured_on_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda repository, config: ["train"])
    message = (
        "'owner/name' has the splits train, and none of validation, dev, test to measure on. Name one: --set data."
    )
    with pytest.raises(ConfigError, match=escape(message)):
        evaluation_split("owner/name")


def test_a_folder_without_a_split_to_measure_on_may_have_one_of_another_name(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "all.tsv").touch()
    assert evaluation_split(tmp_path) is None


@pytest.mark.parametrize(
    ("name", "split", "expected"),
    [
        ("owner/name", None, ("owner/name", None, "train")),
        ("owner/name:config", "dev", ("owner/name", "config", "dev")),
    ],
)
def test_hub_name_is_loaded_with_config_and_split(
    monkeypatch: pytest.MonkeyPatch, name: str, split: str | None, expected: tuple[str, str | None, str]
) -> None:
    asked = []

    def load_dataset(repository: str, config: str | None, *, split: str) -> datasets.Dataset:
        asked.append((repository, config, split))
        return datasets.Dataset.from_dict(LABELLED)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    table = read_pairs(name, split=split)
    assert asked == [expected]
    assert (table.rows, table.source, table.name) == (EXPECTED, name, f"{name}/{expected[2]}")


@pytest.mark.parametrize(
    "cause",
    [
        datasets.exceptions.DatasetNotFoundError("Dataset 'owner/name' doesn't exist on the Hub."),
        ConnectionError("Couldn't reach the Hub."),
        ValueError("Unknown split 'dev'."),
    ],
)
def test_data_set_that_the_hub_does_not_give_is_an_error_with_its_cause(
    monkeypatch: pytest.MonkeyPatch, cause: Exception
) -> None:
    def load_dataset(repository: str, config: str | None, *, split: str) -> datasets.Dataset:
        raise cause

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    message = f"'owner/name', split 'dev', is no file here, and no data set that the Hub or its cache gives: {cause}"
    with pytest.raises(HubError, match=escape(message)) as raised:
        read_pairs("owner/name", split="dev")
    assert raised.value.__cause__ is cause


def test_missing_libraries_are_named_with_the_pip_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pairs.parquet"
    datasets.Dataset.from_dict(LABELLED).to_parquet(path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=escape(f"Reading {path} needs the package 'pyarrow', which is not")):
        read_pairs(path)
    with pytest.raises(
        MissingExtraError, match=escape("Reading the data set 'owner/name' needs the package 'datasets'")
    ):
        read_pairs("owner/name")
    assert read_pairs(EXPECTED).rows == EXPECTED


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("owner/name", True),
        ("owner/name.v2:en-US", True),
        ("name", False),
        ("./owner/name", False),
        ("../name", False),
        ("a/b/c", False),
        ("/owner/name", False),
    ],
)
def test_hub_names_have_one_slash(source: str, expected: bool) -> None:
    assert is_hub_name(source) is expected
