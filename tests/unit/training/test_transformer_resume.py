from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rankwright.config import TrainingConfig
from rankwright.losses import binary_cross_entropy, matryoshka, multiple_negatives_ranking
from rankwright.models import BiEncoder, CrossEncoder
from rankwright.records import LabelledPair, PositivePair
from rankwright.training import (
    BatchPlan,
    Job,
    LabelledBatches,
    PositiveBatches,
    TrainingState,
    make_accelerator,
    number_texts,
    of_embeddings,
    run_training,
)
from tests.texts import random_texts

QUERIES, DOCUMENTS = random_texts(14, seed=1, most_words=8), random_texts(14, seed=2, most_words=30)


def job_of(kind: str, tiny: Any, *, stop_after: int = 0) -> Job:
    """A tiny BERT with its own dropout, and rows of its kind; a log that stops the run after a step."""
    if kind == "bi-encoder":
        model: Any = BiEncoder(tiny.bi_encoder("bert"))
        rows = [PositivePair(query, document) for query, document in zip(QUERIES, DOCUMENTS, strict=True)]
        make_batch: Any = PositiveBatches(rows, model.tokenize, query_prompt="query: ")
        loss: Any = of_embeddings(matryoshka(multiple_negatives_ranking, [32, 8]))
    else:
        model = CrossEncoder(tiny.cross_encoder("bert"))
        rows = [LabelledPair(q, d, i % 2) for i, (q, d) in enumerate(zip(QUERIES, DOCUMENTS, strict=True))]
        make_batch, loss = LabelledBatches(rows, model.tokenize), binary_cross_entropy

    def save_model(folder: Path, module: nn.Module) -> None:
        model.save(folder, {name: tensor.detach().numpy() for name, tensor in module.state_dict().items()})

    def log(row: Any) -> None:
        if row["step"] == stop_after:
            raise InterruptedError

    texts = number_texts([(query, document) for query, document in zip(QUERIES, DOCUMENTS, strict=True)])
    plan = BatchPlan(14, 4, batches_per_step=2, num_epochs=4, text_numbers=texts)
    return Job(model.trainable(), plan, make_batch, loss, save_model, log=log)


def train(job: Job, out: Path) -> TrainingState:
    settings = TrainingConfig(learning_rate=1e-3, save_steps=3, save_total_limit=1, dtype="float32", device="cpu")
    return run_training(job, settings, out=out, accelerator=make_accelerator("cpu"))


@pytest.mark.parametrize("kind", ["bi-encoder", "cross-encoder"])
def test_transformer_taken_up_has_the_same_bits_and_the_saved_model_its_scores(
    tiny: Any, tmp_path: Path, kind: str
) -> None:
    whole, rest = job_of(kind, tiny), job_of(kind, tiny)
    untrained = [parameter.detach().clone() for parameter in whole.module.parameters()]
    assert train(whole, tmp_path / "whole").step == 8
    with pytest.raises(InterruptedError):
        train(job_of(kind, tiny, stop_after=5), tmp_path / "parts")
    train(rest, tmp_path / "parts")
    pairs = list(zip(rest.module.parameters(), whole.module.parameters(), untrained, strict=True))
    assert all(torch.equal(got, want) for got, want, _ in pairs)
    assert any(not torch.equal(want, before) for _, want, before in pairs)

    folder = tmp_path / "parts" / "checkpoints" / "step-000008" / "model"
    tokens, _ = whole.make_batch(np.arange(14))
    saved = BiEncoder(folder) if kind == "bi-encoder" else CrossEncoder(folder)
    with torch.no_grad():
        assert torch.equal(saved.trainable().eval()(tokens), whole.module.eval()(tokens))


def test_dropout_of_the_transformer_follows_the_seed_of_the_run(tiny: Any, tmp_path: Path) -> None:
    ends = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        job = job_of("cross-encoder", tiny)
        job = replace(job, plan=replace(job.plan, max_steps=2))
        settings = TrainingConfig(seed=seed, save_strategy="no", dtype="float32", device="cpu")
        run_training(job, settings, out=tmp_path / name, accelerator=make_accelerator("cpu"))
        ends.append(torch.cat([parameter.detach().flatten() for parameter in job.module.parameters()]))
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])
