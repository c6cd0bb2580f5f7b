"""Known values of each measure, by hand; names of measures."""

from math import log2

import numpy as np
import pytest

from rankwright.errors import ConfigError
from rankwright.evaluation import Measure, measure_run, parse_measure
from tests.tolerances import assert_agrees

RUN = {"q": {"d1": 0.9, "d2": 0.8, "d3": 0.7, "d4": 0.6, "d5": 0.5}}
QRELS = {"q": {"d2": 1, "d4": 3, "d9": 2, "d1": 0}}
"""Relevant: d2 (grade 1) at rank 2, d4 (grade 3) at rank 4, and d9 (grade 2), which the run lacks."""

BY_HAND = {
    "accuracy@1": 0.0,
    "accuracy@2": 1.0,
    "precision@2": 1 / 2,
    "precision@4": 2 / 4,
    "precision@10": 2 / 10,
    "recall@3": 1 / 3,
    "recall@10": 2 / 3,
    "mrr@1": 0.0,
    "mrr@10": 1 / 2,
    "ndcg@3": (1 / log2(3)) / (3 + 2 / log2(3) + 1 / log2(4)),
    "ndcg@10": (1 / log2(3) + 3 / log2(5)) / (3 + 2 / log2(3) + 1 / log2(4)),
    "ndcg@2": (1 / log2(3)) / (3 + 2 / log2(3)),
    "ndcg_binary@10": (1 / log2(3) + 1 / log2(5)) / (1 + 1 / log2(3) + 1 / log2(4)),
    "ndcg_binary@2": (1 / log2(3)) / (1 + 1 / log2(3)),
    "map@2": (1 / 2) / 2,
    "map@10": (1 / 2 + 2 / 4) / 3,
    "map": (1 / 2 + 2 / 4) / 3,
}


@pytest.mark.parametrize("name", BY_HAND)
def test_measure_has_the_value_computed_by_hand(name: str) -> None:
    assert_agrees(measure_run(RUN, QRELS, measures=[name])[name], [BY_HAND[name]], "measure", dtype="float64")


def test_values_stand_in_the_order_of_the_judged_queries() -> None:
    run = {"b": {"x": 1.0}, "a": {"y": 1.0, "x": 2.0}, "unjudged": {"x": 1.0}}
    qrels = {"a": {"y": 1}, "no": {"x": 0}, "b": {"x": 1}}
    assert measure_run(run, qrels, measures=["mrr@10"])["mrr@10"].tolist() == [0.5, 1.0]


def test_names_are_kept_and_columns_come_in_the_order_asked_for() -> None:
    assert list(measure_run(RUN, QRELS, measures=["map", "nDCG@3", "mrr@5"])) == ["map", "ndcg@3", "mrr@5"]


def test_fractional_grades_count() -> None:
    found = measure_run({"q": {"a": 1.0, "b": 2.0}}, {"q": {"a": 0.5, "b": 0.25}}, measures=["ndcg@2", "recall@2"])
    assert found["ndcg@2"][0] == pytest.approx((0.25 + 0.5 / log2(3)) / (0.5 + 0.25 / log2(3)))
    assert found["recall@2"][0] == 1.0


@pytest.mark.parametrize("text", ["ndcg@10", "ndcg_binary@3", "map", "map@100", "accuracy@1"])
def test_measure_prints_as_it_is_written(text: str) -> None:
    assert str(parse_measure(text)) == text
    assert len({parse_measure(text), parse_measure(text.upper())}) == 1


def test_measure_parses_to_name_and_cut_off() -> None:
    assert parse_measure("MRR@10") == Measure("mrr", 10)
    assert parse_measure("map") == Measure("map")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ndgc@10", r"unknown measure 'ndgc@10'\. Did you mean 'ndcg@10'\? Known measures: accuracy@k, .*, map\."),
        ("recal@5", r"unknown measure 'recal@5'\. Did you mean 'recall@5'\?"),
        ("hits", r"unknown measure 'hits'\. Did you mean '[a-z_]+@10'\?"),
        ("ndcg", r"measure 'ndcg' needs a cut-off of at least 1: write 'ndcg@10'\."),
        ("ndcg@0", r"measure 'ndcg@0' needs a cut-off of at least 1"),
        ("ndcg@ten", r"measure 'ndcg@ten' needs a cut-off of at least 1"),
        ("map@", r"measure 'map@' needs a cut-off"),
        ("mrr@-5", r"measure 'mrr@-5' needs a cut-off"),
    ],
)
def test_wrong_name_is_refused_with_the_nearest_one(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_measure(text)


def test_values_are_floats_per_query() -> None:
    values = measure_run(RUN, QRELS, measures=["accuracy@1", "precision@3"])
    assert all(array.dtype == np.float64 and array.shape == (1,) for array in values.values())
