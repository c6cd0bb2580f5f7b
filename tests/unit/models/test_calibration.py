"""Models in int8: what is kept in the folder, what it is refused for, and who computes with it."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_torch_file
from sentence_transformers import SentenceTransformer

from rankwright import BiEncoder
from rankwright.errors import ConfigError, ModelFormatError
from rankwright.hub import LEVELS_FILE
from rankwright.models.calibration import calibrate_on
from tests.texts import CORPUS, random_texts
from tests.tiny_foreign import build_foreign
from tests.tiny_modules import build_static

TEXTS = [*CORPUS[:8], *random_texts(24, seed=4)]


@pytest.fixture(scope="module")
def saved(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a quantised model."""
    folder = tmp_path_factory.mktemp("int8") / "model"
    BiEncoder(tiny.bi_encoder("bert")).quantize(TEXTS).save(folder)
    return folder


def copied(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def test_a_saved_model_computes_the_same_in_int8_and_as_before_in_float32(tiny: Any, tmp_path: Path) -> None:
    before = BiEncoder(tiny.bi_encoder("bert"), dtype="float32")
    quantized = before.quantize(TEXTS)
    quantized.save(tmp_path / "model")
    again = BiEncoder(tmp_path / "model", dtype="int8")
    assert again.dtype == "int8"
    np.testing.assert_array_equal(again.encode(TEXTS), quantized.encode(TEXTS))
    exact = BiEncoder(tmp_path / "model", dtype="float32")
    np.testing.assert_array_equal(exact.encode(TEXTS), before.encode(TEXTS))
    np.testing.assert_array_equal(exact.with_dtype("int8").encode(TEXTS), quantized.encode(TEXTS))


def test_auto_never_takes_int8(saved: Path) -> None:
    assert BiEncoder(saved).dtype in ("float32", "bfloat16")


def test_sentence_transformers_reads_the_folder_as_before(saved: Path) -> None:
    reference = SentenceTransformer(str(saved), device="cpu").encode(TEXTS)
    assert np.abs(reference - BiEncoder(saved, dtype="float32", engine="openvino").encode(TEXTS)).max() < 1e-5


def test_saving_again_keeps_the_levels_and_other_weights_lose_them(saved: Path, tmp_path: Path) -> None:
    model = BiEncoder(saved)
    model.save(tmp_path / "again")
    kept, levels = load_file(tmp_path / "again" / LEVELS_FILE), load_file(saved / LEVELS_FILE)
    assert kept.keys() == levels.keys()
    assert all(np.array_equal(kept[name], levels[name]) for name in levels)
    other = {name: array * 1.5 for name, array in model.checkpoint.parameters.items()}
    model.save(tmp_path / "trained", tensors=other)
    assert not (tmp_path / "trained" / LEVELS_FILE).exists()
    with pytest.raises(ConfigError, match="was not, or has other weights now"):
        model.with_parameters(other).with_dtype("int8").encode("a text")


def test_a_model_that_was_not_calibrated_says_what_to_do(tiny: Any) -> None:
    with pytest.raises(ConfigError, match="rankwright quantize MODEL TEXTS --out FOLDER"):
        BiEncoder(tiny.bi_encoder("bert"), dtype="int8").encode("a text")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_torch_has_no_int8(saved: Path, monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    monkeypatch.setattr("rankwright.encoder.engine_torch.find_device", torch.device)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    with pytest.raises(ConfigError, match=r"dtype='int8': engine='torch' computes in .* int8 is for engine='openvino'"):
        BiEncoder(saved, dtype="int8", engine="torch", device=device).encode("a text")


def test_levels_for_other_weights_are_left_out(saved: Path, tmp_path: Path) -> None:
    folder = copied(saved, tmp_path)
    weights = load_file(folder / "model.safetensors")
    save_file({name: array + 1 for name, array in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    with pytest.warns(
        UserWarning, match=r"int8\.safetensors was made for other weights .* Remove it; `rankwright quanti"
    ):
        model = BiEncoder(folder)
    assert model.encode("a text").shape == (32,)
    with pytest.raises(ConfigError, match="needs a model that was calibrated on texts"):
        model.with_dtype("int8").encode("a text")


@pytest.mark.parametrize(
    "spoil",
    [
        "cut",
        "empty",
        "a part lacks",
        "a shape",
        "a type",
        "not finite",
        "no step",
        "bfloat16",
        "unknown layer",
        "a norm",
    ],
)
def test_a_bad_file_of_levels_is_named(saved: Path, tmp_path: Path, spoil: str) -> None:
    path = copied(saved, tmp_path) / LEVELS_FILE
    levels = load_file(path)
    name = next(name for name in levels if name.endswith(".low"))
    if spoil == "cut":
        path.write_bytes(path.read_bytes()[:-10])
    else:
        if spoil == "empty":
            levels = {}
        elif spoil == "a part lacks":
            del levels[name]
        elif spoil == "a shape":
            levels[name] = levels[name][1:].copy()
        elif spoil == "a type":
            levels[name] = levels[name].astype(np.float64)
        elif spoil == "not finite":
            levels[name][0] = np.nan
        elif spoil == "no step":
            levels[name.replace(".low", ".step")][0] = 0
        else:
            levels["embeddings.LayerNorm.step" if spoil == "a norm" else "no.such.layer.step"] = levels[name]
        save_file(levels, path, {"format": "pt"})
        if spoil == "bfloat16":
            halves = {
                name: torch.from_numpy(array).bfloat16() for name, array in load_file(saved / LEVELS_FILE).items()
            }
            save_torch_file(halves, path, {"format": "pt"})
    with pytest.raises(ModelFormatError, match=r"int8\.safetensors .*Remove it"):
        BiEncoder(path.parent)


def test_the_same_texts_give_the_same_levels(tiny: Any) -> None:
    model = BiEncoder(tiny.bi_encoder("bert"), dtype="float32")
    first, second = (model.quantize(TEXTS).checkpoint.levels for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_no_texts_and_models_without_such_layers_are_refused(tiny: Any) -> None:
    with pytest.raises(ConfigError, match="needs texts to calibrate on, got none"):
        BiEncoder(tiny.bi_encoder("bert")).quantize([])
    with pytest.raises(ConfigError, match="needs a list of texts, got one string: 'a text'"):
        BiEncoder(tiny.bi_encoder("bert")).quantize("a text")
    with pytest.raises(ConfigError, match="linear layers that read token states, and this model has none"):
        BiEncoder(tiny.built(build_static)).quantize(TEXTS)
    with pytest.raises(ConfigError, match="runs through transformers"):
        BiEncoder(tiny.built(build_foreign, "albert")).quantize(TEXTS)


def test_any_collection_of_texts_serves(tiny: Any) -> None:
    model = BiEncoder(tiny.bi_encoder("bert"), dtype="float32", engine="openvino")
    expected = model.quantize(TEXTS).encode(TEXTS)
    np.testing.assert_array_equal(model.quantize(np.array(TEXTS)).encode(TEXTS), expected)
    np.testing.assert_array_equal(model.quantize(text for text in TEXTS).encode(TEXTS), expected)  # type: ignore[arg-type]


def test_texts_are_cut_as_the_model_cuts_them_and_to_what_memory_holds(
    tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths: list[int] = []
    monkeypatch.setattr(
        "rankwright.encoder.ops_int8.calibrate",
        lambda spec, weights, batches: lengths.extend(n for b in batches for n in b.lengths_B) or {"a.step": weights},
    )
    model = BiEncoder(tiny.bi_encoder("bert"))
    long = " ".join(TEXTS)
    model.quantize([long, "short"])
    assert max(lengths) == model.max_length
    lengths.clear()
    model.max_length = 12
    model.quantize([long, "short"])
    assert max(lengths) == 12
    lengths.clear()
    monkeypatch.setattr("rankwright.models.calibration.BATCH_TOKENS", 8)
    model.quantize([long, "short"])
    assert max(lengths) == 8


def test_texts_without_tokens_are_left_out(tiny: Any) -> None:
    model = BiEncoder(tiny.bi_encoder("bert"), dtype="float32", engine="openvino")
    bare = replace(model.tokenizer, adds_special_tokens=False)
    levels = calibrate_on(model.spec, model.checkpoint.parameters, bare, ["", *TEXTS, *[""] * 40], "")
    assert levels.keys() == calibrate_on(model.spec, model.checkpoint.parameters, bare, TEXTS, "").keys()
    with pytest.raises(ConfigError, match="got only texts without tokens"):
        calibrate_on(model.spec, model.checkpoint.parameters, bare, ["", ""], "")


def test_worker_processes_compute_in_int8(saved: Path) -> None:
    model = BiEncoder(saved, dtype="int8")
    with model.start_multi_process_pool(["cpu"]) as pool:
        np.testing.assert_array_equal(model.encode(TEXTS[:4], pool=pool), model.encode(TEXTS[:4]))
