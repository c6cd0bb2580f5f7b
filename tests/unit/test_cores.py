"""The cores of this process, as the system tells them, and how workers get them."""

import os
from pathlib import Path

import pytest

from rankwright import cores
from rankwright.cores import core_slices, num_cores, time_limit


def test_cores_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "time_limit", lambda: None)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {2, 5, 7})
    assert num_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert num_cores() == 4
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert num_cores() == 1


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"cpu.max": "250000 100000\n"}, 3),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_the_time_of_a_container_is_counted_in_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], limit: int | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(cores, "CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    assert time_limit() == limit
    assert num_cores() == (limit or 8)


def test_cores_are_dealt_by_socket_and_physical_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(cores, "_place", lambda core: (0, core % 4, core))  # core i + 4 is the twin of core i
    assert core_slices(1) == [(0, 4, 1, 5, 2, 6, 3, 7)]
    assert core_slices(2) == [(0, 4, 1, 5), (2, 6, 3, 7)]
    assert core_slices(3) == [(0, 4), (1, 5, 2), (6, 3, 7)]
    assert core_slices(0) == []
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {2, 5})
    assert core_slices(3) == [(5,), (2,), (5,)]
    monkeypatch.delattr(os, "sched_getaffinity")
    assert core_slices(2) == [(), ()]
