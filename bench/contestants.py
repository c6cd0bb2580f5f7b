"""The contestants: each loads, does the row's work once to warm up, and then once whenever the gate opens.

Runs in the contestant's own process: `python -m bench.contestants NAME INPUTS RESULT`. Libraries are imported inside,
for not every environment has all of them.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.gate import Gate, repeat
from bench.inputs import Inputs, read_inputs
from bench.retrieval import numpy_search, our_evaluate, our_search, peer_evaluate, peer_search, torch_search

MAX_LENGTH = 512
LEARNING_RATE = 5e-5
MAX_STEPS = 1000
"""More steps than the gate will ever open for."""


def peer_encode(gate: Gate, inputs: Inputs, *, backend: str = "torch", dtype: str | None = None) -> None:
    """sentence-transformers, one call over all documents."""
    from sentence_transformers import SentenceTransformer

    model_kwargs = {"torch_dtype": dtype} if dtype else {}
    model = SentenceTransformer(inputs.bi_encoder, device="cpu", backend=backend, model_kwargs=model_kwargs)
    repeat(gate, lambda: model.encode(inputs.documents))


def our_encode(gate: Gate, inputs: Inputs, *, dtype: str) -> None:
    """Rankwright, one call over all documents."""
    from rankwright import BiEncoder

    model = BiEncoder(inputs.bi_encoder, dtype=dtype)
    repeat(gate, lambda: model.encode(inputs.documents))


def peer_rerank(gate: Gate, inputs: Inputs, *, backend: str = "torch", dtype: str | None = None) -> None:
    """sentence-transformers, one call a query."""
    from sentence_transformers import CrossEncoder

    model_kwargs = {"torch_dtype": dtype} if dtype else {}
    model = CrossEncoder(
        inputs.cross_encoder, device="cpu", backend=backend, max_length=MAX_LENGTH, model_kwargs=model_kwargs
    )
    repeat(gate, lambda: [model.predict(pairs) for pairs in candidate_pairs(inputs)])


def our_rerank(gate: Gate, inputs: Inputs, *, dtype: str) -> None:
    """Rankwright, one call a query."""
    from rankwright import CrossEncoder

    model = CrossEncoder(inputs.cross_encoder, max_length=MAX_LENGTH, dtype=dtype)
    repeat(gate, lambda: [model.predict(pairs) for pairs in candidate_pairs(inputs)])


def candidate_pairs(inputs: Inputs) -> list[list[tuple[str, str]]]:
    """Each query with each candidate."""
    return [[(query, document) for document in inputs.candidates] for query in inputs.queries]


def peer_train(gate: Gate, inputs: Inputs, *, bf16: bool) -> None:
    """sentence-transformers' trainer; the gate is between its steps, the first of which warms up."""
    from datasets import Dataset
    from sentence_transformers import CrossEncoder
    from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
    from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss
    from transformers import TrainerCallback

    class Steps(TrainerCallback):
        """Waits at the gate at the end of each step."""

        def on_step_end(self, args: object, state: object, control: object, **kwargs: object) -> None:
            if not gate():
                raise SystemExit

    columns = zip(*inputs.pairs, strict=True)
    dataset = Dataset.from_dict(dict(zip(("query", "document", "label"), map(list, columns), strict=True)))
    model = CrossEncoder(inputs.cross_encoder, num_labels=1, max_length=MAX_LENGTH, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        args = CrossEncoderTrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=len(inputs.pairs),
            learning_rate=LEARNING_RATE,
            max_steps=MAX_STEPS,
            bf16=bf16,
            use_cpu=True,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        loss = BinaryCrossEntropyLoss(model)
        CrossEncoderTrainer(model=model, args=args, train_dataset=dataset, loss=loss, callbacks=[Steps()]).train()


def our_train(gate: Gate, inputs: Inputs, *, dtype: str) -> None:
    """Rankwright's run, as `rankwright train` does it; the gate is where a step is logged, the first warms up."""
    from rankwright.config import read_config
    from rankwright.workflow.runs import Watch, run_config

    def log(row: object) -> None:
        if not gate():
            raise SystemExit

    with tempfile.TemporaryDirectory() as folder:
        for name, pairs in (("train", inputs.pairs), ("eval", inputs.pairs[:4])):
            rows = [dict(zip(("query", "document", "label"), pair, strict=True)) for pair in pairs]
            Path(folder, f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        flags = {
            "kind": "cross-encoder",
            "out": f"{folder}/run",
            "model.base": inputs.cross_encoder,
            "model.max_length": MAX_LENGTH,
            "data.train": f"{folder}/train.jsonl",
            "data.eval": f"{folder}/eval.jsonl",
            "training.per_device_train_batch_size": len(inputs.pairs),
            "training.learning_rate": LEARNING_RATE,
            "training.max_steps": MAX_STEPS,
            "training.dtype": dtype,
            "training.eval_strategy": "no",
            "training.save_strategy": "no",
            "training.load_best_model_at_end": False,
        }
        run_config(read_config(None, flags=flags), watch=Watch(log=log))


CONTESTANTS: dict[str, Callable[[Gate, Inputs], None]] = {
    "peer-encode": peer_encode,
    "peer-encode-bf16": partial(peer_encode, dtype="bfloat16"),
    "peer-encode-openvino": partial(peer_encode, backend="openvino"),
    "our-encode": partial(our_encode, dtype="auto"),
    "our-encode-float32": partial(our_encode, dtype="float32"),
    "peer-rerank": peer_rerank,
    "peer-rerank-bf16": partial(peer_rerank, dtype="bfloat16"),
    "peer-rerank-openvino": partial(peer_rerank, backend="openvino"),
    "our-rerank": partial(our_rerank, dtype="auto"),
    "our-rerank-float32": partial(our_rerank, dtype="float32"),
    "peer-train": partial(peer_train, bf16=False),
    "peer-train-bf16": partial(peer_train, bf16=True),
    "our-train": partial(our_train, dtype="auto"),
    "our-train-float32": partial(our_train, dtype="float32"),
    "peer-evaluate": peer_evaluate,
    "peer-evaluate-chunks": partial(peer_evaluate, chunk=10_000),
    "peer-evaluate-bf16": partial(peer_evaluate, dtype="bfloat16"),
    "our-evaluate": our_evaluate,
    "peer-search": peer_search,
    "peer-search-dot": partial(peer_search, score_function="dot_score"),
    "torch-search": torch_search,
    "numpy-search": numpy_search,
    "our-search-float16": partial(our_search, storage="float16"),
    "our-search-int8": partial(our_search, storage="int8"),
    "our-search": partial(our_search, storage="float32"),
}


if __name__ == "__main__":
    name, inputs_folder, result_path = sys.argv[1:]
    CONTESTANTS[name](Gate(Path(result_path)), read_inputs(Path(inputs_folder)))
