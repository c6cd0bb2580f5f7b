"""The command line where streams are closed or have no Unicode, and as a module."""

import io
import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from rankwright import __version__
from rankwright.cli import main

TEXT = "zażółć 東京"


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    path = tmp_path / "documents.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def printed(monkeypatch: pytest.MonkeyPatch, encoding: str, *words: object) -> str:
    """What a command writes to a stdout of this encoding."""
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "argv", ["rankwright", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    out.flush()
    return out.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_an_encoding_lacks_is_escaped(
    tiny: Any, documents: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    words = ("rank", tiny.bi_encoder("bert"), "query", documents)
    table = printed(monkeypatch, encoding, *words)
    assert (TEXT in table) == (encoding == "utf-8")
    assert TEXT.encode(encoding, "backslashreplace").decode(encoding) in table
    assert json.loads(printed(monkeypatch, encoding, *words, "--json"))[0]["text"] == TEXT


def test_closed_streams_are_empty_ones(tiny: Any, documents: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for source, code in ((str(documents), 0), ("-", 1)):
        for name in ("stdin", "stdout", "stderr"):
            monkeypatch.setattr(sys, name, None)
        monkeypatch.setattr(
            sys, "argv", ["rankwright", "rank", str(tiny.bi_encoder("bert")), "query", source, "--json"]
        )
        with pytest.raises(SystemExit) as ended:
            main()
        for stream in (sys.stdin, sys.stdout, sys.stderr):
            stream.close()
        assert (ended.value.code or 0) == code


def test_the_command_is_a_module_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["rankwright", "--version"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("rankwright", run_name="__main__")
    assert not ended.value.code
    assert capsys.readouterr().out == f"rankwright {__version__}\n"
