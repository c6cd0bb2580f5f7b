"""Many texts through an engine: chunks tokenised ahead, batches by length, results in order.

In: texts or pairs. Out: one float32 row for each, and the truncation report.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from rankwright.encoder.engine import Engine
from rankwright.errors import ValueRangeError
from rankwright.text import TokenBatch, Truncation, plan_batches
from rankwright.text.tokenizer import Text, Tokenizer

CHUNK_TEXTS = 8192
"""Texts tokenised at a time; the next chunk is tokenised while this one runs."""

BATCH_TOKENS = {"openvino": 4096, "torch": 4096, "cuda": 65536}
"""Padded tokens of a batch: on CPU the best of 512 to 8192 (LOG.md); a GPU wants more."""


@dataclass(frozen=True)
class BatchLimits:
    """How large a batch may be: in tokens (None: the engine's best), and in texts (None: any)."""

    batch_tokens: int | None = None
    max_texts: int | None = None

    def __post_init__(self) -> None:
        for name in ("batch_tokens", "max_texts"):
            value = getattr(self, name)
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
    for rows, batch, values, truncation in _batches(engine, tokenizer, texts, prompt, pools_prompt, limits):
        report = report + truncation
        if output is None:
            output = np.empty((len(texts), values.shape[1]), dtype=np.float32)
        output[rows] = values
        if progress is not None:
            progress(len(batch))
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
    for rows, batch, values, truncation in _batches(engine, tokenizer, texts, prompt, True, limits):
        report = report + truncation
        for i, row in enumerate(rows):
            outputs[row] = values[batch.starts_B1[i] : batch.starts_B1[i + 1]]
    return outputs, report


def _batches(
    engine: Engine, tokenizer: Tokenizer, texts: Sequence[Text], prompt: str, pools_prompt: bool, limits: BatchLimits
) -> Iterator[tuple[np.ndarray, TokenBatch, np.ndarray, Truncation]]:
    """Places of texts, their tokens, what the engine gives for them, and what truncation cost that was not told yet."""
    device = str(getattr(engine, "device", ""))
    budget = limits.batch_tokens or BATCH_TOKENS["cuda" if "cuda" in device else engine.name]
    for start, (tokens, truncation) in _tokenised(tokenizer, texts, prompt, pools_prompt):
        for rows in plan_batches(
            tokens.lengths_B, batch_tokens=budget, max_texts=limits.max_texts, powers_of_two=engine.fixes_shapes
        ):
            batch = tokens.select(rows)
            yield start + rows, batch, engine.run(batch), truncation
            truncation = Truncation()


def _tokenised(
    tokenizer: Tokenizer, texts: Sequence[Text], prompt: str, pools_prompt: bool
) -> Iterator[tuple[int, tuple[TokenBatch, Truncation]]]:
    """Chunks in order, the next one tokenised in a thread meanwhile (`tokenizers` releases the GIL)."""
    starts = range(0, len(texts), CHUNK_TEXTS)

    def tokenise(start: int) -> tuple[TokenBatch, Truncation]:
        return tokenizer.batch(texts[start : start + CHUNK_TEXTS], prompt=prompt, pools_prompt=pools_prompt)

    if len(starts) <= 1:
        yield 0, tokenise(0)
        return
    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(tokenise, 0)
        for start, following in zip(starts, [*starts[1:], None], strict=True):
            ready = ahead.result()
            if following is not None:
                ahead = pool.submit(tokenise, following)
            yield start, ready
