"""Texts through several processes, each with a device, or a slice of the CPU's cores, to itself.

In: an opened checkpoint, the names of devices; texts. Does: chunks to the workers, each of which opens the checkpoint
itself. Out: the rows and the truncation report that one process gives.
"""

import logging
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import numpy as np

from rankwright.cores import core_slices, num_cores
from rankwright.encoder.engine import has_cuda
from rankwright.errors import ConfigError, ValueRangeError, WorkerError
from rankwright.models.inference import BatchLimits, run_texts
from rankwright.models.loading import Checkpoint, Wishes, open_checkpoint
from rankwright.text import Truncation
from rankwright.text.tokenizer import check_texts
from rankwright.text.tokens import Text

logger = logging.getLogger(__name__)

CORES_PER_WORKER = 8
"""Cores of a CPU worker where no devices were named: an assumption, measured on no machine with so many."""

FEWEST_TEXTS, MOST_TEXTS = 256, 8192
"""Texts of a chunk, where there are so many: smaller ones make batches of few or unequal texts, and of larger ones the
results come late."""

CHUNKS_PER_WORKER = 4
"""Chunks of a worker where there are texts enough: a slow device then takes fewer of them than a fast one."""

CHUNKS_AHEAD = 2
"""Chunks that a worker has been sent: the next is there when one is done."""


@dataclass(frozen=True)
class Job:
    """How a chunk of texts is run, the same for all chunks of a call."""

    prompt: str
    pools_prompt: bool
    limits: BatchLimits
    max_length: int
    task: str | None = None


class WorkerPool:
    """Worker processes that run a model; `with` ends them, and so does `stop()`.

    Args:
        checkpoint: the caller's model.
        devices: one for each worker.
        save: writes the model to a folder, if the checkpoint's own no longer holds what it computes; None: it does.

    Raises:
        ConfigError: no devices.
        WorkerError: a worker ended while it started.

    Example:
        >>> with model.start_multi_process_pool(["cuda:0", "cuda:1"]) as pool:  # doctest: +SKIP
        ...     embeddings = model.encode(texts, pool=pool)
    """

    def __init__(
        self, checkpoint: Checkpoint, devices: Sequence[str], save: Callable[[Path], None] | None = None
    ) -> None:
        if not devices:
            raise ConfigError("target_devices=[]: expected at least one device, such as ['cuda:0', 'cuda:1'].")
        self.checkpoint = checkpoint
        self.devices = tuple(str(device) for device in devices)
        self._workers: list[_Worker] = []
        self._ending = ExitStack()
        try:
            folder = checkpoint.folder
            if save is not None:
                folder = Path(self._ending.enter_context(TemporaryDirectory(prefix="rankwright-"))) / "model"
                save(folder)
            slices = iter(core_slices(self.devices.count("cpu")))
            for device in self.devices:
                cores = next(slices) if device == "cpu" else ()
                worker = _Worker(Opening(folder, replace(checkpoint.wishes, device=device), cores))
                self._ending.callback(worker.stop)
                self._workers.append(worker)
            for worker in self._workers:
                worker.wait_until_open()
        except BaseException:
            self.stop()
            raise
        logger.info("%s runs in %d processes: %s", folder, len(self.devices), ", ".join(self.devices))

    def serves(self, checkpoint: Checkpoint) -> bool:
        """Whether the workers compute what this checkpoint computes, on whatever device it is."""
        own = self.checkpoint
        same_model = own.parameters is checkpoint.parameters and own.spec is checkpoint.spec
        return same_model and own.levels is checkpoint.levels and own.wishes.dtype == checkpoint.wishes.dtype

    def run(
        self,
        texts: Sequence[Text],
        job: Job,
        *,
        chunk_size: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> tuple[np.ndarray, Truncation]:
        """Run all texts, as `run_texts` does.

        Args:
            texts: texts or pairs, not mixed; at least one.
            job: how.
            chunk_size: texts that a worker takes at a time, at most; None: enough for full batches.
            progress: called with the number of texts done since the last call.

        Returns:
            (number of texts, size) float32 in the order of `texts`, and what truncation cost.

        Raises:
            WorkerError: the pool was stopped, or a worker ended.
        """
        if not self._workers:
            raise WorkerError("this pool was stopped. Start another with start_multi_process_pool().")
        check_texts(texts)
        # every count-th text, so that texts sorted by length make equal chunks
        count = -(-len(texts) // _chunk_size(chunk_size, len(texts), len(self._workers)))
        output, report = None, Truncation()
        todo, free = list(range(count)), self._workers * CHUNKS_AHEAD
        running: dict[Future[tuple[np.ndarray, Truncation]], tuple[_Worker, int]] = {}
        try:
            while todo or running:
                while todo and free:
                    worker, chunk = free.pop(), todo.pop()
                    running[worker.submit(texts[chunk::count], job)] = worker, chunk
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    worker, chunk = running.pop(done)
                    rows, truncation = worker.result(done)
                    if output is None:
                        output = np.empty((len(texts), rows.shape[1]), dtype=np.float32)
                    output[chunk::count] = rows
                    report = report + truncation
                    free.append(worker)
                    if progress is not None:
                        progress(len(rows))
        finally:
            for future in running:
                future.cancel()
        assert output is not None
        return output, report

    def stop(self) -> None:
        """End the workers now, whatever they are doing."""
        self._workers = []
        self._ending.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


def default_devices(engine: str) -> list[str]:
    """Every CUDA device, if the engine can use one; else CPU workers, one for each `CORES_PER_WORKER` cores."""
    if engine != "openvino" and has_cuda():
        import torch

        return [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return ["cpu"] * max(1, num_cores() // CORES_PER_WORKER)


def _chunk_size(chunk_size: int | None, num_texts: int, num_workers: int) -> int:
    if chunk_size is None:
        share = -(-num_texts // num_workers)
        return min(share, max(FEWEST_TEXTS, min(share // CHUNKS_PER_WORKER, MOST_TEXTS)))
    if chunk_size < 1:
        raise ValueRangeError(f"chunk_size must be at least 1, got {chunk_size}.")
    return chunk_size


@dataclass(frozen=True)
class Opening:
    """What one worker opens, on which device; `cores` are those it may use, empty for any."""

    folder: Path
    wishes: Wishes
    cores: tuple[int, ...]


class _Worker:
    """One process, seen from the caller; an executor with a single worker is told at once when it dies."""

    def __init__(self, opening: Opening) -> None:
        self._device = opening.wishes.device
        # spawned: a fork would copy locks that other threads hold, and no GPU survives one
        self._executor = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
        with _interrupts_blocked():
            self._opened = self._executor.submit(_open, opening)
        # Python 3.14 has terminate_workers() for what these are kept for
        self._processes = list(self._executor._processes.values())

    def wait_until_open(self) -> None:
        try:
            self._opened.result()
        except BrokenProcessPool as err:
            raise WorkerError(
                f"{self._described()} ended while it started; what it wrote to stderr says why. A script must start "
                "workers under `if __name__ == '__main__':`, since each worker imports the script."
            ) from err

    def submit(self, texts: Sequence[Text], job: Job) -> "Future[tuple[np.ndarray, Truncation]]":
        try:
            return self._executor.submit(_run, texts, job)
        except BrokenProcessPool as err:
            raise self._ended() from err

    def result(self, future: "Future[tuple[np.ndarray, Truncation]]") -> tuple[np.ndarray, Truncation]:
        try:
            return future.result()
        except BrokenProcessPool as err:
            raise self._ended() from err

    def stop(self) -> None:
        for process in self._processes:
            process.terminate()
        # the executor's thread waits for the process: of two who wait for one, the second is told that it still runs
        self._executor.shutdown(cancel_futures=True)

    def _ended(self) -> WorkerError:
        return WorkerError(
            f"{self._described()} ended before it gave its result: was it killed, for want of memory perhaps? "
            "Stop the pool and start another, with fewer workers or a smaller batch_tokens."
        )

    def _described(self) -> str:
        return f"the worker process {', '.join(str(p.pid) for p in self._processes)} on device {self._device!r}"


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Processes started meanwhile do not see Ctrl-C, which the terminal sends to all: the caller ends them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# What follows runs in the worker.

_opened: Checkpoint | None = None


def _open(opening: Opening) -> None:
    """The first job of a worker: its cores, then its engine, which takes a thread for each core it may use."""
    global _opened
    threading.Thread(target=_end_with_caller, daemon=True).start()
    if opening.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, opening.cores)
    try:
        _opened = open_checkpoint(opening.folder, opening.wishes)
        if _opened.engine.name == "torch" and opening.cores:
            import torch

            torch.set_num_threads(min(torch.get_num_threads(), len(opening.cores)))
    except Exception as err:
        raise _portable(err) from None


def _run(texts: Sequence[Text], job: Job) -> tuple[np.ndarray, Truncation]:
    """Every further job: a chunk of texts."""
    assert _opened is not None
    route = _opened.routes.get(job.task or "", _opened)
    try:
        return run_texts(
            route.engine,
            route.tokenizer.with_max_length(job.max_length),
            texts,
            prompt=job.prompt,
            pools_prompt=job.pools_prompt,
            limits=job.limits,
        )
    except Exception as err:
        raise _portable(err) from None


def _portable(error: Exception) -> Exception:
    """The error, or its words if it cannot be sent to the caller: one whose constructor wants more than a message."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return WorkerError(f"{type(error).__name__}: {error}")
    return error


def _end_with_caller() -> None:
    """A caller that is killed cannot end its workers, which would wait for work for ever."""
    caller = multiprocessing.parent_process()
    assert caller is not None
    caller.join()
    os._exit(1)
