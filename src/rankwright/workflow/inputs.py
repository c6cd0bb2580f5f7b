"""Config to model and data: what a run starts from, all checked.

In: `RunConfig`. Out: the base model, the training rows, the evaluation data.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rankwright.config import RunConfig
from rankwright.data import PairTable, labelled_to_positive, read_pairs, rows_sha256
from rankwright.data.pairs import text_sha256
from rankwright.data.sources import evaluation_split
from rankwright.encoder.spec import POOLING_MODES, Pooling
from rankwright.errors import ConfigError, DataError
from rankwright.models import BiEncoder, CrossEncoder
from rankwright.models.activations import IDENTITY
from rankwright.models.bi_encoder import TASK_PROMPTS
from rankwright.models.checkpoint_read import read_weights
from rankwright.models.loading import UntrainedWarning, read_parameters
from rankwright.records import LabelledPair, PositivePair
from rankwright.workflow.measuring import EvaluationData, evaluation_data_of, read_evaluation_data

HELD_OUT_SHARE = 10
"""One of so many rows is held out, by query, where the config names no evaluation data."""


@dataclass(frozen=True)
class Inputs:
    """Training rows and evaluation data: as given (objects, or None for those of the config), or as read."""

    train: Any = None
    evaluation: Any = None

    @property
    def table(self) -> PairTable:
        """The training rows, once read."""
        assert isinstance(self.train, PairTable)
        return self.train


def base_model(config: RunConfig) -> BiEncoder | CrossEncoder:
    """The model to start from.

    Args:
        config: the sections [model] and [training].

    Returns:
        The model.

    Raises:
        ConfigError: no base, or settings that do not fit it.
    """
    wanted = config.model
    if not wanted.base:
        raise ConfigError('model.base is missing: give --base FOLDER_OR_HUB_ID, or base = "..." in [model].')
    where: dict[str, Any] = {
        "device": config.training.device,
        "dtype": config.training.dtype,
        "max_length": wanted.max_length,
        "prompts": wanted.prompts,
        "revision": wanted.revision,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UntrainedWarning)  # what is missing is about to be trained
        return _opened(config, where)


def _opened(config: RunConfig, where: dict[str, Any]) -> BiEncoder | CrossEncoder:
    wanted = config.model
    if config.kind == "cross-encoder":
        if wanted.pooling is not None or wanted.truncate_dim is not None:
            raise ConfigError("pooling and truncate_dim in [model] have no effect on a cross-encoder. Remove them.")
        # the loss compares logits with labels, so that the logits themselves are the predictions
        own = IDENTITY if config.loss.name == "mean_squared_error" else None
        reranker = CrossEncoder(wanted.base, num_labels=wanted.num_labels, activation=wanted.activation or own, **where)
        _check_prompts(reranker, wanted.prompts)
        return _with_new_head(reranker, config.training.seed) if reranker.spec.head_is_new else reranker
    if wanted.num_labels is not None or wanted.activation is not None:
        raise ConfigError("num_labels and activation in [model] have no effect on a bi-encoder. Remove them.")
    model = BiEncoder(wanted.base, truncate_dim=wanted.truncate_dim, **where)
    _check_document_prompt(model, wanted.prompts)
    return model if wanted.pooling is None else _with_pooling(model, wanted.pooling)


def read_inputs(config: RunConfig, given: Inputs) -> Inputs:
    """Training rows of the kind that the loss takes, and evaluation data; without any, a tenth of the queries.

    Args:
        config: the sections [data] and [loss].
        given: objects in place of the config's files.

    Returns:
        Both, read and checked.

    Raises:
        ConfigError: no training data, or settings that have no effect on them.
        DataError: rows that cannot be used.
    """
    data, loss = config.data, config.loss.name
    source = data.train if given.train is None else given.train
    if isinstance(source, str) and not source:
        raise ConfigError('data.train is missing: give --train FILE, or train = "..." in [data].')
    table = read_pairs(
        source,
        columns=data.columns or None,
        split=data.train_split if data.train_split != "train" else None,
        name=data.name,
        label_range=_label_range(config),
        integer_labels=loss == "cross_entropy",
    )
    wanted: Any = data.eval if given.evaluation is None else given.evaluation
    if wanted is None:
        table, wanted = hold_out(table)
    _check_conversion(config, table)
    if loss != "multiple_negatives_ranking":
        table.labelled_rows()  # an error where there are no labels
    elif table.kind == "labelled":
        labels = [row.label for row in table.labelled_rows()]
        table = labelled_to_positive(table, min_label=data.min_label, num_negatives=data.num_negatives)
        _say_what_is_kept(labels, data.min_label)
    if not isinstance(wanted, EvaluationData):
        split = data.eval_split or evaluation_split(wanted)
        wanted = read_evaluation_data(wanted, columns=data.columns or None, split=split)
    return Inputs(table, wanted)


def hold_out(table: PairTable) -> tuple[PairTable, EvaluationData]:
    """Split rows by query: a tenth, by a hash of the queries, is for measuring.

    Queries of the same text under several ids, and those that are connected by a text which is a query in one row and a
    document in another (as in arguments compared both ways), stay together, so that no pair is in both parts, also not
    in reverse.

    Args:
        table: all rows.

    Returns:
        The rows to train on, and the rest as evaluation data.

    Raises:
        DataError: too few queries to hold any out.
    """
    rows: Sequence[LabelledPair | PositivePair] = table.rows
    groups = _connected(rows)
    members: dict[str, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    held: set[int] = set()
    for group in sorted(members, key=text_sha256):
        if len(held) * HELD_OUT_SHARE < len(rows) and len(held) + len(members[group]) <= len(rows) // 2:
            held |= set(members[group])
    if len(held) < 2:
        raise DataError(
            f"{table.source}: {len(rows)} rows of {len(members)} separate queries are too few to hold some out for "
            'measuring. Give evaluation data: --eval FILE, or eval = "..." in [data].'
        )
    kept_rows = [row for i, row in enumerate(rows) if i not in held]
    held_rows = [row for i, row in enumerate(rows) if i in held]
    name = f"{table.name} (held-out tenth of the queries)"
    kept, part = _part(table, kept_rows, table.name), _part(table, held_rows, name)
    return kept, evaluation_data_of(part)


def _part(table: PairTable, rows: list[Any], name: str) -> PairTable:
    return replace(table, rows=rows, name=name, sha256=rows_sha256(rows))


def _connected(rows: Sequence[LabelledPair | PositivePair]) -> list[str]:
    """For each row a name of its group: its query, or the first one that equal texts on either side connect it with."""
    keys = [row.query_id or row.query for row in rows]
    key_of_text = {row.query: key for row, key in zip(rows, keys, strict=True)}
    parent = {key: key for key in keys}

    def root(key: str) -> str:
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for row, key in zip(rows, keys, strict=True):
        for text in row.texts:
            if text in key_of_text:
                first, second = sorted((root(key), root(key_of_text[text])))
                parent[second] = first
    return [root(key) for key in keys]


def _check_conversion(config: RunConfig, table: PairTable) -> None:
    """Refuses settings of a conversion, from labelled pairs to positive ones, that does not take place."""
    key = next((key for key in ("min_label", "num_negatives") if getattr(config.data, key)), None)
    if key is not None and (config.kind == "cross-encoder" or table.kind == "positive"):
        raise ConfigError(
            f"data.{key} = {getattr(config.data, key)} has no effect: it says how labelled pairs become positive ones "
            f"for a bi-encoder, but this is a {config.kind}, and {table.source} has {table.kind} pairs. Remove it."
        )


def _say_what_is_kept(labels: Sequence[float], min_label: float | None) -> None:
    """A warning where pairs with a label above 0 are left out though nobody said which labels are positive."""
    highest = max(labels)
    if min_label is None and any(0 < label < highest for label in labels):
        warnings.warn(
            f"only {labels.count(highest):,} of {len(labels):,} rows are trained on, those with the highest label "
            f"{highest:g}: set data.min_label to the lowest label of a positive.",
            stacklevel=3,
        )


def _label_range(config: RunConfig) -> tuple[float, float] | None:
    """The labels that the loss can use."""
    if config.loss.name == "binary_cross_entropy":
        return (0.0, 1.0)
    if config.loss.name == "cross_entropy" and config.model.num_labels is not None:
        return (0.0, config.model.num_labels - 1.0)
    return None


def _check_prompts(model: CrossEncoder, prompts: Mapping[str, str]) -> None:
    """Refuses prompts that no pair is trained with: only the base's default one is put before queries."""
    unused = [name for name in prompts if name != model.default_prompt_name]
    if unused:
        raise ConfigError(
            f"prompts in [model] names {unused[0]!r}, which has no effect on a cross-encoder: it reads query and "
            "document as they are, but for a default prompt that the base brings. Remove it, or write it into the "
            "queries of the data."
        )


def _check_document_prompt(model: BiEncoder, prompts: Mapping[str, str]) -> None:
    """Refuses a prompt under the second name of documents, where the first one has the word, if only by being empty."""
    first, *others = TASK_PROMPTS["document"]
    for name in others:
        if name in prompts and first in model.prompts:
            raise ConfigError(
                f"prompts in [model] names {name!r}, which has no effect on training: documents get the prompt named "
                f"{first!r}, {model.prompts[first]!r}. Call it {first!r}."
            )


def _with_new_head(model: CrossEncoder, seed: int) -> CrossEncoder:
    """The model with its new head drawn from the seed of the run."""
    spec = model.checkpoint.spec
    parameters, _ = read_parameters(spec, read_weights(model.folder, spec), model.folder / spec.input_path, seed=seed)
    return model.with_parameters(parameters)


def _with_pooling(model: BiEncoder, mode: str) -> BiEncoder:
    """The model with another pooling mode."""
    if mode not in POOLING_MODES:
        raise ConfigError(f"pooling = {mode!r} in [model]: expected one of {', '.join(POOLING_MODES)}.")
    spec = model.checkpoint.spec
    modules = tuple(replace(m, modes=(mode,)) if isinstance(m, Pooling) else m for m in spec.modules)
    model.checkpoint = model.checkpoint.with_spec(replace(spec, modules=modules))
    return model
