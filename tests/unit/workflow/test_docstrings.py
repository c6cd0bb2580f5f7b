"""The demo's data: documentation strings of installed packages, whole packages held out."""

import json
import textwrap
from email.message import Message
from importlib.metadata import Distribution
from pathlib import Path

import pytest

import rankwright.workflow.docstrings as module
from rankwright.data import read_pairs
from rankwright.errors import DataError
from rankwright.workflow.docstrings import (
    BODY_CHARS,
    Docstring,
    installed_packages,
    package_docstrings,
    parse_docstrings,
    write_pairs,
)
from rankwright.workflow.measuring import read_evaluation_data

BODY = "A body that says in more than a hundred characters what the summary line above leaves out, and then some more."


def documented(name: str, summary: str, body: str = BODY) -> str:
    """Source of a function with documentation."""
    return f'def {name}():\n    """{summary}\n\n    {body}\n    """\n\n'


def package(folder: Path, name: str, files: dict[str, str]) -> Distribution:
    """An installed package with these files."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    (info / "RECORD").write_text("".join(f"{path},,\n" for path in files))
    made = Distribution.at(info)
    assert isinstance(made.metadata, Message) or made.metadata["Name"] == name
    return made


def summary_of(number: int) -> str:
    return f"Computes the number {number} of the list of numbers."


def test_functions_and_classes_with_summary_and_body_are_found() -> None:
    inside = textwrap.indent(f'"""{summary_of(3)}\n\n{BODY}\n"""\n\n' + documented("method", summary_of(2)), "    ")
    source = documented("first", summary_of(1)) + f"class Second:\n{inside}" + documented("later", summary_of(4))
    source = source.replace("def later", "async def later")
    found = sorted(parse_docstrings(source))
    assert {(place.partition(":")[2], summary) for place, summary, _ in found} == {
        ("first", summary_of(1)),
        ("Second", summary_of(3)),
        ("method", summary_of(2)),
        ("later", summary_of(4)),
    }
    assert {body for _, _, body in found} == {BODY}
    assert "1:first" in [place for place, _, _ in found]


@pytest.mark.parametrize(
    "source",
    [
        documented("f", "Too short."),
        documented("f", "Too long " * 30),
        documented("f", summary_of(1), "A short body."),
        "def f():\n    pass\n",
        f'"""{summary_of(1)}\n\n{BODY}\n"""\n',
        "def broken(:\n",
        "\0",
        "",
    ],
    ids=["short summary", "long summary", "short body", "none", "of the module", "no Python", "NUL", "empty"],
)
def test_what_says_too_little_is_left_out(source: str) -> None:
    assert list(parse_docstrings(source)) == []


def test_a_long_body_is_cut() -> None:
    ((_, _, body),) = parse_docstrings(documented("f", summary_of(1), "word " * 2000))
    assert len(body) == BODY_CHARS[1]


def test_a_package_gives_the_docstrings_of_its_own_modules(tmp_path: Path) -> None:
    made = package(
        tmp_path,
        "Numbers",
        {
            "numbers/core.py": documented("f", summary_of(1)),
            "numbers/tests/test_core.py": documented("f", summary_of(2)),
            "numbers/_vendor/other.py": documented("f", summary_of(3)),
            "numbers/data.txt": documented("f", summary_of(4)),
            "../bin/tool.py": documented("f", summary_of(5)),
        },
    )
    (tmp_path / "numbers" / "gone.py").write_text("")
    assert list(package_docstrings(made)) == [Docstring("numbers", "numbers/core.py:1:f", summary_of(1), BODY)]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Sixteen packages with thirty documented functions each; the first function is the same in all of them."""
    names = [f"package{i}" for i in range(16)]
    made = []
    for i, name in enumerate(names):
        functions = [documented("shared", "Does what all of these packages do.", BODY)]
        functions += [documented(f"f{k}", summary_of(100 * i + k), f"{BODY} {100 * i + k}") for k in range(30)]
        made.append(package(tmp_path / "site", name, {f"{name}/code.py": "".join(functions)}))
    monkeypatch.setattr(module, "distributions", lambda: iter(made[::-1]))
    return names


def test_each_summary_and_body_is_there_once(installed: list[str]) -> None:
    found = [docstring for kept in installed_packages() for docstring in kept]
    assert len(found) == len({d.summary for d in found}) == len({d.body for d in found}) == 16 * 30 + 1


def test_test_packages_are_never_trained_on(installed: list[str], tmp_path: Path) -> None:
    train, folder = write_pairs(tmp_path / "data", num_train=150, num_test=40)
    rows = [json.loads(line) for line in train.read_text().splitlines()]
    tested = [json.loads(line)["_id"] for line in (folder / "corpus.jsonl").read_text().splitlines()]
    assert len(rows) == 150
    assert len(tested) == 40
    packages = [{place.partition("/")[0] for place in places} for places in ([r["query_id"] for r in rows], tested)]
    assert not packages[0] & packages[1]
    each = [sum(place.startswith(f"{name}/") for place in tested) for name in packages[1]]
    assert max(each) <= 4  # a tenth of the test set at most


def test_what_is_written_is_read_as_pairs_and_as_a_corpus(installed: list[str], tmp_path: Path) -> None:
    train, folder = write_pairs(tmp_path / "data", num_train=150, num_test=40)
    assert read_pairs(train).kind == "positive"
    data = read_evaluation_data(folder)
    assert data.has_corpus
    assert data.retrieval is not None
    for query_id, judged in data.retrieval.qrels.items():
        assert judged == {query_id.removeprefix("q:"): 1.0}
        assert data.retrieval.documents[query_id.removeprefix("q:")].startswith(BODY)


def test_the_data_are_the_same_each_time(installed: list[str], tmp_path: Path) -> None:
    first, second = (write_pairs(tmp_path / name, num_train=120, num_test=30) for name in ("a", "b"))
    assert first[0].read_bytes() == second[0].read_bytes()
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        assert (first[1] / name).read_bytes() == (second[1] / name).read_bytes()


def test_too_little_documentation_is_an_error(
    installed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = list(module.distributions())[:3]
    monkeypatch.setattr(module, "distributions", lambda: iter(few))
    with pytest.raises(DataError, match=r"have 0 \+ 12 usable docstrings, the demo needs 100 \+ 20\. Install packages"):
        write_pairs(tmp_path / "data", num_train=150, num_test=40)
    assert not (tmp_path / "data").exists()
