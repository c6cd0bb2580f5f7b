"""Batches that are encoded in parts: the gradients of one pass, whatever the parts, and one dropout for both passes."""

from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rankwright import BiEncoder
from rankwright.losses import LOSSES
from rankwright.training.batches import join, of_embeddings
from rankwright.training.parts import backward_in_parts
from tests.texts import CORPUS
from tests.tolerances import TOL
from tests.unit.training.test_loop import NO_EVALUATION, rows, weights
from tests.unit.training.tiny_job import make_job, train


@pytest.mark.parametrize("rate", [0.0, 0.3])
@pytest.mark.parametrize("part_tokens", [1, 40, 90])
def test_parts_give_the_gradients_of_the_whole(tiny: Any, part_tokens: int, rate: float) -> None:
    config = {"hidden_dropout_prob": rate, "attention_probs_dropout_prob": rate}
    model = BiEncoder(tiny.bi_encoder("bert", config=config), dtype="float32")
    tokens = join(model.tokenize(list(CORPUS[:4])), model.tokenize(list(CORPUS[4:8])))
    loss = of_embeddings(LOSSES["multiple_negatives_ranking"])
    seeds: dict[str, list[int]] = {}
    gradients = {}
    for name, budget in (("whole", None), ("parts", part_tokens)):
        module, seeds[name] = model.trainable().train(), []

        def forward(part: Any, seed: int, module: Any = module, name: str = name) -> Tensor:
            seeds[name].append(seed)
            return module(part, seed)

        def backward(embeddings: Tensor) -> Tensor:
            value = loss(embeddings, 4)
            value.backward()
            return value.detach()

        value = backward_in_parts(forward, backward, tokens, 5, part_tokens=budget)
        gradients[name] = (value, {n: p.grad for n, p in module.named_parameters()})
    half = len(seeds["parts"]) // 2
    assert half >= 2
    assert seeds["parts"][:half] == seeds["parts"][half:], "the second pass drops what the first one dropped"
    assert len(set(seeds["parts"])) == half
    (whole, expected), (parts, found) = gradients["whole"], gradients["parts"]
    if rate == 0:
        torch.testing.assert_close(parts, whole, **TOL["float32", "gradient"])
        for name, gradient in found.items():
            torch.testing.assert_close(gradient, expected[name], **TOL["float32", "gradient"], msg=name)


def test_a_run_in_parts_is_the_run_as_a_whole(tmp_path: Path) -> None:
    passes: dict[str, list[int]] = {"whole": [], "parts": []}
    for name, budget in (("whole", None), ("parts", 6)):
        job = make_job(rate=0.0)
        job.module.register_forward_pre_hook(
            lambda module, inputs, seen=passes[name]: seen.append(inputs[0].num_tokens)
        )
        train(tmp_path / name, job, mini_batch_tokens=budget, **NO_EVALUATION)
        torch.save(weights(job.module), tmp_path / f"{name}.pt")
    assert len(passes["parts"]) > 2 * len(passes["whole"]) and max(passes["parts"]) < max(passes["whole"])
    whole, parts = (torch.load(tmp_path / f"{name}.pt") for name in ("whole", "parts"))
    torch.testing.assert_close(parts, whole, **TOL["float32", "gradient"])
    for got, want in zip(rows(tmp_path / "parts"), rows(tmp_path / "whole"), strict=True):
        assert got["loss"] == pytest.approx(want["loss"], rel=1e-5)


def test_gradients_are_shared_once() -> None:
    held = []

    @contextmanager
    def hold() -> Any:
        held.append(True)
        yield

    job = make_job(rate=0.0)
    tokens, targets = job.make_batch(torch.arange(6).numpy())

    def backward(outputs: Tensor) -> Tensor:
        loss = job.loss(outputs, targets)
        loss.backward()
        return loss

    calls: list[int] = []

    def forward(part: Any, seed: int) -> Tensor:
        calls.append(seed)
        return job.module(part, seed)

    backward_in_parts(forward, backward, tokens, 1, part_tokens=6, hold=hold)
    assert len(held) == len(calls) // 2 - 1
