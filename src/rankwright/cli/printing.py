"""What people read: results on stdout, how the work goes on stderr.

In: evaluations, comparisons, rows, sentences. Out: text.
"""

import json
import sys
from collections.abc import Sequence
from typing import Any

from rankwright.evaluation import Comparison, Evaluation, table_rows

MOST_COLUMNS = 8

SHOWN = ("ndcg@10", "mrr@10", "map@100", "accuracy@1", "recall@10", "ap", "f1", "accuracy", "f1_macro")
"""Measures of a table that would be too wide with all of them."""


def say(text: str) -> None:
    """A sentence on stderr, at once."""
    print(text, file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    is_unicode = (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    sys.stdout.write(json.dumps(value, ensure_ascii=not is_unicode, indent=2) + "\n")


def print_table(rows: Sequence[Sequence[str]], *, title: str = "") -> None:
    """A table: the first row is its head; columns that hold numbers are right-aligned."""
    from rich.console import Console
    from rich.table import Table

    head, *body = rows
    table = Table(title=title or None, title_justify="left", header_style="bold")
    for i, name in enumerate(head):
        is_number = all(row[i][:1].isdigit() or row[i][:1] in "-+" for row in body)
        table.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for row in body:
        table.add_row(*row)
    # Texts of users: "[1]" is no markup there, and ":key:" no emoji.
    console = Console(markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(width=200, markup=False, emoji=False)
    console.print(table)


def print_evaluations(evaluations: Sequence[Evaluation]) -> None:
    """One table for each task and data set; a wide one shows the measures of `SHOWN` only."""
    groups: dict[tuple[str, str], list[Evaluation]] = {}
    for evaluation in evaluations:
        groups.setdefault((evaluation.task, evaluation.dataset), []).append(evaluation)
    for (task, dataset), group in groups.items():
        names = list(dict.fromkeys(name for evaluation in group for name in evaluation.measures))
        shown = names if len(names) <= MOST_COLUMNS else [n for n in names if n in SHOWN or n == group[0].primary]
        print_table(table_rows(group, shown), title=f"{task} on {dataset}")
        if len(shown) < len(names):
            sys.stdout.write(f"({len(names) - len(shown)} more measures with --json)\n")


def print_comparisons(comparisons: Sequence[Comparison]) -> None:
    """A sentence for each comparison."""
    for c in comparisons:
        sys.stdout.write(comparison_line(c) + "\n")


def comparison_line(c: Comparison) -> str:
    """Difference, interval and verdict in one line."""
    verdicts = {"better": "better than", "worse": "WORSE than", "no difference shown": "no difference shown from"}
    return (
        f"{c.measure} {c.value:.4f}: {verdicts[c.verdict]} {c.reference} ({c.reference_value:.4f}), "
        f"difference {c.difference:+.4f} [{c.low:+.4f}, {c.high:+.4f}], p = {c.p_value:.2g}"
    )
