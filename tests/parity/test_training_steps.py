"""With equal batches and no dropout, each step of ours has the loss of sentence-transformers 6.2.0's own trainer."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from sentence_transformers import (
    CrossEncoderTrainer,
    CrossEncoderTrainingArguments,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.sampler import DefaultBatchSampler
from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss, MultipleNegativesRankingLoss
from torch import nn

from rankwright.config import TrainingConfig
from rankwright.losses import binary_cross_entropy, matryoshka, multiple_negatives_ranking
from rankwright.records import LabelledPair, PositivePair
from rankwright.training import (
    BatchPlan,
    Job,
    LabelledBatches,
    PositiveBatches,
    make_accelerator,
    of_embeddings,
    run_training,
)
from tests.parity.reference import our_bi_encoder, our_cross_encoder, st_bi_encoder, st_cross_encoder
from tests.texts import random_texts
from tests.tolerances import TOL, assert_agrees

NUM_STEPS = 20
NUM_ROWS = 61  # 8 steps an epoch, the last of 5 rows
BATCH_SIZE = 8
DIMS = [32, 16, 8]
NO_DROPOUT = {
    **dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0),
    **dict.fromkeys(("dropout", "attention_dropout", "seq_classif_dropout"), 0.0),  # DistilBERT's keys
}
HYPERPARAMETERS = {
    "learning_rate": 2e-3,
    "weight_decay": 0.01,
    "warmup_steps": 5,
    "lr_scheduler_type": "linear",
    "max_grad_norm": 1.0,
    "max_steps": NUM_STEPS,
    "per_device_train_batch_size": BATCH_SIZE,
    "logging_steps": 1,
    "save_strategy": "no",
}

QUERIES = random_texts(NUM_ROWS, seed=11, most_words=10)
DOCUMENTS = random_texts(NUM_ROWS, seed=12, most_words=40)
NEGATIVES = random_texts(NUM_ROWS, seed=13, most_words=40)
LABELS = np.random.default_rng(14).integers(0, 2, NUM_ROWS).astype(float).tolist()


def plan_of_batches() -> BatchPlan:
    """The plan that both sides follow."""
    return BatchPlan(NUM_ROWS, BATCH_SIZE, max_steps=NUM_STEPS, seed=1)


class PlannedBatches(DefaultBatchSampler):
    """Gives ST's trainer the batches of our plan, epoch by epoch."""

    def __iter__(self) -> Iterator[list[int]]:
        plan = plan_of_batches()
        first = self.epoch * plan.steps_per_epoch + 1
        for step in range(first, first + plan.steps_per_epoch):
            yield plan.micro_batches(step)[0].rows_B.tolist()

    def __len__(self) -> int:
        return plan_of_batches().steps_per_epoch


def recorded(loss: nn.Module) -> tuple[nn.Module, list[float]]:
    """The loss of ST, and the list to which it will add each value."""
    values: list[float] = []
    loss.register_forward_hook(lambda module, inputs, output: values.append(float(output.detach())))
    return loss, values


def our_losses(job: dict[str, Any], out: Path) -> list[float]:
    """The loss of each step of our loop."""
    settings = TrainingConfig.model_validate({**HYPERPARAMETERS, "dtype": "float32", "device": "cpu"})
    rows: list[dict[str, Any]] = []

    def save_nothing(folder: Path, module: nn.Module) -> None: ...

    whole = Job(plan=plan_of_batches(), save_model=save_nothing, log=lambda row: rows.append(dict(row)), **job)
    run_training(whole, settings, out=out, accelerator=make_accelerator("cpu"))
    return [row["loss"] for row in rows if "loss" in row]


def arguments(make: Callable[..., Any], out: Path) -> Any:
    """The training arguments of ST for the same run."""
    return make(
        output_dir=str(out),
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        batch_sampler=PlannedBatches,
        **HYPERPARAMETERS,
    )


@pytest.mark.parametrize("family", ["bert", "distilbert", "electra"])
def test_the_steps_of_a_cross_encoder_have_the_same_losses(tiny: Any, tmp_path: Path, family: str) -> None:
    folder = tiny.cross_encoder(family, config=NO_DROPOUT)
    reference = st_cross_encoder(folder)
    loss, expected = recorded(BinaryCrossEntropyLoss(reference))
    data = datasets.Dataset.from_dict({"query": QUERIES, "document": DOCUMENTS, "label": LABELS})
    CrossEncoderTrainer(
        model=reference,
        args=arguments(CrossEncoderTrainingArguments, tmp_path / "st"),
        train_dataset=data,
        loss=loss,
    ).train()

    ours = our_cross_encoder(folder)
    pairs = [LabelledPair(*row) for row in zip(QUERIES, DOCUMENTS, LABELS, strict=True)]
    batches = LabelledBatches(pairs, ours.tokenize)
    job = {"module": ours.trainable(), "make_batch": batches, "loss": binary_cross_entropy}
    check(our_losses(job, tmp_path / "ours"), expected)


@pytest.mark.parametrize("family", ["bert", "distilbert", "electra"])
def test_the_steps_of_a_matryoshka_bi_encoder_have_the_same_losses(tiny: Any, tmp_path: Path, family: str) -> None:
    folder = tiny.bi_encoder(family, config=NO_DROPOUT)
    reference = st_bi_encoder(folder)
    inner = MultipleNegativesRankingLoss(reference)
    loss, expected = recorded(MatryoshkaLoss(reference, inner, matryoshka_dims=DIMS))
    data = datasets.Dataset.from_dict({"query": QUERIES, "positive": DOCUMENTS, "negative": NEGATIVES})
    SentenceTransformerTrainer(
        model=reference,
        args=arguments(SentenceTransformerTrainingArguments, tmp_path / "st"),
        train_dataset=data,
        loss=loss,
    ).train()

    ours = our_bi_encoder(folder)
    rows = [PositivePair(q, p, (n,)) for q, p, n in zip(QUERIES, DOCUMENTS, NEGATIVES, strict=True)]
    loss_of_ours = of_embeddings(matryoshka(multiple_negatives_ranking, DIMS))
    job = {"module": ours.trainable(), "make_batch": PositiveBatches(rows, ours.tokenize), "loss": loss_of_ours}
    check(our_losses(job, tmp_path / "ours"), expected)


def check(losses: list[float], expected: list[float]) -> None:
    """The losses agree, and training went somewhere: otherwise equal losses would prove nothing."""
    assert len(losses) == len(expected) == NUM_STEPS
    assert np.ptp(expected) > 100 * TOL["float32", "loss of a step"]["atol"]
    assert_agrees(losses, expected, "loss of a step")


@pytest.mark.parametrize("change", [{"learning_rate": 1.9e-3}, {"weight_decay": 1.0}, {"max_grad_norm": 0.0}])
def test_the_losses_show_a_wrong_hyperparameter(tiny: Any, tmp_path: Path, change: dict[str, float]) -> None:
    folder = tiny.cross_encoder("bert", config=NO_DROPOUT)
    ours = our_cross_encoder(folder)
    pairs = [LabelledPair(*row) for row in zip(QUERIES, DOCUMENTS, LABELS, strict=True)]
    job = {"make_batch": LabelledBatches(pairs, ours.tokenize), "loss": binary_cross_entropy}
    right = our_losses({"module": ours.trainable(), **job}, tmp_path / "right")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in change.items():
            patch.setitem(HYPERPARAMETERS, name, value)
        wrong = our_losses({"module": ours.trainable(), **job}, tmp_path / "wrong")
    with pytest.raises(AssertionError, match="differs by"):
        assert_agrees(wrong, right, "loss of a step")
