"""Which engine a model gets, and that engines, batches and shortcuts change no number."""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import rankwright.encoder.attention_blocks as blocks_module
import rankwright.encoder.engine as engine_module
import rankwright.encoder.engine_torch as torch_module
import rankwright.encoder.inputs_torch as inputs_module
from rankwright import BiEncoder, CrossEncoder
from rankwright.encoder import engine_openvino
from rankwright.encoder.engine import make_engine
from rankwright.encoder.engine_openvino import MAX_REQUESTS
from rankwright.encoder.ops_openvino import OPENVINO_ACTIVATIONS
from rankwright.encoder.packing import group_by_length
from rankwright.encoder.padding import LENGTH_MULTIPLE, padded_inputs
from rankwright.encoder.spec import Dense, ModelSpec, Pooling
from rankwright.errors import ConfigError, MissingExtraError, ModelFormatError
from rankwright.text.tokens import pack
from tests.texts import CORPUS, QUERY, random_texts
from tests.tiny import FAMILIES, HIDDEN
from tests.tolerances import assert_agrees

ENGINES = ("openvino", "torch")
TEXTS = [*CORPUS[:8], "a", "", *random_texts(20, seed=5)]
each_engine = pytest.mark.parametrize("engine", ENGINES)
each_family = pytest.mark.parametrize("family", FAMILIES)


def run(spec: ModelSpec, model: BiEncoder | CrossEncoder, texts: Any, engine: str) -> np.ndarray:
    """All texts as one batch, in float32."""
    made = make_engine(spec, model.checkpoint.parameters, engine=engine, device="cpu", dtype="float32")
    return made.run(model.tokenize(texts))


@pytest.mark.parametrize("device", ["cuda", "cuda:3", "nonsense", "meta"])
def test_a_device_that_is_not_there_names_those_that_are(
    tiny: Any, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: None)
    model = BiEncoder(tiny.bi_encoder("bert")).to(device)
    with pytest.raises(ConfigError, match=f"device='{device}': not found on this machine by torch. It has cpu\\."):
        model.encode("a text")


def test_the_devices_of_an_accelerator_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    assert torch_module.find_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ConfigError, match=r"device='cuda:2': .* It has cpu, cuda, cuda:1\."):
        torch_module.find_device("cuda:2")


def test_the_engine_is_said_once_in_the_log(tiny: Any, caplog: pytest.LogCaptureFixture) -> None:
    model = BiEncoder(tiny.bi_encoder("bert"), engine="torch", device="cpu", dtype="float32")
    with caplog.at_level("INFO", logger="rankwright"):
        model.encode("a text")
        model.encode("another")
    assert [m for m in caplog.messages if "engine" in m] == [f"{model.folder} runs on cpu: engine torch, float32"]


@each_engine
@each_family
def test_a_text_gets_the_same_embedding_in_any_company(tiny: Any, family: str, engine: str) -> None:
    model = BiEncoder(tiny.bi_encoder(family), engine=engine, dtype="float32")
    together = run(model.spec, model, TEXTS, engine)
    for i, text in enumerate(TEXTS):
        alone = model.checkpoint.engine.run(model.tokenize([text]))[0]
        assert_agrees(alone, together[i], "tiny embedding", what=f"{family} {engine}: {text[:40]!r}")


@each_family
@pytest.mark.parametrize("ratio", [1.0, 1e9], ids=["no padding", "all padded to the longest"])
def test_packed_gives_the_same_as_padded(tiny: Any, monkeypatch: pytest.MonkeyPatch, family: str, ratio: float) -> None:
    model = BiEncoder(tiny.bi_encoder(family))
    packed = run(model.spec, model, TEXTS, "torch")
    monkeypatch.setattr(inputs_module, "group_by_length", partial(group_by_length, ratio=ratio, max_scores=1 << 40))
    assert_agrees(run(model.spec, model, TEXTS, "torch"), packed, "tiny embedding", what=family)


@each_family
def test_products_of_training_give_the_same_as_the_fused_attention(tiny: Any, family: str) -> None:
    model = BiEncoder(tiny.bi_encoder(family))
    module, batch = model.trainable().eval(), model.tokenize(TEXTS)
    with torch.inference_mode():
        fused = module(batch)
    explicit = module(batch)
    assert explicit.requires_grad
    assert_agrees(explicit.detach(), fused, "tiny embedding", what=family)


@each_engine
@each_family
def test_the_first_token_alone_gives_the_same_as_all_tokens(tiny: Any, family: str, engine: str) -> None:
    model = BiEncoder(tiny.bi_encoder(family, pooling=("cls",), normalize=False))
    both = replace(model.spec, modules=(Pooling(("cls", "mean")),))  # reads every token, so that none is left out
    shortcut, whole = run(model.spec, model, TEXTS, engine), run(both, model, TEXTS, engine)
    assert whole.shape[1] == 2 * HIDDEN
    assert_agrees(shortcut, whole[:, :HIDDEN], "embedding", what=f"{family} {engine}")


@pytest.mark.parametrize("kind", ["cls pooling", "head"])
def test_the_last_layer_works_for_the_first_token_only_where_no_other_is_read(tiny: Any, kind: str) -> None:
    model = CrossEncoder(tiny.cross_encoder("bert")) if kind == "head" else None
    model = model or BiEncoder(tiny.bi_encoder("bert", pooling=("cls",)))
    batch = model.tokenize([(QUERY, text) for text in CORPUS] if kind == "head" else list(CORPUS))
    module, rows = model.trainable().eval(), {}
    for i in range(3):
        path = f"{'bert.' if kind == 'head' else ''}encoder.layer.{i}.intermediate.dense"
        module.get_submodule(path).register_forward_hook(lambda m, x, y, i=i: rows.update({i: len(y)}))
    module(batch)
    assert rows == {0: batch.num_tokens, 1: batch.num_tokens, 2: len(batch)}


def test_a_mean_over_all_tokens_needs_all_rows_of_the_last_layer(tiny: Any) -> None:
    model = BiEncoder(tiny.bi_encoder("bert", pooling=("cls", "mean")))
    batch, rows = model.tokenize(list(CORPUS)), []
    module = model.trainable().eval()
    module.get_submodule("encoder.layer.2.intermediate.dense").register_forward_hook(
        lambda m, x, y: rows.append(len(y))
    )
    module(batch)
    assert rows == [batch.num_tokens]


@each_family
def test_attention_dropout_acts_whether_all_or_first_tokens_are_computed(tiny: Any, family: str) -> None:
    config = {"attention_dropout" if family in ("distilbert", "modernbert") else "attention_probs_dropout_prob": 0.5}
    config |= {} if family == "modernbert" else {"dropout" if family == "distilbert" else "hidden_dropout_prob": 0.0}
    for pooling in ("mean", "cls"):
        model = CrossEncoder(tiny.cross_encoder(family, config={**config, "classifier_dropout": 0.0}))
        model = BiEncoder(tiny.bi_encoder(family, pooling=(pooling,), config=config)) if pooling == "mean" else model
        batch = model.tokenize(list(CORPUS[:4]) if pooling == "mean" else [(QUERY, text) for text in CORPUS[:4]])
        module = model.trainable()
        rates: list[float] = []
        original = blocks_module.draw_kept

        def noted(shape: Any, rate: float, generator: Any, rates: Any = rates, original: Any = original) -> Any:
            rates.append(rate)
            return original(shape, rate, generator)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(blocks_module, "draw_kept", noted)
            module.train()(batch, dropout_seed=3)
            lengths = len(set(batch.lengths_B.tolist()))
            assert rates == [0.5] * 3 * lengths, "each layer and each length"
            module.eval()(batch, dropout_seed=3)
            assert len(rates) == 3 * lengths


def test_padding_is_up_to_the_next_multiple_and_masked() -> None:
    batch = pack([[5] * 9, [6, 7]], [[1] * 9, [0, 1]], prompt_length=2)
    arrays = padded_inputs(batch, ["ids", "mask", "positions", "types", "pooled"])
    assert {array.shape for array in arrays.values()} == {(2, 2 * LENGTH_MULTIPLE)}
    assert arrays["mask"].sum(1).tolist() == [9, 2]
    assert arrays["ids"][1].tolist() == [6, 7] + [0] * 14
    assert arrays["positions"][0].tolist() == [*range(9), *[0] * 7]
    assert arrays["types"][1].tolist() == [0, 1] + [0] * 14
    assert arrays["pooled"][0].tolist() == [0, 0] + [1] * 7 + [0] * 7
    assert arrays["pooled"][1].sum() == 0


def test_a_table_gets_its_ids_packed_with_one_more_at_the_end() -> None:
    arrays = padded_inputs(pack([[5, 6, 7], [], [8]], None), ["packed", "starts"])
    assert arrays["packed"].tolist() == [5, 6, 7, 8, 0]
    assert arrays["starts"].tolist() == [0, 3, 3, 4]


def test_types_of_a_model_that_takes_none_are_zero() -> None:
    assert padded_inputs(pack([[5, 6]], None), ["types"])["types"].tolist() == [[0] * LENGTH_MULTIPLE]


def test_auto_is_openvino_on_a_machine_without_a_gpu(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "has_cuda", lambda: False)
    model = BiEncoder(tiny.bi_encoder("bert"))
    assert make_engine(model.spec, model.checkpoint.parameters).name == "openvino"
    assert make_engine(model.spec, model.checkpoint.parameters, engine="torch").name == "torch"
    softmax = Dense("2_Dense", HIDDEN, HIDDEN, False, "torch.nn.modules.activation.Softmax")
    spec = replace(model.spec, modules=(*model.spec.modules, softmax))
    weights = {**model.checkpoint.parameters, "2_Dense.linear.weight": np.eye(HIDDEN, dtype=np.float32)}
    assert make_engine(spec, weights, device="cpu").name == "torch"  # OpenVINO has no node for it here


@pytest.mark.parametrize(
    ("platform", "paths", "asked"),
    [
        ("linux", [], False),
        ("linux", ["/dev/dxg"], True),
        ("linux", ["/dev/kfd"], True),
        ("linux", ["/dev/nvidia0"], True),
        ("win32", [], True),
    ],
)
def test_torch_is_asked_for_a_gpu_where_there_may_be_one(
    monkeypatch: pytest.MonkeyPatch, platform: str, paths: list[str], asked: bool
) -> None:
    monkeypatch.setattr(engine_module.sys, "platform", platform)
    monkeypatch.setattr(engine_module.os.path, "exists", lambda path: path in paths)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert engine_module.has_cuda() is asked


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        ({}, "torch cuda"),
        ({"engine": "torch"}, "torch cuda"),
        ({"device": "cuda:1"}, "torch cuda:1"),
        ({"engine": "openvino"}, "openvino"),
        ({"device": "cpu"}, "openvino"),
        ({"device": "cpu", "engine": "torch"}, "torch cpu"),
    ],
)
def test_a_gpu_is_taken_unless_the_user_says_otherwise(
    tiny: Any, monkeypatch: pytest.MonkeyPatch, wishes: dict[str, str], expected: str
) -> None:
    def torch_engine(spec: ModelSpec, parameters: Any, *, dtype: str, device: str) -> str:
        return f"torch {device}"

    def openvino_engine(spec: ModelSpec, parameters: Any, *, dtype: str, levels: Any) -> str:
        return "openvino"

    monkeypatch.setattr(engine_module, "has_cuda", lambda: True)
    monkeypatch.setattr(torch_module, "TorchEngine", torch_engine)
    monkeypatch.setattr(engine_openvino, "OpenVINOEngine", openvino_engine)
    model = BiEncoder(tiny.bi_encoder("bert"))
    assert str(make_engine(model.spec, {}, **wishes)) == expected  # type: ignore[arg-type]


def test_an_unknown_engine_is_an_error(tiny: Any) -> None:
    model = BiEncoder(tiny.bi_encoder("bert"))
    with pytest.raises(ConfigError) as caught:
        make_engine(model.spec, {}, engine="onnx")
    assert str(caught.value) == "engine='onnx': expected one of auto, openvino, torch."


def test_openvino_on_a_gpu_is_an_error(tiny: Any) -> None:
    model = BiEncoder(tiny.bi_encoder("bert"))
    with pytest.raises(ConfigError) as caught:
        make_engine(model.spec, {}, engine="openvino", device="cuda")
    assert str(caught.value) == "engine='openvino' runs on the CPU, not on device='cuda'. Use engine='torch'."


def test_torch_that_is_not_installed_is_named_with_the_pip_line(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = BiEncoder(tiny.bi_encoder("bert"))
    monkeypatch.setattr(engine_module, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"engine='torch' \(device 'cuda'\) needs .*rankwright\[torch\]"):
        make_engine(model.spec, {}, engine="torch", device="cuda")


def test_the_type_is_the_fastest_native_one_or_what_was_asked() -> None:
    both, none = ["FP32", "BF16"], ["FP32", "INT8"]
    assert engine_openvino.choose_dtype("auto", both) == "bfloat16"
    assert engine_openvino.choose_dtype("auto", none) == "float32"
    assert engine_openvino.choose_dtype("float32", both) == "float32"
    assert engine_openvino.choose_dtype("bfloat16", both) == "bfloat16"
    assert engine_openvino.choose_dtype("int8", none) == "int8"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "int8"])
def test_a_type_that_the_cpu_would_emulate_is_an_error(dtype: str) -> None:
    with pytest.raises(ConfigError) as caught:
        engine_openvino.choose_dtype(dtype, ["WINOGRAD", "FP32"])
    assert str(caught.value) == (
        f"dtype={dtype!r} is not native to this CPU (it has FP32, WINOGRAD). "
        "Use dtype='auto', which takes the fastest type that is."
    )


@pytest.mark.parametrize("has_bfloat16", [True, False])
def test_torch_takes_the_same_types(monkeypatch: pytest.MonkeyPatch, has_bfloat16: bool) -> None:
    monkeypatch.setattr(torch_module, "cpu_has_bfloat16", lambda: has_bfloat16)
    cpu = torch.device("cpu")
    assert torch_module.choose_dtype("auto", cpu) == ("bfloat16" if has_bfloat16 else "float32")
    assert torch_module.choose_dtype("float32", cpu) == "float32"
    for dtype in ("float16", *([] if has_bfloat16 else ["bfloat16"])):
        with pytest.raises(ConfigError) as caught:
            torch_module.choose_dtype(dtype, cpu)
        assert str(caught.value) == f"dtype={dtype!r} is not native to this cpu. Use dtype='auto' or 'float32'."


@pytest.mark.parametrize(("has_bfloat16", "auto"), [(True, "bfloat16"), (False, "float16")])
def test_a_gpu_computes_in_half_precision(monkeypatch: pytest.MonkeyPatch, has_bfloat16: bool, auto: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bfloat16)
    cuda = torch.device("cuda")
    assert torch_module.choose_dtype("auto", cuda) == auto
    assert torch_module.choose_dtype("float32", cuda) == "float32"


@each_engine
def test_bfloat16_is_near_float32_but_not_it(tiny: Any, engine: str) -> None:
    if not torch_module.cpu_has_bfloat16():
        pytest.skip("this CPU has no bfloat16")
    folder = tiny.bi_encoder("bert")
    half, whole = (BiEncoder(folder, engine=engine, dtype=dtype) for dtype in ("bfloat16", "float32"))
    assert (half.dtype, whole.dtype) == ("bfloat16", "float32")
    a, b = half.encode(TEXTS), whole.encode(TEXTS)
    assert a.dtype == b.dtype == np.float32
    assert 1e-4 < np.abs(a - b).max() < 0.1


def test_every_activation_with_a_node_computes_what_torch_does(tiny: Any) -> None:
    model = BiEncoder(tiny.bi_encoder("bert", normalize=False))
    draws, parameters = np.random.default_rng(0), dict(model.checkpoint.parameters)
    chain = [Dense(f"{i}_Dense", HIDDEN, HIDDEN, False, kind) for i, kind in enumerate(OPENVINO_ACTIVATIONS)]
    for dense in chain:
        weight = draws.standard_normal((HIDDEN, HIDDEN)) * 2 / HIDDEN**0.5
        parameters[f"{dense.name}.linear.weight"] = weight.astype(np.float32)
    spec, batch = replace(model.spec, modules=(Pooling(), *chain)), model.tokenize(TEXTS)
    openvino, torch_ = (make_engine(spec, parameters, engine=engine, dtype="float32").run(batch) for engine in ENGINES)
    assert np.ptp(torch_, axis=0).min() > 1e-2, "no text shows"
    assert_agrees(openvino, torch_, "embedding")


def test_an_activation_without_a_node_names_the_other_engine(tiny: Any) -> None:
    model = BiEncoder(tiny.bi_encoder("bert"))
    spec = replace(model.spec, architecture=replace(model.spec.architecture, activation="mish"))
    with pytest.raises(ModelFormatError, match=r"activation 'mish' has no OpenVINO node here\. Known: gelu, .* torch"):
        make_engine(spec, model.checkpoint.parameters, engine="openvino")


def test_an_activation_from_elsewhere_is_never_imported(tiny: Any) -> None:
    model = BiEncoder(tiny.bi_encoder("bert"))
    for path in ("os.system", "torch.nn.functional.relu", "torch.nn.Nothing"):
        spec = replace(model.spec, architecture=replace(model.spec.architecture, activation=path))
        with pytest.raises(ModelFormatError, match=f"unknown activation '{path}': expected one of gelu, "):
            run(spec, model, ["a"], "torch")


def test_requests_are_given_back_after_an_error(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = BiEncoder(tiny.bi_encoder("bert"), engine="openvino")
    engine: Any = model.checkpoint.engine
    batch = model.tokenize(["a text"])
    good = padded_inputs(batch, engine.inputs)
    bad = good | {"mask": np.ones((1, 3 * LENGTH_MULTIPLE), np.float32)}
    with monkeypatch.context() as patch:
        patch.setattr(engine_openvino, "padded_inputs", lambda batch, names: bad)
        for _ in range(MAX_REQUESTS + 2):
            with pytest.raises(RuntimeError):
                engine.run(batch)
    assert engine.alone.free.qsize() == MAX_REQUESTS
    assert engine.run(batch).shape == (1, HIDDEN)


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ("openvino", "Check 'ok' failed at x.cpp:3: Failed to allocate 198180864 bytes of memory"),
        ("openvino", "std::bad_alloc"),
        ("torch", "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried 8 bytes"),
    ],
)
def test_an_engine_that_lacks_memory_says_so_in_pythons_words(
    tiny: Any, monkeypatch: pytest.MonkeyPatch, engine: str, words: str
) -> None:
    """So that the batch is halved: on a CPU neither library has an error of its own for it."""
    model = BiEncoder(tiny.bi_encoder("bert"), engine=engine, dtype="float32", device="cpu")
    made: Any = model.checkpoint.engine
    batch = model.tokenize(["a text"])

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(f"Exception from core.cpp:117:\nException from plugin.cpp:54:\n{words}\n\n")

    with monkeypatch.context() as patch:
        if engine == "openvino":
            requests = SimpleNamespace(create_infer_request=lambda: SimpleNamespace(infer=fail))
            patch.setattr(made.alone, "_compile", lambda: requests)
        else:
            patch.setattr(made.module, "forward", fail)
        with pytest.raises(MemoryError, match="^" + re.escape(words) + "$"):
            made.run(batch)
    assert made.run(batch).shape == (1, HIDDEN), "what failed is not used again"


def test_many_texts_share_the_cores_and_one_has_them_all(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = random_texts(60, seed=3, most_words=40)
    for cores, streams in ((1, 1), (2, 2), (16, 2)):
        monkeypatch.setattr(engine_openvino, "num_cores", lambda cores=cores: cores)
        model = BiEncoder(tiny.bi_encoder("bert"), engine="openvino", dtype="float32")
        engine: Any = model.checkpoint.engine
        alone = np.concatenate([model.encode([text]) for text in texts])
        assert engine.alone.compiled.get_property("NUM_STREAMS") == 1
        assert engine.alone is engine.shared or engine.shared.compiled is None, "what is not used takes no memory"
        np.testing.assert_allclose(model.encode(texts), alone, rtol=0, atol=1e-6)
        assert engine.shared.compiled.get_property("NUM_STREAMS") == engine.pace.batches == streams
        assert engine.pace.batch_tokens == {1: 1024, 2: 1024, 16: 4096}[cores]


def test_a_graph_is_compiled_once_for_all_threads(tiny: Any) -> None:
    model = BiEncoder(tiny.bi_encoder("bert"), engine="openvino")
    engine: Any = model.checkpoint.engine
    with ThreadPoolExecutor(4) as pool:
        compiled = set(pool.map(lambda _: id(engine.shared._compile()), range(8)))
    assert compiled == {id(engine.shared.compiled)}


def test_the_trainable_copy_leaves_the_weights_alone(tiny: Any) -> None:
    model = BiEncoder(tiny.bi_encoder("bert"))
    before = {name: array.copy() for name, array in model.checkpoint.parameters.items()}
    module = model.trainable()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1.0)
    for name, array in model.checkpoint.parameters.items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)
    assert set(module.state_dict()) == set(before)
