"""Two peers that run ONNX files, fed MiniLM-L6's own weights: ONNX Runtime as one would use it bare, and fastembed.

In: the inputs folder. Out: embeddings. Runs in the environment of `bench/constraints.txt`.
"""

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.gate import Gate, repeat
from bench.inputs import Inputs

MAX_TOKENS = 256
"""What MiniLM-L6's checkpoint says, and sentence-transformers and we therefore take."""

ONNX_TEXTS, FASTEMBED_TEXTS = 8, 4
"""Texts of a batch: the best of 8 and 32, and of 4, 32 and 256, on 2 cores."""


def export_onnx(model_folder: str, folder: Path) -> Path:
    """The encoder as an ONNX file, its token states as output.

    Args:
        model_folder: a checkpoint that transformers reads.
        folder: where `model.onnx` and its weights go.

    Returns:
        The file.
    """
    import torch
    from transformers import AutoModel

    class States(torch.nn.Module):
        """The model with its first output only."""

        def __init__(self) -> None:
            super().__init__()
            self.model = AutoModel.from_pretrained(model_folder, attn_implementation="eager").eval()

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            """Token states."""
            return self.model(input_ids, attention_mask, token_type_ids).last_hidden_state

    example = torch.ones(2, 8, dtype=torch.long)
    sizes = {0: torch.export.Dim("texts"), 1: torch.export.Dim("tokens")}
    torch.onnx.export(
        States(),
        (example, example, torch.zeros_like(example)),
        folder / "model.onnx",
        input_names=["input_ids", "attention_mask", "token_type_ids"],
        output_names=["last_hidden_state"],
        dynamic_shapes=(sizes, sizes, sizes),
        dynamo=True,
    )
    return folder / "model.onnx"


def onnxruntime_encode(gate: Gate, inputs: Inputs) -> None:
    """ONNX Runtime with `tokenizers`: texts of similar length together, mean pooling, unit length."""
    import onnxruntime
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(inputs.bi_encoder, "tokenizer.json")))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.enable_padding()

    with tempfile.TemporaryDirectory() as folder:
        session = onnxruntime.InferenceSession(
            export_onnx(inputs.bi_encoder, Path(folder)), providers=["CPUExecutionProvider"]
        )

    def embed(texts: Sequence[str]) -> np.ndarray:
        encodings = tokenizer.encode_batch(texts)
        ids_BL = np.array([encoding.ids for encoding in encodings])
        mask_BL = np.array([encoding.attention_mask for encoding in encodings])
        feed = {"input_ids": ids_BL, "attention_mask": mask_BL, "token_type_ids": np.zeros_like(ids_BL)}
        (states_BLE,) = session.run(None, feed)
        sum_BE = np.einsum("ble,bl->be", states_BLE, mask_BL.astype(np.float32))
        return sum_BE / np.linalg.norm(sum_BE, axis=1, keepdims=True)

    def work() -> np.ndarray:
        order = sorted(range(len(inputs.documents)), key=lambda i: -len(inputs.documents[i]))
        found: list[np.ndarray] = [np.empty(0)] * len(order)
        for start in range(0, len(order), ONNX_TEXTS):
            chosen = order[start : start + ONNX_TEXTS]
            for i, row_E in zip(chosen, embed([inputs.documents[i] for i in chosen]), strict=True):
                found[i] = row_E
        return np.stack(found)

    repeat(gate, work)


def fastembed_encode(gate: Gate, inputs: Inputs) -> None:
    """Fastembed with the same file as a custom model."""
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(inputs.bi_encoder, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.safetensors"))
        settings_path = Path(folder, "tokenizer_config.json")
        settings = json.loads(settings_path.read_text(encoding="utf-8")) | {"model_max_length": MAX_TOKENS}
        settings_path.write_text(json.dumps(settings), encoding="utf-8")
        name = export_onnx(inputs.bi_encoder, Path(folder)).name
        source = ModelSource(hf="local/model")
        TextEmbedding.add_custom_model(
            "local/model", pooling=PoolingType.MEAN, normalization=True, sources=source, dim=384, model_file=name
        )
        model = TextEmbedding("local/model", specific_model_path=folder)
    repeat(gate, lambda: np.stack(list(model.embed(inputs.documents, batch_size=FASTEMBED_TEXTS))))
