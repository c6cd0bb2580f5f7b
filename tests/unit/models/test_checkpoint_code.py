"""No code of a checkpoint is run, unless trust_remote_code=True; then transformers runs it, as it does for others.

An audit hook watches the opening of folders that try each way to have code run: pickles, models, tokenizers, modules
and activations of their own, kernels of the Hub.
"""

import json
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import CrossEncoder as ReferenceCrossEncoder
from sentence_transformers import SentenceTransformer

from rankwright import BiEncoder, CrossEncoder
from rankwright.errors import ModelFormatError, RankwrightError
from tests.tiny_foreign import build_foreign
from tests.tolerances import assert_agrees
from tests.unit.models.bad_folders import all_of, content, keys, without
from tests.unit.models.checkpoint_code import OWNED, Attack, payload, write_own

TEXTS = ["a text", "another one", ""]
PAIRS = [("a text", "another one"), ("a", "b")]

WATCHED = (
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "subprocess.Popen",
    "pickle.find_class",
    "ctypes.dlopen",
)
WRITES = ("w", "a", "x", "+")


class _Watch:
    """What an audit hook sees between `start` and `stop`; a hook cannot be removed."""

    def __init__(self) -> None:
        self.root: str | None = None
        self.seen: list[str] = []

    def hook(self, event: str, args: tuple[Any, ...]) -> None:
        """Called by Python for every audit event."""
        if self.root is None:
            return
        if event == "exec":
            code = args[0]
            if str(getattr(code, "co_filename", "")).startswith(self.root) or OWNED in str(code.co_consts):
                self.seen.append(f"exec {code.co_filename}")
        elif event == "import" and str(args[1] or "").startswith(self.root):
            self.seen.append(f"import {args[0]}")
        elif event == "open" and isinstance(args[1], str) and any(mode in args[1] for mode in WRITES):
            self.seen.append(f"open {args[0]} {args[1]}")
        elif event in WATCHED or event.startswith("socket."):
            self.seen.append(f"{event} {args!r:.80}")


_watch = _Watch()
sys.addaudithook(_watch.hook)


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Callable[[], list[str]]]:
    """Starts the watch, and gives what is seen since."""

    def start() -> list[str]:
        _watch.seen = []
        _watch.root = str(tmp_path)
        return _watch.seen

    yield start
    _watch.root = None


@pytest.fixture(scope="module")
def modules_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where transformers copies the code that it runs, and imports it from; else below the home folder."""
    cache = tmp_path_factory.mktemp("modules")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(cache))
        patch.setattr(sys, "path", list(sys.path))
        yield cache
    for name in [name for name in sys.modules if name.startswith("transformers_modules")]:
        del sys.modules[name]


def test_code_of_a_model_is_not_run_without_consent(tmp_path: Path) -> None:
    for model_class, num_labels in ((BiEncoder, 0), (CrossEncoder, 1)):
        folder = write_own(tmp_path / model_class.__name__, num_labels=num_labels, attacks=True)
        with pytest.raises(
            ModelFormatError,
            match=r"config\.json: .*custom code.* If you trust the code in its folder, pass trust_remote_code=True: ",
        ):
            model_class(folder)
    assert not (tmp_path / OWNED).exists()


@pytest.mark.parametrize("num_labels", [0, 1])
def test_trusted_code_gives_what_sentence_transformers_gives(
    tmp_path: Path, modules_cache: Path, num_labels: int
) -> None:
    folder = write_own(tmp_path / f"own{num_labels}", num_labels=num_labels)
    if num_labels:
        scores = CrossEncoder(folder, trust_remote_code=True, dtype="float32").predict(PAIRS)
        expected = ReferenceCrossEncoder(str(folder), trust_remote_code=True, device="cpu").predict(PAIRS)
        assert_agrees(scores, expected, "score", what="own model")
    else:
        embeddings = BiEncoder(folder, trust_remote_code=True, dtype="float32").encode(TEXTS)
        expected = SentenceTransformer(str(folder), trust_remote_code=True, device="cpu").encode(TEXTS)
        assert_agrees(embeddings, expected, "embedding", what="own model")
    assert list(modules_cache.rglob("modeling_own.py"))


def test_trusted_code_is_saved_with_the_model(tmp_path: Path, modules_cache: Path) -> None:
    model = BiEncoder(write_own(tmp_path / "own"), trust_remote_code=True, dtype="float32")
    model.save(tmp_path / "saved")
    again = BiEncoder(tmp_path / "saved", trust_remote_code=True, dtype="float32")
    np.testing.assert_array_equal(again.encode(TEXTS), model.encode(TEXTS))


def test_trusted_code_elsewhere_is_not_fetched(
    tmp_path: Path, modules_cache: Path, monkeypatch: pytest.MonkeyPatch, refused_connections: list[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    folder = write_own(tmp_path / "own")
    keys("config.json", auto_map={"AutoConfig": "owner/name--configuration_own.OwnConfig"})(folder)
    with pytest.raises(
        ModelFormatError, match=r"config\.json: .* Its auto_map names the code: it must be in the folder, or"
    ):
        BiEncoder(folder, trust_remote_code=True)
    assert refused_connections == []


def test_code_of_a_tokenizer_is_not_run_without_consent(tiny: Any, tmp_path: Path) -> None:
    custom = keys(
        "tokenizer_config.json", tokenizer_class="OwnTokenizer", auto_map={"AutoTokenizer": ["own.OwnTokenizer", None]}
    )
    for source in (tiny.bi_encoder("bert"), tiny.bi_encoder("modernbert"), tiny.built(build_foreign, "albert")):
        folder = tmp_path / source.name
        shutil.copytree(source, folder)
        all_of(custom, content("own.py", payload(folder)))(folder)
        with pytest.raises(
            ModelFormatError,
            match=r"tokenizer_config\.json: its tokenizer_class 'OwnTokenizer' is code .*trust_remote_code=True",
        ):
            BiEncoder(folder)
    assert not (tmp_path / OWNED).exists()


def _pickled(file: str) -> Callable[[Path], object]:
    """Puts a pickle with an attack beside real tensors in place of the safetensors file."""

    def damage(folder: Path) -> None:
        path = folder / file
        stored = path.with_name("model.safetensors")
        tensors = load_file(stored)
        stored.unlink()
        torch.save({**tensors, "attack": Attack(payload(folder))}, path)

    return damage


def _sharded(folder: Path) -> None:
    _pickled("shard.bin")(folder)
    index = {"weight_map": {"attack": "shard.bin"}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


def _auto_map(folder: Path) -> None:
    code = payload(folder)
    auto_map = {
        "AutoConfig": "evil.Config",
        "AutoModel": "evil.Model",
        "AutoModelForSequenceClassification": "evil.Model",
    }
    keys("config.json", auto_map=auto_map)(folder)
    keys("tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Tokenizer", "evil.Tokenizer"]})(folder)
    for name in ("evil.py", "__init__.py", "sitecustomize.py", "modeling.py"):
        (folder / name).write_text(code)


def _unknown_family(folder: Path) -> None:
    _auto_map(folder)
    keys("config.json", model_type="evil")(folder)


def _own_modules(folder: Path) -> None:
    (folder / "evil.py").write_text(payload(folder))
    entries = [{"idx": i, "name": str(i), "path": "", "type": f"evil.Module{i}"} for i in range(2)]
    (folder / "modules.json").write_text(json.dumps(entries))


def _activation(path: str) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        (folder / "evil.py").write_text(payload(folder))
        keys("config.json", sbert_ce_default_activation_function=path)(folder)
        if (folder / "2_Dense").is_dir():
            keys("2_Dense/config.json", activation_function=path)(folder)

    return damage


ATTACKS: dict[str, Callable[[Path], object]] = {
    "pickle": _pickled("pytorch_model.bin"),
    "pickle in shards": _sharded,
    "auto_map of a known family": _auto_map,
    "auto_map of an unknown family": _unknown_family,
    "modules": _own_modules,
    "activation": _activation("evil.Activation"),
    "activation below torch": _activation("torch.hub.load"),
    "activation of the system": _activation("torch.os.system"),
    "kernel of the Hub": keys("config.json", attn_implementation="evil/kernel"),
    "kernel of the Hub within": keys("config.json", text_config={"_attn_implementation": {"": "evil/kernel:run"}}),
    "quantizer": keys("config.json", quantization_config={"quant_method": "evil"}),
    "other pickles": all_of(
        lambda folder: torch.save(Attack(payload(folder)), folder / "training_args.bin"),
        lambda folder: torch.save(Attack(payload(folder)), folder / "pytorch_model.bin"),
        lambda folder: torch.save(Attack(payload(folder)), folder / "optimizer.pt"),
    ),
    "chat template": content("chat_template.jinja", "{{ ''.__class__.__mro__[1].__subclasses__() }}"),
}


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("family", ["bert", "albert"])
def test_nothing_is_run_or_written_while_a_folder_is_opened(
    tiny: Any, tmp_path: Path, watch: Any, family: str, name: str
) -> None:
    opened: list[tuple[Any, Path]] = []
    for model_class in (BiEncoder, CrossEncoder):
        is_bi = model_class is BiEncoder
        if family == "bert":
            source = tiny.bi_encoder("bert", dense=8) if is_bi else tiny.cross_encoder("bert")
        else:
            head = {} if is_bi else {"head": "ForSequenceClassification", "config": {"num_labels": 1}}
            source = tiny.built(build_foreign, "albert", **head)
        model_class(source)  # what has to be imported for it, is
        folder = tmp_path / model_class.__name__
        shutil.copytree(source, folder)
        ATTACKS[name](folder)
        opened.append((model_class, folder))
    seen = watch()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for model_class, folder in opened:
            with suppress(RankwrightError):
                model_class(folder)
    assert seen == []
    assert not (tmp_path / OWNED).exists()


@pytest.mark.parametrize("damage", [_pickled("2_Dense/pytorch_model.bin"), _pickled("pytorch_model.bin"), _sharded])
def test_a_pickle_with_code_is_refused_and_not_run(tiny: Any, tmp_path: Path, damage: Any) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny.bi_encoder("bert", dense=8), folder)
    damage(folder)
    with pytest.raises(ModelFormatError, match=r"\.bin cannot be read as tensors saved by torch: .*Download"):
        BiEncoder(folder)
    assert not (tmp_path / OWNED).exists() and not (folder / OWNED).exists()


def test_the_same_pickle_runs_its_code_where_it_is_trusted(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    torch.save({"attack": Attack(payload(tmp_path / "model"))}, tmp_path / "a.bin")
    torch.load(tmp_path / "a.bin", weights_only=False)
    assert (tmp_path / OWNED).exists()


def test_the_watch_sees_code_that_is_run(tmp_path: Path, watch: Any) -> None:
    (tmp_path / "model").mkdir()
    torch.save({"attack": Attack(payload(tmp_path / "model"))}, tmp_path / "a.bin")
    (tmp_path / "evil_import.py").write_text("x = 1")
    sys.path.insert(0, str(tmp_path))
    seen = watch()
    try:
        torch.load(tmp_path / "a.bin", weights_only=False)
        import evil_import  # noqa: F401
    finally:
        sys.path.remove(str(tmp_path))
    assert any(event.startswith("exec <string>") for event in seen), seen
    assert any(event.startswith("open ") and OWNED in event for event in seen), seen
    assert any(event.startswith("exec ") and "evil_import.py" in event for event in seen), seen


def test_foreign_weights_that_were_pickled_are_read(tiny: Any, tmp_path: Path) -> None:
    source = tiny.built(build_foreign, "albert")
    folder = tmp_path / "model"
    shutil.copytree(source, folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    without("model.safetensors")(folder)
    expected = BiEncoder(source, dtype="float32").encode(TEXTS)
    np.testing.assert_array_equal(BiEncoder(folder, dtype="float32").encode(TEXTS), expected)
