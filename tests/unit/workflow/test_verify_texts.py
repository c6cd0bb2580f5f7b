"""The built-in texts, the user's files, and what is made of their pairs."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from rankwright.errors import DataError
from rankwright.workflow.verify_texts import GROUP, HARD, HARD_PAIRS, LONG, Material, built_in_pairs, read_given_pairs
from tests.unit.workflow.small_data import judged_pairs, positive_pairs, write_rows

SCRIPTS = (
    "ARABIC", "BENGALI", "CJK", "CYRILLIC", "DEVANAGARI", "GEORGIAN", "GREEK", "HANGUL", "HEBREW", "HIRAGANA", "LATIN",
    "THAI",
)  # fmt: skip
PAIRS = [("q", "one"), ("q", "two"), ("q", "same"), ("other", "one"), ("other", "two"), ("alone", "one")]


def scripts_of(text: str) -> set[str]:
    """The scripts that the letters of a text are of."""
    return {unicodedata.name(letter).split()[0] for letter in text if letter.isalpha()}


def test_twelve_scripts_have_a_query_and_documents() -> None:
    pairs = built_in_pairs()
    for side in (0, 1):
        found = {script for pair in pairs for script in scripts_of(pair[side]) if len(scripts_of(pair[side])) <= 3}
        assert set(SCRIPTS) <= found
    assert {query for query, _ in pairs} >= {query for query, _ in HARD_PAIRS}


def test_what_breaks_tokenizers_is_among_the_documents() -> None:
    documents = {document for _, document in built_in_pairs()}
    assert documents >= {*HARD, "", LONG}
    assert any("[SEP]" in text for text in HARD) and any("</s>" in text for text in HARD)
    assert any(unicodedata.combining(letter) for text in HARD for letter in text)
    assert any(unicodedata.category(letter) == "So" for text in HARD for letter in text)


def test_a_file_of_texts_becomes_rankings_of_ten(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(f"text {i}" for i in range(GROUP + 2)), encoding="utf-8")
    pairs = read_given_pairs(str(path))
    assert pairs[:2] == [("text 0", "text 0"), ("text 0", "text 1")]
    assert pairs[-2:] == [("text 10", "text 10"), ("text 10", "text 11")]
    assert len(pairs) == GROUP + 2


def test_a_file_of_pairs_is_read_as_pairs_unless_a_column_is_named(tmp_path: Path) -> None:
    labelled = judged_pairs(tmp_path / "labelled.jsonl")
    positive = positive_pairs(tmp_path / "positive.jsonl")
    for path in (labelled, positive):
        pairs = read_given_pairs(str(path))
        assert len(pairs) == len(path.read_text(encoding="utf-8").splitlines())
        assert len({query for query, _ in pairs}) > 1
    rows = [{"query": "a query", "document": f"document {i}"} for i in range(3)]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    assert read_given_pairs(str(path)) == [("a query", f"document {i}") for i in range(3)]
    assert read_given_pairs(str(path), column="document")[2] == ("document 0", "document 2")


def test_a_file_with_other_columns_holds_texts(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [{"id": 1, "text": "one"}, {"id": 2, "text": "two"}])
    assert read_given_pairs(str(path)) == [("one", "one"), ("one", "two")]
    with pytest.raises(DataError, match=r"missing\.csv"):
        read_given_pairs(str(tmp_path / "missing.csv"))


def test_a_bi_encoder_embeds_each_text_of_a_side_once() -> None:
    material = Material("bi-encoder", PAIRS)
    assert material.prompted("Q: ", "D: ") == ["Q: q", "Q: other", "Q: alone", "D: one", "D: two", "D: same"]
    queries, documents = material.places()
    np.testing.assert_array_equal(queries, [0, 0, 0, 1, 1, 2])
    np.testing.assert_array_equal(documents, [0, 1, 2, 0, 1, 0])


def test_a_cross_encoder_reads_the_pairs() -> None:
    material = Material("cross-encoder", PAIRS)
    assert material.texts == PAIRS
    assert material.prompted("Q: ", "")[0] == ("Q: q", "one")


@pytest.mark.parametrize("kind", ["bi-encoder", "cross-encoder"])
def test_documents_with_the_same_tokens_are_ranked_once(kind: str) -> None:
    ids = {"one": [1], "two": [2], "same": [2]}
    if kind == "bi-encoder":
        material = Material("bi-encoder", PAIRS)
        tokens = [[0]] * 3 + [ids[text] for text in material.documents]
    else:
        material = Material("cross-encoder", PAIRS)
        tokens = [[0, *ids[document]] for _, document in PAIRS]
    assert material.rankings(tokens) == [[0, 1], [3, 4]]
