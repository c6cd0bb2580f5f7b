"""The modules of a sentence-transformers checkpoint: modules.json, the folders that it names, and routers in it.

In: a folder. Out: the modules that each task runs through, and what their configs say as `Module`s. OLD below is
sentence-transformers before v5.4, NEW since.
"""

import ast
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import Any

from rankwright.encoder.ops_openvino import OPENVINO_ACTIVATIONS
from rankwright.encoder.spec import (
    POOLING_MODES,
    Architecture,
    Dense,
    Dropout,
    Kind,
    LayerNorm,
    LogitScore,
    Module,
    Normalize,
    Pooling,
)
from rankwright.errors import MissingExtraError, ModelFormatError
from rankwright.hub import ROUTER_CONFIGS
from rankwright.json_values import COUNT, FLAG, RATE, SIZE, TEXT, Expected, read_json, read_object, value_of

TANH = "torch.nn.modules.activation.Tanh"

ST_DROPOUT = 0.2
"""The rate of a Dropout module whose config has none."""

POOLING_KEYS = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
"""Pooling mode -> the key of its boolean in OLD's config."""

INPUT_MODULES = ("Transformer", "StaticEmbedding")
"""What a model can begin with."""

_LONGEST_PATH = 255
"""Bytes that file systems allow for a name; longer ones raise errors of their own."""

_ROUTERS = ("Router", "Asym")
_FEATURES = {"bi-encoder": "sentence_embedding", "cross-encoder": "scores"}
"""What the last module gives, by kind."""


@dataclass(frozen=True)
class Entry:
    """A module: the name of its class in sentence-transformers, and its folder below the checkpoint's."""

    class_name: str
    path: str


Routes = Mapping[str | None, tuple[Entry, ...]]
"""The modules for each task; under None those for texts without one. A model without a router has no other key."""


def read_routes(folder: Path) -> Routes:
    """What modules.json says, with the routes of a router.

    Args:
        folder: the checkpoint.

    Returns:
        The modules in order; none where there is no modules.json.

    Raises:
        ModelFormatError: a file that is damaged, that leads out of the folder, or that begins with what we do not run.
    """
    entries = _listed(folder)
    place = next((i for i, entry in enumerate(entries) if entry.class_name in _ROUTERS), None)
    routes: dict[str | None, tuple[Entry, ...]] = {None: entries}
    if place is not None:
        found = _read_router(folder, entries[place])
        routes = {task: (*entries[:place], *route, *entries[place + 1 :]) for task, route in found.items()}
    for route in routes.values():
        if route and route[0].class_name not in INPUT_MODULES:
            raise ModelFormatError(
                f"{folder / 'modules.json'}: the first module is {route[0].class_name!r}; rankwright runs models that "
                f"start with one of {', '.join(INPUT_MODULES)}{_about_code(route[0])}. "
                "Use sentence-transformers for this model."
            )
    return routes


def read_modules(folder: Path, entries: Sequence[Entry], kind: Kind) -> tuple[Module, ...]:
    """What follows the first module.

    Args:
        folder: the checkpoint.
        entries: of `read_routes`, the first module included.
        kind: what the last module must give.

    Returns:
        The modules.

    Raises:
        ModelFormatError: a module that we do not run, or one that reads what none before it gives.
    """
    place = folder / "modules.json"
    modules: list[Module] = []
    given = "token_embeddings" if entries[0].class_name == "Transformer" else "sentence_embedding"
    for entry in entries[1:]:
        reader = _READERS.get(entry.class_name)
        if reader is None:
            raise ModelFormatError(
                f"{place}: module {entry.class_name!r} is not one that rankwright runs "
                f"({', '.join(_READERS)}{_about_code(entry)}). Use sentence-transformers for this model."
            )
        path = folder / entry.path / "config.json"
        config = read_object(path)
        needed = value_of(config, "module_input_name", TEXT, path) or reader.needs
        if entry.class_name == "LogitScore":
            given = needed  # the transformer then is a language model
        if needed != given:
            raise ModelFormatError(
                f"{path if path.is_file() else place}: {entry.class_name} reads {needed!r}, but the module before it "
                f"gives {given!r}. {_advice(given, needed)}"
            )
        modules.append(reader.read(path, entry.path, config))
        given = value_of(config, "module_output_name", TEXT, path) or reader.gives or needed
    if given != _FEATURES[kind]:
        raise ModelFormatError(
            f"{place}: the last module gives {given!r}, a {kind} needs {_FEATURES[kind]!r}. "
            f"{_advice(given, _FEATURES[kind])}"
        )
    return tuple(modules)


def check_sizes(folder: Path, entries: Sequence[Entry], modules: Sequence[Module], arch: Architecture) -> None:
    """Whether each module takes what the one before it gives.

    Args:
        folder: the checkpoint.
        entries: of `read_routes`, the first module included.
        modules: of `read_modules`.
        arch: the sizes of the first module.

    Raises:
        ModelFormatError: a size that does not fit; the message names the module's file.
    """
    size, giver = arch.hidden_size, entries[0].class_name
    for entry, module in zip(entries[1:], modules, strict=True):
        path = folder / entry.path / "config.json"
        advice = f"the {giver} before it gives {size}. Take the files of one checkpoint."
        match module:
            case Pooling():
                config = read_object(path)
                noted = [config.get(key, size) for key in ("word_embedding_dimension", "embedding_dimension")]
                for value in noted:
                    if value != size:  # nothing is computed with it, neither here nor in sentence-transformers
                        warnings.warn(f"{path} describes states of size {value!r}, but {advice}", stacklevel=2)
                size *= len(module.modes)
            case Dense(in_features=needed) | LayerNorm(size=needed) if needed != size:
                raise ModelFormatError(f"{path}: {entry.class_name} takes vectors of size {needed}, but {advice}")
            case Dense():
                size = module.out_features
            case LogitScore():
                beyond = [i for i in (module.true_id, module.false_id) if i is not None and i >= arch.vocab_size]
                if beyond:
                    raise ModelFormatError(
                        f"{path}: token {beyond[0]} is outside of the vocabulary of {arch.vocab_size}. "
                        "Correct true_token_id and false_token_id."
                    )
        giver = entry.class_name


def _about_code(entry: Entry) -> str:
    """What to say of a module whose class is not one of sentence-transformers."""
    if "." not in entry.class_name:
        return ""
    return (
        ", and no module's own code, not even with trust_remote_code=True, which lets transformers run the code that a "
        "checkpoint brings for its transformer or tokenizer"
    )


def _advice(given: str, needed: str) -> str:
    """What to do where a module needs what none before it gives."""
    if (given, needed) == ("token_embeddings", "sentence_embedding"):
        return "A bi-encoder needs a Pooling after its Transformer: add one there."
    if (given, needed) == ("scores", "sentence_embedding"):
        return "Scores come from a cross-encoder: open it with CrossEncoder."
    return "Correct the order of the modules, or the names of what they read and give."


def trusted_activation(path: Path, activation: object, *, default: str) -> str:
    """The dotted path of an activation, which must be torch's: no other code of a checkpoint is run.

    Args:
        path: the file that names it.
        activation: the name, or None.
        default: what takes its place.

    Returns:
        The activation, or with a warning the default.

    Raises:
        ModelFormatError: it is no text, or names something of torch that is no activation.
        MissingExtraError: an activation that only torch has, which is not installed.
    """
    if not activation:
        return default
    if not isinstance(activation, str):
        raise ModelFormatError(
            f"{path}: the activation is {activation!r:.80}, expected the path of a torch.nn class. Correct it there."
        )
    if not activation.startswith("torch."):
        warnings.warn(
            f"{path}: the activation {activation!r} is not torch's and is not run; {default} takes its place, as in "
            "sentence-transformers. Name a torch.nn class there; a cross-encoder also takes activation=.",
            stacklevel=2,
        )
        return default
    if activation in OPENVINO_ACTIVATIONS:
        return activation
    if find_spec("torch") is None:
        raise MissingExtraError(f"{path}: the activation {activation!r}", "torch", "torch")
    from rankwright.encoder.activations_torch import activation_function

    try:
        activation_function(activation)
    except ModelFormatError as err:
        raise ModelFormatError(f"{path}: {err}") from err
    return activation


def _listed(folder: Path) -> tuple[Entry, ...]:
    """The modules of modules.json."""
    path = folder / "modules.json"
    if not path.is_file():
        return ()
    try:
        entries = tuple(Entry(_class_name(m["type"]), _inside(path, m["path"])) for m in read_json(path))
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        if isinstance(err, ModelFormatError):
            raise
        raise ModelFormatError(
            f"{path}: expected a JSON list of objects with 'path' and 'type'. Download the model again."
        ) from err
    if not entries:
        raise ModelFormatError(f"{path}: expected a JSON list of modules, got none. Download the model again.")
    return entries


def _class_name(module_type: str) -> str:
    """The class of a sentence-transformers module, in the spelling of any version; of other modules the whole path."""
    return module_type.rsplit(".", 1)[-1] if module_type.startswith("sentence_transformers.") else module_type


def _inside(file: Path, path: str) -> str:
    """A folder that a file names; it must not lead out of the checkpoint."""
    inside = PurePath(path)
    if inside.is_absolute() or ".." in inside.parts:
        raise ModelFormatError(f"{file}: the path {path!r} leads out of the folder. Do not trust this checkpoint.")
    if len(path.encode()) > _LONGEST_PATH:
        raise ModelFormatError(f"{file}: no folder has the name {path!r:.80}. Download the model again.")
    return "" if inside == PurePath() else inside.as_posix()


def _read_router(folder: Path, router: Entry) -> dict[str | None, tuple[Entry, ...]]:
    """The modules of each route, by the tasks that take it, resolved in the order of sentence-transformers."""
    paths = [folder / router.path / name for name in ROUTER_CONFIGS]
    path = next((path for path in paths if path.is_file()), paths[0])
    config = read_object(path)
    try:
        types = {name: _class_name(module_type) for name, module_type in config["types"].items()}
        routes = {
            route: tuple(Entry(types[name], _inside(path, f"{router.path}/{name}".lstrip("/"))) for name in names)
            for route, names in config["structure"].items()
        }
        parameters = config.get("parameters") or {}
        default = value_of(parameters, "default_route", TEXT, path)
        listed = parameters.get("route_mappings") or {}
        mappings = {(task, modality): listed[key] for key in listed for task, modality in [ast.literal_eval(key)]}
        if default is None and parameters.get("allow_empty_key", True):
            default = next(iter(routes), None)
        return _by_task(path, routes, mappings, default)
    except (KeyError, AttributeError, TypeError, ValueError, SyntaxError, RecursionError, MemoryError) as err:
        if isinstance(err, ModelFormatError):
            raise
        raise ModelFormatError(
            f"{path}: expected the keys 'types', 'structure' and 'parameters' of a router. Download the model again."
        ) from err


def _by_task(
    path: Path,
    routes: Mapping[str, tuple[Entry, ...]],
    mappings: Mapping[tuple[str | None, str | None], str],
    default: str | None,
) -> dict[str | None, tuple[Entry, ...]]:
    """The route of each task, where it has one, and of texts without a task."""
    found: dict[str | None, tuple[Entry, ...]] = {}
    tasks = dict.fromkeys([None, "query", "document", *routes, *(task for task, _ in mappings)])
    for task in tasks:
        mapped = [mappings.get(key) for key in ((task, "text"), (task, None), (None, "text"), (None, None))]
        own = task if task in routes else "text" if "text" in routes else default if task is None else None
        name = next((name for name in mapped if name is not None), own)
        if name is not None and not routes.get(name):
            known = ", ".join(route for route in routes if routes[route])
            raise ModelFormatError(f"{path}: the route {name!r} has no modules in its structure ({known}). Add them.")
        if name is not None:
            found[task] = routes[name]
    return found


def _read_pooling(path: Path, name: str, config: Mapping[str, Any]) -> Pooling:
    if not path.is_file():
        raise ModelFormatError(f"{path} does not exist, so that nobody knows how to pool. Download the model again.")
    named: Any = config.get("pooling_mode")
    modes = (named,) if isinstance(named, str) else named
    if not modes:
        modes = [mode for mode in POOLING_MODES if value_of(config, POOLING_KEYS[mode], FLAG, path)] or ["mean"]
    unknown = [mode for mode in modes if mode not in POOLING_MODES] if isinstance(modes, list | tuple) else [named]
    if unknown:
        raise ModelFormatError(f"{path}: unknown pooling mode {unknown[0]!r}. Known modes: {', '.join(POOLING_MODES)}.")
    return Pooling(modes=tuple(modes), include_prompt=value_of(config, "include_prompt", FLAG, path, True))


def _read_dense(path: Path, name: str, config: Mapping[str, Any]) -> Dense:
    return Dense(
        name=_own_folder(path, name, "Dense"),
        in_features=_needed(config, "in_features", SIZE, path, "Dense"),
        out_features=_needed(config, "out_features", SIZE, path, "Dense"),
        use_bias=value_of(config, "bias", FLAG, path, True),
        activation=trusted_activation(path, config.get("activation_function"), default=TANH),
        adds_input=value_of(config, "use_residual", FLAG, path, False),
    )


def _read_layer_norm(path: Path, name: str, config: Mapping[str, Any]) -> LayerNorm:
    size = _needed(config, "dimension", SIZE, path, "LayerNorm")
    return LayerNorm(name=_own_folder(path, name, "LayerNorm"), size=size)


def _read_dropout(path: Path, name: str, config: Mapping[str, Any]) -> Dropout:
    return Dropout(value_of(config, "dropout", RATE, path, ST_DROPOUT))


def _read_logit_score(path: Path, name: str, config: Mapping[str, Any]) -> LogitScore:
    true_id = _needed(config, "true_token_id", COUNT, path, "LogitScore")
    return LogitScore(true_id, value_of(config, "false_token_id", COUNT, path))


def _needed(config: Mapping[str, Any], key: str, expected: Expected, path: Path, module: str) -> Any:
    value = value_of(config, key, expected, path)
    if value is None:
        raise ModelFormatError(f"{path}: a {module} module needs {key}. Download the model again.")
    return value


def _own_folder(path: Path, name: str, module: str) -> str:
    """The folder of a module with tensors, which are named after it."""
    if not name:
        raise ModelFormatError(
            f"{path.parent / 'modules.json'}: a {module} module needs a folder of its own as 'path'."
        )
    return name


@dataclass(frozen=True)
class _Reader:
    """How a module's config is read, and the features that it needs and gives if the config does not say."""

    read: Callable[[Path, str, Mapping[str, Any]], Module]
    needs: str = "sentence_embedding"
    gives: str | None = None


_READERS = {
    "Pooling": _Reader(_read_pooling, needs="token_embeddings", gives="sentence_embedding"),
    "Dense": _Reader(_read_dense),
    "LayerNorm": _Reader(_read_layer_norm),
    "Dropout": _Reader(_read_dropout),
    "Normalize": _Reader(lambda path, name, config: Normalize()),
    "LogitScore": _Reader(_read_logit_score, needs="causal_logits", gives="scores"),
}
