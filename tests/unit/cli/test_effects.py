"""Options that could not act are refused, and places that cannot be written are found before the work."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rankwright.text.tokenizer import Tokenizer
from tests.unit.cli.command import run
from tests.unit.workflow.small_data import DOCUMENTS, beir_folder, write_rows


@pytest.fixture
def names(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Words of commands and what they stand for, in a new working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ok.txt").write_text("Lima\nCusco\n")
    np.save(tmp_path / "ranges.npy", np.zeros((2, 3)))
    run_file = "".join(f"q{i} Q0 d{i % 10} 1 1.0 run\n" for i in range(20))
    (tmp_path / "first.run").write_text(run_file)
    yield {
        "BI": str(tiny.bi_encoder("bert")),
        "CROSS": str(tiny.cross_encoder("bert")),
        "BEIR": str(beir_folder(tmp_path / "beir")),
    }


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("evaluate BI BEIR --measures foo", 2, "unknown measure 'foo'"),
        ("evaluate CROSS BEIR --dims 8", 2, "has no effect on a cross-encoder"),
        ("evaluate BI BEIR --first-stage first.run", 2, "--first-stage has no effect on a bi-encoder"),
        ("evaluate BI BEIR --column query=text", 2, "--column has no effect on"),
        ("evaluate BI BEIR --top-k 0", 2, "--top-k"),
        ("rank BI query ok.txt --top-k -1", 2, "--top-k"),
        ("bench BI --column text", 2, "--column text has no effect without a FILE"),
        ("evaluate BI BEIR --out beir", 2, "--out beir: this is a folder"),
        ("evaluate BI BEIR --out ok.txt/x.json", 1, "ok.txt"),
        ("encode BI ok.txt --out ok.txt/x.npy", 1, "ok.txt"),
        ("encode BI ok.txt --out e.npy --ranges r.npy --precision int8", 1, "r.npy: there is no such file"),
        ("encode BI ok.txt --out e.npy --ranges ok.txt --precision int8", 1, "expected a .ranges.npy file that"),
        ("encode BI ok.txt --out e.npy --ranges ranges.npy --precision int8", 2, "shape (2, 3), expected (2, 32)"),
        ("encode BI ok.txt --out e.npy --ranges ranges.npy", 2, "ranges= has no effect with precision='float32'"),
        ("encode BI ok.txt --out e.npy --precision int4", 2, "precision='int4': expected one of"),
        ("card missing --out ok.txt/x.md", 1, "ok.txt"),
        ("train --kind bi-encoder --base BI --train BEIR --out ok.txt", 2, "a file is in the way"),
    ],
)
def test_it_is_said_before_any_text_is_encoded(
    names: dict[str, str], monkeypatch: pytest.MonkeyPatch, command: str, code: int, words: str
) -> None:
    monkeypatch.setattr(Tokenizer, "batch", lambda *args, **options: pytest.fail("a text was encoded"))
    done = run(*(names.get(word, word) for word in command.split()))
    assert done.code == code, done.err
    assert words in done.err
    assert "Traceback" not in done.err


def test_a_cross_encoder_takes_the_first_stage(names: dict[str, str]) -> None:
    done = run("evaluate", names["CROSS"], names["BEIR"], "--first-stage", "first.run")
    assert done.code == 0, done.err
    assert "first stage" in done.out


def test_a_ranking_of_rows_numbers_documents(names: dict[str, str], tmp_path: Path) -> None:
    table = write_rows(tmp_path / "documents.jsonl", ({"text": text} for text in DOCUMENTS))
    done = run("rank", names["CROSS"], "query", table)
    assert "document" in done.out.splitlines()[1]
    assert "line" not in done.out.splitlines()[1]
