"""The command line: parse, call one public function, print.

In: arguments. Out: tables (or JSON with `--json`) on stdout, logs and progress on stderr; exit codes 0 done, 1 failed,
2 wrong usage or config, 130 interrupted.
"""

import io
import os
import sys
import warnings


def main() -> None:
    """Run `rankwright` and exit."""
    from rankwright.cli.app import app
    from rankwright.errors import ConfigError, RankwrightError

    warnings.formatwarning = _warning_line
    _open_streams()
    try:
        app([_home(word) for word in sys.argv[1:]])
    except ConfigError as err:
        sys.stderr.write(f"error: {err}\n")
        raise SystemExit(2) from None
    except (RankwrightError, OSError) as err:
        sys.stderr.write(f"error: {err}\n")
        raise SystemExit(1) from None
    except MemoryError as err:
        sys.stderr.write(
            f"error: not enough memory ({str(err) or 'Python'}). Free some, or raise this process's limit.\n"
        )
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        raise SystemExit(130) from None


def _open_streams() -> None:
    """A stream that was closed is an empty one, and what its encoding lacks is written as an escape."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _home(word: str) -> str:
    """A word with ~ as the home folder where shells leave it alone: behind `--out=`."""
    option, equals, value = word.partition("=")
    if not (option.startswith("--") and value.startswith("~")):
        return word
    return option + equals + os.path.expanduser(value)  # noqa: PTH111  # pathlib raises where there is no such user


def _warning_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A warning as a sentence: the line of code that gave it is no use on a command line."""
    return f"warning: {message}\n"
