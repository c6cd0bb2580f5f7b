"""The loss that trains is that of the config, with its settings, and the texts have the model's prompts."""

from typing import Any

import numpy as np
import torch

from rankwright import BiEncoder, CrossEncoder
from rankwright.config import read_config
from rankwright.data import read_pairs
from rankwright.losses import binary_cross_entropy, multiple_negatives_ranking
from rankwright.training.batches import join
from rankwright.workflow.binding import bind_batches, bind_loss
from tests.tolerances import TOL
from tests.unit.workflow.small_data import DOCUMENTS, QUERIES


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


def test_each_matryoshka_size_has_the_weight_of_the_config() -> None:
    settings = ["loss.matryoshka_dims=[4, 2]", "loss.matryoshka_weights=[1.0, 3.0]"]
    embeddings = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    full, half = (multiple_negatives_ranking(embeddings[:2, :dim], embeddings[2:, :dim]) for dim in (4, 2))
    found = bind_loss(read_config(None, settings, flags={"kind": "bi-encoder"}), None)(embeddings, 2)
    torch.testing.assert_close(found, full + 3 * half, **TOL["float32", "loss"])


def test_queries_and_documents_are_trained_with_their_own_prompts(tiny: Any) -> None:
    config = read_config(None, flags={"kind": "bi-encoder"})
    row = {"query": QUERIES[0], "positive": DOCUMENTS[0], "negative": DOCUMENTS[1]}
    model = BiEncoder(tiny.bi_encoder("bert"), prompts={"query": DOCUMENTS[2], "document": DOCUMENTS[3]})
    batch, _ = bind_batches(model, config, read_pairs([row]))(np.array([0]))
    queries, documents = (
        model.tokenize(texts, prompt=prompt)
        for texts, prompt in ((QUERIES[:1], DOCUMENTS[2]), (DOCUMENTS[:2], DOCUMENTS[3]))
    )
    np.testing.assert_array_equal(batch.ids_T, join(queries, documents).ids_T)


def test_pairs_are_trained_with_the_default_prompt(tiny: Any) -> None:
    config = read_config(None, flags={"kind": "cross-encoder"})
    table = read_pairs([{"query": QUERIES[0], "document": DOCUMENTS[0], "label": 1}])
    model = CrossEncoder(tiny.cross_encoder("bert"), prompts={"query": DOCUMENTS[2]}, default_prompt_name="query")
    batch, _ = bind_batches(model, config, table)(np.array([0]))
    expected = model.tokenize([(QUERIES[0], DOCUMENTS[0])], prompt=DOCUMENTS[2])
    np.testing.assert_array_equal(batch.ids_T, expected.ids_T)
