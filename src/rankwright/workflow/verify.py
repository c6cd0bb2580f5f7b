"""The parity certificate: a model in each of our engines and types beside a reference library.

In: a model's name, and texts. Out: `Certificate`. Letters: B texts (or pairs), E values of each, P pairs.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np

from rankwright.errors import ConfigError
from rankwright.evaluation.parity import (
    TOLERANCES,
    Certificate,
    EngineParity,
    Output,
    differences,
    rank_agreement,
    weights_sha256,
)
from rankwright.models import BiEncoder, CrossEncoder
from rankwright.models.activations import identity
from rankwright.models.checkpoint_read import transformer_folder
from rankwright.models.opening import open_model, prompts_of
from rankwright.text.tokens import Text
from rankwright.workflow.facts import cpu_name
from rankwright.workflow.verify_references import open_reference
from rankwright.workflow.verify_texts import Material, built_in_pairs, read_given_pairs

MEASURED_S = 2.0
"""Passes over the texts are repeated for so long, and the fastest counts: the first one makes shapes and buffers."""

SCORED = 8
"""Pairs whose scores, after the activation, are compared beside the logits of all pairs."""

TOKENISED = 256
"""Texts tokenised at a time."""

OTHER_TYPES = ("bfloat16", "float16", "int8")
"""Types that are tried beside float32."""

SHOWN_TEXTS, SHOWN_CHARACTERS = 5, 80


def verify(
    name: str,
    *,
    source: str | None = None,
    column: str | None = None,
    kind: str | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Certificate:
    """Compare each of our engines and types with a reference library, on built-in texts and the user's.

    The reference is sentence-transformers in float32 on the CPU, else transformers; where neither is installed, our own
    float32, and the certificate says so.

    Args:
        name: folder or Hub name of the model.
        source: a file of texts or pairs, or "-" for texts on standard input.
        column: the column of the texts.
        kind: of the model; None: what its files say.
        say: is told what is being done.

    Returns:
        The certificate.

    Raises:
        ConfigError: a cross-encoder without a head.
    """
    given = [] if source is None else read_given_pairs(source, column=column)
    ours = open_model(name, kind=kind, dtype="float32", device="cpu")
    if ours.spec.head_is_new:
        raise ConfigError(
            f"{ours.folder} holds no classification head, and each library draws its own: there is nothing to compare. "
            "Give --kind bi-encoder, or train the model first."
        )
    material = Material(ours.kind, list(dict.fromkeys([*built_in_pairs(), *given])))
    with redirect_stdout(sys.stderr):  # libraries print what they like; standard output is the caller's
        reference = open_reference(ours)
        say(f"running {reference.name}")
        expected = measure(reference.model, material)
        our_ids, differing = compare_tokens(ours, material, reference.token_ids)
        reference_name, has_library = reference.name, reference.token_ids is not None
        del reference  # its weights would stand beside those of each engine
        rankings = material.rankings(our_ids) if getattr(ours, "num_labels", 1) == 1 else []
        engines = []
        for model in computations(ours):
            say(f"running {model.checkpoint.engine.name} in {model.dtype} on {model.device}")
            engines.append(_beside(model, expected, material=material, rankings=rankings))
    return Certificate(
        model=name,
        kind=material.kind,
        weights_sha256=weights_sha256(transformer_folder(ours.folder)),
        reference=reference_name,
        has_library=has_library,
        reference_texts_per_s=round(expected.texts_per_s, 1),
        num_texts=len(material.texts),
        num_given=len(given),
        num_pairs=sum(map(len, rankings)),
        token_differences=len(differing) if has_library else None,
        differing_texts=tuple(_shown(material.texts[i]) for i in differing[:SHOWN_TEXTS]),
        engines=tuple(engines),
        rankwright=version("rankwright"),
        cpu=cpu_name(),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def computations(model: BiEncoder | CrossEncoder) -> Iterator[BiEncoder | CrossEncoder]:
    """The model in each engine that is installed and runs it, in each type that is native to its device.

    int8 is among them where the model's folder holds what `rankwright quantize` found.

    Args:
        model: of any engine and type.

    Yields:
        Models that are ready to run.
    """
    for engine in ("openvino", "torch"):
        is_there = find_spec("torch") is not None if engine == "torch" else model.spec.foreign is None
        if not is_there:
            continue
        exact = open_model(model.folder, kind=model.kind, engine=engine, dtype="float32")
        yield exact
        for dtype in OTHER_TYPES:
            twin = exact.with_dtype(dtype)
            try:
                made = twin.checkpoint.engine
            except ConfigError:  # the device would have to emulate the type, or it is int8 and was not calibrated
                continue
            if not made.emulates:
                yield twin


def measure(model: Any, material: Material) -> Output:
    """What a model gives, and how fast: the best of the passes that `MEASURED_S` holds.

    Args:
        model: ours, or one of sentence-transformers: all that is called here has the same name in both.
        material: what to run.

    Returns:
        The output. Its rows are those of `material.texts`; the scores of the first `SCORED` pairs follow the logits.
    """
    run = _run_pairs if material.kind == "cross-encoder" else _run_texts
    spent_s, best_s = 0.0, float("inf")
    while True:
        started = time.perf_counter()
        values_BE, scores_P = run(model, material)
        took_s = time.perf_counter() - started
        spent_s, best_s = spent_s + took_s, min(best_s, took_s)
        if spent_s >= MEASURED_S:
            return Output(values_BE, scores_P, len(values_BE) / best_s)


def compare_tokens(
    ours: BiEncoder | CrossEncoder,
    material: Material,
    reference_ids: Callable[[Sequence[Text]], list[list[int]]] | None,
) -> tuple[list[list[int]], list[int]]:
    """Our token ids, and where the reference has others.

    Args:
        ours: our model.
        material: the texts; each gets the prompt that it is run with.
        reference_ids: the reference's token ids for texts; None: there are none to compare with.

    Returns:
        Ids of `material.texts`, and the places of those that differ.
    """
    texts = material.prompted(*prompts_of(ours))
    ids, differing = [], []
    for start in range(0, len(texts), TOKENISED):
        chunk = texts[start : start + TOKENISED]
        batch = ours.tokenize(chunk)
        found = [part.tolist() for part in np.split(batch.ids_T, batch.starts_B1[1:-1])]
        ids += found
        if reference_ids is not None:
            differing += [start + i for i, wanted in enumerate(reference_ids(chunk)) if wanted != found[i]]
    return ids, differing


def _run_texts(model: Any, material: Material) -> tuple[np.ndarray, np.ndarray]:
    queries_E, documents_E = model.encode_query(material.queries), model.encode_document(material.documents)
    query_P, document_P = material.places()
    scores_P = model.similarity_pairwise(queries_E[query_P], documents_E[document_P])
    return np.concatenate([queries_E, documents_E]), np.asarray(scores_P)


def _run_pairs(model: Any, material: Material) -> tuple[np.ndarray, np.ndarray]:
    logits = np.asarray(model.predict(material.pairs, activation_fn=identity))
    scores = np.asarray(model.predict(material.pairs[:SCORED]))
    values_BE = np.concatenate([logits, scores])
    values_BE = values_BE.reshape(len(values_BE), -1)
    return values_BE, values_BE[: len(logits), 0]


def _beside(
    model: BiEncoder | CrossEncoder, expected: Output, *, material: Material, rankings: list[list[int]]
) -> EngineParity:
    actual = measure(model, material)
    tolerance = TOLERANCES[material.kind][model.dtype]
    found_BE = differences(actual.values_BE, expected.values_BE, kind=material.kind, dtype=model.dtype)
    is_finite = bool(np.isfinite(found_BE).all())
    worst_B = np.where(np.isnan(found_BE), np.inf, found_BE).max(axis=1)
    row = int(worst_B.argmax())
    tau, lowest_tau = rank_agreement(actual.scores_P, expected.scores_P, rankings=rankings)
    return EngineParity(
        engine=model.checkpoint.engine.name,
        device=model.device,
        dtype=model.dtype,
        max_difference=float(worst_B[row]) if is_finite else None,
        mean_difference=float(found_BE.mean()) if is_finite else None,
        tolerance=tolerance,
        agrees=bool(worst_B[row] <= tolerance),
        worst_text=_shown(material.texts[row % len(material.texts)]),
        kendall_tau=tau,
        lowest_kendall_tau=lowest_tau,
        texts_per_s=round(actual.texts_per_s, 1),
        speedup=round(actual.texts_per_s / expected.texts_per_s, 2),
    )


def _shown(text: Text) -> str:
    """The beginning of a text or pair, on one line."""
    return f"{text!r:.{SHOWN_CHARACTERS}}"
