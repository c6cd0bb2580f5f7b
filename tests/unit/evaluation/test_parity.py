"""Differences, rank agreement and the certificate, by hand and beside scipy."""

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from pydantic import TypeAdapter

from rankwright.evaluation.parity import (
    MOST_RANKED,
    TOLERANCES,
    Certificate,
    differences,
    kendall_tau,
    parity_rows,
    parity_sentences,
    rank_agreement,
    weights_sha256,
)
from tests.run_folders import CERTIFICATE

FOUND = TypeAdapter(Certificate).validate_python(CERTIFICATE)


def values(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


def test_embeddings_differ_relative_to_their_length_where_that_is_above_1() -> None:
    found = differences(
        values([3.5, 4.0], [0.25, 0.0]), values([3.0, 4.0], [0.0, 0.0]), kind="bi-encoder", dtype="float32"
    )
    np.testing.assert_allclose(found, [[0.1, 0.0], [0.25, 0.0]])


def test_logits_differ_relative_to_their_own_size_in_float32_and_to_the_largest_in_a_half_type() -> None:
    actual, expected = values([4.5], [0.5]), values([4.0], [0.0])
    exact = differences(actual, expected, kind="cross-encoder", dtype="float32")
    half = differences(actual, expected, kind="cross-encoder", dtype="bfloat16")
    np.testing.assert_allclose(exact, [[0.125], [0.5]])
    np.testing.assert_allclose(half, [[0.125], [0.125]])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("kind", TOLERANCES)
def test_what_is_not_finite_or_has_another_shape_is_no_number(kind: str, bad: float) -> None:
    good, broken = values([1.0], [2.0]), values([1.0], [bad])
    for actual, expected in ((good, broken), (broken, good), (broken, broken)):
        found = differences(actual, expected, kind=kind, dtype="float32")
        assert np.isnan(found[1, 0])
    assert np.isnan(differences(values([1.0, 2.0]), good, kind=kind, dtype="float32")).all()


def test_tau_counts_pairs_in_the_same_order() -> None:
    assert kendall_tau(np.array([3.0, 2.0, 1.0]), np.array([30.0, 20.0, 10.0])) == 1
    assert kendall_tau(np.array([3.0, 2.0, 1.0]), np.array([1.0, 2.0, 3.0])) == -1
    # of the three pairs of documents two are in the same order
    assert kendall_tau(np.array([3.0, 2.0, 1.0]), np.array([3.0, 1.0, 2.0])) == pytest.approx(1 / 3)


def test_tau_is_scipys_with_and_without_ties() -> None:
    draw = np.random.default_rng(0)
    for levels in (1000, 4):
        a, b = draw.integers(0, levels, (2, 40)).astype(np.float32)
        assert kendall_tau(a, b) == pytest.approx(scipy.stats.kendalltau(a, b).statistic, abs=1e-12)


@pytest.mark.parametrize("scores", [[1.0, 1.0], [1.0, np.nan]])
def test_without_an_order_there_is_no_tau(scores: list[float]) -> None:
    assert kendall_tau(np.array(scores), np.array([1.0, 2.0])) is None


def test_rank_agreement_is_the_mean_and_the_lowest_over_the_queries() -> None:
    expected = np.array([3.0, 2.0, 1.0, 5.0, 4.0, 0.0, 0.0])
    actual = np.array([3.0, 1.0, 2.0, 5.0, 4.0, 1.0, 2.0])
    found = rank_agreement(actual, expected, rankings=[[0, 1, 2], [3, 4], [5, 6]])
    assert found == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert rank_agreement(actual, expected, rankings=[[5, 6]]) == (None, None)
    assert rank_agreement(actual, expected, rankings=[]) == (None, None)


def test_of_a_long_ranking_only_the_first_documents_are_compared() -> None:
    scores = np.arange(MOST_RANKED + 2.0)
    swapped = np.concatenate([scores[:-2], scores[-1:], scores[-2:-1]])
    assert rank_agreement(swapped, scores, rankings=[range(len(scores))]) == (1, 1)


def test_a_certificate_survives_json() -> None:
    assert TypeAdapter(Certificate).validate_python(json.loads(json.dumps(FOUND.to_json()))) == FOUND
    assert FOUND.to_json()["agrees"] is True


def test_rows_are_the_reference_and_each_engine() -> None:
    head, reference, *engines = parity_rows(FOUND)
    assert [len(row) for row in (reference, *engines)] == [len(head)] * 3
    assert reference[:2] == ["sentence-transformers 6.2.0", "float32"]
    assert engines[0] == ["openvino", "float32", "2.6e-07", "1.0e-05", "3.7e-08", "1.0000", "150.0", "5.00x", "yes"]
    assert engines[1][:2] == ["torch (cuda)", "bfloat16"]
    lost = replace(FOUND.engines[0], max_difference=None, mean_difference=None, kendall_tau=None, agrees=False)
    assert parity_rows(replace(FOUND, engines=(lost,)))[2][2:] == [
        "not finite", "1.0e-05", "not finite", "-", "150.0", "5.00x", "NO",
    ]  # fmt: skip


def test_sentences_name_what_disagrees() -> None:
    assert parity_sentences(FOUND) == [
        "All 63 texts have the reference's token ids.",
        "Agrees with sentence-transformers 6.2.0.",
    ]
    failed = replace(FOUND, engines=(FOUND.engines[0], replace(FOUND.engines[1], agrees=False)))
    assert parity_sentences(failed)[1] == "DISAGREES with sentence-transformers 6.2.0: torch bfloat16."
    other = replace(FOUND, kind="cross-encoder", token_differences=2)
    assert parity_sentences(other) == [
        "2 of 63 pairs have other token ids than the reference's.",
        "DISAGREES with sentence-transformers 6.2.0.",
    ]
    alone = replace(FOUND, has_library=False, token_differences=None, reference="rankwright (openvino)")
    assert "No reference library was installed" in parity_sentences(alone)[0]
    assert parity_sentences(alone)[1] == "Agrees with rankwright (openvino)."


def test_weights_are_known_by_their_hash(tmp_path: Path) -> None:
    assert weights_sha256(tmp_path) is None
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    assert weights_sha256(tmp_path) == sha256(b"weights").hexdigest()
