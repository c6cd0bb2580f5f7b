"""Seeded tiny checkpoints of every family, with every parameter drawn and a tokenizer of the family's own kind.

In: nothing but a seed. Out: folders that sentence-transformers, transformers and rankwright load.

With the initialisation of the library a dropped bias, a dropped LayerNorm weight or an unscaled attention stays below
every tolerance, so that no test could fail; hence linear weights of std 1.5 / sqrt(fan_in), embeddings 0.6, biases 0.1,
LayerNorm weights 1 +- 0.2, and an eps of 1e-3 that can be told from others.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import nn

from tests.texts import CORPUS

HIDDEN = 32
EPS = 1e-3
VOCAB = 700
LONGEST_PIECE = 8


@dataclass(frozen=True)
class Family:
    """How one family spells its tokenizer and config; `config` is what differs from the transformers defaults."""

    model: str
    tokenizer_class: str
    tokenizer: Callable[[], Tokenizer]
    special: Mapping[str, str]
    max_length: int
    config: Mapping[str, Any] = field(default_factory=dict)
    model_input_names: tuple[str, ...] = ("input_ids", "attention_mask")


BRACKETS = {"unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "pad": "[PAD]", "mask": "[MASK]"}
ANGLES = {
    "bos": "<s>",
    "eos": "</s>",
    "cls": "<s>",
    "sep": "</s>",
    "pad": "<pad>",
    "unk": "<unk>",
    "mask": "<mask>",
}


def wordpiece() -> Tokenizer:
    """BERT: cleaned, lower-cased, split at punctuation; `[CLS] A [SEP] B [SEP]` with types 0 and 1.

    Returns:
        The tokenizer, made of `CORPUS`.
    """
    tokenizer = _wordpiece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    return tokenizer


def mpnet_wordpiece() -> Tokenizer:
    """MPNet: BERT's pieces, RoBERTa's special tokens and ids (`<s>` 0, `<pad>` 1, `</s>` 2), `<s> A </s></s> B </s>`.

    Returns:
        The tokenizer, made of `CORPUS`.
    """
    tokenizer = _wordpiece(["<s>", "<pad>", "</s>", "[UNK]", "<mask>"])
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return tokenizer


def _wordpiece(special_tokens: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    vocabulary = [*special_tokens, *pieces(tokenizer, inside="##")]
    tokenizer.model = models.WordPiece({piece: i for i, piece in enumerate(vocabulary)}, unk_token="[UNK]")
    tokenizer.add_special_tokens(special_tokens)
    return tokenizer


def pieces(tokenizer: Tokenizer, *, inside: str) -> dict[str, int]:
    """Every letter of `CORPUS` and its most frequent longer pieces, with their counts.

    The trainers of WordPiece and Unigram settle ties by a hash that is another one in each process, so that no failure
    could be repeated.

    Args:
        tokenizer: its normalizer and pre-tokenizer make the words.
        inside: what stands before a piece that does not begin a word.

    Returns:
        Counts by piece, letters first.
    """
    counts: Counter[str] = Counter()
    for line in CORPUS:
        text = line if tokenizer.normalizer is None else tokenizer.normalizer.normalize_str(line)
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text):
            for start, stop in combinations(range(len(word) + 1), 2):
                if stop - start <= LONGEST_PIECE:
                    counts[("" if start == 0 else inside) + word[start:stop]] += 1
    letters = sorted(piece for piece in counts if len(piece.removeprefix(inside)) == 1)
    longer = sorted(counts.keys() - set(letters), key=lambda piece: (-counts[piece], piece))
    return {piece: counts[piece] for piece in [*letters, *longer[: max(0, VOCAB - len(letters))]]}


def roberta_bytes() -> Tokenizer:
    """RoBERTa: byte-level BPE, `<s>` 0, `<pad>` 1, `</s>` 2, `<unk>` 3, mask last; `<s> A </s></s> B </s>`.

    Returns:
        The tokenizer, made of `CORPUS`.
    """
    tokenizer = byte_bpe(["<s>", "<pad>", "</s>", "<unk>"])
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return tokenizer


def modernbert_bytes() -> Tokenizer:
    """ModernBERT: byte-level BPE after NFC, bracketed special tokens at the end; `[CLS] A [SEP] B [SEP]`, one type.

    Returns:
        The tokenizer, made of `CORPUS`.
    """
    tokenizer = byte_bpe([])
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_special_tokens(
        [AddedToken(token, lstrip=token == "[MASK]", special=True) for token in BRACKETS.values()]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    return tokenizer


def byte_bpe(special_tokens: list[str], corpus: Sequence[str] = CORPUS) -> Tokenizer:
    """A byte-level BPE.

    Args:
        special_tokens: those that come first.
        corpus: what it is trained on.

    Returns:
        The tokenizer, without a template.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=special_tokens,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


def unigram() -> Tokenizer:
    """XLM-R: Unigram over words with a leading mark, RoBERTa's special ids; `<s> A </s></s> B </s>`.

    Returns:
        The tokenizer, made of `CORPUS`.
    """
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    special_tokens = ["<s>", "<pad>", "</s>", "<unk>"]
    counts = pieces(tokenizer, inside="")
    scores = [(piece, math.log(count / sum(counts.values()))) for piece, count in counts.items()]
    tokenizer.model = models.Unigram([(token, 0.0) for token in special_tokens] + scores, unk_id=3)
    tokenizer.add_special_tokens(special_tokens)
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


FAMILIES: dict[str, Family] = {
    "bert": Family(
        "Bert",
        "BertTokenizer",
        wordpiece,
        BRACKETS,
        max_length=128,
        config={"max_position_embeddings": 512, "pad_token_id": 0, "layer_norm_eps": EPS},
        model_input_names=("input_ids", "token_type_ids", "attention_mask"),
    ),
    "roberta": Family(
        "Roberta",
        "RobertaTokenizer",
        roberta_bytes,
        ANGLES,
        max_length=512,
        config={"max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": EPS},
    ),
    "xlm-roberta": Family(
        "XLMRoberta",
        "XLMRobertaTokenizer",
        unigram,
        ANGLES,
        max_length=256,
        config={"max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": EPS},
    ),
    "camembert": Family(
        "Camembert",
        "CamembertTokenizer",
        unigram,
        ANGLES,
        max_length=256,
        config={"max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": EPS},
    ),
    "distilbert": Family(
        "DistilBert",
        "DistilBertTokenizer",
        wordpiece,
        BRACKETS,
        max_length=128,
        # its norms have a fixed eps of 1e-12
        config={"dim": HIDDEN, "n_layers": 3, "n_heads": 4, "hidden_dim": 2 * HIDDEN, "pad_token_id": 0},
    ),
    "electra": Family(
        "Electra",
        "ElectraTokenizer",
        wordpiece,
        BRACKETS,
        max_length=128,
        config={"embedding_size": 16, "pad_token_id": 0, "layer_norm_eps": EPS},
        model_input_names=("input_ids", "token_type_ids", "attention_mask"),
    ),
    "mpnet": Family(
        "MPNet",
        "MPNetTokenizer",
        mpnet_wordpiece,
        {**ANGLES, "unk": "[UNK]"},
        max_length=384,
        config={"max_position_embeddings": 514, "layer_norm_eps": EPS},
    ),
    "modernbert": Family(
        "ModernBert",
        "PreTrainedTokenizerFast",
        modernbert_bytes,
        BRACKETS,
        max_length=256,
        # Windows of 4 tokens each side in layer 1, layers 0 and 2 global; the rotary bases are those of the original.
        config={
            "max_position_embeddings": 512,
            "local_attention": 8,
            "global_attn_every_n_layers": 2,
            "global_rope_theta": 160_000.0,
            "local_rope_theta": 10_000.0,
            "norm_eps": EPS,
        },
    ),
}
"""Every family of the bi-encoders. Not among the cross-encoders: a ModernBERT of three layers. Its residuals are never
normalised, and drawn so, the float32 logits of sentence-transformers itself are up to 1.5e-5 from those of float64."""

CROSS_FAMILIES = ("bert", "roberta", "xlm-roberta", "camembert", "distilbert", "electra", "mpnet")


def build_bi_encoder(
    folder: Path,
    family: str,
    *,
    pooling: tuple[str, ...] = ("mean",),
    dense: int | None = None,
    normalize: bool = True,
    include_prompt: bool = True,
    settings: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Writes a tiny bi-encoder in the layout of sentence-transformers 2 to 5, which all later ones read.

    Args:
        folder: where; made here.
        family: a key of `FAMILIES`.
        pooling: modes, concatenated.
        dense: size of a dense layer after pooling (Tanh), or None.
        normalize: whether the last module divides by the length.
        include_prompt: whether pooling reads the prompt's tokens.
        settings: added to config_sentence_transformers.json, such as prompts.
        config: added to config.json, such as dropout rates.

    Returns:
        The folder.
    """
    spec = FAMILIES[family]
    write_transformer(folder, spec, head="Model", config=config or {}, seed=len(family))
    modules: list[tuple[str, str, dict[str, Any] | None]] = [
        ("", "Transformer", None),
        ("1_Pooling", "Pooling", _pooling_config(pooling, include_prompt)),
    ]
    size = HIDDEN * len(pooling)
    if dense is not None:
        activation = "torch.nn.modules.activation.Tanh"
        sizes = {"in_features": size, "out_features": dense, "bias": True, "activation_function": activation}
        modules.append((f"{len(modules)}_Dense", "Dense", sizes))
    if normalize:
        modules.append((f"{len(modules)}_Normalize", "Normalize", None))
    for name, kind, module_config in modules[1:]:
        (folder / name).mkdir()
        if module_config is not None:
            write_json(folder / name / "config.json", module_config)
        if kind == "Dense":
            layer = nn.Linear(size, module_config["out_features"] if module_config else 0)
            draw(layer, seed=len(family))
            save_file(
                {f"linear.{key}": value for key, value in layer.state_dict().items()},
                folder / name / "model.safetensors",
            )
    write_json(
        folder / "modules.json",
        [
            {"idx": i, "name": str(i), "path": name, "type": f"sentence_transformers.models.{kind}"}
            for i, (name, kind, _) in enumerate(modules)
        ],
    )
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": spec.max_length, "do_lower_case": False})
    write_json(folder / "config_sentence_transformers.json", {"prompts": {}, **(settings or {})})
    return folder


def build_cross_encoder(
    folder: Path,
    family: str,
    *,
    num_labels: int = 1,
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Writes a tiny cross-encoder: a plain folder of transformers, as sentence-transformers 2 to 5 wrote it.

    Args:
        folder: where; made here.
        family: a key of `FAMILIES`.
        num_labels: outputs of the head.
        config: added to config.json, such as dropout rates or a stored activation.

    Returns:
        The folder.
    """
    labels = {str(i): f"LABEL_{i}" for i in range(num_labels)}
    head, config = "ForSequenceClassification", {"id2label": labels, **(config or {})}
    write_transformer(folder, FAMILIES[family], head=head, config=config, seed=len(family))
    return folder


def write_transformer(folder: Path, spec: Family, *, head: str, config: Mapping[str, Any], seed: int) -> None:
    """Writes a plain folder of transformers: config, weights and tokenizer.

    Args:
        folder: where; made here.
        spec: the family.
        head: what the name of the model's class ends in, such as "Model".
        config: added to config.json.
        seed: decides the weights.
    """
    folder.mkdir(parents=True)
    tokenizer = spec.tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {f"{role}_token": token for role, token in spec.special.items()}
    write_json(folder / "special_tokens_map.json", special)
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": spec.tokenizer_class,
            "model_max_length": spec.max_length,
            "model_input_names": list(spec.model_input_names),
            **special,
        },
    )
    ids = {f"{role}_token_id": tokenizer.token_to_id(token) for role, token in spec.special.items() if role != "unk"}
    if "cls" in spec.special:
        ids |= {"bos_token_id": ids["cls_token_id"], "eos_token_id": ids["sep_token_id"]}
    sizes = {
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": HIDDEN,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 2 * HIDDEN,
    }
    settings = getattr(transformers, f"{spec.model}Config")(**{**sizes, **ids, **spec.config, **config})
    model = getattr(transformers, f"{spec.model}{head}")(settings)
    draw(model, seed=seed)
    model.save_pretrained(folder)


def draw(model: nn.Module, *, seed: int) -> None:
    """Draws every parameter by the kind of its module, so that each one shows in the output.

    Args:
        model: any module.
        seed: decides them.

    Raises:
        TypeError: a parameter of a kind that is not known here.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            for name, parameter in module.named_parameters(recurse=False):
                noise = torch.randn(parameter.shape, generator=generator)
                if name == "bias":
                    parameter.copy_(0.1 * noise)
                elif type(module).__name__.endswith("Norm"):
                    parameter.copy_(1 + 0.2 * noise)
                elif isinstance(module, nn.Linear):
                    parameter.copy_(1.5 / module.in_features**0.5 * noise)
                elif isinstance(module, nn.Embedding):
                    parameter.copy_(0.6 * noise)
                else:
                    raise TypeError(f"No rule to draw {name} of {type(module).__name__}.")


def _pooling_config(modes: tuple[str, ...], include_prompt: bool) -> dict[str, Any]:
    names = {
        "cls": "cls_token",
        "max": "max_tokens",
        "mean": "mean_tokens",
        "mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
        "weightedmean": "weightedmean_tokens",
        "lasttoken": "lasttoken",
    }
    flags = {f"pooling_mode_{name}": mode in modes for mode, name in names.items()}
    return {"word_embedding_dimension": HIDDEN, **flags, "include_prompt": include_prompt}


def write_json(path: Path, content: object) -> None:
    """Writes JSON.

    Args:
        path: the file.
        content: what is in it.
    """
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2), encoding="utf-8")
