"""A file is written whole or not at all."""

import json
import os
from pathlib import Path

import pytest

from rankwright.files import replacing, sync, write_json, write_text


def test_a_file_keeps_its_text_where_the_new_one_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "numbers.json"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new \ud800")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"value": float("nan")})
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_changes_at_the_end_only(tmp_path: Path) -> None:
    path = tmp_path / "rows.bin"
    with replacing(path) as aside:
        aside.write_bytes(b"half")
        assert not path.exists()
    assert path.read_bytes() == b"half"
    assert list(tmp_path.iterdir()) == [path]


def test_json_is_utf_8_and_ends_its_line(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"text": "żółć"})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"text": "żółć"}
    assert "żółć" in text
    assert text.endswith("}\n")


def test_sync_waits_for_the_disk_and_leaves_nothing_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append((descriptor, os.fstat(descriptor).st_ino)))
    sync(tmp_path)
    ((descriptor, inode),) = synced
    assert inode == tmp_path.stat().st_ino
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
