"""The command line: parse, call one public function, print.

In: arguments. Out: tables (or JSON with `--json`) on stdout, logs and progress on stderr; exit codes 0 done, 1 failed,
2 wrong usage or config, 130 interrupted.
"""

import os
import sys
import warnings


def main() -> None:
    """Run `rankwright` and exit."""
    from rankwright.cli.app import app
    from rankwright.errors import ConfigError, RankwrightError

    warnings.formatwarning = _warning_line
    try:
        app([_home(word) for word in sys.argv[1:]])
    except ConfigError as err:
        sys.stderr.write(f"error: {err}\n")
        raise SystemExit(2) from None
    except (RankwrightError, OSError) as err:
        sys.stderr.write(f"error: {err}\n")
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        raise SystemExit(130) from None


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
