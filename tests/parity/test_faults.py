"""The parity tests can fail: each planted fault moves the output by more than 100 tolerances, in both engines."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rankwright.encoder.engine import make_engine
from rankwright.encoder.spec import Dense, ModelSpec
from rankwright.text import TokenBatch
from tests import tiny_modules
from tests.parity.reference import (
    ENGINES,
    our_bi_encoder,
    our_cross_encoder,
    st_embeddings,
    st_logits,
)
from tests.texts import CORPUS, QUERY, random_texts
from tests.tolerances import excess

TEXTS = (*CORPUS, *random_texts(200, seed=2, most_words=15))
PAIRS = tuple((QUERY, text) for text in TEXTS)


@dataclass(frozen=True)
class Model:
    """All that decides an output: the spec, the parameters and the tokens."""

    spec: ModelSpec
    parameters: Mapping[str, np.ndarray]
    batch: TokenBatch

    def with_architecture(self, **changes: Any) -> "Model":
        """The same with another architecture."""
        return replace(self, spec=replace(self.spec, architecture=replace(self.spec.architecture, **changes)))

    def with_parameters(self, has_fault: Callable[[str], bool], fault: Callable[[np.ndarray], np.ndarray]) -> "Model":
        """The same with the parameters of these names changed; at least one must have such a name."""
        names = [name for name in self.parameters if has_fault(name)]
        assert names, "no parameter has a name that the fault looks for"
        return replace(self, parameters={**self.parameters, **{name: fault(self.parameters[name]) for name in names}})


def no_bias(model: Model) -> Model:
    return model.with_parameters(lambda name: name.endswith(".bias") and not is_norm(name), np.zeros_like)


def no_norm_bias(model: Model) -> Model:
    return model.with_parameters(lambda name: name.endswith(".bias") and is_norm(name), np.zeros_like)


def no_norm_weight(model: Model) -> Model:
    return model.with_parameters(lambda name: name.endswith(".weight") and is_norm(name), np.ones_like)


def tanh_gelu(model: Model) -> Model:
    return model.with_architecture(activation="gelu_new")


def wrong_eps(model: Model) -> Model:
    return model.with_architecture(norm_eps=1e-3 if model.spec.architecture.norm_eps == 1e-12 else 1e-12)


def unscaled_attention(model: Model) -> Model:
    architecture = model.spec.architecture
    root = (architecture.hidden_size / architecture.num_heads) ** 0.5

    def unscale(array: np.ndarray) -> np.ndarray:
        queries = np.ones(len(array), dtype=np.float32)
        queries[: architecture.hidden_size] = root  # all rows, or the first third where one layer makes q, k and v
        return np.ascontiguousarray((array.T * queries).T)

    names = (".self.query.", ".attn.q.", ".attn.Wqkv.", ".q_lin.")
    return model.with_parameters(lambda name: any(part in name for part in names), unscale)


def positions_plus_one(model: Model) -> Model:
    return replace(model, batch=replace(model.batch, position_ids_T=model.batch.position_ids_T + 1))


def positions_from_zero(model: Model) -> Model:
    start = int(model.batch.position_ids_T.min())
    assert start == 2, "this family counts from the pad id"
    return replace(model, batch=replace(model.batch, position_ids_T=model.batch.position_ids_T - start))


def no_type_ids(model: Model) -> Model:
    assert model.batch.type_ids_T is not None and model.batch.type_ids_T.any()
    return replace(model, batch=replace(model.batch, type_ids_T=np.zeros_like(model.batch.type_ids_T)))


def no_relative_bias(model: Model) -> Model:
    return model.with_parameters(lambda name: "relative_attention_bias" in name, np.zeros_like)


def mirrored_relative_bias(model: Model) -> Model:
    return model.with_parameters(lambda name: "relative_attention_bias" in name, lambda table: table[::-1].copy())


def swapped_rotary_bases(model: Model) -> Model:
    bases = model.spec.architecture.rotary_bases
    swap = dict(zip(sorted(set(bases)), sorted(set(bases), reverse=True), strict=True))
    assert len(swap) == 2, "this model has two bases"
    return model.with_architecture(rotary_bases=tuple(swap[base] for base in bases))


def no_window(model: Model) -> Model:
    assert any(model.spec.architecture.windows)
    return model.with_architecture(windows=tuple(0 for _ in model.spec.architecture.windows))


def window_plus_one(model: Model) -> Model:
    return model.with_architecture(windows=tuple(w and w + 1 for w in model.spec.architecture.windows))


def no_projection_bias(model: Model) -> Model:
    return model.with_parameters(lambda name: name == "embeddings_project.bias", np.zeros_like)


def other_head_activation(model: Model) -> Model:
    return model.with_architecture(classifier_activation="tanh")


def ids_plus_one(model: Model) -> Model:
    ids_T = (model.batch.ids_T + 1) % model.spec.architecture.vocab_size
    return replace(model, batch=replace(model.batch, ids_T=ids_T))


def equal_rows(model: Model) -> Model:
    """As if the weights of tokens were left out."""
    return model.with_parameters(
        lambda name: name == "embedding.weight", lambda table: table / np.linalg.norm(table, axis=1, keepdims=True)
    )


def no_residual(model: Model) -> Model:
    plain = (replace(m, adds_input=False) if isinstance(m, Dense) else m for m in model.spec.modules)
    spec = replace(model.spec, modules=tuple(plain))
    parameters = {name: array for name, array in model.parameters.items() if ".residual." not in name}
    return replace(model, spec=spec, parameters=parameters)


def wrong_residual(model: Model) -> Model:
    return model.with_parameters(lambda name: ".residual." in name, np.zeros_like)


def is_norm(name: str) -> bool:
    """Whether the parameter is a LayerNorm's."""
    return "norm" in name.lower()


COMMON = (no_norm_weight, tanh_gelu, wrong_eps, unscaled_attention)
BIASED = (*COMMON, no_bias, no_norm_bias, positions_plus_one)
FAULTS = {
    "bert": BIASED,
    "roberta": (*BIASED, positions_from_zero),
    "xlm-roberta": (*BIASED, positions_from_zero),
    "camembert": (positions_from_zero,),
    "distilbert": BIASED,
    "electra": (*BIASED, no_projection_bias),
    "mpnet": (*BIASED, positions_from_zero, no_relative_bias, mirrored_relative_bias),
    "modernbert": (*COMMON, swapped_rotary_bases, no_window, window_plus_one),
}
"""The faults that a family can have: ModernBERT's own has no biases, and only differences of positions count in it."""

CROSS_FAULTS = {
    "bert": (no_type_ids, *(fault for fault in BIASED if fault is not tanh_gelu)),
    "distilbert": (no_bias, other_head_activation),
    "electra": (no_type_ids, other_head_activation),
}
BUILT_FAULTS = {
    "static table": (tiny_modules.build_static, {}, (ids_plus_one,)),
    "model2vec": (tiny_modules.build_model2vec, {"modules": True}, (ids_plus_one, equal_rows)),
    "residual": (tiny_modules.build_residual, {}, (no_residual, wrong_residual, no_norm_weight, no_norm_bias)),
}
"""Models of `tiny_modules.py`, their options, and the faults that they can have."""


def each(faults: Mapping[str, tuple[Callable[[Model], Model], ...]]) -> Any:
    """All faults of all models, as one parameter after the other."""
    cases = [
        pytest.param(name, fault, id=f"{name}-{fault.__name__}") for name, found in faults.items() for fault in found
    ]
    return pytest.mark.parametrize(("name", "fault"), cases)


def run(model: Model, engine: str) -> np.ndarray:
    """The output of the engine, all texts in one batch."""
    made = make_engine(model.spec, model.parameters, engine=engine, device="cpu", dtype="float32")
    return made.run(model.batch)


@cache
def sound_bi_encoder(folder: Path, engine: str, op: str) -> Model:
    """A model without a fault, which is within the tolerance."""
    ours = our_bi_encoder(folder, engine)
    model = Model(ours.spec, ours.checkpoint.parameters, ours.tokenize(list(TEXTS)))
    assert excess(run(model, engine), st_embeddings(folder, TEXTS), op) <= 1
    return model


@cache
def sound_cross_encoder(folder: Path, engine: str) -> Model:
    """A model without a fault, which is within the tolerance."""
    ours = our_cross_encoder(folder, engine)
    model = Model(ours.spec, ours.checkpoint.parameters, ours.tokenize(list(PAIRS)))
    assert excess(run(model, engine)[:, 0], st_logits(folder, PAIRS), "score") <= 1
    return model


@pytest.mark.parametrize("engine", ENGINES)
@each(FAULTS)
def test_a_fault_in_a_bi_encoder_exceeds_the_tolerance_100_times(
    tiny: Any, name: str, fault: Callable[[Model], Model], engine: str
) -> None:
    folder = tiny.bi_encoder(name)
    faulty = fault(sound_bi_encoder(folder, engine, "tiny embedding"))
    assert excess(run(faulty, engine), st_embeddings(folder, TEXTS), "tiny embedding") >= 100


@pytest.mark.parametrize("engine", ENGINES)
@each({name: faults for name, (_, _, faults) in BUILT_FAULTS.items()})
def test_a_fault_in_other_modules_exceeds_the_tolerance_100_times(
    tiny: Any, name: str, fault: Callable[[Model], Model], engine: str
) -> None:
    build, options, _ = BUILT_FAULTS[name]
    base = [tiny.bi_encoder("bert", normalize=False)] if name == "residual" else []
    folder = tiny.built(build, *base, **options)
    faulty = fault(sound_bi_encoder(folder, engine, "embedding"))
    assert excess(run(faulty, engine), st_embeddings(folder, TEXTS), "embedding") >= 100


@pytest.mark.parametrize("engine", ENGINES)
@each(CROSS_FAULTS)
def test_a_fault_in_a_cross_encoder_exceeds_the_tolerance_100_times(
    tiny: Any, name: str, fault: Callable[[Model], Model], engine: str
) -> None:
    folder = tiny.cross_encoder(name)
    faulty = fault(sound_cross_encoder(folder, engine))
    assert excess(run(faulty, engine)[:, 0], st_logits(folder, PAIRS), "score") >= 100
