"""JSON files that others wrote: what is not JSON, and values of the wrong type, are named."""

import re
from pathlib import Path
from typing import Any

import pytest

from rankwright.errors import ModelFormatError, first_line
from rankwright.json_values import (
    COUNT,
    FLAG,
    LENGTH,
    OBJECT,
    POSITIVE,
    RATE,
    SIZE,
    TEXT,
    TEXTS,
    Expected,
    one_of_texts,
    read_json,
    read_object,
    value_of,
    whole,
)


@pytest.mark.parametrize(
    ("expected", "good", "bad"),
    [
        (SIZE, [1, 768], [0, -1, 1.0, True, "8", [8], 2**31]),
        (COUNT, [0, 8], [-1, 0.0, False, "0", {}]),
        (whole(2, 4), [2, 4], [1, 5, 3.0]),
        (RATE, [0, 0.1, 0.0], [1, -0.1, "0.1", True, float("nan")]),
        (POSITIVE, [1e-12, 3], [0, -1.0, float("inf"), float("nan"), "1e-12", True]),
        (LENGTH, [1, 512, 1e30, 10**30], [0, -1, "512", True, float("nan")]),
        (FLAG, [True, False], [0, 1, "true"]),
        (TEXT, ["", "a"], [1, ["a"]]),
        (OBJECT, [{}], [[], "a"]),
        (TEXTS, [[], ["a"]], ["a", [1], {"a": 1}]),
        (one_of_texts("a", "b"), ["a"], ["c", ["a"], 1]),
    ],
)
def test_values_are_what_they_are_expected_to_be(expected: Expected, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        assert value_of({"key": value}, "key", expected, "file.json") == value
    for value in bad:
        message = re.escape(f"file.json: 'key' is {value!r}, expected {expected.words}. Correct it there, or")
        with pytest.raises(ModelFormatError, match=message):
            value_of({"key": value}, "key", expected, "file.json")


def test_null_and_a_missing_key_stand_for_the_default() -> None:
    assert value_of({"key": None}, "key", SIZE, "file.json", 3) == 3
    assert value_of({}, "key", SIZE, "file.json") is None


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe{\x00}\x00", b"\xef\xbb\xbf{}", b"[" * 100_000, b'{"a":' * 100_000, b"\x00" * 8, b"1" * 5000],
    ids=["empty", "cut", "UTF-16", "BOM", "deep list", "deep object", "zeros", "huge number"],
)
def test_what_is_not_json_is_named_with_its_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ModelFormatError, match=r"a\.json is not JSON in UTF-8: .*Download the model again"):
        read_json(tmp_path / "a.json")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match=r"gone\.json cannot be read: No such file or directory\. Check"):
        read_json(tmp_path / "gone.json")


def test_an_object_is_empty_where_there_is_no_file_and_nothing_else_than_an_object(tmp_path: Path) -> None:
    assert read_object(tmp_path / "gone.json") == {}
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(ModelFormatError, match=r"a\.json: expected a JSON object, got list\. Download"):
        read_object(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("err", "line"),
    [
        (ValueError("Wrong.\nMore."), "Wrong."),
        (ValueError("Wrong field:\n    it is 3\nmore"), "Wrong field: it is 3."),
        (EOFError(), "EOFError."),
        (KeyError("mish"), "the key 'mish' is missing or unknown."),
        (ValueError("x" * 1000), "x" * 300 + "."),
    ],
)
def test_the_first_line_of_a_message_is_a_sentence(err: Exception, line: str) -> None:
    assert first_line(err) == line
