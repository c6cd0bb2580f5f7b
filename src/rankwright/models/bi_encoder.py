"""Bi-encoders: each text to one embedding.

In: texts. Out: `embeddings_BE` float32, and their similarities.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partialmethod
from pathlib import Path
from typing import Any

import numpy as np

from rankwright.encoder.spec import Kind, ModelSpec
from rankwright.errors import ConfigError, ShapeError, ValueRangeError
from rankwright.models.arguments import (
    documents_of,
    dtype_of,
    engine_of,
    max_length_of,
    one_of,
    refuse_arguments,
    texts_of,
)
from rankwright.models.checkpoint_files import noted_type
from rankwright.models.checkpoint_read import kind_of
from rankwright.models.inference import BatchLimits
from rankwright.models.loading import UntrainedWarning, Wishes
from rankwright.models.model import Model, Workers
from rankwright.models.outputs import as_tensor, ranked, to_output
from rankwright.models.precision import check_precision, quantize, warn_of_bits
from rankwright.models.similarity import PAIRWISE, SIMILARITIES, check_similarity, rows_of, unit

TASK_PROMPTS: dict[str | None, tuple[str, ...]] = {
    None: (),
    "query": ("query",),
    "document": ("document", "passage", "corpus"),
}
"""Names under which checkpoints keep the prompts of `encode_query` and `encode_document`."""


class TaskWithPrompt(str):
    """A task whose prompt `encode` takes, where it is told no other."""


class BiEncoder(Model):
    """An embedding model, from a checkpoint of sentence-transformers or transformers.

    Args:
        name: a folder, or a name on the Hub.
        device: "auto", "cpu", "cuda", ...
        truncate_dim: keep only the first so many dimensions of each embedding (Matryoshka).
        similarity: "cosine", "dot", "euclidean" or "manhattan"; None: the checkpoint's, else cosine.
        max_length: tokens of a text at most; None: the checkpoint's.
        engine: "auto", "openvino" (CPU, no torch) or "torch".
        dtype: type of the computation: "auto" (the fastest native one), "float32", "bfloat16", "float16", or "int8" of
            a folder that `rankwright quantize` wrote.
        prompts: prompts by name, added to the checkpoint's.
        default_prompt_name: the prompt of `encode` when it is given none.
        trust_remote_code: let transformers run the code that the checkpoint brings for its model and tokenizer (it is
            copied below the home folder first); else none ever is.
        revision: commit, tag or branch of a Hub name.
        cache_folder: where Hub files are kept; None: the Hub's own cache.
        token: for private models; None: the one that the Hub's login stored.
        local_files_only: look for nothing on the Hub.
        similarity_fn_name: ST's name of `similarity`.
        backend: ST's name of `engine`.
        model_kwargs: ST's place for `dtype` (or `torch_dtype`).
        tokenizer_kwargs: ST's place for `max_length` (as `model_max_length`).
        model_name_or_path: ST's name of `name`.
        processor_kwargs: ST's newer name of `tokenizer_kwargs`.
        config_kwargs: refused; the message says what to use.

    Raises:
        HubError: no such name.
        ModelFormatError: files that do not describe a bi-encoder that we run.
        ConfigError: an argument that says nothing we can do.

    Example:
        >>> model = BiEncoder("all-MiniLM-L6-v2")  # doctest: +SKIP
        >>> model.encode(["a text", "another"]).shape  # doctest: +SKIP
        (2, 384)
    """

    kind: Kind = "bi-encoder"

    def __init__(
        self,
        name: str | Path | None = None,
        *,
        device: str | None = None,
        truncate_dim: int | None = None,
        similarity: str | None = None,
        max_length: int | None = None,
        engine: str | None = None,
        dtype: Any = None,
        prompts: Mapping[str, str] | None = None,
        default_prompt_name: str | None = None,
        trust_remote_code: bool = False,
        revision: str | None = None,
        cache_folder: str | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        similarity_fn_name: str | None = None,
        backend: str | None = None,
        model_kwargs: Mapping[str, Any] | None = None,
        tokenizer_kwargs: Mapping[str, Any] | None = None,
        model_name_or_path: str | Path | None = None,
        processor_kwargs: Mapping[str, Any] | None = None,
        config_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        refuse_arguments({"config_kwargs": config_kwargs})
        wishes = Wishes(
            kind="bi-encoder",
            max_length=max_length_of(max_length, tokenizer_kwargs, processor_kwargs),
            engine=engine_of(backend, engine),
            device=str(device or "auto"),
            dtype=dtype_of(dtype, model_kwargs),
            revision=revision,
            cache_folder=cache_folder,
            token=token,
            local_files_only=local_files_only,
            trust_remote_code=trust_remote_code,
        )
        name = one_of({"name": name, "model_name_or_path": model_name_or_path})
        super().__init__(name, wishes, prompts, default_prompt_name)
        noted = noted_type(self.folder)
        other = "CrossEncoder" if kind_of(self.folder) == "cross-encoder" else noted
        if other not in (None, "SentenceTransformer"):
            remedy = "open it with" if other == "CrossEncoder" else "use, of sentence-transformers,"
            warnings.warn(
                f"{self.folder} holds a {other}: as a bi-encoder it gets mean pooling, for which nobody trained it. "
                f"Train it, or {remedy} {other}({str(name)!r}).",
                UntrainedWarning,
                stacklevel=2,
            )
        chosen = one_of({"similarity": similarity, "similarity_fn_name": similarity_fn_name})
        self._similarity = check_similarity(chosen or self.checkpoint.spec.similarity or "cosine")
        self.truncate_dim = truncate_dim if truncate_dim is not None else self.checkpoint.spec.truncate_dim
        self._check_dim(self.truncate_dim)

    def encode(
        self,
        texts: str | Sequence[str] | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        *,
        batch_tokens: int | None = None,
        normalize: bool | None = None,
        truncate_dim: int | None = None,
        precision: str | None = "float32",
        ranges: np.ndarray | None = None,
        show_progress: bool | None = None,
        convert_to_tensor: bool = False,
        convert_to_numpy: bool = True,
        output_value: str | None = "sentence_embedding",
        task: str | None = None,
        device: str | Sequence[str] | None = None,
        sentences: str | Sequence[str] | None = None,
        inputs: str | Sequence[str] | None = None,
        show_progress_bar: bool | None = None,
        normalize_embeddings: bool | None = None,
        pool: Any = None,
        chunk_size: int | None = None,
    ) -> Any:
        """Embeddings of texts.

        Args:
            texts: one text, or a list. ST's names `sentences` and `inputs` work too.
            prompt_name: the checkpoint's prompt to put before each text.
            prompt: the prompt itself.
            batch_size: texts of a batch at most; None: as many as `batch_tokens` allows.
            batch_tokens: padded tokens of a batch at most; None: the engine's best.
            normalize: divide each embedding by its L2 norm, after truncation (ST: `normalize_embeddings`).
            truncate_dim: keep the first so many dimensions.
            precision: type of the result: "float32" (as None), "int8", "uint8", "binary", "ubinary".
            ranges: (2, E) smallest and largest values, for "int8" and "uint8".
            show_progress: a progress bar on stderr (ST: `show_progress_bar`).
            convert_to_tensor: a torch tensor instead of an array.
            convert_to_numpy: with False, a list of tensors.
            output_value: "sentence_embedding"; "token_embeddings" for the state of each token, one (L, size) for each
                text; None for both and the ids, a dictionary for each text.
            task: "query" or "document": where a router sends the texts. It chooses no prompt, as in ST; `encode_query`
                and `encode_document`, this function with their task, take the checkpoint's prompt for it.
            device: the model's own (use `to()` to move it), or a list: worker processes on these for this call.
            sentences: ST's name of `texts`.
            inputs: ST's newer name of `texts`.
            show_progress_bar: ST's name of `show_progress`.
            normalize_embeddings: ST's name of `normalize`.
            pool: worker processes from `start_multi_process_pool`, which says what they are worth.
            chunk_size: texts that a worker process takes at a time, at most.

        Returns:
            (B, E) float32, or (E,) for one text. Other than embeddings: a list of tensors or dictionaries, as in ST
            (arrays where torch is not installed).

        Raises:
            ConfigError: an argument that says nothing we can do.
            TypeError: nothing to work on, or two names for one argument.
            DataError: something that is not a text.
        """
        texts = one_of({"texts": texts, "sentences": sentences, "inputs": inputs})
        normalize = one_of({"normalize": normalize, "normalize_embeddings": normalize_embeddings}, False)
        workers = Workers(pool, device, chunk_size)
        self._check_workers(workers)
        if output_value != "sentence_embedding" and (pool is not None or isinstance(device, (list, tuple))):
            raise ConfigError(
                f"output_value={output_value!r} is computed in this process only. Leave out pool= and the list of "
                "devices; sentence embeddings can have them."
            )
        if texts is None:
            raise TypeError("encode() needs texts: a string or a list of strings.")
        listed, is_single = texts_of(texts)
        self._check_task(task)
        if prompt_name is None and isinstance(task, TaskWithPrompt):
            prompt_name = self._prompt_name(task)
        prompt = self._prompt(prompt_name, prompt)
        precision = precision or "float32"
        if output_value != "sentence_embedding" and precision != "float32":
            raise ConfigError(f"precision={precision!r} is for sentence embeddings. Leave out output_value=.")
        limits = BatchLimits(batch_tokens, batch_size)
        show = one_of({"show_progress": show_progress, "show_progress_bar": show_progress_bar}, False)
        dim = truncate_dim if truncate_dim is not None else self.truncate_dim
        self._check_dim(dim)
        ranges = check_precision(precision, ranges, dim or self.checkpoint.spec.embedding_size)
        if output_value == "token_embeddings":
            states = [as_tensor(rows) for rows in self._run_tokens(listed, prompt=prompt, limits=limits, task=task)]
            return states[0] if is_single else states
        rows = self._run(listed, prompt=prompt, limits=limits, show_progress=show, task=task, workers=workers)
        rows = rows if dim is None else rows[:, :dim]
        if output_value is None:  # not normalised, as in ST
            details = self._details(listed, rows, task, prompt=prompt, limits=limits)
            return details[0] if is_single else details
        if output_value != "sentence_embedding":
            raise ConfigError(
                f"output_value={output_value!r}: expected 'sentence_embedding', 'token_embeddings' or None (both)."
            )
        rows = unit(rows) if normalize else rows
        warn_of_bits(precision, rows.shape[1], self.get_embedding_dimension())
        rows = quantize(np.ascontiguousarray(rows), precision, ranges_2E=ranges)
        output = to_output(rows, convert_to_tensor=convert_to_tensor, convert_to_numpy=convert_to_numpy)
        return output[0] if is_single else output

    encode_query = partialmethod(encode, task=TaskWithPrompt("query"))
    encode_document = partialmethod(encode, task=TaskWithPrompt("document"))

    def encode_multi_process(
        self,
        sentences: Sequence[str],
        pool: Any,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        chunk_size: int | None = None,
        show_progress_bar: bool | None = None,
        precision: str = "float32",
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
    ) -> Any:
        """ST's old name of `encode(texts, pool=pool)`.

        Args:
            sentences: the texts.
            pool: as in `encode`, like all that follows.
            prompt_name: as in `encode`.
            prompt: as in `encode`.
            batch_size: as in `encode`.
            chunk_size: as in `encode`.
            show_progress_bar: as in `encode`.
            precision: as in `encode`.
            normalize_embeddings: as in `encode`.
            truncate_dim: as in `encode`.

        Returns:
            (B, E) float32.
        """
        return self.encode(
            sentences,
            prompt_name=prompt_name,
            prompt=prompt,
            batch_size=batch_size,
            pool=pool,
            chunk_size=chunk_size,
            show_progress_bar=show_progress_bar,
            precision=precision,
            normalize_embeddings=normalize_embeddings,
            truncate_dim=truncate_dim,
        )

    def similarity(self, a: Any, b: Any) -> Any:
        """Similarity of each row of `a` with each of `b`, higher is nearer.

        Args:
            a: (A, E) or (E,); array or tensor, of any `precision` of `encode`: packed bits count as -1 and 1.
            b: (B, E) or (E,); the precision may be another.

        Returns:
            (A, B) float32; a tensor if `a` is one.

        Raises:
            ShapeError: rows of other lengths.
        """
        return _like(a, SIMILARITIES[self._similarity](*self._comparable(a, b)))

    def similarity_pairwise(self, a: Any, b: Any) -> Any:
        """Similarity of row i of `a` with row i of `b`.

        Args:
            a: (B, E) or (E,); array or tensor.
            b: (B, E) or (E,).

        Returns:
            (B,) float32, of two vectors one number; a tensor if `a` is one.

        Raises:
            ShapeError: rows of other lengths, or not as many.
        """
        rows_a, rows_b = self._comparable(a, b)
        if len(rows_a) != len(rows_b) and 1 not in (len(rows_a), len(rows_b)):
            raise ShapeError(f"pairs are of row i with row i, but there are {len(rows_a)} and {len(rows_b)} rows.")
        values = PAIRWISE[self._similarity](rows_a, rows_b)
        are_vectors = all(getattr(given, "ndim", 2) == 1 for given in (a, b))
        return _like(a, values[0] if are_vectors else values)

    def rank(
        self, query: str, documents: Sequence[str], top_k: int | None = None, return_documents: bool = False
    ) -> list[dict[str, Any]]:
        """Documents in the order of their similarity to a query, as `CrossEncoder.rank` gives them.

        Args:
            query: the query.
            documents: the documents.
            top_k: keep only the best so many.
            return_documents: put each document's text into its entry.

        Returns:
            Entries {"corpus_id": index in `documents`, "score": float, "text": document if asked}, best first;
            equal scores keep the order of `documents`.

        Raises:
            DataError: a query that is no text, or documents that are no list.
        """
        documents = documents_of(query, documents, top_k)
        if not documents:
            return []
        # row by row, so that equal rows get equal scores
        scores = self.similarity_pairwise(self.encode_query([query]), self.encode_document(documents))
        return ranked(np.asarray(scores), documents if return_documents else None, top_k)

    @property
    def spec(self) -> ModelSpec:
        """All that the checkpoint says, with the settings changed since it was loaded."""
        return replace(
            self.checkpoint.spec,
            max_length=self.max_length,
            similarity=self._similarity,
            truncate_dim=self.truncate_dim,
            prompts=dict(self.prompts),
            default_prompt_name=self.default_prompt_name,
        )

    @property
    def similarity_fn_name(self) -> str:
        """The name of the similarity; settable, None means cosine."""
        return self._similarity

    @similarity_fn_name.setter
    def similarity_fn_name(self, value: Any) -> None:
        self._similarity = check_similarity("cosine" if value is None else value)

    def get_embedding_dimension(self) -> int:
        """Length of the embeddings that `encode` returns.

        Returns:
            The number of dimensions.
        """
        return self.truncate_dim or self.checkpoint.spec.embedding_size

    get_sentence_embedding_dimension = get_embedding_dimension

    def _comparable(self, a: Any, b: Any) -> tuple[np.ndarray, np.ndarray]:
        size = self.get_embedding_dimension()
        rows_a, rows_b = rows_of(a, size), rows_of(b, size)
        if rows_a.shape[1] != rows_b.shape[1]:
            raise ShapeError(
                f"embeddings of {rows_a.shape[1]} and {rows_b.shape[1]} numbers cannot be compared. Cut both alike."
            )
        return rows_a, rows_b

    def _details(
        self, texts: list[str], rows: np.ndarray, task: str | None, *, prompt: str, limits: BatchLimits
    ) -> list[dict[str, Any]]:
        """What ST gives for `output_value=None`: ids, mask, states and embedding of each text."""
        states = self._run_tokens(texts, prompt=prompt, limits=limits, task=task)
        batch = self._route(task)[1].batch(texts, prompt=prompt)[0]
        ids = np.split(batch.ids_T.astype(np.int64), batch.starts_B1[1:-1])
        return [
            {
                "input_ids": as_tensor(ids[i]),
                "attention_mask": as_tensor(np.ones_like(ids[i])),
                "token_embeddings": as_tensor(states[i]),
                "sentence_embedding": as_tensor(rows[i]),
            }
            for i in range(len(texts))
        ]

    def prompt_of(self, task: str | None = None) -> str:
        """The text that `encode` puts before each text of a task.

        Args:
            task: "query", "document", or None.

        Returns:
            The prompt, or "".
        """
        self._check_task(task)
        return self._prompt(self._prompt_name(task), None)

    def _prompt_name(self, task: str | None) -> str | None:
        """The name of the checkpoint's prompt for queries or documents, where it has one."""
        return next((name for name in TASK_PROMPTS.get(task, ()) if name in self.prompts), None)

    def _check_task(self, task: str | None) -> None:
        routes = self.checkpoint.routes
        if task not in TASK_PROMPTS and task not in routes:
            known = " or ".join(map(repr, dict.fromkeys(["query", "document", *routes])))
            raise ConfigError(f"task={task!r}: expected {known}.")

    def _check_dim(self, dim: int | None) -> None:
        size = self.checkpoint.spec.embedding_size
        if dim is not None and not 1 <= dim <= size:
            raise ValueRangeError(f"truncate_dim={dim}: expected 1 to {size}, the model's embedding size.")


def _like(example: Any, values: np.ndarray) -> Any:
    example = example[0] if isinstance(example, list) and example else example
    if hasattr(example, "detach"):
        import torch

        return torch.as_tensor(values, dtype=torch.float32, device=example.device)
    return values.astype(np.float32)
