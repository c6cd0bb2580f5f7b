"""The modules of a sentence-transformers checkpoint: modules.json, the folders that it names, and routers in it.

In: a folder. Out: the modules that each task runs through, and what their configs say as `Module`s. OLD below is
sentence-transformers before v5.4, NEW since.
"""

import ast
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankwright.encoder.spec import POOLING_MODES, Dense, Kind, LayerNorm, LogitScore, Module, Normalize, Pooling
from rankwright.errors import ModelFormatError

TANH = "torch.nn.modules.activation.Tanh"

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
                f"start with one of {', '.join(INPUT_MODULES)}. Use sentence-transformers for this model."
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
                f"({', '.join(_READERS)}). Use sentence-transformers for this model."
            )
        path = folder / entry.path / "config.json"
        config = read_json(path)
        needed = config.get("module_input_name") or reader.needs
        if entry.class_name == "LogitScore":
            given = needed  # the transformer then is a language model
        if needed != given:
            raise ModelFormatError(
                f"{path if path.is_file() else place}: {entry.class_name} reads {needed!r}, but the module before it "
                f"gives {given!r}. {_advice(given, needed)}"
            )
        modules.append(reader.read(path, entry.path, config))
        given = config.get("module_output_name") or reader.gives or needed
    if given != _FEATURES[kind]:
        raise ModelFormatError(
            f"{place}: the last module gives {given!r}, a {kind} needs {_FEATURES[kind]!r}. "
            f"{_advice(given, _FEATURES[kind])}"
        )
    return tuple(modules)


def _advice(given: str, needed: str) -> str:
    """What to do where a module needs what none before it gives."""
    if (given, needed) == ("token_embeddings", "sentence_embedding"):
        return "A bi-encoder needs a Pooling after its Transformer: add one there."
    if (given, needed) == ("scores", "sentence_embedding"):
        return "Scores come from a cross-encoder: open it with CrossEncoder."
    return "Correct the order of the modules, or the names of what they read and give."


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, empty where there is no file.

    Args:
        path: the file.

    Returns:
        Its content.

    Raises:
        ModelFormatError: it is not JSON, or not an object.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as err:
        raise ModelFormatError(f"{path} is not JSON: {err}. Download the model again.") from err
    if not isinstance(content, dict):
        raise ModelFormatError(f"{path}: expected a JSON object, got {type(content).__name__}.")
    return content


def trusted_activation(path: Path, activation: str | None, *, default: str) -> str:
    """The dotted path of an activation, which must be torch's: no other code of a checkpoint is run.

    Args:
        path: the file that names it.
        activation: the name, or None.
        default: what takes its place.

    Returns:
        The activation, or with a warning the default.
    """
    if activation is None or activation.startswith("torch."):
        return activation or default
    warnings.warn(
        f"{path}: the activation {activation!r} is not torch's and is not run; {default} takes its place. "
        "Pass activation= to choose another.",
        stacklevel=2,
    )
    return default


def _listed(folder: Path) -> tuple[Entry, ...]:
    """The modules of modules.json."""
    path = folder / "modules.json"
    if not path.is_file():
        return ()
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        entries = tuple(Entry(_class_name(module["type"]), _inside(path, module["path"])) for module in listed)
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        if isinstance(err, ModelFormatError):
            raise
        raise ModelFormatError(f"{path}: expected a JSON list of objects with 'path' and 'type'.") from err
    if not entries:
        raise ModelFormatError(f"{path}: expected a JSON list of modules, got none. Download the model again.")
    return entries


def _class_name(module_type: str) -> str:
    """The class of a sentence-transformers module, in the spelling of any version; of other modules the whole path."""
    return module_type.rsplit(".", 1)[-1] if module_type.startswith("sentence_transformers.") else module_type


def _inside(file: Path, path: str) -> str:
    """A folder that a file names; it must not lead out of the checkpoint."""
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise ModelFormatError(f"{file}: the path {path!r} leads out of the folder.")
    return Path(path).as_posix().removeprefix(".").strip("/")


def _read_router(folder: Path, router: Entry) -> dict[str | None, tuple[Entry, ...]]:
    """The modules of each route, by the tasks that take it, resolved in the order of sentence-transformers."""
    names = ("router_config.json", "config.json")
    path = next((p for name in names if (p := folder / router.path / name).is_file()), folder / router.path / names[0])
    config = read_json(path)
    try:
        types = {name: _class_name(module_type) for name, module_type in config["types"].items()}
        routes = {
            route: tuple(Entry(types[name], _inside(path, f"{router.path}/{name}".lstrip("/"))) for name in names)
            for route, names in config["structure"].items()
        }
        parameters = config.get("parameters") or {}
        mappings = {ast.literal_eval(key): name for key, name in (parameters.get("route_mappings") or {}).items()}
    except (KeyError, AttributeError, TypeError, ValueError, SyntaxError) as err:
        if isinstance(err, ModelFormatError):
            raise
        raise ModelFormatError(f"{path}: expected the keys 'types', 'structure' and 'parameters' of a router.") from err
    default = parameters.get("default_route")
    if default is None and parameters.get("allow_empty_key", True):
        default = next(iter(routes), None)
    found: dict[str | None, tuple[Entry, ...]] = {}
    tasks = dict.fromkeys([None, "query", "document", *routes, *(task for task, _ in mappings)])
    for task in tasks:
        mapped = [mappings.get(key) for key in ((task, "text"), (task, None), (None, "text"), (None, None))]
        own = task if task in routes else "text" if "text" in routes else default if task is None else None
        name = next((name for name in mapped if name is not None), own)
        if name is not None and name not in routes:
            raise ModelFormatError(f"{path}: the route {name!r} is not in its structure ({', '.join(routes)}).")
        if name is not None:
            found[task] = routes[name]
    return found


def _read_pooling(path: Path, name: str, config: Mapping[str, Any]) -> Pooling:
    modes: Any = config.get("pooling_mode") or tuple(mode for mode in POOLING_MODES if config.get(POOLING_KEYS[mode]))
    modes = (modes,) if isinstance(modes, str) else tuple(modes) or ("mean",)
    unknown = [mode for mode in modes if mode not in POOLING_MODES]
    if unknown:
        raise ModelFormatError(f"{path}: unknown pooling mode {unknown[0]!r}. Known modes: {', '.join(POOLING_MODES)}.")
    return Pooling(modes=modes, include_prompt=bool(config.get("include_prompt", True)))


def _read_dense(path: Path, name: str, config: Mapping[str, Any]) -> Dense:
    if "in_features" not in config or "out_features" not in config:
        raise ModelFormatError(f"{path}: a Dense module needs in_features and out_features.")
    return Dense(
        name=name,
        in_features=config["in_features"],
        out_features=config["out_features"],
        use_bias=bool(config.get("bias", True)),
        activation=trusted_activation(path, config.get("activation_function"), default=TANH),
        adds_input=bool(config.get("use_residual", False)),
    )


def _read_layer_norm(path: Path, name: str, config: Mapping[str, Any]) -> LayerNorm:
    if "dimension" not in config:
        raise ModelFormatError(f"{path}: a LayerNorm module needs dimension.")
    return LayerNorm(name=name, size=config["dimension"])


def _read_logit_score(path: Path, name: str, config: Mapping[str, Any]) -> LogitScore:
    if "true_token_id" not in config:
        raise ModelFormatError(f"{path}: a LogitScore module needs true_token_id.")
    return LogitScore(config["true_token_id"], config.get("false_token_id"))


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
    "Normalize": _Reader(lambda path, name, config: Normalize()),
    "LogitScore": _Reader(_read_logit_score, needs="causal_logits", gives="scores"),
}
