"""Linear layers in int8: the levels, their errors, and that the graph multiplies what the numpy twin multiplies."""

from typing import Any

import numpy as np
import openvino
import pytest
from openvino import opset15 as op

from rankwright import BiEncoder, CrossEncoder
from rankwright.encoder.int8 import LEVELS, STRENGTHS, fingerprint, fit, layers_of, output, quantised_rows
from rankwright.encoder.ops_int8 import InputOps, Int8Ops, calibrate, multiplies_int8
from rankwright.encoder.ops_openvino import build_graph
from rankwright.errors import ValueRangeError
from tests.texts import CORPUS, random_texts
from tests.tiny import FAMILIES

TEXTS = [*CORPUS[:8], *random_texts(40, seed=3)]


def layer(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs with one feature a hundred times the others and one that is never negative, and a weight."""
    random = np.random.default_rng(seed)
    x_NI = random.normal(size=(400, 24)).astype(np.float32)
    x_NI[:, 3] *= 100
    x_NI[:, 5] = np.abs(x_NI[:, 5]) + 4
    return x_NI, random.normal(size=(16, 24)).astype(np.float32)


def relative_error(found_NO: np.ndarray, exact_NO: np.ndarray) -> float:
    return float(np.linalg.norm(found_NO - exact_NO) / np.linalg.norm(exact_NO - exact_NO.mean(0)))


def test_rows_are_rounded_to_a_127th_of_their_largest_value() -> None:
    weight_OI = np.array([[1.0, -0.3, 0.251], [0.0, 0.0, 0.0], [0.03, 0.01, -0.04]], np.float32)
    rows_OI, scale_O1 = quantised_rows(weight_OI, np.ones(3, np.float32))
    assert rows_OI.tolist() == [[127, -38, 32], [0, 0, 0], [95, 32, -127]]
    assert np.abs(rows_OI * scale_O1 - weight_OI).max() <= scale_O1.max() / 2


def test_a_large_feature_does_not_take_the_levels_of_the_others() -> None:
    x_NI, weight_OI = layer(0)
    weight_OI[:, 3] /= 100
    exact_NO = x_NI @ weight_OI.T
    fitted = fit(x_NI, x_NI.min(0), x_NI.max(0), [weight_OI])
    ours = output(x_NI, weight_OI, fitted.low_I, fitted.step_I) + fitted.shifts[0]
    one_step = np.full(24, (x_NI.max() - x_NI.min()) / LEVELS, np.float32)
    plain = output(x_NI, weight_OI, np.full(24, x_NI.min(), np.float32), one_step)
    assert relative_error(ours, exact_NO) < 0.01
    assert relative_error(plain, exact_NO) > 10 * relative_error(ours, exact_NO)


def test_outputs_keep_their_mean_and_all_inputs_seen_have_a_level() -> None:
    x_NI, weight_OI = layer(1)
    fitted = fit(x_NI, x_NI.min(0), x_NI.max(0), [weight_OI, weight_OI[:5] * 3])
    for weight, shift_O in zip([weight_OI, weight_OI[:5] * 3], fitted.shifts, strict=True):
        found_NO = output(x_NI, weight, fitted.low_I, fitted.step_I) + shift_O
        assert found_NO.mean(0) == pytest.approx((x_NI @ weight.T).mean(0), abs=1e-3)
    levels_NI = (x_NI - fitted.low_I) / fitted.step_I
    assert levels_NI.min() > -0.51
    assert levels_NI.max() < LEVELS + 0.51


def test_the_best_strength_is_the_one_of_least_error(monkeypatch: pytest.MonkeyPatch) -> None:
    x_NI, weight_OI = layer(2)
    exact_NO = x_NI @ weight_OI.T

    def error(strengths: tuple[float, ...]) -> float:
        monkeypatch.setattr("rankwright.encoder.int8.STRENGTHS", strengths)
        fitted = fit(x_NI, x_NI.min(0), x_NI.max(0), [weight_OI])
        return relative_error(output(x_NI, weight_OI, fitted.low_I, fitted.step_I) + fitted.shifts[0], exact_NO)

    each = [error((strength,)) for strength in STRENGTHS]
    assert error(STRENGTHS) == pytest.approx(min(each))
    assert max(each) > 1.1 * min(each)


def test_inputs_that_are_not_finite_are_refused() -> None:
    x_NI, weight_OI = layer(0)
    x_NI[0, 0] = np.inf
    with np.errstate(all="ignore"), pytest.raises(ValueRangeError, match="not finite"):
        fit(x_NI, x_NI.min(0), x_NI.max(0), [weight_OI])


@pytest.mark.parametrize("family", FAMILIES)
def test_calibration_sees_what_each_layer_of_token_states_reads_and_no_padding(tiny: Any, family: str) -> None:
    model = BiEncoder(tiny.bi_encoder(family), dtype="float32", engine="openvino")
    spec, weights = model.checkpoint.spec, model.checkpoint.parameters
    ops = InputOps(spec, weights)
    build_graph(ops)
    together = calibrate(spec, weights, [model.tokenize(TEXTS)])
    assert layers_of(together) == sorted(path for _, paths in ops.read.values() for path in paths)
    assert len(layers_of(together)) >= 4 * spec.architecture.num_layers
    apart = calibrate(spec, weights, [model.tokenize([text]) for text in TEXTS])
    for path in layers_of(together):  # in a batch most positions are padding
        width = LEVELS * together[f"{path}.step"]
        middle, other = (found[f"{path}.low"] + LEVELS / 2 * found[f"{path}.step"] for found in (together, apart))
        assert np.abs(middle - other).max() < 1e-3 * width.max(), path


@pytest.mark.parametrize("family", FAMILIES)
def test_embeddings_in_int8_are_near_those_in_float32(tiny: Any, family: str) -> None:
    exact = BiEncoder(tiny.bi_encoder(family), dtype="float32", engine="openvino")
    quantized = exact.quantize(TEXTS[:24])
    assert quantized.dtype == "int8"
    a_BE, b_BE = exact.encode(TEXTS[24:]), quantized.encode(TEXTS[24:])
    cosines_B = (a_BE * b_BE).sum(1) / np.linalg.norm(a_BE, axis=1) / np.linalg.norm(b_BE, axis=1)
    assert cosines_B.min() > 0.97
    assert np.abs(a_BE - b_BE).max() > 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_where_the_cpu_has_int8_every_layer_with_levels_runs_in_it(tiny: Any, family: str) -> None:
    model = BiEncoder(tiny.bi_encoder(family), dtype="float32", engine="openvino")
    levels = calibrate(model.checkpoint.spec, model.checkpoint.parameters, [model.tokenize(TEXTS)])
    ops = Int8Ops(model.checkpoint.spec, model.checkpoint.parameters, levels)
    compiled = openvino.Core().compile_model(build_graph(ops), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    layers = [info for info in found if info["layerType"].astype(str) == "FullyConnected"]
    assert sum(info["runtimePrecision"].astype(str) == "u8" for info in layers) == len(layers_of(levels))


@pytest.mark.parametrize("emulates", [True, False], ids=["emulated", "int8"])
def test_the_graph_multiplies_what_the_twin_multiplies(tiny: Any, emulates: bool) -> None:
    if not emulates and not multiplies_int8():
        pytest.skip("this CPU adds up products of bytes in 16 bits")
    model = BiEncoder(tiny.bi_encoder("bert"), dtype="float32", engine="openvino")
    spec, weights = model.checkpoint.spec, model.checkpoint.parameters
    levels = calibrate(spec, weights, [model.tokenize(TEXTS)])
    random = np.random.default_rng(0)
    for path in layers_of(levels):
        low_I, step_I, shift_O = (levels[f"{path}.{part}"] for part in ("low", "step", "shift"))
        weight_OI = weights[f"{path}.weight"]
        x_BLI = (low_I + step_I * random.uniform(-20, LEVELS + 20, (4, 8, len(low_I)))).astype(
            np.float32
        )  # some beyond
        ops = Int8Ops(spec, weights, levels, emulates=emulates)
        parameter = op.parameter([-1, -1, len(low_I)], np.float32)
        graph = openvino.Model([ops.linear(path, parameter, len(shift_O))], [parameter], "one layer")
        found_BLO = openvino.Core().compile_model(graph, "CPU")(x_BLI)[0]
        expected_NO = output(x_BLI.reshape(32, -1), weight_OI, low_I, step_I) + shift_O + weights[f"{path}.bias"]
        scale = np.abs(expected_NO).max()
        assert np.abs(found_BLO.reshape(32, -1) - expected_NO).max() < 2e-2 * scale, (
            path
        )  # a level on an edge may differ
        assert np.abs(found_BLO.reshape(32, -1) - expected_NO).mean() < 1e-3 * scale, path


def test_a_cross_encoder_keeps_its_head_in_float32(tiny: Any) -> None:
    exact = CrossEncoder(tiny.cross_encoder("bert"), dtype="float32", engine="openvino")
    pairs = [(TEXTS[0], text) for text in TEXTS]
    quantized = exact.quantize(pairs)
    levels = quantized.checkpoint.levels
    assert levels is not None
    assert not any("classifier" in path or "pooler" in path for path in layers_of(levels))
    a_B, b_B = exact.predict(pairs), quantized.predict(pairs)
    assert np.corrcoef(a_B, b_B)[0, 1] > 0.98


def test_a_fingerprint_is_of_the_weights_that_levels_are_for() -> None:
    weights = {"a.weight": np.ones((2, 3), np.float32), "b.weight": np.ones((2, 3), np.float32)}
    levels = {"a.step": np.ones(3, np.float32)}
    found = fingerprint(levels, weights)
    assert fingerprint(levels, weights | {"b.weight": np.zeros((2, 3), np.float32)}) == found
    assert fingerprint(levels, weights | {"a.weight": np.zeros((2, 3), np.float32)}) != found
    assert fingerprint({"c.step": levels["a.step"]}, weights) == ""
