"""What bi-encoders and cross-encoders share: an opened checkpoint, its settings, and running texts through it.

In: `Checkpoint`. Out: rows for texts; folders.
"""

import logging
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NoReturn, Self

import numpy as np

from rankwright.encoder.spec import Kind, ModelSpec, Pooling
from rankwright.errors import ConfigError
from rankwright.models.arguments import REFUSED_ATTRIBUTES, check_prompts, check_saving
from rankwright.models.describe import describe
from rankwright.models.inference import BatchLimits, run_texts, run_tokens
from rankwright.models.loading import Checkpoint, Wishes, open_checkpoint
from rankwright.text import TokenBatch, Truncation
from rankwright.text.tokenizer import Tokenizer
from rankwright.text.tokens import Text

if TYPE_CHECKING:
    from rankwright.encoder.ops_torch import TorchEncoder
    from rankwright.models.worker_pool import WorkerPool

logger = logging.getLogger(__name__)

_ROUTER_ADVICE = (
    "{}: a model with a router is run, not trained. Train the model of one route by itself, "
    "and put them together with sentence-transformers."
)


@dataclass(frozen=True)
class Workers:
    """Which processes run the texts of a call: those of `pool`, new ones for a list of devices, or else this one."""

    pool: Any = None
    device: str | Sequence[str] | None = None
    chunk_size: int | None = None


class Model(ABC):
    """What both model classes are: an opened checkpoint with its tokenizer and prompts, running on an engine."""

    kind: Kind

    def __init__(
        self,
        name: str | Path | None,
        wishes: Wishes,
        prompts: Mapping[str, str] | None,
        default_prompt_name: str | None,
    ) -> None:
        if name is None:
            raise TypeError(f"{type(self).__name__}() needs a name: a folder, or a name on the Hub.")
        check_prompts(prompts)
        self.checkpoint = open_checkpoint(name, wishes)
        spec = self.checkpoint.spec
        self._in_folder = spec, self.checkpoint.parameters, self.checkpoint.levels
        self.prompts = {**spec.prompts, **(prompts or {})}
        self.default_prompt_name = default_prompt_name or spec.default_prompt_name
        self.truncation = Truncation()
        self._tokenizer = self.checkpoint.tokenizer
        self._length_is_set = wishes.max_length is not None
        self._prompt(self.default_prompt_name, None)

    @property
    @abstractmethod
    def spec(self) -> ModelSpec:
        """All that the checkpoint says, with the settings changed since it was loaded."""

    def with_parameters(self, parameters: Mapping[str, np.ndarray]) -> Self:
        """The same model with other weights, such as those of a trained copy.

        Args:
            parameters: arrays by Hugging Face name, shapes as the model's own.

        Returns:
            A new model; this one is not changed.
        """
        return self._twin(self.checkpoint.with_parameters(parameters))

    def with_dtype(self, dtype: str) -> Self:
        """The same model computing in another type.

        Args:
            dtype: "auto", "float32", "bfloat16", "float16" or "int8".

        Returns:
            A new model; this one is not changed.
        """
        return self._twin(self.checkpoint.wished(dtype=dtype))

    def quantize(self, texts: Sequence[Text]) -> Self:
        """The same model with its linear layers in int8, for the CPU; `save` keeps what was found here.

        Args:
            texts: a few hundred like those that the model will run; pairs, for a cross-encoder.

        Returns:
            A new model; this one is not changed.

        Raises:
            ConfigError: no texts, or a model without linear layers that the CPU's engine runs.
        """
        from rankwright.models.calibration import calibrate_on

        own = self.checkpoint
        if own.routes:
            raise ConfigError(f"{self.folder}: int8 is for models of one graph; this one has a router.")
        prompt = self._prompt(None, None)
        return self._twin(own.with_levels(calibrate_on(own.spec, own.parameters, self._tokenizer, texts, prompt)))

    def save(self, folder: str | Path, tensors: Mapping[str, np.ndarray] | None = None) -> None:
        """Write a checkpoint that rankwright, sentence-transformers 2 to 6 and transformers load.

        Args:
            folder: where; it appears whole or not at all.
            tensors: parameters by name instead of the model's own, such as those of a trained copy.

        Raises:
            ConfigError: `tensors` for a model with a router.
        """
        from rankwright.models.checkpoint_write import write_checkpoint

        if self.checkpoint.routes and tensors is not None:
            raise ConfigError(_ROUTER_ADVICE.format(self.folder))
        parameters = self.checkpoint.parameters if tensors is None else tensors
        tensors = {**self.checkpoint.kept, **parameters}
        levels = self.checkpoint.levels if parameters is self.checkpoint.parameters else None
        write_checkpoint(Path(folder), self.spec, tensors, source=self.folder, levels=levels)

    def push_to_hub(
        self,
        repo_id: str,
        token: str | bool | None = None,
        *,
        private: bool | None = None,
        commit_message: str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        exist_ok: bool = False,
        replace_model_card: bool = False,
        local_model_path: str | Path | None = None,
        safe_serialization: bool = True,
        train_datasets: Sequence[str] | None = None,
    ) -> str:
        """Put the model on the Hub, with the card that lies beside it.

        Args:
            repo_id: "organization/name"; without an organization, that of the token's user.
            token: with the right to write; None: HF_TOKEN or the stored login.
            private: whether a new repository is private; None: what its owner has chosen on the Hub.
            commit_message: None: says what kind of model it is.
            revision: branch, made if there is none; None: main.
            create_pr: ask its owner to take the files, in a pull request, instead of a commit.
            exist_ok: whether the repository may exist.
            replace_model_card: send this model's card where the repository has one.
            local_model_path: a folder to send instead of this model.
            safe_serialization: only True; weights are written as safetensors.
            train_datasets: refused; the message says what to do.

        Returns:
            The address of the commit, or of the pull request.

        Raises:
            HubError: the Hub is not there, does not know the user, or refuses.
            ConfigError: an argument that cannot take effect.
        """
        from rankwright.hub_upload import CARD, Destination, upload

        check_saving(train_datasets, safe_serialization=safe_serialization)
        to = Destination(repo_id, token, private, revision, create_pr, exist_ok, replace_model_card)
        with TemporaryDirectory(prefix="rankwright-") as temporary:
            folder = Path(temporary) / "model"
            if local_model_path is not None:
                if not Path(local_model_path).is_dir():
                    raise ConfigError(f"local_model_path={str(local_model_path)!r}: expected the folder of a model.")
                shutil.copytree(local_model_path, folder)
            else:
                self.save(folder)
            card = self.folder / CARD
            if local_model_path is None and card.is_file() and not self._is_changed:
                shutil.copyfile(card, folder / CARD)
            message = commit_message or f"Add {type(self).__name__} model"
            return upload(folder, to, message=message, description=str(self) if create_pr else "")

    def save_pretrained(
        self,
        path: str | Path,
        model_name: str | None = None,
        create_model_card: bool = True,
        train_datasets: Sequence[str] | None = None,
        safe_serialization: bool = True,
    ) -> None:
        """ST's name of `save`, with its arguments.

        Args:
            path: where.
            model_name: without effect, as no card is written: that is `train`'s, which knows what to say.
            create_model_card: without effect.
            train_datasets: refused; the message says what to do.
            safe_serialization: only True; weights are written as safetensors.

        Raises:
            ConfigError: an argument that cannot take effect.
        """
        check_saving(train_datasets, safe_serialization=safe_serialization)
        self.save(path)

    def tokenize(self, texts: Sequence[Text], prompt: str = "") -> TokenBatch:
        """Texts (or pairs) as one packed batch.

        Args:
            texts: the texts, or pairs of texts.
            prompt: put before each (before the first text of a pair).

        Returns:
            The tokens, cut to `max_length`; of a pair, the longer text is cut first.
        """
        return self._tokenizer.batch(
            texts, prompt=prompt, pools_prompt=_pools_prompt(self.checkpoint.spec), counts_lost=False
        )[0]

    def trainable(self) -> "TorchEncoder":
        """The model as an `nn.Module` in float32, with its own copy of the weights.

        Returns:
            The module.

        Raises:
            ConfigError: a model with a router.
        """
        from rankwright.encoder.engine_torch import load_module

        if self.checkpoint.routes:
            raise ConfigError(_ROUTER_ADVICE.format(self.folder))
        return load_module(self.spec, self.checkpoint.parameters)

    def to(self, device: str) -> Self:
        """Move the model to another device.

        Args:
            device: "cpu", "cuda", ...

        Returns:
            The model itself.

        Raises:
            ConfigError: a type of torch, which is no device.
        """
        if str(device).startswith("torch."):
            raise ConfigError(f"to({device}) names a type, no device. {REFUSED_ATTRIBUTES['half']}")
        self.checkpoint = self.checkpoint.wished(device=str(device))
        return self

    def start_multi_process_pool(self, target_devices: Sequence[str] | None = None) -> "WorkerPool":
        """Worker processes, each with this model on a device of its own, for `pool=` of `encode` and `predict`.

        It is worth it with several GPUs: one worker each. On the CPU one process uses all cores already; workers share
        them out, each with its own copy of the engine in memory, and cost a second or more to start. On 2 cores 2
        workers saved less than a tenth of the processor time (LOG.md).

        Args:
            target_devices: one for each worker, such as ["cuda:0", "cuda:1"] or ["cpu", "cpu"]; None: every CUDA
                device, or where there is none a CPU worker for each 8 cores.

        Returns:
            The pool. Use it in a `with` statement, or end it with `stop_multi_process_pool`.
        """
        from rankwright.models.worker_pool import WorkerPool, default_devices

        devices = default_devices(self.checkpoint.wished_engine) if target_devices is None else target_devices
        return WorkerPool(self.checkpoint, devices, self.save if self._is_changed else None)

    @staticmethod
    def stop_multi_process_pool(pool: "WorkerPool") -> None:
        """End the processes that `start_multi_process_pool` started.

        Args:
            pool: what it returned.
        """
        pool.stop()

    @property
    def folder(self) -> Path:
        """Where the checkpoint lies."""
        return self.checkpoint.folder

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer; it never changes."""
        return self._tokenizer

    @property
    def max_length(self) -> int:
        """Tokens of a text (or pair) at most, special tokens included; settable."""
        return self._tokenizer.max_length

    @max_length.setter
    def max_length(self, value: int) -> None:
        checked = self.checkpoint.spec.architecture.check_max_length(value, self.folder)
        self._tokenizer = self._tokenizer.with_max_length(checked)
        self._length_is_set = True

    max_seq_length = max_length

    def get_max_seq_length(self) -> int:
        """ST's name of `max_length`.

        Returns:
            Tokens of a text (or pair) at most.
        """
        return self.max_length

    def eval(self) -> Self:
        """Nothing, for ST's sake: inference never drops out.

        Returns:
            The model itself.
        """
        return self

    @property
    def device(self) -> str:
        """Where the model runs."""
        return str(getattr(self.checkpoint.engine, "device", "cpu"))

    @property
    def dtype(self) -> str:
        """The type of the computation."""
        return self.checkpoint.engine.dtype

    def __str__(self) -> str:
        return describe(type(self).__name__, self.spec)

    def __getitem__(self, index: object) -> NoReturn:
        raise ConfigError(f"{type(self).__name__} has no modules to index. {REFUSED_ATTRIBUTES['model[0]']}")

    if not TYPE_CHECKING:  # a type checker is to know that other names do not exist

        def __getattr__(self, name: str) -> NoReturn:
            advice = f" {REFUSED_ATTRIBUTES[name]}" if name in REFUSED_ATTRIBUTES else ""
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}.{advice}")

    def _twin(self, checkpoint: Checkpoint) -> Self:
        twin = copy(self)
        twin.checkpoint = checkpoint
        twin.prompts = dict(self.prompts)
        return twin

    def _prompt(self, name: str | None, text: str | None) -> str:
        """The prompt to use: its text, else the named one, else the default one, else none."""
        if text is not None:
            return text
        name = name if name is not None else self.default_prompt_name
        if name is None:
            return ""
        if name not in self.prompts:
            known = ", ".join(map(repr, self.prompts)) or "none"
            raise ConfigError(f"prompt_name={name!r}: this model's prompts are {known}. Pass prompt= to use a text.")
        return self.prompts[name]

    @property
    def _is_changed(self) -> bool:
        """Whether the folder describes another model, or holds other weights."""
        spec, parameters, levels = self._in_folder
        now = self.checkpoint
        return now.spec is not spec or now.parameters is not parameters or now.levels is not levels

    def _route(self, task: str | None) -> tuple[Checkpoint, Tokenizer]:
        """What texts of a task run through; without a router the model's own, whatever the task."""
        routes = self.checkpoint.routes
        route = routes.get(task or "")
        if route is None and (routes if task else not self.checkpoint.takes_any):
            raise ConfigError(
                f"{self.folder}: its router sends texts of task={task!r} nowhere. Pass task= one of "
                f"{', '.join(map(repr, routes))}."
            )
        if route is None:
            return self.checkpoint, self._tokenizer
        length = (
            min(self.max_length, route.spec.architecture.longest_text) if self._length_is_set else route.spec.max_length
        )
        return route, route.tokenizer.with_max_length(length)

    def _run(
        self,
        texts: Sequence[Text],
        *,
        prompt: str,
        limits: BatchLimits,
        show_progress: bool,
        task: str | None = None,
        workers: Workers = Workers(),
    ) -> np.ndarray:
        """The engine's rows for all texts; says in the log what was cut."""
        route, tokenizer = self._route(task)
        if not texts:
            return np.empty((0, route.spec.output_size), dtype=np.float32)
        pools_prompt = _pools_prompt(route.spec)
        with self._pool_for(workers) as pool, progress_bar(len(texts), show_progress) as progress:
            if pool is None:
                rows, self.truncation = run_texts(
                    route.engine,
                    tokenizer,
                    texts,
                    prompt=prompt,
                    pools_prompt=pools_prompt,
                    limits=limits,
                    progress=progress,
                )
            else:
                from rankwright.models.worker_pool import Job

                job = Job(prompt, pools_prompt, limits, tokenizer.max_length, task)
                rows, self.truncation = pool.run(texts, job, chunk_size=workers.chunk_size, progress=progress)
        self._say_what_was_cut(tokenizer.max_length)
        return rows

    def _run_tokens(
        self, texts: Sequence[Text], *, prompt: str, limits: BatchLimits, task: str | None
    ) -> list[np.ndarray]:
        """The states of all tokens of each text."""
        route, tokenizer = self._route(task)
        rows, self.truncation = run_tokens(route.states.engine, tokenizer, texts, prompt=prompt, limits=limits)
        self._say_what_was_cut(tokenizer.max_length)
        return rows

    def _say_what_was_cut(self, max_length: int) -> None:
        cut = self.truncation
        if cut.num_truncated:
            message = "%d of %d texts were cut to %d tokens (%s%d tokens lost)"
            at_least = "at least " if cut.at_least else ""
            logger.info(message, cut.num_truncated, cut.num_texts, max_length, at_least, cut.tokens_lost)

    @contextmanager
    def _pool_for(self, workers: Workers) -> "Iterator[WorkerPool | None]":
        """The pool of a call: the one given, or for a list of devices one that ends with the call."""
        if isinstance(workers.device, (list, tuple)):
            with self.start_multi_process_pool(workers.device) as own:
                yield own
        else:
            yield workers.pool

    def _check_workers(self, workers: Workers) -> None:
        """Refuse a pool that is none of this model's, and a device that is not this model's."""
        pool, device = workers.pool, workers.device
        if pool is not None:
            from rankwright.models.worker_pool import WorkerPool

            if not isinstance(pool, WorkerPool):
                raise ConfigError(f"pool={pool!r:.80}: expected what start_multi_process_pool() returned.")
            if not pool.serves(self.checkpoint):
                raise ConfigError(
                    "pool= holds another model, or other weights or another type of this one. "
                    "Start one with start_multi_process_pool() of this very model."
                )
        if isinstance(device, (list, tuple)):
            if pool is not None:
                raise ConfigError(f"device={device!r:.80} and pool= both say which processes to use: pass one.")
        elif device is not None and str(device) != self.device:
            raise ConfigError(
                f"device={str(device)!r}: this model is on {self.device!r}. Use model.to({str(device)!r})."
            )


def _pools_prompt(spec: ModelSpec) -> bool:
    # as in ST, in a chat template the prompt's tokens are not told apart
    is_chat = spec.foreign is not None and spec.foreign.chat_format is not None
    return is_chat or all(m.include_prompt for m in spec.modules if isinstance(m, Pooling))


@contextmanager
def progress_bar(total: int, wanted: bool) -> Iterator[Callable[[int], None] | None]:
    """A progress bar on stderr, if it is wanted."""
    if not wanted:
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("texts", total=total)
        yield lambda done: bar.update(task, advance=done)
