"""What our numbers are beside: the same model in sentence-transformers, else in transformers, else in our own float32.

In: one of our models. Out: `Reference`, whose `model` has the methods of ours that `verify.py` calls. Letters: B texts,
L tokens, D hidden, N labels.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np

from rankwright.encoder.spec import Dense, Normalize, Pooling
from rankwright.errors import ModelFormatError
from rankwright.models import BiEncoder, CrossEncoder
from rankwright.models.activations import apply_activation
from rankwright.models.checkpoint_files import MODEL_TYPES
from rankwright.models.checkpoint_read import transformer_folder
from rankwright.models.opening import prompts_of
from rankwright.models.similarity import unit
from rankwright.text.tokens import Text

OLDEST_ST, OLDEST_TRANSFORMERS = 6, 5
"""The first major versions that have all that is called here."""

BATCH_TEXTS = 32
"""Texts of a batch of transformers; the default of sentence-transformers."""


@dataclass(frozen=True)
class Reference:
    """A model to agree with, its name, and its token ids for texts (or pairs); None: it is one of ours."""

    name: str
    model: Any
    token_ids: Callable[[Sequence[Text]], list[list[int]]] | None


def open_reference(ours: BiEncoder | CrossEncoder) -> Reference:
    """The same checkpoint in the best reference that is installed, in float32 on the CPU.

    Args:
        ours: our model, in float32.

    Returns:
        The reference; our own model where no library is installed.

    Raises:
        ModelFormatError: the library cannot load the checkpoint.
    """
    for package, oldest, load in (
        ("sentence-transformers", OLDEST_ST, _load_st),
        ("transformers", OLDEST_TRANSFORMERS, _load_transformers),
    ):
        if not _is_installed(package, oldest):
            continue
        name = f"{package} {version(package)}"
        try:
            return load(name, ours)
        except Exception as err:  # a library may fail with any error of Python
            raise ModelFormatError(
                f"{ours.folder}: {name} cannot load this checkpoint, so that there is nothing to compare with: {err}. "
                f"Load it with {package} alone to see why."
            ) from err
    return Reference(f"rankwright ({ours.checkpoint.engine.name})", ours, None)


def _is_installed(package: str, oldest: int) -> bool:
    if find_spec("torch") is None or find_spec(package.replace("-", "_")) is None:
        return False
    return int(version(package).partition(".")[0]) >= oldest


def _load_st(name: str, ours: BiEncoder | CrossEncoder) -> Reference:
    import sentence_transformers
    import torch

    float32 = {"dtype": torch.float32}
    model = getattr(sentence_transformers, MODEL_TYPES[ours.kind])(
        str(ours.folder), device="cpu", local_files_only=True, model_kwargs=float32
    )
    return Reference(name, model, lambda texts: _unpadded_ids(model.preprocess(list(texts))))


def _load_transformers(name: str, ours: BiEncoder | CrossEncoder) -> Reference:
    model = PlainTransformers(ours)
    return Reference(name, model, lambda texts: _unpadded_ids(model.features(texts)))


def _unpadded_ids(features: Any) -> list[list[int]]:
    is_token_BL = features["attention_mask"].bool()
    return [ids[is_token].tolist() for ids, is_token in zip(features["input_ids"], is_token_BL, strict=True)]


class PlainTransformers:
    """A checkpoint in plain transformers: its tokenizer and its network; what follows is done here, in numpy."""

    def __init__(self, ours: BiEncoder | CrossEncoder) -> None:
        import torch
        import transformers

        known = (Pooling, Dense, Normalize) if ours.kind == "bi-encoder" else ()
        for module in ours.spec.modules:
            if not isinstance(module, known):
                raise ModelFormatError(f"it has no {type(module).__name__} module; install sentence-transformers")
        kind = {"bi-encoder": "AutoModel", "cross-encoder": "AutoModelForSequenceClassification"}[ours.kind]
        folder = transformer_folder(ours.folder)
        options: dict[str, Any] = {"local_files_only": True, "dtype": torch.float32}
        self.ours = ours
        self.network = getattr(transformers, kind).from_pretrained(folder, **options).eval()
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)

    def features(self, texts: Sequence[Text]) -> Any:
        """Padded tensors of texts or pairs."""
        lowers = self.ours.spec.lower_case
        sides = [[text] if isinstance(text, str) else list(text) for text in texts]
        columns = [[text.lower() if lowers else text for text in side] for side in zip(*sides, strict=True)]
        return self.tokenizer(
            *columns, padding=True, truncation=True, max_length=self.ours.max_length, return_tensors="pt"
        )

    def encode_query(self, texts: Sequence[str]) -> np.ndarray:
        """Embeddings of queries."""
        return self._encode(texts, prompts_of(self.ours)[0])

    def encode_document(self, texts: Sequence[str]) -> np.ndarray:
        """Embeddings of documents."""
        return self._encode(texts, prompts_of(self.ours)[1])

    def _encode(self, texts: Sequence[str], prompt: str) -> np.ndarray:
        assert isinstance(self.ours, BiEncoder)
        skipped = self.ours.tokenizer.prompt_length(prompt) if prompt else 0
        rows: list[np.ndarray] = []
        for features, output in self._run([prompt + text for text in texts]):
            for states_LD, is_token_L in zip(output.last_hidden_state, features["attention_mask"].bool(), strict=True):
                rows.append(self._embedding(states_LD[is_token_L].numpy(), skipped))
        return np.stack(rows)[:, : self.ours.truncate_dim]

    def similarity_pairwise(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Similarity of row i of `a` with row i of `b`, by the checkpoint's function."""
        assert isinstance(self.ours, BiEncoder)
        return np.asarray(self.ours.similarity_pairwise(a, b))

    def predict(self, pairs: Sequence[tuple[str, str]], *, activation_fn: Any = None) -> np.ndarray:
        """Scores of pairs, by the checkpoint's activation unless another is given."""
        assert isinstance(self.ours, CrossEncoder)
        prompt, _ = prompts_of(self.ours)
        prompted = [(prompt + query, document) for query, document in pairs]
        logits_BN = np.concatenate([output.logits.numpy() for _, output in self._run(prompted)])
        return apply_activation(self.ours.activation if activation_fn is None else activation_fn, logits_BN)

    def _run(self, texts: Sequence[Text]) -> Iterator[tuple[Any, Any]]:
        import torch

        for start in range(0, len(texts), BATCH_TEXTS):
            features = self.features(texts[start : start + BATCH_TEXTS])
            with torch.inference_mode():
                yield features, self.network(**features)

    def _embedding(self, states_LD: np.ndarray, skipped: int) -> np.ndarray:
        """The modules after the transformer, for one text; pooling may leave out the `skipped` tokens of its prompt."""
        parameters, row = self.ours.checkpoint.parameters, states_LD
        for module in self.ours.spec.modules:
            if isinstance(module, Pooling):
                left_out = 0 if module.include_prompt else skipped
                row = np.concatenate([_pooled(states_LD, mode, skipped=left_out) for mode in module.modes])
            elif isinstance(module, Dense):
                row = row @ parameters[f"{module.name}.linear.weight"].T
                row = row + parameters[f"{module.name}.linear.bias"] if module.use_bias else row
                row = apply_activation(module.activation, row[None])[0]
            else:
                row = unit(row)
        return row


def _pooled(states_LD: np.ndarray, mode: str, *, skipped: int) -> np.ndarray:
    """Token states of one text, without padding, to one vector; places are counted from the prompt's first token."""
    left_LD, places_L = states_LD[skipped:], np.arange(skipped + 1, len(states_LD) + 1, dtype=np.float32)
    vectors = {
        "cls": left_LD[0],
        "max": left_LD.max(axis=0),
        "mean": left_LD.mean(axis=0),
        "mean_sqrt_len_tokens": left_LD.sum(axis=0) / np.sqrt(len(left_LD)),
        "weightedmean": places_L @ left_LD / places_L.sum(),
        "lasttoken": left_LD[-1],
    }
    return np.asarray(vectors[mode])
