"""Is one system better than another? The paired test over the queries that both answered.

In: two evaluations of one data set. Out: `Comparison`. Letters: N shared queries (pairs), R resamples.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from rankwright.errors import ConfigError, DataError
from rankwright.evaluation.bootstrap import CONFIDENCE, flip_p_value, interval, resample_counts
from rankwright.evaluation.pairs import pair_measures
from rankwright.evaluation.report import UNTRAINED, Evaluation, Task

Verdict = Literal["better", "worse", "no difference shown"]


@dataclass(frozen=True)
class Comparison:
    """A system against a reference on one measure.

    Attributes:
        measure: what was compared.
        reference: the system compared with.
        reference_value: its value over the shared queries.
        value: the value of the system in question.
        difference: value - reference_value.
        low: lower end of the 95 % interval of the difference.
        high: its upper end.
        p_value: how likely so large a difference would be if there were none.
        verdict: "better" or "worse" where the interval excludes 0 and p < 0.05.
        num_queries: shared queries (pairs for labelled pairs).
    """

    measure: str
    reference: str
    reference_value: float
    value: float
    difference: float
    low: float
    high: float
    p_value: float
    verdict: Verdict
    num_queries: int

    def to_json(self) -> dict[str, object]:
        """The comparison as an object that `json` writes."""
        return asdict(self)


def compare(evaluation: Evaluation, reference: Evaluation, *, measure: str | None = None) -> Comparison:
    """Compare a system with a reference, query by query.

    The interval is a paired bootstrap. For measures that are means over queries the p-value is that of a randomisation
    test, which holds for few queries too; for measures of all pairs together (such as "ap") it is the bootstrap's, but
    never below 2 / 2^N, the least that a randomisation test of N pairs could give.

    Args:
        evaluation: the system in question.
        reference: what it is compared with.
        measure: None: the primary measure of `evaluation`.

    Returns:
        The comparison, over the queries that are in both.

    Raises:
        ConfigError: the measure is not in both evaluations, or is a threshold.
        DataError: different tasks or data sets, or no shared query.
    """
    measure = measure or evaluation.primary
    if (evaluation.task, evaluation.dataset) != (reference.task, reference.dataset):
        raise DataError(
            f"cannot compare {evaluation.task} on {evaluation.dataset!r} with {reference.task} on "
            f"{reference.dataset!r}: evaluate both systems on the same data."
        )
    known = [name for name in evaluation.intervals if name in reference.intervals]
    if measure not in known:
        raise ConfigError(f"cannot compare by {measure!r}: measures of both evaluations are {', '.join(known)}.")
    shared = set(evaluation.query_ids) & set(reference.query_ids)
    if not shared:
        raise DataError(f"{evaluation.system!r} and {reference.system!r} have no query in common.")
    query_ids = [query_id for query_id in evaluation.query_ids if query_id in shared]
    ours, theirs = _columns(evaluation, query_ids), _columns(reference, query_ids)
    if "label" in ours and not np.array_equal(ours["label"], theirs["label"]):
        raise DataError(f"{evaluation.system!r} and {reference.system!r} were measured on different labels.")

    once_1N, task = np.ones((1, len(query_ids))), evaluation.task
    value = float(_values(ours, once_1N, measure, task)[0])
    reference_value = float(_values(theirs, once_1N, measure, task)[0])
    drawn = resample_counts(len(query_ids))
    parts = [_values(ours, counts, measure, task) - _values(theirs, counts, measure, task) for counts in drawn]
    difference_R = np.concatenate(parts)
    low, high = interval(difference_R)
    if "label" in ours:
        p_value = _bootstrap_p_value(difference_R, len(query_ids))
    else:
        p_value = flip_p_value(ours[measure] - theirs[measure])
    return Comparison(
        measure=measure,
        reference=reference.system,
        reference_value=reference_value,
        value=value,
        difference=value - reference_value,
        low=low,
        high=high,
        p_value=p_value,
        verdict=_verdict(low, high, p_value),
        num_queries=len(query_ids),
    )


def stronger(
    evaluation: Evaluation, others: Sequence[Evaluation], *, reference: str, measure: str | None = None
) -> list[Comparison]:
    """Those systems beside the reference that are shown to be better, the strongest first.

    Args:
        evaluation: the system in question.
        others: systems, whatever they were measured on; those of other data, tasks, measures or sizes are passed over,
            and the base with a new head, which is shown but not compared with.
        reference: the system of the verdict, which is passed over too.
        measure: None: the primary measure of `evaluation`.

    Returns:
        The comparisons, all with the verdict "worse".
    """
    measure = measure or evaluation.primary
    rivals = [
        other
        for other in others
        if other.system not in (UNTRAINED, reference)
        and (other.task, other.dataset) == (evaluation.task, evaluation.dataset)
        and other.dim in (evaluation.dim, None)
        and measure in other.intervals
        and other.measures[measure] > evaluation.measures[measure]
    ]
    found = [compare(evaluation, rival, measure=measure) for rival in rivals]
    return sorted((c for c in found if c.verdict == "worse"), key=lambda c: -c.reference_value)


def _columns(evaluation: Evaluation, query_ids: Sequence[str]) -> dict[str, np.ndarray]:
    """What is kept of each query, in the order of `query_ids`."""
    place = {query_id: at for at, query_id in enumerate(evaluation.query_ids)}
    rows_N = [place[query_id] for query_id in query_ids]
    return {name: np.asarray(values, dtype=np.float64)[rows_N] for name, values in evaluation.per_query.items()}


def _values(columns: dict[str, np.ndarray], counts_RN: np.ndarray, measure: str, task: Task) -> np.ndarray:
    """values_R of the measure where each query counts as often as told."""
    if "label" in columns:
        return pair_measures(columns, counts_RN, task)[measure]
    mean_R: np.ndarray = counts_RN @ columns[measure] / counts_RN.shape[1]
    return mean_R


def _bootstrap_p_value(difference_R: np.ndarray, num: int) -> float:
    """Twice the smaller share of resamples on the other side of 0."""
    difference_R = difference_R[~np.isnan(difference_R)]
    tail = min((difference_R <= 0).sum(), (difference_R >= 0).sum())
    return float(min(1.0, max(2 * (1 + tail) / (1 + len(difference_R)), 2.0 ** (1 - num))))


def _verdict(low: float, high: float, p_value: float) -> Verdict:
    if p_value < 1 - CONFIDENCE and low > 0:
        return "better"
    if p_value < 1 - CONFIDENCE and high < 0:
        return "worse"
    return "no difference shown"
