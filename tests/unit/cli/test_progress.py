"""How a run goes, in lines on stderr."""

import io
import sys

import pytest

from rankwright.cli import progress
from rankwright.cli.progress import evaluation_line, step_line, terminal_watch

STEP = {"step": 3, "num_steps": 10, "loss": 0.69314, "tokens_per_s": 3100.4, "time_left_s": 125.9}
EVALUATION = {"step": 4, "num_steps": 10, "eval_ndcg@10": 0.5, "eval_loss": None, "saved": True, "time_left_s": 1.0}


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_step_in_words() -> None:
    assert step_line(STEP) == "step 3/10  loss 0.6931  3,100 tokens/s  2:05 left"


def test_an_evaluation_in_words_shows_numbers_only() -> None:
    assert evaluation_line(EVALUATION) == "step 4/10  evaluation: ndcg@10 0.5000"


def test_in_a_file_a_line_every_ten_seconds_each_evaluation_and_the_last_step(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, now_s = io.StringIO(), iter([100.0, 105.0, 111.0, 112.0, 113.0])
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now_s))
    watch = terminal_watch()
    for row in (STEP, STEP | {"step": 4}, STEP | {"step": 5}, EVALUATION, STEP | {"step": 10}):
        watch.log(row)
    assert [line.split("  ")[0] for line in stream.getvalue().splitlines()] == [
        "step 3/10",
        "step 5/10",
        "step 4/10",
        "step 10/10",
    ]
    assert "\r" not in stream.getvalue()


def test_on_a_terminal_a_step_is_written_over_and_an_evaluation_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    watch = terminal_watch()
    watch.log(STEP)
    watch.log(EVALUATION)
    watch.say("measuring")
    over = "\r\x1b[K"
    assert stream.getvalue() == f"{over}{step_line(STEP)}{over}{evaluation_line(EVALUATION)}\nmeasuring\n"
