"""How a run goes, on stderr: sentences, and loss, tokens/s and time left.

In: rows of metrics.jsonl. Out: lines; on a terminal one line that is written over.
"""

import sys
import time
from collections.abc import Mapping

from rankwright.cli.printing import say
from rankwright.workflow.runs import Watch

SECONDS_BETWEEN_LINES = 10.0


def terminal_watch() -> Watch:
    """A `Watch` that writes to stderr."""
    last_s = [0.0]
    is_terminal = sys.stderr.isatty()

    def log(row: Mapping[str, object]) -> None:
        now_s = time.monotonic()
        is_evaluation = "loss" not in row
        is_last = row["step"] == row["num_steps"]
        if not (is_evaluation or is_last or is_terminal or now_s - last_s[0] >= SECONDS_BETWEEN_LINES):
            return
        last_s[0] = now_s
        line = evaluation_line(row) if is_evaluation else step_line(row)
        over = is_terminal and not is_evaluation
        sys.stderr.write(("\r\x1b[K" if is_terminal else "") + line + ("" if over and not is_last else "\n"))
        sys.stderr.flush()

    return Watch(say=say, log=log)


def step_line(row: Mapping[str, object]) -> str:
    """One step in words."""
    left_s = int(float(str(row["time_left_s"])))
    return (
        f"step {row['step']}/{row['num_steps']}  loss {row['loss']:.4f}  {row['tokens_per_s']:,.0f} tokens/s  "
        f"{left_s // 60}:{left_s % 60:02d} left"
    )


def evaluation_line(row: Mapping[str, object]) -> str:
    """One evaluation in words."""
    measured = ((key, value) for key, value in row.items() if key.startswith("eval_") and isinstance(value, float))
    shown = [f"{key.removeprefix('eval_')} {value:.4f}" for key, value in measured]
    return f"step {row['step']}/{row['num_steps']}  evaluation: {'  '.join(shown[:6])}"
