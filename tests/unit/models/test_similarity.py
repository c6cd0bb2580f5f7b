"""Similarities of vectors, and activations, by hand-made values."""

from typing import Any

import numpy as np
import pytest
import torch

from rankwright import BiEncoder
from rankwright.errors import ConfigError, ShapeError
from rankwright.models.activations import ACTIVATIONS, activation_path, apply_activation, sigmoid, softmax
from rankwright.models.precision import quantize
from rankwright.models.similarity import PAIRWISE, SIMILARITIES, array_of, check_similarity, rows_of, unit

A = np.array([[3.0, 4.0], [1.0, 0.0]], np.float32)
B = np.array([[4.0, 3.0], [0.0, -2.0], [3.0, 4.0]], np.float32)
EXPECTED = {
    "cosine": [[0.96, -0.8, 1.0], [0.8, 0.0, 0.6]],
    "dot": [[24.0, -8.0, 25.0], [4.0, 0.0, 3.0]],
    "euclidean": [[-(2**0.5), -(45**0.5), 0.0], [-(18**0.5), -(5**0.5), -(20**0.5)]],
    "manhattan": [[-2.0, -9.0, 0.0], [-6.0, -3.0, -6.0]],
}


@pytest.mark.parametrize("name", SIMILARITIES)
def test_values_by_hand(name: str) -> None:
    np.testing.assert_allclose(SIMILARITIES[name](A, B), EXPECTED[name], atol=1e-6)
    np.testing.assert_allclose(PAIRWISE[name](A, B[:2]), np.diag(np.array(EXPECTED[name])[:, :2]), atol=1e-6)


@pytest.mark.parametrize("name", SIMILARITIES)
def test_no_rows_give_no_values(name: str) -> None:
    assert SIMILARITIES[name](A[:0], B).shape == (0, 3)
    assert SIMILARITIES[name](A, B[:0]).shape == (2, 0)
    assert PAIRWISE[name](A[:0], B[:0]).shape == (0,)


def test_the_null_vector_has_no_direction() -> None:
    assert unit(np.zeros((1, 3))).tolist() == [[0.0, 0.0, 0.0]]
    np.testing.assert_allclose(unit(np.array([[3e-8, 4e-8]])), [[0.6, 0.8]], rtol=1e-6)


def test_distances_of_texts_that_are_nearly_the_same_are_not_lost() -> None:
    rows = unit(np.random.default_rng(0).normal(size=(20, 32)))
    near = rows + np.float32(1e-5)
    distances = SIMILARITIES["euclidean"](rows, near)
    np.testing.assert_allclose(np.diag(distances), PAIRWISE["euclidean"](rows, near), rtol=1e-3)
    np.testing.assert_allclose(np.diag(SIMILARITIES["euclidean"](rows, rows)), 0, atol=1e-7)


def test_tensors_in_half_precision_are_widened() -> None:
    assert array_of(torch.ones(2, dtype=torch.bfloat16)).dtype == np.float32
    assert array_of(torch.ones(2, dtype=torch.int8)).dtype == np.int8


def test_an_unknown_similarity_is_an_error() -> None:
    with pytest.raises(ConfigError) as caught:
        check_similarity("cos")
    assert str(caught.value) == "similarity='cos': expected one of cosine, dot, euclidean, manhattan."


@pytest.mark.parametrize("given", [A, A.tolist(), torch.from_numpy(A), list(torch.from_numpy(A)), list(A)], ids=type)
def test_rows_come_in_many_forms(given: Any) -> None:
    np.testing.assert_array_equal(rows_of(given), A)


def test_one_vector_is_one_row_and_three_axes_are_an_error() -> None:
    assert rows_of(A[0]).shape == rows_of(torch.from_numpy(A[0])).shape == (1, 2)
    with pytest.raises(ShapeError, match="embeddings have 3 axes, expected a vector or a matrix"):
        rows_of(A[None])


def test_a_similarity_set_to_nothing_is_the_cosine(tiny: Any) -> None:
    model = BiEncoder(tiny.bi_encoder("bert"), similarity="dot")
    model.similarity_fn_name = None
    np.testing.assert_allclose(model.similarity(A, B), EXPECTED["cosine"], atol=1e-6)


def test_pairs_of_unequal_lists_are_an_error(tiny: Any) -> None:
    with pytest.raises(ShapeError, match="pairs are of row i with row i, but there are 2 and 3 rows"):
        BiEncoder(tiny.bi_encoder("bert")).similarity_pairwise(A, B)


@pytest.mark.parametrize("name", SIMILARITIES)
def test_a_model_compares_by_its_own_similarity(tiny: Any, name: str) -> None:
    model = BiEncoder(tiny.bi_encoder("bert"), similarity=name)
    np.testing.assert_allclose(model.similarity(A, B), EXPECTED[name], atol=1e-6)
    np.testing.assert_allclose(model.similarity_pairwise(A, A), np.diag(SIMILARITIES[name](A, A)), atol=1e-6)
    assert model.similarity(A[0], B[0]).shape == (1, 1)
    tensor = model.similarity(torch.from_numpy(A), torch.from_numpy(B))
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_allclose(tensor.numpy(), EXPECTED[name], atol=1e-6)


SIGNS = np.array([[1, -1, -1, 1, 1, 1, 1, 1, -1, 1], [1, 1, 1, 1, 1, -1, 1, 1, 1, 1]], np.float32)
FORMS = [lambda rows: rows, torch.from_numpy, lambda rows: list(torch.from_numpy(rows)), list]


@pytest.mark.parametrize("precision", ["binary", "ubinary"])
@pytest.mark.parametrize("form", FORMS, ids=["array", "tensor", "tensors", "arrays"])
def test_packed_bits_are_signs_again(precision: str, form: Any) -> None:
    bits = quantize(SIGNS, precision)
    assert bits.shape == (2, 2)  # ten bits; the last six of the second byte stand for nothing
    np.testing.assert_array_equal(rows_of(form(bits), 10), SIGNS)
    np.testing.assert_array_equal(rows_of(form(bits[:1]), 10), SIGNS[:1])


@pytest.mark.parametrize("name", SIMILARITIES)
@pytest.mark.parametrize("precision", ["binary", "ubinary"])
def test_a_model_compares_bits_by_how_many_differ(tiny: Any, name: str, precision: str) -> None:
    model = BiEncoder(tiny.bi_encoder("bert"), dtype="float32", similarity=name)
    rows = model.encode(["one text", "another text", "a third"])
    bits = quantize(rows, precision)
    differ = (rows[:, None] > 0) != (rows[None] > 0)
    share = differ.mean(-1)
    expected = {
        "cosine": 1 - 2 * share,
        "dot": rows.shape[1] * (1 - 2 * share),
        "euclidean": -2 * np.sqrt(differ.sum(-1)),
        "manhattan": -2 * differ.sum(-1),
    }[name]
    np.testing.assert_allclose(model.similarity(bits, bits), expected, atol=1e-5)
    np.testing.assert_allclose(model.similarity_pairwise(bits, bits[::-1]), np.diag(expected[:, ::-1]), atol=1e-5)
    signs = np.where(rows > 0, 1, -1)
    np.testing.assert_allclose(model.similarity(rows, bits), model.similarity(rows, signs), atol=1e-5)
    assert model.similarity(torch.from_numpy(bits), bits).dtype == torch.float32


@pytest.mark.parametrize("precision", ["int8", "uint8"])
def test_levels_are_compared_as_the_numbers_that_they_are(tiny: Any, precision: str) -> None:
    model = BiEncoder(tiny.bi_encoder("bert"), dtype="float32", similarity="dot")
    levels = model.encode(["one text", "another text", "a third"], precision=precision)
    wide = levels.astype(np.int64)  # 32 products of bytes do not fit a byte, in which sentence-transformers adds them
    np.testing.assert_array_equal(model.similarity(levels, levels), wide @ wide.T)
    for name in SIMILARITIES:
        model.similarity_fn_name = name
        np.testing.assert_array_equal(model.similarity(levels, levels), model.similarity(wide, wide))


def test_bytes_of_another_size_are_an_error_that_names_truncate_dim(tiny: Any) -> None:
    model = BiEncoder(tiny.bi_encoder("bert"), dtype="float32")
    levels = model.encode(["one text", "another text"], precision="int8", truncate_dim=16)
    with pytest.raises(ShapeError) as caught:
        model.similarity(levels, levels)
    assert str(caught.value) == (
        "int8 embeddings are 16 wide, expected 32 (precision int8 or uint8) or 4 (binary or ubinary). "
        "If they were truncated, set the model's truncate_dim to what encode was given."
    )
    with pytest.raises(ShapeError, match="int8 embeddings are 64 wide, expected 32"):
        rows_of(np.zeros((1, 64), np.int8), 32)
    model.truncate_dim = 16
    assert model.similarity(levels, levels).shape == (2, 2)


def test_large_logits_do_not_overflow() -> None:
    with np.errstate(all="raise", under="ignore"):
        assert sigmoid(np.array([-1000.0, 0.0, 1000.0], np.float32)).tolist() == [0.0, 0.5, 1.0]
        assert softmax(np.array([[1000.0, 1000.0], [-1000.0, 1000.0]], np.float32)).tolist() == [[0.5, 0.5], [0.0, 1.0]]


def test_scores_near_0_keep_their_order_and_are_what_torch_gives() -> None:
    logits = np.linspace(-40, 40, 1601, dtype=np.float32)
    scores = sigmoid(logits)
    assert (np.diff(scores[logits < 0]) > 0).all()
    np.testing.assert_allclose(scores, torch.sigmoid(torch.from_numpy(logits)).numpy(), rtol=1e-6)


LOGITS = np.array([[-2.0, 0.5], [3.0, -0.1]], np.float32)


@pytest.mark.parametrize("name", [*ACTIVATIONS, "GELU", "Softplus"])
def test_a_name_a_path_and_a_module_give_what_torch_gives(name: str) -> None:
    module = getattr(torch.nn, name)()
    expected = module(torch.from_numpy(LOGITS)).numpy()
    path = activation_path(module)
    forms = [module, path] + ([name, name.lower()] if name in ACTIVATIONS else [])
    for form in forms:
        np.testing.assert_allclose(apply_activation(form, LOGITS), expected, rtol=1e-6, atol=1e-7, err_msg=str(form))


def test_functions_of_arrays_and_of_tensors_are_called() -> None:
    np.testing.assert_array_equal(apply_activation(lambda x: x * 2, LOGITS), LOGITS * 2)
    np.testing.assert_allclose(apply_activation(torch.sigmoid, LOGITS), sigmoid(LOGITS), rtol=1e-6)
    assert apply_activation(lambda x: x.astype(np.float64), LOGITS).dtype == np.float32


def test_names_are_stored_as_paths_of_torch() -> None:
    assert activation_path("sigmoid") == "torch.nn.modules.activation.Sigmoid"
    assert activation_path("Identity") == "torch.nn.modules.linear.Identity"
    assert activation_path(torch.nn.GELU()) == "torch.nn.modules.activation.GELU"
    assert activation_path("torch.nn.modules.activation.Tanh") == "torch.nn.modules.activation.Tanh"


def test_a_function_without_a_path_cannot_be_stored() -> None:
    with pytest.raises(ConfigError, match=r"cannot be stored in a checkpoint: pass a torch\.nn module or its path"):
        activation_path(lambda x: x)


def test_an_unknown_activation_stops_the_model(tiny: Any) -> None:
    from rankwright import CrossEncoder

    with pytest.raises(
        ConfigError, match="activation='sigmiod': expected one of Identity, Sigmoid, Tanh, ReLU, the path"
    ):
        CrossEncoder(tiny.cross_encoder("bert"), activation="sigmiod")


@pytest.mark.parametrize("name", ["nope", "torch.nn.Nope", "torch.nn.nowhere.SiLU", "torch.nn.Linear", "os.system"])
def test_an_unknown_activation_names_those_that_are_known(name: str) -> None:
    with pytest.raises(ConfigError, match=f"activation='{name}': expected one of Identity, Sigmoid"):
        apply_activation(name, np.zeros((1, 1), np.float32))


@pytest.mark.parametrize("activation", [lambda x: torch.sigmoid(x), lambda x: x.sigmoid()], ids=["function", "method"])
def test_a_function_of_the_user_may_take_tensors(activation: Any) -> None:
    logits_BN = np.array([[-2.0], [0.5]], np.float32)
    np.testing.assert_allclose(apply_activation(activation, logits_BN), sigmoid(logits_BN), rtol=1e-6)


def test_a_function_that_takes_neither_arrays_nor_tensors_fails_with_its_own_words() -> None:
    def activation(x: object) -> None:
        raise TypeError("wants something else")

    with pytest.raises(TypeError, match="wants something else"):
        apply_activation(activation, np.zeros((1, 1), np.float32))
