"""Checkpoints that sentence-transformers opens, and we refuse with an error that says why.

In: the builders of `tests/tiny*.py`. Out: `REFUSALS`, rows of docs/compatibility.md.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from rankwright.encoder.spec import Kind
from tests.tiny import write_json
from tests.tiny_foreign import build_foreign
from tests.tiny_layouts import OLD, change_json, read_json

Change = Callable[[Path], None]


@dataclass(frozen=True)
class Refusal:
    """A folder that is refused: what is in it, and the words of the error that say why."""

    what: str
    kind: Kind
    why: str
    change: Change
    family: str = "bert"

    def build(self, tiny: Any, folder: Path) -> Path:
        """Writes the folder.

        Args:
            tiny: the fixture.
            folder: where.

        Returns:
            The folder.
        """
        foreign = tiny.built(build_foreign, "t5", head="EncoderModel") if self.family == "t5" else None
        sound = tiny.bi_encoder if self.kind == "bi-encoder" else tiny.cross_encoder
        shutil.copytree(foreign or sound(self.family), folder)
        self.change(folder)
        return folder


def with_adapter(folder: Path) -> None:
    write_json(folder / "adapter_config.json", {"peft_type": "LORA", "base_model_name_or_path": "some/base"})
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")


def with_tokenizer_in_python(folder: Path) -> None:
    for name in ("tokenizer.json", "special_tokens_map.json"):
        (folder / name).unlink()
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "CTRLTokenizer", "unk_token": "<unk>"})
    write_json(folder / "vocab.json", {"<unk>": 0, "a</w>": 1, "b</w>": 2, "a": 3, "b": 4, "ab</w>": 5})
    (folder / "merges.txt").write_text("#version: 0.2\na b</w>\n", encoding="utf-8")


def with_first(module: str) -> Change:
    """A folder that begins with another module."""

    def change(folder: Path) -> None:
        entries = read_json(folder / "modules.json")
        entries[0]["type"] = OLD + module
        write_json(folder / "modules.json", entries)

    return change


def with_last(module_type: str) -> Change:
    """A folder that ends with another module."""

    def change(folder: Path) -> None:
        (folder / "9_More").mkdir()
        entry = {"idx": 9, "name": "9", "path": "9_More", "type": module_type}
        write_json(folder / "modules.json", [*read_json(folder / "modules.json"), entry])

    return change


def with_config(**changes: Any) -> Change:
    """Another config.json."""
    return lambda folder: change_json(folder / "config.json", changes)


def with_settings(**changes: Any) -> Change:
    """Another sentence_bert_config.json."""
    return lambda folder: change_json(folder / "sentence_bert_config.json", changes)


def with_integers(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.endswith("query.weight"))
    tensors[name] = np.round(100 * tensors[name]).astype(np.int8)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def with_onnx_alone(folder: Path) -> None:
    (folder / "onnx").mkdir()
    (folder / "model.safetensors").rename(folder / "onnx" / "model.onnx")


YARN = {"full_attention": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}}
REFUSALS = (
    Refusal("an adapter without its base", "bi-encoder", "holds an adapter, not a model", with_adapter),
    Refusal("a tokenizer written in Python", "bi-encoder", "is written in Python", with_tokenizer_in_python, "t5"),
    *(
        Refusal(f"{module} as the first module", "bi-encoder", f"the first module is '{module}'", with_first(module))
        for module in ("CLIPModel", "WordEmbeddings", "BoW")
    ),
    *(
        Refusal(
            f"a module {module}",
            "bi-encoder",
            f"module '{module}' is not one that rankwright runs",
            with_last(OLD + module),
        )
        for module in ("CNN", "LSTM", "WordWeights", "WeightedLayerPooling")
    ),
    Refusal(
        "a module of the checkpoint's own code",
        "bi-encoder",
        "module 'own_code.Pooler' is not one that rankwright runs",
        with_last("own_code.Pooler"),
    ),
    Refusal(
        "a family of the checkpoint's own code, without trust_remote_code",
        "bi-encoder",
        "transformers does not open it",
        with_config(model_type="own", auto_map={"AutoModel": "own_code.Model", "AutoConfig": "own_code.Config"}),
    ),
    Refusal(
        "a transformer for another task",
        "bi-encoder",
        "the transformer_task 'fill-mask'",
        with_settings(transformer_task="fill-mask"),
    ),
    Refusal(
        "a setting of token vectors (ColBERT)",
        "bi-encoder",
        "the setting 'query_length'",
        with_settings(query_length=32),
    ),
    Refusal(
        "a setting of the tokenizer beside its own file",
        "bi-encoder",
        "the setting 'tokenizer_args.do_lower_case'",
        with_settings(tokenizer_args={"model_max_length": 64, "do_lower_case": False}),
    ),
    Refusal(
        "a length of texts beside the model's own",
        "bi-encoder",
        "the setting 'processing_kwargs.text'",
        with_settings(processing_kwargs={"text": {"max_length": 8}}),
    ),
    Refusal(
        "relative positions of BERT",
        "cross-encoder",
        "position_embedding_type 'relative_key'",
        with_config(position_embedding_type="relative_key"),
    ),
    Refusal(
        "scaled rotary angles of ModernBERT",
        "bi-encoder",
        "rope_type ['yarn']",
        with_config(rope_parameters=YARN),
        "modernbert",
    ),
    Refusal("weights that are quantised", "cross-encoder", "is stored as int8, so that it is quantised", with_integers),
    Refusal("ONNX files alone", "bi-encoder", "holds no weights", with_onnx_alone),
)
assert len({refusal.what for refusal in REFUSALS}) == len(REFUSALS)
