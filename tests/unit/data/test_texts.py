"""Texts to encode or rank: text i is of line or row i."""

import io
import json
import sys
from pathlib import Path
from re import escape
from types import SimpleNamespace

import pytest

from rankwright.data import read_texts
from rankwright.errors import ConfigError, DataError


def write(path: Path, content: str) -> Path:
    path.write_bytes(content.encode("utf-8"))
    return path


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> io.BytesIO:
    stream = io.BytesIO()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream))
    return stream


def test_text_file_gives_its_lines_unchanged(tmp_path: Path) -> None:
    path = write(tmp_path / "t.txt", "\ufeff Lima \r\nzażółć\u2028👍\nlast")
    assert read_texts(path) == [" Lima ", "zażółć\u2028👍", "last"]


def test_dash_reads_standard_input(stdin: io.BytesIO) -> None:
    stdin.write(b"Lima\nCusco\n")
    stdin.seek(0)
    assert read_texts("-") == ["Lima", "Cusco"]


@pytest.mark.parametrize("end", ["\n\n", "\n \t\r\n\n", "\n  "])
def test_blank_lines_at_the_end_are_no_texts(tmp_path: Path, stdin: io.BytesIO, end: str) -> None:
    assert read_texts(write(tmp_path / "t.txt", f"Lima\nCusco{end}")) == ["Lima", "Cusco"]
    stdin.write(f"Lima\nCusco{end}".encode())
    stdin.seek(0)
    assert read_texts("-") == ["Lima", "Cusco"]


def test_flaw_of_standard_input_is_named(stdin: io.BytesIO) -> None:
    stdin.write(b"Lima\n\xff\n")
    stdin.seek(0)
    with pytest.raises(DataError, match=escape("standard input:2: byte 0xff at offset 5 of the file is not UTF-8.")):
        read_texts("-")


@pytest.mark.parametrize(
    ("row", "column", "expected"),
    [
        ({"id": 1, "text": "a"}, None, "a"),
        ({"document": "a", "passage": "b"}, None, "a"),
        ({"passage": "b"}, None, "b"),
        ({"text": "a", "document": "b"}, None, "a"),
        ({"title": "T", "text": "a"}, None, "T a"),
        ({"title": "", "text": "a"}, None, "a"),
        ({"title": "T", "text": "a"}, "text", "a"),
        ({"title": "T", "text": "a"}, "title", "T"),
        ({"title": "T", "document": "a"}, None, "a"),
    ],
)
def test_column_is_text_else_document_with_a_title_before_the_text(
    tmp_path: Path, row: dict[str, object], column: str | None, expected: str
) -> None:
    assert read_texts(write(tmp_path / "t.jsonl", json.dumps(row) + "\n"), column=column) == [expected]


def test_each_row_of_a_corpus_may_have_a_title_or_not(tmp_path: Path) -> None:
    rows = [{"text": "a"}, {"title": "T", "text": "b"}, {"title": None, "text": "c"}, {"title": "U", "text": ""}]
    path = write(tmp_path / "corpus.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert read_texts(path) == ["a", "T b", "c", "U"]


def test_csv_gives_every_row(tmp_path: Path) -> None:
    assert read_texts(write(tmp_path / "t.csv", 'n,text\n1,a\n2,"b\nc"\n')) == ["a", "b\nc"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "t.txt",
            "a\n \n\nb\n\n",
            ":2: empty text in the line: ' '. Remove the row, or fill the line. This holds for 2",
        ),
        ("t.txt", "\n \n", ": no texts. Give at least one line."),
        ("t.txt", "", ": no texts. Give at least one line."),
        ("t.csv", "text\n", ": no texts. Give a file with at least one row."),
        ("t.jsonl", '{"text": "a"}\n{"text": ""}\n', ":2: empty text in column 'text' (text): ''. Remove the row"),
        (
            "t.jsonl",
            '{"body": "a"}\n',
            ": no column 'text' or 'document' or 'passage' or 'answer'. Columns found: 'body'",
        ),
    ],
)
def test_flaw_is_named_with_its_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(DataError, match=escape(f"{path}{message}")):
        read_texts(path)


def test_column_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", '{"text": "a"}\n')
    with pytest.raises(DataError, match=escape(f"{path}: no column 'body'. Columns found: 'text'. Name one of them")):
        read_texts(path, column="body")
    path = write(tmp_path / "t.txt", "a\n")
    with pytest.raises(
        ConfigError, match=escape(f"column='text' was given, but {str(path)!r} has a text a line and no")
    ):
        read_texts(path, column="text")


def test_missing_text_file_is_no_hub_name() -> None:
    with pytest.raises(DataError, match=escape("docs/none.txt: no such file. Check the path, or give - for standard")):
        read_texts("docs/none.txt")
