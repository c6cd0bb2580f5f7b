"""Embeddings in fewer bits, by hand-made values, and the ranges that their levels stand for."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rankwright import BiEncoder
from rankwright.errors import ConfigError, DataError
from rankwright.models.precision import (
    LEVELS,
    PRECISIONS,
    check_precision,
    quantize,
    ranges_of,
    ranges_path,
    read_ranges,
)

ROWS = np.array([[3.0, 4.0], [1.0, 0.0]], np.float32)
TEXTS = ["one text", "another text", "a third"]


def test_bits_are_the_signs_eight_to_a_byte() -> None:
    rows = np.array([[1, -1, 1, 1, 0, -1, 1, -1], [-1] * 8], np.float32)
    assert quantize(rows, "ubinary").tolist() == [[0b10110010], [0]]
    assert quantize(rows, "binary").tolist() == [[0b10110010 - 128], [-128]]
    assert quantize(rows, "binary").dtype == np.int8
    assert quantize(rows, "float32") is rows


def test_levels_are_between_the_smallest_and_largest_value() -> None:
    rows = np.array([[0.0, 5.0], [255.0, 5.0], [127.6, 5.0]], np.float32)
    assert quantize(rows, "uint8").tolist() == [[0, 0], [255, 0], [127, 0]]  # a dimension without spread is level 0
    assert quantize(rows, "int8")[:, 0].tolist() == [-128, 127, -1]
    ranges = np.array([[0.0, 0.0], [510.0, 10.0]])
    assert quantize(rows, "uint8", ranges_2E=ranges).tolist() == [[0, 127], [127, 127], [63, 127]]


def test_values_beyond_the_given_ranges_are_the_last_levels() -> None:
    rows = np.array([[-9.0, 9.0]], np.float32)
    assert quantize(rows, "uint8", ranges_2E=np.array([[0.0, 0.0], [1.0, 1.0]])).tolist() == [[0, 255]]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_no_rows_are_no_rows_of_the_type(precision: str) -> None:
    found = quantize(np.empty((0, 16), np.float32), precision)
    assert found.shape == (0, 2 if "binary" in precision else 16)
    assert found.dtype == quantize(np.ones((2, 16), np.float32), precision).dtype


@pytest.mark.parametrize("precision", LEVELS)
def test_the_range_of_one_text_is_an_error(precision: str) -> None:
    with pytest.raises(ConfigError, match=rf"precision='{precision}' for 1 text needs ranges=\(2, size\).*--ranges"):
        quantize(ROWS[:1], precision)
    assert ranges_of(ROWS, precision).tolist() == [[1.0, 0.0], [3.0, 4.0]]


@pytest.mark.parametrize(
    ("precision", "ranges", "message"),
    [
        ("int4", None, "precision='int4': expected one of float32, int8, uint8, binary, ubinary."),
        ("float32", ROWS, "ranges= has no effect with precision='float32', only with int8 and uint8. Leave it out."),
        ("int8", "docs", "ranges='docs': expected an array (2, 2) of numbers: the smallest and largest value"),
        ("int8", [[1.0], [2.0, 3.0]], "ranges=[[1.0], [2.0, 3.0]]: expected an array (2, 2) of numbers"),
        ("int8", [1.0, 2.0], "ranges have the shape (2,), expected (2, 2): the smallest and largest value of each"),
        ("uint8", np.zeros((2, 3)), "ranges have the shape (2, 3), expected (2, 2)"),
        ("uint8", [[0.0, 2.0], [1.0, 1.0]], "ranges of dimension 1 are from 2 to 1, expected two finite numbers, the"),
        ("int8", [[0.0, 0.0], [1.0, np.nan]], "ranges of dimension 1 are from 0 to nan, expected two finite numbers"),
        ("int8", [[-np.inf, 0.0], [1.0, 1.0]], "ranges of dimension 0 are from -inf to 1"),
    ],
)
def test_what_does_not_fit_the_embeddings_is_refused(precision: str, ranges: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_precision(precision, ranges, 2)
    assert str(caught.value).startswith(message)


def test_ranges_come_in_any_form_of_an_array() -> None:
    assert check_precision("int8", None, 2) is None
    found = check_precision("int8", [[1, 2], [1, 3]], 2)
    assert found is not None
    assert found.dtype == np.float32
    assert found.tolist() == [[1.0, 2.0], [1.0, 3.0]]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_encode_gives_each_precision(tiny: Any, precision: str) -> None:
    model = BiEncoder(tiny.bi_encoder("bert"), dtype="float32")
    rows = model.encode(TEXTS)
    np.testing.assert_array_equal(model.encode(TEXTS, precision=precision), quantize(rows, precision))
    ranges = ranges_of(rows, precision) if precision in LEVELS else None
    one = model.encode(TEXTS[0], precision=precision, ranges=ranges)
    np.testing.assert_array_equal(one, quantize(rows[:1], precision, ranges_2E=ranges)[0])


def test_ranges_are_those_of_the_truncated_embeddings(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = BiEncoder(tiny.bi_encoder("bert"), dtype="float32")
    ranges = ranges_of(model.encode(TEXTS, truncate_dim=8), "int8")
    assert model.encode(TEXTS[0], precision="int8", ranges=ranges, truncate_dim=8).shape == (8,)
    monkeypatch.setattr(model, "_run", lambda *_, **__: pytest.fail("a text was encoded"))
    with pytest.raises(ConfigError, match=r"ranges have the shape \(2, 8\), expected \(2, 32\)"):
        model.encode(TEXTS[0], precision="int8", ranges=ranges)


def test_ranges_lie_beside_the_embeddings(tmp_path: Path) -> None:
    path = ranges_path(tmp_path / "docs.v2.npy")
    assert path.name == "docs.v2.ranges.npy"
    with pytest.raises(DataError, match=r"docs.v2.ranges.npy: there is no such file; expected a .ranges.npy file that"):
        read_ranges(path)
    np.save(path, ROWS)
    np.testing.assert_array_equal(read_ranges(path), ROWS)
    for content in (b"", b"text", path.read_bytes()[:-1]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"docs.v2.ranges.npy: .*; expected a .ranges.npy file that `rankwright"):
            read_ranges(path)
