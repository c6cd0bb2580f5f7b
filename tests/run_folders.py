"""Finished run folders without a training: small, whole, and easy to break one fact at a time."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RERANKER_CONFIG = """\
config_version = 1
kind = "cross-encoder"
out = "runs/reranker"

[model]
base = "microsoft/MiniLM-L12-H384-uncased"
max_length = 256

[data]
train = "train.jsonl"
eval = "eval.jsonl"
name = "ru_pairs"

[loss]
name = "binary_cross_entropy"
pos_weight = 4.0

[training]
per_device_train_batch_size = 32
learning_rate = 2e-5
num_train_epochs = 1
eval_strategy = "steps"
eval_steps = 20
logging_steps = 10
load_best_model_at_end = true

[card]
language = ["ru", "pl"]
license = "apache-2.0"
"""

RETRIEVER_CONFIG = """\
config_version = 1
kind = "bi-encoder"
out = "runs/retriever"

[model]
base = "sdadas/mmlw-roberta-base"
prompts = {query = "zapytanie: "}

[data]
train = "train.parquet"
eval = "beir"

[loss]
name = "multiple_negatives_ranking"
matryoshka_dims = [768, 256, 64]

[training]
num_train_epochs = 2
logging_steps = 10
batch_sampler = "no_duplicates"

[card]
model_name = "mmlw-roberta-base-dyk"
model_id = "someone/mmlw-roberta-base-dyk"
language = "pl"
datasets = ["allegro/klej-dyk"]
"""

ENVIRONMENT = {
    "started": "2026-01-02T03:04:05+00:00",
    "versions": {
        "python": "3.11.9",
        "rankwright": "0.1.0",
        "torch": "2.13.0",
        "transformers": "5.3.0",
        "accelerate": "1.9.0",
        "datasets": "4.2.0",
        "tokenizers": "0.22.1",
        "openvino": None,
        "numpy": "2.3.1",
    },
    "git_commit": "0123456789abcdef",
    "platform": "Linux-6.1-x86_64",
    "cpu": "AMD EPYC 9R14",
    "cores": 2,
    "memory_gib": 7.7,
    "device": "cpu",
    "dtype": "bfloat16",
}

ENERGY = {"emissions": 12.5, "energy_consumed": 0.031, "on_cloud": False, "cpu_model": "AMD EPYC 9R14"}

CERTIFICATE: Mapping[str, Any] = {
    "model": "runs/retriever/model",
    "kind": "bi-encoder",
    "weights_sha256": None,
    "reference": "sentence-transformers 6.2.0",
    "has_library": True,
    "reference_texts_per_s": 30.0,
    "num_texts": 63,
    "num_given": 0,
    "num_pairs": 132,
    "token_differences": 0,
    "differing_texts": [],
    "engines": [
        {
            "engine": "openvino",
            "device": "cpu",
            "dtype": "float32",
            "max_difference": 2.6e-7,
            "mean_difference": 3.7e-8,
            "tolerance": 1e-5,
            "agrees": True,
            "worst_text": "'a text'",
            "kendall_tau": 1.0,
            "lowest_kendall_tau": 1.0,
            "texts_per_s": 150.0,
            "speedup": 5.0,
        },
        {
            "engine": "torch",
            "device": "cuda",
            "dtype": "bfloat16",
            "max_difference": 3.4e-3,
            "mean_difference": 4.8e-4,
            "tolerance": 2e-2,
            "agrees": True,
            "worst_text": "'a text'",
            "kendall_tau": 0.9976,
            "lowest_kendall_tau": 0.9855,
            "texts_per_s": 4500.0,
            "speedup": 150.0,
        },
    ],
    "rankwright": "0.1.0",
    "cpu": "AMD EPYC 9R14",
    "made": "2026-01-02T03:04:05+00:00",
}
"""What `rankwright verify` leaves as verify.json."""

RANGE = {"min": 3, "mean": 24.5, "max": 256}


def make_reranker(folder: Path, *, changes: Mapping[str, Any] | None = None) -> Path:
    """A cross-encoder's run on Russian and Polish pairs, better than its first stage.

    Args:
        folder: where to; made.
        changes: values by place, such as `{"summary.json:comparison.verdict": "worse"}`.

    Returns:
        The folder.
    """
    eval_set = _dataset("ru_pairs dev", 500)
    documents = [
        "Столица Франции — Париж | [план]",
        "Stolicą Polski jest Warszawa. `łódź`",
        "Берлин — столица\nГермании.",
    ]
    summary = {
        "kind": "cross-encoder",
        "base": "microsoft/MiniLM-L12-H384-uncased",
        "base_is_hub": True,
        "best_step": 20,
        "steps": 40,
        "epochs": 1.0,
        "training_time_s": 95.25,
        "evaluation_time_s": 12.5,
        "tokens": 250000,
        "primary_measure": "ndcg@10",
        "architecture": "CrossEncoder(\n  bert: 12 layers, hidden 384\n  classifier: 384 -> 1\n)",
        "max_length": 256,
        "embedding_size": None,
        "similarity": None,
        "num_labels": 1,
        "loss": {
            "name": "binary_cross_entropy",
            "fullname": "rankwright.losses.binary_cross_entropy",
            "parameters": {"pos_weight": 4.0},
        },
        "comparison": {
            "measure": "ndcg@10",
            "reference": "first stage",
            "reference_value": 0.61,
            "value": 0.71051,
            "difference": 0.10051,
            "low": 0.05,
            "high": 0.15,
            "p_value": 0.0004,
            "num_queries": 173,
            "verdict": "better",
        },
        "usage": {
            "query": "Какой город — столица Франции?",
            "documents": documents,
            "scores": [0.98123, 0.01, 0.25],
            "truth": [1, 0, 0],
        },
    }
    files = {
        "environment.json": ENVIRONMENT,
        "data.json": {"train": _dataset("ru_pairs", 12431), "eval": [eval_set]},
        "evaluations/trained.json": [_evaluation("model", 0.71051)],
        "evaluations/references.json": [_evaluation("first stage", 0.61), _evaluation("untrained", 0.15)],
        "summary.json": summary,
    }
    return _write(folder, RERANKER_CONFIG, files, changes=changes or {})


def make_retriever(folder: Path, *, changes: Mapping[str, Any] | None = None) -> Path:
    """A Matryoshka bi-encoder's run on Polish pairs, measured at three sizes.

    Args:
        folder: where to; made.
        changes: as for `make_reranker`.

    Returns:
        The folder.
    """
    values = {768: 0.52, 256: 0.51, 64: 0.46}
    summary = {
        "kind": "bi-encoder",
        "base": "sdadas/mmlw-roberta-base",
        "base_is_hub": True,
        "base_revision": "57e19d8",
        "best_step": 40,
        "steps": 40,
        "epochs": 2.0,
        "training_time_s": 4000.0,
        "evaluation_time_s": 60.0,
        "tokens": 1000000,
        "primary_measure": "ndcg@10",
        "architecture": "BiEncoder(\n  roberta: 12 layers, hidden 768\n  pooling: cls\n)",
        "max_length": 512,
        "embedding_size": 768,
        "similarity": "cosine",
        "num_labels": None,
        "loss": {
            "name": "matryoshka",
            "fullname": "rankwright.losses.matryoshka",
            "parameters": {"matryoshka_dims": [768, 256, 64], "matryoshka_weights": [1, 1, 1]},
            "wraps": {
                "name": "multiple_negatives_ranking",
                "fullname": "rankwright.losses.multiple_negatives_ranking",
                "parameters": {"temperature": 0.05},
            },
        },
        "comparison": {
            "measure": "ndcg@10",
            "reference": "base",
            "reference_value": 0.5,
            "value": 0.52,
            "difference": 0.02,
            "low": -0.01,
            "high": 0.05,
            "p_value": 0.21,
            "num_queries": 173,
            "verdict": "no difference shown",
        },
        "prompts": {"query": "zapytanie: ", "document": ""},
        "usage": {
            "query": "gdzie rośnie bokkonia?",
            "documents": ["Bokkonia rośnie w Chinach.", "Żywot św. Stanisława"],
            "scores": [0.81234, 0.1],
            "truth": [1, None],
        },
    }
    files = {
        "environment.json": ENVIRONMENT,
        "data.json": {
            "train": _dataset("klej-dyk", 3738),
            "eval": [_dataset("dyk test", 416)],
        },
        "evaluations/trained.json": [
            _evaluation("model", value, task="retrieval", dataset="dyk test", dim=dim) for dim, value in values.items()
        ],
        "evaluations/references.json": [
            *(
                _evaluation("base", value - 0.02, task="retrieval", dataset="dyk test", dim=dim)
                for dim, value in values.items()
            ),
            _evaluation("BM25", 0.44, task="retrieval", dataset="dyk test"),
        ],
        "summary.json": summary,
    }
    return _write(folder, RETRIEVER_CONFIG, files, changes=changes or {})


def _dataset(name: str, size: int) -> dict[str, Any]:
    return {
        "name": name,
        "source": "train.jsonl",
        "size": size,
        "columns": ["query", "document", "label"],
        "sha256": f"{size:064x}",
        "statistics": {
            "query": {"type": "string", "tokens": RANGE},
            "document": {"type": "string", "characters": RANGE},
            "label": {"type": "float", "values": {"0.0": 0.75, "1.0": 0.25}},
        },
        "samples": [
            {"query": "Как | пишется `код`?", "document": "Первая строка\nвторая <b>строка</b> *звезда*", "label": 1.0},
            {"query": "gęślą jaźń", "document": "Zażółć gęślą jaźń, łódź", "label": 0.0},
            {"query": "emoji 🤗", "document": "[CITE](http://example.org) $x$", "label": 0.0},
        ],
        "truncation": {"texts": size, "truncated": 120, "tokens_lost": 4321},
    }


def _evaluation(
    system: str, value: float, *, task: str = "reranking", dataset: str = "ru_pairs dev", dim: int | None = None
) -> dict[str, Any]:
    measures = {"ndcg@10": value, "mrr@10": value - 0.1, "map@100": value - 0.123456789}
    return {
        "task": task,
        "dataset": dataset,
        "system": system,
        "measures": measures,
        "intervals": {name: [measure - 0.03, measure + 0.03] for name, measure in measures.items()},
        "primary": "ndcg@10",
        "num_queries": 173,
        "dim": dim,
        "similarity": "cosine" if dim else None,
        "parameters": {"num_documents": 5000} if task == "retrieval" else {"candidates": "first stage", "top_k": 100},
        "query_ids": ["q1", "q2"],
        "per_query": {"ndcg@10": [value, value]},
    }


def _metrics() -> list[dict[str, Any]]:
    """40 steps, every step logged, evaluated at 20 and 40."""
    rows: list[dict[str, Any]] = []
    for step in range(1, 41):
        row = {"step": step, "epoch": step / 40, "time_s": step * 2.0, "loss": 0.7 - step / 100}
        rows.append(row | {"learning_rate": 2e-5, "grad_norm": 1.0, "tokens": 6000, "tokens_per_s": 3000.0})
        if step % 20 == 0:
            rows.append(
                {
                    "step": step,
                    "epoch": step / 40,
                    "eval_ndcg@10": 0.71051 - (step - 20) / 1000,
                    "eval_mrr@10": 0.6,
                    "saved": step == 20,
                }
            )
    return rows


def _write(folder: Path, config: str, files: Mapping[str, Any], *, changes: Mapping[str, Any]) -> Path:
    facts = json.loads(json.dumps(files))
    for place, value in changes.items():
        name, _, keys = place.partition(":")
        *path, last = keys.split(".")
        target = facts[name]
        for key in path:
            target = target[int(key) if isinstance(target, list) else key]
        target[int(last) if isinstance(target, list) else last] = value
    for name, content in facts.items():
        path_of_file = folder / name
        path_of_file.parent.mkdir(parents=True, exist_ok=True)
        path_of_file.write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
    (folder / "config.toml").write_text(config, encoding="utf-8")
    lines = "".join(json.dumps(row) + "\n" for row in _metrics())
    (folder / "metrics.jsonl").write_text(lines, encoding="utf-8")
    (folder / "model").mkdir(exist_ok=True)
    return folder
