"""Many texts through an engine: chunks tokenised ahead, equal texts run once, batches by length, results in order.

In: texts or pairs. Out: one float32 row for each, and the truncation report.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rankwright.ahead import work_ahead
from rankwright.encoder.engine import Engine
from rankwright.errors import ValueRangeError
from rankwright.text import TokenBatch, Truncation, first_alike, plan_batches
from rankwright.text.prefixes import WORTH, prefix_chars
from rankwright.text.tokenizer import Tokenizer
from rankwright.text.tokens import Text

logger = logging.getLogger(__name__)

FEW_TOKENS = 1024
"""Where there are no more in all, one batch runs after the other, each with all of the device. Not tuned: it is one
batch of one core, not worth a second graph."""

CHUNK_CHARS = 1 << 22
"""Characters of a chunk, as 8,192 texts of 500 have: its tokens, before they are cut, take 150 bytes each."""


@dataclass(frozen=True)
class BatchLimits:
    """How large a batch may be: in tokens (None: the engine's pace), and in texts (None: any)."""

    batch_tokens: int | None = None
    max_texts: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("batch_tokens", self.batch_tokens), ("batch_size", self.max_texts)):
            if value is not None and value < 1:
                raise ValueRangeError(f"{name} must be at least 1, got {value}.")


def run_texts(
    engine: Engine,
    tokenizer: Tokenizer,
    texts: Sequence[Text],
    *,
    prompt: str = "",
    pools_prompt: bool = True,
    limits: BatchLimits = BatchLimits(),
    progress: Callable[[int], None] | None = None,
) -> tuple[np.ndarray, Truncation]:
    """One row for each text.

    Args:
        engine: runs a batch.
        tokenizer: makes batches.
        texts: texts or pairs, not mixed; at least one.
        prompt: put before each text.
        pools_prompt: whether pooling reads the prompt's tokens.
        limits: size of the batches.
        progress: called with the number of texts done since the last call.

    Returns:
        (number of texts, size) float32 in the order of `texts`, and what truncation cost.

    Raises:
        ValueRangeError: no texts.
    """
    output: np.ndarray | None = None
    report = Truncation()
    for done in _batches(engine, tokenizer, texts, prompt, pools_prompt, limits):
        report = report + done.truncation
        if output is None:
            output = np.empty((len(texts), done.values.shape[1]), dtype=np.float32)
        output[done.places] = done.values[done.rows]
        if progress is not None:
            progress(len(done.places))
    if output is None:
        raise ValueRangeError("run_texts needs at least one text, got none.")
    return output, report


def run_tokens(
    engine: Engine,
    tokenizer: Tokenizer,
    texts: Sequence[Text],
    *,
    prompt: str = "",
    limits: BatchLimits = BatchLimits(),
) -> tuple[list[np.ndarray], Truncation]:
    """One row for each token of each text, special tokens included.

    Args:
        engine: runs a batch of a model that gives token states.
        tokenizer: makes batches.
        texts: texts.
        prompt: put before each text.
        limits: size of the batches.

    Returns:
        (L, size) float32 for each text, and what truncation cost.
    """
    outputs: list[np.ndarray] = [np.empty(0)] * len(texts)
    report = Truncation()
    for done in _batches(engine, tokenizer, texts, prompt, True, limits):
        report = report + done.truncation
        for place, row in zip(done.places, done.rows, strict=True):
            # copied, so that equal texts have memory of their own, and none keeps that of its batch
            outputs[place] = done.values[done.batch.starts_B1[row] : done.batch.starts_B1[row + 1]].copy()
    return outputs, report


@dataclass(frozen=True)
class _Done:
    """A batch that was run: text `places[i]` has row `rows[i]` of it; what truncation cost that was not told yet."""

    places: np.ndarray
    rows: np.ndarray
    batch: TokenBatch
    values: np.ndarray
    truncation: Truncation


def _batches(
    engine: Engine, tokenizer: Tokenizer, texts: Sequence[Text], prompt: str, pools_prompt: bool, limits: BatchLimits
) -> Iterator[_Done]:
    """Batches of different texts, those that are equal to one of them with it."""
    pace = engine.pace
    budget, at_a_time = limits.batch_tokens or pace.batch_tokens, pace.batches
    most_chars = WORTH * prefix_chars(tokenizer.max_length) if tokenizer.takes_prefixes else None
    chunks = _chunks(texts, pace.chunk_texts, most_chars)

    def tokenise(chunk: slice) -> tuple[TokenBatch, Truncation]:
        return tokenizer.batch(texts[chunk], prompt=prompt, pools_prompt=pools_prompt, counts_lost=False)

    for chunk, (tokens, truncation) in zip(chunks, work_ahead(tokenise, chunks, count=pace.chunks_ahead), strict=True):
        first_B = first_alike(tokens)
        waiting = np.flatnonzero(first_B == np.arange(len(tokens)))
        copies = _copies(first_B) if len(waiting) < len(tokens) else None
        while len(waiting):
            planned = plan_batches(
                tokens.lengths_B[waiting],
                batch_tokens=budget,
                max_texts=limits.max_texts,
                powers_of_two=engine.fixes_shapes,
            )
            is_few = len(chunks) == 1 and (len(planned) == 1 or tokens.num_tokens <= FEW_TOKENS)
            at_a_time, done = 1 if is_few else at_a_time, 0
            for chosen, batch, values in _within_memory(engine, tokens, [waiting[rows] for rows in planned], at_a_time):
                done += 1
                own = [chosen[i : i + 1] if copies is None else copies[chosen[i]] for i in range(len(chosen))]
                rows = np.repeat(np.arange(len(own)), [len(places) for places in own])
                yield _Done(chunk.start + np.concatenate(own), rows, batch, values, truncation)
                truncation = Truncation()
            left = planned[done:]
            if left:  # the first of them did not fit
                budget = len(left[0]) * int(tokens.lengths_B[waiting[left[0]]].max()) // 2
                at_a_time = 1
            waiting = waiting[np.concatenate(left)] if left else waiting[:0]


def _chunks(texts: Sequence[Text], most_texts: int, most_chars: int | None = None) -> list[slice]:
    """Texts that are tokenised together: a tokenizer keeps every token, also those that are then cut away.

    Of a text, no more than `most_chars` are likely to be tokenised.
    """
    chunks, start, num_chars = [], 0, 0
    for i, text in enumerate(texts):
        parts = text if isinstance(text, (tuple, list)) else (text,)  # what is no text, the tokenizer refuses
        size = sum(min(len(part), most_chars or len(part)) for part in parts if isinstance(part, str))
        if i > start and (i - start == most_texts or num_chars + size > CHUNK_CHARS):
            chunks.append(slice(start, i))
            start, num_chars = i, 0
        num_chars += size
    return [*chunks, slice(start, len(texts))] if len(texts) else []


def _within_memory(
    engine: Engine, tokens: TokenBatch, planned: Sequence[np.ndarray], at_a_time: int
) -> Iterator[tuple[np.ndarray, TokenBatch, np.ndarray]]:
    """The texts, tokens and values of each batch, up to the first for which memory does not suffice."""

    def run(chosen: np.ndarray) -> tuple[TokenBatch, np.ndarray]:
        batch = tokens.select(chosen)
        return batch, engine.run(batch, is_alone=at_a_time == 1)

    done = work_ahead(run, planned, count=at_a_time if at_a_time > 1 else 0)
    for chosen in planned:
        try:
            batch, values = next(done)
        except MemoryError:
            if len(chosen) == at_a_time == 1:
                raise
            logger.warning("not enough memory for %d texts: going on with half as many, batch after batch", len(chosen))
            return
        yield chosen, batch, values


def _copies(first_B: np.ndarray) -> dict[int, np.ndarray]:
    """All places of each text, by its first one."""
    order = np.argsort(first_B, kind="stable")
    firsts, starts = np.unique(first_B[order], return_index=True)
    return dict(zip(firsts.tolist(), np.split(order, starts[1:]), strict=True))
