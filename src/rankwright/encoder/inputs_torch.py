"""A packed batch on the device that computes it.

In: `TokenBatch`. Does: one copy to the device, of all that it needs. Out: `PackedInputs`.
Letters: T packed tokens, B texts, P rows of the padded groups.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import torch
from torch import Tensor

from rankwright.encoder.packing import AttentionGroups, group_by_length
from rankwright.text import TokenBatch

EQUAL_SCORES = 1 << 15
"""Of a head, for texts of one length: more texts do not need fewer calls that count."""


@dataclass
class PackedInputs:
    """A batch on its device, with what attention, pooling and dropout need to know of it.

    Attributes:
        ids: "ids", "positions" and "types", each (T,), int32.
        starts_B1: offsets of the texts, int32.
        longest: tokens of the longest text, or more.
        lengths_B: tokens of each text, on the host; None where they are not known there (in a graph).
        prompt_length: how many first tokens of each text pooling may leave out.
        dropout_seed: decides all dropout masks; None: there is no dropout.
        generator: what draws the masks; on a GPU the device's own, which its attention kernel uses too.
    """

    ids: dict[str, Tensor]
    starts_B1: Tensor
    longest: int
    lengths_B: np.ndarray | None
    prompt_length: int
    dropout_seed: int | None
    generator: torch.Generator

    @classmethod
    def of(cls, batch: TokenBatch, device: torch.device, *, dropout_seed: int | None) -> Self:
        """The inputs of `batch`; a `dropout_seed` of None switches dropout off."""
        numbers = torch.from_numpy(flat_inputs(batch))
        if device.type == "cuda":  # from pinned memory the copy does not hold up this thread
            numbers = numbers.pin_memory()
        return cls.from_flat(
            numbers.to(device, non_blocking=True),
            num_tokens=batch.num_tokens,
            longest=int(batch.lengths_B.max(initial=1)),
            lengths_B=batch.lengths_B,
            prompt_length=batch.prompt_length,
            dropout_seed=dropout_seed,
        )

    @classmethod
    def from_flat(
        cls,
        numbers: Tensor,
        *,
        num_tokens: int,
        longest: int,
        lengths_B: np.ndarray | None,
        prompt_length: int,
        dropout_seed: int | None = None,
    ) -> Self:
        """The inputs whose ids and offsets are views of what `flat_inputs` gave."""
        ids_T, positions_T, types_T, starts_B1 = numbers.tensor_split([num_tokens, 2 * num_tokens, 3 * num_tokens])
        generator = _generator(numbers.device)
        if dropout_seed is not None:
            generator.manual_seed(dropout_seed)
        return cls(
            ids={"ids": ids_T, "positions": positions_T, "types": types_T},
            starts_B1=starts_B1,
            longest=longest,
            lengths_B=lengths_B,
            prompt_length=prompt_length,
            dropout_seed=dropout_seed,
            generator=generator,
        )

    @property
    def num_texts(self) -> int:
        """B."""
        return len(self.starts_B1) - 1

    def reseed(self, layer: int) -> None:
        """Start the draws of a layer: a function of seed and layer, so that a recomputed layer drops the same."""
        if self.dropout_seed is not None:
            self.generator.manual_seed((self.dropout_seed * 1_000_003 + layer + 1) % (1 << 63))

    @cached_property
    def groups(self) -> AttentionGroups:
        """Texts of similar length together."""
        assert self.lengths_B is not None
        return group_by_length(np.concatenate([[0], np.cumsum(self.lengths_B)]))

    @cached_property
    def equal_groups(self) -> AttentionGroups:
        """Texts of one length together, as many as have few scores."""
        assert self.lengths_B is not None
        starts_B1 = np.concatenate([[0], np.cumsum(self.lengths_B)])
        return group_by_length(starts_B1, ratio=1.0, max_scores=EQUAL_SCORES)

    @cached_property
    def gather_P(self) -> Tensor:
        """`groups.gather_P` on the device."""
        return torch.from_numpy(self.groups.gather_P).to(self.starts_B1.device)

    @cached_property
    def scatter_T(self) -> Tensor:
        """`groups.scatter_T` on the device."""
        return torch.from_numpy(self.groups.scatter_T).to(self.starts_B1.device)


def flat_inputs(batch: TokenBatch) -> np.ndarray:
    """Ids, positions, types and offsets of a batch in one array, which is copied at once.

    Args:
        batch: T tokens of B texts.

    Returns:
        (3 T + B + 1,) int32.
    """
    types_T = np.zeros_like(batch.ids_T) if batch.type_ids_T is None else batch.type_ids_T
    return np.concatenate([batch.ids_T, batch.position_ids_T, types_T, batch.starts_B1]).astype(np.int32, copy=False)


def _generator(device: torch.device) -> torch.Generator:
    if device.type != "cuda":
        return torch.Generator("cpu")
    index = torch.cuda.current_device() if device.index is None else device.index
    return torch.cuda.default_generators[index]
