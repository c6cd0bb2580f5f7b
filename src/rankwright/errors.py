"""What can go wrong, as a small tree of exceptions.

    RankwrightError
    |-- ConfigError          a config file, flag or argument (also ValueError)
    |-- DataError            a data file or a row of it (also ValueError)
    |-- ShapeError           tensors or lists that do not fit together (also ValueError)
    |-- ValueRangeError      a number outside its range (also ValueError)
    |-- ModelFormatError     a checkpoint that cannot be read as what it says it is (also ValueError)
    |-- MissingExtraError    a package that an extra installs (also ImportError)
    |-- WorkerError          a worker process that ended, or failed in words only it knows (also RuntimeError)
    `-- HubError             a name that the Hub, its cache and the disk do not resolve

A message says what was given (with its place), what was expected, and what to do.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class RankwrightError(Exception):
    """Any error that rankwright raises on purpose."""


class ConfigError(RankwrightError, ValueError):
    """A config file, flag or argument that does not say something we can do."""


class DataError(RankwrightError, ValueError):
    """A data file, or a row of it, that cannot be used as asked."""


class ShapeError(RankwrightError, ValueError):
    """Tensors or lists whose sizes do not fit together."""


class ValueRangeError(RankwrightError, ValueError):
    """A number outside the range in which it means something."""


class ModelFormatError(RankwrightError, ValueError):
    """A checkpoint that cannot be read as what it says it is."""


class MissingExtraError(RankwrightError, ImportError):
    """A package that is not installed, with the pip line that installs it."""

    def __init__(self, purpose: str, extra: str, package: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed. "
            f"Install it with: pip install 'rankwright[{extra}]'"
        )


class WorkerError(RankwrightError, RuntimeError):
    """A worker process that ended, or whose error cannot be carried over but in its words."""


class HubError(RankwrightError):
    """A model or data set that is neither on disk, nor in the Hub's cache, nor on the Hub."""


NO_MEMORY = ("Failed to allocate", "bad_alloc", "can't allocate memory", "out of memory")
"""What OpenVINO and torch say where memory is not enough; on a CPU neither has a class for it."""


@contextmanager
def lacking_memory() -> Iterator[None]:
    """Within it, an engine's error that says that memory was not enough is a `MemoryError`.

    Yields:
        Nothing.

    Raises:
        MemoryError: an engine said so.
        RuntimeError: any other of the engine's, as it was.
    """
    try:
        yield
    except RuntimeError as err:
        for line in str(err).splitlines():  # the first lines name places in the engine's source
            if any(words in line for words in NO_MEMORY):
                raise MemoryError(line.strip(". ")) from err
        raise


def first_line(err: BaseException) -> str:
    """The first line of another library's message, as a sentence to be put into one of ours."""
    if isinstance(err, KeyError):
        return f"the key {err} is missing or unknown."
    lines = [line.strip() for line in str(err).splitlines() if line.strip()] or [type(err).__name__]
    line = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    return line.rstrip(". ")[:300] + "."
