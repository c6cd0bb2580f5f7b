"""Train: one loop, read from top to bottom; what differs between models is passed in as a `Job`.

In: module, batch plan, loss, `evaluate`. Does: steps, each logged; evaluations; checkpoints, from which it goes on.
Out: the trained module, `metrics.jsonl`, `checkpoints/`.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from rankwright.ahead import work_ahead
from rankwright.config import TrainingConfig
from rankwright.errors import ConfigError, ValueRangeError
from rankwright.text import TokenBatch
from rankwright.training import checkpoints
from rankwright.training.checkpoints import MetricsFile, TrainingState
from rankwright.training.devices import autocast, training_dtype
from rankwright.training.memory import keep_memory, release_memory
from rankwright.training.optimizer import make_adamw
from rankwright.training.parts import backward_in_parts
from rankwright.training.plan import BatchPlan, MicroBatch, dropout_seed
from rankwright.training.schedule import learning_rate_factor, warmup_of
from rankwright.training.stopping import stop_signals

logger = logging.getLogger(__name__)

STEPS_BETWEEN_RELEASES = 10
"""Steps after which freed memory is given back, which takes a tenth of a second or two."""


@dataclass(frozen=True)
class Job:
    """What is trained.

    Attributes:
        module: takes a `TokenBatch` and the seed of its dropout, gives a row for each text; weights in float32.
        plan: which rows at which step; its `batches_per_step` is accumulation steps x processes.
        make_batch: row numbers to `TokenBatch` and targets; called in a thread.
        loss: output of the module (in float32) and targets to a scalar, the mean over the rows.
        save_model: writes a folder that users load.
        evaluate: the module to measures; None: nothing is evaluated during training.
        primary: the measure that decides which checkpoint is best, if the config names none.
        log: gets each row of `metrics.jsonl`, with `num_steps` and `time_left_s`.
    """

    module: nn.Module
    plan: BatchPlan
    make_batch: Callable[[np.ndarray], tuple[TokenBatch, Any]]
    loss: Callable[[Tensor, Any], Tensor]
    save_model: Callable[[Path, nn.Module], None]
    evaluate: Callable[[nn.Module], Mapping[str, float]] | None = None
    primary: str = "loss"
    log: Callable[[Mapping[str, object]], None] = lambda row: None


def run_training(  # noqa: C901  (a recipe is better whole)
    job: Job, settings: TrainingConfig, *, out: Path, accelerator: Accelerator
) -> TrainingState:
    """Train `job.module` in place, from the newest checkpoint of the run folder if there is one.

    Args:
        job: what is trained.
        settings: how.
        out: the run folder.
        accelerator: of `make_accelerator`.

    Returns:
        The state at the end. With `load_best_model_at_end` the module has the weights of `best_step`.

    Raises:
        ValueRangeError: a loss or gradient that is not finite; the weights are still those of the step before.
        ConfigError: a checkpoint of other data or settings, or a measure that `evaluate` does not give.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, with the state saved.
    """
    plan, module, device = job.plan, job.module, accelerator.device
    is_main, rank, num_processes = accelerator.is_main_process, accelerator.process_index, accelerator.num_processes
    dtype = training_dtype(settings.dtype, device)
    warmup_steps = warmup_of(plan.num_steps, warmup_steps=settings.warmup_steps, warmup_ratio=settings.warmup_ratio)
    module.to(device).train()
    adamw = make_adamw(
        module,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        betas=(settings.adam_beta1, settings.adam_beta2),
        epsilon=settings.adam_epsilon,
    )

    # 1. Take up the newest checkpoint; nothing else is remembered, since step and seed decide all that is drawn.
    state = TrainingState()
    if newest := checkpoints.newest_checkpoint(out):
        state = checkpoints.read_checkpoint(newest, identity=plan.identity, module=module, optimizer=adamw)
    metrics = MetricsFile(out, step=state.step) if is_main else None
    model, optimizer = accelerator.prepare(module, adamw)
    logger.info("training on %s in %s: steps %d to %d", device, dtype, state.step + 1, plan.num_steps)
    if is_main and (num_left_out := plan.num_left_out(0)):
        message = "%d of %d rows are left out of the first epoch: their texts are in every batch with room already"
        logger.warning(message, num_left_out, plan.num_rows)

    def passes_of(step: int) -> list[tuple[MicroBatch, TokenBatch, Any]]:
        micro_batches = plan.micro_batches(step, rank=rank, world_size=num_processes)
        return [(micro_batch, *job.make_batch(micro_batch.rows_B)) for micro_batch in micro_batches]

    def forward(tokens: TokenBatch, seed: int) -> Tensor:
        with autocast(dtype, device):
            return cast(Tensor, model(tokens, seed))

    def backward(outputs: Tensor, targets: Any, share: float) -> Tensor:
        loss = job.loss(outputs.float(), targets.to(device) if isinstance(targets, Tensor) else targets) * share
        accelerator.backward(loss * num_processes)
        return loss.detach()

    def write(facts: Mapping[str, object]) -> None:
        if metrics:
            time_s = state.training_time_s + state.evaluation_time_s
            row = {"step": state.step, "epoch": state.step / plan.steps_per_epoch, "time_s": time_s, **facts}
            metrics.write(row)
            left_s = (plan.num_steps - state.step) * state.training_time_s / state.step
            job.log({**row, "num_steps": plan.num_steps, "time_left_s": left_s})

    def save() -> None:
        if is_main:
            checkpoints.write_checkpoint_folder(
                out, state, identity=plan.identity, module=module, optimizer=adamw, save_model=job.save_model
            )
            limit = settings.save_total_limit
            checkpoints.remove_old_checkpoints(out, limit=limit, best_step=state.best_step)
        accelerator.wait_for_everyone()

    steps = range(state.step + 1, plan.num_steps + 1)
    with stop_signals() as stop, keep_memory(device), closing(work_ahead(passes_of, steps)) as made_ahead:
        started = time.perf_counter()
        for step, passes in zip(steps, made_ahead, strict=True):
            # 2. Gradients of the mean loss over all rows of the step, on whichever process they are.
            sums = torch.zeros(2, device=device, dtype=torch.float64)  # of loss and tokens, over all processes
            for i, (micro_batch, tokens, targets) in enumerate(passes, start=1):
                with accelerator.no_sync(model) if i < len(passes) else nullcontext():
                    sums[0] += backward_in_parts(
                        forward,
                        partial(backward, targets=targets, share=micro_batch.share),
                        tokens,
                        dropout_seed(settings.seed, step, micro_batch.number),
                        part_tokens=settings.mini_batch_tokens,
                        hold=partial(accelerator.no_sync, model),
                    )
                sums[1] += tokens.num_tokens if micro_batch.share else 0
            grad_norm = float(accelerator.clip_grad_norm_(model.parameters(), settings.max_grad_norm or math.inf))
            loss_value, num_tokens = accelerator.reduce(sums).tolist()
            _check_finite(step, {"loss": loss_value, "norm of the gradient": grad_norm}, passes)

            # 3. The step of the optimizer.
            learning_rate = settings.learning_rate * learning_rate_factor(
                step, schedule=settings.lr_scheduler_type, num_steps=plan.num_steps, warmup_steps=warmup_steps
            )
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
            optimizer.step()
            optimizer.zero_grad()
            if device.type == "cpu" and step % STEPS_BETWEEN_RELEASES == 0:
                release_memory()
            state.step, state.tokens = step, state.tokens + int(num_tokens)
            took = time.perf_counter() - started
            state.training_time_s += took

            # 4. Log.
            facts = {"loss": loss_value, "learning_rate": learning_rate, "grad_norm": grad_norm}
            write(facts | {"tokens": int(num_tokens), "tokens_per_s": num_tokens / took})

            # 5. Evaluate and save.
            saves, measures = _is_due(step, plan, settings.save_strategy, settings.save_steps), None
            every = settings.eval_steps or settings.logging_steps
            if job.evaluate and is_main and _is_due(step, plan, settings.eval_strategy, every):
                measures = _measure(job, state, autocast(dtype, device))
                saves = (settings.load_best_model_at_end and _note_best(job, state, measures, settings)) or saves
            wishes = torch.tensor([saves, stop.requested], device=device, dtype=torch.float32)
            saves, stops = (accelerator.reduce(wishes) > 0).tolist()
            if measures is not None:
                write({**measures, "saved": saves or stops})
            if saves or stops:
                save()
            if stops:
                raise KeyboardInterrupt
            started = time.perf_counter()

    # 6. The best weights.
    state.best_step = int(accelerator.reduce(torch.tensor(float(state.best_step) * is_main, device=device)))
    if settings.load_best_model_at_end and state.best_step:
        checkpoints.read_weights(checkpoints.checkpoint_path(out, state.best_step), module)
    return state


def _is_due(step: int, plan: BatchPlan, strategy: str, every: int) -> bool:
    """Whether the config asks for something at a step; the last step is always asked for, unless by "no"."""
    interval = {"steps": every, "epoch": plan.steps_per_epoch}.get(strategy)
    return interval is not None and (step % interval == 0 or step == plan.num_steps)


def _check_finite(step: int, values: Mapping[str, float], passes: Sequence[tuple[MicroBatch, Any, Any]]) -> None:
    for name, value in values.items():
        if not math.isfinite(value):
            rows = [row for micro_batch, *_ in passes for row in micro_batch.rows_B.tolist()]
            raise ValueRangeError(
                f"step {step}: the {name} is {value}. Look at rows {rows[:8]}{'...' * (len(rows) > 8)} of the training "
                'data, which are in it. Else lower learning_rate, add warmup_steps, or set dtype = "float32".'
            )


def _measure(job: Job, state: TrainingState, context: torch.autocast) -> dict[str, float | None]:
    """What `evaluate` gives, under names that begin with "eval_"; what is not finite has no value in JSON."""
    assert job.evaluate is not None
    started = time.perf_counter()
    job.module.eval()
    with torch.no_grad(), context:
        measures = job.evaluate(job.module)
    job.module.train()
    state.evaluation_time_s += time.perf_counter() - started
    return {f"eval_{name}": float(value) if math.isfinite(value) else None for name, value in measures.items()}


def _note_best(job: Job, state: TrainingState, measures: Mapping[str, float | None], settings: TrainingConfig) -> bool:
    """Whether this evaluation is the best so far; then the state says so."""
    name = (settings.metric_for_best_model or job.primary).removeprefix("eval_")
    if f"eval_{name}" not in measures:
        known = ", ".join(measure.removeprefix("eval_") for measure in measures)
        raise ConfigError(f"metric_for_best_model = {name!r}: the evaluation gives {known}. Name one of these.")
    value = measures[f"eval_{name}"]
    greater = not name.endswith("loss") if settings.greater_is_better is None else settings.greater_is_better
    if value is None or (state.best_step and (value <= state.best_value if greater else value >= state.best_value)):
        return False
    state.best_step, state.best_value = state.step, value
    return True
