"""The contestants: each loads, does the row's work once to warm up, and then once whenever the gate opens.

Runs in the contestant's own process: `python -m bench.contestants NAME INPUTS RESULT`. Libraries are imported inside,
for not every environment has all of them.
"""

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.curves import CURVES
from bench.families import NAMES, STATIC
from bench.gate import Gate, repeat
from bench.inputs import MAX_LENGTH, NUM_FEW, NUM_TRAINING_PAIRS, Inputs, read_inputs
from bench.limits import TRAINING_PASSES, limit_encoding, limit_evaluate, limit_search
from bench.peers_onnx import Pairs, fastembed_encode, fastembed_rerank, onnxruntime_encode, onnxruntime_rerank
from bench.retrieval import (
    NUM_SEARCHES,
    TOP_K,
    embeddings,
    numpy_search,
    our_evaluate,
    our_measures,
    our_search,
    peer_evaluate,
    peer_measures,
    peer_search,
    torch_search,
    trec_eval_measures,
)

Texts = Callable[[Inputs], list[str]]

LEARNING_RATE = 5e-5
CURVE_TEXTS = 32
MATRYOSHKA_DIMS = (384, 256, 128, 64, 32)
MAX_STEPS = 1000
"""More steps than the gate will ever open for."""


def peer_encode(
    gate: Gate,
    inputs: Inputs,
    *,
    texts: Texts,
    model: str = "",
    backend: str = "torch",
    dtype: str | None = None,
    int8: bool = False,
    device: str = "cpu",
    batch_size: int = 32,
) -> None:
    """sentence-transformers, one call over all texts; a bi-encoder of `inputs` if `model` names no family."""
    from sentence_transformers import SentenceTransformer

    model_kwargs = {"torch_dtype": dtype} if dtype else {}
    folder = inputs.folder("bi-encoder", model)
    encoder = SentenceTransformer(folder, device=device, backend=backend, model_kwargs=model_kwargs)
    if int8:
        quantise(encoder, inputs.candidates)
    repeat(gate, lambda: encoder.encode(texts(inputs), batch_size=batch_size))


def quantise(model: Any, texts: Sequence[str]) -> None:
    """What sentence-transformers' static int8 does, calibrated on these texts: its own are on the Hub."""
    import nncf

    transformer = model.transformers_model
    features = [dict(model.tokenizer([text], truncation=True, return_tensors="np")) for text in texts]
    transformer.model = nncf.quantize(
        transformer.model, nncf.Dataset(features), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(features)
    )
    transformer.clear_requests()
    transformer.compile()


def our_encode(
    gate: Gate,
    inputs: Inputs,
    *,
    texts: Texts,
    model: str = "",
    engine: str = "auto",
    dtype: str = "auto",
    device: str = "cpu",
) -> None:
    """Rankwright, one call over all texts."""
    from rankwright import BiEncoder

    opened = "auto" if dtype == "int8" else dtype
    encoder = BiEncoder(inputs.folder("bi-encoder", model), engine=engine, dtype=opened, device=device)
    encoder = encoder.quantize(inputs.candidates) if dtype == "int8" else encoder
    repeat(gate, lambda: encoder.encode(texts(inputs)))


def peer_rerank(
    gate: Gate,
    inputs: Inputs,
    *,
    pairs: Pairs,
    model: str = "",
    backend: str = "torch",
    dtype: str | None = None,
    int8: bool = False,
    device: str = "cpu",
    batch_size: int = 32,
) -> None:
    """sentence-transformers, one call a query."""
    from sentence_transformers import CrossEncoder

    model_kwargs = {"torch_dtype": dtype} if dtype else {}
    folder = inputs.folder("cross-encoder", model)
    reranker = CrossEncoder(folder, device=device, backend=backend, max_length=MAX_LENGTH, model_kwargs=model_kwargs)
    if int8:
        quantise(reranker, inputs.documents)
    repeat(gate, lambda: [reranker.predict(listed, batch_size=batch_size) for listed in pairs(inputs)])


def our_rerank(
    gate: Gate, inputs: Inputs, *, pairs: Pairs, model: str = "", dtype: str = "auto", device: str = "cpu"
) -> None:
    """Rankwright, one call a query."""
    from rankwright import CrossEncoder

    opened = "auto" if dtype == "int8" else dtype
    reranker = CrossEncoder(inputs.folder("cross-encoder", model), max_length=MAX_LENGTH, dtype=opened, device=device)
    if dtype == "int8":
        reranker = reranker.quantize(
            [(inputs.queries[i % len(inputs.queries)], d) for i, d in enumerate(inputs.documents)]
        )
    repeat(gate, lambda: [reranker.predict(listed) for listed in pairs(inputs)])


def all_pairs(inputs: Inputs) -> list[list[tuple[str, str]]]:
    """Each query with each candidate."""
    return [[(query, document) for document in inputs.candidates] for query in inputs.queries]


def few_pairs(inputs: Inputs) -> list[list[tuple[str, str]]]:
    """The first query with the first few candidates."""
    return [pairs[:NUM_FEW] for pairs in all_pairs(inputs)[:1]]


def peer_train(gate: Gate, inputs: Inputs, *, model: str = "", **how: Any) -> None:
    """sentence-transformers' cross-encoder trainer, with binary cross-entropy."""
    from datasets import Dataset
    from sentence_transformers import CrossEncoder
    from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
    from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss

    pairs = inputs.training_pairs(device=how.get("device", "cpu"))
    columns = zip(*pairs, strict=True)
    dataset = Dataset.from_dict(dict(zip(("query", "document", "label"), map(list, columns), strict=True)))
    device = how.get("device", "cpu")
    encoder = CrossEncoder(inputs.folder("cross-encoder", model), num_labels=1, max_length=MAX_LENGTH, device=device)
    loss = BinaryCrossEntropyLoss(encoder)
    train_peer(gate, CrossEncoderTrainer, CrossEncoderTrainingArguments, encoder, dataset, loss, **how)


def peer_train_bi(gate: Gate, inputs: Inputs, *, model: str = "", **how: Any) -> None:
    """sentence-transformers' bi-encoder trainer, with Matryoshka over multiple negatives ranking."""
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.losses import MatryoshkaLoss, MultipleNegativesRankingLoss

    queries, documents, _ = zip(*inputs.training_pairs(device=how.get("device", "cpu")), strict=True)
    dataset = Dataset.from_dict({"anchor": list(queries), "positive": list(documents)})
    encoder = SentenceTransformer(inputs.folder("bi-encoder", model), device=how.get("device", "cpu"))
    loss = MatryoshkaLoss(encoder, MultipleNegativesRankingLoss(encoder), list(MATRYOSHKA_DIMS))
    trainer, arguments = SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    train_peer(gate, trainer, arguments, encoder, dataset, loss, **how)


def train_peer(
    gate: Gate,
    trainer: Any,
    arguments: Any,
    model: Any,
    dataset: Any,
    loss: Any,
    *,
    bf16: bool = False,
    batch_size: int = NUM_TRAINING_PAIRS,
    workers: int = 0,
    device: str = "cpu",
) -> None:
    """A trainer of the peer; the gate is between its steps, the first of which warms up."""
    from transformers import TrainerCallback

    class Steps(TrainerCallback):
        """Waits at the gate at the end of each step."""

        def on_step_end(self, args: object, state: object, control: object, **kwargs: object) -> None:
            if not gate():
                raise SystemExit

    with tempfile.TemporaryDirectory() as folder:
        args = arguments(
            output_dir=folder,
            per_device_train_batch_size=batch_size,
            learning_rate=LEARNING_RATE,
            max_steps=MAX_STEPS,
            bf16=bf16,
            use_cpu=device == "cpu",
            dataloader_num_workers=workers,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer(model=model, args=args, train_dataset=dataset, loss=loss, callbacks=[Steps()]).train()


def our_train(gate: Gate, inputs: Inputs, *, model: str = "", **how: Any) -> None:
    """Rankwright's run of a cross-encoder, as `rankwright train` does it."""
    pairs = inputs.training_pairs(device=how.get("device", "cpu"))
    rows = [dict(zip(("query", "document", "label"), pair, strict=True)) for pair in pairs]
    base = inputs.folder("cross-encoder", model)
    train_ours(gate, rows, {"kind": "cross-encoder", "model.base": base, "model.max_length": MAX_LENGTH}, **how)


def our_train_bi(gate: Gate, inputs: Inputs, *, model: str = "", **how: Any) -> None:
    """Rankwright's run of a Matryoshka bi-encoder."""
    pairs = inputs.training_pairs(device=how.get("device", "cpu"))
    rows = [{"query": query, "positive": document} for query, document, _ in pairs]
    base = inputs.folder("bi-encoder", model)
    train_ours(
        gate, rows, {"kind": "bi-encoder", "model.base": base, "loss.matryoshka_dims": list(MATRYOSHKA_DIMS)}, **how
    )


def train_ours(
    gate: Gate,
    rows: list[dict[str, Any]],
    flags: dict[str, Any],
    *,
    dtype: str = "auto",
    batch_size: int = NUM_TRAINING_PAIRS,
    device: str = "cpu",
) -> None:
    """A run of ours; the gate is where a step is logged, the first of which warms up."""
    from rankwright.config import read_config
    from rankwright.workflow.runs import Watch, run_config

    def log(row: object) -> None:
        if not gate():
            raise SystemExit

    with tempfile.TemporaryDirectory() as folder:
        for name, part in (("train", rows), ("eval", rows[:NUM_TRAINING_PAIRS])):
            Path(folder, f"{name}.jsonl").write_text("\n".join(map(json.dumps, part)), encoding="utf-8")
        flags |= {
            "out": f"{folder}/run",
            "data.train": f"{folder}/train.jsonl",
            "data.eval": f"{folder}/eval.jsonl",
            "training.per_device_train_batch_size": batch_size,
            "training.learning_rate": LEARNING_RATE,
            "training.max_steps": MAX_STEPS,
            "training.dtype": dtype,
            "training.device": device,
            "training.eval_strategy": "no",
            "training.save_strategy": "no",
            "training.load_best_model_at_end": False,
        }
        run_config(read_config(None, flags=flags), watch=Watch(log=log))


INFERENCE: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "encode": (peer_encode, our_encode, {"texts": lambda inputs: inputs.documents}),
    "query": (peer_encode, our_encode, {"texts": lambda inputs: inputs.queries[:1]}),
    "rerank": (peer_rerank, our_rerank, {"pairs": all_pairs}),
    "rerank-few": (peer_rerank, our_rerank, {"pairs": few_pairs}),
}
"""Row -> the peer's and our function, and their work."""


def curve(gate: Gate, inputs: Inputs, *, name: str, library: str) -> None:
    """One library at every size of a curve, one after the other; the result has a value for each size."""
    value = searching(library) if name == "corpus" else running(inputs, name, library)
    sizes = CURVES[name].sizes
    if name == "memory-length":  # a peak only rises, so each size is run once
        found = [value(size) for size in sizes]
        repeat(gate, lambda: found)
    else:
        repeat(gate, lambda: [value(size) for size in sizes])


def searching(library: str) -> Callable[[int], float]:
    """Seconds of a search among so many documents, given their embeddings."""
    largest = embeddings(NUM_SEARCHES, max(CURVES["corpus"].sizes))

    def value(size: int) -> float:
        documents_CE = largest.documents_CE[:size]
        if library == "rankwright":
            return seconds(
                partial(import_module("rankwright.evaluation").search, largest.queries_BE, documents_CE, top_k=TOP_K)
            )
        search = import_module("sentence_transformers.util").semantic_search
        return seconds(partial(search, largest.queries_BE, documents_CE, top_k=TOP_K))

    return value


def running(inputs: Inputs, name: str, library: str) -> Callable[[int], float]:
    """What a model does at a size: the value of a curve of `CURVES` that has texts."""
    module = import_module(library)
    cross_encoder, bi_encoder = "CrossEncoder", "BiEncoder" if library == "rankwright" else "SentenceTransformer"
    kind, folder = (cross_encoder, inputs.cross_encoder) if name == "candidates" else (bi_encoder, inputs.bi_encoder)
    model = getattr(module, kind)(folder, device="cpu")
    long = [" ".join(inputs.documents[i : i + 8]) for i in range(CURVE_TEXTS)]

    def value(size: int) -> float:
        if name == "length":
            model.max_seq_length = size
            return size * len(long) / seconds(lambda: model.encode(long))
        if name == "memory-length":
            model.max_seq_length = size
            model.encode(long)
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
        if name == "batch":
            model.max_seq_length = 128
            return len(long) / seconds(lambda: model.encode(long, batch_size=size))
        pairs = all_pairs(inputs)[0][:size]
        return seconds(lambda: model.predict(pairs))

    return value


def seconds(work: Callable[[], object]) -> float:
    """How long the work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def pairs_of_a_step(inputs: Inputs) -> list[tuple[str, str]]:
    """The pairs of a training step, without their labels."""
    return [(query, document) for query, document, _ in inputs.pairs]


def flat(pairs: Pairs, inputs: Inputs) -> list[tuple[str, str]]:
    """All pairs of a rerank row."""
    return [pair for listed in pairs(inputs) for pair in listed]


CONTESTANTS: dict[str, Callable[[Gate, Inputs], None]] = {
    "limit-encode": partial(limit_encoding, texts=lambda inputs: inputs.documents),
    "limit-rerank": partial(limit_encoding, texts=partial(flat, all_pairs)),
    "limit-rerank-few": partial(limit_encoding, texts=partial(flat, few_pairs)),
    "limit-train": partial(limit_encoding, texts=pairs_of_a_step, passes=TRAINING_PASSES),
    "limit-train-bi": partial(
        limit_encoding,
        texts=lambda inputs: [text for pair in pairs_of_a_step(inputs) for text in pair],
        passes=TRAINING_PASSES,
    ),
    "limit-evaluate": limit_evaluate,
    "limit-search": limit_search,
    "onnxruntime-encode": onnxruntime_encode,
    "onnxruntime-rerank": partial(onnxruntime_rerank, pairs=all_pairs),
    "onnxruntime-rerank-few": partial(onnxruntime_rerank, pairs=few_pairs),
    "fastembed-encode": fastembed_encode,
    "fastembed-rerank": partial(fastembed_rerank, pairs=all_pairs),
    "fastembed-rerank-few": partial(fastembed_rerank, pairs=few_pairs),
    "peer-train": peer_train,
    "peer-train-bf16": partial(peer_train, bf16=True),
    "our-train": our_train,
    "our-train-float32": partial(our_train, dtype="float32"),
    "peer-train-bi": peer_train_bi,
    "peer-train-bi-bf16": partial(peer_train_bi, bf16=True),
    "our-train-bi": our_train_bi,
    "our-train-bi-float32": partial(our_train_bi, dtype="float32"),
    "peer-evaluate": peer_evaluate,
    "peer-evaluate-chunks": partial(peer_evaluate, chunk=10_000),
    "peer-evaluate-bf16": partial(peer_evaluate, dtype="bfloat16"),
    "our-evaluate": our_evaluate,
    "peer-measures": peer_measures,
    "trec-eval-measures": trec_eval_measures,
    "our-measures": our_measures,
    "peer-search": peer_search,
    "peer-search-dot": partial(peer_search, score_function="dot_score"),
    "torch-search": torch_search,
    "numpy-search": numpy_search,
    "our-search-float16": partial(our_search, storage="float16"),
    "our-search-int8": partial(our_search, storage="int8"),
    "our-search": partial(our_search, storage="float32"),
}
for row, (peer, ours, work) in INFERENCE.items():
    CONTESTANTS |= {
        f"peer-{row}": partial(peer, **work),
        f"peer-{row}-bf16": partial(peer, dtype="bfloat16", **work),
        f"peer-{row}-openvino": partial(peer, backend="openvino", **work),
        f"peer-{row}-int8": partial(peer, backend="openvino", int8=True, **work),
        f"our-{row}": partial(ours, **work),
        f"our-{row}-float32": partial(ours, dtype="float32", **work),
        f"our-{row}-int8": partial(ours, dtype="int8", **work),
    }
for family in NAMES:
    count = None if family == STATIC else NUM_FEW
    few = {"texts": lambda inputs, count=count: inputs.documents[:count], "model": family}
    CONTESTANTS |= {
        f"peer-family-{family}": partial(peer_encode, **few),
        f"openvino-family-{family}": partial(our_encode, engine="openvino", **few),
        f"torch-family-{family}": partial(our_encode, engine="torch", **few),
    }
for name in CURVES:
    for side, library in (("our", "rankwright"), ("peer", "sentence_transformers")):
        CONTESTANTS[f"{side}-curve-{name}"] = partial(curve, name=name, library=library)


if __name__ == "__main__":
    name, inputs_folder, result_path = sys.argv[1:]
    CONTESTANTS[name](Gate(Path(result_path)), read_inputs(Path(inputs_folder)))
