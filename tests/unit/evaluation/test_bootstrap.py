"""Resamples, intervals and the randomisation test."""

import numpy as np
import pytest

from rankwright.evaluation import bootstrap
from rankwright.evaluation.bootstrap import flip_p_value, interval, resample_counts


def test_each_resample_draws_as_many_as_there_are() -> None:
    counts = np.concatenate(list(resample_counts(7, resamples=50)))
    assert counts.shape == (50, 7)
    assert (counts.sum(axis=1) == 7).all() and counts.var() > 0.5


def test_same_seed_gives_the_same_resamples_and_another_one_others() -> None:
    first, again, other = (np.concatenate(list(resample_counts(9, seed=seed))) for seed in (3, 3, 4))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_chunks_do_not_change_the_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(resample_counts(11, resamples=40)))
    monkeypatch.setattr(bootstrap, "_COUNTS", 30)
    parts = list(resample_counts(11, resamples=40))
    assert len(parts) == 20 and np.array_equal(whole, np.concatenate(parts))


def test_interval_holds_the_middle_95_percent_and_leaves_nan_out() -> None:
    low, high = interval(np.append(np.arange(1001.0), np.nan))
    assert (low, high) == pytest.approx((25.0, 975.0))


def test_interval_of_a_mean_covers_the_truth_about_95_percent_of_the_time() -> None:
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        values = random.exponential(size=100)
        means = np.concatenate([counts @ values / 100 for counts in resample_counts(100)])
        low, high = interval(means)
        covered += low <= 1.0 <= high
    assert 0.88 <= covered / 200 <= 0.99


@pytest.mark.parametrize("num", [1, 2, 3, 5, 8])
def test_p_value_of_equal_differences_is_that_of_all_signs_alike(num: int) -> None:
    assert flip_p_value(np.ones(num)) == pytest.approx(min(1.0, 2.0 ** (1 - num)), abs=0.02)


def test_p_value_is_exact_for_a_small_case_by_hand() -> None:
    # |+-1 +-2 +-4| >= |1 + 2 - 4| = 1 always; >= |1 - 2 + 4| = 3 in 6 of 8 cases.
    assert flip_p_value(np.array([1.0, 2.0, -4.0])) == pytest.approx(1.0, abs=1e-9)
    assert flip_p_value(np.array([1.0, -2.0, 4.0])) == pytest.approx(6 / 8, abs=0.02)
    # 0.1 - 0.3 + 0.2 + 0.7 and -0.1 + 0.3 - 0.2 + 0.7 are equal but for rounding.
    assert flip_p_value(np.array([0.1, -0.3, 0.2, 0.7])) == pytest.approx(5 / 8, abs=0.02)


def test_p_value_without_any_difference_is_one() -> None:
    assert flip_p_value(np.zeros(20)) == 1.0


def test_p_value_is_uniform_where_there_is_no_difference() -> None:
    random = np.random.default_rng(1)
    values = [flip_p_value(random.standard_normal(30), flips=400) for _ in range(300)]
    assert 0.01 <= np.mean(np.array(values) < 0.05) <= 0.1
    assert 0.4 <= np.mean(values) <= 0.6
