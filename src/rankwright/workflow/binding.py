"""Config to the functions that the training loop takes.

In: model, config, rows. Out: `make_batch` and `loss`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from rankwright.config import RunConfig
from rankwright.data import PairTable
from rankwright.losses import LOSSES, matryoshka
from rankwright.models import BiEncoder, CrossEncoder
from rankwright.training import LabelledBatches, PositiveBatches, of_embeddings
from rankwright.workflow.facts import loss_parameters


def bind_batches(model: BiEncoder | CrossEncoder, config: RunConfig, table: PairTable) -> Callable[..., Any]:
    """Row numbers to a token batch and targets.

    Args:
        model: its tokenizer and prompts.
        config: kind and loss.
        table: the training rows.

    Returns:
        `LabelledBatches` or `PositiveBatches`.
    """
    if isinstance(model, CrossEncoder):
        integer = config.loss.name == "cross_entropy"
        prompt = model.prompts.get(model.default_prompt_name or "", "")
        return LabelledBatches(table.labelled_rows(), model.tokenize, prompt=prompt, integer_labels=integer)
    query, document = (model.prompt_of(task) for task in ("query", "document"))
    return PositiveBatches(table.positive_rows(), model.tokenize, query_prompt=query, document_prompt=document)


def bind_loss(config: RunConfig, function: Callable[..., Any] | None) -> Callable[..., Any]:
    """The loss of what a forward pass gives.

    Args:
        config: kind and loss.
        function: in place of the config's loss; of queries_BE and documents_CE, or of logits_BN and labels_B.

    Returns:
        A function of outputs and targets.
    """
    loss = function or partial(LOSSES[config.loss.name], **loss_parameters(config.loss))
    if config.kind == "cross-encoder":
        return loss
    if config.loss.matryoshka_dims:
        loss = matryoshka(loss, config.loss.matryoshka_dims, weights=config.loss.matryoshka_weights)
    return of_embeddings(loss)
