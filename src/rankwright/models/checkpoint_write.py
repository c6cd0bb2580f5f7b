"""Checkpoint folders that sentence-transformers 2 to 6 and transformers load with the same scores.

In: `ModelSpec`, tensors under their Hugging Face names, and the folder that the tokenizer comes from. Out: a folder.

OLD readers (sentence-transformers before v5.4) pass every key of a module's config to its constructor and know only the
module paths of their time; NEW ones read the old spelling too. So the old spelling is written, without the new keys.
Only what OLD never reads (config_sentence_transformers.json, a cross-encoder's modules) has the new keys as well.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from rankwright.encoder.spec import (
    POOLING_MODES,
    STATIC,
    Dense,
    Dropout,
    LayerNorm,
    LogitScore,
    ModelSpec,
    Module,
    Pooling,
)
from rankwright.errors import ConfigError, ModelFormatError
from rankwright.files import sync
from rankwright.models.calibration import write_levels
from rankwright.models.checkpoint_files import MODEL_TYPES
from rankwright.models.checkpoint_modules import POOLING_KEYS
from rankwright.models.checkpoint_read import transformer_folder
from rankwright.text.tokenizer_files import TOKENIZER_FILES
from rankwright.text.tokenizer_transformers import CHAT_TEMPLATES

_CLASS_NAMES = {
    "bert": "Bert",
    "camembert": "Camembert",
    "distilbert": "DistilBert",
    "electra": "Electra",
    "modernbert": "ModernBert",
    "mpnet": "MPNet",
    "roberta": "Roberta",
    "xlm-roberta": "XLMRoberta",
}
"""model_type -> what the names of its classes in transformers start with."""

_OLD_TYPE = "sentence_transformers.models.{}"
_MODULE_TYPES = {"LogitScore": "sentence_transformers.cross_encoder.modules.logit_score.{}"}
"""Modules that OLD does not have are written with NEW's path."""

_LATER_POOLING_KEYS = ("pooling_mode_weightedmean_tokens", "pooling_mode_lasttoken")


def write_checkpoint(
    folder: Path,
    spec: ModelSpec,
    tensors: Mapping[str, np.ndarray],
    *,
    source: Path,
    readme: str | None = None,
    levels: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Writes the whole checkpoint; the folder appears, or is replaced, only when all of it is on disk.

    Args:
        folder: where; an old checkpoint there is replaced.
        spec: what the configs say.
        tensors: the weights as they are to be stored; those of a dense layer after its folder's name.
        source: the checkpoint whose tokenizer files are copied; may be `folder` itself. All of
            it is copied where the model has a router.
        readme: the model card.
        levels: of int8, fitted to these tensors.

    Raises:
        ConfigError: `folder` is not empty and holds no checkpoint, so that replacing it would lose other files.
        ModelFormatError: `source` holds no tokenizer.
    """
    folder = folder.absolute()
    check_room(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        new = Path(temporary) / "new"
        new.mkdir()
        _write_files(new, spec, tensors, source=source)
        if readme is not None:
            (new / "README.md").write_text(readme, encoding="utf-8")
        if levels is not None:
            write_levels(new, levels, tensors)
        for path in [*new.rglob("*"), new]:
            sync(path)
        _exchange(new, folder, aside=Path(temporary) / "old")
        sync(folder.parent)


def check_room(folder: Path) -> None:
    """Refuse a folder that a checkpoint may not replace.

    Args:
        folder: where one is to be written.

    Raises:
        ConfigError: it is a file, or holds other files than a checkpoint.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file, and a model is saved as a folder. Give a new folder.")
    if folder.exists() and not _is_checkpoint(folder) and any(folder.iterdir()):
        raise ConfigError(
            f"{folder} holds other files than a checkpoint, and saving replaces the whole folder. Give a new folder."
        )


def _exchange(new: Path, folder: Path, *, aside: Path) -> None:
    """Renames `new` to `folder`; what was there goes aside, and comes back if that fails."""
    try:
        if folder.exists():
            folder.rename(aside)
        new.rename(folder)
    except BaseException:  # Ctrl-C too: what is aside is removed afterwards
        if aside.exists() and not folder.exists():
            aside.rename(folder)
        raise


def _is_checkpoint(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("config.json", "modules.json"))


def _write_files(folder: Path, spec: ModelSpec, tensors: Mapping[str, np.ndarray], *, source: Path) -> None:
    if spec.has_router:
        shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("README.md", ".*"))
        _write_json(folder / "config_sentence_transformers.json", _settings(spec))
        return
    paths = [_module_path(i, module) for i, module in enumerate(spec.modules, start=1)]
    prefixes = {
        f"{module.name}.": path
        for module, path in zip(spec.modules, paths, strict=True)
        if isinstance(module, Dense | LayerNorm)
    }
    groups: dict[str, dict[str, np.ndarray]] = {path: {} for path in ["", *prefixes.values()]}
    for name, tensor in tensors.items():
        prefix = next((prefix for prefix in prefixes if name.startswith(prefix)), "")
        groups[prefixes.get(prefix, "")][name.removeprefix(prefix)] = np.ascontiguousarray(tensor)
    for path in paths:
        (folder / path).mkdir()
    if spec.foreign is not None:
        from rankwright.encoder.foreign import save_foreign

        save_foreign(spec, groups.pop(""), folder)
    for path, group in groups.items():
        # transformers refuses a file that does not say who wrote it in its "format"
        save_file(group, folder / path / "model.safetensors", metadata={"format": "pt"})
    if spec.foreign is None and spec.architecture.family != STATIC:
        dtypes = {str(tensor.dtype) for tensor in groups[""].values() if tensor.dtype.kind == "f"}
        _write_json(folder / "config.json", _model_config(spec, dtype=dtypes.pop() if len(dtypes) == 1 else "float32"))
    _write_json(folder / "config_sentence_transformers.json", _settings(spec))
    for path in groups:  # safetensors lets nobody but the owner read its files
        (folder / path / "model.safetensors").chmod((folder / "config_sentence_transformers.json").stat().st_mode)
    first = "StaticEmbedding" if spec.architecture.family == STATIC else "Transformer"
    if first == "Transformer":
        _write_json(folder / "sentence_bert_config.json", _transformer_config(spec))
    entries = [("", first), *((path, type(m).__name__) for path, m in zip(paths, spec.modules, strict=True))]
    _write_json(
        folder / "modules.json",
        [
            {"idx": i, "name": str(i), "path": path, "type": _MODULE_TYPES.get(name, _OLD_TYPE).format(name)}
            for i, (path, name) in enumerate(entries)
        ],
    )
    for path, config in zip(paths, _module_configs(spec), strict=True):
        _write_json(folder / path / "config.json", config)
    _copy_tokenizer(folder, transformer_folder(source), spec)


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _module_path(position: int, module: Module) -> str:
    """The folder of a module; one with tensors keeps its own, since they are named after it."""
    return module.name if isinstance(module, Dense | LayerNorm) else f"{position}_{type(module).__name__}"


def _model_config(spec: ModelSpec, *, dtype: str) -> dict[str, Any]:
    """config.json for the class that the tensors are of."""
    config: dict[str, Any] = dict(spec.config)
    stem = _class_stem(config)
    # transformers 5 computes in the type that the config names; transformers 4 knows the old key
    config |= {"dtype": dtype, "torch_dtype": dtype}
    for key in ("sentence_transformers", "sbert_ce_default_activation_function"):
        config.pop(key, None)
    if spec.kind == "bi-encoder" or spec.modules:
        return config | {"architectures": [f"{stem}Model"]}
    names = config.get("id2label") or {}
    if len(names) != spec.num_labels:
        names = {str(i): f"LABEL_{i}" for i in range(spec.num_labels)}
    return config | {
        "architectures": [f"{stem}ForSequenceClassification"],
        "id2label": names,
        "label2id": {name: int(i) for i, name in names.items()},
        # v4 to v5.3 read the first, v2 and v3 the second
        "sentence_transformers": {"activation_fn": spec.activation},
        "sbert_ce_default_activation_function": spec.activation,
    }


def _class_stem(config: Mapping[str, object]) -> str:
    """What the family's classes in transformers start with."""
    stem = _CLASS_NAMES.get(str(config.get("model_type")))
    if stem is None:
        names = config.get("architectures")
        stem = re.sub(r"(For[A-Z]\w*|Model)$", "", str(names[0])) if isinstance(names, list) and names else None
    if stem is None:
        raise ModelFormatError(
            f"The config of a {config.get('model_type')!r} model names no architectures: add the key."
        )
    return stem


def _settings(spec: ModelSpec) -> dict[str, Any]:
    """config_sentence_transformers.json."""
    settings: dict[str, Any] = {
        "__version__": {"rankwright": version("rankwright")},
        "default_prompt_name": spec.default_prompt_name,
        "model_type": MODEL_TYPES[spec.kind],
        "prompts": dict(spec.prompts),
    }
    if spec.kind == "cross-encoder":
        return settings | {"activation_fn": spec.activation}
    settings["similarity_fn_name"] = spec.similarity
    return settings if spec.truncate_dim is None else settings | {"truncate_dim": spec.truncate_dim}


def _transformer_config(spec: ModelSpec) -> dict[str, Any]:
    """sentence_bert_config.json.

    OLD never reads a cross-encoder's and knows no chat templates, so that there it may say what NEW needs.
    """
    config: dict[str, Any] = {"max_seq_length": spec.max_length, "do_lower_case": spec.lower_case}
    chat_format = None if spec.foreign is None else spec.foreign.chat_format
    if spec.kind == "bi-encoder" and chat_format is None:
        return config
    task, output, feature = "sequence-classification", "logits", "scores"
    if any(isinstance(module, LogitScore) for module in spec.modules):
        task, feature = "text-generation", "causal_logits"
    elif spec.modules:
        task, output, feature = "feature-extraction", "last_hidden_state", "token_embeddings"
    method = {"method": "forward", "method_output_name": output}
    modalities: dict[str, Any] = {"text": method}
    if chat_format is not None:
        modalities["message"] = method | {"format": chat_format}
    return config | {"transformer_task": task, "modality_config": modalities, "module_output_name": feature}


def _module_configs(spec: ModelSpec) -> list[dict[str, Any]]:
    """config.json of each module; what is read and given is named where it is not the embedding."""
    configs, given = [], "sentence_embedding" if spec.architecture.family == STATIC else "token_embeddings"
    size = spec.architecture.hidden_size
    for module in spec.modules:
        is_last_of_scores = spec.kind == "cross-encoder" and module is spec.modules[-1]
        reads = {"module_input_name": given}
        names = reads if given != "sentence_embedding" else {}
        names |= {"module_output_name": "scores"} if is_last_of_scores else {}
        match module:
            case Pooling():
                configs.append(_pooling_config(module, size))
                given = "sentence_embedding"
            case Dense():
                residual = {"use_residual": True} if module.adds_input else {}
                sizes = {
                    "in_features": module.in_features,
                    "out_features": module.out_features,
                    "bias": module.use_bias,
                }
                configs.append(sizes | {"activation_function": module.activation} | residual | names)
                size = module.out_features
            case LayerNorm():
                configs.append({"dimension": module.size})
            case Dropout():
                configs.append({"dropout": module.rate})
            case LogitScore():
                configs.append({"true_token_id": module.true_id, "false_token_id": module.false_id})
            case _:
                configs.append(reads | {"module_output_name": names.get("module_output_name", given)})
    return configs


def _pooling_config(pooling: Pooling, size: int) -> dict[str, Any]:
    config: dict[str, Any] = {"word_embedding_dimension": size}
    if pooling.modes != tuple(mode for mode in POOLING_MODES if mode in pooling.modes):
        # only NEW concatenates in another order, so that only NEW can read this
        return config | {"pooling_mode": list(pooling.modes), "include_prompt": pooling.include_prompt}
    flags = {POOLING_KEYS[mode]: mode in pooling.modes for mode in POOLING_MODES}
    # v2.0 to v2.3 do not know these keys
    config |= {key: value for key, value in flags.items() if value or key not in _LATER_POOLING_KEYS}
    return config if pooling.include_prompt else config | {"include_prompt": False}


def _copy_tokenizer(folder: Path, source: Path, spec: ModelSpec) -> None:
    """The tokenizer's files, with the maximum length that cross-encoders and NEW bi-encoders take from them."""
    names = [name for name in TOKENIZER_FILES if (source / name).is_file()]
    if not set(names) - {"tokenizer_config.json"}:
        raise ModelFormatError(f"{source} holds no tokenizer to copy: expected one of {', '.join(TOKENIZER_FILES)}.")
    names += [name for name in CHAT_TEMPLATES if (source / name).is_file()]
    for name in names:
        shutil.copyfile(source / name, folder / name)
    if spec.architecture.family == STATIC:
        return
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    _write_json(path, config | {"model_max_length": spec.max_length})
