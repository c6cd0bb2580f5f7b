"""What people read: tables and sentences on stdout, the progress of a run on stderr."""

import io
import json
from pathlib import Path

import pytest

from rankwright.cli import progress
from rankwright.cli.printing import comparison_line, print_json, print_table
from rankwright.cli.progress import evaluation_line, step_line, terminal_watch

FACTS = {
    "measure": "ndcg@10",
    "value": 0.71236,
    "reference": "base",
    "reference_value": 0.6,
    "difference": 0.11236,
    "low": 0.08,
    "high": 0.15,
    "p_value": 0.00012,
}
STEP = {"step": 7, "num_steps": 200, "loss": 0.123456, "tokens_per_s": 12345.6, "time_left_s": 125.7}
EVALUATION = {"step": 7, "num_steps": 200, "eval_ndcg@10": 0.5, "eval_loss": None, "saved": True}


class Terminal(io.StringIO):
    """A stderr that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("better", "better than base"),
        ("worse", "WORSE than base"),
        ("no difference shown", "no difference shown from base"),
    ],
)
def test_a_comparison_is_a_sentence_that_shouts_where_it_is_worse(verdict: str, words: str) -> None:
    assert comparison_line(FACTS | {"verdict": verdict}) == (
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


def test_a_step_and_an_evaluation_in_words() -> None:
    assert step_line(STEP) == "step 7/200  loss 0.1235  12,346 tokens/s  2:05 left"
    assert evaluation_line(EVALUATION) == "step 7/200  evaluation: ndcg@10 0.5000"


def test_a_file_gets_a_line_now_and_then_and_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [100.0]
    stderr = io.StringIO()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now_s[0])
    monkeypatch.setattr("sys.stderr", stderr)
    watch = terminal_watch()
    for step in range(1, 25):
        watch.log(STEP | {"step": step, "num_steps": 24})
        now_s[0] += 1.0
    watch.log(EVALUATION)
    lines = stderr.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == ["1/24", "11/24", "21/24", "24/24", "7/200"]
    assert "\r" not in stderr.getvalue()


def test_a_terminal_gets_one_line_that_is_written_over(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Terminal()
    monkeypatch.setattr("sys.stderr", stderr)
    watch = terminal_watch()
    watch.log(STEP)
    watch.log(STEP | {"step": 8})
    watch.log(EVALUATION | {"step": 8})
    watch.log(STEP | {"step": 200})
    assert stderr.getvalue().count("\r\x1b[K") == 4
    assert stderr.getvalue().count("\n") == 2  # after the evaluation, and after the last step


def test_sentences_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    terminal_watch().say("measuring the references")
    assert capsys.readouterr() == ("", "measuring the references\n")


def test_help_texts_are_those_of_the_verbs() -> None:
    golden = Path(__file__).parents[2] / "golden" / "help"
    from rankwright.cli.app import app

    names = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert names | {"rankwright"} == {path.stem for path in golden.glob("*.txt")}
