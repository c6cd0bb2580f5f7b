import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rankwright.training.memory import release_memory


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's heap")
def test_holes_in_the_heap_are_given_back() -> None:
    """Every other one of many blocks is freed, which leaves glibc nothing to return by itself."""

    def resident_mb() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    blocks = [np.ones(8000) for _ in range(2000)]  # 64 kB each, below what gets pages of its own
    blocks = blocks[::2]
    before = resident_mb()
    release_memory()
    assert resident_mb() < before - 40
    assert len(blocks) == 1000


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps memory on request")
def test_memory_of_a_step_is_there_for_the_next_one_and_given_back_at_the_end() -> None:
    """In a process of its own, whose heap no other test has shaped.

    The first few times a freed place is a little too small: what is aligned asks for more than it keeps.
    """
    program = """
import resource, torch
from rankwright.training.memory import keep_memory

def page_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(1 << 26, dtype=torch.uint8).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

with keep_memory(torch.device("cpu")):
    for _ in range(10):
        page_faults()
    kept = sum(page_faults() for _ in range(10))
print(kept, page_faults())
"""
    printed = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    kept, given_back = map(int, printed.split())
    assert kept < 100
    assert given_back > 1000


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps memory on request")
def test_a_process_that_trained_keeps_its_memory_as_one_that_did_not() -> None:
    """Options of mallopt end what glibc finds out by itself: with its defaults each of these would be mapped anew."""
    program = """
import resource, torch
from rankwright.training.memory import keep_memory

with keep_memory(torch.device("cpu")):
    pass
for megabytes in (1, 24):
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(20):
            torch.empty(megabytes << 20, dtype=torch.uint8).fill_(1)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    printed = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert max(map(int, printed.split())) < 100
