"""What every loss must satisfy: a value worked out by hand, right gradients, order of rows, errors with a remedy."""

import math
import warnings
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from rankwright.errors import ShapeError, ValueRangeError
from rankwright.losses import (
    LOSSES,
    binary_cross_entropy,
    cross_entropy,
    matryoshka,
    mean_squared_error,
    multiple_negatives_ranking,
)
from tests.tolerances import TOL, assert_agrees

PAIRWISE = {
    "binary_cross_entropy": (
        partial(binary_cross_entropy, pos_weight=2.5),
        torch.tensor([0.0, 1.0, 0.25, 1.0, 0.0]),
        1,
    ),
    "cross_entropy": (cross_entropy, torch.tensor([2, 0, 1, 1, 2]), 3),
    "mean_squared_error": (mean_squared_error, torch.tensor([0.5, -1.0, 3.0, 0.0, 2.0]), 1),
}
both_directions = partial(multiple_negatives_ranking, directions=("query_to_document", "document_to_query"))
IN_BATCH: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "multiple_negatives_ranking": multiple_negatives_ranking,
    "both directions": both_directions,
    "document_to_query": partial(multiple_negatives_ranking, directions=["document_to_query"]),
    "matryoshka": matryoshka(both_directions, [2, 4, 6], weights=[0.5, 1.0, 2.0]),
}


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def test_every_loss_is_in_this_suite() -> None:
    assert set(LOSSES) == set(PAIRWISE) | {"multiple_negatives_ranking"}


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        # softplus(-1) and softplus(2), and three times the first for the positive
        (binary_cross_entropy(torch.tensor([[1.0], [2.0]]), torch.tensor([1, 0])), (0.31326169 + 2.12692801) / 2),
        (
            binary_cross_entropy(torch.tensor([[1.0], [2.0]]), torch.tensor([1.0, 0.0]), pos_weight=3.0),
            (3 * 0.31326169 + 2.12692801) / 2,
        ),
        # log(1 + e + e^2) - 1
        (cross_entropy(torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([1])), 1.40760596),
        (mean_squared_error(torch.tensor([[1.0], [3.0]]), torch.tensor([0.0, 1.0])), 2.5),
        # cosines 1, 0 | 0.6, 0.8: log(1 + e^-1) and log(1 + e^-0.2)
        (
            multiple_negatives_ranking(
                torch.tensor([[2.0, 0.0], [3.0, 4.0]]), torch.tensor([[1.0, 0.0], [0.0, 5.0]]), temperature=1.0
            ),
            (0.31326169 + 0.59813887) / 2,
        ),
        # a third document, a negative of both: log(1 + 2 e^-1) and log(1 + e^-0.2 + e^-0.8)
        (
            multiple_negatives_ranking(
                torch.tensor([[1.0, 0.0], [0.6, 0.8]]),
                torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]),
                temperature=1.0,
            ),
            (math.log(1 + 2 / math.e) + math.log(1 + math.exp(-0.2) + math.exp(-1.6))) / 2,
        ),
        # positives look for queries: cosines 1, 0.6 | 0.8, 0
        (
            multiple_negatives_ranking(
                torch.tensor([[1.0, 0.0], [0.6, 0.8]]),
                torch.tensor([[1.0, 0.0], [0.0, 1.0]]),
                temperature=1.0,
                directions=["document_to_query"],
            ),
            (math.log(1 + math.exp(-0.4)) + math.log(1 + math.exp(-0.8))) / 2,
        ),
    ],
)
def test_value_is_that_of_hand(actual: Tensor, expected: float) -> None:
    assert actual.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", PAIRWISE)
def test_gradient_of_pairwise_loss_is_that_of_differences(name: str) -> None:
    loss, labels_B, num_outputs = PAIRWISE[name]
    logits_BN = draw(5, num_outputs).requires_grad_()
    assert torch.autograd.gradcheck(lambda logits: loss(logits, labels_B), (logits_BN,))


@pytest.mark.parametrize("num_negatives", [0, 3])
@pytest.mark.parametrize("name", IN_BATCH)
def test_gradient_of_in_batch_loss_is_that_of_differences(name: str, num_negatives: int) -> None:
    queries_BE, documents_CE = draw(5, 6).requires_grad_(), draw(5 + num_negatives, 6).requires_grad_()
    assert torch.autograd.gradcheck(IN_BATCH[name], (queries_BE, documents_CE))


@pytest.mark.parametrize("name", PAIRWISE)
def test_order_of_pairs_does_not_matter(name: str) -> None:
    loss, labels_B, num_outputs = PAIRWISE[name]
    logits_BN, order = draw(5, num_outputs), [3, 1, 4, 0, 2]
    assert_agrees(loss(logits_BN[order], labels_B[order]), loss(logits_BN, labels_B), "loss", dtype="float64")


@pytest.mark.parametrize("name", IN_BATCH)
def test_order_of_queries_with_their_positives_and_of_negatives_does_not_matter(name: str) -> None:
    queries_BE, documents_CE, loss = draw(4, 6), draw(7, 6), IN_BATCH[name]
    shuffled = loss(queries_BE[[2, 0, 3, 1]], documents_CE[[2, 0, 3, 1, 6, 4, 5]])
    assert_agrees(shuffled, loss(queries_BE, documents_CE), "loss", dtype="float64")
    assert abs(loss(queries_BE[[2, 0, 3, 1]], documents_CE) - loss(queries_BE, documents_CE)) > 0.1


@pytest.mark.parametrize("name", IN_BATCH)
def test_norm_of_embeddings_does_not_matter(name: str) -> None:
    queries_BE, documents_CE, loss = draw(4, 6), draw(7, 6), IN_BATCH[name]
    scaled = loss(queries_BE * torch.tensor([[3.0], [0.1], [7.0], [1.0]]), documents_CE * 5)
    assert_agrees(scaled, loss(queries_BE, documents_CE), "loss", dtype="float64")


@pytest.mark.parametrize("name", PAIRWISE)
def test_mean_of_chunks_weighted_by_size_is_the_whole(name: str) -> None:
    loss, labels_B, num_outputs = PAIRWISE[name]
    logits_BN = draw(5, num_outputs)
    chunks = (2 * loss(logits_BN[:2], labels_B[:2]) + 3 * loss(logits_BN[2:], labels_B[2:])) / 5
    assert_agrees(chunks, loss(logits_BN, labels_B), "loss", dtype="float64")


def test_one_query_without_negatives_has_loss_and_gradient_zero() -> None:
    queries_BE = draw(1, 6).requires_grad_()
    loss = multiple_negatives_ranking(queries_BE, draw(1, 6))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(queries_BE.grad, torch.zeros(1, 6, dtype=torch.float64))


def test_ignored_document_counts_as_if_it_were_not_there() -> None:
    queries_BE, documents_CE = draw(2, 6), draw(5, 6)
    ignore_BC = torch.tensor([[False, False, True, False, False]]).expand(2, 5)
    ignored = multiple_negatives_ranking(queries_BE, documents_CE, ignore_BC=ignore_BC)
    assert_agrees(ignored, multiple_negatives_ranking(queries_BE, documents_CE[[0, 1, 3, 4]]), "loss", dtype="float64")


def test_positive_is_never_ignored() -> None:
    queries_BE, documents_CE = draw(2, 6), draw(3, 6)
    everything = torch.ones(2, 3, dtype=torch.bool)
    assert multiple_negatives_ranking(queries_BE, documents_CE, ignore_BC=everything).item() == 0


def test_both_directions_are_the_mean_of_each() -> None:
    queries_BE, documents_CE = draw(4, 6), draw(6, 6)
    each = [
        multiple_negatives_ranking(queries_BE, documents_CE, directions=[direction])
        for direction in ("query_to_document", "document_to_query")
    ]
    torch.testing.assert_close(both_directions(queries_BE, documents_CE), sum(each) / 2, **TOL["float64", "loss"])


def test_matryoshka_adds_the_weighted_losses_of_cut_embeddings() -> None:
    queries_BE, documents_CE = draw(4, 6), draw(7, 6)
    expected = sum(
        weight * multiple_negatives_ranking(queries_BE[:, :dim], documents_CE[:, :dim])
        for dim, weight in ((2, 0.5), (6, 2.0), (3, 1.0))
    )
    actual = matryoshka(multiple_negatives_ranking, [2, 6, 3], weights=[0.5, 2.0, 1.0])(queries_BE, documents_CE)
    assert_agrees(actual, expected, "loss", dtype="float64")


def test_matryoshka_normalises_before_a_loss_that_does_not() -> None:
    def dots(queries_BE: Tensor, documents_CE: Tensor) -> Tensor:
        return (queries_BE * documents_CE).sum()

    queries_BE = draw(3, 6)
    assert_agrees(matryoshka(dots, [6, 2])(queries_BE, 9 * queries_BE), 6.0, "loss", dtype="float64")


def test_matryoshka_without_the_full_size_warns() -> None:
    with pytest.warns(UserWarning, match=r"full embedding size 6 is not among the matryoshka sizes \[2, 4\]"):
        matryoshka(multiple_negatives_ranking, [2, 4])(draw(3, 6), draw(3, 6))
    with warnings.catch_warnings(action="error"):
        matryoshka(multiple_negatives_ranking, [2, 6])(draw(3, 6), draw(3, 6))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: binary_cross_entropy(draw(2, 3), torch.ones(2)),
            ShapeError,
            "a model with 1 output, got 3. Set num_labels",
        ),
        (lambda: mean_squared_error(draw(2, 3), torch.ones(2)), ShapeError, "a model with 1 output, got 3"),
        (
            lambda: binary_cross_entropy(draw(2, 1), torch.ones(2), pos_weight=0.0),
            ValueRangeError,
            "must be > 0, got 0",
        ),
        (
            lambda: binary_cross_entropy(draw(2, 1), torch.tensor([0.5, 4.0])),
            ValueRangeError,
            "0 to 1, got 4.0. Rescale",
        ),
        (
            lambda: cross_entropy(draw(2, 3), torch.tensor([0, 3])),
            ValueRangeError,
            "over 3 classes .* 0 to 2, got 3. Set",
        ),
        (lambda: cross_entropy(draw(2, 1), torch.tensor([0, 0])), ShapeError, "two classes or more, got 1"),
        (lambda: multiple_negatives_ranking(draw(3, 6), draw(2, 6)), ShapeError, "got 3 queries, 2 documents"),
        (
            lambda: multiple_negatives_ranking(draw(2, 6), draw(2, 6), temperature=0.0),
            ValueRangeError,
            "must be > 0, got 0",
        ),
        (
            lambda: multiple_negatives_ranking(draw(2, 6), draw(2, 6), directions=["up"]),
            ValueRangeError,
            r"query_to_document, document_to_query, got \['up'\]",
        ),
        (lambda: multiple_negatives_ranking(draw(2, 6), draw(2, 6), directions=[]), ValueRangeError, r"got \[\]"),
        (lambda: matryoshka(both_directions, []), ShapeError, r"sizes \[\]"),
        (lambda: matryoshka(both_directions, [2, 3], weights=[1.0]), ShapeError, "one weight for each, .* 1 weights"),
        (lambda: matryoshka(both_directions, [2, 0]), ValueRangeError, r"must be > 0, got \[2, 0\]"),
        (lambda: matryoshka(both_directions, [2, 9])(draw(2, 6), draw(2, 6)), ShapeError, "size 9 is larger .* have 6"),
    ],
)
def test_error_names_what_was_given(call: Callable[[], Tensor], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
