"""A checkpoint opened: its spec, tokenizer and parameters, and an engine made at first use.

In: a folder or Hub name, and the user's wishes. Out: `Checkpoint`, on which both model classes stand.
"""

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from rankwright.encoder.engine import Engine, make_engine
from rankwright.encoder.parameters import kept_tensors, match_parameters
from rankwright.encoder.spec import Kind, ModelSpec
from rankwright.hub import resolve
from rankwright.models.checkpoint_read import read_spec, read_weights, transformer_folder
from rankwright.text.tokenizer import Tokenizer
from rankwright.text.tokenizer_files import load_tokenizer, read_tokenizer_facts

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


@dataclass
class Checkpoint:
    """An opened checkpoint. `engine` is made at first use, once, whichever thread comes first.

    `kept` are tensors that the model does not use and that saving writes again.
    """

    folder: Path
    spec: ModelSpec
    tokenizer: Tokenizer
    parameters: Mapping[str, np.ndarray]
    kept: Mapping[str, np.ndarray]
    wishes: Wishes
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
                )
                device = getattr(self._engine, "device", "cpu")
                logger.info("%s runs on %s: engine %s, %s", self.folder, device, self._engine.name, self._engine.dtype)
            return self._engine

    def wished(self, *, device: str | None = None, dtype: str | None = None) -> "Checkpoint":
        """The same checkpoint for another device or type of computation; None: as it was."""
        wishes = replace(self.wishes, device=device or self.wishes.device, dtype=dtype or self.wishes.dtype)
        return replace(self, wishes=wishes, _engine=None, _lock=threading.Lock())

    def with_spec(self, spec: ModelSpec) -> "Checkpoint":
        """The same checkpoint, described otherwise."""
        return replace(self, spec=spec, _engine=None, _lock=threading.Lock())

    def with_parameters(self, parameters: Mapping[str, np.ndarray]) -> "Checkpoint":
        """The same checkpoint with other weights."""
        return replace(self, parameters=parameters, _engine=None, _lock=threading.Lock())


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
    )
    spec = read_spec(folder, wishes.kind, num_labels=wishes.num_labels, max_length=wishes.max_length)
    tokenizer_folder = transformer_folder(folder)
    tokenizer = Tokenizer(
        backend=load_tokenizer(tokenizer_folder, lower_case=spec.lower_case),
        max_length=spec.max_length,
        uses_type_ids=spec.uses_type_ids,
        position_ids_start=spec.architecture.position_ids_start,
        keeps_end=read_tokenizer_facts(tokenizer_folder).truncation_side == "left",
    )
    weights = read_weights(folder, spec)
    parameters, kept = match_parameters(spec, weights), kept_tensors(spec, weights)
    return Checkpoint(folder, spec, tokenizer, parameters, kept, wishes)
