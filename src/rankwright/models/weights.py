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

from rankwright.errors import MissingExtraError, ModelFormatError
from rankwright.hub import WEIGHT_FILES

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
    try:
        shard_of: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
    except (ValueError, KeyError, TypeError) as err:
        raise ModelFormatError(f"{path}: expected JSON with the key 'weight_map'. Download the model again.") from err
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
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)


def _read_safetensors(path: Path) -> dict[str, _Read]:
    """The readers of one safetensors file: 8 bytes with the length of a JSON header, the header, the data."""
    size = path.stat().st_size
    damaged = f"{path} is damaged or not a safetensors file ({size} bytes)"
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise ModelFormatError(f"{damaged}: its header is cut off. Download the model again.")
        try:
            header = json.loads(file.read(length))
            entries = {
                name: (entry["dtype"], tuple(entry["shape"]), *entry["data_offsets"])
                for name, entry in header.items()
                if name != "__metadata__"
            }
        except (ValueError, KeyError, TypeError, AttributeError) as err:
            raise ModelFormatError(f"{damaged}: its header is no table of tensors. Download the model again.") from err
    # copy on write: OpenVINO shares only memory that it could write, and nothing is ever written
    mapped = np.memmap(path, mode="c", dtype=np.uint8)
    reads: dict[str, _Read] = {}
    for name, (dtype, shape, start, stop) in entries.items():
        if dtype not in _DTYPES:
            raise ModelFormatError(
                f"{path}: tensor {name!r} has the type {dtype}; expected one of {', '.join(_DTYPES)}. "
                "Save the model in float32, float16 or bfloat16."
            )
        data = mapped[8 + length + start : 8 + length + stop]
        if len(data) != math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize:
            raise ModelFormatError(f"{damaged}: tensor {name!r} ends outside of it. Download the model again.")
        reads[name] = partial(_widen, data, dtype, shape)
    return reads


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
    except Exception as err:
        raise ModelFormatError(
            f"{path} cannot be read as tensors saved by torch: {str(err).splitlines()[0]} "
            "Download the model again, or save it as safetensors."
        ) from err

    def read(tensor: torch.Tensor) -> np.ndarray:
        tensor = tensor.detach()
        array: np.ndarray = (tensor.float() if tensor.is_floating_point() else tensor).contiguous().numpy()
        return array

    return {name: partial(read, tensor) for name, tensor in tensors.items() if isinstance(tensor, torch.Tensor)}
