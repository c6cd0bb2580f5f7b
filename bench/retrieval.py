"""Contestants that are given embeddings: the evaluation of retrieval, and the search for the best of a million.

In: the inputs folder, to which the first one that needs them writes the embeddings. Out: measures, or scores.
Queries lie near ten documents each, all else is random: what is found costs no less than with a model's embeddings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from bench.gate import Gate, repeat

SIZE = 384
NUM_QUERIES, NUM_DOCUMENTS, NUM_RELEVANT = 10_000, 100_000, 10
NUM_SEARCHES, NUM_STORED, TOP_K = 100, 1_000_000, 100


@dataclass(frozen=True)
class Embeddings:
    """Unit vectors, and the documents that are relevant to each query."""

    queries_BE: np.ndarray
    documents_CE: np.ndarray
    relevant_BR: np.ndarray


def embeddings(num_queries: int, num_documents: int, *, seed: int = 0) -> Embeddings:
    """Random documents, and queries that lie near the mean of ten of them.

    Args:
        num_queries: B.
        num_documents: C.
        seed: of all.

    Returns:
        The same for the same arguments.
    """
    random = np.random.default_rng(seed)
    documents_CE = random.standard_normal((num_documents, SIZE), dtype=np.float32)
    relevant_BR = random.integers(num_documents, size=(num_queries, NUM_RELEVANT))
    noise_BE = random.standard_normal((num_queries, SIZE), dtype=np.float32)
    queries_BE = documents_CE[relevant_BR].mean(axis=1) + 0.25 * noise_BE
    for rows in (queries_BE, documents_CE):
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return Embeddings(queries_BE, documents_CE, relevant_BR)


class EmbeddingsOnly:
    """Stands for the peer's model: its evaluator gets the embeddings in the order in which it asks."""

    model_card_data = SimpleNamespace(set_evaluation_metrics=lambda *_: None)
    similarity_fn_name = "cosine"

    def __init__(self, given: Embeddings, dtype: str | None) -> None:
        import torch
        from sentence_transformers.util import cos_sim

        self.similarity = cos_sim
        both = (torch.from_numpy(rows) for rows in (given.queries_BE, given.documents_CE))
        self.queries_BE, self.documents_CE = (rows.to(getattr(torch, dtype)) if dtype else rows for rows in both)
        self.start = 0

    def encode_query(self, texts: Sequence[str], **_: object) -> object:
        """The queries; a pass over the documents begins."""
        self.start = 0
        return self.queries_BE

    def encode_document(self, texts: Sequence[str], **_: object) -> object:
        """The next documents."""
        rows = slice(self.start, self.start + len(texts))
        self.start = rows.stop
        return self.documents_CE[rows]


def peer_evaluate(gate: Gate, inputs: object, *, chunk: int = 50_000, dtype: str | None = None) -> None:
    """sentence-transformers' evaluator."""
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    given = embeddings(NUM_QUERIES, NUM_DOCUMENTS)
    queries, documents, qrels = texts_of(given)
    relevant = {query_id: set(grades) for query_id, grades in qrels.items()}
    evaluator = InformationRetrievalEvaluator(queries, documents, relevant, corpus_chunk_size=chunk, write_csv=False)
    model = EmbeddingsOnly(given, dtype)

    def work() -> list[float]:
        found = evaluator(model)
        return [found[f"cosine_{name}"] for name in ("ndcg@10", "mrr@10", "map@100", "accuracy@1", "recall@10")]

    repeat(gate, work)


def our_evaluate(gate: Gate, inputs: object) -> None:
    """Rankwright's evaluation."""
    from rankwright.evaluation import evaluate_retrieval
    from rankwright.records import RetrievalSet

    given = embeddings(NUM_QUERIES, NUM_DOCUMENTS)
    data = RetrievalSet("random", *texts_of(given))

    def work() -> list[float]:
        (found,) = evaluate_retrieval((given.queries_BE, given.documents_CE), data)
        return [found.measures[name] for name in ("ndcg@10", "mrr@10", "map@100", "accuracy@1", "recall@10")]

    repeat(gate, work)


def texts_of(given: Embeddings) -> tuple[dict[str, str], dict[str, str], dict[str, dict[str, int]]]:
    """Queries, documents and judgments with ids; the texts are never read."""
    queries = {f"q{at}": "" for at in range(len(given.queries_BE))}
    documents = {f"d{at}": "" for at in range(len(given.documents_CE))}
    rows = zip(queries, given.relevant_BR.tolist(), strict=True)
    return queries, documents, {query_id: {f"d{at}": 1 for at in row} for query_id, row in rows}


def judged(num_queries: int, num_ranked: int) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, int]]]:
    """A run and judgments of grades 0 to 3 for all that it ranks: as many of each as the product of the two."""
    random = np.random.default_rng(0)
    scores_BK = -np.sort(-random.random((num_queries, num_ranked)), axis=1)
    grades_BK = random.integers(4, size=(num_queries, num_ranked))
    ids = [f"d{at}" for at in range(num_ranked)]
    run = {f"q{at}": dict(zip(ids, row, strict=True)) for at, row in enumerate(scores_BK.tolist())}
    qrels = {f"q{at}": dict(zip(ids, row, strict=True)) for at, row in enumerate(grades_BK.tolist())}
    return run, qrels


def peer_measures(gate: Gate, inputs: object) -> None:
    """What sentence-transformers' evaluator makes of its lists; it knows relevant or not, and no grades."""
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    run, qrels = judged(NUM_QUERIES, TOP_K)
    relevant = {query_id: {document for document, grade in row.items() if grade} for query_id, row in qrels.items()}
    names = dict.fromkeys(next(iter(qrels.values())), "")
    evaluator = InformationRetrievalEvaluator(dict.fromkeys(qrels, ""), names, relevant, write_csv=False)
    lists = [[{"corpus_id": document, "score": score} for document, score in row.items()] for row in run.values()]

    def work() -> list[float]:
        found = evaluator.compute_metrics(lists)
        return [found["mrr@k"][10], found["map@k"][100]]

    repeat(gate, work)


def trec_eval_measures(gate: Gate, inputs: object) -> None:
    """trec_eval, in C, by pytrec_eval."""
    import pytrec_eval

    run, qrels = judged(NUM_QUERIES, TOP_K)
    names = {"ndcg_cut.10", "recip_rank", "map_cut.100", "recall.1,3,5,10", "P.1,3,5,10", "success.1,5,10"}
    evaluator = pytrec_eval.RelevanceEvaluator(qrels, names)

    def work() -> list[float]:
        found = evaluator.evaluate(run).values()
        return [float(np.mean([row[name] for row in found])) for name in ("recip_rank", "map_cut_100")]

    repeat(gate, work)


def our_measures(gate: Gate, inputs: object) -> None:
    """Rankwright's measures, the same that the peer has; at ten, reciprocal ranks are as good as without an end."""
    from rankwright.evaluation.runs import RETRIEVAL_MEASURES, measure_run

    run, qrels = judged(NUM_QUERIES, TOP_K)

    def work() -> list[float]:
        found = measure_run(run, qrels, measures=RETRIEVAL_MEASURES)
        return [float(found[name].mean()) for name in ("mrr@10", "map@100")]

    repeat(gate, work)


def peer_search(gate: Gate, inputs: object, *, score_function: str = "cos_sim") -> None:
    """sentence-transformers' search."""
    import torch
    from sentence_transformers import util

    given = embeddings(NUM_SEARCHES, NUM_STORED)
    queries_BE, documents_CE = (torch.from_numpy(rows) for rows in (given.queries_BE, given.documents_CE))
    function = getattr(util, score_function)

    def work() -> list[list[float]]:
        found = util.semantic_search(queries_BE, documents_CE, top_k=TOP_K, score_function=function)
        return [[float(hit["score"]) for hit in hits] for hits in found]

    repeat(gate, work)


def torch_search(gate: Gate, inputs: object) -> None:
    """One product and topk, in torch."""
    import torch

    given = embeddings(NUM_SEARCHES, NUM_STORED)
    queries_BE, documents_CE = (torch.from_numpy(rows) for rows in (given.queries_BE, given.documents_CE))
    repeat(gate, lambda: torch.topk(queries_BE @ documents_CE.T, TOP_K).values.numpy())


def numpy_search(gate: Gate, inputs: object) -> None:
    """One product and argpartition, in numpy."""
    given = embeddings(NUM_SEARCHES, NUM_STORED)

    def work() -> np.ndarray:
        scores_BC = given.queries_BE @ given.documents_CE.T
        best_BK = np.argpartition(scores_BC, -TOP_K, axis=1)[:, -TOP_K:]
        return -np.sort(-np.take_along_axis(scores_BC, best_BK, axis=1), axis=1)

    repeat(gate, work)


def our_search(gate: Gate, inputs: object, *, storage: str) -> None:
    """Rankwright's search; documents are stored in the type before."""
    from rankwright.evaluation import search
    from rankwright.models.precision import quantize

    given, ranges_2E = embeddings(NUM_SEARCHES, NUM_STORED), None
    documents_CE = given.documents_CE
    if storage == "int8":
        ranges_2E = np.stack([documents_CE.min(axis=0), documents_CE.max(axis=0)])
        parts = np.array_split(documents_CE, 100)
        documents_CE = np.concatenate([quantize(part, "int8", ranges_2E=ranges_2E) for part in parts])
    documents_CE = documents_CE.astype(storage, copy=False)
    queries_BE = given.queries_BE
    del given
    repeat(gate, lambda: search(queries_BE, documents_CE, top_k=TOP_K, ranges_2E=ranges_2E)[0])
