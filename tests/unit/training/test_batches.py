from collections.abc import Sequence

import numpy as np
import pytest
import torch

from rankwright.errors import ConfigError
from rankwright.losses import multiple_negatives_ranking
from rankwright.records import LabelledPair, PositivePair
from rankwright.text import TokenBatch
from rankwright.text.tokens import pack
from rankwright.training.batches import LabelledBatches, PositiveBatches, join, of_embeddings

LABELLED = [LabelledPair("a", "bb", 1.0), LabelledPair("cc", "d", 0.0), LabelledPair("e", "f", 0.5)]
POSITIVE = [PositivePair("a", "bb", ("x", "yy")), PositivePair("c", "d"), PositivePair("ee", "f", ("z",))]


def tokenize(texts: Sequence[str | tuple[str, str]], prompt: str = "") -> TokenBatch:
    """One token for each character; the second text of a pair has type 1."""
    pairs = [(text, "") if isinstance(text, str) else text for text in texts]
    ids = [[ord(character) for character in prompt + first + second] for first, second in pairs]
    types = [[0] * len(prompt + first) + [1] * len(second) for first, second in pairs]
    return pack(ids, types)


def text_of(batch: TokenBatch) -> list[str]:
    return ["".join(map(chr, ids)) for ids in np.split(batch.ids_T, batch.starts_B1[1:-1])]


def test_labelled_rows_are_pairs_and_labels_in_the_order_of_the_plan() -> None:
    batch, labels_B = LabelledBatches(LABELLED, tokenize, prompt="> ")(np.array([2, 0]))
    assert text_of(batch) == ["> ef", "> abb"]
    assert batch.type_ids_T.tolist() == [0, 0, 0, 1, 0, 0, 0, 1, 1]
    assert torch.equal(labels_B, torch.tensor([0.5, 1.0]))


def test_classes_are_whole_numbers() -> None:
    _, labels_B = LabelledBatches(LABELLED, tokenize, integer_labels=True)(np.array([0, 1]))
    assert torch.equal(labels_B, torch.tensor([1, 0]))
    assert labels_B.dtype == torch.int64


def test_positive_rows_are_queries_then_positives_then_negatives_in_one_batch() -> None:
    make_batch = PositiveBatches(POSITIVE, tokenize, query_prompt="q:", document_prompt="d:")
    batch, num_queries = make_batch(np.array([2, 0]))
    assert text_of(batch) == ["q:ee", "q:a", "d:f", "d:bb", "d:z", "d:x", "d:yy"]
    assert batch.position_ids_T.tolist() == [position for length in batch.lengths_B for position in range(length)]
    assert len(batch.type_ids_T) == batch.num_tokens
    assert num_queries == 2


def test_loss_of_embeddings_splits_queries_and_documents() -> None:
    embeddings = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
    expected = multiple_negatives_ranking(embeddings[:2], embeddings[2:])
    assert torch.equal(of_embeddings(multiple_negatives_ranking)(embeddings, 2), expected)


def test_joined_batches_without_types_have_none() -> None:
    joined = join(pack([[1, 2], [3]], None), pack([[4]], None))
    assert joined.type_ids_T is None
    assert joined.starts_B1.tolist() == [0, 2, 3, 4]
    assert joined.starts_B1.dtype == np.int32


@pytest.mark.parametrize(("first", "second"), [(2, 0), (0, 2)])
def test_prompts_left_out_of_pooling_must_be_of_one_length(first: int, second: int) -> None:
    with pytest.raises(ConfigError, match=f"have {first} and {second} tokens, and pooling leaves them out"):
        join(pack([[1, 2, 3]], None, prompt_length=first), pack([[1, 2, 3]], None, prompt_length=second))
    assert join(pack([[1]], None, prompt_length=1), pack([[1]], None, prompt_length=1)).prompt_length == 1
