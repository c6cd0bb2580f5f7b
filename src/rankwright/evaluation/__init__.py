"""Evaluate: what a ranker is worth, beside its references, with intervals.

In: embeddings, scores or runs, and judgments. Out: `Evaluation` (measures, intervals, each query's values) and
`Comparison` (a paired test of two evaluations).

* Retrieval: `evaluate_retrieval` (embeddings), `evaluate_run` (any run), `search` (the exact search alone).
* Reranking: `evaluate_reranking`, with `evaluate_first_stage` beside it.
* Labelled pairs: `evaluate_classification`, `evaluate_similarity`.
* References without a model: `bm25_run`, `bm25_score`, `longer_text_scores`, `prior_scores`.
* Two systems: `compare`. Many: `table_rows`. Files: `read_evaluations`, `write_evaluations`.
* Measures alone: `measure_run`, `parse_measure`.
"""

from rankwright.evaluation.baselines import bm25_run, bm25_score, longer_text_scores, prior_scores
from rankwright.evaluation.comparison import Comparison, compare
from rankwright.evaluation.measures import Measure, parse_measure
from rankwright.evaluation.pairs import evaluate_classification, evaluate_similarity
from rankwright.evaluation.report import Evaluation, read_evaluations, table_rows, write_evaluations
from rankwright.evaluation.reranking import RERANKING_MEASURES, evaluate_first_stage, evaluate_reranking
from rankwright.evaluation.retrieval import evaluate_retrieval
from rankwright.evaluation.runs import RETRIEVAL_MEASURES, evaluate_run, judged_queries, measure_run
from rankwright.models.search import search

__all__ = [
    "RERANKING_MEASURES",
    "RETRIEVAL_MEASURES",
    "Comparison",
    "Evaluation",
    "Measure",
    "bm25_run",
    "bm25_score",
    "compare",
    "evaluate_classification",
    "evaluate_first_stage",
    "evaluate_reranking",
    "evaluate_retrieval",
    "evaluate_run",
    "evaluate_similarity",
    "judged_queries",
    "longer_text_scores",
    "measure_run",
    "parse_measure",
    "prior_scores",
    "read_evaluations",
    "search",
    "table_rows",
    "write_evaluations",
]
