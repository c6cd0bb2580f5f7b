"""What the README tells a newcomer to type works as written."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str, text: str = README) -> list[str]:
    """The fenced code blocks of that language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[list[str]]:
    """The words of each command of a shell block, without comments."""
    lines = (line.split("#")[0].split() for line in text.replace("\\\n", " ").splitlines())
    return [words for words in lines if words]


def unknown_commands(text: str) -> list[str]:
    """The commands of a shell block that neither make nor rankwright knows, nor everybody."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    unknown = []
    for words in commands(text):
        name = words[0].removeprefix(".venv/bin/")
        known = name in {"git", "cd", "pip"} or (name == "make" and set(words[1:]) <= targets)
        if name in scripts:
            module, function = scripts[name].split(":")
            code = f"import sys, {module}; sys.argv = [{name!r}, {words[1]!r}, '--help']; {module}.{function}()"
            known = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
        if not known:
            unknown.append(" ".join(words))
    return unknown


@pytest.mark.parametrize("index", range(len(blocks("python"))))
def test_python_block_of_the_readme_runs(index: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", blocks("python")[index]], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("index", range(len(blocks("bash"))))
def test_commands_of_the_readme_exist(index: int) -> None:
    assert not unknown_commands(blocks("bash")[index])


@pytest.mark.parametrize("document", sorted(ROOT.glob("*.md")), ids=lambda path: path.name)
def test_links_between_the_documents_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8"))
    assert not [link for link in links if "://" not in link and not (ROOT / link).exists()]


def test_readme_has_blocks_to_run() -> None:
    assert blocks("python")
    assert blocks("bash")


def test_an_invented_command_is_found() -> None:
    assert unknown_commands("make test\nmake conquer  # the world\nfrobnicate x") == ["make conquer", "frobnicate x"]
