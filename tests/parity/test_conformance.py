"""Every family, layout and part of a checkpoint gives the numbers of sentence-transformers 6.2.0, in both engines.

With COMPATIBILITY=write (`make compatibility`) the table of docs/compatibility.md is written from what is measured.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rankwright.errors import ConfigError, ModelFormatError
from tests.parity.compatibility import BEGIN, COLUMNS, DOCUMENT, END, UNMEASURED, names, rows_in, table_of, with_table
from tests.parity.conformance import CASES, Case
from tests.parity.reference import ENGINES, our_bi_encoder, our_cross_encoder
from tests.parity.refusals import REFUSALS, Refusal
from tests.tolerances import TOL, assert_agrees, excess

Arrays = list[np.ndarray]
WRITES = os.environ.get("COMPATIBILITY") == "write"

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@pytest.fixture(scope="module")
def measured() -> Iterator[dict[tuple[Case, str], float]]:
    """The largest difference by case and column; written into the document where that is asked for."""
    found: dict[tuple[Case, str], float] = {}
    yield found
    if WRITES:
        wanted = [(case, column) for case in CASES for column in COLUMNS[case.is_native]]
        missing = [f"{case.name}: {column}" for case, column in wanted if (case, column) not in found]
        assert not missing, f"not measured, so that no table is written: {missing}"
        DOCUMENT.write_text(with_table(DOCUMENT.read_text(encoding="utf-8"), table_of(found)), encoding="utf-8")


@pytest.fixture(scope="module")
def answers() -> dict[Case, Arrays]:
    """What the reference says to each case, asked once."""
    return {}


def ours(case: Case, folder: Path, engine: str) -> Any:
    """Our model of the case."""
    return (our_bi_encoder if case.kind == "bi-encoder" else our_cross_encoder)(folder, engine)


def ask(case: Case, model: Any) -> Arrays:
    """What the model answers, as arrays."""
    answer = case.ask(model)
    return [np.asarray(part) for part in answer] if isinstance(answer, list) else [np.asarray(answer)]


def expected_of(case: Case, tiny: Any, answers: dict[Case, Arrays]) -> Arrays:
    if case not in answers:
        answers[case] = ask(case, case.reference(case.build(tiny)))
    return answers[case]


def compare(case: Case, actual: Arrays, expected: Arrays, what: str) -> float:
    """The largest difference, as a share of the value's size where that is over 1; fails beyond the tolerance."""
    assert len(actual) == len(expected)
    for got, want in zip(actual, expected, strict=True):
        assert_agrees(got, want, case.op, what=f"{case.name}, {what}")
    scale = TOL["float32", case.op]["atol"]
    return max(excess(got, want, case.op) * scale for got, want in zip(actual, expected, strict=True))


@pytest.mark.parametrize("engine", ENGINES)
@each_case
def test_a_model_gives_the_same(case: Case, engine: str, tiny: Any, answers: Any, measured: Any) -> None:
    folder = case.build(tiny)
    if engine == "openvino" and not case.is_native:
        with pytest.raises(ConfigError, match=f"engine='openvino' has no graph for {case.family} models"):
            ask(case, ours(case, folder, engine))
        return
    actual = ask(case, ours(case, folder, engine))
    measured[case, engine] = compare(case, actual, expected_of(case, tiny, answers), engine)


@each_case
def test_a_model_that_we_saved_gives_the_same_in_st_and_in_ours(
    case: Case, tiny: Any, tmp_path: Path, answers: Any, measured: Any
) -> None:
    ours(case, case.build(tiny), "torch").save(tmp_path / "saved")
    expected = expected_of(case, tiny, answers)
    again = ask(case, ours(case, tmp_path / "saved", "torch"))
    compare(case, again, expected, "saved and opened by rankwright")
    theirs = ask(case, case.reference(tmp_path / "saved"))
    measured[case, "saved"] = compare(case, theirs, expected, "saved by rankwright, opened by sentence-transformers")


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.what)
def test_what_is_not_supported_is_refused_with_the_reason(refusal: Refusal, tiny: Any, tmp_path: Path) -> None:
    folder = refusal.build(tiny, tmp_path / "model")
    with pytest.raises(ModelFormatError, match=re.escape(refusal.why)):
        (our_bi_encoder if refusal.kind == "bi-encoder" else our_cross_encoder)(folder)


@pytest.mark.skipif(WRITES, reason="the table is being written")
def test_the_committed_table_has_exactly_the_cases_of_this_suite() -> None:
    rows = rows_in(DOCUMENT.read_text(encoding="utf-8"))
    assert [row[: len(name)] for row, name in zip(rows, names(), strict=False)] == names(), "run `make compatibility`"
    assert len(rows) == len(names()), "run `make compatibility`"
    values = [value for row in rows[: len(CASES)] for value in row[3:]]
    assert all(re.fullmatch(r"0|<= 1e-\d+", value) or value == UNMEASURED for value in values), values


def test_a_difference_is_rounded_up_to_a_power_of_ten_and_kept_apart_from_none() -> None:
    case = CASES[0]
    for difference, text in ((0.0, "0"), (1e-7, "<= 1e-7"), (1.1e-7, "<= 1e-6"), (9.9e-7, "<= 1e-6")):
        measured = {(c, column): difference for c in CASES for column in COLUMNS[c.is_native]}
        rows = rows_in(with_table(f"{BEGIN}{END}", table_of(measured)))
        assert rows[0] == (case.what, case.family, case.kind, text, text, text)
