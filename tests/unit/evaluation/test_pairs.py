"""Labelled pairs: known values, ties, constants, classes."""

import numpy as np
import pytest

from rankwright.errors import DataError, ShapeError
from rankwright.evaluation import evaluate_classification, evaluate_similarity
from rankwright.evaluation.pairs import pair_measures


def classified(scores: list[float] | np.ndarray, labels: list[float]) -> dict[str, float]:
    return dict(evaluate_classification(np.array(scores), labels, dataset="toy", system="s").measures)


def test_measures_have_the_values_computed_by_hand() -> None:
    # In order of score: 1 0 1 1 0. Precision at the hits: 1, 2/3, 3/4.
    found = classified([0.9, 0.8, 0.7, 0.6, 0.5], [1, 0, 1, 1, 0])
    assert found["ap"] == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    # Best F1: four taken, three right, of three: 2 * 3 / (4 + 3).
    assert found["f1"] == pytest.approx(6 / 7)
    assert (found["precision"], found["recall"]) == (0.75, 1.0)
    assert found["f1_threshold"] == pytest.approx(0.55)
    # Best accuracy: the same cut, four of five right.
    assert found["accuracy"] == pytest.approx(4 / 5)
    assert found["accuracy_threshold"] == pytest.approx(0.55)


def test_equal_scores_are_never_on_two_sides_of_a_threshold() -> None:
    found = classified([0.9, 0.5, 0.5, 0.5], [1, 1, 0, 0])
    assert found["f1"] == pytest.approx(2 / 3), "either one of two positives, or all four"
    assert found["ap"] == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 4)
    assert found["accuracy"] == 0.75


@pytest.mark.parametrize("labels", [[1, 0, 0, 0], [0, 0, 0, 1], [1, 1, 1, 0], [0, 1, 1, 1]])
def test_constant_scores_are_worth_the_base_rate_whatever_the_order(labels: list[float]) -> None:
    found = classified([0.3] * 4, labels)
    rate = sum(labels) / 4
    assert found["ap"] == rate
    assert found["f1"] == pytest.approx(2 * rate / (1 + rate)) and found["f1"] < 1
    assert found["accuracy"] == max(rate, 1 - rate)


def test_threshold_says_positive_exactly_for_the_pairs_that_were_counted() -> None:
    scores = np.array([0.1, 0.2, 0.2, 0.6, 0.8], dtype=np.float32)
    labels = np.array([0, 0, 1, 1, 1])
    found = classified(scores, labels.tolist())
    taken = scores >= found["f1_threshold"]
    assert found["precision"] == pytest.approx((taken & (labels == 1)).sum() / taken.sum())
    assert found["accuracy"] == ((scores >= found["accuracy_threshold"]) == labels).mean()


def test_threshold_between_neighbouring_floats_keeps_them_apart() -> None:
    for low in (np.float32(1.0), np.nextafter(np.float32(1.0), np.float32(2.0)), np.float32(0.1)):
        scores = np.array([low, np.nextafter(low, np.float32(2.0))], dtype=np.float32)
        threshold = classified(scores, [0, 1])["f1_threshold"]
        assert (scores >= np.float32(threshold)).tolist() == [False, True]


def test_all_negative_is_a_choice_for_accuracy() -> None:
    found = classified([0.9, 0.1, 0.1, 0.1], [0, 0, 1, 0])
    assert found["accuracy"] == 0.75 and found["accuracy_threshold"] > 0.9


def test_perfect_scores_give_one_and_inverted_ones_do_not() -> None:
    labels = [0, 0, 0, 1, 1]
    perfect, inverted = classified([1, 2, 3, 4, 5], labels), classified([5, 4, 3, 2, 1], labels)
    assert perfect["ap"] == perfect["f1"] == perfect["accuracy"] == 1.0
    assert inverted["ap"] < 0.5 and inverted["accuracy"] == 0.6


def test_scores_of_several_classes_are_measured_by_the_best_class() -> None:
    logits = np.array([[2, 1, 0], [0, 2, 1], [0, 1, 2], [3, 0, 0.0]])
    found = evaluate_classification(logits, [0, 1, 1, 2], dataset="toy", system="s")
    # Predictions 0 1 2 0. F1: class 0: 2/3, class 1: 2/3, class 2: 0.
    assert found.primary == "f1_macro"
    assert found.measures == pytest.approx(
        {"f1_macro": 4 / 9, "f1_micro": 0.5, "f1_weighted": (2 / 3 + 2 * 2 / 3 + 0) / 4, "accuracy": 0.5}
    )
    assert found.per_query == {"prediction": (0, 1, 2, 0), "label": (0, 1, 1, 2)}


def test_one_column_of_scores_is_one_score() -> None:
    column = evaluate_classification(np.array([[0.1], [0.9]]), [0, 1], dataset="toy", system="s")
    assert column.primary == "ap" and column.per_query["score"] == (0.1, 0.9)


def test_classification_keeps_its_pairs_and_intervals() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 300)
    found = evaluate_classification(
        (labels + random.normal(size=300)).astype(np.float32), labels, dataset="toy", system="s"
    )
    assert set(found.intervals) == {"ap", "f1", "precision", "recall", "accuracy"}
    for name, (low, high) in found.intervals.items():
        assert low < high and low - 0.05 < found.measures[name] < high + 0.05
    assert (found.num_queries, len(found.query_ids)) == (300, 300)


def test_resamples_without_a_positive_pair_do_not_count() -> None:
    counts = np.array([[0.0, 2, 1], [1, 1, 1]])
    columns = {"score": np.array([0.5, 0.9, 0.1]), "label": np.array([1.0, 0, 0])}
    found = pair_measures(columns, counts, "classification")
    assert np.isnan(found["ap"][0]) and found["ap"][1] == 0.5
    rare = evaluate_classification(np.arange(20.0), [0] * 19 + [1], dataset="toy", system="s")
    assert rare.intervals["ap"] == (1.0, 1.0)


@pytest.mark.parametrize("task", ["classification", "similarity"])
def test_counts_mean_what_repeated_pairs_mean(task: str) -> None:
    random = np.random.default_rng(0)
    counts = random.integers(0, 4, size=(5, 30)).astype(float)
    columns = {"score": random.integers(0, 8, 30) / 8, "label": random.integers(0, 2, 30).astype(float)}
    counts[0, columns["score"] == columns["score"].max()] = 0
    found = pair_measures(columns, counts, task)
    for row, times in enumerate(counts.astype(int)):
        repeated = {name: np.repeat(values, times) for name, values in columns.items()}
        expected = pair_measures(repeated, np.ones((1, times.sum())), task)
        for name in expected:
            if not name.endswith("_threshold"):
                assert found[name][row] == pytest.approx(expected[name][0], abs=1e-12)


def test_classes_mean_the_same_with_counts_as_with_repeats() -> None:
    random = np.random.default_rng(1)
    columns = {name: random.integers(0, 3, 30).astype(float) for name in ("prediction", "label")}
    times = random.integers(0, 3, 30)
    found = pair_measures(columns, times[None].astype(float), "classification")
    repeated = {name: np.repeat(values, times) for name, values in columns.items()}
    expected = pair_measures(repeated, np.ones((1, times.sum())), "classification")
    assert {name: values[0] for name, values in found.items()} == pytest.approx({n: v[0] for n, v in expected.items()})


def test_correlations_have_the_values_computed_by_hand() -> None:
    # Ranks 1 2 3 4 against 1, 3, 2, 4: 1 - 6 * 2 / (4 * 15).
    found = evaluate_similarity(np.array([0.1, 0.2, 0.3, 0.9]), [1, 3, 2, 4], dataset="toy", system="s")
    assert found.measures["spearman"] == pytest.approx(0.8)
    x, y = np.array([0.1, 0.2, 0.3, 0.9]) - 0.375, np.array([1, 3, 2, 4]) - 2.5
    assert found.measures["pearson"] == pytest.approx((x @ y) / np.sqrt((x @ x) * (y @ y)))
    assert found.primary == "spearman" and set(found.intervals) == {"spearman", "pearson"}


def test_tied_ranks_share_their_mean() -> None:
    # Ranks 1.5 1.5 3 against 1 2 3: covariance 1.5, variances 1.5 and 2.
    found = evaluate_similarity(np.array([0.2, 0.2, 0.7]), [1, 2, 3], dataset="toy", system="s")
    assert found.measures["spearman"] == pytest.approx(1.5 / np.sqrt(1.5 * 2))


def test_many_tied_ranks_share_their_mean() -> None:
    # Ranks 2 2 2 4 5 against 1 2 3 4 5: covariance 8, variances 8 and 10.
    found = evaluate_similarity(np.array([0.1, 0.1, 0.1, 0.5, 0.9]), [1, 2, 3, 4, 5], dataset="toy", system="s")
    assert found.measures["spearman"] == pytest.approx(8 / np.sqrt(8 * 10))


def test_classes_that_do_not_occur_do_not_lower_the_mean() -> None:
    logits = np.eye(4)[[0, 3, 3]]
    found = evaluate_classification(logits, [0, 3, 0], dataset="toy", system="s")
    assert found.measures["f1_macro"] == pytest.approx(2 / 3)


def test_monotone_scores_have_rank_correlation_one() -> None:
    labels = np.linspace(0, 5, 40)
    found = evaluate_similarity(np.exp(labels), labels, dataset="toy", system="s")
    assert found.measures["spearman"] == pytest.approx(1.0) and found.measures["pearson"] < 0.99


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6, -3.7])
def test_constant_scores_correlate_with_nothing_and_it_is_said(constant: float) -> None:
    found = evaluate_similarity(np.full(7, constant), np.arange(7), dataset="toy", system="s")
    assert found.measures == {"spearman": 0.0, "pearson": 0.0}
    assert found.intervals == {"spearman": (0.0, 0.0), "pearson": (0.0, 0.0)}
    assert found.parameters["note"] == f"all 7 scores are {constant:g}: no correlation is defined, 0 is shown"


def test_scores_that_differ_in_their_last_digits_are_not_constant() -> None:
    scores = 1 + np.arange(5) * 1e-9
    assert evaluate_similarity(scores, range(5), dataset="toy", system="s").measures["pearson"] == pytest.approx(1.0)


def test_labels_that_measure_nothing_are_refused() -> None:
    with pytest.raises(DataError, match="all 2 labels are 1: there are no classes to tell apart"):
        classified([0.1, 0.2], [1, 1])
    with pytest.raises(DataError, match=r"all 2 labels are 0\.5: there is no order to follow"):
        evaluate_similarity(np.array([0.1, 0.2]), [0.5, 0.5], dataset="toy", system="s")
    with pytest.raises(DataError, match=r"label 0\.5 of pair 1 is not one of the 2 classes 0\.\.1\. .* as similarity"):
        classified([0.1, 0.2], [1, 0.5])
    with pytest.raises(DataError, match=r"label 3 of pair 0 is not one of the 3 classes 0\.\.2"):
        evaluate_classification(np.eye(3), [3, 0, 1], dataset="toy", system="s")


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"got shapes \(2,\) and \(3,\)"):
        classified([0.1, 0.2], [0, 1, 1])
    with pytest.raises(ShapeError, match=r"got shapes \(0,\) and \(0,\)"):
        classified([], [])
    with pytest.raises(DataError, match="the score of pair 1 is not a finite number"):
        classified([0.1, float("nan")], [0, 1])
    with pytest.raises(ShapeError, match=r"one score a pair, got scores of shape \(2, 2\)"):
        evaluate_similarity(np.eye(2), [0, 1], dataset="toy", system="s")
