"""Texts that change only on purpose: compared with tests/golden/, rewritten by `make golden`.

Mark a test that uses this with `@pytest.mark.golden`.
"""

import os
from pathlib import Path

GOLDEN = Path(__file__).parent / "golden"


def assert_golden(name: str, actual: str) -> None:
    """Compare with the golden file of that name; with GOLDEN=write, write it."""
    path = GOLDEN / name
    if os.environ.get("GOLDEN") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(actual, encoding="utf-8")
    assert path.is_file(), f"{path} is missing: `make golden` writes it."
    assert actual == path.read_text(encoding="utf-8"), f"{name} changed; if on purpose, run `make golden` and say why."
