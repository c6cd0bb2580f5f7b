"""Config: a TOML file, flags and `--set` overrides to one checked value that says all about a run.

In: `train.toml`, flags, overrides; in this order of power, above the defaults. Out: `RunConfig`, strict and frozen.
"""

import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from rankwright.errors import ConfigError
from rankwright.files import write_text

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_STRICT = ConfigDict(strict=True, frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


Place = Annotated[str, AfterValidator(os.path.expanduser)]  # ~ is the home folder
Texts = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
Sizes = Annotated[tuple[Annotated[int, Field(gt=0)], ...], BeforeValidator(_as_tuple)]
Weights = Annotated[tuple[Annotated[float, Field(gt=0)], ...], BeforeValidator(_as_tuple)]
Directions = Annotated[tuple[Literal["query_to_document", "document_to_query"], ...], BeforeValidator(_as_tuple)]


class ModelConfig(BaseModel):
    """[model]: what training starts from."""

    model_config = _STRICT

    base: Place = Field(default="", description="Folder or Hub id of the model to start from; needed to train.")
    revision: str | None = Field(default=None, description="Commit, tag or branch of a Hub id; none: the newest.")
    max_length: int | None = Field(
        default=None, gt=0, description="Most tokens of a text or pair; none: as the base says."
    )
    num_labels: int | None = Field(
        default=None, gt=0, description="Outputs of a cross-encoder's head; none: as the base says."
    )
    truncate_dim: int | None = Field(default=None, gt=0, description="Embeddings are cut to this size; none: not cut.")
    pooling: str | None = Field(
        default=None, description="Pooling mode of a bi-encoder made from a plain encoder; none: mean."
    )
    activation: str | None = Field(
        default=None,
        description="Dotted path of the function from logits to scores; none: Identity with mean_squared_error, else "
        "as the base says.",
    )
    prompts: dict[str, str] = Field(
        default_factory=dict,
        description="Prompts by name, such as query and document, put before a bi-encoder's texts.",
    )
    trust_remote_code: Literal[False] = Field(
        default=False, description="No code that comes with a base is ever run; remove the key."
    )


class DataConfig(BaseModel):
    """[data]: what is trained and measured on."""

    model_config = _STRICT

    train: Place = Field(default="", description="File or Hub id ('id' or 'id:config') of the training rows.")
    eval: Place | None = Field(
        default=None,
        description="File of pairs, BEIR folder or Hub id to measure on; none: a tenth of the rows is held out.",
    )
    columns: dict[str, str] = Field(default_factory=dict, description="Our role to the file's column name.")
    train_split: str = Field(default="train", description="Split of a Hub data set or BEIR folder to train on.")
    eval_split: str | None = Field(
        default=None, description="Split to measure on; none: the first of validation, dev, test."
    )
    name: str | None = Field(
        default=None, description="Name of the data in tables and on the card; none: from the path."
    )
    min_label: float | None = Field(
        default=None,
        gt=0,
        description="Lowest label of a positive, for in-batch losses; none: the highest there is.",
    )
    num_negatives: int = Field(
        default=0, ge=0, description="Most negatives of the same query given to each positive, for in-batch losses."
    )


class LossConfig(BaseModel):
    """[loss]: what is made small."""

    model_config = _STRICT

    name: Literal["binary_cross_entropy", "cross_entropy", "mean_squared_error", "multiple_negatives_ranking"] = Field(
        description="The loss; left out: binary_cross_entropy, or multiple_negatives_ranking of a bi-encoder."
    )
    temperature: float = Field(default=0.05, gt=0, description="Divides the cosine in multiple_negatives_ranking.")
    pos_weight: float | None = Field(
        default=None, gt=0, description="Weight of positives in binary_cross_entropy; none: 1."
    )
    directions: Directions = Field(
        default=("query_to_document",), min_length=1, description="Which side of a pair looks for which."
    )
    matryoshka_dims: Sizes = Field(default=(), description="Sizes of the embedding at which the loss is taken too.")
    matryoshka_weights: Weights = Field(default=(), description="Weight of the loss at each size; empty: 1 each.")

    @model_validator(mode="after")
    def _settings_act(self) -> Self:
        bi_encoder_only = [
            key
            for key in ("temperature", "directions", "matryoshka_dims", "matryoshka_weights")
            if getattr(self, key) != type(self).model_fields[key].default
        ]
        if bi_encoder_only and self.name != "multiple_negatives_ranking":
            raise ValueError(f"{bi_encoder_only[0]} has no effect on {self.name}. Remove it or change name")
        if self.pos_weight is not None and self.name != "binary_cross_entropy":
            raise ValueError(f"pos_weight has no effect on {self.name}. Remove it or change name")
        if self.matryoshka_weights and len(self.matryoshka_weights) != len(self.matryoshka_dims):
            raise ValueError(
                f"{len(self.matryoshka_weights)} matryoshka_weights for {len(self.matryoshka_dims)} matryoshka_dims. "
                "Give one weight for each size"
            )
        for key in ("matryoshka_dims", "directions"):
            values = getattr(self, key)
            if len(set(values)) < len(values):
                raise ValueError(f"{key} = {list(values)} names a value twice. Name each once")
        return self


class TrainingConfig(BaseModel):
    """[training]: how; names and defaults of `transformers.TrainingArguments` where it has one."""

    model_config = _STRICT

    per_device_train_batch_size: int = Field(default=8, gt=0, description="Rows of a forward pass on one device.")
    gradient_accumulation_steps: int = Field(
        default=1, gt=0, description="Forward passes whose gradients make one step."
    )
    learning_rate: float = Field(default=5e-5, gt=0, description="Highest learning rate of the schedule.")
    weight_decay: float = Field(default=0.0, ge=0, description="AdamW's decay of weights; not of biases and norms.")
    adam_beta1: float = Field(default=0.9, ge=0, lt=1, description="AdamW's decay of the mean of gradients.")
    adam_beta2: float = Field(default=0.999, ge=0, lt=1, description="AdamW's decay of the mean of squared gradients.")
    adam_epsilon: float = Field(default=1e-8, gt=0, description="AdamW's term against division by zero.")
    max_grad_norm: float = Field(
        default=1.0, ge=0, description="Gradients are scaled down to this norm; 0: not scaled."
    )
    num_train_epochs: float = Field(default=3.0, gt=0, description="Passes over the data; may be a fraction.")
    max_steps: int = Field(default=-1, ge=-1, description="Steps in all, in place of num_train_epochs; -1: not used.")
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = Field(
        default="linear", description="Shape of the learning rate after the warm-up."
    )
    warmup_ratio: float = Field(
        default=0.0, ge=0, lt=1, description="Share of the steps in which the learning rate rises."
    )
    warmup_steps: int = Field(
        default=0, ge=0, description="Steps in which the learning rate rises, in place of warmup_ratio."
    )
    seed: int = Field(
        default=42, ge=0, lt=2**32, description="Decides order of rows, dropout and the weights of a new head."
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="Type of the computation; auto: bfloat16 where the hardware has it. Weights are float32.",
    )
    device: str = Field(default="auto", description="auto, cpu, cuda or cuda:N.")
    batch_sampler: Literal["random", "no_duplicates"] = Field(
        default="random", description="no_duplicates: no text twice in a batch, for losses with in-batch negatives."
    )
    eval_strategy: Literal["no", "steps", "epoch"] = Field(
        default="no", description="When to evaluate during training."
    )
    eval_steps: int | None = Field(default=None, gt=0, description="Steps between evaluations; none: logging_steps.")
    save_strategy: Literal["no", "steps", "epoch"] = Field(default="steps", description="When to save a checkpoint.")
    save_steps: int = Field(default=500, gt=0, description="Steps between checkpoints.")
    save_total_limit: int | None = Field(default=None, gt=0, description="Checkpoints kept beside the best; none: all.")
    load_best_model_at_end: bool = Field(
        default=False, description="Whether the model is that of the best evaluation; each new best is then saved."
    )
    metric_for_best_model: str | None = Field(default=None, description="Measure that decides; none: the primary one.")
    greater_is_better: bool | None = Field(
        default=None, description="none: false where the measure's name ends in 'loss'."
    )
    logging_steps: int = Field(default=500, gt=0, description="Steps between rows of the card's training log.")
    gradient_checkpointing: bool = Field(
        default=False, description="Recompute layers in the backward pass to save memory."
    )
    mini_batch_tokens: int | None = Field(
        default=None,
        gt=0,
        description="Tokens that are encoded at a time, while the loss sees the whole batch (GradCache); none: all.",
    )

    @model_validator(mode="after")
    def _settings_act(self) -> Self:
        if self.warmup_ratio and self.warmup_steps:
            raise ValueError("warmup_ratio and warmup_steps are both given. Remove one")
        if self.lr_scheduler_type == "constant" and (self.warmup_ratio or self.warmup_steps):
            raise ValueError('the warm-up has no effect with "constant". Use "constant_with_warmup" or remove it')
        if self.max_steps == 0:
            raise ValueError("max_steps is 0. Give at least 1, or -1 for num_train_epochs")
        if self.load_best_model_at_end and self.eval_strategy == "no":
            raise ValueError('load_best_model_at_end needs evaluations. Set eval_strategy to "epoch" or "steps"')
        return self


class EvaluationConfig(BaseModel):
    """[evaluation]: what is measured."""

    model_config = _STRICT

    measures: Texts = Field(default=(), description="Measures such as 'ndcg@10'; empty: those of the task.")
    primary: str | None = Field(
        default=None, description="Measure of the verdict and the best checkpoint; none: the task's."
    )
    top_k: int = Field(default=100, gt=0, description="Documents of each query that are reranked.")
    dims: Sizes = Field(default=(), description="Embedding sizes to measure at; empty: the loss's, or the full one.")


class CardConfig(BaseModel):
    """[card]: what the model's README says that no run can know."""

    model_config = _STRICT

    model_name: str | None = Field(default=None, description="Title of the card; none: kind and base.")
    model_id: str | None = Field(default=None, description="Hub id under which the usage example loads the model.")
    language: Texts = Field(default=(), description="Language codes, such as 'pl'.")
    license: str | None = Field(default=None, description="Licence id, such as 'apache-2.0'.")
    datasets: Texts = Field(default=(), description="Hub ids of the training data.")
    examples: bool = Field(
        default=True, description="Whether three rows of the data are shown; false where texts are private."
    )
    template: Place | None = Field(default=None, description="File of a Jinja template; none: our own.")
    country: str | None = Field(
        default=None,
        pattern="^[A-Z]{3}$",
        description="ISO code of the country whose electricity is used, such as 'POL'; none: energy is not measured.",
    )


class RunConfig(BaseModel):
    """All that decides a run; the same file gives the same run."""

    model_config = _STRICT

    config_version: Literal[1] = Field(default=1, description="Version of this format.")
    kind: Literal["bi-encoder", "cross-encoder"] = Field(description="What is trained.")
    out: Place = Field(
        default="", description="Folder of the run; must be new, or that of the same run, which then resumes."
    )
    model: ModelConfig = Field(default=ModelConfig(), description="What training starts from.")
    data: DataConfig = Field(default=DataConfig(), description="What is trained and measured on.")
    loss: LossConfig = Field(description="What is made small.")
    training: TrainingConfig = Field(default=TrainingConfig(), description="How.")
    evaluation: EvaluationConfig = Field(default=EvaluationConfig(), description="What is measured.")
    card: CardConfig = Field(default=CardConfig(), description="What no run can know.")

    @model_validator(mode="before")
    @classmethod
    def _name_the_loss(cls, values: dict[str, Any]) -> dict[str, Any]:
        loss = values.get("loss", {})
        default = "multiple_negatives_ranking" if values.get("kind") == "bi-encoder" else "binary_cross_entropy"
        return values | {"loss": {"name": default} | loss} if isinstance(loss, dict) else values

    @model_validator(mode="after")
    def _loss_fits_model(self) -> Self:
        if (self.kind == "bi-encoder") != (self.loss.name == "multiple_negatives_ranking"):
            raise ValueError(f"the loss {self.loss.name} does not fit kind = {self.kind!r}. Change one of them")
        if (self.model.num_labels or 1) > 1 and self.loss.name in ("binary_cross_entropy", "mean_squared_error"):
            raise ValueError(
                f"the loss {self.loss.name} is for one label, but num_labels is {self.model.num_labels}. "
                'Use name = "cross_entropy" in [loss]'
            )
        return self


_STAGES: dict[str, type[BaseModel]] = {
    name: field.annotation
    for name, field in RunConfig.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
}


def read_config(
    path: Path | str | None, overrides: Sequence[str] = (), *, flags: Mapping[str, object] | None = None
) -> RunConfig:
    """Read a run's config: defaults, below the file, below flags, below overrides.

    Args:
        path: a TOML file; None: only flags and overrides.
        overrides: such as `"loss.temperature=0.02"`; what is right of "=" is TOML, or else taken as a string.
        flags: dotted keys to values, such as `{"training.seed": 1}`.

    Returns:
        The config.

    Raises:
        ConfigError: an unreadable file, an unknown key, a wrong type or choice; names the place and the remedy.
    """
    text = _read_text(Path(path)) if path is not None else ""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as err:
        raise ConfigError(f"{path}: not TOML: {err}. See https://toml.io for how values are written.") from err
    places: dict[tuple[str, ...], str] = {}
    for key, value in (flags or {}).items():
        _put(values, places, tuple(key.split(".")), (value, f"the flag for {key}"))
    for override in overrides:
        key, equals, given = override.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {override}: expected KEY=VALUE, such as --set loss.temperature=0.02.")
        _put(values, places, tuple(key.strip().split(".")), (_toml_value(given.strip()), f"--set {override}"))

    def place_of(key: tuple[str, ...]) -> str:
        for length in range(len(key), 0, -1):
            if key[:length] in places:
                return places[key[:length]]
        line = _line_of(text, key)
        return "config" if path is None else f"{path}:{line}" if line else str(path)

    try:
        return RunConfig.model_validate(values)
    except ValidationError as err:
        raise ConfigError("\n".join(_message(error, place_of) for error in err.errors())) from err


def write_config(path: Path | str, config: RunConfig) -> None:
    """Write a config so that `read_config` gives it back equal; keys without a value are left out.

    Args:
        path: the file; replaced if there.
        config: what to write.
    """
    lines, tables = [], []
    for key, value in config.model_dump().items():
        if isinstance(value, dict):
            tables += [
                "",
                f"[{key}]",
                *(f"{name} = {_toml(given)}" for name, given in value.items() if given is not None),
            ]
        else:
            lines.append(f"{key} = {_toml(value)}")
    write_text(Path(path), "\n".join([*lines, *tables]) + "\n")


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as err:
        raise ConfigError(f"{path}: no such file. Give a TOML file, or the main dials as flags.") from err
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text: {err}. Give a TOML file.") from err


def _put(
    values: dict[str, Any], places: dict[tuple[str, ...], str], key: tuple[str, ...], given: tuple[object, str]
) -> None:
    """Set one key of the nested values, and note where it came from."""
    value, place = given
    for section in key[:-1]:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{place}: {section!r} is a value, not a section. Known sections: {', '.join(_STAGES)}.")
    values[key[-1]] = value
    places[key] = place


def _toml_value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _toml(value: object) -> str:
    """One value as TOML; JSON's strings, numbers and booleans are TOML's."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _line_of(text: str, key: tuple[str, ...]) -> int:
    """The line, from 1, that sets `key` or the longest part of it; 0 where none does."""
    section: tuple[str, ...] = ()
    found, best = 0, 0
    for number, line in enumerate(text.split("\n"), start=1):
        if header := re.match(r"\s*\[\s*([^\[\]]+?)\s*\]", line):
            full = section = _split(header[1])
        elif assignment := re.match(r"\s*([\w.\- \"']+?)\s*=", line):
            full = section + _split(assignment[1])
        else:
            continue
        if len(full) > best and full == key[: len(full)]:
            found, best = number, len(full)
    return found


def _split(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


def _message(error: "ErrorDetails", place_of: Callable[[tuple[str, ...]], str]) -> str:
    """One of pydantic's findings in our words: what was given and where, what was expected, what to do."""
    key = tuple(part for part in error["loc"] if isinstance(part, str))
    place = place_of(key)
    if error["type"] == "value_error":
        where = f" in [{'.'.join(key)}]" if key else ""
        return f"{place}: {error['ctx']['error']}{where}."
    stage = _STAGES.get(key[0], RunConfig) if len(key) > 1 else RunConfig
    where = f" in [{key[0]}]" if stage is not RunConfig else ""
    if error["type"] == "extra_forbidden":
        known = ", ".join(stage.model_fields)
        return f"{place}: unknown key {key[-1]!r}{where}.{_nearest(key[-1], stage)} Known keys: {known}."
    name = key[1] if where else key[0]
    about = stage.model_fields[name].description
    if error["type"] == "missing":
        choices = " or ".join(map(repr, get_args(stage.model_fields[name].annotation)))
        return f"{place}: {name} is missing. {about} Expected {name} = {choices}."
    if error["type"] == "model_type":
        return f"{place}: {name} is {error['input']!r}, expected a section [{name}] with keys of its own."
    expected = error["msg"].removeprefix("Input should be ")
    return f"{place}: {name}{where} is {error['input']!r}, expected {expected}. {about}"


def _nearest(key: str, stage: type[BaseModel]) -> str:
    """A hint to the key that was meant: one of this section, or the same one of another section."""
    if near := get_close_matches(key, stage.model_fields, n=1):
        return f" Did you mean {near[0]!r}?"
    for name, other in _STAGES.items():
        if key in other.model_fields:
            return f" It belongs in [{name}]."
    return ""
