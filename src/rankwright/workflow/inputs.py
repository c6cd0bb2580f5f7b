"""Config to model and data: what a run starts from, all checked.

In: `RunConfig`. Out: the base model, the training rows, the evaluation data.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rankwright.config import RunConfig
from rankwright.data import PairTable, labelled_to_positive, read_pairs
from rankwright.encoder.parameters import match_parameters
from rankwright.encoder.spec import POOLING_MODES, Pooling
from rankwright.errors import ConfigError, DataError
from rankwright.models import BiEncoder, CrossEncoder
from rankwright.models.checkpoint_read import read_weights
from rankwright.records import LabelledPair, PositivePair
from rankwright.workflow.measuring import EvaluationData, evaluation_data_of, read_evaluation_data

HELD_OUT_SHARE = 10
"""One of so many queries is held out where the config names no evaluation data."""


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
        "trust_remote_code": wanted.trust_remote_code,
    }
    if config.kind == "cross-encoder":
        if wanted.pooling is not None or wanted.truncate_dim is not None:
            raise ConfigError("pooling and truncate_dim in [model] have no effect on a cross-encoder. Remove them.")
        reranker = CrossEncoder(wanted.base, num_labels=wanted.num_labels, activation=wanted.activation, **where)
        return _with_new_head(reranker, config.training.seed) if reranker.spec.head_is_new else reranker
    if wanted.num_labels is not None or wanted.activation is not None:
        raise ConfigError("num_labels and activation in [model] have no effect on a bi-encoder. Remove them.")
    model = BiEncoder(wanted.base, truncate_dim=wanted.truncate_dim, **where)
    return model if wanted.pooling is None else _with_pooling(model, wanted.pooling)


def read_inputs(config: RunConfig, given: Inputs) -> Inputs:
    """Training rows of the kind that the loss takes, and evaluation data; without any, a tenth of the queries.

    Args:
        config: the sections [data] and [loss].
        given: objects in place of the config's files.

    Returns:
        Both, read and checked.

    Raises:
        ConfigError: no training data.
        DataError: rows that cannot be used.
    """
    data, loss = config.data, config.loss.name
    source = data.train if given.train is None else given.train
    if isinstance(source, str) and not source:
        raise ConfigError('data.train is missing: give --train FILE, or train = "..." in [data].')
    in_batch = loss == "multiple_negatives_ranking"
    table = read_pairs(
        source,
        columns=data.columns or None,
        split=data.train_split if isinstance(source, str) and data.train_split != "train" else None,
        name=data.name,
        label_range=_label_range(config),
        integer_labels=loss == "cross_entropy",
    )
    held_out: EvaluationData | None = None
    wanted = data.eval if given.evaluation is None else given.evaluation
    if wanted is None:
        table, held_out = hold_out(table)
    if in_batch and table.kind == "labelled":
        table = labelled_to_positive(table, min_label=data.min_label, num_negatives=data.num_negatives)
    if not in_batch:
        table.labelled_rows()
    if held_out is not None:
        return Inputs(table, held_out)
    if isinstance(wanted, EvaluationData):
        return Inputs(table, wanted)
    return Inputs(table, read_evaluation_data(wanted, columns=data.columns or None, split=data.eval_split))


def hold_out(table: PairTable) -> tuple[PairTable, EvaluationData]:
    """Split rows by query: those whose hash falls into one of `HELD_OUT_SHARE` parts are for measuring.

    Args:
        table: all rows.

    Returns:
        The rows to train on, and the rest as evaluation data.

    Raises:
        DataError: too few queries to hold any out.
    """
    rows: Sequence[LabelledPair | PositivePair] = table.rows
    is_out = [_hash(row.query_id or row.query) % HELD_OUT_SHARE == 0 for row in rows]
    kept = [row for row, out in zip(rows, is_out, strict=True) if not out]
    held = [row for row, out in zip(rows, is_out, strict=True) if out]
    if len(held) < 2 or not kept:
        raise DataError(
            f"{table.source}: {len(rows)} rows are too few to hold some out for measuring. "
            'Give evaluation data: --eval FILE, or eval = "..." in [data].'
        )
    name = f"{table.name} (held-out tenth of the queries)"
    part = replace(table, rows=held, name=name)  # type: ignore[arg-type]  # rows of one kind stay of one kind
    return replace(table, rows=kept), evaluation_data_of(part)  # type: ignore[arg-type]


def _label_range(config: RunConfig) -> tuple[float, float] | None:
    """The labels that the loss can use."""
    if config.loss.name == "binary_cross_entropy":
        return (0.0, 1.0)
    if config.loss.name == "cross_entropy" and config.model.num_labels is not None:
        return (0.0, config.model.num_labels - 1.0)
    return None


def _with_new_head(model: CrossEncoder, seed: int) -> CrossEncoder:
    """The model with its new head drawn from the seed of the run."""
    spec = model.checkpoint.spec
    return model.with_parameters(match_parameters(spec, read_weights(model.folder, spec), seed=seed))


def _with_pooling(model: BiEncoder, mode: str) -> BiEncoder:
    """The model with another pooling mode."""
    if mode not in POOLING_MODES:
        raise ConfigError(f"pooling = {mode!r} in [model]: expected one of {', '.join(POOLING_MODES)}.")
    spec = model.checkpoint.spec
    modules = tuple(replace(m, modes=(mode,)) if isinstance(m, Pooling) else m for m in spec.modules)
    model.checkpoint = model.checkpoint.with_spec(replace(spec, modules=modules))
    return model


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
