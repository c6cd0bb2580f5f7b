"""Tensors of every file layout, and what damaged files say."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rankwright.errors import MissingExtraError, ModelFormatError
from rankwright.models.weights import Weights, static_table

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


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_pointer_of_git_lfs_is_told_how_to_get_the_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    with pytest.raises(ModelFormatError, match=rf"{name} is a pointer of Git LFS, not the file. Run `git lfs pull` in"):
        _weights(tmp_path)


def test_file_that_is_no_safetensors_file_is_named(tmp_path: Path) -> None:
    header = b'{"a": 1}'
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ModelFormatError, match="its header is no table of tensors"):
        _weights(tmp_path)


Header = dict[str, Any]


def _with_header(path: Path, change: Callable[[Header], object]) -> None:
    """Two tensors of 8 floats in one file, whose header is changed in place, or replaced by what `change` gives."""
    save_file({"a": torch.zeros(2, 4), "b": torch.ones(2, 4)}, path)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    changed = change(header)
    written = changed if isinstance(changed, bytes) else json.dumps(header).encode()
    path.write_bytes(len(written).to_bytes(8, "little") + written + content[8 + length :])


def _set(key: str, value: object) -> Callable[[Header], object]:
    return lambda header: header["b"].update({key: value})


NO_TABLE = "its header is no table of tensors"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("dtype", 5), NO_TABLE),
        (_set("dtype", ["F32"]), NO_TABLE),
        (_set("shape", [-2, -4]), NO_TABLE),
        (_set("shape", ["a"]), NO_TABLE),
        (_set("shape", None), NO_TABLE),
        (_set("shape", [2.0, 4.0]), NO_TABLE),
        (_set("data_offsets", [0]), NO_TABLE),
        (_set("data_offsets", [0, 1, 2]), NO_TABLE),
        (_set("data_offsets", [-8, 24]), NO_TABLE),
        (_set("data_offsets", ["a", "b"]), NO_TABLE),
        (_set("shape", [1 << 62, 1 << 62]), r"tensor 'b' of shape .* cannot lie at 32 to 64"),
        (_set("shape", [2, 3]), r"tensor 'b' of shape \[2, 3\] cannot lie at 32 to 64"),
        (_set("data_offsets", [0, 32]), r"tensor 'b' of shape \[2, 4\] cannot lie at 0 to 32"),
        (_set("data_offsets", [36, 68]), r"tensor 'b' of shape \[2, 4\] cannot lie at 36 to 68"),
        (_set("data_offsets", [64, 32]), r"tensor 'b' of shape \[2, 4\] cannot lie at 64 to 32"),
        (_set("data_offsets", [10**30, 10**30 + 32]), r"tensor 'b' .* cannot lie at 10{30} to"),
        (lambda header: header.pop("b"), "32 bytes follow its last tensor"),
        (lambda header: b"[1]", NO_TABLE),
        (lambda header: b'{"a":' * 100_000, NO_TABLE),
        (lambda header: b'{"a": 1, "a": 2}', NO_TABLE),
        (lambda header: b"\xff\xfe{\x00}\x00", NO_TABLE),
    ],
)
def test_header_that_lies_is_refused(tmp_path: Path, change: Callable[[Header], object], message: str) -> None:
    _with_header(tmp_path / "model.safetensors", change)
    with pytest.raises(
        ModelFormatError, match=rf"model\.safetensors is damaged .*: {message}.*Download the model again"
    ):
        _weights(tmp_path)


def test_header_that_does_not_lie_is_read(tmp_path: Path) -> None:
    _with_header(tmp_path / "model.safetensors", lambda header: None)
    assert _weights(tmp_path)["b"].sum() == 8


def test_a_tensor_may_be_empty_anywhere(tmp_path: Path) -> None:
    save_file({"a": torch.empty(0, 3), "b": torch.ones(2), "c": torch.empty(0)}, tmp_path / "model.safetensors")
    weights = _weights(tmp_path)
    assert {name: weights[name].shape for name in weights} == {"a": (0, 3), "b": (2,), "c": (0,)}


@pytest.mark.parametrize(
    "content", [b"\x00" * 4096, (2**63).to_bytes(8, "little") + b"{}"], ids=["zeros", "huge header"]
)
def test_file_of_anything_is_no_safetensors_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelFormatError, match=r"model\.safetensors is damaged or not a safetensors file"):
        _weights(tmp_path)


def test_bytes_after_the_last_tensor_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": VALUES}, path)
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(ModelFormatError, match="4 bytes follow its last tensor"):
        _weights(tmp_path)


@pytest.mark.parametrize(
    "index", ["[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 5}}', '{"weight_map": {"a": ["b"]}}']
)
def test_index_that_is_none_is_named(tmp_path: Path, index: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(ModelFormatError, match=r"index\.json: expected JSON with the key 'weight_map'\. Download"):
        _weights(tmp_path)


@pytest.mark.parametrize("shard", ["/etc/passwd", "..", "a/../../secret.safetensors", "sub/secret.safetensors"])
def test_index_names_files_of_its_folder_only(tmp_path: Path, shard: str) -> None:
    (tmp_path / "model" / "sub").mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "model" / "sub"):
        save_file({"a": VALUES}, folder / "secret.safetensors")
    (tmp_path / "model" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(ModelFormatError, match=r"index\.json names the file .*, which .* lacks"):
        _weights(tmp_path / "model")


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        ([torch.zeros(2)], r"cannot be read as tensors saved by torch: it holds a list, no tensors by name"),
        (torch.zeros(2), r"it holds a Tensor, no tensors by name"),
    ],
)
def test_pickle_without_names_is_refused(tmp_path: Path, saved: object, message: str) -> None:
    torch.save(saved, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelFormatError, match=message):
        _weights(tmp_path)


@pytest.mark.parametrize("kept", [0, 1, 100, -1])
def test_truncated_pickle_is_named(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "pytorch_model.bin"
    torch.save({"a": VALUES}, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(
        ModelFormatError, match=r"pytorch_model\.bin cannot be read as tensors saved by torch: .*Download"
    ):
        _weights(tmp_path)


def test_pickled_tensor_that_is_no_array_is_named(tmp_path: Path) -> None:
    torch.save({"a": torch.eye(3).to_sparse(), 5: VALUES}, tmp_path / "pytorch_model.bin")
    weights = _weights(tmp_path)
    with pytest.raises(
        ModelFormatError, match=r"the tensor 'a' \(torch\.float32, torch\.sparse_coo\) is no plain array"
    ):
        weights["a"]


def _static(folder: Path, **tensors: torch.Tensor) -> Path:
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"embedding.weight": torch.zeros(5)}, r"its table of embeddings is float32 of shape \(5,\)"),
        ({"embedding.weight": torch.zeros(0, 3)}, r"of shape \(0, 3\), expected one row of numbers"),
        ({"other": torch.zeros(5, 3)}, r"there is no tensor 'embeddings'"),
        ({"embeddings": torch.zeros(5, 3), "mapping": torch.arange(6)}, r"its mapping points outside of its 5 rows"),
        ({"embeddings": torch.zeros(5, 3), "mapping": -torch.arange(5)}, r"its mapping points outside of its 5 rows"),
        ({"embeddings": torch.zeros(5, 3), "mapping": torch.zeros(5)}, r"its mapping points outside of its 5 rows"),
        ({"embeddings": torch.zeros(5, 3), "weights": torch.ones(4)}, r"it has \(4,\) weights for 5 tokens"),
    ],
)
def test_table_that_does_not_fit_is_refused(tmp_path: Path, tensors: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(ModelFormatError, match=message):
        static_table(_static(tmp_path, **tensors))


def test_table_of_model2vec_shares_and_weighs_its_rows(tmp_path: Path) -> None:
    rows = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    table = static_table(_static(tmp_path, embeddings=rows, mapping=torch.tensor([1, 0, 1]), weights=torch.arange(3.0)))
    np.testing.assert_array_equal(table, [[0, 0], [1, 2], [6, 8]])


def test_type_that_we_do_not_read_is_named(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(4).to(torch.float8_e4m3fn)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelFormatError, match="tensor 'a' has the type F8_E4M3; expected one of"):
        _weights(tmp_path)
