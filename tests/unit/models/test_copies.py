"""Models that are pickled, copied or forked give the numbers of the model that they were made of."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rankwright import BiEncoder, CrossEncoder
from tests.texts import CORPUS, QUERY
from tests.tiny_foreign import build_foreign
from tests.tiny_modules import build_logit_score

FORKED = """
import os, sys
import numpy as np
from rankwright import BiEncoder
from rankwright.models.search import search

folder, is_again = sys.argv[1], sys.argv[2] == "again"
texts = ["a b c " * i for i in range(1, 300)]
model = BiEncoder(folder, dtype="float32")
expected = model.encode(texts)
random = np.random.default_rng(0)
queries, documents = (random.standard_normal((rows, 256), dtype=np.float32) for rows in (1000, 50_000))
found = search(queries, documents, top_k=3)[1] if is_again else None
child = os.fork()
if child == 0:
    model = BiEncoder(folder, dtype="float32") if is_again else model
    is_same = np.abs(model.encode(texts) - expected).max() < 1e-6
    if is_again:
        is_same = is_same and (search(queries, documents, top_k=3)[1] == found).all()
    os._exit(0 if is_same else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_a_copy_of_a_model_gives_its_numbers(tiny: Any, make: Any, engine: str) -> None:
    model = BiEncoder(tiny.bi_encoder("bert"), engine=engine, dtype="float32", device="cpu", truncate_dim=16)
    expected = model.encode(CORPUS)
    again = make(model)
    np.testing.assert_array_equal(again.encode(CORPUS), expected)
    assert (again.truncate_dim, again.folder, again.prompts) == (16, model.folder, model.prompts)
    changed = model.with_parameters({n: a * 2 for n, a in model.checkpoint.parameters.items()})
    np.testing.assert_array_equal(make(changed).encode(CORPUS), changed.encode(CORPUS))


def test_a_model_with_a_chat_template_is_pickled_with_it(tiny: Any) -> None:
    base = tiny.built(build_foreign, "qwen3", head="ForCausalLM")
    model = CrossEncoder(tiny.built(build_logit_score, base, true_id=1, false_id=2), device="cpu")
    pairs = [(QUERY, text) for text in CORPUS[:3]]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(pairs), model.predict(pairs))


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
@pytest.mark.parametrize("what", ["same", "again"])
def test_a_forked_process_goes_on(tiny: Any, tmp_path: Path, what: str) -> None:
    """Also with a model opened there, and with a search whose products OpenVINO computed before."""
    script = tmp_path / "forked.py"
    script.write_text(FORKED)
    subprocess.run([sys.executable, script, str(tiny.bi_encoder("bert")), what], check=True, timeout=120)
