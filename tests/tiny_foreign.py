"""Seeded tiny checkpoints of families that transformers runs for us, in plain folders of transformers.

In: nothing but a seed. Out: folders. `tiny_modules.py` puts sentence-transformers' modules behind them.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from tests.texts import CORPUS
from tests.tiny import BRACKETS, HIDDEN, Family, byte_bpe, pieces, write_transformer

QWEN = {"eos": "<|im_end|>", "pad": "<|endoftext|>"}
QWEN_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def bracketed_unigram() -> Tokenizer:
    """DeBERTa-v3 and ALBERT: SentencePiece's pieces, BERT's special tokens; `[CLS] A [SEP] B [SEP]`.

    Returns:
        The tokenizer, made of `CORPUS`.
    """
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    counts = pieces(tokenizer, inside="")
    scores = [(piece, math.log(count / sum(counts.values()))) for piece, count in counts.items()]
    tokenizer.model = models.Unigram([(token, 0.0) for token in special] + scores, unk_id=3)
    tokenizer.add_special_tokens([*special, AddedToken("[MASK]", lstrip=True, special=True)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    return tokenizer


def qwen_bytes() -> Tokenizer:
    """Qwen: byte-level BPE with the words "yes" and "no", the special tokens of chats, and one token at the end.

    Returns:
        The tokenizer, made of `CORPUS`.
    """
    tokenizer = byte_bpe([], corpus=[*CORPUS, *["yes", "no"] * 50])
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in QWEN_TOKENS])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|endoftext|>",
        pair="$A $B <|endoftext|>",
        special_tokens=[("<|endoftext|>", tokenizer.token_to_id("<|endoftext|>"))],
    )
    return tokenizer


FOREIGN: dict[str, Family] = {
    "deberta-v2": Family(
        "DebertaV2",
        "DebertaV2Tokenizer",
        bracketed_unigram,
        BRACKETS,
        max_length=128,
        # as DeBERTa-v3 has it: no absolute positions, no types, keys shared with those of the positions
        config={
            "relative_attention": True,
            "position_buckets": 16,
            "pos_att_type": ["p2c", "c2p"],
            "type_vocab_size": 0,
            "position_biased_input": False,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "layer_norm_eps": 1e-3,
        },
        model_input_names=("input_ids", "token_type_ids", "attention_mask"),
    ),
    "albert": Family(
        "Albert",
        "AlbertTokenizer",
        bracketed_unigram,
        BRACKETS,
        max_length=128,
        config={"embedding_size": 16, "layer_norm_eps": 1e-3},
        model_input_names=("input_ids", "token_type_ids", "attention_mask"),
    ),
    "qwen3": Family(
        "Qwen3",
        "Qwen2Tokenizer",
        qwen_bytes,
        QWEN,
        max_length=128,
        config={"num_key_value_heads": 2, "head_dim": 8, "tie_word_embeddings": True},
    ),
    "t5": Family(
        "T5",
        "PreTrainedTokenizerFast",
        bracketed_unigram,
        BRACKETS,
        max_length=128,
        config={"d_model": HIDDEN, "d_kv": 8, "d_ff": 2 * HIDDEN, "num_layers": 3, "num_heads": 4},
    ),
}
"""DeBERTa-v3, ALBERT, a language model, and an encoder-decoder of which the encoder embeds."""


def build_foreign(
    folder: Path, family: str, *, head: str = "Model", config: Mapping[str, Any] | None = None, template: str = ""
) -> Path:
    """Writes a plain folder of transformers.

    Args:
        folder: where; made here.
        family: a key of `FOREIGN`.
        head: what the name of the model's class ends in: "Model", "ForSequenceClassification", ...
        config: added to config.json.
        template: a chat template.

    Returns:
        The folder.
    """
    write_transformer(folder, FOREIGN[family], head=head, config=config or {}, seed=len(family))
    if template:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return folder
