"""Values and gradients of our losses against the loss classes of sentence-transformers."""

from collections.abc import Callable

import pytest
import torch
from sentence_transformers.cross_encoder import CrossEncoder
from sentence_transformers.cross_encoder import losses as st_cross
from sentence_transformers.sentence_transformer import losses as st_bi
from torch import Tensor, nn

from rankwright import losses
from tests.tolerances import assert_agrees


class Given(nn.Module):
    """A model that gives the tensors which the test chose: the loss class asks for them in turn."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"sentence_embedding": features["embedding"]}

    def get_embedding_dimension(self) -> int:
        return self.size


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).requires_grad_()


def given_scores(logits_BN: Tensor) -> CrossEncoder:
    """A cross-encoder, since the loss classes ask for one, whose scores are `logits_BN` whatever it is given."""

    class GivenScores(CrossEncoder):
        num_labels, device = logits_BN.shape[1], torch.device("cpu")

        def __init__(self) -> None:
            nn.Module.__init__(self)

        def preprocess(self, pairs: list, prompt: None, task: None) -> dict:
            return {}

        def forward(self, features: dict) -> dict[str, Tensor]:
            return {"scores": logits_BN}

    return GivenScores()


@pytest.mark.parametrize(
    ("ours", "theirs", "labels", "num_outputs"),
    [
        (losses.binary_cross_entropy, st_cross.BinaryCrossEntropyLoss, [0.0, 1.0, 0.3], 1),
        (
            lambda logits, labels: losses.binary_cross_entropy(logits, labels, pos_weight=3.5),
            lambda model: st_cross.BinaryCrossEntropyLoss(model, pos_weight=torch.tensor(3.5)),
            [0.0, 1.0, 0.3],
            1,
        ),
        (losses.cross_entropy, st_cross.CrossEntropyLoss, [0, 3, 1], 4),
        (losses.mean_squared_error, st_cross.MSELoss, [-1.0, 2.0, 0.5], 1),
    ],
)
def test_pairwise_loss_and_gradient_agree(
    ours: Callable, theirs: Callable, labels: list[float], num_outputs: int
) -> None:
    logits_BN = draw(3, num_outputs)
    expected = theirs(given_scores(logits_BN))([["q"] * 3, ["d"] * 3], torch.tensor(labels))
    assert_same(ours(logits_BN, torch.tensor(labels)), expected, [logits_BN])


@pytest.mark.parametrize("num_negatives", [0, 1, 2])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("query_to_document", {}),
        ("query_to_document", {"scale": 100.0}),
        (
            "query_to_document document_to_query",
            {"directions": ("query_to_doc", "doc_to_query"), "partition_mode": "per_direction"},
        ),
    ],
)
@pytest.mark.parametrize("dims", [None, ([4, 8, 2], [1.0, 0.3, 2.0]), ([8], [1.0])])
def test_in_batch_loss_and_gradient_agree(num_negatives: int, ours: str, theirs: dict, dims: tuple | None) -> None:
    columns = [draw(5 + i, 8).detach()[:5].requires_grad_() for i in range(2 + num_negatives)]
    model = Given(8)
    expected_loss = st_bi.MultipleNegativesRankingLoss(model, **theirs)
    temperature = 1 / theirs.get("scale", 20.0)

    def actual_loss(queries_BE: Tensor, documents_CE: Tensor) -> Tensor:
        return losses.multiple_negatives_ranking(
            queries_BE, documents_CE, temperature=temperature, directions=ours.split()
        )

    if dims:
        expected_loss = st_bi.MatryoshkaLoss(model, expected_loss, dims[0], dims[1])
        actual_loss = losses.matryoshka(actual_loss, dims[0], weights=dims[1])
    expected = expected_loss([{"embedding": column} for column in columns], torch.tensor([]))
    assert_same(actual_loss(columns[0], torch.cat(columns[1:])), expected, columns)


def assert_same(actual: Tensor, expected: Tensor, inputs: list[Tensor]) -> None:
    assert_agrees(actual.detach(), expected.detach(), "loss")
    for got, want in zip(torch.autograd.grad(actual, inputs), torch.autograd.grad(expected, inputs), strict=True):
        assert want.abs().max() > 1e-4
        assert_agrees(got, want, "gradient")
