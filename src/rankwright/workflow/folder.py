"""The run folder: opened by one process at a time, and only for the run that it holds.

In: `RunConfig`. Out: the folder, with config.toml in it.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rankwright.config import RunConfig, read_config, write_config
from rankwright.errors import ConfigError
from rankwright.files import write_json

LOCK = ".lock"
"""The file that the process which runs holds locked; it stays, empty."""


@contextmanager
def run_folder(config: RunConfig) -> Iterator[Path]:
    """The run folder, new or of the same config, locked until the end of the block (or of the process).

    Args:
        config: `out` and all else that decides the run.

    Yields:
        The folder.

    Raises:
        ConfigError: as `check_folder`, or another process runs in it.
    """
    check_folder(config)
    out = Path(config.out)
    (out / "evaluations").mkdir(parents=True, exist_ok=True)
    with (out / LOCK).open("w") as lock:
        if int(os.environ.get("RANK", "0")) == 0:  # the other processes of one run share its folder
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as err:
                raise ConfigError(
                    f"{out}: another process runs in this folder. Wait for its end, or give another --out."
                ) from err
        check_folder(config)
        path = out / "config.toml"
        if not (has_begun(out) and path.is_file() and read_config(path) == config):
            write_config(path, config)
        yield out


def check_folder(config: RunConfig) -> None:
    """Refuses a folder that is none, or that holds something else.

    Args:
        config: of the run that wants it.

    Raises:
        ConfigError: no folder is named, it is a file, or it holds another run or other files.
    """
    if not config.out:
        raise ConfigError('out is missing: give --out DIR, or out = "DIR" in the config.')
    out = Path(config.out)
    if any(path.exists() and not path.is_dir() for path in (out, *out.parents)):
        raise ConfigError(f"out = {config.out!r}: a file is in the way. Give --out the name of a folder.")
    if not out.is_dir():
        return
    path = out / "config.toml"
    if not path.is_file() and {file.name for file in out.iterdir()} - {LOCK, "evaluations"}:
        raise ConfigError(f"{out} is not empty and holds no run. Give another --out.")
    if path.is_file() and has_begun(out) and (changed := _changed_keys(read_config(path), config)):
        raise ConfigError(
            f"{out} holds a run with another config (different: {', '.join(changed)}). "
            "Give another --out, or the same config to go on with that run."
        )


def has_begun(out: Path) -> bool:
    """Whether a folder holds results of a run: measured references, or a checkpoint."""
    return (out / "evaluations" / "references.json").is_file() or has_checkpoint(out)


def has_checkpoint(out: Path) -> bool:
    """Whether a run can go on from a step."""
    return any((out / "checkpoints").glob("step-*"))


def write_environment(out: Path, facts: Mapping[str, Any]) -> None:
    """Write environment.json of a run that begins; a run that goes on is added to its list "resumed".

    Args:
        out: the run folder.
        facts: machine, versions and the time.
    """
    path = out / "environment.json"
    if has_begun(out) and path.is_file():
        first = json.loads(path.read_text(encoding="utf-8"))
        facts = first | {"resumed": [*first.get("resumed", []), facts]}
    write_json(path, facts)


def dotted(values: Mapping[str, Any]) -> dict[str, object]:
    """Sections and keys of a config as dotted keys."""
    keys: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and key in RunConfig.model_fields:
            keys |= {f"{key}.{name}": item for name, item in value.items()}
        else:
            keys[key] = value
    return keys


def _changed_keys(before: RunConfig, after: RunConfig) -> list[str]:
    """The keys that make it another run; what only the card says does not."""
    old, new = dotted(before.model_dump()), dotted(after.model_dump())
    return [key for key in new if old.get(key) != new[key] and not key.startswith("card.")]
