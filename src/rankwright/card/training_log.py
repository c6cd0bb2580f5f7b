"""The training log as one table: a row wherever the loss was logged or the model evaluated.

In: the rows of `metrics.jsonl`. Out: a Markdown table, with the row of the saved checkpoint bold.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rankwright.card.markdown import number, table

FOLD_ABOVE = 100
"""Rows above which the card folds the table away."""


@dataclass(frozen=True)
class TrainingLog:
    """The table, and what must be said about it."""

    table: str
    num_rows: int
    has_saved_row: bool

    @property
    def is_folded(self) -> bool:
        """Whether the table is too long to stand open."""
        return self.num_rows > FOLD_ABOVE


def training_log(
    metrics: Sequence[Mapping[str, object]], *, logging_steps: int, best_step: int, primary: str | None
) -> TrainingLog | None:
    """Make the table of a run.

    Steps between two logged ones count in the loss of the second, which is their mean, as in transformers' logs.

    Args:
        metrics: the rows of `metrics.jsonl`, by step.
        logging_steps: a row of training loss is shown every so many steps.
        best_step: the step of the saved checkpoint, whose row is bold.
        primary: the measure whose columns are shown, where the evaluations have several.

    Returns:
        The log, or None where nothing was logged.
    """
    rows = _rows_by_step(metrics, logging_steps)
    if not rows:
        return None
    columns = _columns(rows, primary)
    lines = []
    for step, row in rows.items():
        epoch = row.get("epoch")
        cells = [f"{epoch:.4f}" if isinstance(epoch, int | float) else "-", str(step)]
        cells += [_cell(row.get(column)) for column in columns]
        lines.append([f"**{cell}**" if step == best_step else cell for cell in cells])
    header = ["Epoch", "Step", *(_title(column) for column in columns)]
    return TrainingLog(table=table(header, lines), num_rows=len(lines), has_saved_row=best_step in rows)


def _rows_by_step(metrics: Sequence[Mapping[str, object]], logging_steps: int) -> dict[int, dict[str, object]]:
    """One row a step: the mean loss since the row before it, and the evaluation of that step."""
    rows: dict[int, dict[str, object]] = {}
    window: list[float] = []
    steps = [int(row["step"]) for row in metrics if "loss" in row]  # type: ignore[call-overload]
    last = steps[-1] if steps else None
    for row in metrics:
        step = int(row["step"])  # type: ignore[call-overload]
        shown = {key: value for key, value in row.items() if key.startswith("eval_")}
        loss = row.get("loss")
        if isinstance(loss, int | float):
            window.append(loss)
            if step % logging_steps == 0 or step == last:
                shown["loss"] = math.fsum(window) / len(window)
                window = []
        if shown:
            rows.setdefault(step, {}).update({"epoch": row.get("epoch"), **shown})
    return rows


def _columns(rows: Mapping[int, Mapping[str, object]], primary: str | None) -> list[str]:
    """Training loss, losses of the evaluation, then its measures in the order in which they first appear."""
    seen = dict.fromkeys(key for row in rows.values() for key in row if key not in ("epoch", "loss"))
    losses = [key for key in seen if key.endswith("loss")]
    measures = [key for key in seen if not key.endswith("loss")]
    primaries = [key for key in measures if primary and key.endswith(f"_{primary}")]
    return ["loss"] * any("loss" in row for row in rows.values()) + losses + (primaries or measures)


def _title(column: str) -> str:
    return {"loss": "Training Loss", "eval_loss": "Validation Loss"}.get(column, column.removeprefix("eval_"))


def _cell(value: object) -> str:
    return number(float(value)) if isinstance(value, int | float) else "-"
