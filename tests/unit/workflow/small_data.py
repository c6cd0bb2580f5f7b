"""Data sets of a few rows of every kind, written as files.

In: a folder. Out: paths.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.texts import CORPUS

NUM_QUERIES = 20
DOCUMENTS = [" ".join(text.split()[:7]) for text in CORPUS[:10]]
QUERIES = [f"{' '.join(DOCUMENTS[i % 10].split()[:3])} number {i}" for i in range(NUM_QUERIES)]


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Writes JSONL, and the folder for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def judged_pairs(path: Path) -> Path:
    """Each query with its own document (label 1) and two others (label 0)."""
    return write_rows(
        path,
        (
            {"query": query, "document": DOCUMENTS[(i + shift) % 10], "label": int(shift == 0)}
            for i, query in enumerate(QUERIES)
            for shift in (0, 3, 5)
        ),
    )


def positive_pairs(path: Path) -> Path:
    """Each query with its own document and one that does not answer it."""
    return write_rows(
        path,
        (
            {"query": query, "positive": DOCUMENTS[i % 10], "negative": DOCUMENTS[(i + 4) % 10]}
            for i, query in enumerate(QUERIES)
        ),
    )


def graded_pairs(path: Path) -> Path:
    """Pairs with how similar they are, between 0 and 1."""
    return write_rows(
        path,
        (
            {"sentence1": query, "sentence2": DOCUMENTS[(i * 3) % 10], "score": round((i % 5) / 4, 2)}
            for i, query in enumerate(QUERIES)
        ),
    )


def classified_pairs(path: Path, *, num_classes: int = 3) -> Path:
    """Arguments: each query once, with a class; no query has a choice of documents."""
    return write_rows(
        path,
        ({"query": query, "document": DOCUMENTS[i % 7], "label": i % num_classes} for i, query in enumerate(QUERIES)),
    )


def beir_folder(folder: Path) -> Path:
    """Queries, documents and one judgment each, as BEIR lays them out."""
    write_rows(folder / "corpus.jsonl", ({"_id": f"d{i}", "title": "", "text": t} for i, t in enumerate(DOCUMENTS)))
    write_rows(folder / "queries.jsonl", ({"_id": f"q{i}", "text": t} for i, t in enumerate(QUERIES)))
    (folder / "qrels").mkdir()
    lines = ["query-id\tcorpus-id\tscore", *(f"q{i}\td{i % 10}\t1" for i in range(NUM_QUERIES))]
    (folder / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
