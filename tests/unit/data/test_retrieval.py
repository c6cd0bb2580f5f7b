"""BEIR folders and TREC runs: what is kept, and that each flaw is named with its file, line, value and way out."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from re import escape

import pytest

from rankwright.data import content_sha256, is_retrieval_folder, read_pairs, read_retrieval, retrieval_to_pairs
from rankwright.errors import ConfigError, DataError
from rankwright.records import PositivePair, RetrievalSet

HEADER = "query-id\tcorpus-id\tscore\n"
CORPUS = [
    {"_id": "d1", "title": "Peru", "text": "Lima is its capital."},
    {"_id": "d2", "title": "", "text": "Cusco is older."},
    {"_id": 3, "text": "Quito is elsewhere.", "metadata": {}},
    {"_id": "d4", "title": "Title alone", "text": ""},
]
QUERIES = [
    {"_id": "q1", "text": "capital of Peru"},
    {"_id": "q2", "text": "older city"},
    {"_id": "q3", "text": "not judged here"},
]
DEV = HEADER + "q2\td2\t2\nq1\t3\t0\nq1\td1\t1\n"


def write_lines(path: Path, rows: Sequence[object]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "cities"
    (folder / "qrels").mkdir(parents=True)
    write_lines(folder / "corpus.jsonl", CORPUS)
    write_lines(folder / "queries.jsonl", QUERIES)
    (folder / "qrels" / "dev.tsv").write_text(DEV)
    return folder


def test_folder_gives_judged_queries_with_the_whole_corpus(folder: Path) -> None:
    retrieval = read_retrieval(folder, split="dev")
    assert retrieval == RetrievalSet(
        name="cities/dev",
        queries={"q1": "capital of Peru", "q2": "older city"},
        documents={
            "d1": "Peru Lima is its capital.",
            "d2": "Cusco is older.",
            "3": "Quito is elsewhere.",
            "d4": "Title alone",
        },
        qrels={"q2": {"d2": 2.0}, "q1": {"3": 0.0, "d1": 1.0}},
    )


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        (["train", "dev", "test"], "test"),
        (["train", "dev"], "dev"),
        (["train"], "train"),
        (["validation"], "validation"),
    ],
)
def test_split_is_test_else_dev_else_the_only_one(folder: Path, splits: list[str], expected: str) -> None:
    (folder / "qrels" / "dev.tsv").unlink()
    for split in splits:
        (folder / "qrels" / f"{split}.tsv").write_text(DEV)
    assert read_retrieval(folder).name == f"cities/{expected}"


def test_split_that_cannot_be_chosen_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match=escape(f"{folder}: no split 'test'. Name one of qrels/ (dev): to train")):
        read_retrieval(folder, split="test")
    (folder / "qrels" / "dev.tsv").rename(folder / "qrels" / "a.tsv")
    (folder / "qrels" / "b.tsv").write_text(DEV)
    with pytest.raises(
        DataError, match=r"no split was given. Name one of qrels/ \(a, b\): .* --split NAME of evaluate"
    ):
        read_retrieval(folder)


def test_folder_without_its_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text("")
    with pytest.raises(DataError, match=escape(f"{tmp_path}: no queries.jsonl and no qrels. A BEIR folder has corpus")):
        read_retrieval(tmp_path)


@pytest.mark.parametrize(
    ("file", "row", "message"),
    [
        ("corpus", {"_id": "d1", "text": "x"}, "the id 'd1' in column '_id' was there before. Give each row an id"),
        (
            "corpus",
            {"id": "d9", "text": "x"},
            "column '_id' is missing; the row has 'id', 'text'. Give each row '_id'.",
        ),
        ("corpus", {"_id": "d9", "text": "", "title": " "}, "empty text in columns 'title' and 'text': ' '. Remove"),
        ("corpus", {"_id": "d9", "title": "x"}, "column 'text' is missing; the row has '_id', 'title'. Give each row"),
        ("corpus", {"_id": "d9", "title": "x", "text": ["y"]}, "title 'x' and text ['y'] are not both texts. Write"),
        ("queries", {"_id": "q1", "text": "x"}, "the id 'q1' in column '_id' was there before. Give each row an id"),
        (
            "queries",
            {"_id": "q9", "text": ""},
            "empty text in column 'text': ''. Remove the row, or fill column 'text'.",
        ),
        ("queries", ["q9"], "expected a JSON object such as {\"query\": ...}, got list ['q9']. Write each row"),
    ],
)
def test_flaw_of_a_text_is_named_with_its_line(folder: Path, file: str, row: object, message: str) -> None:
    path = folder / f"{file}.jsonl"
    rows = CORPUS if file == "corpus" else QUERIES
    write_lines(path, [*rows, row])
    with pytest.raises(DataError, match=escape(f"{path}:{len(rows) + 1}: {message}")):
        read_retrieval(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "q1\td1\t1\nq2\td2\t1\n",
            ":2: the columns are 'q1', 'd1', '1'. The first line must be query-id<TAB>corpus-id",
        ),
        (DEV + "q9\td1\t1\n", ":5: the query 'q9' is not in queries.jsonl. Add the query or remove the line."),
        (DEV + "q1\td9\t1\n", ":5: the document 'd9' is not in corpus.jsonl. Add the document or remove the line."),
        (
            DEV + "q1\td2\thigh\n",
            ":5: 'high' in column 'score' (judgment) is not a finite number. Write column 'score'",
        ),
        (DEV + "q1\td2\tnan\n", ":5: 'nan' in column 'score' (judgment) is not a finite number. Write column 'score'"),
        (DEV + "q1\td1\t2\n", ":5: query 'q1' and document 'd1' have score 2 here and 1 before. Keep one judgment"),
        (DEV + "q1\td1\t0\n", ":5: query 'q1' and document 'd1' have score 0 here and 1 before. Keep one judgment"),
        (DEV + "q1 d1 1\n", ":5: 1 fields, but the header has 3 (query-id, corpus-id, score). Put a text"),
        (HEADER, ": no judgments. Add lines below the header, or choose another split."),
    ],
)
def test_flaw_of_the_qrels_is_named_with_its_line(folder: Path, content: str, message: str) -> None:
    path = folder / "qrels" / "dev.tsv"
    path.write_text(content)
    with pytest.raises(DataError, match=escape(f"{path}{message}")):
        read_retrieval(folder)


def test_equal_judgments_may_be_repeated(folder: Path) -> None:
    (folder / "qrels" / "dev.tsv").write_text(HEADER + "q1\td1\t1\nq1\td1\t1\n")
    assert read_retrieval(folder).qrels == {"q1": {"d1": 1.0}}


def test_first_stage_keeps_the_scores_of_judged_queries(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "bm25.trec"
    run.write_text("q1 Q0 d1 1 12.5 bm25\nq1\tQ0\td2\t2\t-3e-1\tbm25\n\nq3 Q0 d1 1 9 bm25\n")
    assert read_retrieval(folder, first_stage=run).first_stage == {"q1": {"d1": 12.5, "d2": -0.3}}
    assert read_retrieval(folder).first_stage is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "q1 Q0 d1 1 12.5",
            ":2: 'q1 Q0 d1 1 12.5' is no line of a run. Write `query-id Q0 document-id rank score tag`",
        ),
        ("q1 Q0 d1 1 12.5 bm 25", ":2: 'q1 Q0 d1 1 12.5 bm 25' is no line of a run. Write `query-id Q0 document-id"),
        ("q1 Q0 d1 1 high bm25", ":2: 'q1 Q0 d1 1 high bm25' is no line of a run. Write `query-id Q0 document-id"),
        ("q1 Q0 d1 1 nan bm25", ":2: 'q1 Q0 d1 1 nan bm25' is no line of a run. Write `query-id Q0 document-id"),
        ("q9 Q0 d1 1 1 bm25", ":2: the query 'q9' is not in queries.jsonl. Add the query or remove the line."),
        ("q1 Q0 d9 1 1 bm25", ":2: the document 'd9' is not in corpus.jsonl. Add the document or remove the line."),
        ("q2 Q0 d1 2 1 bm25", ":2: the document 'd1' is there twice for query 'q2'. Keep one line."),
    ],
)
def test_flaw_of_a_run_is_named_with_its_line(folder: Path, tmp_path: Path, line: str, message: str) -> None:
    run = tmp_path / "bm25.trec"
    run.write_text(f"q2 Q0 d1 1 1 bm25\n{line}\n")
    with pytest.raises(DataError, match=escape(f"{run}{message}")):
        read_retrieval(folder, first_stage=run)


def test_run_of_another_split_or_no_run_is_refused(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "bm25.trec"
    with pytest.raises(DataError, match=escape(f"{run}: no such file. Give first_stage a run in the TREC format.")):
        read_retrieval(folder, first_stage=run)
    run.write_text("q3 Q0 d1 1 9 bm25\n")
    with pytest.raises(DataError, match=escape(f"{run}: no query of this run has a judgment in the split. Give the")):
        read_retrieval(folder, first_stage=run)


def test_judgments_above_zero_become_positive_pairs(folder: Path) -> None:
    assert retrieval_to_pairs(read_retrieval(folder)) == [
        PositivePair("older city", "Cusco is older.", (), "q2", "d2"),
        PositivePair("capital of Peru", "Peru Lima is its capital.", (), "q1", "d1"),
    ]


def test_judgments_of_zero_alone_give_no_pairs() -> None:
    retrieval = RetrievalSet("cities/dev", {"q": "a"}, {"d": "b"}, {"q": {"d": 0.0}})
    with pytest.raises(DataError, match=escape("cities/dev: no judgment is above 0, so there is no positive pair.")):
        retrieval_to_pairs(retrieval)


def test_folder_can_be_trained_on_as_a_table(folder: Path) -> None:
    (folder / "qrels" / "train.tsv").write_text(HEADER + "q3\td4\t1\n")
    table = read_pairs(folder)
    assert table.rows == [PositivePair("not judged here", "Title alone", (), "q3", "d4")]
    assert (table.name, table.source, table.kind) == ("cities/train", str(folder), "positive")
    assert table.sha256 == content_sha256(folder, split="train") != content_sha256(folder)
    assert read_pairs(str(folder), split="dev").name == "cities/dev"
    with pytest.raises(ConfigError, match=escape(f"columns were given, but {str(folder)!r} is a BEIR folder. Leave")):
        read_pairs(folder, columns={"query": "text"})


def test_hash_of_a_folder_is_that_of_what_sha256sum_prints(folder: Path) -> None:
    names = ("corpus.jsonl", "queries.jsonl", "qrels/dev.tsv")
    printed = "".join(f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names)
    assert content_sha256(folder, split="dev") == hashlib.sha256(printed.encode()).hexdigest()
    assert read_pairs(folder, split="dev").sha256 == content_sha256(str(folder))


def test_only_a_folder_with_a_corpus_is_a_retrieval_folder(folder: Path) -> None:
    assert is_retrieval_folder(folder)
    assert not is_retrieval_folder(folder / "qrels")
    assert not is_retrieval_folder(folder / "corpus.jsonl")
    assert not is_retrieval_folder(folder / "none")
