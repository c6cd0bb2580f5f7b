"""What an evaluation found: numbers, intervals and each query's values, as JSON and as table rows.

In: values per query. Out: `Evaluation`, read and written by the run folder. Letters: B queries.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from rankwright.errors import DataError
from rankwright.evaluation.bootstrap import interval, resample_counts
from rankwright.files import write_json

Task = Literal["retrieval", "reranking", "classification", "similarity"]

UNTRAINED = "untrained"
"""The system name of a model whose head is still random: shown, and never compared with."""


@dataclass(frozen=True)
class Evaluation:
    """One system measured on one data set.

    Attributes:
        task: what was asked of the system.
        dataset: name of the data set.
        system: "model", "base", "BM25", "first stage", "untrained", "longer text" ...
        measures: values by name.
        intervals: 95 % bootstrap interval of each measure, over queries (over pairs for labelled pairs).
        primary: the measure that systems are compared by.
        num_queries: queries that were measured; pairs for labelled pairs.
        dim: length of the embeddings, where there are any.
        similarity: how embeddings were compared, where there are any.
        parameters: settings worth keeping with the numbers.
        query_ids: ids of the queries; positions in the data set for labelled pairs.
        per_query: value of each measure for each query; for labelled pairs "score" and "label" (or "prediction" and
            "label") of each pair, from which their measures are computed.
    """

    task: Task
    dataset: str
    system: str
    measures: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    primary: str
    num_queries: int
    dim: int | None = None
    similarity: str | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)
    query_ids: tuple[str, ...] = ()
    per_query: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """The evaluation as an object that `json` writes."""
        return asdict(self)

    @classmethod
    def from_json(cls, facts: Mapping[str, object]) -> "Evaluation":
        """The evaluation that `to_json` made an object of; keys that a newer version writes are ignored.

        Args:
            facts: the object.

        Returns:
            An equal evaluation.

        Raises:
            DataError: not an object, a key is missing, or the task is not one of ours.
        """
        if not isinstance(facts, Mapping):
            raise DataError(f"not an evaluation: expected an object, found {type(facts).__name__}.")
        missing = [item.name for item in fields(cls) if item.name not in facts]
        if missing:
            raise DataError(f"not an evaluation: {', '.join(missing)} missing; found {', '.join(facts)}.")
        if facts["task"] not in get_args(Task):
            raise DataError(f"unknown task {facts['task']!r} of an evaluation; known: {', '.join(get_args(Task))}.")
        known = {item.name: facts[item.name] for item in fields(cls)}
        known["query_ids"] = tuple(facts["query_ids"])  # type: ignore[arg-type]
        for name in ("intervals", "per_query"):
            known[name] = {key: tuple(values) for key, values in facts[name].items()}  # type: ignore[attr-defined]
        return cls(**known)  # type: ignore[arg-type]


def evaluation_of_queries(
    query_ids: Sequence[str],
    values: Mapping[str, np.ndarray],
    *,
    task: Task,
    dataset: str,
    system: str,
    parameters: Mapping[str, object],
) -> Evaluation:
    """The evaluation whose measures are means over queries.

    Args:
        query_ids: ids of the B queries.
        values: values_B of each measure; the first is the primary one.
        task: what was asked of the system.
        dataset: name of the data set.
        system: who was measured.
        parameters: settings worth keeping with the numbers.

    Returns:
        The evaluation with means and intervals.
    """
    names = list(values)
    values_BM = np.stack([values[name] for name in names], axis=1)
    mean_RM = np.concatenate([counts_RB @ values_BM for counts_RB in resample_counts(len(query_ids))]) / len(query_ids)
    return Evaluation(
        task=task,
        dataset=dataset,
        system=system,
        measures={name: float(values[name].mean()) for name in names},
        intervals={name: interval(mean_RM[:, i]) for i, name in enumerate(names)},
        primary=names[0],
        num_queries=len(query_ids),
        parameters=parameters,
        query_ids=tuple(query_ids),
        per_query={name: tuple(values[name].tolist()) for name in names},
    )


def write_evaluations(path: Path, evaluations: Sequence[Evaluation]) -> None:
    """Write evaluations as a JSON list.

    Args:
        path: the file; its folder exists.
        evaluations: what to write.
    """
    facts = [evaluation.to_json() for evaluation in evaluations]
    write_json(path, facts)


def read_evaluations(path: Path) -> list[Evaluation]:
    """Read what `write_evaluations` wrote.

    Args:
        path: the file.

    Returns:
        Equal evaluations, in order.

    Raises:
        DataError: the file is not a JSON list of evaluations.
    """
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(facts, list):
            raise DataError(f"expected a list of evaluations, found {type(facts).__name__}.")
        return [Evaluation.from_json(item) for item in facts]
    except ValueError as err:
        raise DataError(f"{path}: {err}") from err


def table_rows(evaluations: Sequence[Evaluation], measures: Sequence[str] | None = None) -> list[list[str]]:
    """Evaluations as a table of words, for a terminal or a page to draw.

    Args:
        evaluations: one row each.
        measures: one column each; None: all measures of the first evaluation but thresholds.

    Returns:
        The head, then the rows: system, dimensions (where any has them), then measures, the primary one with its
        interval; "-" where an evaluation lacks a measure.
    """
    if measures is None:
        measures = [name for name in evaluations[0].measures if not name.endswith("_threshold")]
    has_dims = any(evaluation.dim is not None for evaluation in evaluations)
    rows = [["system", *(["dim"] if has_dims else []), *measures]]
    for evaluation in evaluations:
        dim = "-" if evaluation.dim is None else str(evaluation.dim)
        cells = [_cell(evaluation, measure) for measure in measures]
        rows.append([evaluation.system, *([dim] if has_dims else []), *cells])
    return rows


def _cell(evaluation: Evaluation, measure: str) -> str:
    if measure not in evaluation.measures:
        return "-"
    text = f"{evaluation.measures[measure]:.4f}"
    if measure == evaluation.primary and measure in evaluation.intervals:
        low, high = evaluation.intervals[measure]
        text += f" [{low:.4f}, {high:.4f}]"
    return text
