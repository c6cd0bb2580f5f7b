"""A checkpoint written anew in another layout: the eras of sentence-transformers, and the forms of weight files.

In: a folder that `tiny.py` or `tiny_foreign.py` made. Out: a folder with the same model in it.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import sentence_transformers
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForSequenceClassification

from rankwright.encoder.spec import Kind
from tests.tiny import write_json

OLD = "sentence_transformers.models."
TANH = "torch.nn.modules.activation.Tanh"
IDENTITY = "torch.nn.modules.linear.Identity"
SHARD_BYTES = 40_000

Rewrite = Callable[[Path], None]


def read_json(path: Path) -> Any:
    """What a JSON file holds."""
    return json.loads(path.read_text(encoding="utf-8"))


def change_json(path: Path, changes: Mapping[str, Any]) -> None:
    """Adds keys to a JSON object."""
    write_json(path, {**(read_json(path) if path.is_file() else {}), **changes})


def without_modules(folder: Path) -> None:
    """A plain folder of transformers."""
    for path in [*folder.glob("*_*/"), folder / "modules.json", *folder.glob("*sentence*.json")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def as_version_2(folder: Path) -> None:
    """Pooling without the later modes and `include_prompt`; settings of versions alone; weights that torch pickled."""
    path = folder / "1_Pooling" / "config.json"
    later = ("pooling_mode_weightedmean_tokens", "pooling_mode_lasttoken", "include_prompt")
    write_json(path, {key: value for key, value in read_json(path).items() if key not in later})
    versions = {"sentence_transformers": "2.0.0", "transformers": "4.6.1", "pytorch": "1.8.1"}
    write_json(folder / "config_sentence_transformers.json", {"__version__": versions})
    as_pickle(folder)


def as_version_5(folder: Path) -> None:
    """The old spelling, with the kind of the model and prompts that are empty."""
    settings = {
        "model_type": "SentenceTransformer",
        "prompts": {"query": "", "document": ""},
        "default_prompt_name": None,
        "similarity_fn_name": "cosine",
    }
    change_json(folder / "config_sentence_transformers.json", settings)


def as_version_5_4(folder: Path) -> None:
    """The new spelling, where Normalize had another place than later."""
    saved_by_st(folder)
    entries = read_json(folder / "modules.json")
    for entry in entries:
        if entry["type"].endswith(".Normalize"):
            entry["type"] = "sentence_transformers.sentence_transformer.modules.normalize.Normalize"
    write_json(folder / "modules.json", entries)


def saved_by_st(folder: Path) -> None:
    """As sentence-transformers 6.2.0 writes it."""
    model = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    shutil.rmtree(folder)
    model.save(str(folder), create_model_card=False)


def cross_encoder_saved_by_st(folder: Path) -> None:
    """A cross-encoder as sentence-transformers 6.2.0 writes it, with an activation that is not the default."""
    model = sentence_transformers.CrossEncoder(str(folder), device="cpu", activation_fn=torch.nn.Tanh())
    shutil.rmtree(folder)
    model.save(str(folder), create_model_card=False)


def cross_encoder_of_version_2(folder: Path) -> None:
    """The activation under its first name in config.json."""
    change_json(folder / "config.json", {"sbert_ce_default_activation_function": TANH})


def cross_encoder_of_version_4(folder: Path) -> None:
    """The activation under its second name in config.json."""
    nested = {"activation_fn": IDENTITY, "version": "4.1.0"}
    change_json(folder / "config.json", {"sentence_transformers": nested})


def in_subfolder(folder: Path) -> None:
    """The transformer in a folder of its own, as before version 2."""
    (folder / "0_Transformer").mkdir()
    for path in list(folder.iterdir()):
        if path.is_file() and path.name not in ("modules.json", "config_sentence_transformers.json"):
            path.rename(folder / "0_Transformer" / path.name)
    entries = read_json(folder / "modules.json")
    entries[0]["path"] = "0_Transformer"
    write_json(folder / "modules.json", entries)


def as_pickle(folder: Path) -> None:
    """All weights in pytorch_model.bin."""
    for path in folder.rglob("model.safetensors"):
        torch.save(load_file(path), path.with_name("pytorch_model.bin"))
        path.unlink()


def in_shards(folder: Path) -> None:
    """The transformer's weights in several safetensors files."""
    names = read_json(folder / "config.json")["architectures"]
    auto = AutoModelForSequenceClassification if names[0].endswith("Classification") else AutoModel
    model = auto.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size=SHARD_BYTES)
    assert len(list(folder.glob("model-*.safetensors"))) > 1


def in_type(dtype: torch.dtype) -> Rewrite:
    """All weights stored in another type."""

    def rewrite(folder: Path) -> None:
        for path in folder.rglob("model.safetensors"):
            tensors = {name: tensor.to(dtype) for name, tensor in load_file(path).items()}
            save_file(tensors, path, metadata={"format": "pt"})
        change_json(folder / "config.json", {"dtype": str(dtype).removeprefix("torch.")})

    return rewrite


def without_normalize_folder(folder: Path) -> None:
    """Normalize has nothing to say, and git keeps no empty folder."""
    (path,) = folder.glob("*_Normalize")
    shutil.rmtree(path)


SAME: dict[str, Rewrite] = {
    "pytorch_model.bin": as_pickle,
    "sharded safetensors": in_shards,
    "float16 weights": in_type(torch.float16),
    "bfloat16 weights": in_type(torch.bfloat16),
}
BI_LAYOUTS: dict[str, Rewrite] = {
    "transformers alone": without_modules,
    "sentence-transformers 2": as_version_2,
    "sentence-transformers 3 to 4": lambda folder: None,
    "sentence-transformers 5.0 to 5.3": as_version_5,
    "sentence-transformers 5.4 to 5.7": as_version_5_4,
    "sentence-transformers 6 (saved by 6.2.0)": saved_by_st,
    "subfolder 0_Transformer": in_subfolder,
    "no folder for Normalize": without_normalize_folder,
    **SAME,
}
CROSS_LAYOUTS: dict[str, Rewrite] = {
    "sentence-transformers 2 to 3": cross_encoder_of_version_2,
    "sentence-transformers 4 to 5.3": cross_encoder_of_version_4,
    "sentence-transformers 6 (saved by 6.2.0)": cross_encoder_saved_by_st,
    **SAME,
}
"""What the table of docs/compatibility.md calls a layout -> what makes a folder one of it."""


def build_layout(folder: Path, source: Path, kind: Kind, name: str) -> Path:
    """Writes a model in another layout.

    Args:
        folder: where.
        source: the same model.
        kind: what it is.
        name: a key of `BI_LAYOUTS` or `CROSS_LAYOUTS`.

    Returns:
        The folder.
    """
    shutil.copytree(source, folder)
    (BI_LAYOUTS if kind == "bi-encoder" else CROSS_LAYOUTS)[name](folder)
    return folder
