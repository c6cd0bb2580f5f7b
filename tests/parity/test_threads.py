"""One model under many threads, under LoRA, and in training: nothing is shared, skipped or silently off."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import peft
import pytest
import torch

from rankwright.losses import binary_cross_entropy
from tests.parity.reference import ENGINES, our_bi_encoder, our_cross_encoder, st_embeddings
from tests.texts import CORPUS, HARD_TEXTS, QUERY, random_texts
from tests.tiny import FAMILIES
from tests.tolerances import assert_agrees

NUM_THREADS = 8
PAIRS = [(QUERY, text) for text in CORPUS]
TARGETS = {
    "bert": ["query", "value"],
    "roberta": ["query", "value"],
    "xlm-roberta": ["query", "value"],
    "camembert": ["query", "value"],
    "distilbert": ["q_lin", "v_lin"],
    "electra": ["query", "value"],
    "mpnet": ["q", "v"],
    "modernbert": ["Wqkv"],
}
DROPOUTS = {
    "hidden": {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.0},
    "attention": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.3},
}


def in_threads(work: Callable[[int], np.ndarray]) -> list[np.ndarray]:
    """What `work` gives in each of the threads, which all start at the same moment."""
    barrier = threading.Barrier(NUM_THREADS)

    def start(number: int) -> np.ndarray:
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        return list(pool.map(start, range(NUM_THREADS)))


@pytest.mark.parametrize("engine", ENGINES)
def test_eight_threads_get_the_embeddings_of_one(tiny: Any, engine: str) -> None:
    folder = tiny.bi_encoder("roberta")
    texts = [tuple([*random_texts(30, seed=number), *HARD_TEXTS[number::NUM_THREADS]]) for number in range(NUM_THREADS)]
    alone = [our_bi_encoder(folder, engine).encode(list(part)) for part in texts]
    together = our_bi_encoder(folder, engine)  # its engine is made at first use, so by all threads at once
    for round_ in range(3):
        for number, embeddings in enumerate(in_threads(lambda i: together.encode(list(texts[i])))):
            np.testing.assert_array_equal(embeddings, alone[number], err_msg=f"round {round_}, thread {number}")
    assert_agrees(alone[0], st_embeddings(folder, texts[0]), "tiny embedding", what=engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_eight_threads_with_maxima_of_their_own_models_do_not_meet(tiny: Any, engine: str) -> None:
    folder = tiny.cross_encoder("bert")
    models = [our_cross_encoder(folder, engine, max_length=16 + number) for number in range(NUM_THREADS)]
    alone = [model.predict(PAIRS) for model in models]
    for number, scores in enumerate(in_threads(lambda i: models[i].predict(PAIRS))):
        np.testing.assert_array_equal(scores, alone[number])
    assert not np.array_equal(alone[0], alone[-1])


def test_the_tokenizer_is_not_changed_by_use(tiny: Any) -> None:
    model = our_bi_encoder(tiny.bi_encoder("roberta"))
    backend = model.tokenizer.backend
    before = backend.to_str()
    model.encode(list(HARD_TEXTS), prompt="prompt: ")
    model.max_seq_length = 12
    model.encode(["a text"])
    assert model.tokenizer.backend is backend
    assert backend.to_str() == before
    assert backend.truncation is None
    assert backend.padding is None


def lora(module: torch.nn.Module, family: str) -> Any:
    """The module wrapped by LoRA, with both matrices drawn: peft's B is zero at first, which hides what A does."""
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=TARGETS[family], lora_dropout=0.0)
    wrapped = peft.get_peft_model(module, config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name:
                parameter.normal_(0.0, 0.3, generator=generator)
    return wrapped


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_lora_wrapped_model_differs_from_its_base_and_gets_gradients(tiny: Any, family: str, pooling: str) -> None:
    model = our_bi_encoder(tiny.bi_encoder(family, pooling=(pooling,)))
    batch = model.tokenize(list(CORPUS))
    base = model.trainable().eval()(batch).detach()
    wrapped = lora(model.trainable(), family).eval()
    embeddings = wrapped(batch)
    assert (embeddings - base).abs().max() > 1e-2
    with wrapped.disable_adapter():
        assert_agrees(wrapped(batch).detach(), base, "tiny embedding")
    embeddings[:, 0].sum().backward()
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name:
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
        else:
            assert not parameter.requires_grad, name


def test_a_lora_wrapped_cross_encoder_trains(tiny: Any) -> None:
    no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = our_cross_encoder(tiny.cross_encoder("bert", config=no_dropout))
    wrapped = lora(model.trainable(), "bert").train()
    batch, labels = model.tokenize(PAIRS), (torch.arange(len(PAIRS)) % 2).float()
    optimizer = torch.optim.AdamW([p for p in wrapped.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for step in range(30):
        loss = binary_cross_entropy(wrapped(batch, step), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0], losses


def test_a_merged_lora_model_computes_what_the_wrapped_one_did(tiny: Any) -> None:
    model = our_bi_encoder(tiny.bi_encoder("bert"))
    batch = model.tokenize(list(CORPUS))
    wrapped = lora(model.trainable(), "bert").eval()
    expected = wrapped(batch).detach()
    merged = wrapped.merge_and_unload()
    assert set(merged.state_dict()) == set(model.trainable().state_dict())
    assert_agrees(merged(batch).detach(), expected, "tiny embedding")


@pytest.mark.parametrize("kind", DROPOUTS)
@pytest.mark.parametrize("way", ["all tokens", "first token", "one text", "equal lengths"])
@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "electra", "mpnet", "modernbert"])
def test_dropout_acts_in_training_only_and_by_its_seed(tiny: Any, family: str, way: str, kind: str) -> None:
    config = DROPOUTS[kind]
    if family in ("distilbert", "modernbert"):
        config = {
            "dropout" if family == "distilbert" else "mlp_dropout": config["hidden_dropout_prob"],
            "attention_dropout": config["attention_probs_dropout_prob"],
        }
    model = our_bi_encoder(
        tiny.bi_encoder(family, pooling=("cls",) if way == "first token" else ("mean",), config=config)
    )
    texts = {"one text": [CORPUS[0]], "equal lengths": [CORPUS[0]] * 4}.get(way, list(CORPUS))
    batch, module = model.tokenize(texts), model.trainable()
    resting = module.eval()(batch, 1).detach()
    module.train()
    first, again, other = (module(batch, seed).detach() for seed in (1, 1, 2))
    assert (first - resting).abs().amax(1).min() > 1e-3, "a text without dropout"
    assert torch.equal(first, again)
    assert (first - other).abs().amax(1).min() > 1e-3
    if way == "equal lengths":
        assert (first[0] - first[1]).abs().max() > 1e-3, "texts of a batch share their masks"
    with torch.no_grad():
        assert_agrees(module(batch, 1), first, "tiny embedding", what="without gradients")
    assert_agrees(module.eval()(batch, 3).detach(), resting, "tiny embedding", what="at rest")
