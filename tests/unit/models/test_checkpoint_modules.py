"""Modules with a config that is wrong, of sizes that do not fit, and with activations that must not be run."""

import json
import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rankwright.encoder import activations_torch
from rankwright.encoder.activations_torch import activation_function
from rankwright.encoder.spec import Architecture, Dense, Dropout, LayerNorm, LogitScore, ModelSpec, Normalize, Pooling
from rankwright.errors import MissingExtraError, ModelFormatError
from rankwright.models.checkpoint_modules import TANH, Entry, check_sizes, read_modules, read_routes
from rankwright.models.checkpoint_read import read_spec
from tests.unit.models.checkpoint_folders import MODEL, module_folder, plain_folder, write_json

MEAN = {"word_embedding_dimension": 8, "pooling_mode_mean_tokens": True}
SIZES = {"in_features": 8, "out_features": 4}


def _read(folder: Path, *modules: tuple[str, dict[str, Any]], **settings: Any) -> ModelSpec:
    """A bi-encoder of 8 features, with these modules after the transformer."""
    listed = [(f"{i}_{name}", MODEL + name, config) for i, (name, config) in enumerate(modules, start=1)]
    return read_spec(module_folder(plain_folder(folder), *listed, **settings), "bi-encoder")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"pooling_mode": 5}, r"1_Pooling/config\.json: unknown pooling mode 5\. Known modes: cls"),
        ({"pooling_mode": ["cls", 5]}, r"unknown pooling mode 5"),
        ({"pooling_mode": {"cls": True}}, r"unknown pooling mode \{'cls': True\}"),
        ({"pooling_mode_cls_token": "false"}, r"'pooling_mode_cls_token' is 'false', expected true or false\. Correct"),
        ({"include_prompt": 0}, r"'include_prompt' is 0, expected true or false"),
        ({"module_input_name": 5}, r"'module_input_name' is 5, expected a text"),
        ({"module_output_name": ["a"]}, r"'module_output_name' is \['a'\], expected a text"),
    ],
)
def test_pooling_config_of_the_wrong_type_is_named(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFormatError, match=message):
        _read(tmp_path, ("Pooling", config))


def test_pooling_without_its_config_is_refused(tmp_path: Path) -> None:
    module_folder(plain_folder(tmp_path), ("1_Pooling", MODEL + "Pooling", None))
    with pytest.raises(
        ModelFormatError, match=r"1_Pooling/config\.json does not exist, so that nobody knows .*Download"
    ):
        read_spec(tmp_path, "bi-encoder")


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("Dense", SIZES | {"in_features": "8"}, r"2_Dense/config\.json: 'in_features' is '8', expected a whole number"),
        ("Dense", SIZES | {"in_features": True}, r"'in_features' is True, expected a whole number from 1"),
        ("Dense", SIZES | {"out_features": 0}, r"'out_features' is 0, expected a whole number from 1"),
        ("Dense", {"in_features": 8}, r"a Dense module needs out_features\. Download"),
        ("Dense", SIZES | {"bias": "no"}, r"'bias' is 'no', expected true or false"),
        ("Dense", SIZES | {"use_residual": 1}, r"'use_residual' is 1, expected true or false"),
        ("LayerNorm", {}, r"2_LayerNorm/config\.json: a LayerNorm module needs dimension"),
        ("LayerNorm", {"dimension": None}, r"a LayerNorm module needs dimension"),
        ("LayerNorm", {"dimension": -8}, r"'dimension' is -8, expected a whole number from 1"),
    ],
)
def test_module_config_of_the_wrong_type_is_named(
    tmp_path: Path, name: str, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelFormatError, match=message):
        _read(tmp_path, ("Pooling", MEAN), (name, config))


def test_sizes_that_fit_are_read(tmp_path: Path) -> None:
    two = {"word_embedding_dimension": 8, "pooling_mode": ["mean", "cls"]}
    spec = _read(
        tmp_path, ("Pooling", two), ("Dense", {"in_features": 16, "out_features": 4}), ("LayerNorm", {"dimension": 4})
    )
    assert spec.modules == (
        Pooling(("mean", "cls")),
        Dense("2_Dense", 16, 4, activation=TANH),
        LayerNorm("3_LayerNorm", 4),
    )


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        (
            [("Pooling", MEAN), ("Dense", SIZES | {"in_features": 9})],
            r"2_Dense/config\.json: Dense takes vectors of size 9, but the Pooling before it gives 8\. Take the files",
        ),
        (
            [("Pooling", MEAN), ("Dense", SIZES), ("LayerNorm", {"dimension": 8})],
            r"3_LayerNorm/config\.json: LayerNorm takes vectors of size 8, but the Dense before it gives 4\. Take",
        ),
        (
            [("Pooling", MEAN | {"pooling_mode_cls_token": True}), ("Normalize", {}), ("Dense", SIZES)],
            r"3_Dense/config\.json: Dense takes vectors of size 8, but the Normalize before it gives 16\. Take",
        ),
    ],
)
def test_sizes_that_do_not_follow_from_each_other_are_refused(
    tmp_path: Path, modules: list[tuple[str, dict[str, Any]]], message: str
) -> None:
    with pytest.raises(ModelFormatError, match=message):
        _read(tmp_path, *modules)


@pytest.mark.parametrize("key", ["word_embedding_dimension", "embedding_dimension"])
def test_size_that_pooling_only_notes_is_told_of(tmp_path: Path, key: str) -> None:
    with pytest.warns(
        UserWarning, match=r"1_Pooling/config\.json describes states of size 768, but the Transformer .* 8"
    ):
        assert _read(tmp_path, ("Pooling", {"pooling_mode": "mean", key: 768})).embedding_size == 8


@pytest.mark.parametrize(
    "path", ["/etc", "../other", "1_Pooling/../../other", "..", "a/../..", "1_Pooling/./../../other"]
)
def test_paths_stay_in_the_folder(tmp_path: Path, path: str) -> None:
    entries = [{"path": "", "type": MODEL + "Transformer"}, {"path": path, "type": MODEL + "Pooling"}]
    write_json(plain_folder(tmp_path) / "modules.json", entries)
    with pytest.raises(ModelFormatError, match=r"modules\.json: the path '.*' leads out of the folder\. Do not trust"):
        read_spec(tmp_path, "bi-encoder")


@pytest.mark.parametrize("path", ["", ".", "./"])
def test_the_folder_itself_has_several_names(tmp_path: Path, path: str) -> None:
    entries = [{"path": path, "type": MODEL + "Transformer"}, {"path": "./1_P", "type": MODEL + "Pooling"}]
    write_json(plain_folder(tmp_path) / "modules.json", entries)
    write_json(tmp_path / "1_P" / "config.json", MEAN)
    spec = read_spec(tmp_path, "bi-encoder")
    assert spec.input_path == "" and spec.modules == (Pooling(),)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (5, "expected a JSON list of objects"),
        ([5], "expected a JSON list of objects"),
        ([{"path": 5, "type": MODEL + "Transformer"}], "expected a JSON list of objects"),
        ([{"path": "", "type": None}], "expected a JSON list of objects"),
        ([{"path": "x" * 256, "type": MODEL + "Transformer"}], "no folder has the name 'xxx"),
        ([{"path": "\0", "type": MODEL + "Transformer"}], "does not exist"),
        (
            [{"path": "", "type": MODEL + "Transformer"}, {"path": "", "type": MODEL + "Dense"}],
            "Dense reads 'sentence_embedding'",
        ),
    ],
)
def test_modules_json_of_something_else_is_named(tmp_path: Path, entries: object, message: str) -> None:
    write_json(plain_folder(tmp_path) / "modules.json", entries)
    with pytest.raises(ModelFormatError, match=message):
        read_spec(tmp_path, "bi-encoder")


def test_module_with_tensors_needs_a_folder_of_its_own(tmp_path: Path) -> None:
    modules = [("1_P", MODEL + "Pooling", MEAN), ("", MODEL + "LayerNorm", None)]
    write_json(module_folder(plain_folder(tmp_path), *modules) / "config.json", {"dimension": 8})
    with pytest.raises(
        ModelFormatError, match=r"modules\.json: a LayerNorm module needs a folder of its own as 'path'"
    ):
        read_spec(tmp_path, "bi-encoder")


ROUTER = {
    "types": {"query_0_Dense": MODEL + "Dense"},
    "structure": {"query": ["query_0_Dense"]},
    "parameters": {"default_route": "query"},
}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            ROUTER | {"types": ["Dense"]},
            "expected the keys 'types', 'structure' and 'parameters' of a router. Download",
        ),
        (ROUTER | {"structure": {"query": ["other"]}}, "expected the keys 'types', 'structure' and 'parameters'"),
        (ROUTER | {"structure": {"query": 5}}, "expected the keys 'types', 'structure' and 'parameters'"),
        (ROUTER | {"structure": {"query": []}}, r"the route 'query' has no modules in its structure \(\)\. Add them"),
        (ROUTER | {"parameters": {"default_route": "other"}}, "the route 'other' has no modules in its structure"),
        (ROUTER | {"parameters": {"default_route": 5}}, "'default_route' is 5, expected a text"),
        (ROUTER | {"parameters": {"route_mappings": {"open('/x')": "query"}}}, "expected the keys 'types'"),
        (ROUTER | {"parameters": {"route_mappings": {"(" * 500: "query"}}}, "expected the keys 'types'"),
        (ROUTER | {"parameters": {"route_mappings": {"('a', 'b', 'c')": "query"}}}, "expected the keys 'types'"),
        (
            {"types": {"../evil": MODEL + "Dense"}, "structure": {"query": ["../evil"]}},
            r"the path '2_Router/\.\./evil' leads out of the folder",
        ),
    ],
)
def test_router_that_is_none_is_named(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    modules = [("1_P", MODEL + "Pooling", MEAN), ("2_Router", MODEL + "Router", None)]
    folder = module_folder(plain_folder(tmp_path), *modules)
    write_json(folder / "2_Router" / "router_config.json", config)
    with pytest.raises(ModelFormatError, match=rf"router_config\.json: {message}"):
        read_spec(folder, "bi-encoder")


@pytest.mark.parametrize("first", [True, False])
def test_module_of_another_package_is_not_run_even_with_trust(tmp_path: Path, first: bool) -> None:
    (plain_folder(tmp_path) / "evil_module.py").write_text("raise SystemExit('run')")
    kinds = ["evil_module.Transformer", MODEL + "Pooling"] if first else [MODEL + "Transformer", "evil_module.Pooling"]
    write_json(tmp_path / "modules.json", [{"path": "", "type": kind} for kind in kinds])
    for trust in (False, True):
        with pytest.raises(
            ModelFormatError,
            match=r"modules\.json: .*'evil_module\..* and no module's own code, not even with trust_remote_code=True, "
            "which lets transformers run .*Use sentence-transformers",
        ):
            read_spec(tmp_path, "bi-encoder", trust_remote_code=trust)
    assert "evil_module" not in sys.modules


def _activated(folder: Path, activation: object) -> str:
    module = _read(folder, ("Pooling", MEAN), ("Dense", SIZES | {"activation_function": activation})).modules[1]
    assert isinstance(module, Dense)
    return module.activation


@pytest.mark.parametrize("name", ["activation.SiLU", "activation.Mish", "activation.ELU", "linear.Identity"])
def test_activation_of_torch_is_taken(tmp_path: Path, name: str) -> None:
    assert _activated(tmp_path, f"torch.nn.modules.{name}") == f"torch.nn.modules.{name}"


@pytest.mark.parametrize("activation", [None, ""])
def test_dense_without_an_activation_is_a_tanh(tmp_path: Path, activation: object) -> None:
    assert _activated(tmp_path, activation) == TANH


@pytest.mark.parametrize(
    ("activation", "message"),
    [
        ("torch.hub.load", "unknown activation 'torch.hub.load'"),
        ("torch.load", "unknown activation 'torch.load'"),
        ("torch.os.system", "unknown activation 'torch.os.system'"),
        ("torch.nnx.Evil", "unknown activation"),
        ("torch.nn.nowhere.Tanh", "unknown activation"),
        ("torch.nn.functional.gelu", "unknown activation"),
        ("torch.nn.", "unknown activation"),
        ("torch.", "unknown activation"),
        (
            "torch.nn.modules.linear.Linear",
            "cannot be used: Linear.*in_features.*Expected a torch.nn class without arg",
        ),
        ("torch.nn.MSELoss", "cannot be used: MSELoss.*target"),
        ("torch.nn.Module", "cannot be used: "),
        ("torch.nn.PReLU", "has weights of its own, or changes the shape"),
        ("torch.nn.GLU", "has weights of its own, or changes the shape"),
        (5, r"the activation is 5, expected the path of a torch\.nn class\. Correct it there"),
        (["torch.nn.Tanh"], r"the activation is \['torch\.nn\.Tanh'\], expected"),
    ],
)
def test_path_that_is_no_activation_is_refused_and_imports_nothing_outside_of_torch_nn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, activation: object, message: str
) -> None:
    imported: list[str] = []
    monkeypatch.setattr(activations_torch, "import_module", lambda name: imported.append(name) or import_module(name))
    activation_function.cache_clear()
    with pytest.raises(ModelFormatError, match=rf"2_Dense/config\.json: .*{message}"):
        _activated(tmp_path, activation)
    assert all(name == "torch.nn" or name.startswith("torch.nn.") for name in imported), imported


@pytest.mark.parametrize(
    "changes",
    [
        {"sbert_ce_default_activation_function": "torch.hub.load"},
        {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Linear"}},
        {"sentence_transformers": {"activation_fn": 5}},
    ],
)
def test_activation_of_a_cross_encoder_is_checked_too(tmp_path: Path, changes: dict[str, Any]) -> None:
    tensors = {"classifier.weight": (1, 8)}
    head = {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "x"}}
    with pytest.raises(ModelFormatError, match=r"config\.json: .*activation"):
        read_spec(plain_folder(tmp_path, tensors=tensors, **head, **changes), "cross-encoder")


def test_activation_that_only_torch_has_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rankwright.models.checkpoint_modules.find_spec", lambda name: None)
    assert _activated(tmp_path, "torch.nn.modules.activation.ReLU").endswith("ReLU")
    with pytest.raises(
        MissingExtraError, match=r"2_Dense/config\.json: the activation '.*CELU' needs the package 'torch'"
    ):
        _activated(tmp_path, "torch.nn.modules.activation.CELU")


def test_activation_that_drops_out_in_training_is_a_function_here() -> None:
    import torch

    drop, slope = activation_function("torch.nn.Dropout"), activation_function("torch.nn.RReLU")
    x = torch.linspace(-1, 1, 64)
    torch.testing.assert_close(drop(x), x, rtol=0, atol=0)
    torch.testing.assert_close(slope(x), slope(x), rtol=0, atol=0)


def test_trying_an_activation_draws_no_random_numbers() -> None:
    import torch

    before = torch.random.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ModelFormatError, match="has weights of its own"):
            activation_function("torch.nn.Transformer")
    np.testing.assert_array_equal(torch.random.get_rng_state().numpy(), before.numpy())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"prompts": ["query: "]},
            r"config_sentence_transformers\.json: 'prompts' is \['query: '\], expected a JSON obj",
        ),
        ({"prompts": {"query": 5}}, r"'query' is 5, expected a text"),
        ({"default_prompt_name": ["query"]}, r"'default_prompt_name' is \['query'\], expected a text"),
        ({"truncate_dim": "8"}, r"'truncate_dim' is '8', expected a whole number from 1"),
        ({"truncate_dim": 9}, r"truncate_dim is 9, but the embeddings have only 8 dimensions\. Correct"),
        ({"model_type": ["CrossEncoder"]}, r"'model_type' is \['CrossEncoder'\], expected a text"),
    ],
)
def test_settings_of_the_wrong_type_are_named(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFormatError, match=message):
        _read(tmp_path, ("Pooling", MEAN), **settings)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"max_seq_length": "32"}, r"sentence_bert_config\.json: 'max_seq_length' is '32', expected a number from 1"),
        ({"max_seq_length": -1}, r"'max_seq_length' is -1, expected a number from 1"),
        ({"do_lower_case": "no"}, r"'do_lower_case' is 'no', expected true or false"),
        ({"processor_kwargs": 5}, r"'processor_kwargs' is 5, expected a JSON object"),
        ({"processor_kwargs": {"model_max_length": "x"}}, r"'model_max_length' is 'x', expected a number from 1"),
    ],
)
def test_transformer_settings_of_the_wrong_type_are_named(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    module_folder(plain_folder(tmp_path), ("1_P", MODEL + "Pooling", MEAN))
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelFormatError, match=message):
        read_spec(tmp_path, "bi-encoder")


def test_normalize_needs_no_folder(tmp_path: Path) -> None:
    module_folder(plain_folder(tmp_path), ("1_P", MODEL + "Pooling", MEAN), ("2_N", MODEL + "Normalize", None))
    assert read_spec(tmp_path, "bi-encoder").modules == (Pooling(), Normalize())


def test_a_token_of_scores_is_one_of_the_vocabulary(tmp_path: Path) -> None:
    arch = Architecture("llama", 1, 8, 1, 8, vocab_size=10, max_positions=8)
    entries = (Entry("Transformer", ""), Entry("LogitScore", "1_LogitScore"))
    check_sizes(tmp_path, entries, (LogitScore(9, 0),), arch)
    with pytest.raises(ModelFormatError, match=r"token 10 is outside of the vocabulary of 10\."):
        check_sizes(tmp_path, entries, (LogitScore(9, 10),), arch)


def test_a_dropout_without_a_config_has_the_rate_of_sentence_transformers(tmp_path: Path) -> None:
    entries = (Entry("StaticEmbedding", ""), Entry("Dropout", "1_Dropout"))
    assert read_modules(tmp_path, entries, "bi-encoder") == (Dropout(0.2),)


def test_a_task_takes_the_route_that_sentence_transformers_gives_it(tmp_path: Path) -> None:
    modules = [("1_Router", MODEL + "Router", None), ("2_Normalize", MODEL + "Normalize", None)]
    folder = module_folder(plain_folder(tmp_path), *modules)
    structure = {"query": ["a"], "text": ["b"], "exact": ["c"], "any": ["d"]}
    mappings = {"('document', None)": "any", "('document', 'text')": "exact", "('other', None)": "any"}
    types = {name: MODEL + "Normalize" for (name,) in structure.values()}
    config = {"types": types, "structure": structure, "parameters": {"route_mappings": mappings}}
    write_json(folder / "1_Router" / "router_config.json", config)
    routes = read_routes(folder)
    assert {task: routes[task][1].path[-1] for task in ("query", "document", "other", None)} == {
        "query": "a",
        "document": "c",
        "other": "d",
        None: "b",
    }
    assert [entry.path for entry in routes["query"]] == ["", "1_Router/a", "2_Normalize"]
    write_json(folder / "1_Router" / "router_config.json", {"types": types, "structure": {"query": ["a"], "x": ["b"]}})
    assert read_routes(folder)[None] == routes["query"], "the first, where nothing else is said"
