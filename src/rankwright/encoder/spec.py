"""All that a checkpoint says about its model, as frozen values that both engines and both model classes read.

In: what `models/` reads from config files. Out: `ModelSpec`, taken by `architecture.py` and the engines.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

from rankwright.errors import ValueRangeError

Kind = Literal["bi-encoder", "cross-encoder"]

STATIC = "static"
"""The family without a transformer: a text's embedding is the mean of its tokens' rows in a table."""

POOLING_MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
"""ST's names of the pooling modes, in the order in which ST concatenates them."""


@dataclass(frozen=True)
class Architecture:
    """Family and sizes of an encoder; made by `families.architecture_from_config`.

    `embedding_size` is the width of the embedding tables where it is not `hidden_size` (ELECTRA). `windows` and
    `rotary_bases` have one entry a layer: how many tokens each side a local layer sees (0: all), and the base of its
    rotary angles (0: none). `position_ids_start` is the pad id where positions count from it (RoBERTa, MPNet), else
    None.
    """

    family: str
    num_layers: int
    hidden_size: int
    num_heads: int
    intermediate_size: int
    vocab_size: int
    max_positions: int
    embedding_size: int = 0
    type_vocab_size: int = 0
    norm_eps: float = 1e-12
    activation: str = "gelu"
    position_ids_start: int | None = None
    windows: tuple[int, ...] = ()
    rotary_bases: tuple[float, ...] = ()
    relative_buckets: int = 0
    hidden_dropout: float = 0.0
    attention_dropout: float = 0.0
    classifier_dropout: float = 0.0
    classifier_pooling: str = "cls"
    classifier_activation: str = "tanh"
    classifier_bias: bool = True
    use_bias: bool = True
    norm_bias: bool = True
    initializer_range: float = 0.02

    @property
    def longest_text(self) -> int:
        """Tokens that there are positions for; RoBERTa and MPNet leave the positions up to the pad id unused."""
        return self.max_positions - (0 if self.position_ids_start is None else self.position_ids_start + 1)

    def check_max_length(self, max_length: int, place: object) -> int:
        """A maximum length that the model has positions for.

        Args:
            max_length: tokens, special tokens included.
            place: the checkpoint, for the message.

        Returns:
            The same.

        Raises:
            ValueRangeError: no whole number, or one for which there are no positions.
        """
        if not isinstance(max_length, Integral) or not 1 <= max_length <= self.longest_text:
            raise ValueRangeError(f"max_length must be from 1 to {self.longest_text} for {place}, got {max_length!r}.")
        return int(max_length)


@dataclass(frozen=True)
class Pooling:
    """Token states to one vector: the modes (of `POOLING_MODES`) are concatenated."""

    modes: tuple[str, ...] = ("mean",)
    include_prompt: bool = True


@dataclass(frozen=True)
class Dense:
    """A linear layer after pooling: tensors `{name}.linear.weight` and `{name}.linear.bias`.

    `name` is the folder of the module in the checkpoint, such as "2_Dense"; `activation` a dotted path below `torch.`.
    With `adds_input` the input is added to the result, through `{name}.residual.weight` where the sizes differ.
    """

    name: str
    in_features: int
    out_features: int
    use_bias: bool = True
    activation: str = "torch.nn.modules.linear.Identity"
    adds_input: bool = False


@dataclass(frozen=True)
class LayerNorm:
    """Layer norm over the vector: tensors `{name}.norm.weight` and `{name}.norm.bias`; eps is torch's 1e-5."""

    name: str
    size: int


@dataclass(frozen=True)
class Dropout:
    """In training, dropout of the vector at a rate."""

    rate: float


@dataclass(frozen=True)
class Normalize:
    """Division by the L2 norm (at least 1e-12)."""


@dataclass(frozen=True)
class LogitScore:
    """Log-odds of two tokens (or the logit of one) at the end of a language model's text."""

    true_id: int
    false_id: int | None = None


Module = Pooling | Dense | LayerNorm | Dropout | Normalize | LogitScore

ForeignTask = Literal["feature-extraction", "sequence-classification", "text-generation"]


@dataclass(frozen=True)
class Foreign:
    """A transformer whose family we do not have, run through transformers: the folder it is opened from, and as what.

    Code in the folder is run only with `trust_remote_code`. With `chat_format` ("auto", "flat" or "structured") texts
    go through the tokenizer's chat template, which `chat_options` are handed to.
    """

    folder: Path
    task: ForeignTask
    trust_remote_code: bool = False
    chat_format: str | None = None
    chat_options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelSpec:
    """What a checkpoint says: enough to build, run, describe and save the model without reading its configs again.

    `modules` follow the transformer; a cross-encoder without any has its family's classification head, a bi-encoder
    without a pooling gives token states. `activation` is the dotted path that turns a cross-encoder's logits into
    scores. `max_length` counts special tokens. `head_is_new` is true where the checkpoint holds no classification head,
    so that ours is drawn at random. `input_path` is the first module's folder below the checkpoint's; with `has_router`
    other tasks run through other modules. `config` is config.json as read. `foreign` is set where transformers runs it.
    """

    kind: Kind
    architecture: Architecture
    max_length: int
    modules: tuple[Module, ...] = ()
    input_path: str = ""
    has_router: bool = False
    num_labels: int = 1
    activation: str = "torch.nn.modules.linear.Identity"
    head_is_new: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None
    similarity: str | None = None
    truncate_dim: int | None = None
    lower_case: bool = False
    uses_type_ids: bool = True
    foreign: Foreign | None = None
    config: Mapping[str, object] = field(default_factory=dict)

    @property
    def embedding_size(self) -> int:
        """Length of a bi-encoder's embeddings before `truncate_dim`."""
        size = self.architecture.hidden_size
        for module in self.modules:
            if isinstance(module, Pooling):
                size *= len(module.modes)
            elif isinstance(module, Dense):
                size = module.out_features
        return size

    @property
    def output_size(self) -> int:
        """Numbers that the model gives for each text, or pair."""
        return self.embedding_size if self.kind == "bi-encoder" else self.num_labels

    @property
    def gives_tokens(self) -> bool:
        """Whether the output is the state of each token, not a vector for each text."""
        is_pooled = self.architecture.family == STATIC or any(isinstance(module, Pooling) for module in self.modules)
        return self.kind == "bi-encoder" and not is_pooled
