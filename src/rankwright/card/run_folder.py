"""The facts of a run folder, checked against their shape, so that the card never prints half of one.

In: a run folder as `training/` and `workflow/` write it. Out: `RunFolder`, the only thing the rest of `card/` reads.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, field_validator

from rankwright.config import RunConfig, read_config
from rankwright.encoder.spec import Kind
from rankwright.errors import ConfigError, DataError
from rankwright.evaluation.comparison import Comparison
from rankwright.evaluation.parity import Certificate, weights_sha256
from rankwright.evaluation.report import Evaluation

T = TypeVar("T")


class Facts(BaseModel):
    """A JSON object of the run folder; keys that a newer version writes are ignored."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())


class Range(Facts):
    """Smallest, mean and largest of a column."""

    min: float
    mean: float
    max: float


class ColumnStatistics(Facts):
    """What one column of a data set holds."""

    type: str
    tokens: Range | None = None
    characters: Range | None = None
    value: Range | None = None
    values: dict[str, float] | None = None
    elements: Range | None = None


class Truncation(Facts):
    """How much the maximum length cut away."""

    texts: int
    truncated: int
    tokens_lost: int


class Overlap(Facts):
    """Queries and judged pairs of evaluation data that are also in the training data, word for word."""

    queries: int
    pairs: int


class DatasetFacts(Facts):
    """One data set of the run, as it was read: rows, or queries with a collection of `num_documents`.

    `num_labelled` is the number of labelled pairs of which the rows are the positive ones.
    """

    name: str
    source: str
    size: int
    num_documents: int | None = None
    num_labelled: int | None = None
    columns: tuple[str, ...]
    sha256: str
    statistics: dict[str, ColumnStatistics] = {}
    samples: tuple[dict[str, object], ...] = ()
    truncation: Truncation | None = None
    overlap: Overlap | None = None


class DataFacts(Facts):
    """`data.json`: what was trained on and measured on."""

    train: DatasetFacts
    eval: tuple[DatasetFacts, ...] = ()


class Environment(Facts):
    """`environment.json`: versions and hardware."""

    started: str
    versions: dict[str, str | None]
    git_commit: str | None = None
    platform: str
    cpu: str
    cores: int
    memory_gib: float
    device: str
    dtype: str


class LossFacts(Facts):
    """The loss with its parameters, and the loss that it wraps."""

    name: str
    fullname: str
    parameters: dict[str, object] = {}
    wraps: "LossFacts | None" = None


class Usage(Facts):
    """One query with its own documents, and the scores that the saved model gives them: a row of labels a document."""

    query: str
    documents: tuple[str, ...]
    scores: tuple[tuple[float, ...], ...]
    truth: tuple[float | None, ...] | None = None

    @field_validator("scores", mode="before")
    @classmethod
    def _as_rows(cls, scores: object) -> object:
        """A single score is a row of one label."""
        if not isinstance(scores, list):
            return scores
        return [score if isinstance(score, list) else [score] for score in scores]

    @property
    def is_ranking(self) -> bool:
        """Whether documents have one score each, so that they have an order."""
        return all(len(row) == 1 for row in self.scores)


class Energy(Facts):
    """What CodeCarbon measured: grams of CO2, kilowatt hours, and the hardware that it saw."""

    emissions: float
    energy_consumed: float
    source: str = "codecarbon"
    training_type: str = "fine-tuning"
    on_cloud: bool = False
    cpu_model: str | None = None
    ram_total_size: float | None = None
    hardware_used: str | None = None


class Summary(Facts):
    """`summary.json`: what came out of the run."""

    kind: Kind
    base: str
    base_is_hub: bool
    base_revision: str | None = None
    best_step: int
    steps: int
    epochs: float
    training_time_s: float
    evaluation_time_s: float | None = None
    tokens: int | None = None
    primary_measure: str | None = None
    architecture: str
    max_length: int
    embedding_size: int | None = None
    similarity: str | None = None
    num_labels: int | None = None
    prompts: dict[str, str] = {}
    loss: LossFacts
    comparison: Comparison | None = None
    usage: Usage | None = None
    energy: Energy | None = None


@dataclass(frozen=True)
class RunFolder:
    """All that the card is made from."""

    folder: Path
    config: RunConfig
    environment: Environment
    data: DataFacts
    metrics: tuple[dict[str, object], ...]
    references: tuple[Evaluation, ...]
    trained: tuple[Evaluation, ...]
    summary: Summary
    parity: Certificate | None

    @property
    def shows_texts(self) -> bool:
        """Whether texts of the data may be printed: off where they are private."""
        return self.config.card.examples


def read_run(folder: Path) -> RunFolder:
    """Read and check every file of a run folder.

    A file that is missing or malformed, or that lacks a fact which every card needs, is a `DataError` that names it
    and its key.

    Args:
        folder: the folder that `rankwright train` wrote.

    Returns:
        The facts, whole.
    """
    run = RunFolder(
        folder=folder,
        config=_read_config(folder / "config.toml"),
        environment=_read(folder / "environment.json", TypeAdapter(Environment)),
        data=_read(folder / "data.json", TypeAdapter(DataFacts)),
        metrics=_read_metrics(folder / "metrics.jsonl"),
        references=_read(folder / "evaluations" / "references.json", TypeAdapter(tuple[Evaluation, ...])),
        trained=_read(folder / "evaluations" / "trained.json", TypeAdapter(tuple[Evaluation, ...])),
        summary=_read(folder / "summary.json", TypeAdapter(Summary)),
        parity=_read_parity(folder / "verify.json"),
    )
    _check_whole(run)
    return run


def _check_whole(run: RunFolder) -> None:
    """Facts that fit their files but not each other, or a reranker's card without evaluation or example."""
    for name, evaluations in (("references.json", run.references), ("trained.json", run.trained)):
        for i, evaluation in enumerate(evaluations):
            if evaluation.primary not in evaluation.measures:
                raise DataError(
                    f"{run.folder / 'evaluations' / name}: key '{i}.primary': {evaluation.primary!r} is not among the "
                    f"measures {sorted(evaluation.measures)}. Evaluate again with that measure."
                )
    summary, place = run.summary, run.folder / "summary.json"
    usage = summary.usage
    if usage is not None and not len(usage.documents) == len(usage.scores) > 0:
        raise DataError(
            f"{place}: key 'usage.scores': {len(usage.scores)} scores for {len(usage.documents)} documents; "
            "expected one score a document, and at least one."
        )
    if summary.kind != "cross-encoder":
        return
    if not run.trained:
        raise DataError(
            f"{run.folder / 'evaluations' / 'trained.json'}: no evaluation, but a reranker's card always has one. "
            "Name an evaluation set in [data] eval and evaluate the model on it."
        )
    if usage is None:
        raise DataError(
            f"{place}: key 'usage': expected one real query with 'documents' and 'scores', "
            "since a reranker's card always shows one."
        )


def _require(path: Path) -> None:
    if not path.is_file():
        raise DataError(
            f"{path}: no such file, so {path.name} of the run folder cannot be shown on a card. "
            "Give the folder that a finished `rankwright train` wrote."
        )


def _read_config(path: Path) -> RunConfig:
    _require(path)
    try:
        return read_config(path)
    except ConfigError as err:
        raise DataError(str(err)) from err


def _read(path: Path, adapter: TypeAdapter[T], *, verb: str = "train") -> T:
    """Parse a JSON file into the values that `adapter` describes; `verb` is the command that writes it."""
    _require(path)
    try:
        return adapter.validate_python(json.loads(path.read_text(encoding="utf-8")))
    except ValidationError as err:
        raise DataError(f"{path}: {_first_problem(err, verb)}") from err
    except ValueError as err:
        raise DataError(f"{path}: not JSON in UTF-8 ({err}). {verb.capitalize()} again, or restore the file.") from err


def _read_parity(path: Path) -> Certificate | None:
    """The certificate of the run's model, where `rankwright verify` left one; of another model it is an error."""
    if not path.is_file():
        return None
    found = _read(path, TypeAdapter(Certificate), verb="verify")
    model = path.parent / "model"
    if found.weights_sha256 != weights_sha256(model):
        raise DataError(
            f"{path}: key 'weights_sha256': these are not the weights of {model}. Remove the file, or make it again: "
            f"rankwright verify {model} --out {path}"
        )
    return found


def _read_metrics(path: Path) -> tuple[dict[str, object], ...]:
    """Parse `metrics.jsonl`, one flat object a line, in the order of its steps."""
    _require(path)
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as err:
            raise DataError(f"{path}:{number}: not a JSON object ({err}). Delete the line or train again.") from err
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            raise DataError(f"{path}:{number}: key 'step': expected an object with a whole number of steps.")
        for key, value in row.items():
            if key != "step" and not isinstance(value, int | float | None):
                raise DataError(f"{path}:{number}: key {key!r}: expected a number, got {value!r}.")
        rows.append(row)
    return tuple(sorted(rows, key=lambda row: row["step"]))


def _first_problem(err: ValidationError, verb: str) -> str:
    """The first thing pydantic found, as: key, what was expected, what was there."""
    problem = err.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "missing":
        return f"key {key!r} is missing. A finished `rankwright {verb}` writes it."
    return f"key {key!r}: {problem['msg']}, got {problem['input']!r:.100}."
