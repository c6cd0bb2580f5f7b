"""Models measured side by side on the same data, with references and paired comparisons.

In: models and data. Out: `Evaluations`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankwright.errors import ConfigError
from rankwright.evaluation import Comparison, Evaluation, compare
from rankwright.models import BiEncoder, CrossEncoder
from rankwright.models.opening import open_model
from rankwright.workflow.measuring import (
    EvaluationData,
    Settings,
    measure_model,
    measure_references,
    primary_first,
    read_evaluation_data,
)
from rankwright.workflow.settings import check_settings

Model = BiEncoder | CrossEncoder


@dataclass(frozen=True)
class Evaluations:
    """What was measured, and how each system differs from the first one."""

    evaluations: list[Evaluation]
    comparisons: list[Comparison]

    def to_json(self) -> dict[str, object]:
        """Everything as an object that `json` writes."""
        return {
            "evaluations": [evaluation.to_json() for evaluation in self.evaluations],
            "comparisons": [comparison.to_json() for comparison in self.comparisons],
        }


def evaluate(
    models: str | Path | Model | Sequence[str | Path | Model],
    data: Any,
    *,
    measures: str | Sequence[str] | None = None,
    settings: Settings | None = None,
    references: bool = True,
) -> Evaluations:
    """Measure models on data.

    Args:
        models: one or several, opened or by name.
        data: a BEIR folder, a file or Hub name of pairs, records, or `EvaluationData`.
        measures: such as ["ndcg@10"], or one name; None: the task's.
        settings: measures, sizes, depth and the primary measure in one; not together with `measures`.
        references: whether BM25 and other references that need no model are measured too.

    Returns:
        Evaluations of each model in order, then of the references; and comparisons on the primary measure: of the first
        model with each system that did the same task, and of the first model of another task with those of that one.

    Raises:
        ConfigError: no models, both `measures` and `settings`, or settings that have no effect.
        DataError: data that cannot be used.
    """
    if measures is not None and settings is not None:
        raise ConfigError("pass either measures= or settings=, which has measures of its own.")
    settings = settings or Settings(measures=(measures,) if isinstance(measures, str) else tuple(measures or ()))
    given = [models] if isinstance(models, (str, Path, BiEncoder, CrossEncoder)) else list(models)
    if not given:
        raise ConfigError("models is empty: give at least one model, opened or by name.")
    opened = [open_model(model) if isinstance(model, (str, Path)) else model for model in given]
    examined = data if isinstance(data, EvaluationData) else read_evaluation_data(data)
    if settings.dims and not any(isinstance(model, BiEncoder) for model in opened):
        raise ConfigError(f"dims = {list(settings.dims)} has no effect on a cross-encoder. Remove it.")
    for model in opened:
        check_settings(model, examined, settings)
    found: list[list[Evaluation]] = []
    for model, name in zip(opened, system_names(given), strict=True):
        found.append(primary_first(measure_model(model, examined, settings, system=name), settings.primary))
    if references:
        kinds = {isinstance(model, BiEncoder) for model in opened} if examined.has_corpus else {False}
        for searches in sorted(kinds, reverse=True):
            groups = by_system(measure_references(examined, settings, searches=searches))
            found += [primary_first(group, settings.primary, is_required=False) for group in groups]
    tasks = [group[0].task for group in found[: len(opened)]]
    comparisons = [
        compare(found[i][0], other)
        for i in map(tasks.index, dict.fromkeys(tasks))
        for group in found[i + 1 :]
        if (other := matching(found[i][0], group)) is not None
    ]
    return Evaluations([evaluation for group in found for evaluation in group], comparisons)


def matching(evaluation: Evaluation, others: Sequence[Evaluation]) -> Evaluation | None:
    """The first of `others` that measured the same task on the same data and has the primary measure."""
    same = (o for o in others if o.task == evaluation.task and evaluation.primary in o.measures)
    return next((o for o in same if o.dataset == evaluation.dataset), None)


def by_system(evaluations: Sequence[Evaluation]) -> list[list[Evaluation]]:
    """Evaluations of each system together, in order of appearance."""
    groups: dict[str, list[Evaluation]] = {}
    for evaluation in evaluations:
        groups.setdefault(evaluation.system, []).append(evaluation)
    return list(groups.values())


def system_names(models: Sequence[str | Path | Model]) -> list[str]:
    """A short name for each model: its folder's or Hub name, the run's for RUN/model; numbered where two are equal."""
    paths = [Path(model) if isinstance(model, (str, Path)) else model.folder for model in models]
    names = [path.resolve().parent.name if path.name == "model" else path.name for path in paths]
    return [name if names.count(name) == 1 else f"{name} ({i + 1})" for i, name in enumerate(names)]
