"""Tensors of every file layout, and what damaged files say."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rankwright.errors import MissingExtraError, ModelFormatError
from rankwright.models.weights import Weights

VALUES = torch.tensor([[0.0, -0.0, 1.5, -3.14159274], [1e-6, 6e4, float("inf"), -float("inf")]])


def _weights(folder: Path) -> Weights:
    return Weights({"": folder})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_floats_of_every_width_become_the_float32_that_torch_gives(tmp_path: Path, dtype: torch.dtype) -> None:
    stored = VALUES.to(dtype)
    save_file({"a": stored}, tmp_path / "model.safetensors")
    array = _weights(tmp_path)["a"]
    assert array.dtype == np.float32 and array.flags.c_contiguous
    np.testing.assert_array_equal(array, stored.float().numpy())
    np.testing.assert_array_equal(np.signbit(array), np.signbit(stored.float().numpy()))


def test_float32_is_a_view_of_the_mapped_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": VALUES}, path)
    array = _weights(tmp_path)["a"]
    content = bytearray(path.read_bytes())
    content[-4:] = np.float32(7).tobytes()
    with path.open("r+b") as file:
        file.write(content)
    assert array[1, 3] == 7


def test_integers_keep_their_type_and_empty_tensors_their_shape(tmp_path: Path) -> None:
    save_file(
        {"ids": torch.arange(5), "none": torch.empty(0, 3), "one": torch.tensor(2.0)}, tmp_path / "model.safetensors"
    )
    weights = _weights(tmp_path)
    np.testing.assert_array_equal(weights["ids"], np.arange(5))
    assert weights["none"].shape == (0, 3)
    assert weights["one"] == 2.0 and weights["one"].shape == ()


def test_unaligned_tensors_are_copied_into_alignment(tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    header += b" " * ((-len(header)) % 8 + 1)
    body = np.array([1.5, -2.0], "<f4").tobytes()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + body)
    array = _weights(tmp_path)["a"]
    assert array.flags.aligned
    assert array.tolist() == [1.5, -2.0]


def test_prefixes_tell_the_folders_apart(tmp_path: Path) -> None:
    (tmp_path / "2_Dense").mkdir()
    save_file({"linear.weight": VALUES}, tmp_path / "model.safetensors")
    save_file({"linear.weight": VALUES + 1}, tmp_path / "2_Dense" / "model.safetensors")
    weights = Weights({"": tmp_path, "2_Dense.": tmp_path / "2_Dense"})
    assert sorted(weights) == ["2_Dense.linear.weight", "linear.weight"]
    assert len(weights) == 2 and "linear.weight" in weights and "linear.bias" not in weights
    assert weights["2_Dense.linear.weight"][0, 0] == 1
    assert weights.get("linear.bias") is None


def test_shards_are_one_checkpoint(tmp_path: Path) -> None:
    save_file({"a": VALUES}, tmp_path / "model-1.safetensors")
    save_file({"b": VALUES + 1}, tmp_path / "model-2.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    weights = _weights(tmp_path)
    assert set(weights) == {"a", "b"} and weights["b"][0, 0] == 1

    index["weight_map"]["c"] = "model-2.safetensors"
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelFormatError, match=r"places the tensor 'c' in model-2\.safetensors, which lacks it"):
        _weights(tmp_path)
    (tmp_path / "model-2.safetensors").unlink()
    with pytest.raises(ModelFormatError, match=r"names the file 'model-2\.safetensors', which .* lacks"):
        _weights(tmp_path)


def test_shard_outside_of_the_folder_is_refused(tmp_path: Path) -> None:
    save_file({"a": VALUES}, tmp_path / "secret.safetensors")
    (tmp_path / "model").mkdir()
    index = {"weight_map": {"a": "../secret.safetensors"}}
    (tmp_path / "model" / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelFormatError, match=r"names the file '\.\./secret\.safetensors'"):
        _weights(tmp_path / "model")


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_tensors_are_read_in_both_formats_of_torch(tmp_path: Path, zipped: bool) -> None:
    tensors = {"a": VALUES.half(), "ids": torch.arange(3), "t": VALUES.T, "note": "text"}
    torch.save(tensors, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    weights = _weights(tmp_path)
    assert set(weights) == {"a", "ids", "t"}
    np.testing.assert_array_equal(weights["a"], VALUES.half().float().numpy())
    np.testing.assert_array_equal(weights["t"], VALUES.T.numpy())
    assert weights["t"].flags.c_contiguous and weights["ids"].dtype == np.int64


def test_safetensors_are_preferred(tmp_path: Path) -> None:
    torch.save({"a": VALUES}, tmp_path / "pytorch_model.bin")
    save_file({"b": VALUES}, tmp_path / "model.safetensors")
    assert list(_weights(tmp_path)) == ["b"]


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (exec, (f"open({str(tmp_path / 'owned')!r}, 'w')",))

    torch.save({"a": Attack()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelFormatError, match=r"pytorch_model\.bin cannot be read as tensors saved by torch"):
        _weights(tmp_path)
    assert not (tmp_path / "owned").exists()


def test_pickled_tensors_without_torch_name_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'rankwright\[torch\]'"):
        _weights(tmp_path)


def test_safetensors_are_read_without_importing_torch(tmp_path: Path) -> None:
    save_file({"a": VALUES.bfloat16()}, tmp_path / "model.safetensors")
    code = (
        "import sys; from pathlib import Path; from rankwright.models.weights import Weights;"
        "Weights({'': Path(sys.argv[1])})['a']; assert 'torch' not in sys.modules, 'torch was imported'"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)


def test_missing_tensor_is_named(tmp_path: Path) -> None:
    save_file({"a": VALUES}, tmp_path / "model.safetensors")
    with pytest.raises(ModelFormatError, match=r"there is no tensor 'b' among the 1 of the checkpoint"):
        _weights(tmp_path)["b"]


def test_folder_without_weights_says_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "tf_model.h5").write_bytes(b"")
    with pytest.raises(ModelFormatError, match=r"holds no weights: expected model\.safetensors or pytorch_model\.bin"):
        _weights(tmp_path)


@pytest.mark.parametrize("kept", [0, 5, 40, -1])
def test_truncated_file_is_named_as_damaged(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"some.tensor": VALUES}, path)
    path.write_bytes(path.read_bytes()[:kept])
    expected = r"tensor 'some\.tensor' ends outside" if kept == -1 else "its header is cut off"
    with pytest.raises(ModelFormatError, match=rf"model\.safetensors is damaged .*: {expected}.*[Dd]ownload"):
        _weights(tmp_path)


def test_file_that_is_no_safetensors_file_is_named(tmp_path: Path) -> None:
    header = b'{"a": 1}'
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ModelFormatError, match="its header is no table of tensors"):
        _weights(tmp_path)


def test_type_that_we_do_not_read_is_named(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(4).to(torch.float8_e4m3fn)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelFormatError, match="tensor 'a' has the type F8_E4M3; expected one of"):
        _weights(tmp_path)
