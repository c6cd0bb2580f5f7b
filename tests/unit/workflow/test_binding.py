"""The loss that trains is that of the config, with its settings."""

import torch

from rankwright.config import read_config
from rankwright.losses import binary_cross_entropy, multiple_negatives_ranking
from rankwright.workflow.binding import bind_loss


def test_the_loss_of_a_bi_encoder_has_the_settings_of_the_config() -> None:
    config = read_config(
        None, ["loss.temperature=0.5", 'loss.directions=["document_to_query"]'], flags={"kind": "bi-encoder"}
    )
    embeddings = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    expected = multiple_negatives_ranking(
        embeddings[:2], embeddings[2:], temperature=0.5, directions=["document_to_query"]
    )
    assert bind_loss(config, None)(embeddings, 2) == expected
    assert expected != multiple_negatives_ranking(embeddings[:2], embeddings[2:])


def test_the_loss_of_a_cross_encoder_has_the_settings_of_the_config() -> None:
    config = read_config(None, ["loss.pos_weight=3.0"], flags={"kind": "cross-encoder"})
    logits, labels = torch.tensor([[0.5], [-1.0]]), torch.tensor([1, 0])
    assert bind_loss(config, None)(logits, labels) == binary_cross_entropy(logits, labels, pos_weight=3.0)
