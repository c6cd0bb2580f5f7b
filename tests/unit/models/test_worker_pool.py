"""Worker processes give what one process gives; a failed, killed or interrupted one is neither waited for nor left."""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rankwright import BiEncoder, CrossEncoder
from rankwright.cores import core_slices
from rankwright.errors import ConfigError, DataError, MissingExtraError, ValueRangeError, WorkerError
from rankwright.models import worker_pool
from rankwright.models.inference import BatchLimits
from rankwright.models.worker_pool import Job, WorkerPool, default_devices
from tests.texts import CORPUS, HARD_TEXTS

TEXTS = [*CORPUS, *HARD_TEXTS]
PAIRS = [(text, TEXTS[i // 2]) for i, text in enumerate(TEXTS)]
ATOL = 1e-6
"""float32; a text may stand in another batch than in one process."""


@pytest.fixture(scope="module")
def model(tiny: Any) -> BiEncoder:
    settings = {"prompts": {"query": "query: "}}
    return BiEncoder(tiny.bi_encoder("bert", normalize=False, settings=settings), dtype="float32")


@pytest.fixture(scope="module")
def pool(model: BiEncoder) -> Iterator[WorkerPool]:
    with model.start_multi_process_pool(["cpu", "cpu"]) as pool:
        yield pool


@pytest.mark.parametrize("chunk_size", [None, 1, 3, 10_000])
def test_embeddings_are_those_of_one_process_in_order(
    model: BiEncoder, pool: WorkerPool, chunk_size: int | None
) -> None:
    embeddings = model.encode(TEXTS, pool=pool, chunk_size=chunk_size)
    np.testing.assert_allclose(embeddings, model.encode(TEXTS), rtol=0, atol=ATOL)


@pytest.mark.parametrize(
    "options",
    [
        {"normalize": True, "truncate_dim": 8},
        {"prompt_name": "query", "batch_size": 2},
        {"prompt": "a prompt: ", "batch_tokens": 16},
        {"convert_to_tensor": True},
        {"task": "query"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_are_those_of_one_process(model: BiEncoder, pool: WorkerPool, options: dict[str, Any]) -> None:
    found, expected = model.encode(TEXTS, pool=pool, **options), model.encode(TEXTS, **options)
    assert type(found) is type(expected)
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=0, atol=ATOL)


def test_one_text_and_none_have_the_shape_of_one_process(model: BiEncoder, pool: WorkerPool) -> None:
    np.testing.assert_allclose(model.encode(TEXTS[0], pool=pool), model.encode(TEXTS[0]), rtol=0, atol=ATOL)
    assert model.encode([], pool=pool).shape == model.encode([]).shape


def test_the_maximum_length_is_that_of_the_call(tiny: Any, model: BiEncoder, pool: WorkerPool) -> None:
    before = model.max_length
    try:
        model.max_length = 6
        expected, cut = model.encode(TEXTS), model.truncation
        assert cut.num_truncated > 1
        np.testing.assert_allclose(model.encode(TEXTS, pool=pool, chunk_size=2), expected, rtol=0, atol=ATOL)
        assert model.truncation == cut
    finally:
        model.max_length = before


def test_many_threads_may_share_a_pool(model: BiEncoder, pool: WorkerPool) -> None:
    expected = model.encode(TEXTS)
    with ThreadPoolExecutor(4) as threads:
        for found in threads.map(lambda _: model.encode(TEXTS, pool=pool, chunk_size=2), range(8)):
            np.testing.assert_allclose(found, expected, rtol=0, atol=ATOL)


def test_the_old_name_of_st_takes_its_arguments(model: BiEncoder, pool: WorkerPool) -> None:
    found = model.encode_multi_process(TEXTS, pool, "query", batch_size=4, normalize_embeddings=True, truncate_dim=8)
    expected = model.encode(TEXTS, prompt_name="query", normalize=True, truncate_dim=8)
    np.testing.assert_allclose(found, expected, rtol=0, atol=ATOL)


def test_progress_counts_every_text(pool: WorkerPool, model: BiEncoder) -> None:
    counts: list[int] = []
    job = Job("", True, BatchLimits(), model.max_length)
    pool.run(TEXTS, job, chunk_size=4, progress=counts.append)
    assert sum(counts) == len(TEXTS)
    assert len(counts) == -(-len(TEXTS) // 4)


def test_cross_encoders_score_and_rank_in_workers_that_end_with_the_call_or_the_pool(tiny: Any) -> None:
    model = CrossEncoder(tiny.cross_encoder("bert"), dtype="float32")
    others = set(multiprocessing.active_children())
    with model.start_multi_process_pool(["cpu"]) as pool:
        assert len(set(multiprocessing.active_children()) - others) == 1
        scores = model.predict(PAIRS, pool=pool, chunk_size=4)
        ranks = model.rank("a query", TEXTS, pool=pool, chunk_size=4)
    np.testing.assert_allclose(scores, model.predict(PAIRS), rtol=0, atol=ATOL)
    expected = model.rank("a query", TEXTS)
    assert [entry["corpus_id"] for entry in ranks] == [entry["corpus_id"] for entry in expected]
    np.testing.assert_allclose(model.predict(PAIRS, device=["cpu"]), scores, rtol=0, atol=ATOL)
    assert set(multiprocessing.active_children()) == others


def test_other_weights_than_those_of_the_folder_are_taken_along(model: BiEncoder, pool: WorkerPool) -> None:
    parameters = {name: array * 1.5 for name, array in model.checkpoint.parameters.items()}
    changed = model.with_parameters(parameters)
    expected = changed.encode(TEXTS)
    assert np.abs(expected - model.encode(TEXTS)).max() > 0.01
    np.testing.assert_allclose(changed.encode(TEXTS, device=["cpu"]), expected, rtol=0, atol=ATOL)
    for other in (changed, model.with_dtype("auto")):
        with pytest.raises(ConfigError, match=r"pool= holds another model, or other weights or another type"):
            other.encode(TEXTS, pool=pool)


def test_the_torch_engine_runs_in_workers_too(tiny: Any) -> None:
    model = BiEncoder(tiny.bi_encoder("mpnet"), engine="torch", device="cpu", dtype="float32")
    np.testing.assert_allclose(model.encode(TEXTS, device=["cpu"]), model.encode(TEXTS), rtol=0, atol=ATOL)


def test_a_router_sends_texts_on_in_workers_too(tiny: Any, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Router

    parts = [list(SentenceTransformer(str(tiny.bi_encoder(f)), device="cpu")) for f in ("bert", "mpnet")]
    router = Router.for_query_document(*parts)  # type: ignore[arg-type]
    SentenceTransformer(modules=[router], device="cpu").save(str(tmp_path / "router"))
    model = BiEncoder(tmp_path / "router", dtype="float32")
    with model.start_multi_process_pool(["cpu"]) as pool:
        for run in (model.encode_query, model.encode_document):
            np.testing.assert_allclose(run(TEXTS, pool=pool), run(TEXTS), rtol=0, atol=ATOL)
    assert np.abs(model.encode_query(TEXTS) - model.encode_document(TEXTS)).max() > 0.01


def test_each_cpu_worker_has_cores_of_its_own(pool: WorkerPool) -> None:
    allowed = [os.sched_getaffinity(process.pid) for process in multiprocessing.active_children()]
    assert sorted(map(sorted, allowed)) == sorted(map(sorted, core_slices(2)))


def test_without_named_devices_each_gpu_or_every_eight_cores_get_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(17)))
    monkeypatch.setattr(worker_pool, "has_cuda", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert default_devices("auto") == default_devices("torch") == ["cuda:0", "cuda:1"]
    assert default_devices("openvino") == ["cpu", "cpu"]
    monkeypatch.setattr(worker_pool, "has_cuda", lambda: False)
    assert default_devices("auto") == ["cpu", "cpu"]
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    assert default_devices("auto") == ["cpu"]


def test_a_pool_without_named_devices_starts_those(model: BiEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[str, ...]] = []
    engines: list[str] = []
    monkeypatch.setattr(worker_pool, "default_devices", lambda engine: engines.append(engine) or ["a", "b"])
    monkeypatch.setattr(worker_pool, "WorkerPool", lambda checkpoint, devices, save: started.append(devices))
    model.start_multi_process_pool()
    model.start_multi_process_pool(target_devices=["c"])
    assert started == [["a", "b"], ["c"]]
    model.with_dtype("int8").start_multi_process_pool()  # which no GPU computes
    assert engines == [model.checkpoint.wishes.engine, "openvino"]


@pytest.mark.parametrize(
    ("num_texts", "num_workers", "expected"),
    [(10, 2, 5), (300, 2, 150), (1000, 2, 256), (8000, 2, 1000), (10**6, 2, 8192)],
)
def test_chunks_are_large_but_leave_work_for_all(num_texts: int, num_workers: int, expected: int) -> None:
    assert worker_pool._chunk_size(None, num_texts, num_workers) == expected


# Faults


def test_an_error_in_a_worker_is_raised_with_its_words_and_leaves_the_pool_whole(
    model: BiEncoder, pool: WorkerPool
) -> None:
    broken: Any = Job(5, True, BatchLimits(), model.max_length)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"unsupported operand type\(s\) for \+: 'int' and 'str'"):
        pool.run(TEXTS, broken, chunk_size=1)
    assert len(model.encode(TEXTS, pool=pool)) == len(TEXTS)


def test_errors_that_cannot_be_sent_are_sent_in_words() -> None:
    error = ConfigError("as it is")
    assert worker_pool._portable(error) is error
    sent = worker_pool._portable(MissingExtraError("This", "torch", "torch"))
    assert isinstance(sent, WorkerError)
    assert str(sent).startswith("MissingExtraError: This needs the package 'torch', which is not installed.")


def test_what_a_worker_cannot_open_is_said_at_the_start_and_ends_the_others(model: BiEncoder) -> None:
    others = set(multiprocessing.active_children())
    with pytest.raises(ConfigError, match=r"device='nonsense': not found on this machine by torch\. It has cpu"):
        model.start_multi_process_pool(["cpu", "nonsense"])
    assert set(multiprocessing.active_children()) == others


def test_a_killed_worker_is_an_error(model: BiEncoder) -> None:
    others = set(multiprocessing.active_children())
    with model.start_multi_process_pool(["cpu"]) as pool:
        (worker,) = set(multiprocessing.active_children()) - others
        os.kill(worker.pid, signal.SIGSTOP)  # it can be sent texts, and answers nothing
        with ThreadPoolExecutor(1) as threads:
            answer = threads.submit(model.encode, TEXTS, pool=pool)
            os.kill(worker.pid, signal.SIGKILL)
            with pytest.raises(WorkerError) as caught:
                answer.result(timeout=60)
        expected = f"the worker process {worker.pid} on device 'cpu' ended before it gave its result: was it killed"
        assert str(caught.value).startswith(expected)
        with pytest.raises(WorkerError, match="Stop the pool and start another"):
            model.encode(TEXTS, pool=pool)


def test_a_stopped_pool_is_refused(model: BiEncoder) -> None:
    pool = model.start_multi_process_pool(["cpu"])
    BiEncoder.stop_multi_process_pool(pool)
    model.stop_multi_process_pool(pool)  # once more changes nothing
    with pytest.raises(WorkerError, match=r"this pool was stopped\. Start another with start_multi_process_pool"):
        model.encode(TEXTS, pool=pool)


def test_what_is_no_pool_of_this_model_is_refused(tiny: Any, model: BiEncoder, pool: WorkerPool) -> None:
    reranker = CrossEncoder(tiny.cross_encoder("bert"), dtype="float32")
    with pytest.raises(ConfigError, match=r"pool=\{'input': 1\}: expected what start_multi_process_pool\(\) returned"):
        model.encode(TEXTS, pool={"input": 1})
    with pytest.raises(ConfigError, match="pool= holds another model"):
        reranker.predict(PAIRS, pool=pool)
    with pytest.raises(ConfigError, match=r"device=\['cpu'\] and pool= both say which processes to use: pass one"):
        model.encode(TEXTS, pool=pool, device=["cpu"])
    with pytest.raises(ConfigError, match=r"target_devices=\[\]: expected at least one device"):
        model.encode(TEXTS, device=[])
    with pytest.raises(ValueRangeError, match="chunk_size must be at least 1, got 0"):
        model.encode(TEXTS, pool=pool, chunk_size=0)


@pytest.mark.parametrize("output_value", ["token_embeddings", None])
def test_states_of_tokens_do_not_come_from_workers(model: BiEncoder, pool: WorkerPool, output_value: Any) -> None:
    for options in ({"pool": pool}, {"device": ["cpu", "cpu"]}):
        with pytest.raises(ConfigError, match=f"output_value={output_value!r} is computed in this process only"):
            model.encode(TEXTS, output_value=output_value, **options)


def test_a_bad_text_is_named_by_its_place_in_the_whole(model: BiEncoder, pool: WorkerPool) -> None:
    with pytest.raises(DataError, match="text 7 is 5: expected a string"):
        model.encode([*TEXTS[:7], 5], pool=pool, chunk_size=2)  # type: ignore[list-item]


def test_without_texts_no_worker_is_started(model: BiEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BiEncoder, "start_multi_process_pool", lambda *_: pytest.fail("started"))
    assert model.encode([], device=["cpu", "cpu"]).shape == model.encode([]).shape


SCRIPT = """
import sys
from rankwright import BiEncoder
if __name__ == "__main__" or sys.argv[2] == "unguarded":
    model = BiEncoder(sys.argv[1], dtype="float32")
    with model.start_multi_process_pool(["cpu", "cpu"]) as pool:
        print("started", flush=True)
        while True:
            model.encode(["a text"] * 1000, pool=pool)
"""


def run_script(folder: Path, tmp_path: Path, how: str) -> subprocess.Popen[str]:
    """A process group of its own that encodes for ever; its pipes close when the last of its processes has ended."""
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py"), str(folder), how]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


@pytest.mark.parametrize("how", ["Ctrl-C", "killed"])
def test_no_worker_outlives_its_caller(model: BiEncoder, tmp_path: Path, how: str) -> None:
    with run_script(model.folder, tmp_path, how) as caller:
        assert caller.stdout is not None
        assert caller.stdout.readline() == "started\n"
        if how == "Ctrl-C":
            os.killpg(caller.pid, signal.SIGINT)  # as a terminal does: to the workers too
        else:
            caller.kill()
        _, errors = caller.communicate(timeout=60)
    assert errors.count("Traceback") == (how == "Ctrl-C")
    assert caller.returncode in (-signal.SIGINT, 130) if how == "Ctrl-C" else caller.returncode == -signal.SIGKILL


def test_a_script_that_workers_cannot_import_is_told_how(model: BiEncoder, tmp_path: Path) -> None:
    with run_script(model.folder, tmp_path, "unguarded") as caller:
        _, errors = caller.communicate(timeout=120)
    assert caller.returncode == 1
    assert "WorkerError: the worker process" in errors
    assert "ended while it started" in errors
    assert "under `if __name__ == '__main__':`" in errors
