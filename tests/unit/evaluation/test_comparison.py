"""Paired tests of two evaluations."""

from dataclasses import replace

import numpy as np
import pytest

from rankwright.errors import ConfigError, DataError
from rankwright.evaluation import Evaluation, compare, evaluate_classification, evaluate_similarity
from rankwright.evaluation.comparison import _bootstrap_p_value, stronger
from rankwright.evaluation.report import UNTRAINED, evaluation_of_queries


def of_queries(values: np.ndarray, system: str = "model", ids: list[str] | None = None) -> Evaluation:
    return evaluation_of_queries(
        ids or [f"q{i}" for i in range(len(values))],
        {"ndcg@10": np.asarray(values, dtype=float), "mrr@10": np.asarray(values, dtype=float) ** 2},
        task="retrieval",
        dataset="toy",
        system=system,
        parameters={},
    )


RANDOM = np.random.default_rng(0)
BASE = RANDOM.uniform(0.2, 0.8, size=60)


def test_clear_gain_is_better_and_its_mirror_worse() -> None:
    better, base = of_queries(BASE + 0.1 + RANDOM.normal(0, 0.02, 60)), of_queries(BASE, "base")
    found = compare(better, base)
    assert found.verdict == "better" and found.reference == "base" and found.measure == "ndcg@10"
    assert found.difference == pytest.approx(found.value - found.reference_value)
    assert 0.08 < found.low < found.difference < found.high < 0.12
    assert found.p_value == pytest.approx(1 / 10001)
    mirror = compare(base, better)
    assert mirror.verdict == "worse" and mirror.high < 0
    assert mirror.difference == pytest.approx(-found.difference)


def test_small_gain_among_noise_is_no_difference_shown() -> None:
    found = compare(of_queries(BASE + 0.01 + RANDOM.normal(0, 0.2, 60)), of_queries(BASE, "base"))
    assert found.verdict == "no difference shown" and found.low < 0 < found.high and found.p_value > 0.05


def test_pairing_finds_what_the_intervals_of_each_system_hide() -> None:
    ours, base = of_queries(BASE + 0.02), of_queries(BASE, "base")
    assert ours.intervals["ndcg@10"][0] < base.intervals["ndcg@10"][1]
    assert compare(ours, base).verdict == "better"


@pytest.mark.parametrize("num", [1, 2, 5])
def test_five_queries_never_show_a_difference(num: int) -> None:
    found = compare(of_queries(np.ones(num)), of_queries(np.zeros(num), "base"))
    assert found.difference == 1.0 and found.low == 1.0
    assert found.verdict == "no difference shown" and found.p_value > 0.05
    assert compare(of_queries(np.zeros(num)), of_queries(np.ones(num), "base")).verdict == "no difference shown"


def test_system_compared_with_itself_shows_nothing() -> None:
    found = compare(of_queries(BASE), of_queries(BASE))
    assert (found.difference, found.low, found.high, found.p_value) == (0, 0, 0, 1)
    assert found.verdict == "no difference shown"


def test_only_shared_queries_are_compared_whatever_their_order() -> None:
    ours = of_queries(np.array([0.1, 0.5, 0.9]), ids=["x", "b", "a"])
    base = of_queries(np.array([0.4, 0.3, 0.7]), "base", ids=["a", "b", "y"])
    found = compare(ours, base)
    assert found.num_queries == 2
    assert (found.value, found.reference_value) == (pytest.approx(0.7), pytest.approx(0.35))


def test_measure_can_be_chosen() -> None:
    assert compare(of_queries(BASE), of_queries(BASE), measure="mrr@10").value == pytest.approx(np.mean(BASE**2))


def pairs_evaluation(noise: float, system: str, *, labels: np.ndarray, seed: int) -> Evaluation:
    scores = labels + np.random.default_rng(seed).normal(0, noise, len(labels))
    evaluate = evaluate_classification if set(labels) == {0, 1} else evaluate_similarity
    return evaluate(scores, labels, dataset="pairs", system=system)


@pytest.mark.parametrize("labels", [np.arange(200) % 2, np.arange(200) / 100], ids=["classification", "similarity"])
def test_measures_of_all_pairs_are_compared_by_resampling_pairs(labels: np.ndarray) -> None:
    good, bad = (pairs_evaluation(noise, "s", labels=labels, seed=1) for noise in (0.3, 3.0))
    found = compare(good, bad)
    assert found.measure in ("ap", "spearman") and found.verdict == "better" and found.num_queries == 200
    assert found.value == pytest.approx(good.measures[found.measure])
    same = compare(good, pairs_evaluation(0.3, "s", labels=labels, seed=2))
    assert same.verdict == "no difference shown"


def test_classes_predicted_by_two_systems_are_compared() -> None:
    labels = np.arange(90) % 3
    right = evaluate_classification(np.eye(3)[labels], labels, dataset="three", system="right")
    wrong = evaluate_classification(np.eye(3)[(labels + (np.arange(90) % 2)) % 3], labels, dataset="three", system="w")
    found = compare(right, wrong)
    assert found.measure == "f1_macro" and found.verdict == "better" and found.value == 1.0


def test_few_pairs_never_show_a_difference() -> None:
    scores, labels = np.array([0.1, 0.2, 0.3, 0.8, 0.9]), [0, 0, 0, 1, 1]
    right = evaluate_classification(scores, labels, dataset="five", system="right")
    wrong = evaluate_classification(-scores, labels, dataset="five", system="wrong")
    found = compare(right, wrong)
    assert found.low > 0 and found.p_value == 2**-4 and found.verdict == "no difference shown"


def test_p_value_of_a_bootstrap_is_twice_the_share_on_the_other_side() -> None:
    difference_R = np.array([-1.0, *[1.0] * 98, np.nan])
    assert _bootstrap_p_value(difference_R, 50) == _bootstrap_p_value(-difference_R, 50) == pytest.approx(0.04)


def test_comparison_is_plain_json() -> None:
    facts = compare(of_queries(BASE), of_queries(BASE, "base")).to_json()
    wanted = {"measure", "reference", "reference_value", "value", "difference", "low", "high", "p_value", "verdict"}
    assert wanted < set(facts) and facts["reference"] == "base"


def test_what_cannot_be_compared_is_said() -> None:
    ours = of_queries(BASE)
    with pytest.raises(DataError, match="retrieval on 'toy' with retrieval on 'other': evaluate both systems"):
        compare(ours, replace(ours, dataset="other"))
    with pytest.raises(ConfigError, match=r"cannot compare by 'map': measures of both evaluations are ndcg@10, mrr@10"):
        compare(ours, ours, measure="map")
    with pytest.raises(DataError, match="'model' and 'base' have no query in common"):
        compare(ours, of_queries(BASE[:1], "base", ids=["z"]))
    one, other = (
        evaluate_classification(np.array([0.1, 0.9]), labels, dataset="x", system="s") for labels in ([0, 1], [1, 0])
    )
    with pytest.raises(DataError, match="measured on different labels"):
        compare(one, other)


def test_stronger_systems_are_those_shown_better_at_the_same_size_the_strongest_first() -> None:
    ours = replace(of_queries(BASE), dim=64)
    good, best = of_queries(BASE + 0.1, "good"), of_queries(BASE + 0.2, "best")
    noisy = of_queries(BASE + 0.01 + 0.3 * (-1) ** np.arange(60), "noisy")
    elsewhere = [replace(best, dataset="other"), replace(best, dim=128), of_queries(BASE - 0.1, "weak")]
    beside = [replace(best, system=name) for name in ("base", UNTRAINED)]
    found = stronger(ours, [good, noisy, best, *elsewhere, *beside], reference="base")
    assert [(c.reference, c.verdict) for c in found] == [("best", "worse"), ("good", "worse")]
    assert stronger(best, [ours, good], reference="base") == []
