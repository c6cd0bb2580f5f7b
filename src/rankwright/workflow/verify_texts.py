"""The texts that `rankwright verify` runs: in 12 scripts, ones that break tokenizers, and the user's own.

In: a file of texts or of pairs. Out: `Material`: pairs of a query and a document, or texts of both. Letters: P pairs.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from rankwright.data import read_pairs, read_texts
from rankwright.data.columns import find_columns
from rankwright.data.sources import open_source
from rankwright.encoder.spec import Kind
from rankwright.errors import DataError
from rankwright.text.tokens import Text

Pair = tuple[str, str]

SCRIPTS = Path(__file__).parent / "verify_texts.json"
"""For each script a query, a document that answers it, and one that does not."""

RANKED = 4
"""Queries that get the documents of all scripts; the others get their own."""

GROUP = 10
"""Texts of a file that make a ranking: the first of them is the query of all."""

SENTENCE = "The moon pulls on the oceans, so the water rises and falls twice a day. "

LONG = SENTENCE * 80
"""About 1,400 tokens: most models cut it, and those that need not still run it in a second or so."""

HARD = (
    "",
    " \t\r\n ",
    "a",
    "  leading and   inner   and trailing spaces  ",
    "first line\nsecond line\n\nfourth line\ttab",
    "\U0001f600 \U0001f44d\U0001f3fd \U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1f5\U0001f1f1 \u2764\ufe0f text",
    "e\u0301 beside \u00e9, A\u030angstro\u0308m, z\u0323\u0307, q\u0307\u0323\u0308\u0301",
    "e" + "\u0301" * 200,
    "zero\u200bwidth, no\u00a0break, soft\u00adhyphen, \ufeffmark, line\u2028end",
    "NUL \x00 and controls \x07\x1b[0m \x7f",
    "\uff26\uff35\uff2c\uff2c width, \ufb01 ligature, \u00bd, \u00b2, \u2116, \u338f",
    "Za\u017c\u00f3\u0142\u0107 g\u0119\u015bl\u0105 ja\u017a\u0144, STRASSE, Stra\u00dfe, \u0130stanbul",
    "[CLS] literal [SEP] special [PAD] tokens [MASK] of BERT [UNK]",
    "<s> literal </s> special <pad> tokens <mask> of RoBERTa <unk>",
    "<pad><pad> first, glued</s>tokens[SEP]here, last <pad>",
    "12 345,678.90 + 1e-12 == 0x1F; x_y-z@example.org/path?q=1&r=%20",
    "x" * 300,
    "\n" * 6000 + "after six thousand new lines",
    LONG,
)
"""Empty, white space, marks, controls, literal special tokens, too long."""

HARD_PAIRS = ((LONG, LONG + "and once more"), (LONG, SENTENCE), ("", ""), ("[SEP]", "</s>"), (SENTENCE, SENTENCE))
"""Pairs whose two sides matter together: which is cut, and where one ends."""


@dataclass(frozen=True)
class Material:
    """What a model of that kind is given: pairs, or the texts of their two sides."""

    kind: Kind
    pairs: list[Pair]

    @cached_property
    def queries(self) -> list[str]:
        """Each query once."""
        return list(dict.fromkeys(query for query, _ in self.pairs))

    @cached_property
    def documents(self) -> list[str]:
        """Each document once."""
        return list(dict.fromkeys(document for _, document in self.pairs))

    @property
    def texts(self) -> list[Text]:
        """What gets values: each pair of a cross-encoder; the queries, then the documents of a bi-encoder."""
        return self.prompted("", "")

    def prompted(self, before_query: str, before_document: str) -> list[Text]:
        """The same with prompts before them.

        Args:
            before_query: put before each query.
            before_document: put before each document.

        Returns:
            The texts (or pairs) as a tokenizer gets them.
        """
        if self.kind == "cross-encoder":
            return [(before_query + query, before_document + document) for query, document in self.pairs]
        return [*(before_query + text for text in self.queries), *(before_document + text for text in self.documents)]

    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """Where the query and the document of each pair are.

        Returns:
            Indices in `queries` and in `documents`, P of each.
        """
        query_places = {text: i for i, text in enumerate(self.queries)}
        document_places = {text: i for i, text in enumerate(self.documents)}
        places_P2 = np.array([(query_places[query], document_places[document]) for query, document in self.pairs])
        return places_P2[:, 0], places_P2[:, 1]

    def rankings(self, token_ids: Sequence[Sequence[int]]) -> list[list[int]]:
        """The pairs of each query that has several documents; of documents with the same tokens only the first.

        They have equal scores but for rounding, so that their order means nothing.

        Args:
            token_ids: of `texts`.

        Returns:
            Indices of pairs.
        """
        rows_P = range(len(self.pairs)) if self.kind == "cross-encoder" else len(self.queries) + self.places()[1]
        groups: dict[str, dict[tuple[int, ...], int]] = {}
        for i, row in enumerate(rows_P):
            groups.setdefault(self.pairs[i][0], {}).setdefault(tuple(token_ids[row]), i)
        return [list(group.values()) for group in groups.values() if len(group) > 1]


def built_in_pairs() -> list[Pair]:
    """Pairs of all scripts, and hard ones.

    Returns:
        The pairs, each once.
    """
    scripts = json.loads(SCRIPTS.read_text(encoding="utf-8"))
    queries = [script["query"] for script in scripts]
    documents = [document for script in scripts for document in script["documents"]]
    ranked = [(query, document) for query in queries[:RANKED] for document in documents]
    own = [(script["query"], document) for script in scripts[RANKED:] for document in script["documents"]]
    everything = " ".join(queries)
    return [*ranked, *own, *((queries[0], text) for text in (*HARD, everything)), *HARD_PAIRS]


def read_given_pairs(source: str, *, column: str | None = None) -> list[Pair]:
    """The pairs of a file of pairs, as `read_pairs` finds their columns, or pairs made of the texts of any other file.

    Args:
        source: as `read_texts` takes it.
        column: the column of the texts; then the file is one of texts.

    Returns:
        One pair for each row. Of texts, each is a document, and the first of each `GROUP` is the query.
    """
    if column is None and _has_pairs(source):
        rows = (row.texts for row in read_pairs(source).rows)
        return [(query, document) for query, document, *_ in rows]
    texts = read_texts(source, column=column)
    return [(texts[i - i % GROUP], text) for i, text in enumerate(texts)]


def _has_pairs(source: str) -> bool:
    if not Path(source).is_file() or Path(source).suffix.lower() == ".txt":
        return False
    first = next(open_source(source).rows, None)
    try:
        return first is not None and bool(find_columns(list(first[1]), None, place=source))
    except DataError:
        return False
