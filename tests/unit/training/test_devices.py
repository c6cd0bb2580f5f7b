import os
import platform
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from rankwright.encoder import engine_torch
from rankwright.errors import ConfigError
from rankwright.training.devices import (
    autocast,
    make_accelerator,
    release_memory,
    stop_signals,
    training_dtype,
)
from tests.unit.training.tiny_job import deliver

CPU = torch.device("cpu")


@pytest.mark.parametrize(("has_bfloat16", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_auto_takes_bfloat16_where_the_cpu_has_it(
    monkeypatch: pytest.MonkeyPatch, has_bfloat16: bool, expected: str
) -> None:
    monkeypatch.setattr(engine_torch, "cpu_has_bfloat16", lambda: has_bfloat16)
    assert training_dtype("auto", CPU) == expected
    assert training_dtype("float32", CPU) == "float32"


def test_bfloat16_is_never_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_torch, "cpu_has_bfloat16", lambda: False)
    with pytest.raises(ConfigError, match="'bfloat16' is not native"):
        training_dtype("bfloat16", CPU)


def test_float16_is_never_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    assert training_dtype("auto", torch.device("cuda")) == "float32"


def test_products_are_in_the_chosen_type_and_weights_stay_float32() -> None:
    linear = torch.nn.Linear(4, 4)
    for dtype, expected in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        with autocast(dtype, CPU):
            output = linear(torch.ones(1, 4))
        assert output.dtype == expected
        output.sum().backward()
        assert linear.weight.grad.dtype == torch.float32


def test_device_that_is_not_there_is_named() -> None:
    number = torch.cuda.device_count()
    with pytest.raises(ConfigError, match=rf"device = 'cuda:{number}': CUDA devices here: {number}|there are {number}"):
        make_accelerator(f"cuda:{number}")


def test_first_signal_is_a_request_and_raised_at_the_end() -> None:
    before = signal.getsignal(signal.SIGTERM)
    reached = False
    with pytest.raises(KeyboardInterrupt), stop_signals() as stop:
        assert not stop.requested
        deliver(signal.SIGTERM)
        assert stop.requested
        assert signal.getsignal(signal.SIGTERM) is before
        reached = True
    assert reached


def test_second_signal_acts_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), stop_signals():
        deliver(signal.SIGINT)
        deliver(signal.SIGINT)
        raise AssertionError("the second signal did nothing")


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with stop_signals():
        assert signal.getsignal(signal.SIGINT) is not before[0]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_thread_trains_without_signal_handlers() -> None:
    requested = []

    def work() -> None:
        with stop_signals() as stop:
            requested.append(stop.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert requested == [False]


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
from rankwright.training.devices import keep_memory

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
