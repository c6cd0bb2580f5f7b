"""Two peers that run ONNX files, fed MiniLM-L6's own weights: ONNX Runtime as one would use it bare, and fastembed.

In: the inputs folder. Out: embeddings, logits. Runs in the environment of `bench/constraints.txt`.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bench.gate import Gate, repeat
from bench.inputs import MAX_LENGTH, Inputs

Pairs = Callable[[Inputs], list[list[tuple[str, str]]]]

MAX_TOKENS = 256
"""What MiniLM-L6's checkpoint says, and sentence-transformers and we therefore take."""

ONNX_TEXTS, FASTEMBED_TEXTS = 2, 1
"""Texts of a batch: the best of 1, 2, 4 and 8, and of 1, 2, 4, 8 and 32, on 2 cores. Fastembed leaves texts in the
order in which they come, so that each further one is padding."""


def export_onnx(model_folder: str, folder: Path, *, output: str = "last_hidden_state") -> Path:
    """The model as an ONNX file with one output.

    Args:
        model_folder: a checkpoint that transformers reads.
        folder: where `model.onnx` and its weights go.
        output: "last_hidden_state" of the encoder, or "logits" of the cross-encoder.

    Returns:
        The file.
    """
    import onnxruntime
    import torch
    from transformers import AutoModel, AutoModelForSequenceClassification

    class Output(torch.nn.Module):
        """The model with that output only."""

        def __init__(self) -> None:
            super().__init__()
            model_class = AutoModel if output == "last_hidden_state" else AutoModelForSequenceClassification
            self.model = model_class.from_pretrained(model_folder, attn_implementation="eager").eval()

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            """The output."""
            return getattr(self.model(input_ids, attention_mask, token_type_ids), output)

    module, names = Output(), ("input_ids", "attention_mask", "token_type_ids")
    # three tensors: the exporter takes equal ones for the same input
    example = (torch.arange(16).view(2, 8), torch.ones(2, 8, dtype=torch.long), torch.zeros(2, 8, dtype=torch.long))
    sizes = {0: torch.export.Dim("texts"), 1: torch.export.Dim("tokens")}
    file = folder / "model.onnx"
    torch.onnx.export(
        module,
        example,
        file,
        input_names=names,
        output_names=[output],
        dynamic_shapes=(sizes, sizes, sizes),
        dynamo=True,
    )
    other = (
        torch.arange(1000, 1015).view(3, 5),
        torch.ones(3, 5, dtype=torch.long),
        torch.ones(3, 5, dtype=torch.long),
    )
    other[1][0, 3:] = 0
    with torch.inference_mode():
        expected = module(*other)[:, :1].numpy()
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {name: x.numpy() for name, x in zip(names, other, strict=True)})
    np.testing.assert_allclose(found[:, :1], expected, atol=1e-4)  # a file that computes something else is no peer
    return file


class Runner:
    """ONNX Runtime with `tokenizers`: texts of similar length together."""

    def __init__(self, model_folder: str, *, output: str, max_tokens: int) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_file(str(Path(model_folder, "tokenizer.json")))
        self.tokenizer.enable_truncation(max_tokens)
        self.tokenizer.enable_padding()
        with tempfile.TemporaryDirectory() as folder:
            file = export_onnx(model_folder, Path(folder), output=output)
            self.session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])

    def run(self, texts: Sequence[Any], finish: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
        """What `finish` makes of output and mask of each batch, in the order of the texts."""
        order = sorted(range(len(texts)), key=lambda i: -len("".join(texts[i])))
        found: list[np.ndarray] = [np.empty(0)] * len(order)
        for start in range(0, len(order), ONNX_TEXTS):
            chosen = order[start : start + ONNX_TEXTS]
            encodings = self.tokenizer.encode_batch([texts[i] for i in chosen])
            ids_BL, mask_BL, types_BL = (
                np.array([getattr(encoding, name) for encoding in encodings])
                for name in ("ids", "attention_mask", "type_ids")
            )
            feed = {"input_ids": ids_BL, "attention_mask": mask_BL, "token_type_ids": types_BL}
            (output,) = self.session.run(None, feed)
            for i, row in zip(chosen, finish(output, mask_BL), strict=True):
                found[i] = row
        return np.stack(found)


def mean_of_unit_length(states_BLE: np.ndarray, mask_BL: np.ndarray) -> np.ndarray:
    """Mean pooling."""
    sum_BE = np.einsum("ble,bl->be", states_BLE, mask_BL.astype(np.float32))
    return sum_BE / np.linalg.norm(sum_BE, axis=1, keepdims=True)


def onnxruntime_encode(gate: Gate, inputs: Inputs) -> None:
    """ONNX Runtime, bare."""
    runner = Runner(inputs.bi_encoder, output="last_hidden_state", max_tokens=MAX_TOKENS)
    repeat(gate, lambda: runner.run(inputs.documents, mean_of_unit_length))


def onnxruntime_rerank(gate: Gate, inputs: Inputs, *, pairs: Pairs) -> None:
    """ONNX Runtime, bare, one call a query; scores by the logistic function."""
    runner = Runner(inputs.cross_encoder, output="logits", max_tokens=MAX_LENGTH)
    repeat(gate, lambda: [runner.run(listed, lambda logits, _: logistic(logits[:, 0])) for listed in pairs(inputs)])


@contextmanager
def fastembed_folder(model_folder: str, *, output: str, max_tokens: int) -> Iterator[str]:
    """What fastembed reads of the model: `model.onnx`, its tokenizer and its settings."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(model_folder, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.safetensors"))
        settings_path = Path(folder, "tokenizer_config.json")
        settings = json.loads(settings_path.read_text(encoding="utf-8")) | {"model_max_length": max_tokens}
        settings_path.write_text(json.dumps(settings), encoding="utf-8")
        export_onnx(model_folder, Path(folder), output=output)
        yield folder


def fastembed_encode(gate: Gate, inputs: Inputs) -> None:
    """Fastembed with the same file as a custom model."""
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    with fastembed_folder(inputs.bi_encoder, output="last_hidden_state", max_tokens=MAX_TOKENS) as folder:
        source = ModelSource(hf="local/model")
        TextEmbedding.add_custom_model(
            "local/model",
            pooling=PoolingType.MEAN,
            normalization=True,
            sources=source,
            dim=384,
            model_file="model.onnx",
        )
        model = TextEmbedding("local/model", specific_model_path=folder)
    repeat(gate, lambda: np.stack(list(model.embed(inputs.documents, batch_size=FASTEMBED_TEXTS))))


def fastembed_rerank(gate: Gate, inputs: Inputs, *, pairs: Pairs) -> None:
    """Fastembed with the same file as a custom model, one call a query; scores by the logistic function."""
    from fastembed.common.model_description import ModelSource
    from fastembed.rerank.cross_encoder import TextCrossEncoder

    with fastembed_folder(inputs.cross_encoder, output="logits", max_tokens=MAX_LENGTH) as folder:
        TextCrossEncoder.add_custom_model("local/model", sources=ModelSource(hf="local/model"), model_file="model.onnx")
        model = TextCrossEncoder("local/model", specific_model_path=folder)
    repeat(
        gate,
        lambda: [
            logistic(np.array(list(model.rerank_pairs(listed, batch_size=FASTEMBED_TEXTS)))) for listed in pairs(inputs)
        ],
    )


def logistic(logits_N: np.ndarray) -> np.ndarray:
    """Scores, as the others give them."""
    return 1 / (1 + np.exp(-logits_N))
