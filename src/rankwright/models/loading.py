"""A checkpoint opened: its spec, tokenizer and parameters, and an engine made at first use.

In: a folder or Hub name, and the user's wishes. Out: `Checkpoint`, on which both model classes stand.
"""

import logging
import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from rankwright.encoder.engine import Engine, make_engine
from rankwright.encoder.parameters import check_finite, has_more_layers, kept_tensors, match_parameters
from rankwright.encoder.spec import STATIC, Dense, Kind, LayerNorm, ModelSpec, Pooling
from rankwright.errors import ConfigError
from rankwright.hub import resolve
from rankwright.models.calibration import read_levels
from rankwright.models.checkpoint_read import read_spec, read_weights, tasks_of
from rankwright.models.weights import Weights
from rankwright.text.tokenizer import Tokenizer, check_tokenizer
from rankwright.text.tokenizer_files import load_as_it_is, load_tokenizer, read_tokenizer_facts
from rankwright.text.tokenizer_transformers import backend_of, chat_renderer, facts_of, open_with_transformers

logger = logging.getLogger(__name__)


class UntrainedWarning(UserWarning):
    """A model was opened from a folder that lacks a part of it, which is then made up."""


@dataclass(frozen=True)
class Wishes:
    """What a user asks of a model, beside its name."""

    kind: Kind
    num_labels: int | None = None
    max_length: int | None = None
    engine: str = "auto"
    device: str = "auto"
    dtype: str = "auto"
    revision: str | None = None
    cache_folder: str | None = None
    token: str | bool | None = None
    local_files_only: bool = False
    trust_remote_code: bool = False


@dataclass
class Checkpoint:
    """An opened checkpoint. `engine` is made at first use, once, whichever thread comes first.

    `kept` are tensors that the model does not use and that saving writes again; `levels` are those of int8, where the
    parameters were calibrated for it; `routes` are the checkpoints that texts of a task run through, where a router
    sends them elsewhere; `takes_any` is false where it sends texts without a task nowhere.
    """

    folder: Path
    spec: ModelSpec
    tokenizer: Tokenizer
    parameters: Mapping[str, np.ndarray]
    kept: Mapping[str, np.ndarray]
    wishes: Wishes
    levels: Mapping[str, np.ndarray] | None = None
    routes: "Mapping[str, Checkpoint]" = field(default_factory=dict)
    takes_any: bool = True
    _engine: Engine | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def engine(self) -> Engine:
        """The engine that runs the model."""
        with self._lock:
            if self._engine is None:
                self._engine = make_engine(
                    self.spec,
                    self.parameters,
                    engine=self.wishes.engine,
                    device=self.wishes.device,
                    dtype=self.wishes.dtype,
                    levels=self.levels,
                )
                device = getattr(self._engine, "device", "cpu")
                logger.info("%s runs on %s: engine %s, %s", self.folder, device, self._engine.name, self._engine.dtype)
            return self._engine

    def __getstate__(self) -> dict[str, Any]:
        """All but the engine, which a copy makes anew."""
        return {name: value for name, value in vars(self).items() if name not in ("_engine", "_lock", "states")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _engine=None, _lock=threading.Lock())

    @cached_property
    def states(self) -> "Checkpoint":
        """The modules before the pooling, which give the state of each token."""
        if self.spec.architecture.family == STATIC:
            raise ConfigError(f"{self.folder}: a model without a transformer has no states of tokens, only embeddings.")
        modules = tuple(takewhile(lambda module: not isinstance(module, Pooling), self.spec.modules))
        dropped = tuple(f"{m.name}." for m in self.spec.modules[len(modules) :] if isinstance(m, Dense | LayerNorm))
        parameters = {name: array for name, array in self.parameters.items() if not name.startswith(dropped)}
        return replace(self.with_spec(replace(self.spec, modules=modules)), parameters=parameters)

    @property
    def wished_engine(self) -> str:
        """The engine asked for; int8 asks for the only one that has it."""
        return "openvino" if self.wishes.dtype == "int8" else self.wishes.engine

    def wished(self, *, device: str | None = None, dtype: str | None = None) -> "Checkpoint":
        """The same checkpoint for another device or type of computation; None: as it was."""
        wishes = replace(self.wishes, device=device or self.wishes.device, dtype=dtype or self.wishes.dtype)
        routes = {task: route.wished(device=device, dtype=dtype) for task, route in self.routes.items()}
        return replace(self, wishes=wishes, routes=routes, _engine=None, _lock=threading.Lock())

    def with_spec(self, spec: ModelSpec) -> "Checkpoint":
        """The same checkpoint, described otherwise."""
        return replace(self, spec=spec, _engine=None, _lock=threading.Lock())

    def with_parameters(self, parameters: Mapping[str, np.ndarray]) -> "Checkpoint":
        """The same checkpoint with other weights."""
        return replace(self, parameters=parameters, levels=None, _engine=None, _lock=threading.Lock())

    def with_levels(self, levels: Mapping[str, np.ndarray]) -> "Checkpoint":
        """The same checkpoint, computing in int8."""
        return replace(self.wished(dtype="int8"), levels=levels)


def open_checkpoint(name: str | Path, wishes: Wishes) -> Checkpoint:
    """Open a checkpoint.

    Args:
        name: a folder, or a name on the Hub.
        wishes: kind, sizes, device, and where to look.

    Returns:
        The checkpoint; its weights are mapped into memory, not read.

    Raises:
        HubError: no such name.
        ModelFormatError: the files do not describe a model that we run.
    """
    folder = resolve(
        str(name),
        kind=wishes.kind,
        revision=wishes.revision,
        cache_folder=wishes.cache_folder,
        token=wishes.token,
        local_files_only=wishes.local_files_only,
        takes_code=wishes.trust_remote_code,
    ).absolute()  # engines are made and models saved later, when the process may be elsewhere
    tasks = tasks_of(folder, wishes.kind)
    routes = {task: _open_route(folder, wishes, task) for task in tasks if task is not None}
    return replace(_open_route(folder, wishes, None), routes=routes, takes_any=None in tasks)


def _open_route(folder: Path, wishes: Wishes, task: str | None) -> Checkpoint:
    """The modules that texts of a task run through."""
    spec = read_spec(
        folder,
        wishes.kind,
        num_labels=wishes.num_labels,
        max_length=wishes.max_length,
        trust_remote_code=wishes.trust_remote_code,
        task=task,
    )
    weights = read_weights(folder, spec)
    place = folder / spec.input_path
    parameters, spec = read_parameters(spec, weights, place)
    check_finite(parameters, place)
    if has_more_layers(spec, weights):
        warnings.warn(
            f"{place}: the weights have more layers than the {spec.architecture.num_layers} that config.json counts; "
            "as in transformers, the others are left out. Correct config.json if they belong to the model.",
            stacklevel=2,
        )
    if spec.foreign is not None:
        architecture = spec.architecture
        if wishes.max_length is not None:
            architecture.check_max_length(wishes.max_length, folder)
        spec = replace(spec, max_length=min(spec.max_length, architecture.longest_text))
    tokenizer = _open_tokenizer(place, spec)
    levels = read_levels(folder, parameters)
    return Checkpoint(folder, spec, tokenizer, parameters, kept_tensors(spec, weights), wishes, levels)


def read_parameters(
    spec: ModelSpec, weights: Mapping[str, np.ndarray], place: Path, *, seed: int = 0
) -> tuple[dict[str, np.ndarray], ModelSpec]:
    """All parameters of a model, those that transformers reads included.

    Args:
        spec: the model.
        weights: the checkpoint's tensors, from `read_weights`.
        place: the folder of the transformer.
        seed: draws a new head.

    Returns:
        Arrays by name; and the spec, with what only transformers tells of a family that is not ours.

    Raises:
        ModelFormatError: a tensor that is missing, or is not as the config describes it.
    """
    parameters = match_parameters(spec, weights, seed=seed, place=place)
    if spec.foreign is None:
        return parameters, spec
    from rankwright.encoder.foreign import read_foreign

    Weights({"": place})  # what is damaged, it says more clearly than transformers
    foreign, spec = read_foreign(spec, seed=seed)
    return {**foreign, **parameters}, spec


def _open_tokenizer(folder: Path, spec: ModelSpec) -> Tokenizer:
    """The tokenizer of the transformer, or of the table, in a folder."""
    render = None
    if spec.foreign is not None:
        opened = open_with_transformers(folder, trust_remote_code=spec.foreign.trust_remote_code)
        backend, facts = backend_of(opened, folder), facts_of(opened)
        backend.no_truncation()
        backend.no_padding()
        if spec.foreign.chat_format is not None:
            render = chat_renderer(opened, spec.foreign.chat_format, spec.foreign.chat_options)
    elif spec.architecture.family == STATIC:
        backend, facts = load_as_it_is(folder)
    else:
        backend, facts = load_tokenizer(folder, lower_case=spec.lower_case), read_tokenizer_facts(folder)
    tokenizer = Tokenizer(
        backend=backend,
        max_length=spec.max_length,
        uses_type_ids=spec.uses_type_ids,
        position_ids_start=spec.architecture.position_ids_start,
        keeps_end=facts.truncation_side == "left",
        adds_special_tokens=spec.architecture.family != STATIC,
        render=render,
        num_rows=spec.architecture.vocab_size,
    )
    architecture = spec.architecture
    check_tokenizer(
        tokenizer,
        folder,
        example="a \U00012000" if spec.kind == "bi-encoder" else ("a \U00012000", "b"),
        num_rows=architecture.vocab_size,
        num_types=architecture.type_vocab_size or None if facts.uses_type_ids else None,
    )
    return tokenizer
