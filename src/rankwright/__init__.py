"""Text rankers, from a file of pairs to a measured, documented, fast model.

A public name is imported from its module when it is first used, so that `import rankwright` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rankwright.errors import ConfigError as ConfigError
    from rankwright.errors import DataError as DataError
    from rankwright.errors import HubError as HubError
    from rankwright.errors import MissingExtraError as MissingExtraError
    from rankwright.errors import ModelFormatError as ModelFormatError
    from rankwright.errors import RankwrightError as RankwrightError
    from rankwright.errors import ShapeError as ShapeError
    from rankwright.errors import ValueRangeError as ValueRangeError
    from rankwright.errors import WorkerError as WorkerError
    from rankwright.models import BiEncoder as BiEncoder
    from rankwright.models import CrossEncoder as CrossEncoder
    from rankwright.workflow import evaluate as evaluate
    from rankwright.workflow import train as train

__version__ = "0.1.0.dev0"

_MODULES = {
    "BiEncoder": "rankwright.models",
    "ConfigError": "rankwright.errors",
    "CrossEncoder": "rankwright.models",
    "DataError": "rankwright.errors",
    "HubError": "rankwright.errors",
    "MissingExtraError": "rankwright.errors",
    "ModelFormatError": "rankwright.errors",
    "RankwrightError": "rankwright.errors",
    "ShapeError": "rankwright.errors",
    "ValueRangeError": "rankwright.errors",
    "WorkerError": "rankwright.errors",
    "evaluate": "rankwright.workflow",
    "train": "rankwright.workflow",
}

__all__ = [*_MODULES, "__version__"]


def __getattr__(name: str) -> object:
    """Import a public name from its module and keep it."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}. Public names: {', '.join(__all__)}.")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return sorted(__all__)
