"""Statistics and samples for the card: of the first 1,000 rows, by the names of the columns."""

import json

import pytest

from rankwright.data import read_pairs, table_statistics
from rankwright.records import LabelledPair, PositivePair


def test_texts_have_lengths_and_whole_labels_have_shares() -> None:
    rows = [
        {"qid": "1", "sentence1": "four", "sentence2": "a", "label": 1},
        {"qid": "2", "sentence1": "sevenis", "sentence2": "bb", "label": 0},
        {"qid": "3", "sentence1": "ż", "sentence2": "ccc", "label": 0},
    ]
    result = table_statistics(read_pairs(rows), num_samples=1)
    assert result == {
        "statistics": {
            "sentence1": {"type": "string", "characters": {"min": 1, "mean": 4.0, "max": 7}},
            "sentence2": {"type": "string", "characters": {"min": 1, "mean": 2.0, "max": 3}},
            "label": {
                "type": "int",
                "value": {"min": 0, "mean": 0.33, "max": 1},
                "values": {"0": 0.6667, "1": 0.3333},
            },
        },
        "samples": [{"sentence1": "four", "sentence2": "a", "label": 1.0}],
    }
    assert json.loads(json.dumps(result)) == result


def test_columns_keep_the_order_of_the_file() -> None:
    rows = [{"label": 0.25, "document": "a", "query": "b"}, {"label": 1.0, "document": "a", "query": "b"}]
    statistics = table_statistics(read_pairs(rows))["statistics"]
    assert isinstance(statistics, dict)
    assert list(statistics) == ["label", "document", "query"]
    assert statistics["label"] == {"type": "float", "value": {"min": 0.25, "mean": 0.62, "max": 1.0}}


def test_tokens_are_counted_by_the_given_function() -> None:
    table = read_pairs([LabelledPair("a b c", "d", 1.0), LabelledPair("e", "f g", 1.0)])
    statistics = table_statistics(table, count_tokens=lambda texts: [len(text.split()) for text in texts])["statistics"]
    assert isinstance(statistics, dict)
    assert statistics["query"] == {"type": "string", "tokens": {"min": 1, "mean": 2.0, "max": 3}}
    assert statistics["document"] == {"type": "string", "tokens": {"min": 1, "mean": 1.5, "max": 2}}


@pytest.mark.parametrize(
    ("negatives", "expected"),
    [
        (
            [{"negative_1": "a", "negative_2": "bb"}, {"negative_1": "c", "negative_2": "dd"}],
            {
                "negative_1": {"type": "string", "characters": {"min": 1, "mean": 1.0, "max": 1}},
                "negative_2": {"type": "string", "characters": {"min": 2, "mean": 2.0, "max": 2}},
            },
        ),
        (
            [{"negatives": ["a", "b"]}, {"negatives": []}],
            {"negatives": {"type": "list", "elements": {"min": 0, "mean": 1.0, "max": 2}}},
        ),
        (
            [{"negatives": ["a", "b"]}, {"negatives": ["c"]}],
            {"negatives": {"type": "list", "elements": {"min": 1, "mean": 1.5, "max": 2}}},
        ),
        (
            [{"negative": "abc"}, {"negative": "d"}],
            {"negative": {"type": "string", "characters": {"min": 1, "mean": 2.0, "max": 3}}},
        ),
    ],
)
def test_negatives_are_described_as_they_stand_in_the_file(
    negatives: list[dict[str, object]], expected: dict[str, object]
) -> None:
    result = table_statistics(read_pairs([{"query": "q", "positive": "p", **row} for row in negatives]))
    statistics, samples = result["statistics"], result["samples"]
    assert isinstance(statistics, dict)
    assert isinstance(samples, list)
    assert {name: statistics[name] for name in expected} == expected
    assert samples[0] == {"query": "q", "positive": "p", **negatives[0]}


def test_only_the_first_thousand_rows_count_and_private_texts_are_not_shown() -> None:
    rows = [LabelledPair("a", "b", float(i % 25)) for i in range(1000)] + [LabelledPair("a" * 9, "b", 99.0)] * 500
    result = table_statistics(read_pairs(rows), num_samples=0)
    statistics = result["statistics"]
    assert isinstance(statistics, dict)
    assert result["samples"] == []
    assert statistics["query"]["characters"]["max"] == 1
    assert statistics["label"] == {"type": "int", "value": {"min": 0, "mean": 12.0, "max": 24}}


def test_statistics_of_positive_pairs_without_negatives() -> None:
    result = table_statistics(read_pairs([PositivePair("a", "bc")]))
    assert result["samples"] == [{"query": "a", "positive": "bc"}]
