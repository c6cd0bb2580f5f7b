"""OpenVINO in this process: imported without its telemetry, one `Core` for all graphs.

In: nothing. Out: the package, the `Core`, and whether graphs may have threads of their own.
"""

import os
import sys
from functools import lru_cache
from typing import Any


def import_openvino() -> Any:
    """The `openvino` package, without its telemetry.

    `import openvino` else forks a child that looks up an analytics host and writes to the home folder.
    """
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # makes it unimportable
        os.environ.setdefault("OPENVINO_LOG_LEVEL", "0")
    import openvino

    return openvino


def openvino_core() -> Any:
    """The `openvino.Core` that compiles all graphs: a second one, made in a forked process, hangs in compiling."""
    return _core_and_process()[0]


def is_forked() -> bool:
    """Whether this process was forked from the one that made the core: threads of streams are missing then.

    A graph of one stream runs in the calling thread and goes on working; of one with several, a call never returns.
    """
    return _core_and_process()[1] != os.getpid()


@lru_cache(maxsize=1)
def _core_and_process() -> tuple[Any, int]:
    return import_openvino().Core(), os.getpid()
