"""The rows of a GPU: contestants in the threads of one process, which take turns on the device.

One process, for loading the libraries takes longer there than all of the work; threads, for each contestant keeps its
model, its batches and, in training, its place in the loop, while the others have their turn.

In: the inputs folder. Out: rows like those of `rows.py`. Letters: see `limits.py`.
"""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.contestants import (
    our_encode,
    our_rerank,
    our_train,
    our_train_bi,
    peer_encode,
    peer_rerank,
    peer_train,
    peer_train_bi,
)
from bench.families import BERT_SIZES, SIZES
from bench.gate import repeat
from bench.inputs import MAX_LENGTH, Inputs, read_inputs
from bench.limits import TRAINING_PASSES, encoding_operations
from bench.measuring import Entry, Row, difference

DEVICE = "cuda"
CUDA = (DEVICE,)
MODELS = {"minilm-l6": "", "minilm-l12": "minilm-l12", "bert-base": "bert-base"}
LENGTHS = ("128", "512", "mixed")
NUM_TEXTS, NUM_QUERIES, NUM_CANDIDATES = 2048, 20, 100
TOKENS_OF_A_ROW, TOKENS_OF_A_BATCH = 1 << 18, 1 << 16
STEPS = 10
"""Training steps of a run."""

AS_IT_COMES = "sentence-transformers"
LIMIT = "limit: large bfloat16 products"
LIMIT_SIZE = 8192


def in_threads(entries: Sequence[Entry], inputs: Path, rounds: int) -> list[dict[str, Any]]:
    """Load and warm up all contestants, then let them run in turn, each round from another start."""
    import torch

    contestants = [Contestant(CONTESTANTS[entry.what], read_inputs(inputs)) for entry in entries]
    seconds: list[list[float]] = [[] for _ in entries]
    peaks = [0.0] * len(entries)
    for number in range(rounds):
        for index in (np.arange(len(entries)) + number) % len(entries):
            torch.cuda.reset_peak_memory_stats()
            held = torch.cuda.memory_allocated()
            seconds[index].append(contestants[index].run())
            peaks[index] = max(peaks[index], (torch.cuda.max_memory_allocated() - held) / 1e9)
    for contestant in contestants:
        contestant.close()
    results = [contestant.result for contestant in contestants]
    return [
        {"cost": cost, "working_memory_gb": round(peak, 3), **difference(result, results[0])}
        for cost, peak, result in zip(seconds, peaks, results, strict=True)
    ]


class Contestant:
    """A contestant in a thread, which waits at its gate."""

    def __init__(self, work: Callable[[Any, Inputs], None], inputs: Inputs) -> None:
        self.open: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self.replies: queue.SimpleQueue[float | BaseException] = queue.SimpleQueue()
        self.opened_at, self.result = 0.0, None
        threading.Thread(target=self._work, args=(work, inputs), daemon=True).start()
        self._reply()

    def run(self) -> float:
        """Let it run once; gives the seconds."""
        self.open.put(True)
        return self._reply()

    def close(self) -> None:
        """Let it end."""
        self.open.put(False)
        self.replies.get()

    def _reply(self) -> float:
        reply = self.replies.get()
        if isinstance(reply, BaseException):
            raise RuntimeError("a contestant ended before its time") from reply
        return reply

    def _work(self, work: Callable[[Any, Inputs], None], inputs: Inputs) -> None:
        try:
            work(self._gate, inputs)
            self.replies.put(EOFError("it is done"))
        except BaseException as err:  # of any kind: the parent waits for it
            self.replies.put(err)

    def _gate(self, result: object = None) -> bool:
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.result = None if result is None else np.asarray(result, dtype=np.float32)
        self.replies.put(time.perf_counter() - self.opened_at)
        is_open = self.open.get()
        self.opened_at = time.perf_counter()
        return is_open


def in_steps(contestant: Callable[..., None], gate: Any, inputs: Inputs, **how: Any) -> None:
    """A contestant that trains, with a gate after each `STEPS` steps."""
    done = 0

    def counting(result: object = None) -> bool:
        nonlocal done
        done += 1
        return True if done % STEPS else bool(gate(result))

    contestant(counting, inputs, **how)


def texts_of(inputs: Inputs) -> list[str]:
    """Documents."""
    return [body for _, body in inputs.many[:NUM_TEXTS]]


def pairs_of(inputs: Inputs) -> list[list[tuple[str, str]]]:
    """Each query with its candidates."""
    return [
        [(inputs.many[query][0], body) for _, body in inputs.many[query : query + NUM_CANDIDATES]]
        for query in range(NUM_QUERIES)
    ]


def lengths_of(inputs: Inputs, length: str) -> list[int]:
    """Tokens of each text of a row, `TOKENS_OF_A_ROW` together: all equal, or those of documents."""
    if length != "mixed":
        return [int(length)] * (TOKENS_OF_A_ROW // int(length))
    from rankwright import BiEncoder

    model = BiEncoder(inputs.folder("bi-encoder"), device="cpu", engine="torch")
    ends = np.cumsum(np.tile(model.tokenize(texts_of(inputs)).lengths_B, 4)).clip(max=TOKENS_OF_A_ROW)
    return [int(n) for n in np.diff(ends, prepend=0) if n]


def our_states(gate: Any, inputs: Inputs, *, model: str, length: str) -> None:
    """Rankwright's engine alone: random tokens in, embeddings out."""
    from rankwright import BiEncoder
    from rankwright.text import plan_batches
    from rankwright.text.tokens import pack

    engine = BiEncoder(inputs.folder("bi-encoder", model), device=DEVICE).checkpoint.engine
    ids = random_ids(lengths_of(inputs, length))
    lengths = [len(text) for text in ids]
    batches = [pack([ids[i] for i in rows], None) for rows in plan_batches(lengths, batch_tokens=TOKENS_OF_A_BATCH)]

    def work() -> None:
        with ThreadPoolExecutor(engine.pace.batches) as pool:
            list(pool.map(engine.run, batches))

    work()
    repeat(gate, work)


def transformers_states(gate: Any, inputs: Inputs, *, model: str, length: str, batch_size: int = 128) -> None:
    """Transformers alone, in bfloat16 with SDPA: random tokens in, padded and sorted by length; their mean out."""
    import torch
    from transformers import AutoModel

    encoder = AutoModel.from_pretrained(
        inputs.folder("bi-encoder", model), dtype=torch.bfloat16, attn_implementation="sdpa", add_pooling_layer=False
    )
    encoder = encoder.cuda().eval()
    ids = sorted(random_ids(lengths_of(inputs, length)), key=len, reverse=True)
    batches = []
    for start in range(0, len(ids), batch_size):
        rows = [torch.tensor(text) for text in ids[start : start + batch_size]]
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        batches.append((padded, (torch.arange(padded.shape[1]) < torch.tensor([len(r) for r in rows])[:, None]).long()))

    @torch.inference_mode()
    def work() -> None:
        outputs = []
        for padded, mask in batches:
            on_device = mask.cuda()
            states = encoder(input_ids=padded.cuda(), attention_mask=on_device).last_hidden_state
            outputs.append((states * on_device[..., None]).sum(1) / on_device.sum(1, keepdim=True))
        torch.cat(outputs).cpu()

    repeat(gate, work)


def random_ids(lengths: Sequence[int]) -> list[list[int]]:
    """A text of random tokens for each length."""
    random = np.random.default_rng(0)
    return [random.integers(1000, 30000, n).tolist() for n in lengths]


def limit_states(gate: Any, inputs: Inputs, *, model: str, length: str) -> None:
    """The operations of a row of states, as products of one large shape in bfloat16."""
    limit(gate, operations(model, lengths_of(inputs, length)))


def limit_pairs(gate: Any, inputs: Inputs, *, model: str, batch_size: int) -> None:
    """The operations of the training steps of a run, on average."""
    from rankwright import CrossEncoder

    pairs = [(query, document) for query, document, _ in inputs.training_pairs(device="cuda")]
    tokenizer = CrossEncoder(inputs.folder("cross-encoder"), max_length=MAX_LENGTH, device="cpu", engine="torch")
    lengths = tokenizer.tokenize(pairs).lengths_B
    limit(gate, TRAINING_PASSES * operations(model, lengths.tolist()) * STEPS * batch_size / len(pairs))


def operations(model: str, lengths: Sequence[int]) -> float:
    """Of one forward pass."""
    sizes = SIZES[model][1] if model else BERT_SIZES
    return encoding_operations(lengths, hidden_size=sizes["hidden_size"], num_layers=sizes["num_hidden_layers"])


def limit(gate: Any, count: float) -> None:
    """Multiply until so many operations are done."""
    import torch

    x, y = (torch.randn(LIMIT_SIZE, LIMIT_SIZE, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    rows = round(count / (2.0 * LIMIT_SIZE**2))

    def work() -> None:
        for start in range(0, rows, LIMIT_SIZE):
            x[: rows - start] @ y
        torch.cuda.synchronize()

    repeat(gate, work)


CONTESTANTS: dict[str, Callable[[Any, Inputs], None]] = {}
"""Filled by the rows below."""


def _entry(name: str, side: str, contestant: Callable[..., None], *, trains: bool = False, **how: Any) -> Entry:
    what = f"{contestant.__name__} {' '.join(f'{key}={value}' for key, value in how.items() if not callable(value))}"
    CONTESTANTS[what] = partial(in_steps, contestant, **how) if trains else partial(contestant, **how)
    return Entry(name, side, what, needs=CUDA)


def states_row(name: str, length: str) -> Row:
    """A row of the engine alone."""
    how = {"model": MODELS[name], "length": length}
    kind = "texts of mixed lengths" if length == "mixed" else f"texts of {length} tokens"
    return Row(
        name=f"gpu-states-{name}-{length}",
        work=f"GPU: {name}, {kind}, from tokens to embeddings",
        unit="tokens/s",
        entries=(
            _entry("transformers bfloat16, SDPA", "peer", transformers_states, **how),
            _entry("rankwright", "ours", our_states, **how),
            _entry(LIMIT, "limit", limit_states, **how),
        ),
        measure=in_threads,
        rounds=4,
        items=TOKENS_OF_A_ROW,
    )


def inference_row(name: str, work: str, *, model: str, items: int, unit: str) -> Row:
    """A row of texts to results, tokenising included."""
    peer, ours, given = (
        (peer_rerank, our_rerank, {"pairs": pairs_of})
        if "rerank" in name
        else (peer_encode, our_encode, {"texts": texts_of})
    )
    how = {"model": model, "device": DEVICE, **given}
    return Row(
        name=name,
        work=work,
        unit=unit,
        entries=(
            _entry(AS_IT_COMES, "peer", peer, **how),
            _entry("bfloat16", "peer", peer, dtype="bfloat16", **how),
            _entry("bfloat16, batch_size=128", "peer", peer, dtype="bfloat16", batch_size=128, **how),
            _entry("rankwright", "ours", ours, **how),
        ),
        measure=in_threads,
        rounds=3,
        items=items,
    )


def training_row(name: str, work: str, peer: Callable[..., None], ours: Callable[..., None], **how: Any) -> Row:
    """A row of training steps, in pairs a second."""
    how["device"] = DEVICE
    limits = (
        (_entry(LIMIT, "limit", limit_pairs, model=how["model"], batch_size=how["batch_size"]),)
        if ours is our_train
        else ()
    )
    return Row(
        name=name,
        work=work,
        unit="pairs/s",
        entries=(
            _entry(AS_IT_COMES, "peer", peer, trains=True, **how),
            _entry("bf16=True", "peer", peer, trains=True, bf16=True, **how),
            _entry("bf16=True, 4 workers", "peer", peer, trains=True, bf16=True, workers=4, **how),
            _entry("rankwright", "ours", ours, trains=True, **how),
            *limits,
        ),
        measure=in_threads,
        rounds=2,
        items=STEPS * how["batch_size"],
    )


def one_query(inputs: Inputs) -> list[str]:
    """A short query."""
    return inputs.queries[:1]


_QUERY = {"texts": one_query, "device": DEVICE}

GPU_ROWS = (
    *(states_row(name, length) for name in MODELS for length in LENGTHS),
    *(
        inference_row(
            f"gpu-encode-{name}",
            f"GPU: encode {NUM_TEXTS:,} documents with {name}",
            model=MODELS[name],
            items=NUM_TEXTS,
            unit="documents/s",
        )
        for name in ("minilm-l6", "bert-base")
    ),
    *(
        inference_row(
            f"gpu-rerank-{name}",
            f"GPU: rerank {NUM_QUERIES} x {NUM_CANDIDATES} documents with {name}",
            model=MODELS[name],
            items=NUM_QUERIES * NUM_CANDIDATES,
            unit="pairs/s",
        )
        for name in ("minilm-l6", "bert-base")
    ),
    Row(
        name="gpu-query",
        work="GPU: encode one short query with minilm-l6",
        unit="s",
        entries=(
            _entry(AS_IT_COMES, "peer", peer_encode, **_QUERY),
            _entry("bfloat16", "peer", peer_encode, dtype="bfloat16", **_QUERY),
            _entry("rankwright", "ours", our_encode, **_QUERY),
        ),
        measure=in_threads,
        rounds=9,
    ),
    training_row(
        "gpu-train-minilm-l6",
        "GPU: train a cross-encoder (minilm-l6), steps of 32 pairs",
        peer_train,
        our_train,
        model="",
        batch_size=32,
    ),
    training_row(
        "gpu-train-bert-base",
        "GPU: train a cross-encoder (bert-base), steps of 64 pairs",
        peer_train,
        our_train,
        model="bert-base",
        batch_size=64,
    ),
    training_row(
        "gpu-train-bi-bert-base",
        "GPU: train a Matryoshka bi-encoder (bert-base), steps of 64 pairs",
        peer_train_bi,
        our_train_bi,
        model="bert-base",
        batch_size=64,
    ),
)
