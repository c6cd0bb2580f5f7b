"""What a trained model is compared with, measured before its first step.

In: the base model and the evaluation data. Out: evaluations of the references; the best of them.
"""

from collections.abc import Sequence

from rankwright.data import PairTable
from rankwright.encoder.spec import ModelSpec
from rankwright.evaluation import Evaluation, evaluate_classification, prior_scores
from rankwright.evaluation.report import UNTRAINED
from rankwright.models import BiEncoder, CrossEncoder
from rankwright.workflow.evaluations import by_system, matching
from rankwright.workflow.measuring import (
    Embedder,
    EvaluationData,
    Settings,
    measure_model,
    measure_references,
    measure_scores,
    primary_first,
)

MAJORITY = "most frequent label"


def reference_evaluations(
    model: BiEncoder | CrossEncoder, train: PairTable, data: EvaluationData, settings: Settings
) -> list[Evaluation]:
    """The base, and what needs no model.

    A base whose head is new is measured twice: as it is ("untrained"), and its encoder as a bi-encoder.

    Args:
        model: before training.
        train: the training rows.
        data: what the trained model will be measured on.
        settings: how.

    Returns:
        Evaluations, the primary one of each system first.
    """
    if isinstance(model, CrossEncoder) and model.num_labels > 1:
        return _of_classes(model, train, data, settings)
    if not model.spec.head_is_new:
        found = measure_model(model, data, settings, system="base")
    else:
        found = measure_model(model, data, settings, system=UNTRAINED)
        found += _encoder_alone(model, data, settings)
    found += measure_references(data, settings, searches=isinstance(model, BiEncoder))
    ordered = [
        primary_first(group, settings.primary, is_required=i == 0)  # the first is the model itself
        for i, group in enumerate(by_system(found))
    ]
    return [evaluation for group in ordered for evaluation in group]


def best_reference(trained: Evaluation, references: Sequence[Evaluation], base: ModelSpec) -> Evaluation | None:
    """What the trained model has to beat: the base itself, or, for a new head, the best of all other references.

    Args:
        trained: the primary evaluation of the trained model.
        references: of `reference_evaluations`.
        base: the model before training.

    Returns:
        The evaluation to compare with; None where nothing measured the same.
    """
    candidates = []
    for group in by_system(references):
        same = [r for r in group if r.dim == trained.dim or r.dim is None or trained.dim is None]
        found = matching(trained, same)
        if found is not None and found.system != UNTRAINED:
            candidates.append(found)
    own = [c for c in candidates if c.system == "base"]
    if own and not base.head_is_new:
        return own[0]
    return max(candidates, key=lambda c: c.measures[trained.primary], default=None)


def _of_classes(model: CrossEncoder, train: PairTable, data: EvaluationData, settings: Settings) -> list[Evaluation]:
    """The base, and the rule that always gives the label that is most frequent in training."""
    system = UNTRAINED if model.spec.head_is_new else "base"
    labels = [row.label for row in train.labelled_rows()]
    scores = prior_scores(labels, len(data.labelled), num_labels=model.num_labels)
    truth = [row.label for row in data.labelled]
    majority = evaluate_classification(scores, truth, dataset=data.name, system=MAJORITY)
    return [*measure_model(model, data, settings, system=system), majority]


def _encoder_alone(model: BiEncoder | CrossEncoder, data: EvaluationData, settings: Settings) -> list[Evaluation]:
    """The base's encoder as a bi-encoder (its own modules where it has them, else mean pooling), on the same tasks."""
    wishes = model.checkpoint.wishes
    alone = BiEncoder(model.folder, dtype=wishes.dtype, device=wishes.device, prompts=model.prompts)
    alone.max_length = model.max_length
    scorer = Embedder(alone, data).scorer(alone.get_embedding_dimension())
    return measure_scores(scorer, data, settings, system="base as bi-encoder")
