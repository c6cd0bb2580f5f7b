"""Text files: what is read, and that each flaw is named with its line, its value and the way out."""

import csv
import json
from pathlib import Path
from re import escape

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from rankwright.data.rows import read_csv, read_json, read_jsonl, read_lines, read_tsv, shorten
from rankwright.errors import DataError

READERS = {"csv": read_csv, "tsv": read_tsv, "jsonl": read_jsonl, "json": read_json}
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ROUND_TRIP = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return path


@ROUND_TRIP
@given(rows=st.lists(st.fixed_dictionaries({"query": ANY_TEXT, "document": ANY_TEXT}), min_size=1, max_size=5))
@pytest.mark.parametrize("ascii_only", [True, False])
def test_jsonl_gives_back_every_text(tmp_path: Path, rows: list[dict[str, str]], ascii_only: bool) -> None:
    lines = [json.dumps(row, ensure_ascii=ascii_only) for row in rows]
    path = write(tmp_path, "rows.jsonl", "\n".join(lines))
    assert list(read_jsonl(path)) == list(enumerate(rows, start=1))


@ROUND_TRIP
@given(rows=st.lists(st.fixed_dictionaries({"query": ANY_TEXT, "document": ANY_TEXT}), min_size=1, max_size=5))
@pytest.mark.parametrize("indent", [None, 2])
def test_json_list_gives_back_every_text_with_its_line(
    tmp_path: Path, rows: list[dict[str, str]], indent: int | None
) -> None:
    path = write(tmp_path, "rows.json", json.dumps(rows, ensure_ascii=False, indent=indent))
    lines = [1 if indent is None else 2 + 4 * i for i in range(len(rows))]
    assert list(read_json(path)) == list(zip(lines, rows, strict=True))


@ROUND_TRIP
@given(rows=st.lists(st.tuples(ANY_TEXT, ANY_TEXT), min_size=1, max_size=5))
@pytest.mark.parametrize(("name", "delimiter"), [("csv", ","), ("tsv", "\t")])
def test_delimited_files_give_back_every_text_with_its_line(
    tmp_path: Path, rows: list[tuple[str, str]], name: str, delimiter: str
) -> None:
    # of a TSV, such a field is taken for rows that a stray quote has swallowed
    assume(name == "csv" or not any("\n" in text and "\t" in text for row in rows for text in row))
    path = tmp_path / f"rows.{name}"
    lines = []
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerow(["query", "document"])
        for row in rows:
            file.flush()
            lines.append(path.read_bytes().count(b"\n") + 1)
            writer.writerow(row)
    expected = [{"query": query, "document": document} for query, document in rows]
    assert list(READERS[name](path)) == list(zip(lines, expected, strict=True))


def test_byte_order_mark_and_windows_line_ends_are_no_part_of_the_text(tmp_path: Path) -> None:
    path = write(tmp_path, "bom.csv", b"\xef\xbb\xbfquery,document\r\nwho,me\r\n")
    assert list(read_csv(path)) == [(2, {"query": "who", "document": "me"})]
    path = write(tmp_path, "bom.jsonl", b'\xef\xbb\xbf{"query": "who"}\r\n')
    assert list(read_jsonl(path)) == [(1, {"query": "who"})]
    path = write(tmp_path, "joined.txt", "\ufeffa\n\ufeffb\n")
    assert list(read_lines(path)) == [(1, "a\n"), (2, "\ufeffb\n")]
    path = write(tmp_path, "windows.json", '[\r\n\t{"query": "who"},\r\n\t{"query": "what"}\r\n]\r\n')
    assert list(read_json(path)) == [(2, {"query": "who"}), (3, {"query": "what"})]


def test_columns_without_a_name_may_be_several(tmp_path: Path) -> None:
    """As spreadsheets leave them at the end of each line."""
    assert [row["q"] for _, row in read_csv(write(tmp_path, "empty.csv", "q,,\na,,\n"))] == ["a"]


def test_only_a_newline_ends_a_line(tmp_path: Path) -> None:
    path = write(tmp_path, "odd.jsonl", '{"query": "a\u2028b\u0085c"}\n{"query": "d"}\n')
    assert list(read_jsonl(path)) == [(1, {"query": "a\u2028b\u0085c"}), (2, {"query": "d"})]


def test_blank_lines_are_passed_over_and_counted(tmp_path: Path) -> None:
    assert [n for n, _ in read_jsonl(write(tmp_path, "b.jsonl", '\n{"q": 1}\n \n\n{"q": 2}\n\n'))] == [2, 5]
    assert [n for n, _ in read_csv(write(tmp_path, "b.csv", "\nq,d\n\n1,2\n\n\n3,4\n"))] == [4, 7]


def test_csv_line_is_where_a_row_begins_after_newlines_in_quotes(tmp_path: Path) -> None:
    path = write(tmp_path, "long.csv", 'query,document\n"two\nlines","three\n\nlines"\nshort\n')
    with pytest.raises(DataError, match=escape(f"{path}:6: 1 fields, but the header has 2 (query, document). Put")):
        list(read_csv(path))


@pytest.mark.parametrize("name", ["jsonl", "csv", "tsv", "json"])
def test_byte_that_is_not_utf8_is_named_with_line_and_offset(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, f"latin.{name}", "pytań\n".encode() + "zażółć".encode("cp1250"))
    expected = f"{path}:2: byte 0xbf at offset 9 of the file is not UTF-8. Save the file as UTF-8"
    with pytest.raises(DataError, match=escape(expected)):
        list(read_lines(path))
    with pytest.raises(DataError, match="not UTF-8" if name != "jsonl" else "1: not JSON"):
        list(READERS[name](path))


@pytest.mark.parametrize(("encoding", "mark"), [("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff")])
def test_utf16_is_named_as_such(tmp_path: Path, encoding: str, mark: bytes) -> None:
    path = write(tmp_path, "excel.csv", mark + "query,document\n".encode(encoding))
    expected = f"{path}:1: the file is UTF-16 (it begins with {mark.hex(' ')}), expected UTF-8. Save it as UTF-8."
    with pytest.raises(DataError, match=escape(expected)):
        list(read_csv(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"query": "a"}\n{"query": b}\n',
            ":2: not JSON (Expecting value: line 1 column 11 (char 10)): '{\"query\": b}'",
        ),
        (
            "[\n{}]\n",
            ":1: not JSON (Expecting value: line 2 column 1 (char 2)): '['. Each line must be one JSON object",
        ),
        (
            '{"query": "a"}\n\n["a"]\n',
            ":3: expected a JSON object such as {\"query\": ...}, got list ['a']. Write each",
        ),
        ('"a"\n', ":1: expected a JSON object such as {\"query\": ...}, got str 'a'. Write each row"),
        ('{"label": ' + "1" * 5000 + "}\n", ":1: not JSON (Exceeds the limit"),
    ],
)
def test_jsonl_names_the_line_that_is_no_object(tmp_path: Path, content: str, message: str) -> None:
    path = write(tmp_path, "bad.jsonl", content)
    with pytest.raises(DataError, match=escape(f"{path}{message}")):
        list(read_jsonl(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[\n {"q": 1},\n {"q": }\n]', ":3: not JSON (Expecting value: line 3 column 8 (char 20)): '}\\n]'. The file"),
        ('[\n {"q": 1}\n {"q": 2}\n]', ":3: no ',' or ']' after an object: '{\"q\": 2}\\n]'. The file must be a list"),
        ('[{"q": 1},\n]', ":2: not JSON (Expecting value: line 2 column 1 (char 11)): ']'. The file must be a list"),
        ('[{"q": 1}', ":1: no ',' or ']' after an object: ''. The file must be a list of JSON objects."),
        ('[{"q": 1}]\n{"q": 2}', ":2: text after the end of the list: '{\"q\": 2}'. The file must be a list"),
        ('[\n{"q": 1},\n7]', ':3: expected a JSON object such as {"query": ...}, got int 7. Write each row'),
    ],
)
def test_json_names_the_line_that_breaks_the_list(tmp_path: Path, content: str, message: str) -> None:
    path = write(tmp_path, "bad.json", content)
    with pytest.raises(DataError, match=escape(f"{path}{message}")):
        list(read_json(path))


def test_json_file_of_lines_is_read_as_jsonl_and_an_empty_list_has_no_rows(tmp_path: Path) -> None:
    assert list(read_json(write(tmp_path, "lines.json", '{"q": 1}\n{"q": 2}\n'))) == [(1, {"q": 1}), (2, {"q": 2})]
    assert list(read_json(write(tmp_path, "empty.json", " [ ] \n"))) == []


def test_a_field_may_be_longer_than_csv_allows(tmp_path: Path) -> None:
    text = "word " * 30_000
    path = write(tmp_path, "rows.csv", f'query,document\nshort,"{text}"\n')
    before = csv.field_size_limit(131_072)
    try:
        assert list(read_csv(path)) == [(2, {"query": "short", "document": text})]
    finally:
        csv.field_size_limit(before)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "q,d\na,b\nc\n",
            ":3: 1 fields, but the header has 2 (q, d). Put a text that holds ',' or a newline in double",
        ),
        ("q,d\na,b,c\n", ":2: 3 fields, but the header has 2 (q, d). Put a text that holds ','"),
        ('q,d\na,b\n"c,d\ne,f\n', ":3: the row that begins here cannot be read: unexpected end of data. A text"),
        (
            'q,d\n"a" b,c\n',
            ":2: the row that begins here cannot be read: ',' expected after '\"'. A text that holds ','",
        ),
        ("q,d,q\n1,2,3\n", ":1: the column 'q' is there twice. Rename one of them."),
    ],
)
def test_csv_names_the_line_where_the_broken_row_begins(tmp_path: Path, content: str, message: str) -> None:
    path = write(tmp_path, "bad.csv", content)
    with pytest.raises(DataError, match=escape(f"{path}{message}")):
        list(read_csv(path))


@pytest.mark.parametrize(
    "content",
    [
        'q\td\tlabel\na\tb\t1\nc\t"d\t0\ne\tf"\t1\ng\th\t0\n',
        'q\td\tlabel\na\tb\t1\nc\t"d\t0\n\ne\tf\t1\ng\th"\t0\n',
    ],
)
def test_rows_that_a_stray_quote_has_swallowed_are_not_lost_in_silence(tmp_path: Path, content: str) -> None:
    path = write(tmp_path, "stray.tsv", content)
    with pytest.raises(DataError, match=escape(f"{path}:3: a field that begins with a quote goes on")) as raised:
        list(read_tsv(path))
    assert r"to the next quote: 'd\t0\n" in str(raised.value)
    assert "JSONL" in str(raised.value)


def test_tsv_that_quotes_where_it_must_is_read(tmp_path: Path) -> None:
    """As pandas writes it: a quote is doubled, a tab or a newline is in quotes."""
    path = write(tmp_path, "pandas.tsv", 'q\td\n"say ""no"""\t"a\tb"\n"two\nlines"\tc\n')
    assert list(read_tsv(path)) == [(2, {"q": 'say "no"', "d": "a\tb"}), (3, {"q": "two\nlines", "d": "c"})]


def test_values_in_messages_are_cut() -> None:
    assert shorten("a" * 61) == f"'{'a' * 60}'..."
    assert shorten("a" * 60) == f"'{'a' * 60}'"
    assert shorten([1] * 100) == f"{str([1] * 100)[:60]}..."
