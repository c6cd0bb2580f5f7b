"""The torch engine: GPU inference, and CPU inference where torch is wanted.

In: `TokenBatch`. Out: float32 rows, one for each text.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch

from rankwright.encoder.attention_torch import takes_packed
from rankwright.encoder.families import FAMILIES
from rankwright.encoder.graphs_cuda import Graphs
from rankwright.encoder.ops_torch import TorchEncoder
from rankwright.encoder.pace import Pace
from rankwright.encoder.spec import ModelSpec
from rankwright.errors import ConfigError, lacking_memory
from rankwright.text import TokenBatch

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

CPU_PACE = Pace(batch_tokens=4096, batches=1)
CUDA_PACE = Pace(batch_tokens=65536, batches=2, chunk_texts=1024, chunks_ahead=2)
"""While a GPU computes one batch, the next is made ready. It waits for the first chunk, and gains nothing from texts of
one length, so that chunks are small."""


class TorchEngine:
    """Runs batches with torch on one device; safe to call from many threads (weights are only read)."""

    name = "torch"
    fixes_shapes = False
    emulates = False

    def __init__(
        self, spec: ModelSpec, parameters: Mapping[str, np.ndarray], *, dtype: str = "auto", device: str = "cpu"
    ) -> None:
        self.device = find_device(device)
        self.dtype = choose_dtype(dtype, self.device)
        self.module = load_module(spec, parameters).eval().to(self.device, DTYPES[self.dtype])
        self.pace = CUDA_PACE if self.device.type == "cuda" else CPU_PACE
        self.graphs = Graphs(self.module, self.device) if self._has_static_shapes(spec) else None

    def run(self, batch: TokenBatch, *, is_alone: bool = True) -> np.ndarray:
        """The model's output for each text.

        Args:
            batch: B texts.
            is_alone: makes no difference here.

        Returns:
            (B, size) float32; (T, size) of a model that gives token states.

        Raises:
            MemoryError: the device has no room for so large a batch.
        """
        try:
            with lacking_memory(), torch.inference_mode(), self._as_current():
                known = self.graphs.run(batch) if self.graphs else None
                return self.module(batch).cpu().numpy() if known is None else known
        except MemoryError:
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            raise

    def _as_current(self) -> AbstractContextManager[Any]:
        """Kernels written in Triton run on the current device, whatever device their tensors are on."""
        return torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()

    def _has_static_shapes(self, spec: ModelSpec) -> bool:
        """Whether the kernels of a batch depend on how many tokens and texts it has, and on nothing else."""
        arch = spec.architecture
        return (
            self.device.type == "cuda"
            and arch.family in FAMILIES
            and not arch.relative_buckets
            and not any(arch.windows[-1:])  # the last layer may be computed for first tokens only
            and takes_packed(self.device, DTYPES[self.dtype], arch.hidden_size // arch.num_heads)
        )


def load_module(spec: ModelSpec, parameters: Mapping[str, np.ndarray]) -> TorchEncoder:
    """A `TorchEncoder` in float32 with its own copy of the parameters.

    Args:
        spec: the model.
        parameters: arrays by Hugging Face name, as `match_parameters` gives them.

    Returns:
        The module, in training mode.
    """
    module = TorchEncoder(spec)
    module.load_state_dict({name: torch.tensor(array) for name, array in parameters.items()}, assign=True)
    for parameter in module.parameters():
        parameter.requires_grad_(True)
    return module


def find_device(name: str) -> torch.device:
    """The device of that name.

    Args:
        name: "cpu", "cuda", "cuda:1", "mps", ...

    Returns:
        The device.

    Raises:
        ConfigError: this machine, or this build of torch, has no such device.
    """
    known = {"cpu": 1}
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is not None:
        known[accelerator.type] = torch.accelerator.device_count()
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or (device.index or 0) >= known.get(device.type, 0):
        names = [kind if i == 0 else f"{kind}:{i}" for kind, count in known.items() for i in range(count)]
        raise ConfigError(f"device={name!r}: not found on this machine by torch. It has {', '.join(names)}.")
    return device


def choose_dtype(dtype: str, device: torch.device) -> str:
    """The compute type for what was asked.

    Args:
        dtype: "auto", "float32", "bfloat16" or "float16".
        device: where it will run.

    Returns:
        The name of the type; "auto" is bfloat16 where the device multiplies it natively.

    Raises:
        ConfigError: a type that torch has not, or that the device would have to emulate.
    """
    if dtype not in ("auto", *DTYPES):
        raise ConfigError(
            f"dtype={dtype!r}: engine='torch' computes in {', '.join(DTYPES)} only; int8 is for engine='openvino' on "
            "the CPU. Use dtype='auto', or leave out engine and device."
        )
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return ("bfloat16" if native else "float16") if dtype == "auto" else dtype
    native = cpu_has_bfloat16()
    if dtype == "auto":
        return "bfloat16" if native and device.type == "cpu" else "float32"
    if dtype == "float32" or (dtype == "bfloat16" and native):
        return dtype
    raise ConfigError(f"dtype={dtype!r} is not native to this {device.type}. Use dtype='auto' or 'float32'.")


def cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 natively (AVX512-BF16 or AMX)."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
