"""The certificate on tiny models: who agrees with whom, and that a fault is found and named."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rankwright.workflow.verify as module
import rankwright.workflow.verify_references as references
from rankwright import BiEncoder, CrossEncoder
from rankwright.encoder import engine_torch
from rankwright.encoder.engine_openvino import OpenVINOEngine
from rankwright.encoder.engine_torch import TorchEngine
from rankwright.encoder.spec import POOLING_MODES
from rankwright.errors import ConfigError, ModelFormatError
from rankwright.evaluation.parity import Certificate
from rankwright.text import TokenBatch
from rankwright.text.tokenizer import Tokenizer
from rankwright.workflow.verify import computations, verify
from rankwright.workflow.verify_texts import built_in_pairs
from tests.texts import CORPUS

PROMPTS = {"query": "Query about science: ", "document": "passage: "}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of the pairs, one pass, and float32 only: which half types there are depends on the machine."""
    few = built_in_pairs()[::6]
    monkeypatch.setattr(module, "built_in_pairs", lambda: few)
    monkeypatch.setattr(module, "MEASURED_S", 0.0)
    monkeypatch.setattr(module, "OTHER_TYPES", ())


def hide(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """Makes packages look as if they were not installed."""

    def find_spec(name: str) -> object:
        return None if name in packages else importlib.util.find_spec(name)

    for place in (module, references):
        monkeypatch.setattr(place, "find_spec", find_spec)


def assert_agrees(found: Certificate, *engines: str) -> None:
    """All engines are there in float32 and agree, and so do the tokens."""
    assert [(engine.engine, engine.dtype) for engine in found.engines] == [(name, "float32") for name in engines]
    assert found.agrees, found
    assert all(engine.kendall_tau is None or engine.kendall_tau > 0.95 for engine in found.engines)


@pytest.mark.parametrize("kind", ["bi-encoder", "cross-encoder"])
def test_a_model_agrees_with_sentence_transformers_on_all_texts(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(module, "built_in_pairs", built_in_pairs)
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(CORPUS), encoding="utf-8")
    folder = tiny.bi_encoder("bert") if kind == "bi-encoder" else tiny.cross_encoder("bert")
    said: list[str] = []
    found = verify(str(folder), source=str(path), say=said.append)
    assert_agrees(found, "openvino", "torch")
    assert (found.kind, found.token_differences, found.num_given) == (kind, 0, len(CORPUS))
    assert found.reference.startswith("sentence-transformers 6.")
    assert found.has_library
    assert found.num_texts > len(CORPUS) and found.num_pairs > 100
    assert all(0 < engine.max_difference < 1e-5 for engine in found.engines if engine.max_difference is not None)
    for engine in found.engines:
        assert engine.speedup == pytest.approx(engine.texts_per_s / found.reference_texts_per_s, rel=0.01, abs=0.01)
    assert said == [
        f"running {found.reference}",
        "running openvino in float32 on cpu",
        "running torch in float32 on cpu",
    ]


def test_several_labels_are_compared_and_not_ranked(tiny: Any) -> None:
    found = verify(str(tiny.cross_encoder("roberta", num_labels=3)))
    assert_agrees(found, "openvino", "torch")
    assert found.num_pairs == 0
    assert found.engines[0].kendall_tau is None


def test_prompts_are_those_of_the_checkpoint(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny.bi_encoder("bert", include_prompt=False, settings={"prompts": PROMPTS})
    assert_agrees(verify(str(folder)), "openvino", "torch")
    monkeypatch.setattr(BiEncoder, "_prompt_name", lambda self, task: None)
    assert not verify(str(folder)).agrees


@pytest.mark.parametrize("family", ["bert", "mpnet", "modernbert"])
def test_a_bi_encoder_agrees_with_transformers(tiny: Any, monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    hide(monkeypatch, "sentence_transformers")
    found = verify(str(tiny.bi_encoder(family)))
    assert_agrees(found, "openvino", "torch")
    assert found.reference.startswith("transformers 5.")


@pytest.mark.parametrize("family", ["bert", "xlm-roberta"])
def test_a_cross_encoder_agrees_with_transformers(tiny: Any, monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    hide(monkeypatch, "sentence_transformers")
    found = verify(str(tiny.cross_encoder(family)))
    assert_agrees(found, "openvino", "torch")
    assert found.reference.startswith("transformers 5.")


@pytest.mark.parametrize(
    "options",
    [
        {"pooling": POOLING_MODES, "normalize": False},
        {"pooling": POOLING_MODES, "include_prompt": False, "settings": {"prompts": PROMPTS}},
        {"pooling": ("cls",), "dense": 24},
    ],
)
def test_modules_after_plain_transformers_are_those_of_the_checkpoint(
    tiny: Any, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    hide(monkeypatch, "sentence_transformers")
    assert_agrees(verify(str(tiny.bi_encoder("roberta", **options))), "openvino", "torch")


def test_a_module_that_transformers_has_not_is_refused(tiny: Any) -> None:
    ours = CrossEncoder(tiny.cross_encoder("bert"), dtype="float32")
    spec = BiEncoder(tiny.bi_encoder("bert")).spec
    ours.checkpoint = ours.checkpoint.with_spec(spec)
    with pytest.raises(ModelFormatError, match="no Pooling module; install sentence-transformers"):
        references.PlainTransformers(ours)


@pytest.mark.parametrize("kind", ["bi-encoder", "cross-encoder"])
def test_without_a_library_the_engines_stand_beside_our_float32(
    tiny: Any, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    hide(monkeypatch, "sentence_transformers", "transformers")
    folder = tiny.bi_encoder("mpnet") if kind == "bi-encoder" else tiny.cross_encoder("mpnet")
    found = verify(str(folder))
    assert_agrees(found, "openvino", "torch")
    assert (found.reference, found.has_library) == ("rankwright (openvino)", False)
    assert found.token_differences is None
    assert found.engines[0].max_difference == 0


def test_without_torch_only_openvino_is_verified(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "torch")
    found = verify(str(tiny.bi_encoder("bert")))
    assert_agrees(found, "openvino")
    assert not found.has_library


def test_an_old_library_is_no_reference(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "version", lambda package: "4.57.1")
    assert not verify(str(tiny.bi_encoder("bert"))).has_library


@pytest.mark.parametrize("kind", ["bi-encoder", "cross-encoder"])
@pytest.mark.parametrize("broken", [TorchEngine, OpenVINOEngine])
def test_a_fault_of_an_engine_is_found_and_named(
    tiny: Any, monkeypatch: pytest.MonkeyPatch, kind: str, broken: type
) -> None:
    run = broken.run

    def faulty(self: Any, batch: TokenBatch, *, is_alone: bool = True) -> np.ndarray:
        return run(self, batch, is_alone=is_alone) + np.float32(1e-3)

    monkeypatch.setattr(broken, "run", faulty)
    found = verify(str(tiny.bi_encoder("bert") if kind == "bi-encoder" else tiny.cross_encoder("bert")))
    assert not found.agrees
    assert [engine.engine for engine in found.engines if not engine.agrees] == [broken.name]


def test_a_wrong_weight_is_found(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from rankwright.models import loading

    read = loading.read_weights

    def altered(*args: Any) -> dict[str, np.ndarray]:
        weights = dict(read(*args))
        name = next(name for name in weights if name.endswith("layer.1.output.LayerNorm.bias"))
        weights[name] = weights[name] + np.float32(0.01)
        return weights

    monkeypatch.setattr(loading, "read_weights", altered)
    found = verify(str(tiny.bi_encoder("bert")))
    assert [engine.agrees for engine in found.engines] == [False, False]


def test_what_is_not_finite_disagrees(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TorchEngine, "run", lambda self, batch, **how: np.full((len(batch), 32), np.nan, np.float32))
    good, lost = verify(str(tiny.bi_encoder("bert"))).engines
    assert good.agrees and not lost.agrees
    assert (lost.max_difference, lost.mean_difference, lost.kendall_tau) == (None, None, None)


def test_a_wrong_activation_shows_in_the_scores(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    init = CrossEncoder.__init__

    def without_activation(self: CrossEncoder, *args: Any, **options: Any) -> None:
        init(self, *args, **options)
        self.activation = "identity"

    monkeypatch.setattr(CrossEncoder, "__init__", without_activation)
    assert not verify(str(tiny.cross_encoder("bert"))).agrees


def test_other_token_ids_are_counted_and_shown(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Tokenizer.batch

    def confused(self: Tokenizer, texts: Any, **options: Any) -> Any:
        return batch(self, [text.replace("[SEP]", "sep") for text in texts], **options)

    monkeypatch.setattr(Tokenizer, "batch", confused)
    monkeypatch.setattr(
        module, "built_in_pairs", lambda: [("[SEP]", "one"), ("a query", "two [SEP]"), ("a query", "3")]
    )
    found = verify(str(tiny.bi_encoder("bert")))
    assert (found.token_differences, found.differing_texts) == (2, ("'[SEP]'", "'two [SEP]'"))
    assert not found.agrees


def test_half_types_are_within_their_tolerance(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OTHER_TYPES", ("bfloat16", "float16"))
    monkeypatch.setattr(engine_torch, "choose_dtype", lambda dtype, device: dtype)  # emulated, which is slow and exact
    for folder in (tiny.bi_encoder("roberta"), tiny.cross_encoder("roberta")):
        found = [engine for engine in verify(str(folder)).engines if engine.engine == "torch"]
        assert [engine.dtype for engine in found] == ["float32", "bfloat16", "float16"]
        sizes = [engine.max_difference or 0.0 for engine in found]
        assert sizes[0] < 1e-5 < sizes[2] < sizes[1]
        assert all(engine.agrees for engine in found)


def test_types_that_the_machine_emulates_are_left_out(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OTHER_TYPES", ("bfloat16", "float16"))
    native = {False: ["float32"], True: ["float32", "bfloat16"]}
    for has_bfloat16, expected in native.items():
        monkeypatch.setattr(engine_torch, "cpu_has_bfloat16", lambda has=has_bfloat16: has)
        models = list(computations(BiEncoder(tiny.bi_encoder("bert"))))
        assert [m.dtype for m in models if m.checkpoint.engine.name == "torch" and m.device == "cpu"] == expected
        assert models[0].checkpoint.engine.name == "openvino"


def test_a_cross_encoder_without_a_head_has_nothing_to_compare(tiny: Any) -> None:
    with (
        pytest.warns(UserWarning, match="holds no classification head"),
        pytest.raises(ConfigError, match=r"nothing to compare\. Give --kind bi-encoder"),
    ):
        verify(str(tiny.bi_encoder("bert")), kind="cross-encoder")


def test_a_library_that_cannot_load_the_model_is_named(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import sentence_transformers

    def fail(*args: object, **options: object) -> None:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(sentence_transformers, "SentenceTransformer", fail)
    with pytest.raises(
        ModelFormatError, match=r"sentence-transformers 6\S+ cannot load this checkpoint.*no such thing"
    ):
        verify(str(tiny.bi_encoder("bert")))
