import json
import math
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor, nn

from rankwright.encoder import engine_torch
from rankwright.errors import ConfigError, ValueRangeError
from rankwright.training import loop
from rankwright.training.checkpoints import read_weights
from tests.tolerances import TOL
from tests.unit.training.tiny_job import NUM_ROWS, Bag, deliver, make_job, train

NO_EVALUATION = {"eval_strategy": "no", "load_best_model_at_end": False, "save_strategy": "no"}


def rows(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def weights(module: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def in_turn(values: list[float], name: str = "loss") -> Callable[[nn.Module], dict[str, float]]:
    remaining = iter(values)
    return lambda module: {name: next(remaining)}


def test_loss_falls(tmp_path: Path) -> None:
    train(tmp_path, make_job(num_epochs=20, rate=0.0), **NO_EVALUATION)
    losses = [row["loss"] for row in rows(tmp_path)]
    assert losses[-1] < 0.2 * losses[0]


def test_accumulated_batches_are_one_large_batch_weighted_by_rows(tmp_path: Path) -> None:
    large = make_job(batch_size=8, batches_per_step=1, rate=0.0)
    small = make_job(batch_size=4, batches_per_step=2, rate=0.0)
    for name, job in (("large", large), ("small", small)):
        train(tmp_path / name, job, **NO_EVALUATION)
    torch.testing.assert_close(weights(small.module), weights(large.module), **TOL["float32", "gradient"])
    for got, want in zip(rows(tmp_path / "small"), rows(tmp_path / "large"), strict=True):
        assert got["loss"] == pytest.approx(want["loss"], rel=1e-5)
        assert got["grad_norm"] == pytest.approx(want["grad_norm"], rel=1e-4)


def test_dropout_follows_the_seed_and_acts(tmp_path: Path) -> None:
    losses = {}
    for name, rate, steps in (("a", 0.2, 1), ("b", 0.2, 1), ("none", 0.0, 1)):
        train(tmp_path / name, make_job(rate=rate, num_epochs=steps), **NO_EVALUATION)
        losses[name] = [row["loss"] for row in rows(tmp_path / name)]
    assert losses["a"] == losses["b"] != losses["none"]


def test_every_pass_of_every_step_has_a_dropout_of_its_own(tmp_path: Path) -> None:
    job, seeds = make_job(), []
    job.module.register_forward_pre_hook(lambda module, inputs: seeds.append(inputs[1]))
    train(tmp_path, job, **NO_EVALUATION)
    assert len(seeds) == len(set(seeds)) == 18


def test_rows_without_a_place_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    job = make_job()
    train(tmp_path / "all", job, **NO_EVALUATION)
    assert not caplog.records
    same = replace(job, plan=replace(job.plan, text_numbers=[(0,)] * NUM_ROWS))
    train(tmp_path / "few", same, **NO_EVALUATION)
    assert "17 of 23 rows are left out of the first epoch" in caplog.text


def test_every_step_is_logged(tmp_path: Path) -> None:
    logged: list = []
    state = train(tmp_path, make_job(log=logged.append), **NO_EVALUATION)
    written = rows(tmp_path)
    assert [row["step"] for row in written] == list(range(1, 10))
    assert [row["epoch"] for row in written] == [step / 3 for step in range(1, 10)]
    keys = ["step", "epoch", "time_s", "loss", "learning_rate", "grad_norm", "tokens", "tokens_per_s"]
    assert list(written[0]) == keys
    warm_then_linear = [0, 0.5, *[(9 - done) / 7 for done in range(2, 9)]]
    assert [row["learning_rate"] for row in written] == pytest.approx([0.05 * factor for factor in warm_then_linear])
    assert [row["time_s"] for row in written] == sorted(row["time_s"] for row in written)
    assert state.tokens == sum(row["tokens"] for row in written)
    assert len({sum(row["tokens"] for row in written[i : i + 3]) for i in (0, 3, 6)}) == 1
    assert [{key: row[key] for key in keys} for row in logged] == written
    assert {row["num_steps"] for row in logged} == {9}
    assert logged[-1]["time_left_s"] == 0 < logged[0]["time_left_s"]


def test_gradient_is_scaled_down_to_the_norm_only_if_asked(tmp_path: Path) -> None:
    ends = {}
    for max_grad_norm in (0.0, 1e9, 1e-12):
        job = make_job()
        train(tmp_path / str(max_grad_norm), job, max_grad_norm=max_grad_norm, adam_epsilon=1e-6, **NO_EVALUATION)
        ends[max_grad_norm] = weights(job.module)
    assert torch.equal(ends[0.0], ends[1e9])
    # With gradients far below epsilon nothing but the decay moves the weights.
    assert (ends[1e-12] - weights(Bag())).abs().max() < 0.01 < (ends[0.0] - weights(Bag())).abs().max()


def test_the_optimizer_has_the_settings_of_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Mock(wraps=loop.make_adamw)
    monkeypatch.setattr(loop, "make_adamw", made)
    job = make_job()
    settings = {"learning_rate": 0.1, "weight_decay": 0.2, "adam_beta1": 0.7, "adam_beta2": 0.8, "adam_epsilon": 1e-5}
    train(tmp_path, job, **settings, **NO_EVALUATION)
    made.assert_called_once_with(job.module, learning_rate=0.1, weight_decay=0.2, betas=(0.7, 0.8), epsilon=1e-5)


def test_best_weights_are_there_at_the_end(tmp_path: Path) -> None:
    job = make_job(evaluate=in_turn([5.0, 2.0, 3.0, 4.0, 9.0]))
    state = train(tmp_path, job)
    assert (state.step, state.best_step, state.best_value) == (9, 4, 2.0)
    saved = Bag()
    read_weights(tmp_path / "checkpoints" / "step-000004", saved)
    assert torch.equal(weights(job.module), weights(saved))
    last = Bag()
    read_weights(tmp_path / "checkpoints" / "step-000009", last)
    assert not torch.equal(weights(job.module), weights(last))
    evaluations = {row["step"]: (row["eval_loss"], row["saved"]) for row in rows(tmp_path) if "eval_loss" in row}
    # Due at 3, 6 and 9; 2 and 4 are the best so far; 6 is both.
    assert evaluations == {2: (5.0, True), 4: (2.0, True), 6: (3.0, True), 8: (4.0, False), 9: (9.0, True)}
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["step-000004", "step-000006", "step-000009"]


def test_evaluations_are_as_often_as_logged_rows_and_save_only_what_is_asked_for(tmp_path: Path) -> None:
    job = make_job(evaluate=in_turn([3.0, 2.0, 1.0]))
    train(tmp_path, job, **NO_EVALUATION | {"eval_strategy": "steps", "eval_steps": None, "logging_steps": 4})
    evaluations = {row["step"]: row["saved"] for row in rows(tmp_path) if "eval_loss" in row}
    assert evaluations == {4: False, 8: False, 9: False}
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize(
    ("name", "greater_is_better", "best_step"), [("ndcg@10", None, 9), ("loss", None, 4), ("ndcg@10", False, 4)]
)
def test_direction_follows_the_measure(tmp_path: Path, name: str, greater_is_better: bool, best_step: int) -> None:
    job = make_job(evaluate=in_turn([5.0, 2.0, 3.0, 4.0, 9.0], name))
    state = train(tmp_path, job, metric_for_best_model=f"eval_{name}", greater_is_better=greater_is_better)
    assert state.best_step == best_step


@pytest.mark.parametrize("name", ["ndcg@10", "loss"])
def test_of_equally_good_steps_the_first_is_best(tmp_path: Path, name: str) -> None:
    job = make_job(evaluate=in_turn([2.0] * 5, name))
    job.module.eval()
    assert train(tmp_path, job, metric_for_best_model=name).best_step == 2
    assert job.module.training


def test_evaluation_that_is_no_number_is_null_and_never_best(tmp_path: Path) -> None:
    state = train(tmp_path, make_job(evaluate=in_turn([math.nan, 2.0, math.inf, math.nan, 3.0])))
    assert state.best_step == 4
    assert [row["eval_loss"] for row in rows(tmp_path) if "eval_loss" in row] == [None, 2.0, None, None, 3.0]


def test_measure_that_the_evaluation_does_not_give_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"metric_for_best_model = 'map': the evaluation gives loss, constant\. Name"):
        train(tmp_path, make_job(), metric_for_best_model="map")


def test_evaluation_sees_the_module_without_dropout_and_gradients(tmp_path: Path) -> None:
    seen = []

    def evaluate(module: nn.Module) -> dict[str, float]:
        seen.append((module.training, torch.is_grad_enabled()))
        return {"loss": 1.0}

    job = make_job(evaluate=evaluate)
    train(tmp_path, job, eval_strategy="epoch")
    assert seen == [(False, False)] * 3
    assert job.module.training


def test_loss_that_is_no_number_stops_before_the_weights_change(tmp_path: Path) -> None:
    job = make_job()
    before: dict[int, Tensor] = {}

    def loss(outputs: Tensor, labels_B: Tensor) -> Tensor:
        before[len(before)] = weights(job.module)
        return outputs.mean() * (math.nan if len(before) == 9 else 1.0)

    with pytest.raises(ValueRangeError, match=r"step 5: the loss is nan\. Look at rows \[\d.*\] of the training data"):
        train(tmp_path, replace(job, loss=loss), **NO_EVALUATION)
    assert torch.equal(weights(job.module), before[8])
    assert [row["step"] for row in rows(tmp_path)] == [1, 2, 3, 4]


def test_gradient_that_is_no_number_stops_too(tmp_path: Path) -> None:
    def loss(outputs: Tensor, labels_B: Tensor) -> Tensor:
        return (outputs - outputs.detach()).sqrt().sum()

    with pytest.raises(
        ValueRangeError, match=r"step 1: the norm of the gradient is nan.*lower learning_rate, add warm"
    ):
        train(tmp_path, replace(make_job(), loss=loss), **NO_EVALUATION)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("save_strategy", ["no", "steps"])
def test_interrupted_run_saves_its_state_and_goes_on(tmp_path: Path, number: int, save_strategy: str) -> None:
    whole, parts = make_job(), make_job()
    settings = {**NO_EVALUATION, "save_strategy": save_strategy}
    train(tmp_path / "whole", whole, **settings)

    def interrupt(row: dict[str, object]) -> None:
        if row["step"] == 4:
            deliver(number)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", make_job(log=interrupt), **settings)
    assert (tmp_path / "parts" / "checkpoints" / "step-000004" / "model" / "model.safetensors").exists()
    assert rows(tmp_path / "parts")[-1]["step"] == 4
    train(tmp_path / "parts", parts, **settings)
    assert torch.equal(weights(parts.module), weights(whole.module))
    assert len(rows(tmp_path / "parts")) == 9


def test_bfloat16_keeps_weights_and_loss_in_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_torch, "cpu_has_bfloat16", lambda: True)
    types = set()

    def loss(outputs: Tensor, labels_B: Tensor) -> Tensor:
        types.add(outputs.dtype)
        return full.loss(outputs, labels_B)

    full, half = make_job(), make_job()
    train(tmp_path / "full", full, **NO_EVALUATION)
    train(tmp_path / "half", replace(half, loss=loss), **{**NO_EVALUATION, "dtype": "bfloat16"})
    assert types == {torch.float32} == {parameter.dtype for parameter in half.module.parameters()}
    got, want = ([row["loss"] for row in rows(tmp_path / name)] for name in ("half", "full"))
    assert got != want
    torch.testing.assert_close(torch.tensor(got), torch.tensor(want), **TOL["bfloat16", "loss"])
