"""A run: from a config to a trained, measured and documented model in a folder.

In: `RunConfig`. Does: read, check, measure the references, train, measure the result, write the card. Out: the folder.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankwright.card import write_card
from rankwright.config import RunConfig, read_config
from rankwright.data import PairTable
from rankwright.errors import ConfigError
from rankwright.evaluation import Comparison, Evaluation, compare, read_evaluations, write_evaluations
from rankwright.files import write_json
from rankwright.hub import resolve
from rankwright.models import BiEncoder, CrossEncoder
from rankwright.models.checkpoint_read import kind_of
from rankwright.workflow.energy import EnergyMeter
from rankwright.workflow.examples import usage_example
from rankwright.workflow.facts import (
    data_facts,
    environment_facts,
    evaluation_data_facts,
    loss_facts,
    overlap_facts,
)
from rankwright.workflow.folder import check_folder, dotted, has_begun, has_checkpoint, run_folder, write_environment
from rankwright.workflow.inputs import Inputs, base_model, read_inputs
from rankwright.workflow.measuring import Settings, measure_model, primary_first
from rankwright.workflow.references import best_reference, reference_evaluations
from rankwright.workflow.settings import check_dims, check_loss, check_machine, check_run, primary_name

if TYPE_CHECKING:
    import torch

    from rankwright.training import BatchPlan, TrainingState

logger = logging.getLogger(__name__)

Log = Callable[[Mapping[str, object]], None]
Say = Callable[[str], None]


@dataclass(frozen=True)
class RunResult:
    """What a run left: its folder, the numbers before and after, and summary.json."""

    folder: Path
    references: list[Evaluation]
    trained: list[Evaluation]
    summary: dict[str, Any]


@dataclass(frozen=True)
class Watch:
    """Who is told how the run goes: `say` gets sentences, `log` the rows of metrics.jsonl."""

    say: Say = logger.info
    log: Log = lambda row: None


UNWATCHED = Watch()
"""Sentences go to the log at level INFO; rows are only in metrics.jsonl."""


@dataclass(frozen=True)
class Start:
    """What a run starts from: its config, the base, the data, and what is measured."""

    config: RunConfig
    model: BiEncoder | CrossEncoder
    inputs: Inputs
    settings: Settings


def train(
    model: str | Path | BiEncoder | CrossEncoder,
    data: Any,
    *,
    loss: str | Callable[..., Any] | None = None,
    evaluate: Any = None,
    out: str | Path,
    config: RunConfig | Mapping[str, Any] | None = None,
    kind: str | None = None,
) -> RunResult:
    """Train a model on pairs, measure it beside its references, and write its card.

    Args:
        model: folder or Hub name of the base; an opened model stands for its kind and its folder as it lies on disk.
        data: a path, a Hub name, a `datasets.Dataset` or records.
        loss: a name of `rankwright.losses.LOSSES`, or a function: of queries_BE and documents_CE for a bi-encoder, of
            logits_BN and labels_B for a cross-encoder; None: the kind's usual one.
        evaluate: evaluation data, as `data` or a BEIR folder; None: a tenth of the queries is held out.
        out: the run folder; a run that stopped goes on there.
        config: everything else: a `RunConfig`, or dotted keys such as {"training.learning_rate": 2e-5}.
        kind: "bi-encoder" or "cross-encoder"; None: as `config` says, else as the model's files say; a plain encoder
            becomes a bi-encoder.

    Returns:
        The run.

    Raises:
        ConfigError: settings that cannot take effect.
        DataError: rows that cannot be used; nothing has been trained then.
    """
    if isinstance(model, (BiEncoder, CrossEncoder)):
        kind, model = kind or model.kind, model.folder
    flags: dict[str, object] = {} if kind is None else {"kind": kind}
    flags |= dotted(config.model_dump(exclude_none=True)) if isinstance(config, RunConfig) else dict(config or {})
    flags |= {"model.base": str(model), "out": str(out)}
    if "kind" not in flags:
        flags["kind"] = _kind_in_files(flags)
    flags |= {key: str(v) for key, v in (("data.train", data), ("data.eval", evaluate)) if isinstance(v, (str, Path))}
    if isinstance(loss, str):
        flags["loss.name"] = loss
    resolved = read_config(None, flags=flags)
    given = Inputs(train=None if isinstance(data, (str, Path)) else data, evaluation=evaluate)
    return run_config(resolved, given=given, loss=None if isinstance(loss, str) else loss)


def _kind_in_files(flags: Mapping[str, object]) -> str:
    """The kind of the model that the run starts from."""
    revision = flags.get("model.revision")
    folder = resolve(str(flags["model.base"]), kind="bi-encoder", revision=None if revision is None else str(revision))
    return kind_of(folder)


def run_config(
    config: RunConfig, *, given: Inputs | None = None, loss: Callable[..., Any] | None = None, watch: Watch = UNWATCHED
) -> RunResult:
    """Do what a config says.

    Args:
        config: all settings.
        given: data that are not files.
        loss: a function in place of the config's loss.
        watch: who is told.

    Returns:
        The run.

    Raises:
        ConfigError: settings that cannot take effect, or a folder that holds another run.
        DataError: rows that cannot be used.
    """
    # 1. Everything that can be wrong is found here, before anything is written.
    if config.out:
        check_folder(config)
    start = _start(config, given or Inputs(), has_own_loss=loss is not None)
    with run_folder(config) as out:
        return _run(out, start, loss=loss, watch=watch)


def _run(out: Path, start: Start, *, loss: Callable[..., Any] | None, watch: Watch) -> RunResult:
    """Measure, train, measure again and document, in the folder of the run."""
    config, model, inputs, settings = start.config, start.model, start.inputs, start.settings
    watch.say(f"{model.kind} from {config.model.base}: {inputs.table.size_rows:,} rows of {inputs.table.name}")

    # 2. The folder says what will be done before it is done.
    from rankwright.training import make_accelerator

    accelerator = make_accelerator(config.training.device)
    train_facts = data_facts(inputs.table, model, config.card)
    eval_facts = evaluation_data_facts(inputs.evaluation, model, config.card)
    eval_facts["overlap"] = overlap_facts(inputs.table, inputs.evaluation)
    facts = {"train": train_facts, "eval": [eval_facts], "loss": _name_of_loss(loss_facts(config.loss, loss))}
    _check_same_run(out, facts)
    write_json(out / "data.json", facts)
    write_environment(out, _environment(config, str(accelerator.device)))

    # 3. The references.
    references = _references(out, model, inputs, settings, watch.say)

    # 4. Train. Of a run that goes on only a part could be measured, which is not the energy of the run.
    meter = EnergyMeter(None if has_checkpoint(out) else config.card.country)
    module = model.trainable()
    plan, state = _train(module, start, accelerator=accelerator, loss=loss, watch=watch)
    energy = meter.stop() or _energy_before(out)

    # 5. Measure what was trained, and say how it compares.
    watch.say("measuring the trained model")
    started = time.perf_counter()
    trained_model = model.with_parameters(_arrays(module))
    trained = primary_first(measure_model(trained_model, inputs.evaluation, settings), settings.primary)
    write_evaluations(out / "evaluations" / "trained.json", trained)
    reference = best_reference(trained[0], references, model.spec)
    comparison = None if reference is None else compare(trained[0], reference)

    # 6. Save and document.
    trained_model.save(out / "model")
    state.evaluation_time_s += time.perf_counter() - started
    summary = _summary(config, trained_model, plan, state, trained[0], comparison)
    summary["usage"] = usage_example(trained_model.with_dtype("float32"), inputs.evaluation)
    summary |= {"loss": loss_facts(config.loss, loss), "energy": energy}
    write_json(out / "summary.json", summary)
    write_card(out)
    return RunResult(out, references, trained, summary)


def plan_run(config: RunConfig) -> dict[str, Any]:
    """What a run would do: the resolved config, rows, steps. Reads and checks the data, trains nothing.

    Args:
        config: all settings.

    Returns:
        Plain values, as `--dry-run` prints them.

    Raises:
        ConfigError: settings that cannot take effect.
        DataError: rows that cannot be used.
    """
    start = _start(config, Inputs(), has_own_loss=False)
    model, inputs = start.model, start.inputs
    plan = _batch_plan(config, inputs.table, num_processes=1)
    return {
        "config": config.model_dump(),
        "rows": inputs.table.size_rows,
        "evaluation": inputs.evaluation.name,
        "steps_per_epoch": plan.steps_per_epoch,
        "steps": plan.num_steps,
        "architecture": str(model),
    }


def _start(config: RunConfig, given: Inputs, *, has_own_loss: bool) -> Start:
    """Everything that a run needs, read and checked."""
    check_machine(config)
    model = base_model(config)
    inputs = read_inputs(config, given)
    start = Start(config, model, inputs, _settings(config, model))
    check_run(config, model, inputs, start.settings)
    if not has_own_loss:
        check_loss(config, model, inputs)
    return start


def _check_same_run(out: Path, facts: Mapping[str, Any]) -> None:
    """A run goes on with the rows and the loss that it began with, which are not in its config if Python gave them."""
    path = out / "data.json"
    if not (has_begun(out) and path.is_file()):
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    for what, old, new in (
        ("training", before["train"], facts["train"]),
        ("evaluation", before["eval"][0], facts["eval"][0]),
    ):
        if old["sha256"] != new["sha256"]:
            raise ConfigError(
                f"{out} holds a run on other {what} data: the rows of {new['source']} are not those of that run. "
                "Give another --out, or the data of that run to go on with it."
            )
    if before.get("loss", facts["loss"]) != facts["loss"]:
        raise ConfigError(
            f"{out} holds a run with another loss: {before['loss']}, where this one has {facts['loss']}. "
            "Give another --out, or the loss of that run to go on with it."
        )


def _name_of_loss(facts: Mapping[str, Any]) -> str:
    """The function that a loss calls, inside of what is around it."""
    return str(facts.get("wraps", facts)["fullname"])


def _settings(config: RunConfig, model: BiEncoder | CrossEncoder) -> Settings:
    """What is measured: at the sizes of the config, else at those of the loss, always the full one first."""
    dims: tuple[int, ...] = ()
    if isinstance(model, BiEncoder):
        size = model.get_embedding_dimension()
        check_dims("loss.matryoshka_dims", config.loss.matryoshka_dims, size, config.model.base)
        check_dims("evaluation.dims", config.evaluation.dims, size, config.model.base)
        dims = config.evaluation.dims or tuple(sorted({size, *config.loss.matryoshka_dims}, reverse=True))
    elif config.evaluation.dims:
        raise ConfigError("evaluation.dims has no effect on a cross-encoder. Remove it.")
    wanted = config.evaluation
    return Settings(measures=wanted.measures, primary=wanted.primary, top_k=wanted.top_k, dims=dims)


def _environment(config: RunConfig, device: str) -> dict[str, Any]:
    import torch

    from rankwright.training.devices import training_dtype

    dtype = training_dtype(config.training.dtype, torch.device(device))
    return environment_facts(device=device if device == "cpu" else torch.cuda.get_device_name(device), dtype=dtype)


def _references(
    out: Path, model: BiEncoder | CrossEncoder, inputs: Inputs, settings: Settings, say: Say
) -> list[Evaluation]:
    """The references' evaluations; those of a run that stopped are read, not measured again."""
    path = out / "evaluations" / "references.json"
    if path.is_file():
        return read_evaluations(path)
    say(f"measuring the references on {inputs.evaluation.name}")
    references = reference_evaluations(model, inputs.table, inputs.evaluation, settings)
    write_evaluations(path, references)
    return references


def _energy_before(out: Path) -> dict[str, Any] | None:
    """What was measured of a run whose training is done, as where only its card had failed."""
    path = out / "summary.json"
    return json.loads(path.read_text(encoding="utf-8"))["energy"] if path.is_file() else None


def _train(
    module: Any, start: Start, *, accelerator: Any, loss: Callable[..., Any] | None, watch: Watch
) -> "tuple[BatchPlan, TrainingState]":
    """Bind model, rows and loss to the loop, and run it."""
    config, model, inputs, settings = start.config, start.model, start.inputs, start.settings
    from rankwright.training import Job, newest_checkpoint, run_training
    from rankwright.workflow.binding import bind_batches, bind_loss

    plan = _batch_plan(config, inputs.table, num_processes=accelerator.num_processes)
    if config.training.gradient_checkpointing:
        module.checkpoint_layers()

    def measure(current: "torch.nn.Module") -> dict[str, float]:
        found = measure_model(model.with_parameters(_arrays(current)), inputs.evaluation, settings)
        return _named_measures(primary_first(found, settings.primary))

    job = Job(
        module=module,
        plan=plan,
        make_batch=bind_batches(model, config, inputs.table),
        loss=bind_loss(config, loss),
        save_model=lambda folder, current: model.save(folder, _arrays(current)),
        evaluate=measure,
        primary=primary_name(model, inputs.evaluation, settings),
        log=watch.log,
    )
    newest = newest_checkpoint(Path(config.out))
    watch.say(f"training {plan.num_steps} steps" + (f", from the checkpoint {newest.name}" if newest else ""))
    state = run_training(job, config.training, out=Path(config.out), accelerator=accelerator)
    return plan, state


def _batch_plan(config: RunConfig, table: PairTable, *, num_processes: int) -> "BatchPlan":
    from rankwright.training import BatchPlan, number_texts

    numbers = None
    if config.training.batch_sampler == "no_duplicates":
        numbers = number_texts([row.texts for row in table.rows])
    training = config.training
    return BatchPlan(
        num_rows=table.size_rows,
        batch_size=training.per_device_train_batch_size,
        batches_per_step=training.gradient_accumulation_steps * num_processes,
        seed=training.seed,
        num_epochs=training.num_train_epochs,
        max_steps=training.max_steps,
        text_numbers=numbers,
    )


def _named_measures(evaluations: list[Evaluation]) -> dict[str, float]:
    """Measures of the first evaluation under their own names; the primary one at other sizes as dim_N_NAME."""
    first = evaluations[0]
    named = dict(first.measures)
    for evaluation in evaluations[1:]:
        if evaluation.task == first.task and evaluation.dim != first.dim and first.primary in evaluation.measures:
            named[f"dim_{evaluation.dim}_{first.primary}"] = evaluation.measures[first.primary]
        elif evaluation.dim == first.dim:
            named |= {name: value for name, value in evaluation.measures.items() if name not in named}
    return named


def _arrays(module: Any) -> dict[str, Any]:
    """The parameters of a module as float32 arrays, copied."""
    return {name: value.detach().cpu().float().numpy().copy() for name, value in module.state_dict().items()}


def _summary(
    config: RunConfig,
    model: BiEncoder | CrossEncoder,
    plan: "BatchPlan",
    state: "TrainingState",
    trained: Evaluation,
    comparison: Comparison | None,
) -> dict[str, Any]:
    return {
        "kind": model.kind,
        "base": config.model.base,
        "base_is_hub": not Path(config.model.base).is_dir(),
        "base_revision": config.model.revision,
        "best_step": state.best_step if config.training.load_best_model_at_end else state.step,
        "steps": state.step,
        "epochs": state.step / plan.steps_per_epoch,
        "training_time_s": state.training_time_s,
        "evaluation_time_s": state.evaluation_time_s,
        "tokens": state.tokens,
        "primary_measure": trained.primary,
        "architecture": str(model),
        "max_length": model.max_length,
        "embedding_size": model.get_embedding_dimension() if isinstance(model, BiEncoder) else None,
        "similarity": model.similarity_fn_name if isinstance(model, BiEncoder) else None,
        "num_labels": model.num_labels if isinstance(model, CrossEncoder) else None,
        "prompts": {task: model.prompt_of(task) for task in ("query", "document")}
        if isinstance(model, BiEncoder)
        else {},
        "comparison": None if comparison is None else comparison.to_json(),
    }
