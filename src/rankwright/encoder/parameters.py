"""The tensors of a checkpoint under the names that the forward pass asks for.

In: `ModelSpec` and the checkpoint's tensors. Does: prefixes and old spellings, shapes checked, a new head drawn.
Out: one array for each parameter.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from rankwright.encoder.families import FAMILIES
from rankwright.encoder.ops_trace import Parameters, parameters
from rankwright.encoder.spec import ModelSpec
from rankwright.errors import ModelFormatError

OLD_SPELLINGS = {".LayerNorm.weight": ".LayerNorm.gamma", ".LayerNorm.bias": ".LayerNorm.beta"}


def match_parameters(
    spec: ModelSpec, weights: Mapping[str, np.ndarray], *, seed: int = 0, place: object = ""
) -> dict[str, np.ndarray]:
    """Each parameter of `spec`, from a checkpoint of the encoder alone or of a model with any head.

    Args:
        spec: the model.
        weights: the checkpoint's tensors.
        seed: draws a new head (normal with `initializer_range`, biases 0) where `spec.head_is_new`.
        place: the checkpoint, for messages.

    Returns:
        Arrays by Hugging Face name.

    Raises:
        ModelFormatError: a tensor that is missing, has another shape, or is quantised; the message names it.
    """
    checkpoint = f"{place}: the checkpoint" if place else "the checkpoint"
    rng = np.random.default_rng(seed) if spec.head_is_new else None  # the first use of np.random takes 20 ms
    matched = {}
    for module in parameters(spec):
        for name, shape in module.tensors.items():
            found = find_tensor(name, spec, weights)
            drawn_by = rng if rng is not None and module.path in head_paths(spec) else None
            if drawn_by is not None and (found is None or weights[found].shape != shape):
                matched[name] = _draw(module, name, shape, spec, drawn_by)
            elif found is None:
                raise ModelFormatError(
                    f"{checkpoint} has no tensor {name!r} (shape {shape}), which a {spec.architecture.family} "
                    f"{spec.kind} needs. It has {len(weights)} tensors: is it complete, and of this family?"
                )
            else:
                matched[name] = array = weights[found]
                if array.dtype.kind != "f":
                    raise ModelFormatError(
                        f"{checkpoint}'s tensor {found!r} is stored as {array.dtype}, so that it is quantised. "
                        "Save the model in float32, float16 or bfloat16."
                    )
                if array.shape != shape:
                    raise ModelFormatError(
                        f"{checkpoint}'s tensor {found!r} has shape {array.shape}, but its config.json "
                        f"describes {shape}. Correct config.json, or take the weights that belong to it."
                    )
    return matched


def check_finite(parameters: Mapping[str, np.ndarray], place: object) -> None:
    """Whether all numbers are finite: with one that is not, rankings would be arbitrary without a word.

    Args:
        parameters: arrays by name.
        place: the checkpoint, for the message.

    Raises:
        ModelFormatError: NaN or an infinity.
    """
    for name, array in parameters.items():
        with np.errstate(over="ignore", invalid="ignore"):  # the sum, twice as fast as looking at each, may overflow
            is_finite = np.isfinite(array.sum()) or np.isfinite(array).all()
        if not is_finite:
            count = int(array.size - np.isfinite(array).sum())
            raise ModelFormatError(
                f"{place}: {count} of the {array.size} numbers of the tensor {name!r} are NaN or infinite. "
                "The training diverged, or the file is damaged: take an earlier checkpoint, or download it again."
            )


def has_more_layers(spec: ModelSpec, weights: Mapping[str, np.ndarray]) -> bool:
    """Whether a checkpoint has tensors of a layer that its config does not count."""
    family = FAMILIES.get(spec.architecture.family)
    if family is None:
        return False
    layer = family.names["layer"].format(i=spec.architecture.num_layers)
    return any(f".{layer}." in f".{name}" for name in weights)


def head_paths(spec: ModelSpec) -> set[str]:
    """Paths of the modules of the classification head that a family has; none where other modules take its place."""
    if spec.foreign is not None or spec.modules:
        return set()
    family = FAMILIES[spec.architecture.family]
    paths = (family.head.dense.format(prefix=family.prefix), family.head.norm, family.head.output)
    return {path for path in paths if path is not None}


def kept_tensors(spec: ModelSpec, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Tensors that a model without a classification head does not need, but that saving keeps for other uses of it.

    Args:
        spec: the model.
        weights: the checkpoint's tensors.

    Returns:
        Arrays by Hugging Face name: BERT's pooler, from which a cross-encoder can be made.
    """
    family = FAMILIES.get(spec.architecture.family)
    names = family.kept if family is not None and (spec.kind == "bi-encoder" or spec.modules) else ()
    found = {name: find_tensor(name, spec, weights) for name in names}
    return {name: weights[spelling] for name, spelling in found.items() if spelling is not None}


def find_tensor(name: str, spec: ModelSpec, weights: Mapping[str, np.ndarray]) -> str | None:
    """The name under which a checkpoint has a tensor: with or without the family's prefix, in old or new spelling."""
    return next((spelling for spelling in _spellings(name, spec) if spelling in weights), None)


def _spellings(name: str, spec: ModelSpec) -> Iterator[str]:
    family = FAMILIES.get(spec.architecture.family)
    prefix = f"{family.prefix}." if family is not None else ""
    for candidate in (name, prefix + name, name.removeprefix(prefix)):
        yield candidate
        for new, old in OLD_SPELLINGS.items():
            if candidate.endswith(new):
                yield candidate.removesuffix(new) + old


def _draw(
    module: Parameters, name: str, shape: tuple[int, ...], spec: ModelSpec, rng: "np.random.Generator"
) -> np.ndarray:
    if module.kind == "layer_norm":
        return np.ones(shape, np.float32) if name.endswith("weight") else np.zeros(shape, np.float32)
    if name.endswith("bias"):
        return np.zeros(shape, np.float32)
    return rng.normal(0.0, spec.architecture.initializer_range, shape).astype(np.float32)
