"""What people read: tables and sentences on stdout."""

import json
from pathlib import Path

import pytest

from rankwright.cli.printing import comparison_line, print_json, print_table
from rankwright.evaluation import Comparison

FACTS = {
    "measure": "ndcg@10",
    "value": 0.71236,
    "reference": "base",
    "reference_value": 0.6,
    "difference": 0.11236,
    "low": 0.08,
    "high": 0.15,
    "p_value": 0.00012,
    "num_queries": 100,
}


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("better", "better than base"),
        ("worse", "WORSE than base"),
        ("no difference shown", "no difference shown from base"),
    ],
)
def test_a_comparison_is_a_sentence_that_shouts_where_it_is_worse(verdict: str, words: str) -> None:
    assert comparison_line(Comparison(**FACTS, verdict=verdict)) == (
        f"ndcg@10 0.7124: {words} (0.6000), difference +0.1124 [+0.0800, +0.1500], p = 0.00012"
    )


def test_json_keeps_letters_and_can_be_read_again(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"query": "zażółć", "score": 0.1})
    out = capsys.readouterr().out
    assert "zażółć" in out
    assert json.loads(out) == {"query": "zażółć", "score": 0.1}


def test_a_table_shows_every_cell(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([["system", "ndcg@10"], ["base", "0.5000"], ["a [bold]text[/] of :key:", "0.6000"]], title="on data")
    out = capsys.readouterr().out
    for cell in ("on data", "system", "ndcg@10", "base", "0.5000", "0.6000"):
        assert cell in out
    assert "a [bold]text[/] of :key:" in out, "texts of users are no markup"


def test_help_texts_are_those_of_the_verbs() -> None:
    golden = Path(__file__).parents[2] / "golden" / "help"
    from rankwright.cli.app import app

    names = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert names | {"rankwright"} == {path.stem for path in golden.glob("*.txt")}
