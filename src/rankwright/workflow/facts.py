"""The facts of a run that its folder keeps: machine, versions, data, loss.

In: config, tables, models. Out: environment.json, data.json and parts of summary.json.
"""

import os
import platform
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rankwright.config import CardConfig, LossConfig
from rankwright.data import PairTable, table_statistics
from rankwright.data.statistics import NUM_ROWS, NUM_SAMPLES, value_range
from rankwright.models import BiEncoder, CrossEncoder
from rankwright.models.opening import prompts_of
from rankwright.text import Truncation
from rankwright.workflow.measuring import EvaluationData

PACKAGES = ("rankwright", "torch", "transformers", "accelerate", "datasets", "tokenizers", "openvino", "numpy")

MEASURED_ROWS = 10_000
"""Rows whose truncation is counted."""


def environment_facts(*, device: str, dtype: str) -> dict[str, Any]:
    """What environment.json says: when, where and with what the run was made.

    Args:
        device: where training runs.
        dtype: the type of the computation.

    Returns:
        The facts.
    """
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        "git_commit": _git_commit(),
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cores": os.cpu_count() or 1,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "device": device,
        "dtype": dtype,
    }


def cpu_name() -> str:
    """The processor's own name, as Linux gives it; else what Python knows."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def data_facts(table: PairTable, model: BiEncoder | CrossEncoder, card: CardConfig) -> dict[str, Any]:
    """What data.json says of pairs.

    Args:
        table: the pairs.
        model: counts tokens and tells what its maximum length cuts.
        card: whether samples may be shown.

    Returns:
        The facts.
    """
    rows = [row.texts for row in table.rows[:MEASURED_ROWS]]
    pairs = [(query, document) for query, *documents in rows for document in documents]
    return {
        "name": table.name,
        "source": table.source,
        "size": table.size_rows,
        "num_labelled": table.num_labelled,
        "columns": list(table.columns.values()),
        "sha256": table.sha256,
        **table_statistics(table, count_tokens=model.tokenizer.count, num_samples=NUM_SAMPLES if card.examples else 0),
        "truncation": _truncation(model, [row[0] for row in rows], [document for _, document in pairs], pairs),
    }


def evaluation_data_facts(data: EvaluationData, model: BiEncoder | CrossEncoder, card: CardConfig) -> dict[str, Any]:
    """What data.json says of evaluation data: of pairs as of training pairs, of a BEIR folder its sizes.

    What the maximum length cuts is counted in what the model reads: of a cross-encoder, a query with a relevant
    document.

    Args:
        data: the data.
        model: as in `data_facts`.
        card: as in `data_facts`.

    Returns:
        The facts.
    """
    if data.table is not None:
        return data_facts(data.table, model, card)
    assert data.retrieval is not None
    queries, documents = list(data.retrieval.queries.values()), list(data.retrieval.documents.values())
    counts = {
        "query": model.tokenizer.count(queries[:NUM_ROWS]),
        "document": model.tokenizer.count(documents[:NUM_ROWS]),
    }
    first = slice(MEASURED_ROWS)
    return {
        "name": data.name,
        "source": data.source,
        "size": len(queries),
        "columns": list(counts),
        "num_documents": len(documents),
        "sha256": data.sha256,
        "statistics": {name: {"type": "string", "tokens": value_range(tokens)} for name, tokens in counts.items()},
        "samples": [],
        "truncation": _truncation(model, queries[first], documents[first], _judged_pairs(data)[first]),
    }


def loss_facts(loss: LossConfig, function: Callable[..., Any] | None = None) -> dict[str, Any]:
    """The loss with its parameters, and what it wraps.

    Args:
        loss: the config of the loss.
        function: the user's own, used in place of the config's.

    Returns:
        The "loss" block of summary.json.
    """
    if function is None:
        inner = {"name": loss.name, "fullname": f"rankwright.losses.{loss.name}", "parameters": loss_parameters(loss)}
    else:
        name = getattr(function, "__qualname__", type(function).__qualname__)
        inner = {"name": name, "fullname": f"{function.__module__}.{name}", "parameters": {}}
    if not loss.matryoshka_dims:
        return inner
    weights = list(loss.matryoshka_weights) or [1.0] * len(loss.matryoshka_dims)
    outer = {"matryoshka_dims": list(loss.matryoshka_dims), "matryoshka_weights": weights}
    return {"name": "matryoshka", "fullname": "rankwright.losses.matryoshka", "parameters": outer, "wraps": inner}


def loss_parameters(loss: LossConfig) -> dict[str, Any]:
    """The settings that the function of the loss takes, by its own names."""
    if loss.name == "multiple_negatives_ranking":
        return {"temperature": loss.temperature, "directions": list(loss.directions)}
    if loss.name == "binary_cross_entropy":
        return {"pos_weight": loss.pos_weight}
    return {}


def overlap_facts(train: PairTable, data: EvaluationData) -> dict[str, int]:
    """How many evaluation queries, and judged pairs, are also in the training data, word for word.

    Args:
        train: the training rows.
        data: the evaluation data.

    Returns:
        "queries" and "pairs" that are shared.
    """
    pairs = {(query, document) for query, document, *_ in (row.texts for row in train.rows)}
    queries = {query for query, _ in pairs}
    judged = _judged_pairs(data)
    shared = {query for query, _ in judged} & queries
    return {"queries": len(shared), "pairs": sum(pair in pairs or pair[::-1] in pairs for pair in set(judged))}


def _judged_pairs(data: EvaluationData) -> list[tuple[str, str]]:
    """Query and document of each judgment; of a collection only the relevant ones."""
    if data.retrieval is None:
        return [row.texts for row in data.labelled]
    queries, documents = data.retrieval.queries, data.retrieval.documents
    return [
        (queries[query_id], documents[document_id])
        for query_id, grades in data.retrieval.qrels.items()
        for document_id, grade in grades.items()
        if query_id in queries and document_id in documents and (grade > 0 or data.labelled)
    ]


def _truncation(
    model: BiEncoder | CrossEncoder, queries: list[str], documents: list[str], pairs: list[tuple[str, str]]
) -> dict[str, int]:
    """What is cut of texts behind their prompts; of pairs for a cross-encoder, which reads both as one, longer text."""
    before_query, before_document = prompts_of(model)
    given: list[tuple[str, Sequence[Any]]] = [(before_query, queries), (before_document, documents)]
    if isinstance(model, CrossEncoder):
        given = [(before_query, pairs)]
    report = Truncation()
    for prompt, texts in given:
        for start in range(0, len(texts), 1000):
            report += model.tokenizer.batch(texts[start : start + 1000], prompt=prompt)[1]
    return {"texts": report.num_texts, "truncated": report.num_truncated, "tokens_lost": report.tokens_lost}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _git_commit() -> str | None:
    """The commit of the working folder, where it is a git checkout."""
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None
