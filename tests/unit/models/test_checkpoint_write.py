"""What is written, for which reader, and that a folder appears whole or not at all."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import rankwright.models.checkpoint_write as module_under_test
from rankwright.encoder.spec import Dense, ModelSpec, Normalize, Pooling
from rankwright.errors import ConfigError, ModelFormatError
from rankwright.models.checkpoint_read import read_spec, read_weights
from rankwright.models.checkpoint_write import write_checkpoint
from tests.unit.models.checkpoint_folders import plain_folder

IDENTITY = "torch.nn.modules.linear.Identity"
TENSORS = {"embeddings.LayerNorm.bias": np.arange(8, dtype=np.float32)}
DENSE = {
    "2_Dense.linear.weight": np.ones((4, 8), np.float32),
    "2_Dense.linear.bias": np.arange(4, dtype=np.float32),
}
HEAD = {"classifier.weight": np.ones((3, 8), np.float32)}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return plain_folder(tmp_path / "source")


def _bi_encoder(source: Path, **changes: Any) -> ModelSpec:
    return replace(read_spec(source, "bi-encoder"), **changes)


def _cross_encoder(source: Path, **changes: Any) -> ModelSpec:
    values = {"num_labels": 3, "activation": IDENTITY, "head_is_new": True}
    return replace(read_spec(source, "cross-encoder"), **values | changes)


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _assert_equal_but_for_config(actual: ModelSpec, expected: ModelSpec) -> None:
    for part in fields(ModelSpec):
        if part.name != "config":
            assert getattr(actual, part.name) == getattr(expected, part.name), part.name


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"modules": (Pooling(("cls",)),)},
        {"modules": (Pooling(("cls", "mean", "lasttoken"), include_prompt=False), Normalize())},
        {"modules": (Pooling(("weightedmean",)),)},
        {"modules": (Pooling(("mean", "cls")),)},
        {"modules": (Pooling(), Dense("2_Dense", 8, 4), Normalize())},
        {"modules": (Dense("2_Dense", 8, 4), Pooling())},
        {"max_length": 17, "lower_case": True},
        {"prompts": {"query": "pytanie: ", "document": "", "zażółć": "x"}, "default_prompt_name": "query"},
        {"similarity": "dot", "truncate_dim": 4},
        {"truncate_dim": 8},
    ],
)
def test_bi_encoder_is_read_as_it_was_written(source: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    spec = _bi_encoder(source, **changes)
    has_dense = any(isinstance(module, Dense) for module in spec.modules)
    tensors = TENSORS | DENSE if has_dense else TENSORS
    write_checkpoint(tmp_path / "saved", spec, tensors, source=source)
    saved = read_spec(tmp_path / "saved", "bi-encoder")
    _assert_equal_but_for_config(saved, spec)
    weights = read_weights(tmp_path / "saved", saved)
    assert {name: array.tolist() for name, array in weights.items()} == {n: t.tolist() for n, t in tensors.items()}


@pytest.mark.parametrize("changes", [{}, {"num_labels": 1, "activation": "torch.nn.modules.activation.Sigmoid"}])
@pytest.mark.parametrize("prompts", [{}, {"query": "rank: "}])
def test_cross_encoder_is_read_as_it_was_written(
    source: Path, tmp_path: Path, changes: dict[str, Any], prompts: dict[str, str]
) -> None:
    spec = _cross_encoder(source, prompts=prompts, **changes)
    head = {"classifier.weight": np.ones((spec.num_labels, 8), np.float32)}
    write_checkpoint(tmp_path / "saved", spec, TENSORS | head, source=source)
    _assert_equal_but_for_config(read_spec(tmp_path / "saved", "cross-encoder"), replace(spec, head_is_new=False))


def test_cross_encoder_says_its_activation_in_every_place_that_a_version_reads(source: Path, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "saved", _cross_encoder(source), TENSORS | HEAD, source=source)
    config = _json(tmp_path / "saved" / "config.json")
    assert config["sbert_ce_default_activation_function"] == IDENTITY
    assert config["sentence_transformers"]["activation_fn"] == IDENTITY
    assert _json(tmp_path / "saved" / "config_sentence_transformers.json")["activation_fn"] == IDENTITY
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert config["id2label"] == {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}
    assert config["label2id"] == {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2}


def test_labels_that_have_names_keep_them(source: Path, tmp_path: Path) -> None:
    names = {"0": "no", "1": "maybe", "2": "yes"}
    spec = _cross_encoder(source)
    spec = replace(spec, config={**spec.config, "id2label": names, "problem_type": "regression"})
    write_checkpoint(tmp_path / "saved", spec, TENSORS | HEAD, source=source)
    config = _json(tmp_path / "saved" / "config.json")
    assert config["id2label"] == names and config["label2id"] == {"no": 0, "maybe": 1, "yes": 2}
    write_checkpoint(tmp_path / "one", replace(spec, num_labels=1), TENSORS | HEAD, source=source)
    assert _json(tmp_path / "one" / "config.json")["id2label"] == {"0": "LABEL_0"}, (
        "names of another number are others'"
    )
    assert config["problem_type"] == "regression"


def test_bi_encoder_made_of_a_cross_encoder_loses_what_was_the_rerankers(tmp_path: Path) -> None:
    source = plain_folder(
        tmp_path / "source",
        architectures=["BertForSequenceClassification"],
        sentence_transformers={"activation_fn": IDENTITY},
        sbert_ce_default_activation_function=IDENTITY,
    )
    write_checkpoint(tmp_path / "saved", _bi_encoder(source), TENSORS, source=source)
    config = _json(tmp_path / "saved" / "config.json")
    assert config["architectures"] == ["BertModel"]
    assert "sentence_transformers" not in config and "sbert_ce_default_activation_function" not in config


def test_module_configs_have_no_key_that_old_versions_refuse(source: Path, tmp_path: Path) -> None:
    spec = _bi_encoder(source, modules=(Pooling(), Dense("2_Dense", 8, 4), Normalize()))
    write_checkpoint(tmp_path / "saved", spec, TENSORS | DENSE, source=source)
    saved = tmp_path / "saved"
    assert _json(saved / "1_Pooling" / "config.json") == {
        "word_embedding_dimension": 8,
        "pooling_mode_cls_token": False,
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_tokens": True,
        "pooling_mode_mean_sqrt_len_tokens": False,
    }
    assert set(_json(saved / "2_Dense" / "config.json")) == {
        "in_features",
        "out_features",
        "bias",
        "activation_function",
    }
    assert _json(saved / "sentence_bert_config.json") == {"max_seq_length": 32, "do_lower_case": False}
    assert [(entry["path"], entry["type"]) for entry in _json(saved / "modules.json")] == [
        ("", "sentence_transformers.models.Transformer"),
        ("1_Pooling", "sentence_transformers.models.Pooling"),
        ("2_Dense", "sentence_transformers.models.Dense"),
        ("3_Normalize", "sentence_transformers.models.Normalize"),
    ]
    assert set(load_file(saved / "2_Dense" / "model.safetensors")) == {"linear.weight", "linear.bias"}


def test_type_of_the_tensors_is_the_type_of_the_config(source: Path, tmp_path: Path) -> None:
    spec = _bi_encoder(source)
    spec = replace(spec, config={**spec.config, "torch_dtype": "bfloat16"})
    write_checkpoint(tmp_path / "saved", spec, TENSORS, source=source)
    config = _json(tmp_path / "saved" / "config.json")
    assert (config["dtype"], config["torch_dtype"]) == ("float32", "float32")
    half = {name: tensor.astype(np.float16) for name, tensor in TENSORS.items()}
    write_checkpoint(tmp_path / "half", spec, half, source=source)
    assert _json(tmp_path / "half" / "config.json")["dtype"] == "float16"
    assert load_file(tmp_path / "half" / "model.safetensors")["embeddings.LayerNorm.bias"].dtype == np.float16


def test_tokenizer_is_copied_with_the_maximum_length(source: Path, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "saved", _bi_encoder(source, max_length=17), TENSORS, source=source)
    saved = tmp_path / "saved"
    assert _json(saved / "tokenizer_config.json") == {"tokenizer_class": "BertTokenizer", "model_max_length": 17}
    assert (saved / "vocab.txt").read_bytes() == (source / "vocab.txt").read_bytes()


def test_weights_are_readable_by_whom_the_other_files_are(source: Path, tmp_path: Path) -> None:
    spec = _bi_encoder(source, modules=(Pooling(), Dense("2_Dense", 8, 4)))
    write_checkpoint(tmp_path / "model", spec, TENSORS | DENSE, source=source)
    modes = {path.stat().st_mode for path in (tmp_path / "model").rglob("*.*") if path.is_file()}
    assert len(modes) == 1


def test_checkpoint_is_replaced_whole_and_may_be_its_own_source(source: Path) -> None:
    (source / "pytorch_model.bin").write_bytes(b"old")
    write_checkpoint(source, _bi_encoder(source), TENSORS, source=source)
    assert not (source / "pytorch_model.bin").exists() and (source / "vocab.txt").is_file()
    assert [path.name for path in source.parent.iterdir()] == ["source"]


def test_all_is_on_the_disk_before_the_folder_has_its_name(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, synced = tmp_path / "runs" / "model", list[tuple[str, bool]]()
    monkeypatch.setattr(module_under_test, "sync", lambda path: synced.append((path.name, folder.exists())))
    write_checkpoint(folder, _bi_encoder(source), TENSORS, source=source)
    names = {path.name for path in folder.rglob("*")}
    assert {name for name, is_there in synced if not is_there} == {*names, "new"}
    assert synced[-1] == ("runs", True)


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("when", ["writing", "renaming"])
def test_failure_leaves_the_old_checkpoint_and_no_litter(
    source: Path, monkeypatch: pytest.MonkeyPatch, when: str, error: type[BaseException]
) -> None:
    before = {path.name: path.read_bytes() for path in source.iterdir()}
    spec, real = _bi_encoder(source), Path.rename

    def fail(*arguments: Any, **options: Any) -> None:
        raise error("disk full")

    if when == "writing":
        monkeypatch.setattr(module_under_test, "_copy_tokenizer", fail)
    else:
        monkeypatch.setattr(Path, "rename", lambda path, to: fail() if path.name == "new" else real(path, to))
    with pytest.raises(error, match="disk full"):
        write_checkpoint(source, spec, TENSORS, source=source)
    assert {path.name: path.read_bytes() for path in source.iterdir()} == before
    assert [path.name for path in source.parent.iterdir()] == ["source"]


def test_ctrl_c_between_the_two_renames_leaves_the_old_checkpoint(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in source.iterdir()}
    spec, real = _bi_encoder(source), Path.rename

    def interrupted(path: Path, to: Path) -> Path:
        moved = real(path, to)
        if to.name == "old":
            raise KeyboardInterrupt
        return moved

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(source, spec, TENSORS, source=source)
    assert {path.name: path.read_bytes() for path in source.iterdir()} == before


def test_a_tilde_is_the_home_folder(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a model is opened."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(source)
    write_checkpoint(Path("~/saved"), _bi_encoder(source), TENSORS, source=source)
    assert (tmp_path / "saved" / "config.json").is_file()
    assert not (source / "~").exists()


def test_a_link_stays_one_to_the_new_checkpoint(source: Path, tmp_path: Path) -> None:
    target, link = tmp_path / "large disk" / "model", tmp_path / "link"
    target.mkdir(parents=True)
    link.symlink_to(target)
    for _ in range(2):
        write_checkpoint(link, _bi_encoder(source), TENSORS, source=source)
        assert link.is_symlink()
        assert (target / "config.json").is_file()


def test_folder_with_other_files_is_not_replaced(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "home"
    target.mkdir()
    (target / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match=r"home holds other files than a checkpoint.*Give a new folder"):
        write_checkpoint(target, _bi_encoder(source), TENSORS, source=source)
    assert (target / "thesis.txt").read_text() == "years of work"


def test_a_router_is_copied_without_what_is_its_folders_own(source: Path, tmp_path: Path) -> None:
    (source / "README.md").write_text("the card of another model")
    (source / ".git").mkdir()
    names = {path.name for path in source.iterdir()} - {"README.md", ".git"}
    write_checkpoint(tmp_path / "saved", _bi_encoder(source, has_router=True), TENSORS, source=source)
    assert {path.name for path in (tmp_path / "saved").iterdir()} == {*names, "config_sentence_transformers.json"}


def test_source_without_tokenizer_is_named(source: Path, tmp_path: Path) -> None:
    spec = _bi_encoder(source)
    (source / "vocab.txt").unlink()
    with pytest.raises(ModelFormatError, match="source holds no tokenizer to copy"):
        write_checkpoint(tmp_path / "saved", spec, TENSORS, source=source)
    assert not (tmp_path / "saved").exists()
