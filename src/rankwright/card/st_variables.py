"""The run under the names that sentence-transformers' card templates use, of every era.

In: the facts of a run. Out: one dict, with a value for every name that those templates read.
"""

from collections.abc import Sequence

from rankwright.card.citations import citations, hub_loss_name
from rankwright.card.data_tables import samples_table, statistics_table
from rankwright.card.markdown import code, duration, json_block
from rankwright.card.metadata import (
    co2,
    hub_base,
    metadata_yaml,
    model_name,
    pipeline_tag,
    tags,
    widget,
)
from rankwright.card.results import TASK_NAMES, Measured, measured, measures_table
from rankwright.card.run_folder import DatasetFacts, LossFacts, RunFolder
from rankwright.card.training_log import TrainingLog, training_log
from rankwright.card.usage import snippet

SIMILARITY_NAMES = {
    "cosine": "Cosine Similarity",
    "dot": "Dot Product",
    "euclidean": "Euclidean Distance",
    "manhattan": "Manhattan Distance",
}

TASK_SENTENCES = {
    "sentence-similarity": "semantic search, semantic textual similarity, clustering and more",
    "text-ranking": "text reranking and semantic search",
    "text-classification": "text pair classification",
}


class TemplateDataset(dict[str, object]):
    """A data set as templates ask for it: it has no Hub id, whether as `dataset.id` or as `'id' in dataset`."""

    id = None


def st_variables(run: RunFolder) -> dict[str, object]:
    """Everything that a template written for sentence-transformers reads.

    Args:
        run: the facts of the run.

    Returns:
        Values by ST's names; tables and snippets are Markdown, times are words.
    """
    summary = run.summary
    return {
        **_about_the_model(run),
        **_about_the_training(run),
        "card_data": metadata_yaml(run),
        "hf_emoji": "\N{HUGGING FACE}",
        "usage_snippet": snippet(run, library="sentence_transformers"),
        "usage_examples": _examples(run),
        "predict_example": _examples(run),
        "similarities": None,
        "ir_model": summary.usage is not None,
        "eval_metrics": [_metrics(group) for group in measured(run)],
        "train_datasets": [_dataset(run.data.train, summary.loss)],
        "eval_datasets": [_dataset(one, summary.loss) for one in run.data.eval],
        "citations": citations(summary.loss, version=run.environment.versions.get("rankwright")),
        "label_example_list": [],
    }


def hyperparameters(run: RunFolder) -> tuple[dict[str, object], dict[str, object]]:
    """The settings of the training that differ from their defaults, and all of them."""
    training = run.config.training
    every = training.model_dump()
    defaults = {
        name: field.get_default(call_default_factory=True) for name, field in type(training).model_fields.items()
    }
    return {name: value for name, value in every.items() if value != defaults[name]}, every


def log_of(run: RunFolder) -> TrainingLog | None:
    """The training log of the run, as a table."""
    return training_log(
        run.metrics,
        logging_steps=run.config.training.logging_steps,
        best_step=run.summary.best_step,
        primary=run.summary.primary_measure,
    )


def energy_facts(run: RunFolder) -> dict[str, object] | None:
    """Energy and hardware under ST's names, completed from the environment; None where nothing was measured."""
    energy, environment = run.summary.energy, run.environment
    if energy is None:
        return None
    known = {
        "cpu_model": environment.cpu,
        "ram_total_size": environment.memory_gib,
        "hardware_used": None if environment.device == "cpu" else environment.device,
        "hours_used": round(run.summary.training_time_s / 3600, 3),
    }
    return known | co2(energy)


def _about_the_model(run: RunFolder) -> dict[str, object]:
    summary, card = run.summary, run.config.card
    return {
        "model_name": model_name(run),
        "model_id": card.model_id,
        "base_model": hub_base(run),
        "base_model_revision": summary.base_revision,
        "language": list(card.language),
        "license": card.license,
        "datasets": list(card.datasets),
        "tags": tags(run),
        "library_name": "sentence-transformers",
        "pipeline_tag": pipeline_tag(run),
        "task_name": TASK_SENTENCES[pipeline_tag(run)],
        "widget": widget(run),
        "model_max_length": summary.max_length,
        "query_length": None,
        "document_length": None,
        "supported_modalities": ["Text"],
        "output_dimensionality": summary.embedding_size,
        "similarity_fn_name": SIMILARITY_NAMES.get(summary.similarity or "cosine", summary.similarity),
        "model_num_labels": summary.num_labels or 1,
        "model_string": summary.architecture,
    }


def _about_the_training(run: RunFolder) -> dict[str, object]:
    summary, versions, log = run.summary, run.environment.versions, log_of(run)
    changed, every = hyperparameters(run)
    names = ("python", "rankwright", "transformers", "torch", "accelerate", "datasets", "tokenizers")
    evaluation_s = summary.evaluation_time_s
    return {
        "non_default_hyperparameters": changed,
        "all_hyperparameters": every,
        "best_model_step": summary.best_step,
        "training_logs": list(run.metrics),
        "eval_lines": f"{log.table}\n" if log else "",
        "explain_bold_in_eval": log is not None and log.has_saved_row,
        "hide_eval_lines": log is not None and log.is_folded,
        "co2_eq_emissions": energy_facts(run),
        "training_time": duration(summary.training_time_s),
        "evaluation_time": duration(evaluation_s) if evaluation_s else None,
        "total_time": duration(summary.training_time_s + (evaluation_s or 0)),
        "version": {name: versions.get(name) or "not installed" for name in names}
        | {"sentence_transformers": f"not used (trained with rankwright {versions.get('rankwright')})"},
    }


def _examples(run: RunFolder) -> Sequence[object] | None:
    """Pairs for a cross-encoder, texts for a bi-encoder; None where texts are kept back."""
    usage = run.summary.usage
    if usage is None or not run.shows_texts:
        return None
    if run.summary.kind == "cross-encoder":
        return [[usage.query, document] for document in usage.documents]
    return [usage.query, *usage.documents]


def _metrics(group: Measured) -> dict[str, object]:
    main = group.main
    return {
        "description": TASK_NAMES[main.task],
        "dataset_name": main.dataset,
        "class_name": "rankwright.evaluate",
        "config_code": _indented(json_block(main.parameters)) if main.parameters else "",
        "table": f"{measures_table(group)}\n",
    }


def _dataset(dataset: DatasetFacts, loss: LossFacts) -> TemplateDataset:
    statistics, samples = statistics_table(dataset), samples_table(dataset)
    values = TemplateDataset(
        name=dataset.name,
        size=dataset.size,
        columns=[code(column) for column in dataset.columns],
        stats_table=f"{_indented(statistics)}\n" if statistics else "",
        examples_table=f"{_indented(samples)}\n" if samples else "",
        loss={"fullname": loss.fullname},
    )
    if config := loss_config(loss):
        values["loss"] = {"fullname": loss.fullname, "config_code": _indented(json_block(config))}
    return values


def loss_config(loss: LossFacts) -> dict[str, object]:
    """The parameters of a loss, and those of the loss that it wraps, in ST's form."""
    inner = {"loss": hub_loss_name(loss.wraps), "loss_parameters": loss_config(loss.wraps)} if loss.wraps else {}
    return {**inner, **loss.parameters}


def _indented(markdown: str) -> str:
    """So that it belongs to the list entry above it."""
    return "\n".join(f"  {line}" for line in markdown.split("\n"))
