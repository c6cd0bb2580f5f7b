"""Cross-encoders: each pair of texts to scores.

In: pairs (query, document). Out: `scores_B` (or (B, N) with N labels) float32, higher is better.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rankwright.encoder.spec import Kind, ModelSpec
from rankwright.errors import ConfigError, DataError
from rankwright.models.activations import activation_path, apply_activation, softmax
from rankwright.models.arguments import documents_of, dtype_of, engine_of, max_length_of, one_of, refuse_arguments
from rankwright.models.inference import BatchLimits
from rankwright.models.loading import UntrainedWarning, Wishes
from rankwright.models.model import Model, Workers
from rankwright.models.outputs import ranked, to_output

Pair = tuple[str, str]


class CrossEncoder(Model):
    """A reranker or pair classifier, from a checkpoint of sentence-transformers or transformers.

    Args:
        name: a folder, or a name on the Hub.
        num_labels: outputs; None: the checkpoint's. A checkpoint without a head gets a new one (1 label).
        max_length: tokens of a pair at most; None: the checkpoint's.
        activation: turns logits into scores: a torch module or path, a name ("sigmoid"), or a function of an array;
            None: the checkpoint's, else sigmoid for one label and none for several.
        device: "auto", "cpu", "cuda", ...
        engine: "auto", "openvino" (CPU, no torch) or "torch".
        dtype: type of the computation: "auto" (the fastest native one), "float32", "bfloat16", "float16", or "int8" of
            a folder that `rankwright quantize` wrote.
        prompts: prompts by name, added to the checkpoint's.
        default_prompt_name: the prompt of `predict` when it is given none.
        trust_remote_code: let transformers run the code that the checkpoint brings for its model and tokenizer (it is
            copied below the home folder first); else none ever is.
        revision: commit, tag or branch of a Hub name.
        cache_folder: where Hub files are kept; None: the Hub's own cache.
        token: for private models; None: the one that the Hub's login stored.
        local_files_only: look for nothing on the Hub.
        activation_fn: ST's name of `activation`.
        default_activation_function: ST's old name of `activation`.
        automodel_args: ST's old name of `model_kwargs`.
        backend: ST's name of `engine`.
        model_kwargs: ST's place for `dtype` (or `torch_dtype`).
        tokenizer_kwargs: ST's place for `max_length` (as `model_max_length`).
        model_name_or_path: ST's name of `name`.
        processor_kwargs: ST's newer name of `tokenizer_kwargs`.
        config_kwargs: refused; the message says what to use.

    Raises:
        HubError: no such name.
        ModelFormatError: files that do not describe a cross-encoder that we run.
        ConfigError: an argument that says nothing we can do.

    Example:
        >>> model = CrossEncoder("cross-encoder/ms-marco-MiniLM-L6-v2")  # doctest: +SKIP
        >>> model.predict([("a query", "a document")]).shape  # doctest: +SKIP
        (1,)
    """

    kind: Kind = "cross-encoder"

    def __init__(
        self,
        name: str | Path | None = None,
        num_labels: int | None = None,
        max_length: int | None = None,
        activation: Any = None,
        device: str | None = None,
        *,
        engine: str | None = None,
        dtype: Any = None,
        prompts: Mapping[str, str] | None = None,
        default_prompt_name: str | None = None,
        trust_remote_code: bool = False,
        revision: str | None = None,
        cache_folder: str | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        activation_fn: Any = None,
        default_activation_function: Any = None,
        automodel_args: Mapping[str, Any] | None = None,
        backend: str | None = None,
        model_kwargs: Mapping[str, Any] | None = None,
        tokenizer_kwargs: Mapping[str, Any] | None = None,
        model_name_or_path: str | Path | None = None,
        processor_kwargs: Mapping[str, Any] | None = None,
        config_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        refuse_arguments({"config_kwargs": config_kwargs})
        # pylint: disable=duplicate-code  # both constructors name every argument, and mean the same by it
        wishes = Wishes(
            kind="cross-encoder",
            num_labels=num_labels,
            max_length=max_length_of(max_length, tokenizer_kwargs, processor_kwargs),
            engine=engine_of(backend, engine),
            device=str(device or "auto"),
            dtype=dtype_of(dtype, one_of({"model_kwargs": model_kwargs, "automodel_args": automodel_args})),
            revision=revision,
            cache_folder=cache_folder,
            token=token,
            local_files_only=local_files_only,
            trust_remote_code=trust_remote_code,
        )
        name = one_of({"name": name, "model_name_or_path": model_name_or_path})
        super().__init__(name, wishes, prompts, default_prompt_name)
        if self.checkpoint.spec.head_is_new:
            warnings.warn(
                f"{self.folder} holds no classification head: a new one was drawn at random, and its scores mean "
                f"nothing. Train it, or open it with BiEncoder({str(name)!r}).",
                UntrainedWarning,
                stacklevel=2,
            )
        given = {
            "activation": activation,
            "activation_fn": activation_fn,
            "default_activation_function": default_activation_function,
        }
        self.activation = one_of(given, self.checkpoint.spec.activation)
        apply_activation(self.activation, np.zeros((1, self.num_labels), dtype=np.float32))

    def predict(
        self,
        pairs: Pair | Sequence[Pair] | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        *,
        batch_tokens: int | None = None,
        activation: Any = None,
        apply_softmax: bool = False,
        show_progress: bool | None = None,
        convert_to_tensor: bool = False,
        convert_to_numpy: bool = True,
        device: str | Sequence[str] | None = None,
        sentences: Any = None,
        inputs: Any = None,
        show_progress_bar: bool | None = None,
        activation_fn: Any = None,
        activation_fct: Any = None,
        pool: Any = None,
        chunk_size: int | None = None,
        num_workers: int | None = None,
    ) -> Any:
        """Scores of pairs.

        Args:
            pairs: one pair, or a list of pairs. ST's names `sentences` and `inputs` work too.
            prompt_name: the checkpoint's prompt to put before the first text of each pair.
            prompt: the prompt itself.
            batch_size: pairs of a batch at most; None: as many as `batch_tokens` allows.
            batch_tokens: padded tokens of a batch at most; None: the engine's best.
            activation: instead of the model's own (ST: `activation_fn`).
            apply_softmax: with several labels, softmax over them after the activation.
            show_progress: a progress bar on stderr (ST: `show_progress_bar`).
            convert_to_tensor: a torch tensor instead of an array.
            convert_to_numpy: with False, a list of tensors.
            device: the model's own (use `to()` to move it), or a list: worker processes on these for this call.
            sentences: ST's name of `pairs`.
            inputs: ST's newer name of `pairs`.
            show_progress_bar: ST's name of `show_progress`.
            activation_fn: ST's name of `activation`.
            activation_fct: ST's old name of `activation`.
            pool: worker processes from `start_multi_process_pool`, which says what they are worth.
            chunk_size: pairs that a worker process takes at a time, at most.
            num_workers: without effect; ST's old versions read pairs in so many processes.

        Returns:
            (B,) float32 with one label, (B, N) with several; for one pair, without the first axis.

        Raises:
            ConfigError: an argument that says nothing we can do.
            TypeError: nothing to work on, or two names for one argument.
            DataError: something that is not a pair of texts.
        """
        pairs = one_of({"pairs": pairs, "inputs": inputs, "sentences": sentences})
        if pairs is None:
            raise TypeError("predict() needs pairs: a pair of strings, or a list of pairs.")
        workers = Workers(pool, device, chunk_size)
        self._check_workers(workers)
        listed, is_single = pairs_of(pairs)
        given = {"activation": activation, "activation_fn": activation_fn, "activation_fct": activation_fct}
        chosen = one_of(given, self.activation)
        show = one_of({"show_progress": show_progress, "show_progress_bar": show_progress_bar}, False)
        logits_BN = self._run(
            listed,
            prompt=self._prompt(prompt_name, prompt),
            limits=BatchLimits(batch_tokens, batch_size),
            show_progress=show,
            workers=workers,
        )
        scores = apply_activation(chosen, logits_BN)
        if self.num_labels == 1 and scores.ndim > 1:
            scores = scores[:, 0]
        if apply_softmax and scores.ndim > 1:
            scores = softmax(scores)
        output = to_output(scores, convert_to_tensor=convert_to_tensor, convert_to_numpy=convert_to_numpy)
        return output[0] if is_single else output

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        top_k: int | None = None,
        return_documents: bool = False,
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        batch_tokens: int | None = None,
        activation: Any = None,
        show_progress: bool | None = None,
        show_progress_bar: bool | None = None,
        activation_fn: Any = None,
        activation_fct: Any = None,
        apply_softmax: bool = False,
        convert_to_tensor: bool = False,
        convert_to_numpy: bool = True,
        device: str | Sequence[str] | None = None,
        pool: Any = None,
        chunk_size: int | None = None,
        num_workers: int | None = None,
    ) -> list[dict[str, Any]]:
        """Documents in the order of their scores for a query.

        Args:
            query: the query.
            documents: the documents.
            top_k: keep only the best so many.
            return_documents: put each document's text into its entry.
            prompt_name: as in `predict`.
            prompt: as in `predict`.
            batch_size: as in `predict`.
            batch_tokens: as in `predict`.
            activation: as in `predict`.
            show_progress: as in `predict`.
            show_progress_bar: ST's name of `show_progress`.
            activation_fn: ST's name of `activation`.
            activation_fct: ST's old name of `activation`.
            apply_softmax: without effect, as in ST: softmax is for several labels.
            convert_to_tensor: without effect, as in ST: entries have floats.
            convert_to_numpy: without effect, as in ST.
            device: as in `predict`.
            pool: as in `predict`.
            chunk_size: as in `predict`.
            num_workers: without effect, as in `predict`.

        Returns:
            Entries {"corpus_id": index in `documents`, "score": float, "text": document if asked}, best first;
            equal scores keep the order of `documents`.

        Raises:
            ConfigError: a model with several labels, which has no single score to rank by.
            DataError: a query that is no text, or documents that are no list.
        """
        if self.num_labels != 1:
            raise ConfigError(f"rank() needs a model with 1 label, this one has {self.num_labels}. Use predict().")
        documents = documents_of(query, documents, top_k)
        scores = self.predict(
            [(query, document) for document in documents],
            prompt_name=prompt_name,
            prompt=prompt,
            batch_size=batch_size,
            batch_tokens=batch_tokens,
            activation=activation,
            device=device,
            show_progress=show_progress,
            show_progress_bar=show_progress_bar,
            activation_fn=activation_fn,
            activation_fct=activation_fct,
            pool=pool,
            chunk_size=chunk_size,
        )
        return ranked(scores, documents if return_documents else None, top_k)

    @property
    def spec(self) -> ModelSpec:
        """All that the checkpoint says, with the settings changed since it was loaded."""
        return replace(
            self.checkpoint.spec,
            max_length=self.max_length,
            activation=activation_path(self.activation),
            prompts=dict(self.prompts),
            default_prompt_name=self.default_prompt_name,
        )

    @property
    def num_labels(self) -> int:
        """Outputs of the model."""
        return self.checkpoint.spec.num_labels

    @property
    def activation_fn(self) -> Any:
        """ST's name of `activation`; settable."""
        return self.activation

    @activation_fn.setter
    def activation_fn(self, value: Any) -> None:
        self.activation = value

    default_activation_function = activation_fn


def pairs_of(given: Any) -> tuple[list[Pair], bool]:
    """The pairs in what a caller passed, and whether it was a single one.

    Args:
        given: a pair of strings, or pairs in a list, iterator or array.

    Returns:
        The pairs, and whether it was one alone.

    Raises:
        DataError: a string, mapping, set or table; its letters, keys or columns would be taken for texts.
    """
    expected = 'expected ("query", "document"), or a list of such pairs'
    if isinstance(given, (str, Mapping, set, frozenset)) or hasattr(given, "columns"):
        raise DataError(f"pairs are {given!r:.80}: {expected}.")
    listed = given.tolist() if isinstance(given, np.ndarray) else list(given)
    is_single = bool(listed) and isinstance(listed[0], str)
    pairs = [listed] if is_single else listed
    for i, pair in enumerate(pairs):
        if not isinstance(pair, (tuple, list, np.ndarray)):
            raise DataError(f"pair {i} is {pair!r:.80}: {expected}. Take (row['query'], row['document']) of a mapping.")
    return [tuple(pair) for pair in pairs], is_single
