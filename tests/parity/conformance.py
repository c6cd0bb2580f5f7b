"""What docs/compatibility.md lists: tiny models of every family, layout and part, and what each is asked.

In: the builders of `tests/tiny*.py`. Out: `CASES`, each of which runs alike in sentence-transformers and in ours.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from rankwright.encoder.families import FAMILIES as NATIVE
from rankwright.encoder.spec import POOLING_MODES, STATIC, Kind
from tests import tiny_modules
from tests.parity.reference import st_bi_encoder, st_cross_encoder
from tests.texts import CORPUS, HARD_PAIRS, HARD_TEXTS, QUERY
from tests.tiny import CROSS_FAMILIES, FAMILIES
from tests.tiny_foreign import FOREIGN, build_foreign
from tests.tiny_layouts import BI_LAYOUTS, CROSS_LAYOUTS, build_layout

Build = Callable[[Any], Path]
Ask = Callable[[Any], Any]

FEW = [*(HARD_TEXTS[i] for i in (0, 4, 6, 9, 11, 13)), CORPUS[0], CORPUS[15]]
PAIRS = [(QUERY, text) for text in FEW]
PROMPTS = {"query": "Query about science: ", "document": "passage: "}
CHAT = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + ' ' + m.content + '<|im_end|>' }}{% endfor %}"
    "<|im_start|>assistant: does the document answer, yes or no? "
)
CHAT_WITH_OPTIONS = (
    CHAT.partition("<|im_start|>assistant")[0]
    + "{% if add_generation_prompt %}<|im_start|>assistant{{ ': ' if thinks else ': at once: ' }}{% endif %}"
)
STRUCTURED_CHAT = CHAT.replace("m.content", "m.content[0].text")


@dataclass(frozen=True)
class Case:
    """One row of the table: a model, what of it is shown, and the call that shows it in both libraries."""

    section: str
    what: str
    family: str
    kind: Kind
    build: Build
    ask: Ask
    op: str
    reference: Callable[[Path], Any]

    @property
    def name(self) -> str:
        """Words that no other case has."""
        return f"{self.what}, {self.family}, {self.kind}"

    @property
    def is_native(self) -> bool:
        """Whether the family is one of ours, so that OpenVINO runs it."""
        return self.family == STATIC or self.family in NATIVE


def encode(model: Any) -> Any:
    return model.encode(FEW)


def encode_hard(model: Any) -> Any:
    return model.encode(list(HARD_TEXTS))


def encode_both(model: Any) -> Any:
    """Queries, documents, and texts of neither kind."""
    return np.concatenate([model.encode_query(FEW), model.encode_document(FEW), model.encode(FEW)])


def encode_with_prompts(model: Any) -> Any:
    named = [model.encode(FEW, **options) for options in ({}, {"prompt_name": "document"}, {"prompt": "Ad hoc: "})]
    return np.concatenate([*named, encode_both(model)])


def encode_prompted(model: Any) -> Any:
    return model.encode([text for text in FEW if text.strip()], prompt=PROMPTS["query"])


def encode_truncated(model: Any) -> Any:
    return model.encode(FEW, truncate_dim=8, normalize_embeddings=True)


def encode_short(model: Any) -> Any:
    model.max_seq_length = 9
    return model.encode(FEW)


def encode_tokens(model: Any) -> Any:
    return model.encode(FEW, output_value="token_embeddings")


def encode_everything(model: Any) -> Any:
    """States, embedding, ids and mask of each text alone: of several, sentence-transformers gives the padding too."""
    names = ("token_embeddings", "sentence_embedding", "input_ids", "attention_mask")
    details = [model.encode(text, output_value=None) for text in FEW]
    return [part[name] for part in details for name in names]


def logits(model: Any) -> Any:
    return model.predict(PAIRS, activation_fn=torch.nn.Identity())


def hard_logits(model: Any) -> Any:
    return model.predict(list(HARD_PAIRS), activation_fn=torch.nn.Identity())


def scores(model: Any) -> Any:
    return model.predict(PAIRS)


def prompted_logits(model: Any) -> Any:
    """Without, with and with the stored prompt."""
    identity = {"activation_fn": torch.nn.Identity()}
    return np.concatenate([model.predict(PAIRS, **identity), model.predict(PAIRS, prompt="Judge this: ", **identity)])


def short_logits(model: Any) -> Any:
    """Cut so short that little more than the end of a chat template is left."""
    model.max_seq_length = 40
    return model.predict([pair for pair in HARD_PAIRS if len(pair[1]) < 1000], activation_fn=torch.nn.Identity())


def bi(
    section: str, what: str, family: str, build: Build, ask: Ask = encode, *, op: str = "embedding", **reference: Any
) -> Case:
    """A case of a bi-encoder."""
    return Case(section, what, family, "bi-encoder", build, ask, op, reference.get("reference", st_bi_encoder))


def cross(section: str, what: str, family: str, build: Build, ask: Ask = logits) -> Case:
    """A case of a cross-encoder."""
    return Case(section, what, family, "cross-encoder", build, ask, "score", st_cross_encoder)


def tiny_bi(family: str, **options: Any) -> Build:
    """A bi-encoder of `tiny.py`."""
    return lambda tiny: tiny.bi_encoder(family, **options)


def tiny_cross(family: str, **options: Any) -> Build:
    """A cross-encoder of `tiny.py`."""
    return lambda tiny: tiny.cross_encoder(family, **options)


def foreign(family: str, head: str = "Model", **options: Any) -> Build:
    """A plain folder of a family that transformers runs."""
    return lambda tiny: tiny.built(build_foreign, family, head=head, **options)


def made(build: Callable[..., Path], base: Build | None = None, **options: Any) -> Build:
    """A model of `tiny_modules.py`, around the transformer of another folder where it has one."""
    return lambda tiny: tiny.built(build, *([] if base is None else [base(tiny)]), **options)


def laid_out(base: Build, layout: str, kind: Kind) -> Build:
    """A model in another layout."""
    return lambda tiny: tiny.built(build_layout, base(tiny), kind, layout)


def without_modules_json(folder: Path) -> SentenceTransformer:
    """sentence-transformers does not open such a folder of model2vec; what it would make of its parts."""
    return SentenceTransformer(modules=[StaticEmbedding.load(str(folder)), Normalize()], device="cpu")


def with_one_label(family: str, **config: Any) -> Build:
    """A classification model of a family that transformers runs."""
    return foreign(family, "ForSequenceClassification", config={"num_labels": 1, **config})


LANGUAGE_MODEL = foreign("qwen3", "ForCausalLM")
CHAT_MODEL = foreign("qwen3", "ForCausalLM", template=CHAT)
YES, NO = 300, 301
BARE = tiny_bi("bert", normalize=False)

FAMILY = "Families, on hard texts"
FAMILY_CASES = (
    *(bi(FAMILY, "hard texts", name, tiny_bi(name), encode_hard, op="tiny embedding") for name in FAMILIES),
    bi(FAMILY, "hard texts", STATIC, made(tiny_modules.build_static), encode_hard, op="tiny embedding"),
    bi(FAMILY, "hard texts", "deberta-v2", foreign("deberta-v2"), encode_hard),
    bi(FAMILY, "hard texts", "albert", foreign("albert"), encode_hard),
    bi(
        FAMILY,
        "hard texts",
        "qwen3",
        made(tiny_modules.build_pooling, foreign("qwen3"), modes=("lasttoken",)),
        encode_hard,
    ),
    bi(FAMILY, "hard texts", "t5", foreign("t5", "EncoderModel"), encode_hard),
    *(cross(FAMILY, "hard texts", name, tiny_cross(name), hard_logits) for name in CROSS_FAMILIES),
    # One layer, since the logits of three are rough (`tiny.CROSS_FAMILIES`); the bi-encoders have all three.
    *(
        cross(
            FAMILY,
            f"hard texts, {pooling} classifier",
            "modernbert",
            tiny_cross("modernbert", config={"num_hidden_layers": 1, "classifier_pooling": pooling}),
            hard_logits,
        )
        for pooling in ("cls", "mean")
    ),
    cross(FAMILY, "hard texts", "deberta-v2", with_one_label("deberta-v2"), hard_logits),
    cross(FAMILY, "hard texts", "albert", with_one_label("albert"), hard_logits),
    cross(FAMILY, "hard texts, classifier", "qwen3", with_one_label("qwen3"), hard_logits),
    cross(FAMILY, "hard texts, language model", "qwen3", LANGUAGE_MODEL, hard_logits),
)

LAYOUT = "Layouts of checkpoints"
LAYOUT_CASES = (
    *(
        bi(LAYOUT, layout, family, laid_out(tiny_bi(family, dense=16), layout, "bi-encoder"))
        for layout in BI_LAYOUTS
        for family in FAMILIES
    ),
    bi(LAYOUT, "float16 weights", "deberta-v2", laid_out(foreign("deberta-v2"), "float16 weights", "bi-encoder")),
    bi(
        LAYOUT,
        "sentence-transformers 6 (saved by 6.2.0)",
        "deberta-v2",
        laid_out(foreign("deberta-v2"), "sentence-transformers 6 (saved by 6.2.0)", "bi-encoder"),
        encode_both,
    ),
    *(
        cross(LAYOUT, layout, family, laid_out(tiny_cross(family), layout, "cross-encoder"), scores)
        for layout in CROSS_LAYOUTS
        for family in CROSS_FAMILIES
    ),
    cross(
        LAYOUT,
        "sentence-transformers 6 (saved by 6.2.0)",
        "deberta-v2",
        laid_out(with_one_label("deberta-v2"), "sentence-transformers 6 (saved by 6.2.0)", "cross-encoder"),
        scores,
    ),
    bi(LAYOUT, "router, one tower each", "bert", made(tiny_modules.build_two_towers, BARE), encode_both),
    bi(LAYOUT, "router, one head each", "bert", made(tiny_modules.build_two_heads, BARE), encode_both),
    bi(LAYOUT, "Asym of versions before 5", "bert", made(tiny_modules.build_two_heads, BARE, is_old=True), encode_both),
    bi(LAYOUT, "model2vec, shared rows and weights", STATIC, made(tiny_modules.build_model2vec, modules=True)),
    bi(
        LAYOUT,
        "model2vec, a row each",
        STATIC,
        made(tiny_modules.build_model2vec, modules=True, is_shared=False, normalize=False),
    ),
    bi(
        LAYOUT,
        "model2vec without modules.json",
        STATIC,
        made(tiny_modules.build_model2vec, modules=False),
        reference=without_modules_json,
    ),
)

FEATURE = "Modules and features"
SETTINGS = {"prompts": PROMPTS, "default_prompt_name": "document"}
RESIDUAL = "Dense with residual, then LayerNorm"
FEATURE_CASES = (
    *(
        bi(FEATURE, f"pooling {mode}", "bert", tiny_bi("bert", pooling=(mode,), normalize=False))
        for mode in POOLING_MODES
    ),
    *(
        bi(FEATURE, "pooling of all modes", family, tiny_bi(family, pooling=POOLING_MODES, normalize=False))
        for family in ("roberta", "modernbert")
    ),
    bi(
        FEATURE,
        "pooling in an order of its own",
        "bert",
        made(tiny_modules.build_pooling, BARE, modes=("lasttoken", "weightedmean", "cls")),
    ),
    bi(
        FEATURE,
        "pooling of all modes",
        "qwen3",
        made(tiny_modules.build_pooling, foreign("qwen3"), modes=POOLING_MODES),
    ),
    *(
        bi(FEATURE, "pooling without the prompt", family, tiny_bi(family, include_prompt=False), encode_prompted)
        for family in ("roberta", "electra")
    ),
    bi(FEATURE, "Dense, Normalize", "electra", tiny_bi("electra", dense=24)),
    bi(FEATURE, "Dense without Normalize", "distilbert", tiny_bi("distilbert", dense=24, normalize=False)),
    bi(FEATURE, RESIDUAL, "bert", made(tiny_modules.build_residual, BARE)),
    bi(FEATURE, RESIDUAL, "deberta-v2", made(tiny_modules.build_residual, foreign("deberta-v2"))),
    bi(FEATURE, "Dropout, Dense", "bert", made(tiny_modules.build_dropout, BARE)),
    bi(FEATURE, "Dense on tokens", "bert", made(tiny_modules.build_token_dense, BARE)),
    bi(FEATURE, "Dense on tokens, their states", "bert", made(tiny_modules.build_token_dense, BARE), encode_tokens),
    bi(FEATURE, "Normalize on tokens", "bert", made(tiny_modules.build_token_normalize, BARE)),
    bi(FEATURE, "prompts", "bert", tiny_bi("bert", settings=SETTINGS), encode_with_prompts),
    bi(FEATURE, "prompts", STATIC, made(tiny_modules.build_static), encode_prompted),
    bi(
        FEATURE,
        "prompts",
        "qwen3",
        made(tiny_modules.build_pooling, foreign("qwen3"), modes=("lasttoken",), prompts=PROMPTS),
        encode_both,
    ),
    bi(FEATURE, "truncate_dim, normalize", "bert", tiny_bi("bert"), encode_truncated),
    bi(FEATURE, "truncate_dim in the checkpoint", "bert", tiny_bi("bert", settings={"truncate_dim": 8})),
    bi(FEATURE, "max_seq_length", "mpnet", tiny_bi("mpnet"), encode_short),
    *(
        bi(FEATURE, "states of tokens", family, tiny_bi(family), encode_tokens)
        for family in ("bert", "roberta", "modernbert")
    ),
    bi(FEATURE, "states of tokens", "deberta-v2", foreign("deberta-v2"), encode_tokens),
    bi(FEATURE, "output_value=None", "bert", tiny_bi("bert", dense=16), encode_everything),
    bi(FEATURE, "a table as wide as the states", "electra", tiny_bi("electra", config={"embedding_size": 32})),
    bi(FEATURE, "chat template", "qwen3", foreign("qwen3", template=CHAT), encode_prompted),
    bi(
        FEATURE,
        "chat template, pooling without the prompt",
        "qwen3",
        made(tiny_modules.build_pooling, foreign("qwen3", template=CHAT), modes=("mean",), include_prompt=False),
        encode_prompted,
    ),
    cross(FEATURE, "three labels", "electra", tiny_cross("electra", num_labels=3)),
    cross(FEATURE, "three labels", "albert", with_one_label("albert", num_labels=3)),
    cross(FEATURE, "prompts", "bert", tiny_cross("bert"), prompted_logits),
    cross(FEATURE, "max_length", "distilbert", tiny_cross("distilbert"), short_logits),
    cross(FEATURE, "Pooling and Dense as the head", "bert", made(tiny_modules.build_modular, BARE)),
    cross(
        FEATURE,
        "Pooling and Dense as the head, three labels",
        "bert",
        made(tiny_modules.build_modular, BARE, num_labels=3),
    ),
    cross(
        FEATURE, "Pooling and Dense as the head", "deberta-v2", made(tiny_modules.build_modular, foreign("deberta-v2"))
    ),
    cross(FEATURE, "logit of one token", "qwen3", made(tiny_modules.build_logit_score, LANGUAGE_MODEL, true_id=YES)),
    cross(
        FEATURE,
        "log-odds of two tokens",
        "qwen3",
        made(tiny_modules.build_logit_score, LANGUAGE_MODEL, true_id=YES, false_id=NO),
        prompted_logits,
    ),
    cross(FEATURE, "chat template", "qwen3", CHAT_MODEL, prompted_logits),
    cross(FEATURE, "chat template, cut texts", "qwen3", CHAT_MODEL, short_logits),
    cross(
        FEATURE,
        "chat template, stored prompt",
        "qwen3",
        made(
            tiny_modules.build_logit_score,
            CHAT_MODEL,
            true_id=YES,
            false_id=NO,
            prompts={"judge": "Judge it. "},
            default_prompt_name="judge",
        ),
        prompted_logits,
    ),
    cross(
        FEATURE,
        "chat template with options",
        "qwen3",
        made(
            tiny_modules.build_logit_score,
            foreign("qwen3", "ForCausalLM", template=CHAT_WITH_OPTIONS),
            true_id=YES,
            chat_options={"add_generation_prompt": True, "thinks": False},
        ),
        short_logits,
    ),
    cross(
        FEATURE,
        "chat template of parts",
        "qwen3",
        made(
            tiny_modules.build_logit_score,
            foreign("qwen3", "ForCausalLM", template=STRUCTURED_CHAT),
            true_id=YES,
            false_id=NO,
        ),
        short_logits,
    ),
)

CASES = (*FAMILY_CASES, *LAYOUT_CASES, *FEATURE_CASES)
assert len({case.name for case in CASES}) == len(CASES)
assert {case.family for case in CASES} == {*FAMILIES, STATIC, *FOREIGN}
