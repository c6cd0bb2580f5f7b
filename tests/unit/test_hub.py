"""Names to folders, against a Hub of our own on the loopback interface."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rankwright.errors import HubError
from rankwright.hub import resolve
from tests.fake_hub import FakeHub, Repository, commit_of

CONFIGS = {"config.json": b"{}", "tokenizer.json": b"{}", "vocab.txt": b"[PAD]\n", "README.md": b"#", "train.py": b"1"}
MODULES = [{"path": ""}, {"path": "1_Pooling"}, {"path": "2_Dense"}, {"path": "3_Normalize"}]
FOREIGN = {"onnx/model.onnx": b"o", "onnx/config.json": b"{}", "openvino/openvino_model.bin": b"v", "tf_model.h5": b"t"}
REPOSITORIES: dict[str, dict[str, bytes]] = {
    "sentence-transformers/retriever": CONFIGS
    | FOREIGN
    | {
        "modules.json": json.dumps(MODULES).encode(),
        "1_Pooling/config.json": b"{}",
        "2_Dense/config.json": b"{}",
        "2_Dense/model.safetensors": b"d",
        "2_Dense/pytorch_model.bin": b"p",
        "model.safetensors": b"s",
        "pytorch_model.bin": b"p",
        "checkpoints/model.safetensors": b"old",
    },
    "cross-encoder/retriever": CONFIGS | {"pytorch_model.bin": b"p"},
    "org/sharded": CONFIGS
    | {
        "model.safetensors.index.json": json.dumps(
            {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
        ).encode(),
        "model-1.safetensors": b"1",
        "model-2.safetensors": b"2",
        "pytorch_model.bin.index.json": b"{}",
    },
    "bert-base-uncased": CONFIGS | {"model.safetensors": b"s"},
    "org/own": {
        "config.json": b'{"auto_map": {"AutoConfig": "org/code--configuration.C", "AutoModel": "modeling.M"}}',
        "tokenizer_config.json": b'{"auto_map": {"AutoTokenizer": ["org/words--tokenization.T", null]}}',
        "modeling.py": b"1",
        "model.safetensors": b"s",
        "spiece.model": b"w",
        "chat_template.jinja": b"{}",
    },
    "org/words": {"tokenization.py": b"3", "tokenizer.json": b"{}"},
    "org/code": {"configuration.py": b"2", "config.json": b"{}", "model.safetensors": b"c"},
    "org/damaged": CONFIGS | {"modules.json": b"[{", "model.safetensors": b"s"},
    "org/odd": CONFIGS | {"modules.json": b'[5, {"path": 5}, {"type": "x"}]', "model.safetensors": b"s"},
}

SCRIPT = """
import json, os, sys

def forbid(event, args):
    if event.startswith("socket.") and "NO_SOCKETS" in os.environ:
        print(json.dumps({"socket": event}))

sys.addaudithook(forbid)
from rankwright.errors import RankwrightError
from rankwright.hub import resolve
for call in json.loads(sys.argv[1]):
    try:
        print(json.dumps({"folder": str(resolve(**call))}))
    except RankwrightError as error:
        print(json.dumps({"error": str(error), "cause": type(error.__cause__).__name__}))
"""


@pytest.fixture(scope="module")
def hub() -> Iterator[FakeHub]:
    with FakeHub({name: Repository({"main": files}) for name, files in REPOSITORIES.items()}).serving() as fake:
        yield fake


@pytest.fixture(scope="module")
def filled_cache(hub: FakeHub, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, str]]]:
    """A cache with all the models, and what `resolve` answered while it was filled."""
    cache = tmp_path_factory.mktemp("cache")
    calls = [
        {"name": "retriever", "kind": "bi-encoder"},
        {"name": "retriever", "kind": "cross-encoder"},
        {"name": "org/sharded", "kind": "bi-encoder"},
        {"name": "bert-base-uncased", "kind": "bi-encoder"},
        {"name": "org/absent", "kind": "bi-encoder"},
        {"name": "org/sharded", "kind": "bi-encoder", "revision": "v9"},
    ]
    return cache, hub.run(SCRIPT, calls, cache)


def _files(folder: str) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()}


def test_download_takes_modules_and_safetensors_and_leaves_other_formats(filled_cache: Any) -> None:
    retriever = filled_cache[1][0]["folder"]
    assert "models--sentence-transformers--retriever" in retriever
    assert _files(retriever) == {
        *("config.json", "tokenizer.json", "vocab.txt", "modules.json", "model.safetensors"),
        *("1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors"),
    }


def test_pickled_weights_are_downloaded_only_where_nothing_else_is(filled_cache: Any) -> None:
    reranker = filled_cache[1][1]["folder"]
    assert "models--cross-encoder--retriever" in reranker
    assert _files(reranker) == {"config.json", "tokenizer.json", "vocab.txt", "pytorch_model.bin"}


def test_sharded_weights_come_with_their_index(filled_cache: Any) -> None:
    weights = {"model.safetensors.index.json", "model-1.safetensors", "model-2.safetensors"}
    assert _files(filled_cache[1][2]["folder"]) == {"config.json", "tokenizer.json", "vocab.txt", *weights}


def test_original_models_get_no_organization(filled_cache: Any) -> None:
    assert "models--bert-base-uncased" in filled_cache[1][3]["folder"]


def test_original_models_are_known_in_any_case(tmp_path: Path) -> None:
    with pytest.raises(HubError, match=r"^'BERT-base-uncased' is neither"):
        resolve("BERT-base-uncased", kind="bi-encoder", cache_folder=tmp_path, local_files_only=True)


def test_unknown_model_and_unknown_revision_are_told_apart(filled_cache: Any) -> None:
    absent, revision = filled_cache[1][4:]
    assert "'org/absent' is neither a folder" in absent["error"] and "token=" in absent["error"]
    assert revision["error"] == (
        "'org/sharded' (revision 'v9'): the Hub has the model, but not this revision. Check the revision."
    )


@pytest.mark.parametrize("takes_code", [True, False])
def test_code_comes_with_the_model_only_if_it_is_trusted(hub: FakeHub, tmp_path: Path, takes_code: bool) -> None:
    call = {"name": "org/own", "kind": "bi-encoder", "takes_code": takes_code}
    (answer,) = hub.run(SCRIPT, [call], tmp_path)
    code = {"modeling.py"} if takes_code else set()
    assert _files(answer["folder"]) == set(REPOSITORIES["org/own"]) - {"modeling.py"} | code
    elsewhere = list(tmp_path.rglob("models--org--[cw]o*/snapshots/*/*"))
    assert {path.name for path in elsewhere} == ({"configuration.py", "tokenization.py"} if takes_code else set())


def test_damaged_modules_are_named_and_odd_ones_left_to_the_reader(hub: FakeHub, tmp_path: Path) -> None:
    calls = [{"name": name, "kind": "bi-encoder"} for name in ("org/damaged", "org/odd")]
    damaged, odd = hub.run(SCRIPT, calls, tmp_path)
    assert "modules.json is not JSON in UTF-8" in damaged["error"]
    assert "model.safetensors" in _files(odd["folder"])


@pytest.mark.parametrize("how", ["HF_HUB_OFFLINE=1", "TRANSFORMERS_OFFLINE=true", "local_files_only=True"])
def test_cached_model_is_found_without_asking_the_hub(hub: FakeHub, filled_cache: Any, how: str) -> None:
    cache, online = filled_cache
    hub.requests.clear()
    offline = {} if "local" in how else dict([how.split("=")])
    calls = [
        {"name": name, "kind": kind, "local_files_only": not offline}
        for name, kind in [("retriever", "bi-encoder"), ("retriever", "cross-encoder"), ("org/sharded", "bi-encoder")]
    ]
    calls.append({"name": "org/absent", "kind": "bi-encoder", "local_files_only": not offline})
    *answers, absent = hub.run(SCRIPT, calls, cache, NO_SOCKETS="1", **offline)
    assert answers == online[:3]
    assert f"{how} forbids a download" in absent["error"]
    assert hub.requests == []


def test_a_revision_is_read_by_its_own_modules(hub: FakeHub, tmp_path: Path) -> None:
    old = CONFIGS | {"model.safetensors": b"1"}
    new = {file: b"{}" for file in ("config.json", "2_Dense/config.json")} | {
        "modules.json": json.dumps([{"path": ""}, {"path": "2_Dense"}]).encode(),
        "model.safetensors": b"2",
        "2_Dense/model.safetensors": b"d",
    }
    hub.repositories["org/two"] = Repository({"main": old | {"modules.json": b'[{"path": ""}]'}, "v2": new})
    call = {"name": "org/two", "kind": "bi-encoder", "revision": "v2"}
    online, cached = hub.run(SCRIPT, [call, call | {"local_files_only": True}], tmp_path)
    assert _files(online["folder"]) == set(new)
    assert (Path(online["folder"]) / "model.safetensors").read_bytes() == b"2"
    assert cached == online


def test_unreachable_hub_leaves_the_cache(filled_cache: Any, hub: FakeHub) -> None:
    cache, online = filled_cache
    nobody = "http://127.0.0.1:9"
    calls = [{"name": "retriever", "kind": "bi-encoder"}, {"name": "org/absent", "kind": "bi-encoder"}]
    retriever, absent = hub.run(SCRIPT, calls, cache, HF_ENDPOINT=nobody)
    assert retriever == online[0]
    assert "could not be fetched from the Hub" in absent["error"] and "Connect" in absent["cause"]


def _snapshot(cache: Path, name: str, files: dict[str, bytes]) -> Path:
    """The folder of a model's newest files in a cache that is made by hand."""
    snapshot = cache / f"models--{name.replace('/', '--')}" / "snapshots" / commit_of(files)
    for file, content in files.items():
        (snapshot / file).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / file).write_bytes(content)
    refs = snapshot.parent.parent / "refs"
    refs.mkdir()
    (refs / "main").write_text(commit_of(files))
    return snapshot


OLD, NEW = "sentence_transformers.models.{}", "sentence_transformers.base.modules.x.{}"
ROUTER = {"types": {"query_0_StaticEmbedding": OLD.format("StaticEmbedding"), "d": NEW.format("Transformer")}}
ROUTES = {"query": ["query_0_StaticEmbedding"], "document": ["d"]}
WHOLE = [
    (REPOSITORIES["org/sharded"], "model-2.safetensors"),
    *(
        (
            {
                "modules.json": json.dumps(
                    [
                        {"path": "", "type": spelling.format("Transformer")},
                        {"path": "1_Pooling", "type": spelling.format("Pooling")},
                        {"path": "2_Dense", "type": spelling.format("Dense")},
                    ]
                ).encode(),
                "model.safetensors": b"s",
                "1_Pooling/config.json": b"{}",
                "2_Dense/pytorch_model.bin": b"p",
            },
            missing,
        )
        for spelling in (OLD, NEW)
        for missing in ("model.safetensors", "2_Dense/pytorch_model.bin")
    ),
    *(
        (
            {
                "modules.json": json.dumps([{"path": "", "type": NEW.format("Router")}]).encode(),
                "router_config.json": json.dumps(ROUTER | {"structure": ROUTES}).encode(),
                "query_0_StaticEmbedding/model.safetensors": b"s",
                "d/model.safetensors": b"s",
            },
            missing,
        )
        for missing in ("query_0_StaticEmbedding/model.safetensors", "d/model.safetensors")
    ),
]


@pytest.mark.parametrize(("files", "missing"), WHOLE)
def test_cache_without_all_weights_is_not_whole(tmp_path: Path, files: dict[str, bytes], missing: str) -> None:
    snapshot = _snapshot(tmp_path, "org/model", files)
    arguments: dict[str, Any] = {"kind": "bi-encoder", "cache_folder": tmp_path, "local_files_only": True}
    assert resolve("org/model", **arguments) == snapshot
    (snapshot / missing).unlink()
    with pytest.raises(HubError, match="nor whole in the Hub's cache, and local_files_only=True forbids"):
        resolve("org/model", **arguments)


def test_cache_folder_of_sentence_transformers_is_used(monkeypatch: pytest.MonkeyPatch, filled_cache: Any) -> None:
    cache, online = filled_cache
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(cache / "hub"))
    assert str(resolve("org/sharded", kind="bi-encoder", local_files_only=True)) == online[2]["folder"]
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(cache / "none"))
    own = resolve("org/sharded", kind="bi-encoder", local_files_only=True, cache_folder=cache / "hub")
    assert str(own) == online[2]["folder"], "what the caller says goes before the environment"


def test_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "modele ąę").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("~/modele ąę", "~/modele ąę/"):
        assert resolve(name, kind="bi-encoder") == tmp_path / "modele ąę"


def test_folder_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "retriever").mkdir()
    monkeypatch.chdir(tmp_path)
    assert resolve("retriever", kind="bi-encoder") == Path("retriever")


@pytest.mark.parametrize(
    "name",
    [
        "a/b/c",
        "./model",
        "/no/such/folder",
        "~/model",
        "~nobody/model",
        "a\\b",
        "",
        "a b",
        "x" * 5000,
        "a\0b",
        "a/",
        "ä",
    ],
)
def test_path_that_does_not_exist_is_never_looked_up(name: str) -> None:
    with pytest.raises(HubError, match=r"there is no folder .*, and it is no name on the Hub\. Check the path"):
        resolve(name, kind="bi-encoder")


def test_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"")
    with pytest.raises(HubError, match=r"is a file\. Expected the folder of a model"):
        resolve(str(path), kind="bi-encoder")
