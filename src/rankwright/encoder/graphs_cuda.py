"""Small batches on a GPU: the kernels of a shape are recorded once, as a CUDA graph, and started as one.

A query takes tens of kernels of a few microseconds, which a host starts one by one more slowly than they run.

In: `TokenBatch`. Does: fills the room of a graph, with texts of padding after its own. Out: the model's rows.
"""

import threading
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rankwright.encoder.inputs_torch import PackedInputs, flat_inputs
from rankwright.encoder.ops_torch import TorchEncoder
from rankwright.text import TokenBatch

MAX_WORK = 1 << 32
"""Tokens x features^2: beyond it a GPU takes longer for a layer than the host that starts its kernels."""


@dataclass(frozen=True)
class Room:
    """What a graph has room for: so many tokens, texts, and tokens of a text; the prompt's length is fixed."""

    tokens: int
    texts: int
    longest: int
    prompt_length: int


@dataclass(frozen=True)
class _Graph:
    graph: torch.cuda.CUDAGraph
    numbers: Tensor
    output: Tensor


class Graphs:
    """The graphs of a model, one for each room that was asked for twice; safe to call from many threads."""

    def __init__(self, module: TorchEncoder, device: torch.device) -> None:
        self.module, self.device = module, device
        self.max_tokens = MAX_WORK // module.spec.architecture.hidden_size**2
        self.lock = threading.Lock()
        self.graphs: dict[Room, _Graph | None] = {}
        self.memory = torch.cuda.graph_pool_handle()  # graphs run one at a time, in the same memory

    def run(self, batch: TokenBatch) -> np.ndarray | None:
        """The model's output for a batch; None where it has no graph: it is too large, or its room is new.

        Args:
            batch: B texts.

        Returns:
            (B, size) float32, or (T, size) of a model that gives token states.
        """
        room = room_for(batch)
        if room.tokens > self.max_tokens:
            return None
        numbers = torch.from_numpy(flat_inputs(padded(batch, room)))
        with self.lock:
            if room not in self.graphs:
                self.graphs[room] = None
                return None
            graph = self.graphs[room] or self._record(room)
            self.graphs[room] = graph
            graph.numbers.copy_(numbers)
            graph.graph.replay()
            rows = batch.num_tokens if len(graph.output) == room.tokens else len(batch)
            output = graph.output[:rows].clone()  # the next replay overwrites it
        return output.cpu().numpy()

    def _record(self, room: Room) -> _Graph:
        numbers = torch.zeros(3 * room.tokens + room.texts + 1, dtype=torch.int32, device=self.device)
        numbers[-1] = room.tokens
        inputs = PackedInputs.from_flat(
            numbers,
            num_tokens=room.tokens,
            longest=room.longest,
            lengths_B=None,
            prompt_length=room.prompt_length,
        )
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream(self.device)
        stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(stream):
            self.module(inputs)  # what libraries do at their first call is no part of a graph
            # other threads may go on using the device meanwhile
            graph.capture_begin(self.memory, capture_error_mode="thread_local")
            try:
                output = self.module(inputs)
            finally:
                graph.capture_end()
        torch.cuda.current_stream(self.device).wait_stream(stream)
        return _Graph(graph, numbers, output)


def room_for(batch: TokenBatch) -> Room:
    """The room of the graph that a batch fits in, with at least one token and one text of padding.

    Powers of two; tokens are padded by a quarter at most, or to 32. There are more tokens than texts, so that a row for
    each text is never taken for one for each token.

    Args:
        batch: any.

    Returns:
        The room.
    """
    texts = 1 << len(batch).bit_length()
    most = max(batch.num_tokens, texts)
    step = max(32, 1 << max(most.bit_length() - 3, 0))
    longest = max(32, 1 << (int(batch.lengths_B.max(initial=1)) - 1).bit_length())
    return Room((most // step + 1) * step, texts, longest, batch.prompt_length)


def padded(batch: TokenBatch, room: Room) -> TokenBatch:
    """A batch with padding behind its own texts: the last text has all of it, those between are empty.

    Of a text of padding that is longer than the room's longest, attention leaves rows undefined, which nobody reads.

    Args:
        batch: of fewer tokens and texts.
        room: what it is padded to.

    Returns:
        The batch that fills the room.
    """
    types_T = np.zeros_like(batch.ids_T) if batch.type_ids_T is None else batch.type_ids_T
    ids_T, positions_T, types_T = (
        np.pad(x_T, (0, room.tokens - batch.num_tokens)) for x_T in (batch.ids_T, batch.position_ids_T, types_T)
    )
    starts_B1 = np.full(room.texts + 1, batch.num_tokens, dtype=np.int32)
    starts_B1[: len(batch) + 1] = batch.starts_B1
    starts_B1[-1] = room.tokens
    return TokenBatch(ids_T, positions_T, starts_B1, types_T, batch.prompt_length)
