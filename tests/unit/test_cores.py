"""The cores of this process, as the system tells them, and how workers get them."""

import os

import pytest

from rankwright import cores
from rankwright.cores import core_slices, num_cores


def test_cores_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {2, 5, 7})
    assert num_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert num_cores() == 4
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert num_cores() == 1


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
