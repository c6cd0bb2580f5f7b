"""Labelled pairs as positive pairs, and as queries with judgments."""

from re import escape

import pytest

from rankwright.data import group_labelled, labelled_to_positive, read_pairs
from rankwright.errors import DataError, ValueRangeError
from rankwright.records import LabelledPair, PositivePair

ROWS = [
    LabelledPair("who", "me", 2.0, "q1", "d1"),
    LabelledPair("who", "you", 0.0, "q1", "d2"),
    LabelledPair("what", "this", 1.0, "q2", "d3"),
    LabelledPair("who", "nobody", -1.0, "q1", "d4"),
    LabelledPair("what", "that", 2.0, "q2", "d5"),
]


def test_default_takes_the_highest_label_only() -> None:
    table = read_pairs(ROWS, name="quiz")
    positives = labelled_to_positive(table)
    assert (table.num_labelled, positives.num_labelled) == (None, table.size_rows)
    assert positives.rows == [
        PositivePair("who", "me", (), "q1", "d1"),
        PositivePair("what", "that", (), "q2", "d5"),
    ]
    assert positives.columns == {
        "query": "query",
        "positive": "document",
        "query_id": "query_id",
        "document_id": "document_id",
    }
    assert (positives.kind, positives.name, positives.sha256) == ("positive", "quiz", table.sha256)


def test_lower_min_label_takes_more_rows() -> None:
    positives = labelled_to_positive(read_pairs(ROWS), min_label=1).positive_rows()
    assert [pair.positive for pair in positives] == ["me", "this", "that"]


@pytest.mark.parametrize(("count", "expected"), [(1, ("you",)), (2, ("you", "nobody")), (5, ("you", "nobody"))])
def test_negatives_are_those_of_the_same_query_in_their_order(count: int, expected: tuple[str, ...]) -> None:
    positives = labelled_to_positive(read_pairs(ROWS), num_negatives=count).positive_rows()
    assert [pair.negatives for pair in positives] == [expected, ()]


def test_negatives_without_ids_are_found_by_the_text_of_the_query() -> None:
    rows = [LabelledPair(row.query, row.document, row.label) for row in ROWS]
    assert labelled_to_positive(read_pairs(rows), num_negatives=1).positive_rows()[0].negatives == ("you",)


@pytest.mark.parametrize(
    ("labels", "min_label", "message"),
    [
        ((0.0, -1.0), None, "records: no row has a label above 0; the highest is 0. Check column 'label'"),
        ((0.0, 1.0), 2.0, "records: no row has a label of at least 2; the highest is 1. Check column 'label'"),
    ],
)
def test_no_row_with_such_a_label_is_an_error(labels: tuple[float, ...], min_label: float | None, message: str) -> None:
    table = read_pairs([LabelledPair("who", "me", label) for label in labels])
    with pytest.raises(DataError, match=escape(message)):
        labelled_to_positive(table, min_label=min_label)


def test_min_label_of_zero_is_refused() -> None:
    with pytest.raises(ValueRangeError, match=escape("min_label must be > 0, since 0 means not relevant; got 0.")):
        labelled_to_positive(read_pairs(ROWS), min_label=0)


def test_grouping_keeps_ids_and_labels_of_zero_and_has_no_first_stage() -> None:
    grouped = group_labelled(ROWS, name="quiz")
    assert grouped.qrels == {"q1": {"d1": 2.0, "d2": 0.0, "d4": -1.0}, "q2": {"d3": 1.0, "d5": 2.0}}
    assert grouped.queries == {"q1": "who", "q2": "what"}
    assert grouped.documents == {"d1": "me", "d2": "you", "d3": "this", "d4": "nobody", "d5": "that"}
    assert (grouped.name, grouped.first_stage) == ("quiz", None)


def test_grouping_without_ids_goes_by_text_and_not_by_order() -> None:
    rows = [LabelledPair(row.query, row.document, row.label) for row in ROWS]
    grouped = group_labelled(rows, name="quiz")
    turned = group_labelled(rows[::-1], name="quiz")
    assert grouped.qrels == turned.qrels
    by_text = {
        (grouped.queries[query_id], grouped.documents[document_id]): grade
        for query_id, grades in grouped.qrels.items()
        for document_id, grade in grades.items()
    }
    assert by_text == {(row.query, row.document): row.label for row in ROWS}


def test_the_same_pair_twice_counts_once() -> None:
    assert group_labelled([ROWS[0], ROWS[0]], name="quiz").qrels == {"q1": {"d1": 2.0}}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            LabelledPair("why", "me", 2.0, "q1", "d1"),
            "quiz: the query id 'q1' has two texts: 'who' and 'why'. Give each text an id of its own, or leave",
        ),
        (
            LabelledPair("who", "him", 2.0, "q1", "d1"),
            "quiz: the document id 'd1' has two texts: 'me' and 'him'. Give each text an id of its own, or leave",
        ),
        (
            LabelledPair("who", "me", 0.5, "q1", "d1"),
            "quiz: one pair has the labels 2 and 0.5: query 'who', document 'me'. Keep one of the rows.",
        ),
    ],
)
def test_rows_that_contradict_each_other_are_refused(changed: LabelledPair, message: str) -> None:
    with pytest.raises(DataError, match=escape(message)):
        group_labelled([ROWS[0], changed], name="quiz")
