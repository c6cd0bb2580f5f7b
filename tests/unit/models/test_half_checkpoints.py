"""Checkpoints in float16 and bfloat16: they run in the type that the machine multiplies natively, never in their own.

Both engines, both kinds, and models that transformers runs.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from rankwright import BiEncoder, CrossEncoder
from rankwright.encoder.core_openvino import import_openvino
from rankwright.encoder.engine_torch import TorchEngine
from rankwright.errors import ConfigError
from tests.tiny import write_json
from tests.tiny_foreign import build_foreign
from tests.tiny_layouts import read_json

HALVES = [torch.float16, torch.bfloat16]
MODELS = ["openvino bert", "torch bert", "torch albert"]


@pytest.fixture
def without_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU that would have to emulate bfloat16."""
    monkeypatch.setattr("rankwright.encoder.engine_torch.cpu_has_bfloat16", lambda: False)
    monkeypatch.setattr(import_openvino().Core, "get_property", lambda core, device, name: ["FP32", "INT8"])


@pytest.fixture
def with_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU that multiplies bfloat16, for torch."""
    monkeypatch.setattr("rankwright.encoder.engine_torch.cpu_has_bfloat16", lambda: True)


def _source(tiny: Any, family: str, kind: str) -> Path:
    if family == "bert":
        return tiny.bi_encoder("bert", dense=8) if kind == "bi-encoder" else tiny.cross_encoder("bert")
    head = {} if kind == "bi-encoder" else {"head": "ForSequenceClassification", "config": {"num_labels": 1}}
    return tiny.built(build_foreign, family, **head)


def _stored(source: Path, folder: Path, dtype: torch.dtype, *, widened: bool = False) -> Path:
    """A copy with weights rounded to a type, and stored in it or (widened) in float32."""
    shutil.copytree(source, folder)
    for path in folder.rglob("model.safetensors"):
        rounded = {name: tensor.to(dtype) for name, tensor in load_file(path).items()}
        kept = {name: tensor.float() if widened else tensor for name, tensor in rounded.items()}
        save_file(kept, path, metadata={"format": "pt"})
    named = "float32" if widened else str(dtype).removeprefix("torch.")
    write_json(folder / "config.json", read_json(folder / "config.json") | {"dtype": named, "torch_dtype": named})
    return folder


def _open(folder: Path, kind: str, engine: str, **options: Any) -> BiEncoder | CrossEncoder:
    return (BiEncoder if kind == "bi-encoder" else CrossEncoder)(folder, engine=engine, device="cpu", **options)


def _answers(model: BiEncoder | CrossEncoder) -> np.ndarray:
    texts = ["a text", "another, longer one", ""]
    return model.encode(texts) if isinstance(model, BiEncoder) else model.predict([("a query", text) for text in texts])


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("kind", ["bi-encoder", "cross-encoder"])
@pytest.mark.parametrize("model", MODELS)
def test_in_float32_they_give_what_their_rounded_weights_give(
    tiny: Any, tmp_path: Path, model: str, kind: str, dtype: torch.dtype
) -> None:
    engine, family = model.split()
    source = _source(tiny, family, kind)
    half = _open(_stored(source, tmp_path / "half", dtype), kind, engine, dtype="float32")
    wide = _open(_stored(source, tmp_path / "wide", dtype, widened=True), kind, engine, dtype="float32")
    np.testing.assert_array_equal(_answers(half), _answers(wide))
    assert half.dtype == "float32"
    assert not np.array_equal(_answers(half), _answers(_open(source, kind, engine, dtype="float32")))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.usefixtures("without_bfloat16")
def test_a_cpu_without_bfloat16_computes_in_float32(tiny: Any, tmp_path: Path, model: str, dtype: torch.dtype) -> None:
    engine, family = model.split()
    opened = _open(_stored(_source(tiny, family, "bi-encoder"), tmp_path / "half", dtype), "bi-encoder", engine)
    assert opened.dtype == "float32"
    if isinstance(opened.checkpoint.engine, TorchEngine):
        assert {parameter.dtype for parameter in opened.checkpoint.engine.module.parameters()} == {torch.float32}


@pytest.mark.parametrize("dtype", [*HALVES, torch.float32], ids=str)
@pytest.mark.parametrize("family", ["bert", "albert"])
@pytest.mark.usefixtures("with_bfloat16")
def test_a_cpu_with_bfloat16_computes_in_it_whatever_is_stored(
    tiny: Any, tmp_path: Path, family: str, dtype: torch.dtype
) -> None:
    opened = _open(_stored(_source(tiny, family, "bi-encoder"), tmp_path / "half", dtype), "bi-encoder", "torch")
    assert opened.dtype == "bfloat16"
    engine = opened.checkpoint.engine
    assert isinstance(engine, TorchEngine)
    assert {parameter.dtype for parameter in engine.module.parameters()} == {torch.bfloat16}
    answers = _answers(opened)
    assert answers.dtype == np.float32
    exact = _answers(_open(_source(tiny, family, "bi-encoder"), "bi-encoder", "torch", dtype="float32"))
    cosines = (answers * exact).sum(1) / np.linalg.norm(answers, axis=1) / np.linalg.norm(exact, axis=1)
    assert cosines.min() > 0.99


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.usefixtures("without_bfloat16")
def test_a_type_that_the_cpu_would_emulate_is_an_error(tiny: Any, model: str, dtype: str) -> None:
    engine, family = model.split()
    opened = _open(_source(tiny, family, "bi-encoder"), "bi-encoder", engine, dtype=dtype)
    with pytest.raises(ConfigError, match=rf"dtype='{dtype}' is not native to this (cpu|CPU).* Use dtype='auto'"):
        _answers(opened)
