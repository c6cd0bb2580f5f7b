"""The parameters of a model, listed by running its description without numbers.

In: `ModelSpec`. Out: `Parameters` under their Hugging Face names. Values here are feature counts (int).
"""

from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np

from rankwright.encoder import architecture
from rankwright.encoder.families import FAMILIES
from rankwright.encoder.spec import ModelSpec

ParameterKind = Literal["embedding", "linear", "layer_norm"]


@dataclass(frozen=True)
class Parameters:
    """A module that holds parameters: its path, kind, shape (rows, size) or (size,), and whether it has a bias."""

    path: str
    kind: ParameterKind
    shape: tuple[int, ...]
    bias: bool = False
    eps: float = 0.0

    @property
    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Shape of each tensor, by name."""
        tensors = {f"{self.path}.weight": self.shape}
        if self.bias:
            tensors[f"{self.path}.bias"] = self.shape[:1]
        return tensors


def parameters(spec: ModelSpec) -> list[Parameters]:
    """The modules with parameters that the forward pass of `spec` uses, in the order of their first use."""
    ops = TraceOps(spec, "", {})
    architecture.forward(ops, spec)
    return list(ops.found.values())


class TraceOps:
    """Operations on feature counts, which note the parameters that they are given."""

    def __init__(self, spec: ModelSpec, prefix: str, found: dict[str, Parameters]) -> None:
        self.spec, self.prefix, self.found = spec, prefix, found

    def at(self, path: str) -> Self:
        return type(self)(self.spec, f"{self.prefix}{path}.", self.found)

    def _note(self, path: str, kind: ParameterKind, shape: tuple[int, ...], bias: bool, eps: float = 0.0) -> None:
        path = self.prefix + path
        self.found.setdefault(path, Parameters(path, kind, shape, bias, eps))

    def embed(self, path: str, ids: str, rows: int, size: int) -> int:
        self._note(path, "embedding", (rows, size), bias=False)
        return size

    def embed_mean(self, path: str, rows: int, size: int) -> int:
        return self.embed(path, "ids", rows, size)

    def foreign(self) -> int:
        return self.spec.architecture.hidden_size

    def linear(self, path: str, x: int, size: int, *, bias: bool = True) -> int:
        self._note(path, "linear", (size, x), bias)
        return size

    def layer_norm(self, path: str, x: int, *, eps: float, bias: bool = True, residual: int | None = None) -> int:
        self._note(path, "layer_norm", (x,), bias, eps)
        return x

    def relative_bias(self, path: str, bucket_R: np.ndarray, rows: int, heads: int) -> None:
        self._note(path, "embedding", (rows, heads), bias=False)

    def layer(self, index: int, x: int, bias: Any, *, first_only: bool) -> int:
        arch = self.spec.architecture
        scope = self.at(FAMILIES[arch.family].names["layer"].format(i=index))
        return int(architecture.transformer_layer(scope, arch, index, x, bias, first_only=first_only))

    def split(self, x: int, parts: int) -> list[int]:
        return [x // parts] * parts

    def concat(self, parts: list[int]) -> int:
        return sum(parts)

    def activation(self, kind: str, x: int) -> int:
        return x

    def add(self, x: int, y: int) -> int:
        return x

    def multiply(self, x: int, y: int) -> int:
        return x

    def dropout(self, x: int, rate: float) -> int:
        return x

    def rotate(self, x: int, cos_PD: np.ndarray, sin_PD: np.ndarray) -> int:
        return x

    def attention(self, q: int, k: int, v: int, *, heads: int, window: int, bias: Any, dropout: float) -> int:
        return v

    def first(self, x: int) -> int:
        return x

    def pool(self, x: int, mode: str, *, include_prompt: bool) -> int:
        return x

    def normalize(self, x: int) -> int:
        return x
