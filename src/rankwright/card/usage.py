"""The usage section: code that runs as it stands, and what it really gave.

In: the usage example of a run, computed by the saved model. Out: Python snippets and a table.
"""

from collections.abc import Sequence

import numpy as np

from rankwright.card.markdown import fence, number, plain, table
from rankwright.card.metadata import CLASS_NAMES
from rankwright.card.run_folder import RunFolder, Usage
from rankwright.hub_upload import NAMELESS
from rankwright.models.checkpoint_files import MODEL_TYPES

PRIVATE = "..."
"""Stands in a snippet for a text that the run keeps to itself."""

MAX_TABLE_TEXT = 200


def snippet(run: RunFolder, *, library: str) -> str:
    """Python code that loads the model, uses it on the example, and shows the output as a comment.

    Args:
        run: the facts of the run.
        library: the module to import from, "rankwright" or "sentence_transformers".

    Returns:
        A fenced block; without an example, the code that loads the model.
    """
    kind, usage = run.summary.kind, run.summary.usage
    class_name = (CLASS_NAMES if library == "rankwright" else MODEL_TYPES)[kind]
    to_numpy = "" if library == "rankwright" else ".numpy()"  # similarity() of sentence-transformers gives a tensor
    model_id = run.config.card.model_id or NAMELESS
    lines = [f"from {library} import {class_name}", "", f'model = {class_name}("{model_id}")']
    if usage is not None:
        lines += [f"query = {_text(usage.query, run.shows_texts)}"]
        lines += ["documents = [", *(f"    {_text(one, run.shows_texts)}," for one in usage.documents), "]"]
        lines += _retrieve(usage, to_numpy) if kind == "bi-encoder" else _rerank(usage)
    return fence("\n".join(lines), "python")


def ranking_table(run: RunFolder) -> str:
    """The documents of the example, best first, beside the labels that people gave; "" where they have no order."""
    usage = run.summary.usage
    if usage is None or not usage.is_ranking:
        return ""
    rows = []
    for rank, i in enumerate(_order(usage), start=1):
        text = plain(usage.documents[i], MAX_TABLE_TEXT) if run.shows_texts else f"document {i} (not shown)"
        label = [_label(usage.truth[i])] if usage.truth else []
        rows.append([str(rank), number(usage.scores[i][0]), *label, text])
    return table(["Rank", "Score", *(["Label"] if usage.truth else []), "Document"], rows)


def _label(value: float | None) -> str:
    """A label as people gave it; "-" where nobody did."""
    return "-" if value is None else f"{value:g}"


def _rerank(usage: Usage) -> list[str]:
    if not usage.is_ranking:
        lines = ["scores = model.predict([(query, document) for document in documents])", "print(scores.round(4))"]
        return lines + _printed(usage.scores)
    lines = ["for entry in model.rank(query, documents):", "    print(f\"{entry['corpus_id']} {entry['score']:.4f}\")"]
    return lines + [f"# {i} {usage.scores[i][0]:.4f}" for i in _order(usage)]


def _retrieve(usage: Usage, to_numpy: str) -> list[str]:
    return [
        "query_embeddings = model.encode_query([query])",
        "document_embeddings = model.encode_document(documents)",
        f"print(model.similarity(query_embeddings, document_embeddings){to_numpy}.round(4))",
        *_printed([[row[0] for row in usage.scores]]),
    ]


def _printed(rows: Sequence[Sequence[float]]) -> list[str]:
    """A matrix as numpy prints it, in the comment under the line that does."""
    return [f"# {line}" for line in str(np.array(rows, dtype=np.float32).round(4)).split("\n")]


def _order(usage: Usage) -> list[int]:
    """Places of the documents by falling score; equal scores keep their order."""
    return sorted(range(len(usage.documents)), key=lambda i: usage.scores[i], reverse=True)


def _text(text: str, shows_texts: bool) -> str:
    return repr(text if shows_texts else PRIVATE)
