"""The YAML block that the Hub reads: tags, base, results as a model index, energy.

In: the facts of a run. Out: YAML, through huggingface_hub's own card classes.
"""

import re
from pathlib import PurePath
from typing import TYPE_CHECKING

from rankwright.card.citations import hub_loss_name, losses_of
from rankwright.card.results import TASK_NAMES, measured
from rankwright.card.run_folder import Energy, RunFolder

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

TAGS = {
    "bi-encoder": ("sentence-transformers", "rankwright", "sentence-similarity", "feature-extraction", "dense"),
    "cross-encoder": ("sentence-transformers", "rankwright", "cross-encoder", "reranker"),
}

HUB_TASKS = {
    "retrieval": "information-retrieval",
    "reranking": "text-ranking",
    "classification": "text-classification",
    "similarity": "semantic-similarity",
}
"""Our tasks by the names that the Hub's model indices of rankers use."""

CLASS_NAMES = {"bi-encoder": "BiEncoder", "cross-encoder": "CrossEncoder"}


def pipeline_tag(run: RunFolder) -> str:
    """The Hub's name of the job that the model does."""
    if run.summary.kind == "bi-encoder":
        return "sentence-similarity"
    return "text-ranking" if run.summary.num_labels in (None, 1) else "text-classification"


def hub_base(run: RunFolder) -> str | None:
    """The Hub id of the base, or None for a folder: only a Hub id may stand in the metadata, or be linked."""
    return run.summary.base if run.summary.base_is_hub else None


def base_name(run: RunFolder) -> str:
    """The base as a reader may see it: of a folder only the last two parts, since a card is no place for a home."""
    parts = [part for part in PurePath(run.summary.base).parts if part not in ("/", "..")]
    return hub_base(run) or "/".join(parts[-2:])


def model_name(run: RunFolder) -> str:
    """The title of the card: the name that the user gave, or the kind and the base."""
    return run.config.card.model_name or f"{CLASS_NAMES[run.summary.kind]} based on {base_name(run)}"


def tags(run: RunFolder) -> list[str]:
    """What the Hub filters by: libraries, kind, size of the training data, losses."""
    losses = [f"loss:{hub_loss_name(loss)}" for loss in losses_of(run.summary.loss)]
    return [*TAGS[run.summary.kind], "generated_from_trainer", f"dataset_size:{run.data.train.size}", *losses]


def metadata_yaml(run: RunFolder) -> str:
    """The whole block, without its `---` lines.

    Args:
        run: the facts of the run.

    Returns:
        YAML in UTF-8; a key without a value is left out.
    """
    from huggingface_hub import ModelCardData

    card, results = run.config.card, eval_results(run)
    data = ModelCardData(
        language=list(card.language) or None,
        license=card.license,
        library_name="sentence-transformers",
        tags=tags(run),
        base_model=hub_base(run),
        pipeline_tag=pipeline_tag(run),
        datasets=list(card.datasets) or None,
        metrics=list(dict.fromkeys(result.metric_type for result in results)) or None,
        eval_results=results or None,
        model_name=model_name(run) if results else None,
        widget=widget(run) or None,
        co2_eq_emissions=co2(run.summary.energy) if run.summary.energy else None,
    )
    return data.to_yaml()


def eval_results(run: RunFolder) -> "list[EvalResult]":
    """Every measure of the saved model, at every size, for the model index."""
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type=HUB_TASKS[one.task],
            task_name=TASK_NAMES[one.task],
            dataset_type=re.sub(r"\s+", "-", one.dataset.strip()),
            dataset_name=f"{one.dataset}, {one.dim} dimensions" if group.has_sizes else one.dataset,
            dataset_config=f"dim_{one.dim}" if group.has_sizes else None,
            metric_type=measure,
            metric_value=value,
            metric_name=measure,
        )
        for group in measured(run)
        for one in group.trained
        for measure, value in one.measures.items()
    ]


def widget(run: RunFolder) -> list[dict[str, object]]:
    """The usage example as the Hub's similarity widget takes it; only for bi-encoders whose texts may be shown."""
    usage = run.summary.usage
    if run.summary.kind != "bi-encoder" or not run.shows_texts or usage is None:
        return []
    return [{"source_sentence": usage.query, "sentences": list(usage.documents)}]


def co2(energy: Energy) -> dict[str, object]:
    """Energy under the Hub's names, without what was not measured."""
    return energy.model_dump(exclude_none=True)
