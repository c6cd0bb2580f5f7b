"""What was measured, side by side: the saved model at each of its sizes, and every reference under its own name.

In: the evaluations and the comparison of a run. Out: Markdown tables, and the facts of the headline.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rankwright.card.markdown import interval, number, plain, table
from rankwright.card.run_folder import RunFolder
from rankwright.errors import DataError
from rankwright.evaluation.comparison import Comparison, stronger
from rankwright.evaluation.parity import Certificate, parity_rows
from rankwright.evaluation.report import UNTRAINED, Evaluation

TASK_NAMES = {
    "retrieval": "Retrieval",
    "reranking": "Reranking",
    "classification": "Pair classification",
    "similarity": "Similarity",
}


@dataclass(frozen=True)
class Measured:
    """One task on one data set: the saved model, largest size first, and the references."""

    trained: tuple[Evaluation, ...]
    references: tuple[Evaluation, ...]

    @property
    def main(self) -> Evaluation:
        """The saved model at its full size."""
        return self.trained[0]

    @property
    def has_sizes(self) -> bool:
        """Whether the embeddings were measured at more than one size."""
        return len({one.dim for one in self.trained}) > 1

    @property
    def unit(self) -> str:
        """What the measures are means over."""
        return "queries" if self.main.task in ("retrieval", "reranking") else "pairs"

    @property
    def size(self) -> str:
        """How many of them there are."""
        return f"{self.main.num_queries:,} {self.unit}"

    @property
    def title(self) -> str:
        """The heading of its section."""
        return f"{TASK_NAMES[self.main.task]} on {plain(self.main.dataset)}"


@dataclass(frozen=True)
class Headline:
    """The one comparison that the card opens with."""

    comparison: Comparison
    group: Measured
    table: str
    stronger: tuple[Comparison, ...] = ()

    @property
    def size(self) -> str:
        """How many queries both answered."""
        return f"{self.comparison.num_queries:,} {self.group.unit}"

    @property
    def reference(self) -> str:
        """The reference as a sentence says it: "the first stage", but "BM25"."""
        name = plain(self.comparison.reference)
        return f"the {name}" if name[:1].islower() else name

    @property
    def claim(self) -> str:
        """What was found, in one sentence; worse says so, and what to use instead."""
        reference = self.reference
        if self.comparison.verdict == "better":
            return f"Better than {reference}."
        if self.comparison.verdict == "worse":
            return f"Worse than {reference}: do not use it instead of {reference}."
        return f"No difference from {reference} shown."


def measured(run: RunFolder) -> list[Measured]:
    """Group the evaluations by task, data set and similarity, in the order in which the saved model was measured."""
    keys = dict.fromkeys((one.task, one.dataset, one.similarity) for one in run.trained)
    return [
        Measured(
            trained=_largest_first(one for one in run.trained if (one.task, one.dataset, one.similarity) == key),
            references=_largest_first(
                one for one in run.references if (one.task, one.dataset) == key[:2] and one.similarity in (key[2], None)
            ),
        )
        for key in keys
    ]


def headline(run: RunFolder) -> Headline | None:
    """The comparison with the reference, or None where the run compared with nothing.

    Args:
        run: the facts of the run.

    Returns:
        The comparison, with a table of the model and all references on the compared measure.

    Raises:
        DataError: the comparison is not about any evaluation of the saved model, or is with an untrained head.
    """
    comparison = run.summary.comparison
    if comparison is None:
        return None
    place = run.folder / "summary.json"
    if comparison.reference == UNTRAINED:
        raise DataError(
            f"{place}: key 'comparison.reference': {UNTRAINED!r} is a random head, which anything beats. "
            "Compare with the first stage, the base used as a bi-encoder, or BM25."
        )
    for group in measured(run):
        for model in group.trained:
            value = model.measures.get(comparison.measure, math.nan)
            is_part = comparison.num_queries < model.num_queries and not math.isnan(value)
            if is_part or math.isclose(value, comparison.value, rel_tol=1e-6, abs_tol=1e-9):
                systems = [one for one in group.references if one.dim in (model.dim, None)]
                return Headline(
                    comparison=comparison,
                    group=group,
                    table=_headline_table(comparison, model, systems),
                    stronger=tuple(
                        stronger(model, systems, reference=comparison.reference, measure=comparison.measure)
                    ),
                )
    raise DataError(
        f"{place}: key 'comparison.value': {comparison.measure} = {comparison.value} is in no "
        "evaluation of evaluations/trained.json. The card shows one checkpoint only: evaluate the saved model again."
    )


def measures_table(group: Measured) -> str:
    """Every measure of the saved model, all sizes side by side; the primary one bold with its interval."""
    main = group.main
    if not group.has_sizes:
        rows = [_bold([name, *_value_and_interval(main, name)], is_bold=name == main.primary) for name in main.measures]
        return table(["Measure", "Value", "95 % interval"], rows)
    rows = []
    for name in main.measures:
        cells = [_with_interval(one, name) for one in group.trained]
        rows.append(_bold([name, *cells], is_bold=name == main.primary))
    return table(["Measure", *(f"{one.dim} dimensions" for one in group.trained)], rows)


def systems_table(group: Measured) -> str:
    """The primary measure of the saved model and of every reference, each under its own name."""
    primary = group.main.primary
    rows = []
    for one in (*group.trained, *group.references):
        if primary in one.measures:
            name = "this model" if one in group.trained else plain(one.system)
            size = [str(one.dim) if one.dim else "-"] if group.has_sizes else []
            rows.append(_bold([name, *size, *_value_and_interval(one, primary)], is_bold=one in group.trained))
    return table(["System", *(["Dimensions"] if group.has_sizes else []), primary, "95 % interval"], rows)


def parity_table(found: Certificate) -> str:
    """How far each engine and type is from the reference, and how fast."""
    head, *rows = parity_rows(found)
    return table(head, [[plain(cell) for cell in row] for row in rows])


def _largest_first(evaluations: Iterable[Evaluation]) -> tuple[Evaluation, ...]:
    """The evaluations with the sizes of each system from the largest down; systems keep their order."""
    found = list(evaluations)
    order = list(dict.fromkeys(one.system for one in found))
    return tuple(sorted(found, key=lambda one: (order.index(one.system), -(one.dim or math.inf))))


def _headline_table(comparison: Comparison, model: Evaluation, systems: Sequence[Evaluation]) -> str:
    measure = comparison.measure
    rows = [[*_bold(["this model", *_value_and_interval(model, measure)], is_bold=True), ""]]
    for system in systems:
        if measure not in system.measures:
            continue
        note = ""
        if system.system == UNTRAINED:
            note = "a new head before training; shown, not compared with"
        elif system.system == comparison.reference:
            note = "the reference of the verdict"
        rows.append([plain(system.system), *_value_and_interval(system, measure), note])
    return table(["System", measure, "95 % interval", "Note"], rows)


def _value_and_interval(one: Evaluation, measure: str) -> list[str]:
    return [number(float(one.measures[measure])), interval(one.intervals.get(measure))]


def _with_interval(one: Evaluation, measure: str) -> str:
    if measure not in one.measures:
        return "-"
    bounds = one.intervals.get(measure)
    return number(float(one.measures[measure])) + (f" ({interval(bounds)})" if bounds else "")


def _bold(cells: list[str], *, is_bold: bool) -> list[str]:
    return [f"**{cell}**" if is_bold else cell for cell in cells]
