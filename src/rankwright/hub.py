"""Names to folders: a local folder, the Hub, or the Hub's cache when the Hub is not to be asked or not there.

In: a path or a name such as "all-MiniLM-L6-v2" or "org/model". Out: the folder of the checkpoint.
"""

import logging
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rankwright.errors import HubError
from rankwright.json_values import read_json, read_object

logger = logging.getLogger(__name__)

_ORGANIZATIONS = {"bi-encoder": "sentence-transformers", "cross-encoder": "cross-encoder"}
"""Where sentence-transformers looks for a name without a slash."""

_ROOT_NAMES = frozenset(
    """
    bert-base-cased bert-base-cased-finetuned-mrpc bert-base-chinese bert-base-german-cased bert-base-german-dbmdz-cased
    bert-base-german-dbmdz-uncased bert-base-multilingual-cased bert-base-multilingual-uncased bert-base-uncased
    bert-large-cased bert-large-cased-whole-word-masking bert-large-cased-whole-word-masking-finetuned-squad
    bert-large-uncased bert-large-uncased-whole-word-masking bert-large-uncased-whole-word-masking-finetuned-squad
    camembert-base distilbert-base-cased distilbert-base-cased-distilled-squad distilbert-base-german-cased
    distilbert-base-multilingual-cased distilbert-base-uncased distilbert-base-uncased-distilled-squad
    distilbert-base-uncased-finetuned-sst-2-english distilroberta-base roberta-base roberta-base-openai-detector
    roberta-large roberta-large-mnli roberta-large-openai-detector xlm-roberta-base xlm-roberta-large
    xlm-roberta-large-finetuned-conll02-dutch xlm-roberta-large-finetuned-conll02-spanish
    xlm-roberta-large-finetuned-conll03-english xlm-roberta-large-finetuned-conll03-german
    """.split()
)
"""Models of our families whose name on the Hub has no slash, so that no organization is put before it."""

_HUB_NAME = re.compile(r"(?=.{1,96}$)\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)
"""What the Hub allows as a name."""

WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""The files that hold or list a module's tensors: the first that exists is downloaded, with its shards, and read."""

_WITH_WEIGHTS = frozenset(["Transformer", "StaticEmbedding", "Dense", "LayerNorm"])
"""Modules without whose weights a model is not whole."""

LEVELS_FILE = "int8.safetensors"
"""How a quantised model's inputs are rounded; read by us alone, other libraries load the weights beside it."""

ROUTER_CONFIGS = ("router_config.json", "config.json")
"""Where a router, by its new or old name, lists its modules."""

_SUFFIXES = (".json", ".txt", ".model", ".jinja")
"""What configs and tokenizers are written in."""


def resolve(
    name: str,
    *,
    kind: Literal["bi-encoder", "cross-encoder"],
    revision: str | None = None,
    cache_folder: str | Path | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    takes_code: bool = False,
) -> Path:
    """The folder that a model's name stands for, downloaded if need be.

    A folder is taken as it is. Any other name is one of the Hub, which is asked for the newest files; where it must not
    be asked (`local_files_only` or HF_HUB_OFFLINE=1: no socket is opened) or cannot be reached, its cache serves.

    Args:
        name: a folder, or a name on the Hub; one without a slash belongs to sentence-transformers or cross-encoder.
        kind: decides between the two.
        revision: branch, tag or commit; None: main.
        cache_folder: where downloads are kept; None: SENTENCE_TRANSFORMERS_HOME, else the Hub's own cache.
        token: for private models; None: HF_TOKEN or the stored login.
        local_files_only: never ask the Hub.
        takes_code: fetch the checkpoint's Python files too; nothing here runs them.

    Returns:
        The folder.

    Raises:
        HubError: neither a folder, nor on the Hub, nor in its cache; the message says what was tried and what failed.
    """
    path = os.path.expanduser(name)  # noqa: PTH111  # pathlib raises where there is no such user
    if name and os.path.isdir(path):  # noqa: PTH112  # or where a name is too long for the file system
        return Path(path)
    if os.path.isfile(path):  # noqa: PTH113
        raise HubError(f"{name!r} is a file. Expected the folder of a model, or a name on the Hub.")
    if not _HUB_NAME.fullmatch(name):
        raise HubError(
            f"there is no folder {name!r:.300} (in {Path.cwd()}), and it is no name on the Hub. Check the path."
        )
    environment = _read_environment()
    full_name = name
    if "/" not in name and name.lower() not in _ROOT_NAMES:
        full_name = f"{_ORGANIZATIONS[kind]}/{name}"
    source = _Source(full_name, revision, cache_folder or environment.cache_folder, token, takes_code)
    if not (local_files_only or environment.offline):
        return _download(source)
    cached = _cached(source)
    if cached is None:
        reason = "local_files_only=True" if local_files_only else environment.offline
        raise HubError(
            f"{source} is neither a folder (in {Path.cwd()}) nor whole in the Hub's cache, and {reason} forbids a "
            "download. Download it once without that setting, or give a folder."
        )
    return cached


@dataclass(frozen=True)
class _Environment:
    """What the environment asks for; `offline` is the variable that forbids to ask the Hub, with its value, or None."""

    offline: str | None
    cache_folder: str | None


def _read_environment() -> _Environment:
    """The one place where the library reads environment variables; HF_TOKEN and HF_HOME are huggingface_hub's own."""
    truths = {"1", "true", "yes", "on"}
    given = ((key, os.environ.get(key, "")) for key in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))
    return _Environment(
        offline=next((f"{key}={value}" for key, value in given if value.lower() in truths), None),
        cache_folder=os.environ.get("SENTENCE_TRANSFORMERS_HOME") or None,
    )


@dataclass(frozen=True)
class _Source:
    """A model on the Hub, and how to get at it."""

    name: str
    revision: str | None
    cache_folder: str | Path | None
    token: str | bool | None
    takes_code: bool = False

    def __str__(self) -> str:
        return f"{self.name!r}" + (f" (revision {self.revision!r})" if self.revision else "")


def _download(source: _Source) -> Path:
    """The newest files from the Hub; those of the cache where it cannot be reached."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return _fetch(source)
    except GatedRepoError as err:
        raise HubError(f"{source}: its owner must grant you access on the Hub first; then pass token=.") from err
    except RevisionNotFoundError as err:
        raise HubError(f"{source}: the Hub has the model, but not this revision. Check the revision.") from err
    except (RepositoryNotFoundError, HFValidationError) as err:
        raise HubError(
            f"{source} is neither a folder (in {Path.cwd()}) nor a model on the Hub that you may read. Check the name, "
            "or pass token= for a private model."
        ) from err
    except Exception as err:  # a lost connection has no type that all versions of huggingface_hub share
        cached = _cached(source)
        if cached is None:
            raise HubError(
                f"{source} could not be fetched from the Hub ({type(err).__name__}: {err}), and its cache does not "
                "hold the whole model. Check the connection, or give a folder."
            ) from err
        logger.warning("%s could not be fetched from the Hub (%s): the cached files serve.", source, err)
        return cached


def _fetch(source: _Source) -> Path:
    """The snapshot in the cache, with the needed files brought up to date."""
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download

    def fetch(file: str) -> Path:
        revision, cache = source.revision, source.cache_folder
        return Path(hf_hub_download(source.name, file, revision=revision, cache_dir=cache, token=source.token))

    # unlike list_repo_files, which tries again for 20 seconds, this fails at once where there is no connection
    siblings = HfApi(token=source.token).model_info(source.name, revision=source.revision).siblings or []
    files = [sibling.rfilename for sibling in siblings]
    needed = _needed(files, _module_folders(files, fetch), takes_code=source.takes_code)
    for index in [file for file in needed if file.endswith(".index.json")]:
        needed += _shards(fetch(index), index)
    snapshot = Path(
        snapshot_download(
            source.name,
            revision=source.revision,
            cache_dir=source.cache_folder,
            token=source.token,
            allow_patterns=needed,
        )
    )
    for name in _code_elsewhere(snapshot) if source.takes_code else ():
        # into the cache where transformers, which is not to ask the Hub, looks for it
        snapshot_download(name, token=source.token, allow_patterns=["*.py"])
    return snapshot


def _code_elsewhere(folder: Path) -> list[str]:
    """The repositories whose code the configs of a checkpoint name as theirs, as "owner/name--file.Class"."""
    named: list[Any] = []
    for path in (*folder.rglob("config.json"), *folder.rglob("tokenizer_config.json")):
        auto_map = read_object(path).get("auto_map")
        listed = list(auto_map.values()) if isinstance(auto_map, dict) else []
        named += [each for entry in listed for each in (entry if isinstance(entry, list) else [entry])]
    repositories = [name.partition("--")[0] for name in named if isinstance(name, str) and "--" in name]
    return [name for name in dict.fromkeys(repositories) if _HUB_NAME.fullmatch(name)]


def _cached(source: _Source) -> Path | None:
    """The snapshot in the cache, if it holds all that the model needs; opens no socket."""
    from huggingface_hub import try_to_load_from_cache

    found = (
        try_to_load_from_cache(source.name, file, cache_dir=source.cache_folder, revision=source.revision)
        for file in ("modules.json", "config.json")
    )
    path = next((Path(file) for file in found if isinstance(file, str)), None)
    if path is None:
        return None
    snapshot = path.parent
    files = [file.relative_to(snapshot).as_posix() for file in snapshot.rglob("*") if file.is_file()]
    folders = _module_folders(files, lambda file: snapshot / file)
    holds = {folder: any(_join(folder, weights) in files for weights in WEIGHT_FILES) for folder in folders}
    needs = [folder for folder, module in folders.items() if module in _WITH_WEIGHTS]
    has_weights = all(holds[folder] for folder in needs) and any(holds.values())
    shards = [
        shard
        for file in _needed(files, folders, takes_code=source.takes_code)
        if file.endswith(".index.json")
        for shard in _shards(snapshot / file, file)
    ]
    return snapshot if has_weights and set(shards) <= set(files) else None


def _module_folders(files: Sequence[str], fetch: Callable[[str], Path]) -> dict[str, str]:
    """The folders that modules.json names, the first module's first, and those that a router among them names.

    To each the class of its module, without the path that versions of sentence-transformers spell differently.
    """
    if "modules.json" not in files:
        return {"": "Transformer"}
    listed = read_json(fetch("modules.json"))
    modules = [module for module in listed if isinstance(module, dict)] if isinstance(listed, list) else []
    folders: dict[str, str] = {}
    for module in modules:
        if isinstance(path := module.get("path"), str):
            folder = "" if path == "." else path.removeprefix("./").strip("/")
            folders.setdefault(folder, _class_name(module.get("type")))
    folders = folders or {"": "Transformer"}
    for folder in list(folders):
        configs = [file for name in ROUTER_CONFIGS if (file := _join(folder, name)) in files]
        content = read_object(fetch(configs[0])) if configs else {}
        types = content.get("types")
        if "structure" in content and isinstance(types, dict):
            folders |= {_join(folder, name): _class_name(module) for name, module in types.items()}
    return folders


def _class_name(module_type: object) -> str:
    return str(module_type).rpartition(".")[2]


def _needed(files: Sequence[str], folders: Iterable[str], *, takes_code: bool) -> list[str]:
    """Configs and tokenizer of the folders, one form of the weights of each, and the code if it is wanted."""
    needed = [file for file in files if takes_code and file.endswith(".py")]
    for folder in folders:
        present = {file.rpartition("/")[2]: file for file in files if file.rpartition("/")[0] == folder.strip("/")}
        weights = next((name for name in WEIGHT_FILES if name in present), None)
        needed += [
            file
            for name, file in present.items()
            if name in (weights, LEVELS_FILE) or (name.endswith(_SUFFIXES) and not name.endswith(".index.json"))
        ]
    return needed


def _shards(index: Path, file: str) -> list[str]:
    """The files that an index of weights names."""
    shard_of = read_object(index).get("weight_map")
    names = shard_of.values() if isinstance(shard_of, dict) else ()
    return [_join(file.rpartition("/")[0], name) for name in dict.fromkeys(map(str, names))]


def _join(folder: str, name: str) -> str:
    return f"{folder.strip('/')}/{name}".lstrip("/")
