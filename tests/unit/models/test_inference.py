"""Texts through an engine: equal texts run once, and where memory does not suffice batches get smaller."""

import logging
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rankwright import BiEncoder
from rankwright.encoder.pace import Pace
from rankwright.models import inference
from rankwright.models.inference import BatchLimits, run_texts, run_tokens
from rankwright.text import TokenBatch
from rankwright.text.tokenizer import Tokenizer
from tests.texts import CORPUS

TEXTS = [*CORPUS[:6], CORPUS[2], "", CORPUS[0], "", CORPUS[2].upper(), CORPUS[6]]


class SmallEngine:
    """Gives each text the sum and number of its ids; has memory for so many padded tokens."""

    name = "openvino"
    dtype = "float32"
    fixes_shapes = True
    pace = Pace(batch_tokens=4096, batches=1)
    emulates = False

    def __init__(self, memory: int = 1 << 30) -> None:
        self.memory = memory
        self.texts_run: list[int] = []
        self.failures = 0
        self.runs_alone: list[bool] = []

    def run(self, batch: TokenBatch, *, is_alone: bool = True) -> np.ndarray:
        if len(batch) * int(batch.lengths_B.max()) > self.memory:
            self.failures += 1
            raise MemoryError("too many tokens")
        self.texts_run.append(len(batch))
        self.runs_alone.append(is_alone)
        sums = [
            batch.ids_T[start:stop].sum() for start, stop in zip(batch.starts_B1, batch.starts_B1[1:], strict=False)
        ]
        return np.stack([sums, batch.lengths_B], axis=1).astype(np.float32)


class TokenEngine(SmallEngine):
    """Gives each token its id."""

    def run(self, batch: TokenBatch, *, is_alone: bool = True) -> np.ndarray:
        super().run(batch)
        return batch.ids_T[:, None].astype(np.float32)


@pytest.fixture(scope="module")
def tokenizer(tiny: Any) -> Tokenizer:
    return BiEncoder(tiny.bi_encoder("bert")).tokenizer


def expected(tokenizer: Tokenizer) -> np.ndarray:
    ids = [tokenizer.encode(text) for text in TEXTS]
    return np.array([[sum(row), len(row)] for row in ids], dtype=np.float32)


def test_equal_texts_are_run_once_and_each_place_gets_its_row(tokenizer: Tokenizer) -> None:
    engine, done = SmallEngine(), []
    rows, report = run_texts(engine, tokenizer, TEXTS, progress=done.append)
    np.testing.assert_array_equal(rows, expected(tokenizer))
    # CORPUS[2] comes three times (this tokenizer lower-cases), CORPUS[0] and "" twice
    assert sum(engine.texts_run) == len(TEXTS) - 4
    assert sum(done) == len(TEXTS) == report.num_texts


def test_pairs_that_differ_in_their_types_only_are_run_separately(tokenizer: Tokenizer) -> None:
    pairs = [("a [SEP] b", "c"), ("a", "b [SEP] c")]
    first, second = (tokenizer.batch([pair])[0].ids_T.tolist() for pair in pairs)
    assert first == second
    engine = SmallEngine()
    run_texts(engine, tokenizer, pairs)
    assert sum(engine.texts_run) == 2


def test_memory_that_does_not_suffice_halves_the_batches_and_every_text_is_run(
    tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    engine = SmallEngine(memory=60)
    with caplog.at_level(logging.WARNING):
        rows, report = run_texts(engine, tokenizer, TEXTS, limits=BatchLimits(batch_tokens=4096))
    np.testing.assert_array_equal(rows, expected(tokenizer))
    assert report.num_texts == len(TEXTS)
    assert engine.failures > 0
    assert "going on with half as many" in caplog.text
    assert engine.failures < 6, "what follows a failure must be smaller too"


@pytest.mark.parametrize("batches", [1, 2])
def test_a_single_text_that_does_not_fit_is_an_error(tokenizer: Tokenizer, batches: int) -> None:
    engine = SmallEngine(memory=3)
    engine.pace = Pace(batch_tokens=64, batches=batches, chunk_texts=len(TEXTS) - 1)
    with pytest.raises(MemoryError, match="too many tokens"):
        run_texts(engine, tokenizer, TEXTS)


def test_where_two_texts_do_not_fit_at_the_same_time_each_runs_alone(
    tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    class TightEngine(SmallEngine):
        pace = Pace(batch_tokens=1, batches=2, chunk_texts=len(TEXTS) - 1)

        def run(self, batch: TokenBatch, *, is_alone: bool = True) -> np.ndarray:
            if not is_alone:
                raise MemoryError("beside another")
            return super().run(batch)

    rows, report = run_texts(TightEngine(), tokenizer, TEXTS)
    np.testing.assert_array_equal(rows, expected(tokenizer))
    assert report.num_texts == len(TEXTS)
    assert caplog.text.count("batch after batch") == 1


def test_token_states_of_equal_texts_are_those_of_each(tokenizer: Tokenizer) -> None:
    states, _ = run_tokens(TokenEngine(), tokenizer, TEXTS, limits=BatchLimits(batch_tokens=64))
    assert [rows[:, 0].astype(int).tolist() for rows in states] == [tokenizer.encode(text) for text in TEXTS]


def test_a_large_list_is_in_order_over_chunks(tokenizer: Tokenizer) -> None:
    engine = SmallEngine()
    engine.pace = replace(engine.pace, chunk_texts=5)
    rows, report = run_texts(engine, tokenizer, TEXTS)
    np.testing.assert_array_equal(rows, expected(tokenizer))
    assert report.num_texts == len(TEXTS)
    assert {n.bit_count() for n in engine.texts_run} == {1}, "each other number of texts is a shape more to keep"


def test_batches_that_have_the_device_to_themselves_run_in_the_callers_thread(tokenizer: Tokenizer) -> None:
    threads = set()

    class WatchedEngine(SmallEngine):
        def run(self, batch: TokenBatch, *, is_alone: bool = True) -> np.ndarray:
            threads.add(threading.current_thread())
            return super().run(batch)

    run_texts(WatchedEngine(), tokenizer, TEXTS, limits=BatchLimits(max_texts=1))
    assert threads == {threading.current_thread()}


def test_many_tokens_share_the_device_and_few_have_it_to_themselves(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def runs(*, texts: list[str], batch_tokens: int = 64, chunk_texts: int = 100, batches: int = 2) -> set[bool]:
        engine = SmallEngine()
        engine.pace = Pace(batch_tokens=batch_tokens, batches=batches, chunk_texts=chunk_texts)
        rows, _ = run_texts(engine, tokenizer, texts)
        np.testing.assert_array_equal(rows[:, 1], [len(tokenizer.encode(text)) for text in texts])
        return set(engine.runs_alone)

    assert runs(texts=TEXTS) == {True}
    monkeypatch.setattr("rankwright.models.inference.FEW_TOKENS", 64)
    assert runs(texts=TEXTS) == {False}
    assert runs(texts=TEXTS, batches=1) == {True}
    assert runs(texts=TEXTS[:4], batch_tokens=4096) == {True}, "one batch has nothing to share with"
    assert runs(texts=TEXTS, chunk_texts=len(TEXTS) - 1) == {False}, "nor has the last chunk, if it is small"


def test_results_of_a_real_engine_do_not_depend_on_repeats(tiny: Any, tmp_path: Path) -> None:
    model = BiEncoder(tiny.bi_encoder("bert"), dtype="float32")
    once = model.encode(CORPUS[:4])
    np.testing.assert_array_equal(model.encode([*CORPUS[:4], *CORPUS[:4]]), np.concatenate([once, once]))


def test_long_texts_are_tokenised_in_smaller_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tokenizer keeps all tokens of a chunk until they are cut: 20 KB a text would be 16 GB for 8,192."""
    monkeypatch.setattr(inference, "CHUNK_CHARS", 10)
    texts: list[Any] = ["abc", "def", "ghij", "", "x" * 50, "k", ("abcd", "efghi"), "lm"]
    assert [texts[chunk] for chunk in inference._chunks(texts, 8)] == [
        ["abc", "def", "ghij", ""],
        ["x" * 50],
        ["k", ("abcd", "efghi")],
        ["lm"],
    ]
    assert [texts[chunk] for chunk in inference._chunks(["a"] * 5, 2)] == [texts[0:2], texts[2:4], texts[4:5]]
    assert inference._chunks([], 2) == []


@pytest.mark.parametrize(("keeps_end", "expected"), [(False, [3]), (True, [1, 1, 1])])
def test_chunks_are_as_large_as_what_is_tokenised_of_their_texts(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, keeps_end: bool, expected: list[int]
) -> None:
    """Of a text whose end is kept, that is all."""
    sizes, real = [], Tokenizer.batch

    def batch(self: Tokenizer, texts: list[str], **options: Any) -> Any:
        sizes.append(len(texts))
        return real(self, texts, **options)

    monkeypatch.setattr(Tokenizer, "batch", batch)
    monkeypatch.setattr(inference, "CHUNK_CHARS", 4000)
    short = replace(tokenizer, max_length=8, keeps_end=keeps_end)
    run_texts(SmallEngine(), short, ["word " * 500] * 3)
    assert sizes == expected
