"""A file is written whole or not at all."""

import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from rankwright.files import replacing, sync, write_json, write_text, writing


@pytest.fixture
def no_room() -> Iterator[None]:
    """No file may have more than 100 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("no_room")
@pytest.mark.parametrize("how", ["text", "numpy", "safetensors"])
def test_an_error_of_the_disk_names_the_file(tmp_path: Path, how: str) -> None:
    path = tmp_path / "numbers"
    with pytest.raises(OSError, match=f"{path} could not be written: .*Is there room on the disk?"):
        if how == "text":
            write_text(path, "x" * 200)
        elif how == "numpy":
            with replacing(path) as aside, aside.open("wb") as file:
                np.save(file, np.zeros(200))
        else:
            with writing(path):
                save_file({"zeros": np.zeros(200)}, tmp_path / "other")
    assert not path.exists()


def test_other_errors_than_of_the_disk_stay_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"No such file.*none"):
        write_text(tmp_path / "none" / "a.txt", "x")
    with pytest.raises(KeyError, match="x"), writing(tmp_path):
        raise KeyError("x")


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


def test_two_who_write_the_same_file_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "rows.txt"
    with replacing(path) as aside, aside.open("w") as file:
        file.write("first ")
        write_text(path, "second")
        assert path.read_text() == "second"
        file.write("whole")
    assert path.read_text() == "first whole"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_one_to_the_new_file(tmp_path: Path) -> None:
    (tmp_path / "large disk").mkdir()
    link, target = tmp_path / "rows.txt", tmp_path / "large disk" / "rows.txt"
    link.symlink_to(target)
    write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"


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
