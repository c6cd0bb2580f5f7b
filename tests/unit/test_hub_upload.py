"""Models to the Hub and back, against a Hub of our own on the loopback interface."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rankwright import BiEncoder, CrossEncoder
from rankwright.errors import ConfigError
from rankwright.hub_upload import NAMELESS
from tests.fake_hub import FakeHub, Repository, commit_of

CARD = f'---\ntags: [a]\n---\nmodel = BiEncoder("{NAMELESS}")\n'
TEXTS = ["a text", "another, longer text"]

SCRIPT = """
import json, logging, sys
import rankwright
from rankwright.errors import RankwrightError

logging.basicConfig(level="WARNING", format="%(message)s", handlers=[handler := logging.StreamHandler(sys.stderr)])
said = []
handler.emit = lambda record: said.append(record.getMessage())
for call in json.loads(sys.argv[1]):
    kind, folder = call.pop("model")
    said.clear()
    try:
        if "repo_id" in call:
            answer = {"url": getattr(rankwright, kind)(folder, dtype="float32").push_to_hub(**call)}
        else:
            model = getattr(rankwright, kind)(folder, dtype="float32", **call)
            run = model.encode if kind == "BiEncoder" else model.predict
            texts = ["a text", "another, longer text"]
            answer = {"output": run(texts if kind == "BiEncoder" else [texts]).tolist()}
    except RankwrightError as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer | {"said": list(said)}))
"""


@pytest.fixture(scope="module")
def folder(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bi-encoder with a card."""
    copy = tmp_path_factory.mktemp("with-card") / "model"
    shutil.copytree(tiny.bi_encoder("bert", normalize=False), copy)
    (copy / "README.md").write_text(CARD)
    return copy


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub(tokens={"mine": ("me", "org"), "reader": ("other",)}).serving() as fake:
        yield fake


def test_a_model_that_was_pushed_gives_the_same_embeddings(hub: FakeHub, folder: Path, tmp_path: Path) -> None:
    bi = ["BiEncoder", str(folder)]
    pushed, known, unknown, stranger = hub.run(
        SCRIPT,
        [
            {"model": bi, "repo_id": "org/private", "token": "mine", "private": True},
            {"model": ["BiEncoder", "org/private"], "token": "mine"},
            {"model": ["BiEncoder", "org/private"], "cache_folder": str(tmp_path / "none")},
            {"model": ["BiEncoder", "org/private"], "token": "reader", "cache_folder": str(tmp_path / "none")},
        ],
        tmp_path,
    )
    files = hub.repositories["org/private"].branches["main"]
    assert hub.repositories["org/private"].private
    assert pushed["url"] == f"{hub.endpoint}/org/private/commit/{commit_of(files)}"
    assert hub.repositories["org/private"].messages == [{"summary": "Add BiEncoder model", "description": ""}]
    assert list(hub.stored) == [hashlib.sha256(files["model.safetensors"]).hexdigest()]
    np.testing.assert_array_equal(known["output"], BiEncoder(folder, dtype="float32").encode(TEXTS))
    for refused in (unknown, stranger):
        assert "nor a model on the Hub that you may read. Check the name, or pass token=" in refused["error"]


def test_a_branch_is_made_and_holds_its_own_model(hub: FakeHub, folder: Path, tiny: Any, tmp_path: Path) -> None:
    other = tiny.cross_encoder("bert")
    first, second, at_main, at_branch = hub.run(
        SCRIPT,
        [
            {"model": ["BiEncoder", str(folder)], "repo_id": "me/name"},
            {
                "model": ["CrossEncoder", str(other)],
                "repo_id": "me/name",
                "exist_ok": True,
                "revision": "v2",
                "commit_message": "Now a reranker",
            },
            {"model": ["BiEncoder", "me/name"]},
            {"model": ["CrossEncoder", "me/name"], "revision": "v2"},
        ],
        tmp_path,
        HF_TOKEN="mine",
    )
    assert "url" in first and "url" in second
    assert hub.repositories["me/name"].messages[1]["summary"] == "Now a reranker"
    np.testing.assert_array_equal(at_main["output"], BiEncoder(folder, dtype="float32").encode(TEXTS))
    expected = CrossEncoder(other, dtype="float32").predict([tuple(TEXTS)])
    np.testing.assert_array_equal(at_branch["output"], expected)


def test_the_card_goes_along_under_the_models_name_and_a_card_that_is_there_stays(
    hub: FakeHub, folder: Path, tmp_path: Path
) -> None:
    hub.repositories |= {"me/old": Repository({"main": {"README.md": b"old"}})}
    bi = ["BiEncoder", str(folder)]
    new, kept, replaced, bare = hub.run(
        SCRIPT,
        [
            {"model": bi, "repo_id": "new"},
            {"model": bi, "repo_id": "me/old", "exist_ok": True},
            {"model": bi, "repo_id": "me/old", "exist_ok": True, "revision": "v2", "replace_model_card": True},
            {"model": bi, "repo_id": "me/bare", "local_model_path": str(folder / "1_Pooling")},
        ],
        tmp_path,
        HF_TOKEN="mine",
    )
    assert all("url" in one for one in (new, kept, replaced, bare))
    named = CARD.replace(NAMELESS, "me/new").encode()
    assert hub.repositories["me/new"].branches["main"]["README.md"] == named
    assert (folder / "README.md").read_text() == CARD
    branches = hub.repositories["me/old"].branches
    assert branches["main"]["README.md"] == b"old"
    assert "model.safetensors" in branches["main"]
    assert kept["said"] == [
        "'me/old' has a card already, which stays and may tell of another model. Pass replace_model_card=True to send "
        "this model's card."
    ]
    assert branches["v2"]["README.md"] == CARD.replace(NAMELESS, "me/old").encode()
    assert new["said"] == replaced["said"] == []
    assert set(hub.repositories["me/bare"].branches["main"]) == {"config.json"}


def test_a_pull_request_leaves_the_repository_alone(hub: FakeHub, folder: Path, tmp_path: Path) -> None:
    hub.repositories |= {"me/old": Repository({"main": {"README.md": b"old"}})}
    call = {"model": ["BiEncoder", str(folder)], "repo_id": "me/old", "create_pr": True, "token": "mine"}
    (answer,) = hub.run(SCRIPT, [call], tmp_path)
    assert answer["url"] == f"{hub.endpoint}/me/old/discussions/1"
    assert hub.repositories["me/old"].branches == {"main": {"README.md": b"old"}}
    assert "model.safetensors" in hub.repositories["me/old"].pull_requests[0]
    assert "BiEncoder(" in hub.repositories["me/old"].messages[0]["description"]


def test_a_refusal_says_what_to_do(hub: FakeHub, folder: Path, tmp_path: Path) -> None:
    hub.repositories |= {"me/old": Repository(), "other/theirs": Repository()}
    bi = ["BiEncoder", str(folder)]
    cases: list[tuple[dict[str, Any], str]] = [
        ({"repo_id": "me/new"}, "'me/new' could not be written on the Hub: the Hub does not know who you are, or not"),
        ({"repo_id": "me/new", "token": "old"}, "Log in with `hf auth login`, set HF_TOKEN, or pass token=."),
        ({"repo_id": "them/new", "token": "mine"}, "may not write there. Use one with the right to write for 'them'."),
        ({"repo_id": "other/theirs", "token": "mine", "exist_ok": True}, "the right to write for 'other'."),
        ({"repo_id": "me/old", "token": "mine"}, "there is such a repository. Pass exist_ok=True to add a commit to"),
        ({"repo_id": "a/b/c", "token": "mine"}, "'a/b/c' could not be written on the Hub: that is no name on the Hub."),
    ]
    answers = hub.run(SCRIPT, [{"model": bi, **call} for call, _ in cases], tmp_path)
    for answer, (call, message) in zip(answers, cases, strict=True):
        assert answer["error"].startswith("HubError: "), (call, answer)
        assert message in answer["error"], call
    assert set(hub.repositories) == {"me/old", "other/theirs"}


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "Check the connection."),
        ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE=1 forbids it. Unset it to publish."),
    ],
    ids=["no connection", "offline"],
)
def test_without_a_hub_there_is_no_upload(
    hub: FakeHub, folder: Path, tmp_path: Path, variable: dict[str, str], message: str
) -> None:
    call = {"model": ["BiEncoder", str(folder)], "repo_id": "me/new", "token": "mine"}
    (answer,) = hub.run(SCRIPT, [call], tmp_path, **variable)
    assert answer["error"].startswith("HubError: 'me/new' could not be written on the Hub: ")
    assert answer["error"].endswith(message)
    assert hub.requests == []


def test_a_repository_made_before_the_upload_failed_is_told(
    hub: FakeHub, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "_write", lambda *_: (500, b'{"error": "full"}', {}))
    call = {"model": ["BiEncoder", str(folder)], "repo_id": "me/new", "token": "mine", "revision": "v2"}
    (answer,) = hub.run(SCRIPT, [call], tmp_path)
    assert "could not be written on the Hub: it answered" in answer["error"]
    assert answer["error"].endswith("It is created now: pass exist_ok=True when you try again.")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"safe_serialization": False}, "safe_serialization=False: weights are written as safetensors only"),
        ({"train_datasets": ["a"]}, r"train_datasets=\['a'\] has no effect in rankwright: the card says"),
        ({"local_model_path": "nowhere"}, "local_model_path='nowhere': expected the folder of a model"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_what_cannot_take_effect_is_refused_before_the_hub_is_asked(
    folder: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        BiEncoder(folder).push_to_hub("me/new", **options)


def test_a_changed_model_is_sent_without_the_card_of_the_unchanged(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[set[str]] = []
    monkeypatch.setattr(
        "rankwright.hub_upload.upload", lambda folder, *_, **__: sent.append({path.name for path in folder.iterdir()})
    )
    model = BiEncoder(folder)
    model.push_to_hub("me/new")
    model.with_parameters({name: array * 2 for name, array in model.checkpoint.parameters.items()}).push_to_hub("me/n")
    assert sent[0] - sent[1] == {"README.md"}
    assert json.loads((folder / "config.json").read_text())
