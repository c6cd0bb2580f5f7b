"""What every measure of ranked lists must do: perfect, worst, ties, no relevant document, missing query."""

from itertools import permutations

import numpy as np
import pytest

from rankwright.errors import DataError
from rankwright.evaluation import measure_run
from rankwright.evaluation.measures import MEASURES

NAMES = [f"{name}@{k}" for name in MEASURES for k in (1, 2, 3, 10)] + ["map"]
QRELS = {"q": {"a": 3, "b": 1, "c": 0, "d": -1}}


def value(name: str, ranked: list[str], *, ties: str = "trec_eval") -> float:
    """The measure of one query whose documents are scored in this order."""
    run = {"q": {document: -float(rank) for rank, document in enumerate(ranked)}}
    return float(measure_run(run, QRELS, measures=[name], ties=ties)[name][0])


@pytest.mark.parametrize("name", NAMES)
def test_best_order_gives_the_highest_possible_value(name: str) -> None:
    k = int(name.partition("@")[2] or 10)
    highest = {"precision": min(2, k) / k, "recall": min(2, k) / 2}.get(name.partition("@")[0], 1.0)
    assert value(name, ["a", "b", "c", "d", "e"]) == pytest.approx(highest, abs=1e-15)


@pytest.mark.parametrize("name", NAMES)
def test_no_order_is_better_than_the_best_one(name: str) -> None:
    best = value(name, ["a", "b", "c", "d"])
    assert all(0 <= value(name, list(order)) <= best for order in permutations("abcd"))


@pytest.mark.parametrize("name", NAMES)
def test_run_without_a_relevant_document_gives_zero(name: str) -> None:
    assert value(name, ["c", "d", "e", "f"]) == 0.0


@pytest.mark.parametrize("name", NAMES)
def test_order_within_the_dictionaries_does_not_matter(name: str) -> None:
    scores = {"c": 0.3, "a": 0.2, "x": 0.2, "b": 0.1}
    runs = [{"q": dict(items)} for items in permutations(scores.items())]
    for ties in ("trec_eval", "id", "hashed"):
        assert len({float(measure_run(run, QRELS, measures=[name], ties=ties)[name][0]) for run in runs}) == 1


@pytest.mark.parametrize("name", NAMES)
def test_equal_scores_go_by_document_id_as_the_rule_says(name: str) -> None:
    run = {"q": dict.fromkeys("abcd", 0.5)}
    assert measure_run(run, QRELS, measures=[name], ties="id")[name] == value(name, ["a", "b", "c", "d"])
    assert measure_run(run, QRELS, measures=[name], ties="trec_eval")[name] == value(name, ["d", "c", "b", "a"])


@pytest.mark.parametrize("form", ["{query}-{place}", "{place}"], ids=["own ids", "shared ids"])
@pytest.mark.parametrize("name", NAMES)
def test_hashed_ties_favour_no_place_in_the_ids(name: str, form: str) -> None:
    # In each of 400 queries the first id is the relevant one: all equal scores must be worth a random order.
    num = 400
    ids = [[form.format(query=query, place=place) for place in range(4)] for query in range(num)]
    run = {str(query): dict.fromkeys(documents, 0.0) for query, documents in enumerate(ids)}
    qrels = {str(query): {documents[0]: 1} for query, documents in enumerate(ids)}
    mean = measure_run(run, qrels, measures=[name], ties="hashed")[name].mean()
    places = [{"q": {document: -float(p) for p, document in enumerate(order)}} for order in permutations("abcd")]
    random = np.mean([measure_run(order, {"q": {"a": 1}}, measures=[name])[name][0] for order in places])
    assert mean == pytest.approx(random, abs=4 * 0.5 / np.sqrt(num))


@pytest.mark.parametrize("name", NAMES)
def test_query_without_a_relevant_document_is_dropped(name: str) -> None:
    qrels = {"none": {"a": 0, "b": -2}, "empty": {}, **QRELS}
    run = {"none": {"a": 1.0}, "q": {"a": 1.0}}
    assert len(measure_run(run, qrels, measures=[name])[name]) == 1
    with pytest.raises(DataError, match="none of the 1 judged queries has a relevant document"):
        measure_run(run, {"none": {"a": 0}}, measures=[name])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("run", [{"q": {"a": 1.0}}, {"q": {"a": 1.0}, "gone": {}}], ids=["absent", "empty"])
def test_query_that_the_run_misses_counts_as_zero_and_is_said(name: str, run: dict[str, dict[str, float]]) -> None:
    with pytest.warns(UserWarning, match="1 of 2 judged queries have no documents in the run .* 'gone'"):
        values = measure_run(run, {**QRELS, "gone": {"z": 1}}, measures=[name])[name]
    assert values[0] > 0 and values[1] == 0


@pytest.mark.parametrize("name", NAMES)
def test_relevant_document_outside_the_run_is_not_forgotten(name: str) -> None:
    qrels = {"q": {"a": 1, "unseen": 1}}
    found = measure_run({"q": {"a": 2.0, "b": 1.0}}, qrels, measures=[name])[name][0]
    both = measure_run({"q": {"a": 2.0, "unseen": 1.0}}, qrels, measures=[name])[name][0]
    assert found <= both
    if name in ("recall@10", "map", "map@10", "ndcg@10"):
        assert found < both
