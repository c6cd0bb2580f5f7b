"""Files that are written whole or not at all.

In: a path and what it is to hold. Does: writes beside it, then renames; `sync` where it must outlive a power cut.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; it takes the place of `path` at the end, and is removed after an error.

    Args:
        path: the file; its folder exists.

    Yields:
        The path to write to.
    """
    path = path.resolve()  # a link stays one, to the new file
    aside = path.with_name(f"{path.name}.{os.urandom(4).hex()}.part")  # another process may be writing the same file
    try:
        with writing(path):
            yield aside
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Within it, an error of the disk names what was to be written; those of numpy and safetensors do not.

    Args:
        path: the file or folder.

    Yields:
        Nothing.

    Raises:
        OSError: it could not be written.
    """
    try:
        yield
    except Exception as err:
        is_nameless = isinstance(err, OSError) and err.filename is None
        if not is_nameless and type(err).__name__ != "SafetensorError":
            raise
        raise OSError(f"{path} could not be written: {err}. Is there room on the disk?") from err


def check_writable(folder: Path) -> None:
    """Refuse a folder that takes no new files, before the work whose result is to lie in it.

    Args:
        folder: it, or the nearest one above it that exists.

    Raises:
        OSError: as the system says it.
    """
    nearest = next((path for path in (folder, *folder.absolute().parents) if path.is_dir()), folder)
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as err:
        raise OSError(err.errno, err.strerror, str(nearest)) from err


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file."""
    with replacing(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Write a JSON file, indented; numbers that are not finite are an error."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
