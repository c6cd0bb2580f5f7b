"""Reading pairs: kinds, ids, negatives, names, hashes; and each flaw of a row with place, value and remedy."""

import hashlib
import json
import os
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from re import escape

import numpy as np
import pytest

from rankwright.data import PairTable, read_pairs
from rankwright.errors import ConfigError, DataError
from rankwright.records import LabelledPair, PositivePair

Rows = Sequence[dict[str, object]]
GOOD = {"query": "who", "document": "me", "label": 1}


def write_jsonl(path: Path, rows: Rows) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_labelled_pairs_of_a_file_with_ids(tmp_path: Path) -> None:
    rows = [{"qid": 7, "sentence1": "who", "did": "d1", "sentence2": "me", "label": True, "topic": "x"}]
    path = write_jsonl(tmp_path / "pairs.jsonl", rows)
    table = read_pairs(path)
    assert table.labelled_rows() == [LabelledPair("who", "me", 1.0, "7", "d1")]
    assert list(table.columns.items()) == [
        ("query_id", "qid"),
        ("query", "sentence1"),
        ("document_id", "did"),
        ("document", "sentence2"),
        ("label", "label"),
    ]
    assert (table.kind, table.size_rows, table.name, table.source) == ("labelled", 1, "pairs", str(path))
    assert table.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_every_text_format_gives_the_same_pairs(tmp_path: Path) -> None:
    rows = [GOOD, {"query": "zażółć 👍", "document": "two\nlines, one", "label": 0.5}]
    expected = [LabelledPair("who", "me", 1.0), LabelledPair("zażółć 👍", "two\nlines, one", 0.5)]
    contents = {
        "a.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        "a.json": json.dumps(rows, ensure_ascii=False, indent=1),
        "a.csv": 'query,document,label\nwho,me,1\nzażółć 👍,"two\nlines, one",0.5\n',
        "a.TSV": 'query\tdocument\tlabel\nwho\tme\t1\nzażółć 👍\t"two\nlines, one"\t0.5\n',
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
        assert read_pairs(str(tmp_path / name)).rows == expected, name
    assert read_pairs(rows).rows == expected


@pytest.mark.parametrize(
    ("row", "negatives"),
    [
        ({"negative": "a"}, ("a",)),
        ({"negative_1": "a", "negative_2": "b"}, ("a", "b")),
        ({"negatives": ["a", "b", "c"]}, ("a", "b", "c")),
        ({"negatives": []}, ()),
        ({}, ()),
    ],
)
def test_positive_pairs_take_negatives_as_columns_or_a_list(row: dict[str, object], negatives: tuple[str, ...]) -> None:
    table = read_pairs([{"anchor": "who", "positive": "me", "qid": "q", "did": "d", **row}])
    assert table.positive_rows() == [PositivePair("who", "me", negatives, "q", "d")]
    assert table.kind == "positive"


def test_pairs_are_records_too() -> None:
    labelled = [LabelledPair("who", "me", 1.0, "q", "d"), LabelledPair("who", "you", 0.0, "q", "e")]
    positive = [PositivePair("who", "me", ("you",), "q", "d"), PositivePair("what", "this", (), "r", "e")]
    assert read_pairs(labelled).rows == labelled
    assert read_pairs(positive).rows == positive


def test_hash_of_records_follows_their_content() -> None:
    same = [read_pairs([GOOD]).sha256, read_pairs(iter([LabelledPair("who", "me", 1.0)])).sha256]
    changes = ({"query": "x"}, {"document": "x"}, {"label": 0}, {"qid": "x"}, {"did": "x"})
    other = [read_pairs([GOOD | change]).sha256 for change in changes]
    assert len(set(same)) == 1
    assert len({*same, *other}) == 6


@pytest.mark.parametrize(
    ("name", "expected"), [("quora/train.jsonl", "quora/train"), ("quora/all.jsonl", "all"), ("quora/dev.jsonl", "x")]
)
def test_name_comes_from_the_file_and_of_a_split_from_the_folder_too(tmp_path: Path, name: str, expected: str) -> None:
    path = write_jsonl(tmp_path / name, [GOOD])
    assert read_pairs(path, name="x" if expected == "x" else None).name == expected


def test_file_of_a_split_in_the_current_folder_keeps_its_bare_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_jsonl(tmp_path / "train.jsonl", [GOOD])
    monkeypatch.chdir(tmp_path)
    assert read_pairs("train.jsonl").name == "train"


def test_column_that_the_first_row_leaves_out_is_found(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "p.jsonl", [{"query": "a", "document": "b"}, GOOD])
    with pytest.raises(
        DataError, match=escape(f"{path}:1: column 'label' is missing; the row has 'query', 'document'.")
    ):
        read_pairs(path)


@pytest.mark.parametrize(
    ("flaw", "message"),
    [
        ({"document": ""}, "empty text in column 'document' (document): ''. Remove the row, or fill column 'document'"),
        ({"query": " \n\t"}, "empty text in column 'query' (query): ' \\n\\t'. Remove the row, or fill column 'query'"),
        (
            {"query": None},
            "empty text in column 'query' (query): None. Remove the row, or fill column 'query' (query).",
        ),
        (
            {"query": 3.5},
            "float 3.5 in column 'query' (query), expected a text. Write column 'query' (query) as strings",
        ),
        ({"query": "a\ud83d"}, "half a surrogate pair '\\ud83d' at character 1 of column 'query' (query). Such a text"),
        ({"label": "yes"}, "'yes' in column 'label' (label) is not a finite number. Write column 'label' (label) as"),
        ({"label": float("nan")}, "nan in column 'label' (label) is not a finite number. Write column 'label'"),
        ({"label": float("inf")}, "inf in column 'label' (label) is not a finite number. Write column 'label'"),
        ({"label": 10**400}, "is not a finite number. Write column 'label' (label) as numbers"),
        ({"label": None}, "None in column 'label' (label) is not a finite number. Write column 'label'"),
        ({"label": [0, 1]}, "[0, 1] in column 'label' (label) is not a finite number. Write column 'label'"),
        ({"label": 1.5}, "1.5 in column 'label' (label) is outside 0 to 1. Scale the labels to 0 to 1, or choose"),
        ({"label": -0.1}, "-0.1 in column 'label' (label) is outside 0 to 1. Scale the labels to 0 to 1, or choose"),
        ({"label": 0.5}, "0.5 in column 'label' (label) is not a whole number. Write classes as 0, 1, 2..., or choose"),
        ({"qid": ""}, "empty text in column 'qid' (query_id): ''. Remove the row, or fill column 'qid' (query_id)."),
        (
            {"qid": 1.0},
            "float 1.0 in column 'qid' (query_id), expected a text. Write column 'qid' (query_id) as strings",
        ),
        ({"qid": True}, "bool True in column 'qid' (query_id), expected a text. Write column 'qid' (query_id) as"),
    ],
)
def test_flaw_of_a_row_is_named_with_line_value_and_remedy(
    tmp_path: Path, flaw: dict[str, object], message: str
) -> None:
    good = GOOD | {"qid": 1}
    path = write_jsonl(tmp_path / "p.jsonl", [good, good | {"label": 0}, good | flaw, good])
    with pytest.raises(DataError, match=f"^{escape(f'{path}:3: ')}.*{escape(message)}") as raised:
        read_pairs(path, label_range=(0, 1), integer_labels=True)
    assert "rows" not in str(raised.value)


def test_labels_are_any_finite_number_where_no_range_is_asked() -> None:
    table = read_pairs([GOOD | {"label": label} for label in (-2, 7.5, "3")])
    assert [row.label for row in table.labelled_rows()] == [-2.0, 7.5, 3.0]


def test_numbers_of_numpy_and_decimals_are_labels_and_ids() -> None:
    labels = (np.float32(0.5), np.int64(2), Decimal("1.25"), True)
    table = read_pairs([GOOD | {"label": label, "query_id": np.int64(7)} for label in labels])
    assert [row.label for row in table.labelled_rows()] == [0.5, 2.0, 1.25, 1.0]
    assert table.labelled_rows()[0].query_id == "7"
    with pytest.raises(DataError, match=escape("1j in column 'label' (label) is not a finite number")):
        read_pairs([GOOD | {"label": 1j}])


def test_rows_with_the_same_flaw_are_counted(tmp_path: Path) -> None:
    rows = [GOOD | ({"document": ""} if i % 3 == 1 else {}) for i in range(20)] + [GOOD | {"label": "x"}]
    path = write_jsonl(tmp_path / "p.jsonl", rows)
    with pytest.raises(DataError, match=escape("This holds for 7 rows: lines 2, 5, 8, 11, 14, ...")) as raised:
        read_pairs(path)
    assert str(raised.value).startswith(f"{path}:2: empty text in column 'document'")
    with pytest.raises(DataError, match=escape("records, row 2: empty text")) as raised:
        read_pairs(rows[:15])
    assert str(raised.value).endswith("This holds for 5 rows: rows 2, 5, 8, 11, 14.")


def test_negatives_are_checked_one_by_one() -> None:
    rows: Rows = [{"query": "a", "positive": "b", "negatives": ["c", ""]}]
    message = "records, row 1: empty text in the list in column 'negatives' (negatives): ''. Remove the row"
    with pytest.raises(DataError, match=escape(message)):
        read_pairs(rows)
    rows = [{"query": "a", "positive": "b", "negative_1": ["c"], "negative_2": "d"}]
    message = "records, row 1: list ['c'] in column 'negative_1' (negative_1), expected a text."
    with pytest.raises(DataError, match=escape(message)):
        read_pairs(rows)


def test_csv_line_of_a_flaw_counts_newlines_in_quotes(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text('query,document,label\n"a\nb",c,1\nd,e,many\n', encoding="utf-8")
    with pytest.raises(DataError, match=escape(f"{path}:4: 'many' in column 'label' (label) is not a finite number.")):
        read_pairs(path)


def test_columns_of_the_file_are_listed_with_the_remedy(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "p.jsonl", [{"premise": "a", "body": "b"}])
    message = f"{path}: no query with its document could be the texts; columns found: 'premise', 'body'. Known names"
    with pytest.raises(DataError, match=escape(message)):
        read_pairs(path)
    assert read_pairs(path, columns={"query": "premise", "document": "body"}).kind == "positive"


@pytest.mark.parametrize(("name", "content"), [("e.jsonl", ""), ("e.csv", "query,document\n"), ("e.json", "[]")])
def test_file_without_rows_is_refused(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=escape(f"{path}: no rows. Give a file with at least one pair.")):
        read_pairs(path)


def test_rows_of_the_wrong_kind_are_refused_with_the_way_out() -> None:
    positive = read_pairs([{"query": "a", "answer": "b"}])
    with pytest.raises(
        DataError, match=escape("records: labelled pairs are needed, but columns 'query', 'answer' have")
    ) as raised:
        positive.labelled_rows()
    assert "a negative as one with label 0 (a triplet is two rows)" in str(raised.value)
    with pytest.raises(DataError, match=escape('with columns = {query = "query", positive = "document"}.')):
        read_pairs([GOOD]).positive_rows()


def test_source_that_is_nothing_we_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.xlsx").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "b.jsonl").write_text("")
    os.mkfifo(tmp_path / "pipe.jsonl")
    missing = tmp_path / "none.jsonl"
    with pytest.raises(DataError, match=escape("p.xlsx: files that end in '.xlsx' are not read. Known: .csv, .tsv, ")):
        read_pairs(tmp_path / "p.xlsx")
    with pytest.raises(DataError, match=escape(f"{tmp_path / 'folder'}: this folder is no file of pairs, and no BEIR")):
        read_pairs(tmp_path / "folder")
    with pytest.raises(DataError, match=escape("Name a file in it: b.jsonl.")):
        read_pairs(tmp_path / "folder")
    with pytest.raises(DataError, match=escape("pipe.jsonl: this is a pipe or a device. Rows are read twice: write")):
        read_pairs(tmp_path / "pipe.jsonl")
    with pytest.raises(DataError, match=escape(f"{str(missing)!r}: no such file or folder, and no Hub name")):
        read_pairs(missing)
    with pytest.raises(DataError, match=escape("'data/none.jsonl': no such file or folder, and no Hub name")):
        read_pairs("data/none.jsonl")
    with pytest.raises(
        DataError, match=escape("records, row 2: expected a dictionary, a LabelledPair or a PositivePair")
    ):
        read_pairs([GOOD, ("who", "me")])  # type: ignore[list-item]
    with pytest.raises(
        DataError, match=escape("expected a path, a Hub name, a data set or a list of records, got int 7.")
    ):
        read_pairs(7)  # type: ignore[arg-type]


def test_split_of_what_has_none_is_refused(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "p.jsonl", [GOOD])
    with pytest.raises(ConfigError, match=escape(f"split='dev' was given, but {str(path)!r} is one file. Name the")):
        read_pairs(path, split="dev")
    with pytest.raises(
        ConfigError, match=escape("split='dev' was given, but the source is a list of records. Leave it")
    ):
        read_pairs([GOOD], split="dev")


def test_table_is_frozen() -> None:
    table = read_pairs([GOOD])
    assert isinstance(table, PairTable)
    with pytest.raises(AttributeError, match="cannot assign to field 'name'"):
        table.name = "other"  # type: ignore[misc]
