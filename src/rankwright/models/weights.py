"""The tensors of a checkpoint under their Hugging Face names, memory-mapped.

In: folders with model.safetensors, its sharded form, or pytorch_model.bin. Out: `Weights`, float32 arrays by name.
"""

import json
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rankwright.errors import MissingExtraError, ModelFormatError, first_line
from rankwright.hub import WEIGHT_FILES
from rankwright.json_values import read_json

_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",  # numpy has no bfloat16: the bits are widened by hand
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U8": "|u1",
    "BOOL": "|b1",
}

LFS_POINTER = b"version https://git-lfs"
"""How the text begins that a `git clone` without Git LFS leaves in place of a large file."""

_Read = Callable[[], np.ndarray]


class Weights(Mapping[str, np.ndarray]):
    """Tensors by name, each read when it is asked for.

    float32 tensors of safetensors files are views of the mapped file; other float types are widened to float32 (or
    narrowed, from float64) at each read, and integers are given as they are stored. Arrays are C-contiguous and may
    be read-only.

    Args:
        folders: prefix of the names -> folder that holds the tensors, such as `{"": model, "2_Dense.": dense}`.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = dict(folders)
        self._reads: dict[str, _Read] = {
            prefix + name: read for prefix, folder in folders.items() for name, read in _read_folder(folder).items()
        }

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._reads:
            places = ", ".join(str(folder) for folder in self._folders.values())
            raise ModelFormatError(
                f"{places}: there is no tensor {name!r} among the {len(self._reads)} of the checkpoint. "
                "Its config.json may describe another model: compare both, or download it again."
            )
        return self._reads[name]()

    def __contains__(self, name: object) -> bool:
        return name in self._reads

    def __iter__(self) -> Iterator[str]:
        return iter(self._reads)

    def __len__(self) -> int:
        return len(self._reads)

    def get(self, name: str, default: Any = None, /) -> Any:
        """The tensor of this name, or `default`."""
        return self[name] if name in self else default


def _read_folder(folder: Path) -> dict[str, _Read]:
    """The readers of a folder's tensors by name."""
    path = next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)
    if path is None:
        raise ModelFormatError(
            f"{folder} holds no weights: expected {WEIGHT_FILES[0]} or {WEIGHT_FILES[2]}, or their sharded form. "
            "Convert other formats with save_pretrained of transformers, or download the model again."
        )
    if not path.name.endswith(".index.json"):
        return _read_file(path)
    content = read_json(path)
    shard_of = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(shard_of, dict) or not all(isinstance(shard, str) for shard in shard_of.values()):
        raise ModelFormatError(f"{path}: expected JSON with the key 'weight_map'. Download the model again.")
    reads: dict[str, _Read] = {}
    for shard in sorted(set(shard_of.values())):
        if Path(shard).name != shard or not (folder / shard).is_file():
            raise ModelFormatError(f"{path} names the file {shard!r}, which {folder} lacks. Download the model again.")
        reads |= _read_file(folder / shard)
    for name, shard in shard_of.items():
        if name not in reads:
            raise ModelFormatError(f"{path} places the tensor {name!r} in {shard}, which lacks it. Download it again.")
    return reads


def _read_file(path: Path) -> dict[str, _Read]:
    with path.open("rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            raise ModelFormatError(
                f"{path} is a pointer of Git LFS, not the file. Run `git lfs pull` in {path.parent}."
            )
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)


def _read_safetensors(path: Path) -> dict[str, _Read]:
    """The readers of one safetensors file: 8 bytes with the length of a JSON header, the header, the data."""
    size = path.stat().st_size
    damaged = f"{path} is damaged or not a safetensors file ({size} bytes)"
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise ModelFormatError(f"{damaged}: its header is cut off. Download the model again.")
        entries = _header_entries(file.read(length), damaged)
    # copy on write: OpenVINO shares only memory that it could write, and nothing is ever written
    mapped = np.memmap(path, mode="c", dtype=np.uint8)
    reads: dict[str, _Read] = {}
    end = 8 + length
    # tensors fill the rest of the file without holes or overlaps, as the format asks
    for name, (dtype, shape, start, stop) in sorted(entries.items(), key=lambda item: item[1][2:]):
        if dtype not in _DTYPES:
            raise ModelFormatError(
                f"{path}: tensor {name!r} has the type {dtype}; expected one of {', '.join(_DTYPES)}. "
                "Save the model in float32, float16 or bfloat16."
            )
        expected = end + math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize
        if (8 + length + start, 8 + length + stop) != (end, expected):
            raise ModelFormatError(
                f"{damaged}: tensor {name!r} of shape {list(shape)} cannot lie at {start} to {stop}. "
                "Download the model again."
            )
        if expected > size:
            raise ModelFormatError(f"{damaged}: tensor {name!r} ends outside of it. Download the model again.")
        reads[name] = partial(_widen, mapped[end:expected], dtype, shape)
        end = expected
    if end != size:
        raise ModelFormatError(f"{damaged}: {size - end} bytes follow its last tensor. Download the model again.")
    return reads


def _header_entries(header: bytes, damaged: str) -> dict[str, tuple[str, tuple[int, ...], int, int]]:
    """Type, shape, start and stop of each tensor."""
    try:
        listed = json.loads(header.decode("utf-8"), object_pairs_hook=_without_duplicates)
        entries = {
            name: (entry["dtype"], tuple(entry["shape"]), *entry["data_offsets"])
            for name, entry in listed.items()
            if name != "__metadata__"
        }
        for dtype, shape, start, stop in entries.values():
            if not isinstance(dtype, str) or any(type(number) is not int or number < 0 for number in (*shape, start)):
                raise TypeError
            if type(stop) is not int:
                raise TypeError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
        raise ModelFormatError(f"{damaged}: its header is no table of tensors. Download the model again.") from err
    return entries


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a key occurs twice")
    return content


def _widen(data: np.ndarray, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """The array that these bytes hold, floats as float32."""
    # the view as ndarray drops the memmap class, whose every operation costs more
    array = data.view(np.ndarray).view(_DTYPES[dtype]).reshape(shape)
    if dtype == "BF16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    if dtype in ("F16", "F64"):
        return array.astype(np.float32)
    # files of old writers do not align their tensors
    return np.require(array, requirements=["C", "A"])


def _read_torch(path: Path) -> dict[str, _Read]:
    """The readers of a file that torch pickled; nothing but tensors is unpickled."""
    try:
        import torch
    except ImportError as err:
        raise MissingExtraError(f"Reading {path}, which is no safetensors file,", "torch", "torch") from err
    try:
        # only the zip format of torch >= 1.6 can be mapped
        tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        if not isinstance(tensors, dict):
            raise TypeError(f"it holds a {type(tensors).__name__}, no tensors by name")
    except Exception as err:
        raise ModelFormatError(
            f"{path} cannot be read as tensors saved by torch: {first_line(err)} "
            "Download the model again, or save it as safetensors."
        ) from err

    def read(name: str, tensor: torch.Tensor) -> np.ndarray:
        tensor = tensor.detach()
        try:
            array: np.ndarray = (tensor.float() if tensor.is_floating_point() else tensor).contiguous().numpy()
        except (TypeError, RuntimeError, NotImplementedError) as err:
            raise ModelFormatError(
                f"{path}: the tensor {name!r} ({tensor.dtype}, {tensor.layout}) is no plain array: {first_line(err)} "
                "Save the model as safetensors in float32, float16 or bfloat16."
            ) from err
        return array

    return {
        name: partial(read, name, value)
        for name, value in tensors.items()
        if isinstance(name, str) and isinstance(value, torch.Tensor)
    }


def static_table(folder: Path) -> np.ndarray:
    """The table of a model without a transformer, one row for each token.

    Args:
        folder: of a StaticEmbedding, or of a model2vec model, whose tokens may share rows and have weights.

    Returns:
        (V, E) float32.

    Raises:
        ModelFormatError: no table there, or one that its mapping and weights do not fit.
    """
    tensors = Weights({"": folder})
    is_plain = "embedding.weight" in tensors
    table = tensors["embedding.weight" if is_plain else "embeddings"]
    mapping = None if is_plain else tensors.get("mapping")
    weights = None if is_plain else tensors.get("weights")
    if table.ndim != 2 or table.dtype.kind not in "fi" or not table.size:
        raise ModelFormatError(
            f"{folder}: its table of embeddings is {table.dtype} of shape {table.shape}, expected one row of numbers "
            "for each token. Download the model again."
        )
    table = np.asarray(table, dtype=np.float32)
    if mapping is not None:
        if (
            mapping.ndim != 1
            or mapping.dtype.kind not in "iu"
            or not (0 <= mapping).all() & (mapping < len(table)).all()
        ):
            raise ModelFormatError(f"{folder}: its mapping points outside of its {len(table)} rows. Download it again.")
        table = table[mapping]
    if weights is None:
        return table
    if weights.shape != (len(table),):
        raise ModelFormatError(f"{folder}: it has {weights.shape} weights for {len(table)} tokens. Download it again.")
    return table * weights[:, None].astype(np.float32)
