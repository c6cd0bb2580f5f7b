"""Models that transformers runs: what it is told, and that the company of a text changes no number."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rankwright import BiEncoder, CrossEncoder
from rankwright.config import read_config
from rankwright.encoder.engine import make_engine
from rankwright.encoder.foreign import PREFIX, foreign_architecture
from rankwright.encoder.spec import Foreign
from rankwright.errors import ConfigError, MissingExtraError, ModelFormatError
from rankwright.workflow.inputs import base_model
from tests.texts import CORPUS, QUERY, random_texts
from tests.tiny import write_json
from tests.tiny_foreign import build_foreign
from tests.tolerances import assert_agrees

TEXTS = [*CORPUS[:8], "a", "", *random_texts(20, seed=5)]
PAIRS = [(QUERY, text) for text in TEXTS]


@pytest.mark.parametrize("family", ["deberta-v2", "albert", "qwen3", "t5"])
def test_a_text_gets_the_same_embedding_in_any_company(tiny: Any, family: str) -> None:
    head = "EncoderModel" if family == "t5" else "Model"
    model = BiEncoder(tiny.built(build_foreign, family, head=head), dtype="float32", device="cpu")
    together = model.checkpoint.engine.run(model.tokenize(TEXTS))
    for i, text in enumerate(TEXTS):
        alone = model.checkpoint.engine.run(model.tokenize([text]))[0]
        assert_agrees(alone, together[i], "embedding", what=f"{family}: {text[:40]!r}")


@pytest.mark.parametrize("head", ["ForCausalLM", "ForSequenceClassification"])
def test_a_pair_gets_the_same_logit_in_any_company(tiny: Any, head: str) -> None:
    config = {"num_labels": 1} if head == "ForSequenceClassification" else {}
    model = CrossEncoder(tiny.built(build_foreign, "qwen3", head=head, config=config), dtype="float32", device="cpu")
    together = model.checkpoint.engine.run(model.tokenize(PAIRS))
    alone = np.concatenate([model.checkpoint.engine.run(model.tokenize([pair])) for pair in PAIRS])
    assert_agrees(alone, together, "score", what=head)


def test_a_new_head_is_drawn_from_the_seed_of_the_run_and_the_rest_is_kept(tiny: Any) -> None:
    folder = tiny.built(build_foreign, "albert")

    def base(seed: int) -> Any:
        flags = {"kind": "cross-encoder", "model.base": str(folder), "training.seed": seed, "training.device": "cpu"}
        return base_model(read_config(None, flags=flags))

    first, again, other = base(1), base(1), base(2)
    scores = first.predict(PAIRS)
    assert np.isfinite(scores).all() and scores.std() > 0
    np.testing.assert_array_equal(again.predict(PAIRS), scores)
    assert not np.allclose(other.predict(PAIRS), scores)
    encoders = [{n: a for n, a in m.checkpoint.parameters.items() if "classifier" not in n} for m in (first, other)]
    assert len(encoders[0]) > 10
    for name, array in encoders[0].items():
        np.testing.assert_array_equal(array, encoders[1][name], err_msg=name)


def test_parameters_that_lack_a_tensor_are_refused(tiny: Any) -> None:
    model = BiEncoder(tiny.built(build_foreign, "albert"), device="cpu")
    name = next(name for name in model.checkpoint.parameters if name.endswith("word_embeddings.weight"))
    rest = {other: array for other, array in model.checkpoint.parameters.items() if other != name}
    with pytest.raises(RuntimeError, match=f"1 tensors of the model are not in the state dict, as '{name}'"):
        model.with_parameters(rest).encode("a text")


def test_sizes_are_those_that_transformers_reads(tiny: Any) -> None:
    foreign = Foreign(tiny.built(build_foreign, "deberta-v2"), "feature-extraction")
    architecture = foreign_architecture(foreign)
    assert (architecture.family, architecture.hidden_size, architecture.num_layers) == ("deberta-v2", 32, 3)
    assert architecture.longest_text == 512


def test_openvino_has_no_graph_for_them(tiny: Any) -> None:
    model = BiEncoder(tiny.built(build_foreign, "albert"))
    with pytest.raises(ConfigError) as caught:
        make_engine(model.spec, model.checkpoint.parameters, engine="openvino")
    assert str(caught.value) == (
        "engine='openvino' has no graph for albert models, which run through transformers. Use engine='torch' or "
        "'auto'. Families with a graph: bert, camembert, distilbert, electra, modernbert, mpnet, roberta, xlm-roberta."
    )
    assert make_engine(model.spec, model.checkpoint.parameters, device="cpu").name == "torch"


def test_it_is_said_once_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = build_foreign(tmp_path / "model", "albert")
    with caplog.at_level(logging.WARNING, logger="rankwright"):
        BiEncoder(folder)
        BiEncoder(folder)
    assert caplog.messages == [
        f"{folder}: its family is albert, for which we have no code. It runs through transformers, padded, on torch."
    ]


@pytest.mark.parametrize("package", ["transformers", "torch"])
def test_a_package_that_is_not_installed_is_named_with_the_pip_line(
    tiny: Any, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    foreign = Foreign(tiny.built(build_foreign, "albert"), "feature-extraction")
    monkeypatch.setattr("rankwright.encoder.foreign.find_spec", lambda name: None if name == package else object())
    with pytest.raises(MissingExtraError, match=rf"one of ours, needs the package '{package}'.*rankwright\[train\]"):
        foreign_architecture(foreign)


@pytest.mark.parametrize("config", [{"model_type": "nonsense"}, {"hidden_size": 8}])
def test_a_family_that_nobody_knows_is_an_error(tmp_path: Path, config: dict[str, Any]) -> None:
    write_json(tmp_path / "config.json", config)
    with pytest.raises(ModelFormatError, match=r"config\.json: the family is none of ours, and transformers does not"):
        foreign_architecture(Foreign(tmp_path, "feature-extraction"))


def test_a_checkpoint_that_lacks_a_tensor_names_it(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = build_foreign(tmp_path / "model", "deberta-v2")
    tensors = load_file(folder / "model.safetensors")
    del tensors["encoder.layer.1.output.dense.bias"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelFormatError, match=r"has no tensor 'encoder\.layer\.1\.output\.dense\.bias', which a deb"):
        BiEncoder(folder)


def test_a_new_head_is_the_same_each_time_and_draws_from_no_global_generator(tiny: Any) -> None:
    import torch

    folder = tiny.built(build_foreign, "deberta-v2")
    with pytest.warns(UserWarning, match="holds no classification head"):
        torch.manual_seed(1)
        first, state = CrossEncoder(folder), torch.get_rng_state()
    with pytest.warns(UserWarning, match="holds no classification head"):
        torch.manual_seed(1)
        before = torch.get_rng_state()
        again = CrossEncoder(folder)
    assert torch.equal(before, state)
    name = f"{PREFIX}classifier.weight"
    np.testing.assert_array_equal(first.checkpoint.parameters[name], again.checkpoint.parameters[name])


def test_dropout_is_decided_by_its_seed_and_leaves_the_global_generator_alone(tiny: Any) -> None:
    import torch

    model = BiEncoder(tiny.built(build_foreign, "deberta-v2"))
    batch, module = model.tokenize(list(CORPUS)), model.trainable()
    resting = module.eval()(batch, 1)
    module.train()
    before = torch.get_rng_state()
    first, again, other = (module(batch, seed).detach() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert (first - other).abs().amax(1).min() > 1e-3
    assert (first - resting).abs().amax(1).min() > 1e-3
    assert torch.equal(module.eval()(batch, 3), resting)


def test_a_recomputed_layer_drops_the_same(tiny: Any) -> None:
    model = BiEncoder(tiny.built(build_foreign, "deberta-v2"))
    batch, gradients = model.tokenize(list(CORPUS)), []
    for is_checkpointed in (False, True):
        module = model.trainable().train()
        if is_checkpointed:
            module.checkpoint_layers()
        module(batch, 1)[:, 0].sum().backward()
        assert any(getattr(part, "gradient_checkpointing", False) for part in module.modules()) == is_checkpointed
        gradients.append(module.foreign.encoder.layer[0].output.dense.weight.grad)
    assert_agrees(gradients[1], gradients[0], "gradient")


def test_layers_that_transformers_cannot_recompute_are_an_error(tiny: Any) -> None:
    module = BiEncoder(tiny.built(build_foreign, "albert")).trainable()
    with pytest.raises(ConfigError, match=r"gradient_checkpointing = true: transformers cannot recompute .* of albert"):
        module.checkpoint_layers()
