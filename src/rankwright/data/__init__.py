"""Pairs, judgments and texts from files, folders, the Hub and objects; every flaw is an error before work begins.

In: what the user names. Out: `PairTable`, `RetrievalSet` and lists of texts.
Importing this loads the standard library only.
"""

from rankwright.data.groups import group_labelled, labelled_to_positive
from rankwright.data.pairs import PairTable, read_pairs, rows_sha256
from rankwright.data.retrieval import content_sha256, is_retrieval_folder, read_retrieval, retrieval_to_pairs
from rankwright.data.statistics import table_statistics
from rankwright.data.texts import read_texts

__all__ = [
    "PairTable",
    "content_sha256",
    "group_labelled",
    "is_retrieval_folder",
    "labelled_to_positive",
    "read_pairs",
    "read_retrieval",
    "read_texts",
    "retrieval_to_pairs",
    "rows_sha256",
    "table_statistics",
]
