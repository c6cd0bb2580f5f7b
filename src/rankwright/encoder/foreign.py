"""Models of families that we do not have, run padded by transformers inside a `TorchEncoder`.

In: `Foreign`, which names a folder, and a packed batch. Out: packed token states, or logits. Letters: B texts, L padded
tokens, T packed tokens, D features, N outputs.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from rankwright.encoder.families import LAYERS
from rankwright.encoder.parameters import check_finite
from rankwright.encoder.spec import Architecture, Foreign, LogitScore, ModelSpec
from rankwright.errors import ConfigError, MissingExtraError, ModelFormatError, first_line
from rankwright.json_values import SIZE, read_object
from rankwright.text.tokenizer_transformers import TRUST_ADVICE, quietly

logger = logging.getLogger(__name__)

PREFIX = "foreign."
"""Where a `TorchEncoder` keeps the model of transformers."""

_CLASSES = {
    "feature-extraction": "AutoModel",
    "sequence-classification": "AutoModelForSequenceClassification",
    "text-generation": "AutoModelForCausalLM",
}

_EXPECTED = {"hidden_size": SIZE, "vocab_size": SIZE, "num_hidden_layers": LAYERS, "num_attention_heads": SIZE}
_KERNEL_KEYS = ("attn_implementation", "experts_implementation")
_NEEDED = ("hidden_size", "vocab_size")

_FETCH_ADVICE = (
    "Its auto_map names the code: it must be in the folder, or in the Hub's cache, into which it comes when the model "
    "is opened by its name on the Hub."
)

_UNLIMITED = 1 << 30


def foreign_architecture(foreign: Foreign) -> Architecture:
    """Family and sizes, as far as the config of transformers names them.

    Args:
        foreign: the folder.

    Returns:
        The architecture; without a largest position its texts may have any length.

    Raises:
        MissingExtraError: transformers or torch is not installed.
        ModelFormatError: transformers does not know the family, or it needs code of the checkpoint.
    """
    for package in ("transformers", "torch"):
        if find_spec(package) is None:
            raise MissingExtraError(
                f"The model in {foreign.folder}, whose family is not one of ours,", "train", package
            )
    config = _read_config(foreign)
    sizes = config.get_text_config()
    for name, expected in _EXPECTED.items():
        value = getattr(sizes, name, None)
        if (name in _NEEDED or isinstance(value, int)) and not expected.fits(value):
            raise ModelFormatError(
                f"{foreign.folder / 'config.json'}: {name} of its {config.model_type} model is {value!r}, expected "
                f"{expected.words}. Correct it there, or download it again."
            )
    types = getattr(sizes, "type_vocab_size", None)
    _say_once(str(config.model_type), foreign.folder)
    return Architecture(
        family=str(config.model_type),
        num_layers=_size(sizes, "num_hidden_layers"),
        hidden_size=_size(sizes, "hidden_size"),
        num_heads=_size(sizes, "num_attention_heads") or 1,
        intermediate_size=_size(sizes, "intermediate_size"),
        vocab_size=_size(sizes, "vocab_size"),
        max_positions=_size(sizes, "max_position_embeddings") or _UNLIMITED,
        # whether type ids are passed is then the tokenizer's to say
        type_vocab_size=types if type(types) is int else _UNLIMITED,
    )


def _size(config: Any, name: str) -> int:
    """A size that a config names, 0 where it does not or differs by layer."""
    value = getattr(config, name, None)
    return value if type(value) is int and value > 0 else 0


def read_foreign(spec: ModelSpec, *, seed: int = 0) -> tuple[dict[str, np.ndarray], ModelSpec]:
    """The tensors of a model, read by transformers.

    Args:
        spec: the model.
        seed: draws what the checkpoint lacks, which may be nothing but a classification head.

    Returns:
        float32 arrays by name, those that a model shares once; and the spec, with what only the weights tell: whether
        the head is new, and from which position on texts are counted.

    Raises:
        ModelFormatError: files that transformers cannot read, weights that are missing, or a head that cannot tell
            padding from tokens.
    """
    import torch

    foreign = _foreign(spec)
    with torch.random.fork_rng(devices=[]), quietly():
        torch.manual_seed(seed)
        try:
            model, info = _auto_class(foreign).from_pretrained(
                foreign.folder,
                config=_read_config(foreign, num_labels=spec.num_labels),
                dtype=torch.float32,
                trust_remote_code=foreign.trust_remote_code,
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # its error names no tensor; ours does
            )
        except Exception as err:
            config = read_object(foreign.folder / "config.json")
            keys = [key for key, value in config.items() if err.args == (value,)]
            advice = f"Correct {keys[0]} in config.json." if keys else "Download it again."
            raise ModelFormatError(
                f"{foreign.folder}: transformers cannot load the model: {first_line(err)} {advice}"
            ) from err
    head_is_new = _check_tensors(spec, model, info)
    _check_padding(foreign, model)
    check_finite({name: parameter.detach().numpy() for name, parameter in model.named_parameters()}, foreign.folder)
    seen: set[int] = set()
    arrays = {}
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() not in seen:
            arrays[PREFIX + name] = tensor.numpy()
            seen.add(tensor.data_ptr())
    architecture = replace(spec.architecture, position_ids_start=_position_ids_start(model))
    return arrays, replace(spec, head_is_new=head_is_new, architecture=architecture)


def _position_ids_start(model: Any) -> int | None:
    """The pad id from which positions count, where the table of positions keeps a row for padding (RoBERTa)."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return int(module.padding_idx)
    return None


def _check_padding(foreign: Foreign, model: Any) -> None:
    """Raises where a head reads the last token of each text, but nothing says which tokens are padding."""
    import torch

    sizes = model.config.get_text_config()
    if foreign.task != "sequence-classification" or getattr(sizes, "pad_token_id", None) is not None:
        return
    one_B1 = torch.ones((2, 1), dtype=torch.long)
    try:
        with torch.inference_mode():
            model(input_ids=one_B1, attention_mask=one_B1)
    except ValueError as err:
        raise ModelFormatError(
            f"{foreign.folder / 'config.json'}: its model cannot score several pairs at a time: {first_line(err)} "
            "Set pad_token_id there to the id with which the tokenizer pads."
        ) from err


def _check_tensors(spec: ModelSpec, model: Any, info: Mapping[str, Any]) -> bool:
    """Whether transformers drew a new head; any other tensor must have come from the checkpoint."""
    foreign = _foreign(spec)
    inside = f"{model.base_model_prefix}."
    is_headed = foreign.task == "sequence-classification" and model.base_model is not model
    mismatched = {key: shapes for key, *shapes in info["mismatched_keys"]}
    wrong = [key for key in mismatched if not (is_headed and spec.head_is_new) or key.startswith(inside)]
    head = {key for key in (*info["missing_keys"], *mismatched) if is_headed and not key.startswith(inside)}
    # only heads read what a pooler gives
    needs_pooler = is_headed and not head
    missing = sorted(k for k in info["missing_keys"] if k not in head and (needs_pooler or not _is_pooler(k)))
    if wrong:
        stored, described = (tuple(shape) for shape in mismatched[wrong[0]])
        raise ModelFormatError(
            f"{foreign.folder}: the tensor {wrong[0]!r} has shape {stored}, but config.json (or num_labels) describes "
            f"{described}. Correct it, or take the weights that belong to it."
        )
    if missing:
        raise ModelFormatError(
            f"{foreign.folder}: the checkpoint has no tensor {missing[0]!r}, which a {spec.architecture.family} model "
            f"needs ({len(missing)} are missing). Are the weights complete, and of the family that config.json names?"
        )
    return bool(head)


def _is_pooler(name: str) -> bool:
    return "pooler" in name.split(".")


def build_foreign(spec: ModelSpec) -> Any:
    """The model of transformers without values, to be filled by `load_state_dict`.

    Args:
        spec: the model.

    Returns:
        A `PreTrainedModel` in float32.
    """
    import torch
    from transformers.initialization import no_init_weights

    foreign = _foreign(spec)
    config = _read_config(foreign, num_labels=spec.num_labels)
    with torch.random.fork_rng(devices=[]), no_init_weights(), quietly():
        return _auto_class(foreign).from_config(
            config, dtype=torch.float32, trust_remote_code=foreign.trust_remote_code
        )


def run_foreign(model: Any, spec: ModelSpec, ids: Mapping[str, Any], lengths_B: np.ndarray) -> Any:
    """One forward pass over a packed batch, padded for it.

    Texts are padded at the end, but for language models, which sentence-transformers pads in front.

    Args:
        model: the `PreTrainedModel`.
        spec: its spec.
        ids: "ids" and "types", each (T,), int64, on the model's device.
        lengths_B: tokens of each text.

    Returns:
        States_TD of a feature extractor, else logits_BN.
    """
    import torch

    foreign = _foreign(spec)
    longest = max(int(lengths_B.max(initial=1)), 1)
    columns_L = np.arange(longest)[None, :]
    pads_left = foreign.task == "text-generation"
    is_token_BL = columns_L >= longest - lengths_B[:, None] if pads_left else columns_L < lengths_B[:, None]
    mask_BL = torch.from_numpy(is_token_BL).to(ids["ids"].device)
    padding = getattr(model.config.get_text_config(), "pad_token_id", None) or 0
    padding = padding if 0 <= padding < spec.architecture.vocab_size else 0  # early language models have -1
    inputs = {"input_ids": ids["ids"].new_full(mask_BL.shape, padding).masked_scatter(mask_BL, ids["ids"])}
    if spec.uses_type_ids:
        inputs["token_type_ids"] = torch.zeros_like(inputs["input_ids"]).masked_scatter(mask_BL, ids["types"])
    if foreign.task == "feature-extraction":
        return model(**inputs, attention_mask=mask_BL.long()).last_hidden_state[mask_BL]
    if foreign.task == "sequence-classification":
        return model(**inputs, attention_mask=mask_BL.long()).logits
    logits_BV = model(**inputs, attention_mask=mask_BL.long(), logits_to_keep=1).logits[:, -1].float()
    score = next(module for module in spec.modules if isinstance(module, LogitScore))
    true_B = logits_BV[:, score.true_id]
    return (true_B if score.false_id is None else true_B - logits_BV[:, score.false_id])[:, None]


def recompute_layers(model: Any) -> None:
    """Makes a model recompute its layers in the backward pass.

    Args:
        model: the `PreTrainedModel`.

    Raises:
        ConfigError: transformers cannot do that for its family.
    """
    # the first versions of transformers 5 know only the second name, later ones warn of it
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    try:
        enable({"use_reentrant": False})
    except ValueError as err:
        raise ConfigError(
            f"gradient_checkpointing = true: transformers cannot recompute the layers of {model.config.model_type} "
            "models. Leave it out, and make the micro-batches smaller if memory does not suffice."
        ) from err


def takes_type_ids(foreign: Foreign) -> bool:
    """Whether the model's forward pass has a place for type ids."""
    import inspect

    import transformers

    mapping = getattr(transformers, _CLASSES[foreign.task])._model_mapping
    config = _read_config(foreign)
    model_class = mapping[type(config)] if type(config) in mapping else None
    model_class = model_class[0] if isinstance(model_class, tuple) else model_class
    return model_class is None or "token_type_ids" in inspect.signature(model_class.forward).parameters


def save_foreign(spec: ModelSpec, tensors: Mapping[str, np.ndarray], folder: Path) -> None:
    """Writes config and weights as transformers writes them.

    Args:
        spec: the model.
        tensors: by the names of `read_foreign`.
        folder: where.
    """
    import torch

    model = build_foreign(spec)
    own = {name.removeprefix(PREFIX): torch.tensor(array) for name, array in tensors.items() if name.startswith(PREFIX)}
    model.load_state_dict(own, assign=True, strict=False)
    model.tie_weights()
    with quietly():
        model.save_pretrained(folder)


def _foreign(spec: ModelSpec) -> Foreign:
    assert spec.foreign is not None
    return spec.foreign


def _auto_class(foreign: Foreign) -> Any:
    import transformers

    name, config = _CLASSES[foreign.task], _read_config(foreign)
    is_encoder = any(str(name).endswith("EncoderModel") for name in config.architectures or ())
    encoders = transformers.AutoModelForTextEncoding
    if name == "AutoModel" and (is_encoder or config.is_encoder_decoder) and type(config) in encoders._model_mapping:
        return encoders  # of an encoder-decoder such as T5 only the encoder embeds
    return getattr(transformers, name)


def _read_config(foreign: Foreign, num_labels: int | None = None) -> Any:
    from transformers import AutoConfig

    labels = {"num_labels": num_labels} if foreign.task == "sequence-classification" and num_labels else {}
    path = foreign.folder / "config.json"
    elsewhere = None if foreign.trust_remote_code else _code_elsewhere(read_object(path))
    if elsewhere is not None:
        raise ModelFormatError(
            f"{path}: its attn_implementation or experts_implementation is code on the Hub, {elsewhere!r}. Remove the "
            "key; with trust_remote_code=True transformers downloads and runs the code."
        )
    try:
        with quietly():
            config = AutoConfig.from_pretrained(
                foreign.folder, trust_remote_code=foreign.trust_remote_code, local_files_only=True, **labels
            )
        config.return_dict = True
        return config
    except Exception as err:
        advice = "Correct the file, or download it again."
        if "auto_map" in read_object(path):
            advice = _FETCH_ADVICE if foreign.trust_remote_code else TRUST_ADVICE
        raise ModelFormatError(
            f"{path}: the family is none of ours, and transformers does not open it: {first_line(err)} {advice}"
        ) from err


def _code_elsewhere(config: Any) -> str | None:
    """A kernel of the Hub in any part of a config, which transformers would download and run without being asked."""
    parts = [config]
    for part in parts:  # which grows meanwhile
        pairs = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
        for key, value in pairs:
            if str(key).removeprefix("_").startswith(_KERNEL_KEYS) and "/" in str(value):
                return str(value)
            parts.append(value)
    return None


@lru_cache(maxsize=64)
def _say_once(family: str, folder: Path) -> None:
    logger.warning(
        "%s: its family is %s, for which we have no code. It runs through transformers, padded, on torch.",
        folder,
        family,
    )
