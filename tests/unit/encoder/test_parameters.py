"""The parameters of a model are those of transformers, and are found in checkpoints of every spelling."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from rankwright.encoder.families import FAMILIES, architecture_from_config
from rankwright.encoder.ops_trace import parameters
from rankwright.encoder.parameters import check_finite, head_paths, match_parameters
from rankwright.encoder.spec import Dense, ModelSpec, Normalize, Pooling
from rankwright.errors import ModelFormatError
from tests.unit.encoder.test_families import CONFIGS, config_of, sizes_of

Arrays = dict[str, np.ndarray]


def bi_encoder(family: str = "bert", **changes: Any) -> ModelSpec:
    """A bi-encoder of tiny sizes."""
    return ModelSpec("bi-encoder", architecture_from_config(config_of(family, **changes)), 16, modules=(Pooling(),))


def cross_encoder(family: str = "bert", **changes: Any) -> ModelSpec:
    """A cross-encoder of tiny sizes with three labels."""
    return ModelSpec("cross-encoder", architecture_from_config(config_of(family, **changes)), 16, num_labels=3)


def shapes(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """Name and shape of each tensor of the model."""
    return {name: shape for module in parameters(spec) for name, shape in module.tensors.items()}


def arrays(spec: ModelSpec) -> Arrays:
    """A checkpoint of this model: each tensor filled with its own number."""
    return {name: np.full(shape, i, np.float32) for i, (name, shape) in enumerate(shapes(spec).items())}


def values(matched: Mapping[str, np.ndarray]) -> dict[str, float]:
    return {name: float(array.flat[0]) for name, array in matched.items()}


def of_transformers(family: str, model: str, **config: Any) -> dict[str, tuple[int, ...]]:
    """Name and shape of each parameter of a model of transformers, made without memory."""
    ids = {f"{role}_token_id": 1 for role in ("pad", "cls", "sep", "bos", "eos")}
    settings = getattr(transformers, CONFIGS[family])(**sizes_of(family), **ids, **config)
    with torch.device("meta"):
        made = getattr(transformers, model).from_config(settings)
    return {name: tuple(parameter.shape) for name, parameter in made.named_parameters()}


@pytest.mark.parametrize("family", FAMILIES)
def test_an_encoder_has_the_parameters_of_transformers(family: str) -> None:
    expected = of_transformers(family, "AutoModel")
    pooler = {name for name in expected if name.startswith("pooler.")}  # made by transformers, read by no bi-encoder
    assert shapes(bi_encoder(family)) == {name: shape for name, shape in expected.items() if name not in pooler}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_cross_encoder_has_the_parameters_of_transformers(family: str) -> None:
    expected = of_transformers(family, "AutoModelForSequenceClassification", num_labels=3)
    assert shapes(cross_encoder(family)) == expected


def test_biases_of_modernbert_follow_its_config() -> None:
    biases = {"attention_bias": True, "mlp_bias": True, "norm_bias": True, "classifier_bias": True}
    expected = of_transformers("modernbert", "AutoModelForSequenceClassification", num_labels=3, **biases)
    assert shapes(cross_encoder("modernbert", **biases)) == expected


def test_modules_behind_the_transformer_have_parameters_below_their_folders() -> None:
    modules = (Pooling(("cls", "mean")), Dense("2_Dense", 16, 4), Dense("3_Dense", 4, 2, use_bias=False), Normalize())
    spec = replace(bi_encoder(), modules=modules)
    behind = {name: shape for name, shape in shapes(spec).items() if "Dense" in name}
    assert behind == {"2_Dense.linear.weight": (4, 16), "2_Dense.linear.bias": (4,), "3_Dense.linear.weight": (2, 4)}
    assert spec.embedding_size == 2


@pytest.mark.parametrize("family", FAMILIES)
def test_the_encoder_is_found_in_a_checkpoint_with_a_prefix(family: str) -> None:
    spec, prefix = bi_encoder(family), FAMILIES[family].prefix
    with_prefix = {f"{prefix}.{name}": array for name, array in arrays(spec).items()}
    assert values(match_parameters(spec, with_prefix)) == values(arrays(spec))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_cross_encoder_is_found_in_a_checkpoint_without_the_prefix(family: str) -> None:
    spec, prefix = cross_encoder(family), FAMILIES[family].prefix
    bare = {name.removeprefix(f"{prefix}."): array for name, array in arrays(spec).items()}
    assert values(match_parameters(spec, bare)) == values(arrays(spec))


def test_gamma_and_beta_are_the_weight_and_bias_of_a_norm() -> None:
    spec = bi_encoder()
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): array
        for name, array in arrays(spec).items()
    }
    assert old.keys() != arrays(spec).keys()
    assert values(match_parameters(spec, old)) == values(arrays(spec))


def test_other_tensors_of_the_checkpoint_are_left_alone() -> None:
    spec = bi_encoder()
    other = {"pooler.dense.weight": np.zeros((8, 8), np.float32), "cls.predictions.bias": np.zeros(11, np.float32)}
    assert values(match_parameters(spec, arrays(spec) | other)) == values(arrays(spec))


def test_a_missing_tensor_is_named() -> None:
    spec = bi_encoder()
    weights = arrays(spec)
    del weights["encoder.layer.1.output.dense.bias"]
    with pytest.raises(ModelFormatError) as caught:
        match_parameters(spec, weights)
    assert str(caught.value) == (
        "the checkpoint has no tensor 'encoder.layer.1.output.dense.bias' (shape (8,)), which a bert bi-encoder needs. "
        f"It has {len(weights)} tensors: is it complete, and of this family?"
    )


def test_a_tensor_of_another_shape_is_named() -> None:
    spec = cross_encoder()
    weights = arrays(spec) | {"classifier.weight": np.zeros((2, 8), np.float32)}
    with pytest.raises(ModelFormatError) as caught:
        match_parameters(spec, weights)
    assert str(caught.value) == (
        "the checkpoint's tensor 'classifier.weight' has shape (2, 8), but its config.json describes (3, 8). "
        "Correct config.json, or take the weights that belong to it."
    )


def without_head(spec: ModelSpec) -> Arrays:
    heads = head_paths(spec)
    return {name: array for name, array in arrays(spec).items() if name.rpartition(".")[0] not in heads}


@pytest.mark.parametrize(
    ("family", "changes"), [*((family, {}) for family in FAMILIES), ("modernbert", {"norm_bias": True})]
)
def test_a_new_head_is_drawn_and_the_same_each_time(family: str, changes: dict[str, Any]) -> None:
    spec = replace(cross_encoder(family, **changes), head_is_new=True)
    weights = without_head(spec)
    first, again, other = (match_parameters(spec, weights, seed=seed) for seed in (1, 1, 2))
    new = first.keys() - weights.keys()
    assert {name.rpartition(".")[0] for name in new} == head_paths(spec)
    for name in new:
        np.testing.assert_array_equal(first[name], again[name])
        assert first[name].dtype == np.float32
        if name.endswith("bias"):
            assert not first[name].any()
        elif name == "head.norm.weight":
            assert (first[name] == 1).all()
        else:
            assert not np.array_equal(first[name], other[name]), name
    assert all(first[name] is weights[name] for name in weights)


def test_a_new_head_has_the_spread_that_the_config_says() -> None:
    spec = replace(cross_encoder(hidden_size=64, initializer_range=0.5), head_is_new=True)
    drawn = match_parameters(spec, without_head(spec))["bert.pooler.dense.weight"]
    assert abs(drawn.std() / 0.5 - 1) < 0.1
    assert abs(drawn.mean()) < 0.05


def test_the_dense_layer_of_a_head_is_taken_from_the_checkpoint_where_it_is_there() -> None:
    """BERT's pooler comes with the encoder: only the output layer is new."""
    spec = replace(cross_encoder(), head_is_new=True)
    weights = {name: array for name, array in arrays(spec).items() if not name.startswith("classifier.")}
    of_two_labels = {"classifier.weight": np.zeros((2, 8), np.float32), "classifier.bias": np.zeros(2, np.float32)}
    for others in ({}, of_two_labels):
        matched = match_parameters(spec, weights | others)
        assert matched["bert.pooler.dense.weight"] is weights["bert.pooler.dense.weight"]
        assert matched["classifier.weight"].std() > 0


def test_a_head_that_is_missing_is_an_error_where_the_checkpoint_should_have_one() -> None:
    spec = cross_encoder()
    with pytest.raises(ModelFormatError, match=r"no tensor 'bert\.pooler\.dense\.weight'"):
        match_parameters(spec, without_head(spec))


def test_numbers_whose_sum_overflows_are_finite_and_infinities_that_cancel_are_not() -> None:
    check_finite({"large": np.full(3, 3e38, np.float32)}, "x")
    with pytest.raises(ModelFormatError, match="x: 2 of the 2 numbers of the tensor 'infinite' are NaN or infinite"):
        check_finite({"infinite": np.array([np.inf, -np.inf], np.float32)}, "x")
