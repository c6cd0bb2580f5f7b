"""The plain values that flow between the stages: pairs, judgments and runs, in the words of TREC.

In: what `data/` reads. Out: what `text/`, `training/` and `evaluation/` take.
"""

from collections.abc import Mapping
from dataclasses import dataclass

Qrels = Mapping[str, Mapping[str, float]]
"""Judgments: query id -> document id -> grade; 0 or less is judged not relevant."""

Run = Mapping[str, Mapping[str, float]]
"""Scored lists: query id -> document id -> score, higher is better."""


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """A query and a document with the label that people gave to the pair."""

    query: str
    document: str
    label: float
    query_id: str = ""
    document_id: str = ""

    @property
    def texts(self) -> tuple[str, str]:
        """Query and document."""
        return self.query, self.document


@dataclass(frozen=True, slots=True)
class PositivePair:
    """A query with a document that answers it, and documents that do not."""

    query: str
    positive: str
    negatives: tuple[str, ...] = ()
    query_id: str = ""
    positive_id: str = ""

    @property
    def texts(self) -> tuple[str, ...]:
        """Query, positive, then the negatives."""
        return self.query, self.positive, *self.negatives


@dataclass(frozen=True)
class RetrievalSet:
    """Queries, documents and judgments; `first_stage` is the run to rerank, where one is given."""

    name: str
    queries: Mapping[str, str]
    documents: Mapping[str, str]
    qrels: Qrels
    first_stage: Run | None = None
