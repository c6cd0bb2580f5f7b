"""A job that trains in milliseconds: a bag of token embeddings with dropout, on rows drawn from a seed.

In: settings. Out: `Job`s. As a script it forks: to kill itself with -9 at every kind of moment and take the run up
again, and to train with several processes.
"""

import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from rankwright.config import TrainingConfig
from rankwright.losses import binary_cross_entropy
from rankwright.text import TokenBatch
from rankwright.text.tokens import pack
from rankwright.training import BatchPlan, Job, TrainingState, make_accelerator, run_training

NUM_ROWS = 23
SETTINGS = {
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "learning_rate": 0.05,
    "weight_decay": 0.01,
    "warmup_steps": 2,
    "eval_strategy": "steps",
    "eval_steps": 2,
    "save_steps": 3,
    "save_total_limit": 2,
    "load_best_model_at_end": True,
    "dtype": "float32",
    "device": "cpu",
}


class Bag(nn.Module):
    """The mean of the tokens' embeddings, thinned by the dropout seed, to one logit."""

    def __init__(self, rate: float = 0.2) -> None:
        super().__init__()
        self.rate = rate
        generator = torch.Generator().manual_seed(0)
        self.tokens = nn.Embedding.from_pretrained(torch.randn(50, 8, generator=generator), freeze=False)
        self.head = nn.Linear(8, 1)
        with torch.no_grad():
            self.head.weight.copy_(torch.randn(1, 8, generator=generator))
            self.head.bias.zero_()

    def forward(self, batch: TokenBatch, dropout_seed: int = 0) -> Tensor:
        text_T = torch.from_numpy(np.repeat(np.arange(len(batch)), batch.lengths_B))
        states_TE = self.tokens(torch.from_numpy(batch.ids_T.astype(np.int64)))
        if self.training:
            kept_TE = torch.rand(states_TE.shape, generator=torch.Generator().manual_seed(dropout_seed)) > self.rate
            states_TE = states_TE * kept_TE / (1 - self.rate)
        return self.head(torch.zeros(len(batch), 8).index_add(0, text_T, states_TE))


def deliver(number: int) -> None:
    """Calls Python's handler of a signal, as the interpreter does after one came.

    A real signal of this process runs on an alternate stack, which a library that some other test loaded may have
    freed; the command line's tests send real ones to processes of their own.
    """
    handler = signal.getsignal(number)
    assert callable(handler)
    handler(number, None)


def rows() -> tuple[list[list[int]], Tensor]:
    """Token ids of each row, and its label."""
    generator = np.random.default_rng(0)
    ids = [generator.integers(0, 50, generator.integers(1, 6)).tolist() for _ in range(NUM_ROWS)]
    return ids, torch.from_numpy(generator.integers(0, 2, NUM_ROWS)).float()


def save_model(folder: Path, module: nn.Module) -> None:
    folder.mkdir()
    save_file({name: tensor.clone() for name, tensor in module.state_dict().items()}, folder / "model.safetensors")


def make_job(
    *,
    seed: int = 1,
    batch_size: int = 4,
    batches_per_step: int = 2,
    num_epochs: float = 3.0,
    rate: float = 0.2,
    evaluate: Callable[[nn.Module], Mapping[str, float]] | None = None,
    log: Callable[[Mapping[str, object]], None] = lambda row: None,
    save: Callable[[Path, nn.Module], None] = save_model,
) -> Job:
    ids, labels = rows()

    def make_batch(rows_B: np.ndarray) -> tuple[TokenBatch, Tensor]:
        return pack([ids[i] for i in rows_B], None), labels[rows_B]

    def loss_of_all(module: nn.Module) -> dict[str, float]:
        tokens, targets = make_batch(np.arange(NUM_ROWS))
        return {"loss": float(binary_cross_entropy(module(tokens), targets)), "constant": 1.0}

    return Job(
        module=Bag(rate),
        plan=BatchPlan(NUM_ROWS, batch_size, batches_per_step=batches_per_step, seed=seed, num_epochs=num_epochs),
        make_batch=make_batch,
        loss=binary_cross_entropy,
        save_model=save,
        evaluate=evaluate or loss_of_all,
        log=log,
    )


def train(out: Path, job: Job, **changes: object) -> TrainingState:
    """Run a job; what it leaves is in `out` and in `job.module`."""
    settings = TrainingConfig.model_validate({**SETTINGS, **changes})
    return run_training(job, settings, out=out, accelerator=make_accelerator("cpu"))


def _killed_at(moment: str) -> Job:
    """A job that ends its process without notice: at a row of the log, in an evaluation, or with half a model saved."""
    where, number = moment.split()
    calls = {"log": 0, "evaluate": 0, "save": 0}

    def count(what: str) -> None:
        calls[what] += 1
        if what == where and calls[what] == int(number):
            os.kill(os.getpid(), signal.SIGKILL)

    job = make_job()

    def evaluate(module: nn.Module) -> Mapping[str, float]:
        count("evaluate")
        return job.evaluate(module)

    def save(folder: Path, module: nn.Module) -> None:
        folder.mkdir()
        count("save")
        folder.rmdir()
        save_model(folder, module)

    return make_job(evaluate=evaluate, save=save, log=lambda row: count("log"))


def _in_child(work: Callable[[], None]) -> int:
    """The id of a forked process, so that torch is imported once."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    return child


def _exit_code(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _to_the_end(out: Path) -> None:
    job = make_job()
    train(out, job)
    save_file(job.module.state_dict(), out / "end.safetensors")


def kill(folder: Path, moments: list[str]) -> None:
    """Train once undisturbed, and once for each moment, killed there and taken up again.

    Args:
        folder: gets a run folder for each, with the module's weights at the end in `end.safetensors`.
        moments: such as "log 3", the third row of the log.
    """
    assert _exit_code(_in_child(lambda: _to_the_end(folder / "undisturbed"))) == 0
    for moment in moments:
        out = folder / moment
        assert _exit_code(_in_child(lambda out=out, moment=moment: train(out, _killed_at(moment)))) == -signal.SIGKILL
        assert _exit_code(_in_child(lambda out=out: _to_the_end(out))) == 0


def share(folder: Path, num_processes: int) -> None:
    """Train with several processes, over gloo.

    Args:
        folder: gets the run folder, and the weights of each process in `0.safetensors`, ...
        num_processes: how many.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def one(rank: int) -> None:
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(num_processes))
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), GLOO_SOCKET_IFNAME="lo")
        job = make_job(batches_per_step=4)
        train(folder / "run", job)
        save_file(job.module.state_dict(), folder / f"{rank}.safetensors")
        torch.distributed.destroy_process_group()

    children = [_in_child(lambda rank=rank: one(rank)) for rank in range(num_processes)]
    assert [_exit_code(child) for child in children] == [0] * num_processes


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "kill":
        kill(Path(sys.argv[2]), sys.argv[3:])
    else:
        share(Path(sys.argv[2]), int(sys.argv[3]))
