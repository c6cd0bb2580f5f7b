"""A model, or a reference without one, on evaluation data of any kind.

In: what `read_pairs` or `read_retrieval` gave, and a model. Does: the tasks that the data allow. Out: `Evaluation`s.
Letters: B queries, C documents, N pairs, E embedding.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from rankwright.data import PairTable, content_sha256, group_labelled, is_retrieval_folder, read_pairs, read_retrieval
from rankwright.data.sources import evaluation_split
from rankwright.errors import ConfigError
from rankwright.evaluation import (
    RERANKING_MEASURES,
    RETRIEVAL_MEASURES,
    Evaluation,
    bm25_run,
    bm25_score,
    evaluate_classification,
    evaluate_first_stage,
    evaluate_reranking,
    evaluate_retrieval,
    evaluate_run,
    evaluate_similarity,
    longer_text_scores,
)
from rankwright.evaluation.retrieval import depth_of
from rankwright.models import BiEncoder, CrossEncoder
from rankwright.models.similarity import PAIRWISE
from rankwright.records import LabelledPair, PositivePair, RetrievalSet

Score = Callable[[Sequence[tuple[str, str]]], np.ndarray]


@dataclass(frozen=True)
class EvaluationData:
    """What a model is measured on: a retrieval set, labelled pairs, or both views of the same pairs.

    Attributes:
        name: what reports call it.
        source: as given.
        retrieval: queries, documents and judgments, where the data have them.
        has_corpus: whether the documents are a corpus to search (else they are candidates of their queries only).
        labelled: the labelled pairs, where the data are pairs.
        table: the pairs as read, for statistics.
        sha256: of the source.
    """

    name: str
    source: str
    retrieval: RetrievalSet | None = None
    has_corpus: bool = False
    labelled: list[LabelledPair] = field(default_factory=list)
    table: PairTable | None = None
    sha256: str = ""

    @property
    def is_binary(self) -> bool:
        """Whether all labels of the labelled pairs are 0 or 1."""
        return {row.label for row in self.labelled} <= {0.0, 1.0}


@dataclass(frozen=True)
class Settings:
    """What to measure; empty means the task's own choice. `top_k` documents of each query are reranked."""

    measures: tuple[str, ...] = ()
    primary: str | None = None
    top_k: int = 100
    dims: tuple[int, ...] = ()


def read_evaluation_data(
    source: Any,
    *,
    columns: Mapping[str, str] | None = None,
    split: str | None = None,
    name: str | None = None,
    first_stage: str | Path | None = None,
) -> EvaluationData:
    """Read data to measure on.

    Args:
        source: a BEIR folder, a file or Hub name of pairs, or records.
        columns: role -> column name, for pairs.
        split: of a BEIR folder or a data set; None: of a folder test, else dev; of others `evaluation_split`.
        name: what reports call it; None: from the source.
        first_stage: a TREC run to rerank, for a BEIR folder.

    Returns:
        The data.

    Raises:
        DataError: rows that cannot be used.
        ConfigError: an argument that has no effect on this kind of data.
    """
    if isinstance(source, (str, Path)) and is_retrieval_folder(Path(source)):
        retrieval = read_retrieval(source, split=split, first_stage=first_stage)
        retrieval = retrieval if name is None else replace(retrieval, name=name)
        digest = content_sha256(source, split=split)
        return EvaluationData(retrieval.name, str(source), retrieval, has_corpus=True, sha256=digest)
    if first_stage is not None:
        raise ConfigError(f"first_stage={str(first_stage)!r} needs a BEIR folder as data, got {source!r:.80}.")
    split = split or evaluation_split(source)
    return evaluation_data_of(read_pairs(source, columns=columns, split=split, name=name))


def evaluation_data_of(table: PairTable) -> EvaluationData:
    """Pairs as evaluation data.

    Args:
        table: labelled pairs, judged by query where labels are 0 and 1 and queries have several documents; or positive
            pairs, whose documents together are the corpus.

    Returns:
        The data.
    """
    if table.kind == "labelled":
        rows = table.labelled_rows()
        is_ranking = {row.label for row in rows} <= {0.0, 1.0} and _has_choices(rows)
        retrieval = group_labelled(rows, name=table.name) if is_ranking else None
        return EvaluationData(table.name, table.source, retrieval, labelled=rows, table=table, sha256=table.sha256)
    judged = [pair for row in table.positive_rows() for pair in _judged(row)]
    retrieval = group_labelled(judged, name=table.name)
    return EvaluationData(table.name, table.source, retrieval, has_corpus=True, table=table, sha256=table.sha256)


def measure_model(
    model: BiEncoder | CrossEncoder, data: EvaluationData, settings: Settings = Settings(), *, system: str = "model"
) -> list[Evaluation]:
    """All that the data can tell of a model, the primary evaluation first.

    Args:
        model: of either kind.
        data: what to measure on.
        settings: measures, sizes, depth.
        system: the model's name in reports.

    Returns:
        Retrieval at each size for a bi-encoder and a corpus; reranking for a cross-encoder (of the first stage, else of
        BM25's) and for judged pairs; classification or similarity for labelled pairs.
    """
    if isinstance(model, BiEncoder):
        dims = settings.dims or (model.get_embedding_dimension(),)
        embed, similarity = Embedder(model, data), model.similarity_fn_name
        if data.retrieval is not None and data.has_corpus:
            return evaluate_retrieval(
                embed.retrieval(),
                data.retrieval,
                similarity=similarity,
                dims=dims,
                measures=settings.measures or RETRIEVAL_MEASURES,
                system=system,
            )
        at_sizes = [(dim, measure_scores(embed.scorer(dim), data, settings, system=system)) for dim in dims]
        return [replace(e, dim=dim, similarity=similarity) for dim, found in at_sizes for e in found]
    if model.num_labels > 1:
        data = replace(data, retrieval=None)  # several labels give no order of documents
    return measure_scores(lambda pairs: model.predict(list(pairs)), data, settings, system=system)


def measure_scores(score: Score, data: EvaluationData, settings: Settings, *, system: str) -> list[Evaluation]:
    """All that the data can tell of a function that scores pairs.

    Args:
        score: (query, document) texts -> one score each, or one for each label.
        data: what to measure on.
        settings: measures and depth.
        system: its name in reports.

    Returns:
        Reranking where there are candidates, and classification or similarity of labelled pairs.
    """
    score = _remembering(score)
    evaluations = []
    retrieval = data.retrieval
    if retrieval is not None:
        retrieval = with_first_stage(retrieval, settings.top_k) if data.has_corpus else retrieval
        top_k = settings.top_k if retrieval.first_stage is not None else None
        measures = ranking_measures(settings)
        evaluations.append(evaluate_reranking(score, retrieval, measures=measures, system=system, top_k=top_k))
    if data.labelled:
        labels = [row.label for row in data.labelled]
        scores = np.asarray(score([row.texts for row in data.labelled]))
        measure = evaluate_classification if scores.ndim == 2 or data.is_binary else evaluate_similarity
        evaluations.append(measure(scores, labels, dataset=data.name, system=system))
    return primary_first(evaluations, settings.primary)


def measure_references(data: EvaluationData, settings: Settings, *, searches: bool) -> list[Evaluation]:
    """What needs no model: the first stage, BM25, and for labelled pairs "the longer text wins".

    Args:
        data: what to measure on.
        settings: measures and depth.
        searches: whether the model to compare with searches the corpus (a bi-encoder), or reranks.

    Returns:
        One or more evaluations for each reference, the primary one first.
    """
    retrieval = data.retrieval
    if retrieval is not None and data.has_corpus:
        if searches:
            measures = settings.measures or RETRIEVAL_MEASURES
            run = bm25_run(retrieval, top_k=depth_of(measures))  # as deep as a model's own search
            return [evaluate_run(run, retrieval, measures=measures, system="BM25")]
        first = with_first_stage(retrieval, settings.top_k)
        system = "first stage" if retrieval.first_stage is not None else "first stage (BM25)"
        evaluation = evaluate_first_stage(first, measures=ranking_measures(settings), top_k=settings.top_k)
        return [replace(evaluation, system=system)]
    documents = list(dict.fromkeys(row.document for row in data.labelled))
    references = measure_scores(bm25_score(documents), data, settings, system="BM25")
    longer = longer_text_scores(data.labelled)
    if data.is_binary:
        references.append(
            evaluate_classification(
                longer, [row.label for row in data.labelled], dataset=data.name, system="longer text"
            )
        )
    return references


def primary_first(evaluations: list[Evaluation], primary: str | None, *, is_required: bool = True) -> list[Evaluation]:
    """The evaluation that has the primary measure first, and that measure as its primary.

    Args:
        evaluations: of one system.
        primary: a measure, or None for the first evaluation's own.
        is_required: whether one of them must have it; "the longer text wins" ranks nothing, and need not.

    Returns:
        The same evaluations.

    Raises:
        ConfigError: no evaluation has that measure, and one must.
    """
    if primary is None:
        return evaluations
    having = [e for e in evaluations if primary in e.measures]
    if not having and is_required:
        known = ", ".join(dict.fromkeys(name for e in evaluations for name in e.measures))
        raise ConfigError(f"primary measure {primary!r} is not among those of this data: {known}.")
    rest = [e for e in evaluations if e not in having]
    return [replace(e, primary=primary) for e in having] + rest


def ranking_measures(settings: Settings) -> tuple[str, ...]:
    """The measures of a reranking: those asked for that are measures of rankings, else ST's three."""
    return tuple(filter(is_of_rankings, settings.measures)) or RERANKING_MEASURES


def is_of_rankings(measure: str) -> bool:
    """Whether a name is that of a measure of ranked lists, not of pairs."""
    return "@" in measure or measure == "map"


def with_first_stage(retrieval: RetrievalSet, top_k: int) -> RetrievalSet:
    """The set with BM25's run as its first stage, where it has none.

    Args:
        retrieval: queries, documents and judgments.
        top_k: documents of each query.

    Returns:
        A set with a first stage.
    """
    if retrieval.first_stage is not None:
        return retrieval
    return replace(retrieval, first_stage=bm25_run(retrieval, top_k=top_k))


class Embedder:
    """Embeddings of the texts of a data set, each text embedded once."""

    def __init__(self, model: BiEncoder, data: EvaluationData) -> None:
        self.model, self.data = model, data
        self.rows: dict[str, dict[str, np.ndarray]] = {"query": {}, "document": {}}

    def retrieval(self) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings of all queries and all documents of the retrieval set."""
        assert self.data.retrieval is not None
        queries_BE = self.model.encode_query(list(self.data.retrieval.queries.values()))
        documents_CE = self.model.encode_document(list(self.data.retrieval.documents.values()))
        return queries_BE, documents_CE

    def scorer(self, dim: int) -> Score:
        """A function that scores pairs by the similarity of their embeddings, cut to `dim`."""

        def score(pairs: Sequence[tuple[str, str]]) -> np.ndarray:
            queries_NE = self._embed("query", [query for query, _ in pairs])[:, :dim]
            documents_NE = self._embed("document", [document for _, document in pairs])[:, :dim]
            return PAIRWISE[self.model.similarity_fn_name](queries_NE, documents_NE)

        return score

    def _embed(self, task: str, texts: Sequence[str]) -> np.ndarray:
        known = self.rows[task]
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            encode = self.model.encode_query if task == "query" else self.model.encode_document
            known.update(zip(new, encode(new), strict=True))
        return np.stack([known[text] for text in texts])


def _remembering(score: Score) -> Score:
    """The same function, which scores each pair once: both views of labelled pairs ask for the same ones."""
    known: dict[tuple[str, str], Any] = {}

    def scored(pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        new = [pair for pair in dict.fromkeys(pairs) if pair not in known]
        if new:
            known.update(zip(new, score(new), strict=True))
        return np.asarray([known[pair] for pair in pairs])

    return scored


def _judged(row: PositivePair) -> list[LabelledPair]:
    positive = LabelledPair(row.query, row.positive, 1.0, row.query_id, row.positive_id)
    return [positive, *(LabelledPair(row.query, negative, 0.0, row.query_id) for negative in row.negatives)]


def _has_choices(rows: Sequence[LabelledPair]) -> bool:
    """Whether at least half of the queries have both relevant and other documents, so that order matters."""
    labels: dict[str, set[float]] = {}
    for row in rows:
        labels.setdefault(row.query_id or row.query, set()).add(row.label)
    return 2 * sum(len(found) > 1 for found in labels.values()) >= len(labels)
